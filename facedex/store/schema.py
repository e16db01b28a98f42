"""The tables of gallery.db, and the numbered migrations that make them.

`gallery.schema_version` holds how many migrations a database has been through. An empty database is at version 0.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

MODULUS = 1 << 48  # of `gallery.digest`

_FIRST_TABLES = (
    """
    CREATE TABLE gallery (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        schema_version INTEGER NOT NULL,
        model TEXT NOT NULL,               -- fingerprint of the encoder
        model_file TEXT NOT NULL,          -- name of the gallery's copy of its model
        dim INTEGER NOT NULL,              -- numbers in an embedding
        revision INTEGER NOT NULL,         -- grows with every change
        rewritten INTEGER NOT NULL,        -- the last revision that removed or replaced a vector
        people INTEGER NOT NULL DEFAULT 0,
        faces INTEGER NOT NULL DEFAULT 0,
        digest INTEGER NOT NULL DEFAULT 0  -- the sum of the marks of all faces, modulo 2^48
    )
    """,
    """
    CREATE TABLE person (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE          -- in Unicode's form NFC
    )
    """,
    """
    CREATE TABLE face (
        id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice, so that an old index cannot name somebody else
        person INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE,
        vector BLOB NOT NULL,              -- dim little-endian float32, unit length
        box_left REAL NOT NULL, box_top REAL NOT NULL, box_width REAL NOT NULL, box_height REAL NOT NULL,  -- pixels
        score REAL NOT NULL,               -- the detector's
        quality REAL NOT NULL,             -- EncodedFace.quality: the length before scaling to 1
        source TEXT NOT NULL,              -- path of the photo when it was enrolled
        photo BLOB NOT NULL,               -- SHA-256 of the photo's bytes
        enrolled TEXT NOT NULL,            -- ISO 8601, UTC
        checksum BLOB NOT NULL,            -- see rows.checksum
        mark INTEGER NOT NULL              -- see rows.mark
    )
    """,
    "CREATE INDEX face_person ON face (person)",
    "CREATE UNIQUE INDEX face_photo ON face (photo, person)",
    # No row, or one: which search engine holds the index (engines/binding.py).
    "CREATE TABLE engine (note TEXT NOT NULL)",
    # Triggers keep the counts and the digest, because no writer can forget them. Store.add counts new faces itself.
    "CREATE TRIGGER person_came AFTER INSERT ON person BEGIN UPDATE gallery SET people = people + 1; END",
    "CREATE TRIGGER person_went AFTER DELETE ON person BEGIN UPDATE gallery SET people = people - 1; END",
    f"""
    CREATE TRIGGER face_went AFTER DELETE ON face BEGIN
        UPDATE gallery SET faces = faces - 1, digest = (digest - OLD.mark + {MODULUS}) % {MODULUS};
    END
    """,
    f"""
    CREATE TRIGGER face_moved AFTER UPDATE OF mark ON face BEGIN
        UPDATE gallery SET digest = (digest - OLD.mark + NEW.mark + {MODULUS}) % {MODULUS};
    END
    """,
)


# The tables of the scanned library. A photo that lies at two paths is one photo with two files.
_LIBRARY_TABLES = (
    """
    CREATE TABLE scanned_photo (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        photo BLOB NOT NULL UNIQUE,        -- SHA-256 of the photo's bytes
        faces INTEGER NOT NULL,            -- how many were found; some may have been deleted since
        detector INTEGER NOT NULL,         -- faces/detector.VERSION that found them
        remark TEXT,                       -- what a user should know of the photo, such as that a part is missing
        taken TEXT                         -- when by EXIF, ISO 8601 in the camera's local time
    )
    """,
    """
    CREATE TABLE scanned_file (
        source TEXT PRIMARY KEY,           -- as in the table face
        photo INTEGER NOT NULL REFERENCES scanned_photo (id) ON DELETE CASCADE,
        size INTEGER NOT NULL,             -- bytes
        modified INTEGER NOT NULL          -- the file's time of change in ns
    )
    """,
    """
    CREATE TABLE face_group (
        id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice, so that a noted number means no other group later
        resembles INTEGER REFERENCES person (id) ON DELETE SET NULL,
        ignored INTEGER NOT NULL DEFAULT 0     -- 1 where the user wants no name for the group
    )
    """,
    """
    CREATE TABLE scanned_face (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        photo INTEGER NOT NULL REFERENCES scanned_photo (id) ON DELETE CASCADE,
        vector BLOB NOT NULL,              -- these columns as in the table face
        box_left REAL NOT NULL, box_top REAL NOT NULL, box_width REAL NOT NULL, box_height REAL NOT NULL,
        score REAL NOT NULL,
        quality REAL NOT NULL,
        landmarks BLOB NOT NULL,           -- five points x, y in pixels, little-endian float32
        sharpness REAL NOT NULL,           -- Quality.sharpness
        unusual TEXT,                      -- Quality.unusual
        checksum BLOB NOT NULL,            -- see library_rows.face_checksum
        in_group INTEGER REFERENCES face_group (id) ON DELETE SET NULL
    )
    """,
    # A row is a person's decision. A face has at most one name.
    """
    CREATE TABLE face_name (
        face INTEGER PRIMARY KEY REFERENCES scanned_face (id) ON DELETE CASCADE,
        person INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE,
        checksum BLOB NOT NULL             -- see library_rows.name_checksum
    )
    """,
    # A face may not be grouped with another. A row is a person's decision.
    """
    CREATE TABLE face_apart (
        face INTEGER NOT NULL REFERENCES scanned_face (id) ON DELETE CASCADE,
        other INTEGER NOT NULL REFERENCES scanned_face (id) ON DELETE CASCADE,
        PRIMARY KEY (face, other)
    ) WITHOUT ROWID
    """,
    # A face shows the same person as another. A row is a person's decision.
    """
    CREATE TABLE face_same (
        face INTEGER NOT NULL REFERENCES scanned_face (id) ON DELETE CASCADE,
        other INTEGER NOT NULL REFERENCES scanned_face (id) ON DELETE CASCADE,
        PRIMARY KEY (face, other)
    ) WITHOUT ROWID
    """,
    # A face does not show this person. A row is a person's decision.
    """
    CREATE TABLE face_not_person (
        face INTEGER NOT NULL REFERENCES scanned_face (id) ON DELETE CASCADE,
        person INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE,
        PRIMARY KEY (face, person)
    ) WITHOUT ROWID
    """,
    # What the detector took for a face, and a person says is none: a statue, a poster, a blur. Its row stays, so that
    # no later scan brings it back.
    """
    CREATE TABLE not_face (
        face INTEGER PRIMARY KEY REFERENCES scanned_face (id) ON DELETE CASCADE
    )
    """,
    # A small picture of an enrolled face, where the user asked to keep it. It goes with the face.
    """
    CREATE TABLE face_picture (
        face INTEGER PRIMARY KEY REFERENCES face (id) ON DELETE CASCADE,
        picture BLOB NOT NULL,             -- a JPEG file
        checksum BLOB NOT NULL             -- see rows.picture_checksum
    )
    """,
    "CREATE INDEX face_apart_other ON face_apart (other)",
    "CREATE INDEX face_same_other ON face_same (other)",
    "CREATE INDEX face_not_person_person ON face_not_person (person)",
    "CREATE INDEX scanned_file_photo ON scanned_file (photo)",
    "CREATE INDEX scanned_file_size ON scanned_file (size)",
    "CREATE INDEX scanned_face_photo ON scanned_face (photo)",
    "CREATE INDEX scanned_face_group ON scanned_face (in_group)",
    "CREATE INDEX face_name_person ON face_name (person)",
    "CREATE INDEX face_group_resembles ON face_group (resembles)",
)


# A consent belongs to a photo, because a person may allow one photo for a year and another for ever. The columns are
# part of a face's checksum where they are not empty, so that faces of version 1 keep theirs.
_CONSENTS = (
    "ALTER TABLE face ADD COLUMN consent TEXT NOT NULL DEFAULT ''",  # what was allowed, in the user's words
    "ALTER TABLE face ADD COLUMN expires TEXT NOT NULL DEFAULT ''",  # the last day, as YYYY-MM-DD; '' for no end
    "CREATE INDEX face_expires ON face (expires) WHERE expires <> ''",
)

# A person who has lost the last enrolled photo stays, as long as scanned faces bear the name. `gallery.people` counts
# the others alone, because look-ups and thresholds know nobody without a photo.
_PHOTOLESS = (
    "ALTER TABLE person ADD COLUMN photoless INTEGER NOT NULL DEFAULT 0",  # 1 for such a person
    "ALTER TABLE person ADD COLUMN expires TEXT NOT NULL DEFAULT ''",  # that of the last photo, which is gone
    "DROP TRIGGER person_went",
    """
    CREATE TRIGGER person_went AFTER DELETE ON person BEGIN
        UPDATE gallery SET people = people - 1 + OLD.photoless;
    END
    """,
    """
    CREATE TRIGGER person_changed AFTER UPDATE OF photoless ON person BEGIN
        UPDATE gallery SET people = people + OLD.photoless - NEW.photoless;
    END
    """,
    """
    CREATE TRIGGER last_face_went AFTER DELETE ON face WHEN NOT EXISTS (SELECT 1 FROM face WHERE person = OLD.person)
    BEGIN
        UPDATE person SET expires = OLD.expires WHERE id = OLD.person;
    END
    """,
)

# One row for each change, written in the transaction of the change, and deleted when the change is undone. It holds
# no path: the rows of the faces have these, so that no path outlives its face.
_CHANGES = (
    """
    CREATE TABLE change (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        made TEXT NOT NULL,                -- ISO 8601, UTC
        account TEXT,                      -- the system's account of the process that made it
        kind TEXT NOT NULL,                -- one of changelog.KINDS
        person INTEGER, other INTEGER,     -- whom it concerns; NULL for nobody, and after these were deleted
        name TEXT, former TEXT,            -- their names at that time; NULL likewise
        detail TEXT NOT NULL,              -- in words, without names and paths
        photos INTEGER NOT NULL, faces INTEGER NOT NULL,  -- how many it concerns
        enrolled TEXT NOT NULL,            -- ids of the faces that it concerns, a JSON array
        scanned TEXT NOT NULL,             -- ids of the scanned faces, likewise
        back TEXT                          -- what undoing it needs, a JSON object; NULL where it cannot be undone
    )
    """,
    "CREATE INDEX change_person ON change (person)",
    "CREATE INDEX change_other ON change (other) WHERE other IS NOT NULL",
)


def m001_first_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty database."""
    for statement in _FIRST_TABLES:
        connection.execute(statement)


def m002_library_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of the scanned library and of the log, and the columns of consents."""
    for statement in (*_LIBRARY_TABLES, *_CONSENTS, *_PHOTOLESS, *_CHANGES):
        connection.execute(statement)


# A change of the format is a new function at the end. Those before it never change: old galleries go through them.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (m001_first_tables, m002_library_tables)


def version(connection: sqlite3.Connection) -> object:
    """How many migrations a database has been through, 0 where it has none of the tables.

    None, or a value of another type than int, comes from a damaged database. Raises sqlite3.Error.
    """
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'gallery'").fetchone():
        return 0
    row = connection.execute("SELECT schema_version FROM gallery").fetchone()
    return row[0] if row else None


def migrate(connection: sqlite3.Connection, since: int) -> None:
    """Run the migrations after version `since`, inside the caller's transaction. Raises sqlite3.Error."""
    for migration in MIGRATIONS[since:]:
        migration(connection)
    connection.execute("UPDATE gallery SET schema_version = ?", (len(MIGRATIONS),))
