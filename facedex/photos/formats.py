"""Picture formats by the suffix and the first bytes of a file."""

from __future__ import annotations

_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
SUFFIXES = (*_JPEG_SUFFIXES, ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif")
RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef",
    ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TIFF_MAGIC = (b"II*\0", b"MM\0*")
_MAGIC = (JPEG_MAGIC, PNG_MAGIC, b"GIF87a", b"GIF89a", *TIFF_MAGIC)
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}  # lengths in bytes of the header after the file's own

# Raw files that are no TIFF: the place and the text of their mark.
_RAW_MARKS = (
    (0, b"FUJIFILMCCD-RAW", "RAF of Fujifilm"),
    (4, b"ftypcrx ", "CR3 of Canon"),
    (0, b"IIRO", "ORF of Olympus"),
    (0, b"IIRS", "ORF of Olympus"),
    (0, b"MMOR", "ORF of Olympus"),
    (0, b"IIU\0", "RW2 of Panasonic"),
    (0, b"FOVb", "X3F of Sigma"),
    (0, b"\0MRM", "MRW of Minolta"),
    (6, b"HEAPCCDR", "CRW of Canon"),
)


def has_known_magic(head: bytes) -> bool:
    """Whether a file with these first bytes (32 are enough) is a picture or a raw file."""
    return (
        head.startswith(_MAGIC)
        or is_bmp(head)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or mp4_picture_kind(head) is not None
        or raw_kind(head) is not None
    )


def is_bmp(head: bytes) -> bool:
    """Whether a file is a BMP. Two letters are not enough, because texts begin with them too."""
    return head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS


def mp4_picture_kind(data: bytes) -> str | None:
    """The kind "avif" or "heif" of a picture in the MP4 container (ISO/IEC 14496-12), or None for other data."""
    if data[4:8] != b"ftyp":
        return None
    brands = {data[start : start + 4] for start in (8, 16, 20, 24, 28)}
    if brands & {b"avif", b"avis"}:
        return "avif"
    return "heif" if brands & _HEIF_BRANDS else None


def is_video(head: bytes) -> bool:
    """Whether a file that is no picture is a video: MP4 and MOV, AVI, Matroska and WebM, FLV, Ogg, ASF, or MPEG."""
    return (
        head[4:8] in (b"ftyp", b"moov", b"wide")
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or head.startswith((b"\x1aE\xdf\xa3", b"FLV\1", b"OggS", b"0&\xb2u\x8ef\xcf\x11", b"\0\0\1\xba"))
    )


def raw_kind(head: bytes) -> str | None:
    """What a raw file that is no TIFF is, such as "CR3 of Canon". None for other files."""
    return next((kind for at, mark, kind in _RAW_MARKS if head[at : at + len(mark)] == mark), None)
