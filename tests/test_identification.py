"""Photos to names: who is named, who stays unknown, and what one bad photo changes (nothing)."""

import dataclasses
import io
import os
from concurrent.futures import Future
from threading import Lock

import numpy as np
import pytest
from PIL import Image

from facedex.decision.calibration import Calibration
from facedex.decision.posterior import Normal, Scores
from facedex.decision.tail import Tail
from facedex.errors import ModelError, NoFace, PhotoNotFound
from facedex.faces.detector import FaceDetector
from facedex.gallery.gallery import Gallery
from facedex.photos.inputs import given_photo
from facedex.photos.sources import expand, named_photos
from facedex.recognition import embedding
from facedex.recognition.identification import identify
from facedex.recognition.verification import Verifier
from facedex.store.store import Store
from tests.helpers import drawn_face, gallery, people, record, save_blank, save_face, unit


def second_photo(path, seed):
    """The same drawn face, darker and through JPEG: other bytes, nearly the same embedding."""
    buffer = io.BytesIO()
    Image.fromarray((drawn_face(seed) * 0.9).astype(np.uint8)).save(buffer, "JPEG", quality=92)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.fixture
def drawn(tmp_path):
    """A gallery of three drawn people."""
    for seed, name in enumerate(("Ada", "Bob", "Cy")):
        save_face(tmp_path / "database" / f"{name}.png", seed)
    with Gallery(tmp_path / "g", create=True) as opened:
        with named_photos([tmp_path / "database"]) as (photos, _):
            assert [result.status for result in opened.iter_enroll(photos)] == ["enrolled"] * 3
        yield opened


def one(opened, photo, **options):
    """The only face of one photo."""
    (found,) = identify(opened, [photo], **options)
    (face,) = found.faces
    return face


def tail(start, scale=1.0, **facts):
    """A calibration by which one enrolled person is passed by a stranger with probability exp(-(t - start) / scale)."""
    impostor = Tail(start + scale * np.log(2), 0.0, 1.0, 0.0, 0.0, 0.0, 0.5, 1 / scale, 0.0)
    return Calibration(
        1.0, 0.0, (Scores(1, (Normal(1.0, start + 4 * scale, scale),), impostor),), (), 100, 100, **facts
    )


# the decision


def test_a_known_face_is_the_best_candidate_in_another_photo(drawn, tmp_path):
    for seed, name in enumerate(("Ada", "Bob", "Cy")):
        assert one(drawn, second_photo(tmp_path / "p.jpg", seed)).candidates[0].name == name


def test_whoever_does_not_pass_the_threshold_is_unknown_but_has_candidates(drawn, tmp_path):
    photo = second_photo(tmp_path / "p.jpg", 1)
    best = one(drawn, photo).candidates[0]
    drawn.calibration = tail(best.logit - 9)
    assert one(drawn, photo).name == "Bob"
    drawn.calibration = tail(best.logit + 9)
    face = one(drawn, photo, top=3)
    assert face.name is None
    assert len(face.candidates) == 3
    assert (face.similarity, face.probability) == (face.candidates[0].similarity, face.candidates[0].probability)


def test_the_decision_follows_the_rate_asked_for(drawn, tmp_path):
    photo = second_photo(tmp_path / "p.jpg", 1)
    # Three faces: a stranger passes t with about 3 exp(-(t - start)); the best candidate stands where that is .03.
    drawn.calibration = tail(one(drawn, photo).candidates[0].logit - np.log(3 / 0.03))
    assert one(drawn, photo, fpir=0.05).name == "Bob"
    assert one(drawn, photo, fpir=0.02).name is None


def test_the_decision_follows_the_gallerys_size(drawn, tmp_path):
    photo = second_photo(tmp_path / "p.jpg", 1)
    drawn.calibration = tail(one(drawn, photo).candidates[0].logit - np.log(3 / 0.03))
    assert one(drawn, photo, fpir=0.05).name == "Bob"
    with Store(drawn.folder) as store:
        store.add(people(unit(300), "stranger"))
    face = one(drawn, photo, fpir=0.05)
    assert face.name is None
    assert face.candidates[0].name == "Bob"


def test_the_name_does_not_depend_on_the_probability(drawn, tmp_path):
    photo = second_photo(tmp_path / "p.jpg", 1)
    sure, doubtful = (one(drawn, photo, prior=prior) for prior in (0.999, 1e-9))
    assert sure.name == doubtful.name
    assert sure.similarity == doubtful.similarity
    assert sure.probability > doubtful.probability


