"""PostgreSQL with pgvector (0.7 or newer) as a gallery's search engine: HNSW (Malkov and Yashunin 2016) under L1.

The table NAME (`?table=NAME` in the URL, else "facedex") registers projections: one row for each gallery and model.
Each projection has a table of its own: NAME_7 is the seventh's. Galleries share no HNSW graph. A filter would discard
most of what a search in a shared graph finds, and coverage would be lost.

The rest of the URL is libpq's (several hosts, sslmode, connect_timeout, options ...). Passwords come from PGPASSWORD or
~/.pgpass. Settings belong to the session, so a pooler must pool sessions, not transactions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import psycopg
from pgvector import Vector
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from facedex.engines.engine import RANGE, Hits, Key, Outdated, Summary
from facedex.engines.pgconnection import Connection
from facedex.errors import EngineError
from facedex.store.schema import MODULUS

FORMAT = 1
BATCH = 5000  # rows in a transaction
LIMIT = 1000  # pgvector's greatest ef_search

_GRAPHS = ((16, 64), (32, 128))  # m and ef_construction: pgvector's defaults, and a finer graph

T = TypeVar("T")


class PostgresEngine:
    """An engine.Engine, which describes the calls. Threads may share it, because a lock lets one in at a time."""

    efforts: tuple[int, ...] = (60, 100, 160, 250, 400, 640, LIMIT)
    graphs: int = len(_GRAPHS)

    def __init__(self, url: str, key: Key, _projection: int | None = None) -> None:
        """Raises DataError for a URL that libpq does not accept."""
        self._key, self._url = key, url
        self._connection = Connection(url)
        self._name = self._connection.table
        self._registry = sql.Identifier(self._name)
        self._lock = threading.RLock()
        self._projection = _projection
        self._fixed = _projection is not None  # made by `renewed`: the number is given and never looked up
        self._settings: tuple[psycopg.Connection, int] | None = None  # the effort that a connection is set to

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # reading

    def summary(self) -> Summary | None:
        def work(db: psycopg.Connection) -> Summary | None:
            if not self._registry_exists(db):
                return None
            where = (
                sql.SQL("id = %s")
                if self._fixed
                else sql.SQL("published AND gallery = %s AND model = %s AND head = %s AND dim = %s")
            )
            row = db.execute(
                sql.SQL("SELECT id, format, faces, digest, last_id, revision, tuned FROM {} WHERE {}").format(
                    self._registry, where
                ),
                (self._projection,) if self._fixed else self._key_values,
            ).fetchone()
            if row is None:
                return None
            number, form, faces, digest, last_id, revision, tuned = row
            if form != FORMAT:
                raise EngineError(f"{self._url} was written by another facedex (format {form}); upgrade this one")
            if not isinstance(tuned, dict) or not all(isinstance(value, (int, float)) for value in tuned.values()):
                tuned = {}  # altered: every row is looked at until the search is tuned anew
            self._projection = number
            return Summary(faces, digest, last_id, revision, tuned)

        return self._run("search", work)

    def search(self, z: np.ndarray, k: int, effort: int) -> Hits:
        # pgvector returns at most ef_search rows. For more rows than its limit, every row is looked at.
        effort = 0 if not effort or k > LIMIT else min(max(effort, k), LIMIT)
        rows_table = self._rows_table  # before self._projection is used, because this looks the number up
        statement = sql.SQL(
            "SELECT digest, near.id, near.z FROM (SELECT digest FROM {} WHERE id = {}) about LEFT JOIN "
            "(SELECT id, z FROM {} ORDER BY z <+> %s LIMIT %s) near ON true"
        ).format(self._registry, sql.Literal(self._projection), rows_table)

        def work(db: psycopg.Connection) -> Hits:
            if (db, effort) != self._settings:
                # The tuning measured this way of searching, so the planner may not choose another.
                db.execute(f"SET enable_indexscan = {'on' if effort else 'off'}")
                db.execute(f"SET enable_seqscan = {'off' if effort else 'on'}")
                if effort:
                    db.execute(f"SET hnsw.ef_search = {int(effort)}")
                self._settings = db, effort
            rows = db.execute(statement, (Vector(z), k), binary=True).fetchall()
            if not rows:
                raise Outdated
            found = [(i, vector) for _, i, vector in rows if i is not None]
            if any(vector is None or vector.dimensions() != self._key.dim for _, vector in found):
                raise self._altered_tables()
            return Hits(
                np.array([i for i, _ in found], np.int64),
                np.array([vector.to_numpy() for _, vector in found], np.float32).reshape(-1, self._key.dim),
                rows[0][0],
            )

        return self._run("search", work)

    def digests(self) -> dict[int, tuple[int, int]]:
        statement = sql.SQL("SELECT id / {}, count(*), sum(mark)::bigint FROM {} GROUP BY 1").format(
            sql.Literal(RANGE), self._rows_table
        )
        rows = self._run("write", lambda db: db.execute(statement).fetchall(), seconds=0)
        return {part: (count, total) for part, count, total in rows}

    def marks(self, part: int) -> tuple[np.ndarray, np.ndarray]:
        statement = sql.SQL("SELECT id, mark FROM {} WHERE id >= %s AND id < %s ORDER BY id").format(self._rows_table)
        bounds = (part * RANGE, (part + 1) * RANGE)
        rows = np.array(self._run("write", lambda db: db.execute(statement, bounds).fetchall()), np.int64)
        return rows.reshape(-1, 2)[:, 0], rows.reshape(-1, 2)[:, 1]

    # writing

    def add(self, ids: np.ndarray, marks: np.ndarray, z: np.ndarray, revision: int) -> None:
        copy = sql.SQL("COPY {} (id, mark, z) FROM STDIN (FORMAT BINARY)").format(self._rows_table)
        for at in range(0, len(ids), BATCH):
            part = slice(at, at + BATCH)
            rows = list(zip(ids[part].tolist(), marks[part].tolist(), z[part], strict=True))

            def work(db: psycopg.Connection, rows: list[tuple[int, int, np.ndarray]] = rows) -> None:
                # An earlier attempt may have been committed though the connection broke: its rows must not count twice.
                deleted, deleted_marks = self._delete_rows(db, [row[0] for row in rows])
                with db.cursor().copy(copy) as into:
                    into.set_types(["int8", "int8", "vector"])
                    for row in rows:
                        into.write_row(row)
                added_marks = sum(row[1] for row in rows)
                self._add_to_summary(db, len(rows) - deleted, added_marks - deleted_marks, rows[-1][0], revision)

            self._change(work)

    def remove(self, ids: np.ndarray, revision: int) -> None:
        for at in range(0, len(ids), BATCH):

            def work(db: psycopg.Connection, part: list[int] = ids[at : at + BATCH].tolist()) -> None:
                deleted, deleted_marks = self._delete_rows(db, part)
                self._add_to_summary(db, -deleted, -deleted_marks, 0, revision)

            self._change(work)
        # INDEX_CLEANUP takes even a few rows out of the graph at once, and pgvector then overwrites their vectors.
        vacuum = sql.SQL("VACUUM (INDEX_CLEANUP ON) {}").format(self._rows_table)
        self._run("write", lambda db: db.execute(vacuum), seconds=0)

    def renewed(self) -> PostgresEngine:
        def work(db: psycopg.Connection) -> int:
            with db.transaction():
                self._create_registry(db)
                for old in self._projections(db, "AND NOT published"):  # rows of interrupted moves
                    self._drop_projection(db, old)
                row = db.execute(
                    sql.SQL(
                        "INSERT INTO {} (gallery, model, head, dim, format) VALUES (%s, %s, %s, %s, %s) RETURNING id"
                    ).format(self._registry),
                    (*self._key_values, FORMAT),
                ).fetchone()
                assert row is not None
                # PLAIN keeps the vectors in the row. The key includes the mark, so comparing marks reads no vectors.
                db.execute(
                    sql.SQL(
                        "CREATE TABLE {} (id bigint NOT NULL, mark bigint NOT NULL, "
                        "z vector({}) STORAGE PLAIN NOT NULL, "
                        "PRIMARY KEY (id) INCLUDE (mark))"
                    ).format(self._table_of(row[0]), sql.Literal(self._key.dim))
                )
            return int(row[0])

        return PostgresEngine(self._url, self._key, self._run("write", work))

    def finish(self, graph: int) -> None:
        m, ef = _GRAPHS[graph]
        index = sql.Identifier(f"{self._name}_{self._projection}_z")

        def work(db: psycopg.Connection) -> None:
            db.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(index))
            # The graph is built in memory while it fits there: the vectors and about 600 bytes a face.
            db.execute(
                "SELECT set_config('maintenance_work_mem', greatest(pg_size_bytes(current_setting("
                "'maintenance_work_mem')), least(%s, 2^30)::bigint) / 1024 || 'kB', false)",
                ((self.summary() or Summary(0, 0, 0, 0, {})).faces * (4 * self._key.dim + 600),),
            )
            build = sql.SQL("CREATE INDEX {} ON {} USING hnsw (z vector_l1_ops) WITH (m = {}, ef_construction = {})")
            statement = build.format(index, self._rows_table, sql.Literal(m), sql.Literal(ef))
            try:
                db.execute(statement)
            except errors.DiskFull:  # parallel workers need shared memory, of which containers have little
                db.execute("SET max_parallel_maintenance_workers = 0")
                db.execute(statement)
            db.execute(sql.SQL("ANALYZE {}").format(self._rows_table))

        self._run("write", work, seconds=0)

    def publish(self, revision: int, tuned: dict[str, Any]) -> None:
        def work(db: psycopg.Connection) -> None:
            with db.transaction():
                for old in self._projections(db, "AND id <> {}", self._projection):
                    self._drop_projection(db, old)
                done = db.execute(
                    sql.SQL("UPDATE {} SET published = true, revision = %s, tuned = %s WHERE id = %s").format(
                        self._registry
                    ),
                    (revision, Jsonb(tuned), self._projection),
                )
                if not done.rowcount:  # another process took these for rows of an interrupted move
                    raise Outdated

        self._run("write", work)

    def drop(self) -> None:
        def work(db: psycopg.Connection) -> None:
            if self._registry_exists(db):
                with db.transaction():
                    for old in self._projections(db, ""):
                        self._drop_projection(db, old)

        self._run("write", work)

    # parts

    def _run(self, kind: str, work: Callable[[psycopg.Connection], T], seconds: int | None = None) -> T:
        """As Connection.run, for one thread at a time. Raises Outdated when the rows' table is gone."""
        with self._lock:
            try:
                return self._connection.run(kind, work, seconds)
            except (errors.UndefinedTable, errors.InvalidSchemaName):
                if not self._fixed:
                    self._projection = None  # `summary` looks it up again
                raise Outdated from None

    def _altered_tables(self) -> EngineError:
        return EngineError(
            f"The tables of {self._url} are not as facedex made them; run `facedex reindex` to write them anew"
        )

    @property
    def _key_values(self) -> tuple[str, str, str, int]:
        """The key's values for the columns gallery, model, head and dim."""
        return self._key.gallery, self._key.model, self._key.head, self._key.dim

    @property
    def _rows_table(self) -> sql.Identifier:
        """The table of this key's rows, whose number is looked up where it is unknown. Raises Outdated for no rows."""
        if self._projection is None and self.summary() is None:
            raise Outdated
        return self._table_of(self._projection)

    def _table_of(self, projection: int | None) -> sql.Identifier:
        return sql.Identifier(f"{self._name}_{projection}")

    def _registry_exists(self, db: psycopg.Connection) -> bool:
        row = db.execute("SELECT to_regclass(%s)", (self._registry.as_string(db),)).fetchone()
        return row is not None and row[0] is not None

    def _create_registry(self, db: psycopg.Connection) -> None:
        """Create the table of projections where it is missing; a lock lets one process in at a time."""
        db.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"facedex {self._name}",))
        db.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} ("
                "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gallery uuid NOT NULL, "
                "model text NOT NULL, head text NOT NULL, dim integer NOT NULL, format integer NOT NULL, "
                "published boolean NOT NULL DEFAULT false, faces bigint NOT NULL DEFAULT 0, "
                "digest bigint NOT NULL DEFAULT 0, last_id bigint NOT NULL DEFAULT 0, "
                "revision bigint NOT NULL DEFAULT 0, tuned jsonb NOT NULL DEFAULT '{{}}')"
            ).format(self._registry)
        )

    def _projections(self, db: psycopg.Connection, which: str, *values: object) -> list[int]:
        """The numbers of this gallery's projections that meet a further SQL condition, locked for deletion."""
        condition = sql.SQL(which).format(*map(sql.Literal, values))
        rows = db.execute(
            sql.SQL("SELECT id FROM {} WHERE gallery = %s {} FOR UPDATE").format(self._registry, condition),
            (self._key.gallery,),
        ).fetchall()
        return [row[0] for row in rows]

    def _drop_projection(self, db: psycopg.Connection, projection: int) -> None:
        db.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self._table_of(projection)))
        db.execute(sql.SQL("DELETE FROM {} WHERE id = %s").format(self._registry), (projection,))

    def _change(self, work: Callable[[psycopg.Connection], None]) -> None:
        """Change the rows, and the row that sums them up, in one transaction."""

        def transaction(db: psycopg.Connection) -> None:
            rows = self._rows_table  # before the transaction begins, because this may look the number up
            with db.transaction():
                db.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(rows))
                work(db)

        self._run("write", transaction)

    def _delete_rows(self, db: psycopg.Connection, ids: list[int]) -> tuple[int, int]:
        """Delete the rows with these ids; returns how many there were, and the sum of their marks."""
        row = db.execute(
            sql.SQL(
                "WITH gone AS (DELETE FROM {} WHERE id = ANY(%s) RETURNING mark) "
                "SELECT count(*), coalesce(sum(mark), 0)::bigint FROM gone"
            ).format(self._rows_table),
            (ids,),
        ).fetchone()
        assert row is not None
        return row

    def _add_to_summary(self, db: psycopg.Connection, faces: int, digest: int, last_id: int, revision: int) -> None:
        """Add a change of the rows to their summary. Raises Outdated where the projection is gone."""
        done = db.execute(
            sql.SQL(
                "UPDATE {} SET faces = faces + %s, digest = (digest + %s) %% {}, last_id = greatest(last_id, %s), "
                "revision = greatest(revision, %s) WHERE id = %s"
            ).format(self._registry, sql.Literal(MODULUS)),
            (faces, digest % MODULUS, last_id, revision, self._projection),
        )
        if not done.rowcount:
            raise Outdated
