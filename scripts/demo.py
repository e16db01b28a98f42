"""Run the main job on real portraits: enroll one photo each, name faces in new photos, leave a stranger unknown.

    python -m scripts.demo [--model FILE]

Writes the database, the photos, the gallery, annotated pictures and index.html into demo/. scripts/demo.sh installs
what this needs and calls it.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.fetch_portraits import fetch
from scripts.runner import run_script

ROOT = Path(__file__).resolve().parent.parent
ENROLLED = {"obama.jpg": "Barack Obama", "biden.jpg": "Joe Biden", "grace_hopper.jpg": "Grace Hopper"}
PROBES = ["obama2.jpg", "obama3.jpg", "obama_partial_face.jpg", "obama_partial_face2.jpg", "astronaut.png"]


def run(*arguments: str, quiet: bool = False) -> str:
    """Run and print one facedex command. Exit codes 0 and 1 are both answers; another one ends the demonstration."""
    if not quiet:
        print(f"\n$ facedex {' '.join(arguments)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "facedex", *arguments], stdout=subprocess.PIPE, encoding="utf-8", check=False
    )
    if done.returncode not in (0, 1):
        raise SystemExit(done.returncode)
    if not quiet:
        print(done.stdout, end="", flush=True)
    return done.stdout


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="your own model instead of the shipped one")
    model = parser.parse_args().model
    demo = ROOT / "demo"
    portraits, database, photos, pictures = demo / "portraits", demo / "database", demo / "photos", demo / "pictures"
    for folder in (database, photos, pictures, demo / "index"):
        shutil.rmtree(folder, ignore_errors=True)
    fetch(portraits)
    database.mkdir()
    photos.mkdir()
    for file, name in ENROLLED.items():
        shutil.copy(portraits / file, database / f"{name}{Path(file).suffix}")
    for file in PROBES:
        shutil.copy(portraits / file, photos / file)

    # Like a user, run from the demo's folder, with the gallery at its default path.
    os.chdir(demo)
    run("enroll", "database", *(["--model", model] if model else []))
    run("list")
    run("identify", "photos", "--top", "2", "--annotate", "pictures")
    lines = [json.loads(line) for line in run("identify", "photos", "--json", quiet=True).splitlines()]
    rows = "".join(
        f"<figure><img src='pictures/{html.escape(Path(line['photo']).name)}.jpg' alt=''><figcaption>"
        f"{html.escape(line['photo'])}: "
        + html.escape(", ".join(face["name"] or "unknown" for face in line["faces"]) or line["error"] or "")
        + "</figcaption></figure>"
        for line in lines
    )
    page = (
        "<!doctype html><meta charset='utf-8'><title>facedex</title><style>body{font:16px system-ui;margin:2rem}"
        "figure{display:inline-block;margin:0 1rem 1rem 0;vertical-align:top}img{height:20rem;border-radius:.5rem}"
        f"</style><h1>facedex</h1><p>Enrolled, one photo each: {html.escape(', '.join(ENROLLED.values()))}. "
        f"Named in photos never seen before:</p>{rows}"
    )
    (demo / "index.html").write_text(page, "utf-8")
    print(f"\nOpen {demo / 'index.html'} to see the pictures.")


if __name__ == "__main__":
    run_script(main)
