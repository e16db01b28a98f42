"""`facedex video`: who appears in a video, and when. The videos are made here, of drawn faces."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import facedex
from facedex.decision.fusion import fuse
from facedex.errors import PhotoUnsupported, VideoUnusable
from facedex.faces.face import Face
from facedex.faces.quality import Quality
from facedex.model.modelfile import ModelFile, read_model
from facedex.model.reader import EncodedFace
from facedex.photos.images import decode, read_bytes
from facedex.video.appearances import identify_videos
from facedex.video.frames import VideoFile
from facedex.video.tracks import View, follow
from facedex.wording import clock
from tests.helpers import (
    assert_fields_described,
    drawn_face,
    gallery,
    lines,
    near,
    one_line,
    record,
    rows,
    save_face,
    unit,
)

RATE = 10  # frames a second of the videos made here


def picture(*faces, wide=640, high=360):
    """A frame with drawn faces: (seed, left) each."""
    pixels = np.full((high, wide, 3), 128, np.uint8)
    for seed, left in faces:
        pixels[60:300, left : left + 240] = drawn_face(seed)
    return pixels


def write(path, *shots, size=(640, 360)):
    """A video of shots, each a frame and for how many seconds it stands; returns the path."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, size)
    assert writer.isOpened()
    for pixels, seconds in shots:
        for _ in range(round(RATE * seconds)):
            writer.write(np.ascontiguousarray(pixels[..., ::-1]))
    writer.release()
    return path


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory):
    """Ada and Bob in a gallery, of a model to which drawn faces do not all look alike."""
    folder = tmp_path_factory.mktemp("video")
    shipped = read_model("fast")
    strict = {**shipped.tensors, "head.beta": np.asarray(shipped.tensors["head.beta"] - 9.5, np.float32)}
    ModelFile(strict, shipped.meta).save(folder / "strict.safetensors")
    (folder / "db").mkdir()
    save_face(folder / "db" / "Ada.png", 0)
    save_face(folder / "db" / "Bob.png", 2)
    with facedex.Gallery(folder / "g", folder / "strict.safetensors", create=True) as opened:
        assert [one.status for one in opened.enroll_all(folder / "db")] == ["enrolled", "enrolled"]
    return folder


@pytest.fixture(scope="module")
def clip(enrolled):
    """Ada for 2 s, then Bob in the same place for 2 s, then 4 s without anybody, then both for 2 s."""
    both = picture((0, 40), (2, 360))
    shots = (picture((0, 200)), 2), (picture((2, 200)), 2), (picture(), 4), (both, 2)
    return write(enrolled / "clip.avi", *shots)


def seen(video):
    return [(one.face.name, one.start, one.end, one.frames) for one in video.appearances]


def test_who_appears_and_when(enrolled, clip):
    with facedex.Gallery(enrolled / "g") as opened:
        (video,) = identify_videos(opened, clip)
        assert (video.video, video.seconds, video.error, video.remark) == (str(clip), 10, None, None)
        assert video.decision.people == 2
        assert sorted(seen(video)) == [
            ("Ada", 0.0, 1.5, 4),
            ("Ada", 8.0, 9.5, 4),
            ("Bob", 2.0, 3.5, 4),
            ("Bob", 8.0, 9.5, 4),
        ]
        assert [one.start for one in video.appearances] == sorted(one.start for one in video.appearances)
        for one in video.appearances:
            assert one.start <= one.at <= one.end
            assert one.crop.shape == (112, 112, 3)


def test_a_stranger_stays_unknown(enrolled, tmp_path):
    with facedex.Gallery(enrolled / "g") as opened:
        stranger = write(tmp_path / "stranger.avi", (picture((5, 200)), 1))
        (video,) = identify_videos(opened, [stranger])
        (one,) = video.appearances
        assert one.face.name is None
        assert one.face.candidates[0].name in ("Ada", "Bob")