@pytest.mark.parametrize("rate", [0.0, 1.0, -1, float("nan")])
def test_a_rate_that_is_none_is_refused(drawn, tmp_path, rate):
    with pytest.raises(ValueError, match="fpir"):
        list(identify(drawn, [second_photo(tmp_path / "p.jpg", 1)], fpir=rate))


def test_in_an_empty_gallery_everybody_is_unknown(tmp_path):
    with Gallery(tmp_path / "g", create=True) as opened:
        face = one(opened, save_face(tmp_path / "p.png", 1), top=3)
    assert (face.name, face.similarity, face.probability, face.candidates) == (None, 0.0, 0.0, ())


@pytest.mark.parametrize("top", [1, 2, 3, 10])
def test_as_many_candidates_as_asked_for_best_first(drawn, tmp_path, top):
    face = one(drawn, second_photo(tmp_path / "p.jpg", 1), top=top)
    assert len(face.candidates) == min(top, 3)
    scores = [candidate.probability for candidate in face.candidates]
    assert scores == sorted(scores, reverse=True)


def test_with_and_without_the_index_the_answer_is_one(drawn, tmp_path):
    with Store(drawn.folder) as store:
        store.add(people(unit(400), "stranger"))
    photo = second_photo(tmp_path / "p.jpg", 1)
    through, past = (one(drawn, photo, top=5, exhaustive=exhaustive) for exhaustive in (False, True))
    assert (through.name, through.candidates) == (past.name, past.candidates)


def test_the_decision_follows_people_enrolled_meanwhile(drawn, tmp_path):
    """Between two photos of one call another process enrols; the second is judged by the new size."""
    photo = str(second_photo(tmp_path / "p.jpg", 1))
    drawn.calibration = tail(one(drawn, photo).candidates[0].logit - np.log(3 / 0.03))
    found = identify(drawn, [photo] * 40, fpir=0.05)
    before = next(found)
    with Store(drawn.folder) as store:
        store.add(people(unit(300), "stranger"))
    after = next(found)
    assert before.faces[0].name == "Bob"
    assert after.faces[0].name is None
    assert (before.decision.people, after.decision.people) == (3, 303)
    assert before.decision.threshold < after.decision.threshold
    assert before.decision.fpir == pytest.approx(0.05) == after.decision.fpir


def test_a_gallery_loads_its_detector_and_its_network_once(drawn, tmp_path, monkeypatch):
    """However often it is asked; and it is one detector for whoever enrolls and whoever identifies."""
    made, init = [], FaceDetector.__init__
    monkeypatch.setattr(FaceDetector, "__init__", lambda self, *given: made.append(self) or init(self, *given))
    photo = second_photo(tmp_path / "p.jpg", 1)
    with Gallery(drawn.folder) as opened:
        assert not made  # nothing is loaded before it is needed
        names = [one(opened, photo).candidates[0].name for _ in range(3)]
        assert names == ["Bob"] * 3
        assert len(made) == 1
        assert opened.reader() is opened.reader()
        assert opened.reader().detector is opened.detector is made[0]


def test_a_given_threshold_is_kept_and_its_fpir_reported(drawn, tmp_path):
    photo = second_photo(tmp_path / "p.jpg", 1)
    logit = one(drawn, photo).candidates[0].logit
    drawn.calibration = tail(logit - 3)
    (found,) = identify(drawn, [photo], threshold=logit - 0.01)
    assert found.faces[0].name == "Bob"
    assert found.decision.threshold == logit - 0.01
    assert found.decision.fpir == pytest.approx(1 - (1 - np.exp(-2.99)) ** 3)
    assert one(drawn, photo, threshold=logit + 0.01).name is None


def test_the_probability_does_not_depend_on_how_many_candidates_are_shown(drawn, tmp_path):
    with Store(drawn.folder) as store:
        store.add(people(unit(100), "stranger"))
    photo = second_photo(tmp_path / "p.jpg", 1)
    assert len({one(drawn, photo, top=top).probability for top in (1, 5, 40, 103)}) == 1


def test_two_faces_of_one_photo_are_never_one_person(drawn, tmp_path):
    both = np.full((240, 560, 3), 128, np.uint8)
    both[:, :240] = drawn_face(1)
    both[:, 320:] = (drawn_face(1) * 0.8).astype(np.uint8)
    Image.fromarray(both).save(tmp_path / "p.png")
    found = identify(drawn, [tmp_path / "p.png"], top=3, threshold=1e6)
    scores = [[c.logit for c in face.candidates] for face in next(found).faces]
    least = max(max(row[1:]) for row in scores) + 0.01  # only the first of either passes
    assert min(row[0] for row in scores) > least
    (once,) = identify(drawn, [tmp_path / "p.png"], threshold=least)
    (twice,) = identify(drawn, [tmp_path / "p.png"], threshold=least, allow_repeat=True)
    assert [face.name for face in twice.faces] == ["Bob", "Bob"]
    assert sorted(face.name or "" for face in once.faces) == ["", "Bob"]
    unnamed = next(face for face in once.faces if face.name is None)
    assert unnamed.reason == "Bob is another face beside this one"
    assert unnamed.candidates[0].name == "Bob"


