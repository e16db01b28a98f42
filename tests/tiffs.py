"""TIFF files written byte by byte (TIFF 6.0): every layout of pixels, several pages, and the structure of raw files."""

import struct

import numpy as np

LONG, SHORT = 4, 3
BITS, COMPRESSION, PHOTOMETRIC, STRIPS, ORIENTATION, CHANNELS = 258, 259, 262, 273, 274, 277
ROWS, STRIP_LENGTHS, PLANAR, SUB_DIRECTORIES, EXTRA, FORMAT = 278, 279, 284, 330, 338, 339
JPEG, JPEG_LENGTH, DNG_VERSION = 513, 514, 50706


class TiffWriter:
    """Collects pages and blocks of data, and gives the file."""

    def __init__(self, order="<"):
        self.order = order
        self.data = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
        self.link = 4  # where the offset of the next page is to be written

    def block(self, content):
        """Append data; returns its offset."""
        self.data += bytes(len(self.data) % 2)
        self.data += content
        return len(self.data) - len(content)

    def directory(self, tags):
        """Append an image file directory of {tag: (type, values)}; returns its offset and where its link is."""
        entries = b""
        for tag, (kind, values) in sorted(tags.items()):
            packed = struct.pack(f"{self.order}{len(values)}{'HI'[kind == LONG]}", *values)
            field = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(f"{self.order}I", self.block(packed))
            entries += struct.pack(f"{self.order}HHI", tag, kind, len(values)) + field
        at = self.block(struct.pack(f"{self.order}H", len(tags)) + entries + bytes(4))
        return at, len(self.data) - 4

    def page(self, tags):
        """Append a directory and link it after the page before."""
        at, link = self.directory(tags)
        self.data[self.link : self.link + 4] = struct.pack(f"{self.order}I", at)
        self.link = link


def encoded(values, bits, kind, order):
    """Values (height, width, channels) as TIFF stores them; rows of 12 or fewer than 8 bits end at a whole byte."""
    if bits in (8, 16, 32, 64):
        return values.astype(f"{order if bits > 8 else '|'}{'?uif'[kind]}{bits // 8}").tobytes()
    rows = b""
    for row in values.reshape(len(values), -1):
        text = "".join(f"{int(value):0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows += int(text, 2).to_bytes(len(text) // 8, "big")
    return rows


def add_page(writer, values, photometric, bits=8, kind=1, planar=False, orientation=1):
    """Append a page of numbers (height, width, channels). `kind`: 1 unsigned, 2 signed, 3 floating-point."""
    height, width, channels = values.shape
    planes = np.split(values, channels, axis=2) if planar else [values]
    strips = [encoded(np.ascontiguousarray(plane), bits, kind, writer.order) for plane in planes]
    tags = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        BITS: (SHORT, [bits] * channels),
        COMPRESSION: (SHORT, [1]),
        PHOTOMETRIC: (SHORT, [photometric]),
        STRIPS: (LONG, [writer.block(strip) for strip in strips]),
        ORIENTATION: (SHORT, [orientation]),
        CHANNELS: (SHORT, [channels]),
        ROWS: (LONG, [height]),
        STRIP_LENGTHS: (LONG, [len(strip) for strip in strips]),
        PLANAR: (SHORT, [1 + planar]),
        FORMAT: (SHORT, [kind] * channels),
    }
    if channels in (2, 4) and photometric != 5:
        tags[EXTRA] = (SHORT, [2])
    writer.page(tags)


def tiff(values, photometric, bits=8, kind=1, planar=False, order="<", orientation=1):
    """A TIFF of one page; arguments of add_page."""
    writer = TiffWriter(order)
    add_page(writer, values, photometric, bits, kind, planar, orientation)
    return bytes(writer.data)


def raw_file(previews, orientation=1, order="<"):
    """A raw file as Nikon's: a small page, and directories inside it with JPEG previews and the sensor's pixels."""
    writer = TiffWriter(order)
    inside = [
        writer.directory({JPEG: (LONG, [writer.block(jpeg)]), JPEG_LENGTH: (LONG, [len(jpeg)])})[0] for jpeg in previews
    ]
    sensor = writer.block(b"\xff\xd8\xff\xc3\0\x0b\x0e\x0f\xff\x0f\xff\x01\x01\x11\0" + bytes(100))  # lossless JPEG
    inside.append(
        writer.directory(
            {
                PHOTOMETRIC: (SHORT, [32803]),
                COMPRESSION: (SHORT, [7]),
                STRIPS: (LONG, [sensor]),
                STRIP_LENGTHS: (LONG, [115]),
            }
        )[0]
    )
    small = np.zeros((120, 160, 3), np.uint8)
    strip = writer.block(small.tobytes())
    writer.page(
        {
            256: (LONG, [160]),
            257: (LONG, [120]),
            BITS: (SHORT, [8, 8, 8]),
            COMPRESSION: (SHORT, [1]),
            PHOTOMETRIC: (SHORT, [2]),
            STRIPS: (LONG, [strip]),
            ORIENTATION: (SHORT, [orientation]),
            CHANNELS: (SHORT, [3]),
            ROWS: (LONG, [120]),
            STRIP_LENGTHS: (LONG, [small.nbytes]),
            SUB_DIRECTORIES: (LONG, inside),
        }
    )
    return bytes(writer.data)