def test_two_faces_of_one_frame_never_have_one_name(enrolled, tmp_path):
    with facedex.Gallery(enrolled / "g") as opened:
        twice = write(tmp_path / "twice.avi", (picture((0, 40), (0, 360)), 1))
        (video,) = identify_videos(opened, [twice])
        assert sorted(str(one.face.name) for one in video.appearances) == ["Ada", "None"]
        unnamed = next(one for one in video.appearances if one.face.name is None)
        assert unnamed.face.reason == "Ada is another face beside this one"


def test_a_short_absence_does_not_end_an_appearance(enrolled, tmp_path):
    with facedex.Gallery(enrolled / "g") as opened:
        shots = (picture((0, 200)), 1), (picture(), 2), (picture((0, 20)), 1)
        (video,) = identify_videos(opened, [write(tmp_path / "away.avi", *shots)])
        assert seen(video) == [("Ada", 0.0, 3.5, 4)]


def test_every_sets_how_many_frames_are_looked_at(enrolled, clip):
    with facedex.Gallery(enrolled / "g") as opened:
        told = []
        (video,) = identify_videos(opened, clip, every=1, progress=lambda done, whole: told.append((done, whole)))
        assert ("Ada", 0.0, 1.0, 2) in seen(video)
        assert told == [(float(second), 10.0) for second in range(10)]
        for wrong in (0, -1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="every must be"):
                next(identify_videos(opened, clip, every=wrong))
        with pytest.raises(ValueError, match="fpir"):
            next(identify_videos(opened, clip, fpir=1.5))


def test_frames_that_are_far_apart_do_not_end_an_appearance(enrolled, tmp_path):
    with facedex.Gallery(enrolled / "g") as opened:
        (video,) = identify_videos(opened, write(tmp_path / "long.avi", (picture((0, 200)), 13)), every=4)
        assert seen(video) == [("Ada", 0.0, 12.0, 4)]


def test_a_video_that_cannot_be_used_does_not_stop_the_others(enrolled, clip, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video at all")
    (tmp_path / "empty.avi").touch()
    with facedex.Gallery(enrolled / "g") as opened:
        missing = tmp_path / "missing.mp4"
        *bad, good = identify_videos(opened, [missing, tmp_path, text, tmp_path / "empty.avi", clip])
    assert "does not exist, or is no file" in bad[0].error
    assert "does not exist, or is no file" in bad[1].error
    assert all("cannot be read as a video; convert it" in one.error for one in bad[2:])
    assert all(isinstance(one.exception, VideoUnusable) and not one.appearances for one in bad)
    assert good.error is None
    assert len(good.appearances) == 4


def test_an_address_is_never_fetched(enrolled):
    with facedex.Gallery(enrolled / "g") as opened:
        (video,) = identify_videos(opened, "http://127.0.0.1:9/clip.mp4")
        assert "does not exist" in video.error


def test_a_video_that_breaks_off_is_read_as_far_as_it_goes(enrolled, clip, tmp_path):
    cut = tmp_path / "cut.avi"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with facedex.Gallery(enrolled / "g") as opened:
        (video,) = identify_videos(opened, cut)
    assert video.error is None
    assert seen(video)[0][:2] == ("Ada", 0.0)
    assert video.remark is None or "breaks off" in video.remark


def test_missing_frames_are_told(clip, monkeypatch):
    with VideoFile(str(clip)) as video:
        monkeypatch.setattr(video, "_stated", 400)
        monkeypatch.setattr(video, "seconds", 40.0)
        assert len(list(video.frames(1))) == 10
        assert video.remark == "the video breaks off at 0:09 of 0:40"


def test_frames_are_rgb_and_have_their_times(tmp_path):
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 250
    with VideoFile(str(write(tmp_path / "red.avi", (red, 2), size=(64, 64)))) as video:
        frames = list(video.frames(0.5))
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.5, 1, 1.5])
    assert frames[3].name == f"{tmp_path / 'red.avi'} at 0:01"
    assert np.abs(frames[0].held.astype(int) - red).max() < 12


def test_times_are_counted_where_the_file_has_none(clip, monkeypatch):
    with VideoFile(str(clip)) as video:

        class Timeless:
            def get(self, _):
                return 0.0

            def __getattr__(self, name):
                return getattr(capture, name)

        capture = video._capture
        monkeypatch.setattr(video, "_capture", Timeless())
        assert [frame.seconds for frame in video.frames(1)] == pytest.approx(list(range(10)))