def test_who_is_named_is_the_first_of_the_candidates(drawn, tmp_path):
    """A face gets its second candidate when another face takes its best. That candidate is then listed first."""
    both = np.full((240, 560, 3), 128, np.uint8)
    both[:, :240] = drawn_face(1)
    both[:, 320:] = (drawn_face(1) * 0.8).astype(np.uint8)
    Image.fromarray(both).save(tmp_path / "p.png")
    (found,) = identify(drawn, [tmp_path / "p.png"], threshold=-1e6, top=2)
    names = [face.name for face in found.faces]
    assert None not in names
    assert len(set(names)) == 2
    for face in found.faces:
        assert (face.candidates[0].name, face.candidates[0].probability) == (face.name, face.probability)
        assert len(face.candidates) == 2
    # Whoever is another face of the photo is not this one, and the others share what that one had.
    (apart,) = identify(drawn, [tmp_path / "p.png"], threshold=-1e6, top=3, allow_repeat=True)
    for face, before, other in zip(found.faces, apart.faces, reversed(names), strict=True):
        was = {one.name: one.probability for one in before.candidates}
        now = {one.name: one.probability for one in face.candidates}
        assert now.get(other, 0) == 0
        assert now[face.name] == pytest.approx(was[face.name] / (1 - was[other]), rel=1e-6)


def test_an_unknown_says_what_is_wrong_with_the_face(drawn, tmp_path):
    photo = second_photo(tmp_path / "p.jpg", 1)
    clear, small = one(drawn, photo, threshold=1e6), tmp_path / "small.png"
    assert clear.quality.width > 60
    assert clear.quality.length > 0
    drawn.calibration = tail(0.0, unclear=1e6)
    Image.open(photo).resize((48, 48), Image.Resampling.LANCZOS).save(small)
    face = one(drawn, small, threshold=1e6)
    assert face.name is None
    assert f"small ({face.quality.width:.0f} px wide)" in face.reason
    assert one(drawn, small, threshold=-1e6).reason is None  # a named face needs no reason


def test_an_unknown_is_explained_where_its_embedding_is_short(drawn, tmp_path):
    photo = second_photo(tmp_path / "p.jpg", 1)
    length = one(drawn, photo).quality.length
    drawn.calibration = tail(0.0, unclear=length + 1)
    assert "use a photo that shows it" in one(drawn, photo, threshold=1e6).reason
    drawn.calibration = tail(0.0, unclear=length - 1)
    found = one(drawn, photo, threshold=1e6)
    assert found.probability >= 0.1
    assert found.reason == f"may be {found.candidates[0].name}, which is not certain enough for a name"
    assert one(drawn, photo, threshold=1e6, prior=1e-9).reason is None


# photos


def test_every_face_of_a_photo_is_named_the_subject_first(drawn, tmp_path):
    wide = np.full((400, 900, 3), 128, np.uint8)
    wide[:240, :240], wide[:400, 400:800] = drawn_face(2), drawn_face(0, 400)
    Image.fromarray(wide).save(tmp_path / "p.png")
    (found,) = identify(drawn, [tmp_path / "p.png"])
    assert [face.candidates[0].name for face in found.faces] == ["Ada", "Cy"]
    assert found.faces[0].face.box[0] > 400 > found.faces[1].face.box[0]


def test_one_bad_photo_does_not_stop_the_rest_nor_their_order(drawn, tmp_path):
    good = [str(second_photo(tmp_path / f"{seed}.jpg", seed)) for seed in range(3)]
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    bad = [
        str(tmp_path / "gone.jpg"),
        str(tmp_path / "broken.jpg"),
        str(save_blank(tmp_path / "blank.png")),
        str(tmp_path),
    ]
    wanted = [good[0], *bad, good[1]] + good * 10
    found = list(identify(drawn, wanted))
    assert [photo.photo for photo in found] == wanted
    for photo in found:
        assert (photo.error is None) == (photo.photo in good) == bool(photo.faces)
        assert photo.error is None or photo.photo in photo.error


