"""Decoding: formats by content, upright RGB pixels, and PhotoError for every file that is no photo."""

import errno
import hashlib
import io
import os
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image, features

from facedex.errors import PhotoError, PhotoNotFound, PhotoTooLarge, PhotoUnreadable, PhotoUnsupported
from facedex.photos import images, large
from tests.helpers import python
from tests.tiffs import TiffWriter, add_page

RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 160, 40), (30, 40, 200), (120, 120, 120)
FORMATS = ["JPEG", "PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF"]
OPTIONS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}, "AVIF": {"quality": 95}}


def scene():
    """(48, 64, 3) uint8: four flat colours, which show every turn or flip and survive lossy formats."""
    pixels = np.empty((48, 64, 3), np.uint8)
    pixels[:24, :32], pixels[:24, 32:], pixels[24:, :32], pixels[24:, 32:] = RED, GREEN, BLUE, GREY
    return pixels


def encode(image, kind, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **{**OPTIONS.get(kind, {}), **options})
    return buffer.getvalue()


def assert_close(pixels, expected, tolerance=6):
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected.astype(int)).mean() < tolerance


def decode(data):
    return images.decode(data, "photo")


def needs(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")


# formats


@pytest.mark.parametrize("suffix", ["png", "jpg", "txt"])
@pytest.mark.parametrize("kind", FORMATS)
def test_format_is_known_by_content_whatever_the_suffix(tmp_path, kind, suffix):
    needs(kind)
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(encode(scene(), kind))
    assert_close(images.read_photo(path), scene())


def test_of_an_mpo_the_first_picture_is_decoded():
    data = encode(scene(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48), GREEN)])
    assert data.count(b"\xff\xd8\xff") > 1
    assert_close(decode(data), scene())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_of_several_frames_the_first_is_decoded(kind):
    needs(kind)
    later = [Image.new("RGB", (64, 48), colour) for colour in (GREEN, BLUE)]
    data = encode(scene(), kind, save_all=True, append_images=later)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert_close(decode(data), scene())


@pytest.mark.parametrize("kind", ["PPM", "ICO", "PCX", "TGA"])
def test_other_formats_of_pillow_are_refused(kind):
    data = encode(scene(), kind)
    assert Image.open(io.BytesIO(data)).size
    with pytest.raises(PhotoUnsupported):
        decode(data)


# orientation


def stored(orientation):
    """The scene as a camera stores it with this orientation (EXIF 2.3, tag 274)."""
    upright = scene()
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_exif_orientation_comes_out_upright(kind, orientation):
    needs(kind)
    exif = Image.Exif()
    exif[274] = orientation
    assert_close(decode(encode(np.ascontiguousarray(stored(orientation)), kind, exif=exif)), scene())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"rubbish", b"Exif\0\0rubbish", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"])
def test_a_picture_with_damaged_exif_is_decoded(kind, exif):
    assert_close(decode(encode(scene(), kind, exif=exif)), scene())


# colour modes


def test_grey_becomes_three_equal_channels():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    assert np.array_equal(decode(encode(ramp, "PNG")), np.repeat(ramp[:, :, None], 3, axis=2))


def test_transparent_pixels_are_blended_with_white():
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (200, 0, 0, alpha))
    assert_close(decode(encode(image, "PNG")), np.array([[(255, 255, 255), (227, 127, 127), (200, 0, 0)]]), 2)