# Tracks


def view(seconds, vector, left=0.0, quality=20.0):
    face = Face((left, 0.0, 100.0, 100.0), np.zeros((5, 2), np.float32), 0.9)
    measures = Quality(100.0, 1.0, 0.0, 0.9, quality)
    return View(seconds, EncodedFace(face, vector, quality), measures, np.zeros((112, 112, 3), np.uint8))


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    with gallery(tmp_path_factory.mktemp("fast") / "g") as opened:
        yield opened


def test_a_face_is_followed_by_its_looks(fast):
    ada, bob = unit(2, seed=1)
    frames = [[view(t, near(ada, t, 0.2), 10.0 * t), view(t, near(bob, t + 50, 0.2), 300.0)] for t in range(4)]
    tracks = follow(frames, fast.head, fast.calibration)
    assert [track.times for track in tracks] == [[0, 1, 2, 3]] * 2
    assert tracks[0].beside(tracks[1])


def test_another_face_in_the_same_place_is_another_track(fast):
    ada, bob = unit(2, seed=1)
    tracks = follow([[view(0, ada)], [view(1, bob)], [view(2, ada)]], fast.head, fast.calibration)
    assert [track.times for track in tracks] == [[0, 2], [1]]
    assert not tracks[0].beside(tracks[1])


def test_less_likeness_suffices_in_the_same_place(fast):
    ada = unit(1, seed=1)[0]
    noise = next(
        noise
        for noise in np.arange(0.2, 3, 0.02)
        if fast.calibration.threshold(1, 1e-2)
        < fast.head.logits(ada[None], near(ada, 3, noise)[None])[0]
        < fast.calibration.threshold(1, 1e-4)
    )
    turned = near(ada, 3, noise)
    assert len(follow([[view(0, ada)], [view(1, turned, 20.0)]], fast.head, fast.calibration)) == 1
    assert len(follow([[view(0, ada)], [view(1, turned, 200.0)]], fast.head, fast.calibration)) == 2


def test_a_face_that_was_away_for_long_is_a_new_track(fast):
    ada = unit(1, seed=1)[0]
    tracks = follow([[view(0, ada)], [view(2.9, ada)], [view(6, ada)]], fast.head, fast.calibration)
    assert [track.times for track in tracks] == [[0, 2.9], [6]]


def test_the_clearest_views_of_a_track_count(fast):
    ada = unit(1, seed=1)[0]
    qualities = [5, 30, 10, 20, 25, 15, 7]
    vectors = [near(ada, t, 0.1) for t in range(7)]
    (track,) = follow(
        [[view(t / 2, vectors[t], quality=quality)] for t, quality in enumerate(qualities)],
        fast.head,
        fast.calibration,
    )
    assert track.best.seconds == 0.5
    assert track.vectors.tolist() == [vectors[t].tolist() for t in (1, 4, 3, 5, 2)]
    assert track.quality == pytest.approx(np.prod([30, 25, 20, 15, 10]) ** (1 / 5))


# Several views of one face in a gallery


@pytest.mark.parametrize("exhaustive", [False, True])
def test_several_views_count_by_their_mean_odds(tmp_path, exhaustive):
    vectors = unit(200, seed=3)
    records = [record(f"p{i:03d}", vector) for i, vector in enumerate(vectors)]
    records += [record("p007", near(vectors[7], 1)), record("p007", near(vectors[7], 2))]
    views = np.stack([near(vectors[7], seed, 0.6) for seed in (11, 12, 13)])
    with gallery(tmp_path / "g", records) as opened:
        found = opened.match(views, top=3, exhaustive=exhaustive)
        own = np.stack([one.vector for one in records if one.name == "p007"])
        assert found[0].name == "p007"
        assert found[0].logit == pytest.approx(fuse(opened.head.pairwise(views, own).ravel()), abs=1e-4)
        for one in found[1:]:
            vector = vectors[int(one.name[1:])]
            assert one.logit == pytest.approx(fuse(opened.head.pairwise(views, vector[None]).ravel()), abs=1e-4)
        single = opened.match(views[0], top=3, exhaustive=exhaustive)
        assert opened.match(views[:1], top=3, exhaustive=exhaustive) == single


