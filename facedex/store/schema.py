"""The tables of gallery.db, the checksums in them, and how an earlier version is brought to the present one."""

from __future__ import annotations

import hashlib
import sqlite3
import struct

VERSION = 2

_FACTS, _LENGTH = struct.Struct("<qq6dq").pack, struct.Struct("<q").pack  # made once: a bulk enrolment packs millions

_TABLES = """
CREATE TABLE gallery (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    schema_version INTEGER NOT NULL,
    model TEXT NOT NULL,             -- fingerprint of the encoder
    model_file TEXT NOT NULL,        -- the copy of the model that lies beside this file
    dim INTEGER NOT NULL,
    revision INTEGER NOT NULL,       -- grows with every change
    rewritten INTEGER NOT NULL,      -- the last revision that removed or replaced a vector
    people INTEGER NOT NULL DEFAULT 0,
    faces INTEGER NOT NULL DEFAULT 0,
    digest INTEGER NOT NULL DEFAULT 0  -- the sum of all faces' marks, modulo 2^48
);
CREATE TABLE person (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE face (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice, so a stale projection cannot name somebody else
    person INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    vector BLOB NOT NULL,            -- dim little-endian float32, unit length
    box_left REAL NOT NULL, box_top REAL NOT NULL, box_width REAL NOT NULL, box_height REAL NOT NULL,
    score REAL NOT NULL,             -- the detector's
    quality REAL NOT NULL,           -- the embedding's length before normalisation
    source TEXT NOT NULL,            -- path of the photo when it was enrolled
    photo BLOB NOT NULL,             -- SHA-256 of the photo's bytes
    enrolled TEXT NOT NULL,          -- ISO 8601, UTC
    checksum BLOB NOT NULL,          -- over all of these and the person's name
    mark INTEGER NOT NULL DEFAULT 0  -- 48 bits of SHA-256 over id and vector: what a projection depends on
);
CREATE INDEX face_person ON face (person);
CREATE UNIQUE INDEX face_photo ON face (photo, person);
"""

# Made when the index first moves into a search engine: which one, and under which name (see engine.py). Galleries that
# were never in one do without, as do those of before.
ENGINE = "CREATE TABLE engine (note TEXT NOT NULL)"

# Counts and digest move in the change's own transaction, so that nobody has to read a million rows to know what the
# gallery holds: by triggers, which no writer can forget, but for faces that come, which `add` counts once for all.
MODULUS = 1 << 48
_TRIGGERS = f"""
CREATE TRIGGER person_came AFTER INSERT ON person BEGIN UPDATE gallery SET people = people + 1; END;
CREATE TRIGGER person_went AFTER DELETE ON person BEGIN UPDATE gallery SET people = people - 1; END;
CREATE TRIGGER face_went AFTER DELETE ON face BEGIN
    UPDATE gallery SET faces = faces - 1, digest = (digest - OLD.mark + {MODULUS}) % {MODULUS}; END;
CREATE TRIGGER face_moved AFTER UPDATE OF mark ON face BEGIN
    UPDATE gallery SET digest = (digest - OLD.mark + NEW.mark + {MODULUS}) % {MODULUS}; END;
"""


def create(db: sqlite3.Connection) -> None:
    """Make the tables, inside the caller's transaction."""
    _run(db, _TABLES, ";\n")
    _run(db, _TRIGGERS, "END;\n", "END")


def migrate(db: sqlite3.Connection) -> None:
    """Bring a gallery of schema 1 to the present one, in one transaction; records stay as they are.

    A damaged record is no reason to refuse: it is noticed, as before, when it is read.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        # Two processes may migrate at once: the second finds it done.
        if db.execute("SELECT schema_version FROM gallery").fetchone() == (1,):
            for column in ("people", "faces", "digest"):
                db.execute(f"ALTER TABLE gallery ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
            db.execute("ALTER TABLE face ADD COLUMN mark INTEGER NOT NULL DEFAULT 0")
            digest = 0
            for (face,) in db.execute(
                "SELECT id FROM face"
            ).fetchall():  # one vector at a time: a million fill the memory
                (vector,) = db.execute("SELECT vector FROM face WHERE id = ?", (face,)).fetchone()
                one = mark(face, vector) if isinstance(vector, bytes) else 0
                db.execute("UPDATE face SET mark = ? WHERE id = ?", (one, face))
                digest = (digest + one) % MODULUS
            db.execute(
                "UPDATE gallery SET people = (SELECT COUNT(*) FROM person), faces = (SELECT COUNT(*) FROM face), "
                "digest = ?, schema_version = 2",
                (digest,),
            )
            _run(db, _TRIGGERS, "END;\n", "END")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def checksum(
    face: int, person: int, vector: bytes, left: float, top: float, width: float, height: float,
    score: float, quality: float, source: str, photo: bytes, enrolled: str, name: str,
) -> bytes:  # fmt: skip
    """Sixteen bytes of SHA-256 over a face's every field and its person's name, each with its length."""
    where, when, who = source.encode("utf-8", "surrogateescape"), enrolled.encode(), name.encode()
    whole = b"".join((
        _FACTS(face, person, left, top, width, height, score, quality, len(vector)), vector,
        _LENGTH(len(where)), where, _LENGTH(len(photo)), photo, _LENGTH(len(when)), when, _LENGTH(len(who)), who,
    ))  # fmt: skip
    return hashlib.sha256(whole).digest()[:16]


def mark(face: int, vector: bytes) -> int:
    """48 bits of SHA-256 over a face's id and vector. Summed over all faces they tell one set of faces from another,
    whatever the order, and the sum moves with each face (Bellare & Micciancio 1997): enough against accidents.
    """
    return int.from_bytes(hashlib.sha256(face.to_bytes(8, "little") + vector).digest()[:6], "little")


def _run(db: sqlite3.Connection, script: str, separator: str, end: str = "") -> None:
    for statement in script.split(separator):
        if statement.strip():
            db.execute(statement + end)