def test_transparent_grey_pixels_are_blended_with_white():
    image = Image.new("LA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (100, alpha))
    assert_close(decode(encode(image, "PNG")), np.array([[(255,) * 3, (177,) * 3, (100,) * 3]]), 2)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_palette_entry_is_white(kind):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    assert np.array_equal(decode(encode(image, kind, transparency=0)), [[(255, 255, 255), GREEN]])


def test_transparent_key_colour_is_white():
    image = Image.fromarray(np.array([[RED, GREEN]], np.uint8))
    assert np.array_equal(decode(encode(image, "PNG", transparency=RED)), [[(255, 255, 255), GREEN]])


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(kind):
    assert_close(decode(encode(Image.fromarray(scene()).convert("CMYK"), kind)), scene())


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("PNG", np.arange(0, 65536, 128, dtype="<u2")),
        ("TIFF", np.arange(0, 65536, 128, dtype="<u2")),
        ("TIFF", np.arange(0, 65536, 128, dtype=">u2")),
        ("TIFF", np.arange(0, 65536, 128, dtype=np.int32)),
        ("TIFF", np.linspace(0, 1, 512, dtype=np.float32)),
        ("PNG", np.linspace(0, 4095, 512).astype("<u2")),  # 12 bits in a 16-bit file, as cameras and scanners write
        ("PNG", np.linspace(0, 1023, 512).astype("<u2")),
        ("PNG", np.linspace(0, 255, 512).astype("<u2")),
    ],
)
def test_deep_grey_is_scaled_and_not_clipped(kind, values):
    data = encode(Image.fromarray(np.tile(values, (3, 1))), kind)
    grey = decode(data)[1, :, 0].astype(int)
    assert (np.diff(grey) >= 0).all()
    assert np.abs(grey - np.linspace(0, 255, 512)).max() <= 2


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1.3])
def test_a_float_that_is_not_finite_or_above_one_leaves_the_other_pixels_alone(odd):
    values = np.tile(np.linspace(0, 1, 512, dtype=np.float32), (3, 1))
    values[0, 0] = odd
    grey = decode(encode(Image.fromarray(values), "TIFF"))[1, :, 0].astype(int)
    assert np.abs(grey - np.linspace(0, 255, 512)).max() <= 2


def test_threads_that_decode_leave_the_warning_filters_unchanged():
    data, before = encode(Image.fromarray(scene()), "PNG"), list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: decode(data), range(200)))
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="still shown"):
        warnings.warn("still shown", stacklevel=1)


def test_one_bit_is_black_and_white():
    bits = np.arange(24).reshape(3, 8) % 3 == 0
    assert np.array_equal(decode(encode(Image.fromarray(bits), "PNG"))[:, :, 1], np.where(bits, 255, 0))


# caps


