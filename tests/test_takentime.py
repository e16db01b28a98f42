"""When a photo was taken, as its EXIF says."""

import io
from datetime import datetime

import pytest
from PIL import Image

from facedex.photos.takentime import taken_time


def picture(kind="JPEG", **tags):
    """A picture with these tags of EXIF: original, digitized, saved."""
    image, file = Image.new("RGB", (8, 8)), io.BytesIO()
    exif = image.getexif()
    for name, tag in (("original", 0x9003), ("digitized", 0x9004)):
        if name in tags:
            exif.get_ifd(0x8769)[tag] = tags[name]
    if "saved" in tags:
        exif[0x0132] = tags["saved"]
    image.save(file, kind, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_original_time_counts_before_that_of_a_scanner(kind):
    data = picture(kind, original="2020:02:03 04:05:06", digitized="2021:01:01 00:00:00", saved="2022:01:01 00:00:00")
    assert taken_time(data, "x") == datetime(2020, 2, 3, 4, 5, 6)


def test_the_time_of_digitizing_counts_where_there_is_no_other():
    assert taken_time(picture(digitized="2021:01:01 00:00:00"), "x") == datetime(2021, 1, 1)


@pytest.mark.parametrize("text", ["0000:00:00 00:00:00", "    :  :     :  :  ", "", "2020-02-03", "nonsense"])
def test_a_camera_without_a_clock_says_nothing(text):
    assert taken_time(picture(original=text), "x") is None


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8 broken", picture(), picture("PNG"), picture(saved="2022:01:01 00:00:00")]
)
def test_photos_without_a_time(data):
    assert taken_time(data, "x") is None