def test_results_come_as_they_are_ready(drawn, tmp_path):
    """A long list need not be held: after a batch, no more than that has been asked for."""
    photo = second_photo(tmp_path / "p.jpg", 1)
    asked = []

    def endless():
        while True:
            asked.append(photo)
            yield photo

    found = identify(drawn, endless())
    next(found)
    assert len(asked) < 100
    found.close()


def read_ahead(tmp_path, monkeypatch, keep_pixels):
    """How many photos, of 10,000 pixels each, are in memory whenever one is submitted. All but the first are done."""
    monkeypatch.setattr(embedding, "PIXELS_AT_ONCE", 35_000)
    photos = [str(tmp_path / f"{i}.png") for i in range(12)]
    for photo in photos:
        Image.new("L", (100, 100)).save(photo)
    futures, yielded, in_memory = [], [], []

    def submit(photo):
        futures.append(Future())
        held = [future for future in futures if future not in yielded and (keep_pixels or not future.done())]
        in_memory.append(len(held))
        if len(futures) > 1:
            futures[-1].set_result(photo)
        return futures[-1]

    for future in embedding._submit_ahead(map(given_photo, photos), submit, keep_pixels):
        yielded.append(future)
        if not future.done():
            future.set_result(given_photo(photos[0]))
    assert [future.result().path for future in yielded] == photos
    return in_memory


def test_photos_whose_pixels_are_kept_are_bounded_by_their_pixels(tmp_path, monkeypatch):
    assert max(read_ahead(tmp_path, monkeypatch, keep_pixels=True)) == 3


def test_photos_that_are_done_do_not_count_where_their_pixels_are_dropped(tmp_path, monkeypatch):
    in_memory = read_ahead(tmp_path, monkeypatch, keep_pixels=False)
    assert len(in_memory) == 12
    assert max(in_memory) == 2


def test_a_photo_above_the_bound_is_read_alone(tmp_path, monkeypatch, drawn):
    photos = [second_photo(tmp_path / f"{i}.png", i % 3) for i in range(6)]
    at_once = [result.faces[0].face.box for result in identify(drawn, photos, keep_pixels=True)]
    monkeypatch.setattr(embedding, "PIXELS_AT_ONCE", 1)
    running, most, encode, lock = [0], [0], embedding.encode_photo, Lock()

    def noted(*arguments):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            return encode(*arguments)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(embedding, "encode_photo", noted)
    assert [result.faces[0].face.box for result in identify(drawn, photos, keep_pixels=True)] == at_once
    assert most == [1]


def test_pixels_are_kept_only_where_asked_for(drawn, tmp_path):
    photo = second_photo(tmp_path / "p.jpg", 1)
    (without,) = identify(drawn, [photo])
    (with_,) = identify(drawn, [photo], keep_pixels=True)
    assert without.pixels is None
    assert with_.pixels.shape == (240, 240, 3)
    assert dataclasses.replace(with_, pixels=None).faces[0].name == without.faces[0].name


def test_a_turned_photo_gives_boxes_of_the_upright_one(drawn, tmp_path):
    tall = np.full((500, 240, 3), 128, np.uint8)
    tall[250:490] = drawn_face(1)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(np.rot90(tall)).save(tmp_path / "p.jpg", exif=exif)
    left, top, width, height = one(drawn, tmp_path / "p.jpg").face.box
    assert left >= 0
    assert top > 250
    assert left + width <= 240
    assert top + height < 500


# two photos


def test_one_face_twice_is_the_same_person(tmp_path):
    a, b = save_face(tmp_path / "a.png", 1), second_photo(tmp_path / "b.jpg", 1)
    verifier = Verifier()
    forth, back = verifier.verify(a, b), verifier.verify(b, a)
    assert forth == back
    assert 0 < forth.similarity <= 1
    assert verifier.verify(a, a).similarity >= forth.similarity


def test_verification_follows_the_rate_and_the_prior_asked_for(tmp_path):
    a, b = save_face(tmp_path / "a.png", 1), second_photo(tmp_path / "b.jpg", 1)
    verifier = Verifier()
    vectors = [verifier.reader.read(np.asarray(Image.open(path)))[0].vector for path in (a, b)]
    verifier.calibration = tail(float(verifier.head.logits(*vectors)) - np.log(1 / 0.03))
    assert verifier.verify(a, b, fmr=0.05).same
    assert not verifier.verify(a, b, fmr=0.02).same
    assert verifier.verify(a, b, prior=0.001).probability < verifier.verify(a, b, prior=0.9).probability
    even = verifier.verify(a, b, prior=0.5, fmr=0.02)
    assert even.probability == pytest.approx(even.similarity)
    assert even.fmr == 0.02
    assert even.logit < even.threshold == pytest.approx(even.logit + np.log(0.03 / 0.02), abs=1e-6)