def png(width, height, body=b""):
    """A PNG that declares a size but holds fewer pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def jpeg(width, height):
    data = bytearray(encode(scene(), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def gif(width, height):
    return b"GIF89a" + struct.pack("<HH", width, height) + encode(scene(), "GIF")[10:]


@pytest.mark.parametrize(
    "data",
    [png(12_001, 10_000), png(100_000, 100_000), png(2**31 - 1, 1), jpeg(65_000, 65_000), gif(65_535, 65_535)],
    ids=["PNG over our cap", "PNG over Pillow's", "PNG line", "JPEG", "GIF"],
)
def test_declared_size_is_refused_before_anything_is_decoded(data):
    assert len(data) < 5000
    with pytest.raises(PhotoTooLarge, match="pixels"):
        decode(data)


def test_pixel_cap_is_inclusive():
    data = encode(scene(), "PNG")
    assert images.decode(data, "photo", max_pixels=48 * 64).shape == (48, 64, 3)
    with pytest.raises(PhotoTooLarge, match="64 x 48"):
        images.decode(data, "photo", max_pixels=48 * 64 - 1)


def test_a_jpeg_may_be_larger_than_other_pictures(monkeypatch):
    monkeypatch.setattr(large, "decode_to_disk", lambda data: scene())  # the header counts here
    assert decode(jpeg(20_000, 15_000)).shape == (48, 64, 3)
    with pytest.raises(PhotoTooLarge, match="limit of 300 million"):
        decode(jpeg(20_001, 15_000))
    progressive = encode(scene(), "JPEG", progressive=True)
    at = progressive.index(b"\xff\xc2") + 5
    with pytest.raises(PhotoTooLarge, match="limit of 120 million"):
        decode(progressive[:at] + struct.pack(">HH", 7_000, 20_000) + progressive[at + 4 :])


# large pictures


def detailed(height=300, width=411):
    """(height, width, 3) uint8: soft colours with fine detail in brightness, as photos have."""
    y, x = np.mgrid[:height, :width]
    colours = np.stack([90 + 80 * np.sin(x / 90), 120 + 60 * np.cos(y / 70), 130 + 50 * np.sin((x + y) / 80)], axis=2)
    return np.clip(colours + 25 * np.sin(x * y / 300)[:, :, None], 0, 255).astype(np.uint8)


@pytest.fixture
def small_limit(monkeypatch):
    """A limit that every picture of these tests exceeds, so that it is decoded as one of hundreds of megapixels is."""
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_has_the_pixels_of_its_ordinary_decoding(monkeypatch, orientation, subsampling):
    exif = Image.Exif()
    exif[274] = orientation
    data = encode(detailed(), "JPEG", subsampling=subsampling, exif=exif)
    plain = decode(data)
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    assert_close(decode(data), plain, 2.5)
    assert np.abs(decode(data).mean(axis=(0, 1)) - plain.mean(axis=(0, 1))).max() < 0.5


def test_a_large_grey_jpeg_has_three_equal_channels(small_limit):
    grey = detailed()[:, :, 0]
    assert_close(decode(encode(grey, "JPEG")), np.repeat(grey[:, :, None], 3, axis=2), 2)


def test_the_pixels_of_a_large_jpeg_may_be_written_to(small_limit):
    pixels = decode(encode(detailed(), "JPEG"))
    pixels[0, 0] = 7
    assert pixels[0, 0].tolist() == [7, 7, 7]


def test_a_large_jpeg_of_which_most_is_missing_is_unreadable(small_limit):
    data = encode(detailed(), "JPEG")
    with pytest.raises(PhotoUnreadable, match="is cut short"):
        decode(data[: len(data) // 4])


def test_the_error_of_a_full_disk_names_the_folder(small_limit, monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(large.tempfile, "TemporaryFile", full)
    with pytest.raises(PhotoUnreadable, match=r"temporary file .*No space left.* TMPDIR"):
        decode(encode(detailed(), "JPEG"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "CMYK"])
def test_a_picture_that_is_converted_in_strips_has_the_same_pixels(monkeypatch, mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    data = encode(Image.fromarray(detailed()).convert(mode), kind)
    at_once = decode(data)
    monkeypatch.setattr(images, "_STRIP_PIXELS", 7 * 411)
    assert np.array_equal(decode(data), at_once)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the peak of /proc")
@pytest.mark.parametrize(("kind", "orientation"), [("JPEG", 1), ("PNG", 1), ("JPEG", 6)])
def test_decoding_takes_at_most_eight_bytes_a_pixel(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "photo"
    Image.new("RGB", (6000, 5000), (90, 120, 150)).save(path, kind, exif=exif)
    code = """if True:
        import sys
        from facedex.photos import images
        peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
        images.decode(images.read_bytes(sys.argv[2]), "small")
        before = peak()
        images.read_photo(sys.argv[1])
        print(peak() - before)"""
    small = tmp_path / "small"
    Image.new("RGB", (60, 50)).save(small, kind)
    printed, errors = python(code, path, small).communicate()
    assert int(printed) <= 8 * 6000 * 5000, errors


# sizes before decoding


@pytest.mark.parametrize("kind", FORMATS)
def test_the_pixels_of_a_file_are_counted_by_its_header(tmp_path, kind):
    needs(kind)
    data = encode(scene(), kind)
    (tmp_path / "photo").write_bytes(data)
    assert images.pixel_count(data) == images.pixel_count(str(tmp_path / "photo")) == 48 * 64


def test_the_pixels_of_a_reduced_jpeg_are_counted_as_they_will_be():
    data = encode(detailed(800, 1200), "JPEG")
    pixels, _ = images.decode_smaller(data, "photo", 200)
    assert images.pixel_count(data, 200) == pixels.shape[0] * pixels.shape[1] < 800 * 1200


def test_what_is_no_picture_has_no_pixels(tmp_path):
    (tmp_path / "text").write_bytes(b"just text")
    for photo in (b"", b"just text", str(tmp_path / "text"), str(tmp_path / "nowhere"), str(tmp_path), "a\0b"):
        assert images.pixel_count(photo) == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_read_to_count_pixels(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert images.pixel_count(str(tmp_path / "pipe")) == 0


# caps of bytes


def test_byte_cap_is_inclusive(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"x" * 1000)
    assert len(images.read_bytes(path, max_bytes=1000)) == 1000
    with pytest.raises(PhotoTooLarge):
        images.read_bytes(path, max_bytes=999)


def test_a_huge_file_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "photo.jpg"
    with open(path, "wb") as file:
        file.truncate(images.MAX_BYTES + 2**20)  # a sparse file, which takes no space
    with pytest.raises(PhotoTooLarge, match="201 MiB"):
        images.read_photo(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_byte_cap_holds_for_a_file_without_a_size():
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "wb") as file:
        file.write(b"x" * 2000)
        file.flush()
        with pytest.raises(PhotoTooLarge):
            images.read_bytes(f"/dev/fd/{reading}", max_bytes=1000)


# files that are no photos


def test_empty_file_is_unreadable():
    with pytest.raises(PhotoUnreadable, match="empty"):
        decode(b"")


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_picture_is_unreadable(kind):
    needs(kind)
    noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    data = encode(noise, kind)
    for share in (0.1, 0.3) if kind == "JPEG" else (0.1, 0.5, 0.9):  # most of a JPEG can be read
        with pytest.raises(PhotoUnreadable):
            decode(data[: int(share * len(data))])


@pytest.mark.parametrize(
    "data",
    [
        b"a",
        b"just text\n" * 50,
        b"%PDF-1.7\n",
        b"<svg></svg>",
        b"PK\3\4" + bytes(60),
        b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
    ],
)
def test_a_file_that_is_no_picture_is_unsupported(data):
    with pytest.raises(PhotoUnsupported, match=r"photo is (not a picture|a video)"):
        decode(data)


def test_random_bytes_are_unsupported():
    rng = np.random.default_rng(7)
    for _ in range(50):
        with pytest.raises(PhotoUnsupported):
            decode(rng.bytes(int(rng.integers(1, 500))))


def test_missing_file_is_not_found(tmp_path):
    with pytest.raises(PhotoNotFound, match=r"nobody\.jpg"):
        images.read_photo(tmp_path / "nobody.jpg")


def test_the_error_for_a_folder_calls_it_a_folder(tmp_path):
    with pytest.raises(PhotoUnreadable, match="is a folder"):
        images.read_photo(tmp_path)


def test_path_below_a_file_is_a_photo_error(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(PhotoNotFound):
        images.read_photo(tmp_path / "file" / "photo.jpg")


@pytest.mark.parametrize("name", ["a\0b.jpg", "x" * 300 + ".jpg", "d/" * 5000 + "a.jpg"])
def test_impossible_path_is_a_photo_error(tmp_path, name):
    with pytest.raises(PhotoError):
        images.read_photo(os.path.join(tmp_path, name))


def test_link_to_itself_is_unreadable(tmp_path):
    (tmp_path / "me.jpg").symlink_to("me.jpg")
    with pytest.raises(PhotoUnreadable):
        images.read_photo(tmp_path / "me.jpg")


@contextmanager
def nobody():
    """In this context the process has the rights of the user nobody, even when it is root."""
    if os.name != "posix":
        pytest.skip("needs POSIX permissions")
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        yield
    finally:
        if root:
            os.seteuid(0)


def test_file_without_permission_is_unreadable(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(scene(), "JPEG"))
    path.chmod(0)
    with nobody(), pytest.raises(PhotoUnreadable, match="Permission denied"):
        images.read_photo(path)


@pytest.mark.parametrize("name", ["with space.jpg", "José Žižek.jpg", "写真.jpg", "-rf.jpg", "a'b\"c.jpg", "🙂.jpg"])
def test_unusual_names_are_opened(tmp_path, name):
    (tmp_path / name).write_bytes(encode(scene(), "JPEG"))
    assert images.read_photo(tmp_path / name).shape == (48, 64, 3)


def test_a_photo_is_known_by_the_hash_of_its_bytes():
    data = encode(scene(), "PNG")
    assert images.sha256(data) == hashlib.sha256(data).hexdigest()


# HEIC


def heic(**options):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra heic")
    pillow_heif.register_heif_opener()
    return encode(scene(), "HEIF", quality=95, **options)


def test_the_error_for_heic_without_its_extra_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoUnsupported, match=r"pip install 'facedex\[heic\]'"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


def test_heic_is_decoded():
    assert_close(decode(heic()), scene())


def test_heic_is_turned_upright():
    exif = Image.Exif()
    exif[274] = 6
    data = heic(exif=exif.tobytes())
    assert_close(decode(data), np.rot90(scene(), -1))


def test_truncated_heic_is_unreadable():
    data = heic()
    with pytest.raises(PhotoUnreadable):
        decode(data[: len(data) // 2])


# pages


def tiff_pages(*shades):
    pictures = [Image.new("RGB", (64, 48), (shade,) * 3) for shade in shades]
    return encode(pictures[0], "TIFF", save_all=True, append_images=pictures[1:])


def test_the_pages_of_a_tiff_are_given_in_order_with_remarks():
    remarks, found = [], []
    for pixels in images.pages(tiff_pages(10, 20, 30), "photo", remarks):
        found.append((int(pixels[0, 0, 0]), list(remarks)))
    assert found == [(10, []), (20, ["page 2 of the file is used"]), (30, ["page 3 of the file is used"])]


def test_at_most_ten_pages_are_given():
    assert len(list(images.pages(tiff_pages(*range(15)), "photo"))) == 10


def test_other_pictures_have_one_page():
    later = [Image.new("RGB", (64, 48), GREEN)]
    assert len(list(images.pages(encode(scene(), "GIF", save_all=True, append_images=later), "photo"))) == 1


def test_a_page_that_cannot_be_read_is_left_out():
    writer = TiffWriter()
    for shade, kind in ((10, 1), (0.5, 3), (30, 1)):  # floating-point colours are not read
        add_page(writer, np.full((48, 64, 3), shade), 2, 8 if kind == 1 else 32, kind)
    assert [int(pixels[0, 0, 0]) for pixels in images.pages(bytes(writer.data), "photo")] == [10, 30]


# fuzz


def mutated(data, rng):
    """The data with a few bytes changed, removed or repeated."""
    broken = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        at = int(rng.integers(len(broken)))
        match rng.integers(5):
            case 0 | 1:
                broken[at] = rng.integers(256)
            case 2:
                broken[at] ^= 1 << int(rng.integers(8))
            case 3:
                del broken[at : at + int(rng.integers(1, 40))]
            case 4:
                broken[at:at] = broken[at : at + int(rng.integers(1, 40))]
        if not broken:
            break
    return bytes(broken[: rng.integers(len(broken) + 1)] if rng.random() < 0.1 else broken)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
def test_altered_bytes_give_pixels_or_a_photo_error(kind):
    rng = np.random.default_rng(20)
    noise = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    data = encode(noise, kind, **({} if kind == "GIF" else {"exif": exif}))
    read = 0
    for _ in range(60):
        try:
            pixels = images.decode(mutated(data, rng), "photo", max_pixels=2_000_000)
        except PhotoError:
            continue
        read += 1
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
    assert read < 60


# decoding at a smaller size


@pytest.mark.parametrize(("min_side", "times"), [(24, 8), (25, 4), (96, 2), (97, 1), (500, 1)])
def test_a_jpeg_is_reduced_down_to_the_smallest_side(min_side, times):
    large = np.kron(scene(), np.ones((4, 4, 1), np.uint8))  # 192 x 256
    pixels, found = images.decode_smaller(encode(large, "JPEG"), "photo", min_side)
    assert found == times
    assert pixels.shape == (192 // times, 256 // times, 3)
    assert_close(pixels, large[times // 2 :: times, times // 2 :: times], 20)


def test_a_jpeg_decoded_smaller_is_upright():
    image = Image.fromarray(np.kron(scene(), np.ones((4, 4, 1), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    pixels, times = images.decode_smaller(encode(image, "JPEG", exif=exif), "photo", 96)
    assert times == 2
    assert pixels.shape == (128, 96, 3)


def test_other_formats_are_not_reduced():
    pixels, times = images.decode_smaller(encode(scene(), "PNG"), "photo", 8)
    assert times == 1
    assert pixels.shape == (48, 64, 3)