# The command


def test_the_table(run, enrolled, clip):
    done = run("video", clip, "-g", enrolled / "g")
    assert done.code == 0
    assert [line.split("│")[2:5] for line in done.out.splitlines() if "Ada" in line] == [
        [" 0:00 ", " 0:01 ", " Ada    "],
        [" 0:08 ", " 0:09 ", " Ada    "],
    ]


def test_json_csv_and_crops(run, enrolled, clip, tmp_path):
    done = run(
        "video", clip, tmp_path / "no.mp4", "-g", enrolled / "g", "--json", "--crops", tmp_path / "crops", "--top", 2
    )
    assert done.code == 1
    assert done.err.count("\n") == 1
    good, bad = lines(done.out)
    assert_fields_described([good], "video")
    assert good["seconds"] == 10
    assert [Path(one["crop"]).name for one in good["appearances"]] == [f"clip-{n}.png" for n in (1, 2, 3, 4)]
    assert Image.open(good["appearances"][0]["crop"]).size == (112, 112)
    assert [len(one["candidates"]) for one in good["appearances"]] == [2] * 4
    assert (bad["appearances"], bad["decision"]) == ([], None)
    assert "does not exist" in bad["error"]
    header, *table = rows(run("video", clip, tmp_path / "no.mp4", "-g", enrolled / "g", "--csv").out)
    named = [dict(zip(header, row, strict=True)) for row in table]
    assert [(row["name"], row["start"]) for row in named[:2]] == [("Ada", "0.0"), ("Bob", "2.0")]
    assert "does not exist" in named[-1]["error"]


def test_folders_and_patterns(run, enrolled, tmp_path):
    (tmp_path / "clips" / "deep").mkdir(parents=True)
    write(tmp_path / "clips" / "a.avi", (picture((0, 200)), 0.5))
    write(tmp_path / "clips" / "deep" / "b.AVI.avi", (picture((2, 200)), 0.5))
    (tmp_path / "clips" / "notes.txt").write_text("no video")
    found = lines(run("video", tmp_path / "clips", "-g", enrolled / "g", "--json").out)
    assert [Path(one["video"]).name for one in found] == ["a.avi", "b.AVI.avi"]
    found = lines(run("video", f"{tmp_path}/clips/*.avi", "-g", enrolled / "g", "--json").out)
    assert [Path(one["video"]).name for one in found] == ["a.avi"]
    (tmp_path / "none").mkdir()
    done = run("video", tmp_path / "none", f"{tmp_path}/clips/*.avi", "-g", enrolled / "g", "--json")
    assert len(lines(done.out)) == 1
    assert "none holds no videos; name another folder" in done.err
    one_line(run("video", tmp_path / "none", "-g", enrolled / "g"), "none holds no videos; name another folder")


def test_nobody_named_exits_with_1(run, enrolled, tmp_path):
    empty = write(tmp_path / "empty.avi", (picture(), 1))
    done = run("video", empty, "-g", enrolled / "g", "--json")
    assert done.code == 1
    assert lines(done.out)[0]["appearances"] == []


def test_identify_says_which_command_reads_videos(run, enrolled, clip):
    done = run("identify", clip, "-g", enrolled / "g")
    assert done.code == 1
    assert "is a video; use `facedex video`" in done.err


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.99, "0:59"), (754, "12:34"), (3723, "1:02:03")])
def test_a_time_for_people(seconds, text):
    assert clock(seconds) == text


def test_a_video_of_any_size_is_told_from_a_photo(tmp_path):
    film = tmp_path / "film.mkv"
    film.write_bytes(b"\x1aE\xdf\xa3" + bytes(100))
    for most in (200, 50):
        with pytest.raises(PhotoUnsupported, match="is a video; use `facedex video`"):
            decode(read_bytes(film, most), str(film))