def test_verification_counts_the_quality_of_both_faces(tmp_path):
    """A lower score is expected of faces that the network saw little of, so the same score is likelier theirs."""
    a, b = save_face(tmp_path / "a.png", 1), second_photo(tmp_path / "b.jpg", 1)
    verifier = Verifier()
    logit = verifier.verify(a, b).logit
    lengths = [verifier.reader.read(np.asarray(Image.open(path)))[0].quality for path in (a, b)]
    found = []
    for usual in np.mean(np.log(lengths)) + np.array([0.0, 0.25]):  # the photos are as clear as usual, and less clear
        verifier.calibration = tail(logit - 2, by_quality=4.0, usual=float(usual))
        found.append(verifier.verify(a, b, prior=0.2))
    usual, unclear = found
    assert usual.logit == unclear.logit
    assert usual.threshold == unclear.threshold
    assert usual.similarity < unclear.similarity - 0.1
    assert usual.probability < unclear.probability - 0.1


def test_verification_needs_a_face_in_both(tmp_path):
    a = save_face(tmp_path / "a.png", 1)
    with pytest.raises(NoFace, match=r"blank\.png"):
        Verifier().verify(a, save_blank(tmp_path / "blank.png"))
    with pytest.raises(PhotoNotFound):
        Verifier().verify(tmp_path / "gone.png", a)


def test_a_verifier_without_its_model_says_so(tmp_path):
    with pytest.raises(ModelError):
        Verifier(tmp_path / "none.safetensors")


# which photos


@pytest.fixture
def tree(tmp_path):
    for name in ("b.jpg", "a.png", "sub/c.jpg", "sub/.hidden.jpg"):
        save_blank(tmp_path / "tree" / name)
    (tmp_path / "tree" / "notes.txt").write_text("no photo")
    return tmp_path / "tree"


def short(found, tree):
    return [os.path.relpath(path, tree) for path in found]


def test_folders_are_walked_in_order_and_other_files_left(tree):
    assert short(expand([tree]), tree) == ["a.png", "b.jpg", os.path.join("sub", "c.jpg")]


def test_files_are_taken_as_they_are_in_the_order_given(tree):
    wanted = [str(tree / "b.jpg"), str(tree / "notes.txt"), str(tree / "missing.jpg"), str(tree / "a.png")]
    assert list(expand(wanted)) == wanted


def test_patterns_are_expanded(tree):
    assert short(expand([str(tree / "*.jpg")]), tree) == ["b.jpg"]
    assert short(expand([str(tree / "**" / "*.jpg")]), tree) == ["b.jpg", os.path.join("sub", "c.jpg")]
    assert short(expand([str(tree / "s*")]), tree) == [os.path.join("sub", "c.jpg")]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tree):
    save_blank(tree / "x[1].jpg")
    save_blank(tree / "x1.jpg")
    assert short(expand([str(tree / "x[1].jpg")]), tree) == ["x[1].jpg"]


def test_a_source_without_photos_is_named(tree, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PhotoNotFound, match="holds no photos"):
        list(expand([tmp_path / "empty"]))
    with pytest.raises(PhotoNotFound, match="Nothing matches"):
        list(expand([str(tree / "*.webp")]))


# real faces


def test_real_people_are_recognised_and_a_stranger_is_not(tmp_path, portraits):
    with Gallery(tmp_path / "g", create=True) as opened:
        for file, name in (("obama.jpg", "Obama"), ("biden.jpg", "Biden"), ("grace_hopper.jpg", "Hopper")):
            with named_photos([portraits / file], name) as (photos, _):
                assert [result.status for result in opened.iter_enroll(photos)] == ["enrolled"]
        again = identify(opened, [portraits / "obama2.jpg", portraits / "obama3.jpg"])
        assert [photo.faces[0].candidates[0].name for photo in again] == ["Obama", "Obama"]
        (same,) = identify(opened, [portraits / "biden.jpg"])
        assert same.faces[0].name == "Biden"
        assert same.faces[0].probability > 0.9
        assert one(opened, portraits / "astronaut.png").name is None


def test_every_face_of_a_group_is_found(tmp_path, shared):
    with gallery(tmp_path / "g", [record("nobody here", unit(1)[0])]) as opened:
        (found,) = identify(opened, [shared / "photos" / "friends.jpg"])
    assert len(found.faces) == 6
    assert found.error is None
