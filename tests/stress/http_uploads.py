"""Send damaged uploads to `facedex serve`: it must answer each by its table of errors, and keep its memory.

    python -m tests.stress.http_uploads [--requests 10000] [--seed 0]

Photos, forms and headers are changed by bytes that flip, pieces that go, double or move, and pieces of other uploads.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
from PIL import Image

from facedex.server import refusals
from tests.servers import jpeg, served

CODES = {code for _, _, code in refusals.TABLE} | {"memory_used_up", "not_found", "method_not_allowed"}
ROUTES = ("detect", "identify", "embed", "verify", "people", "identify?top=3&fpir=0.01")
MOST_GROWTH = 256  # MiB between the first tenth of the requests and the end


def originals() -> list[tuple[str, bytes]]:
    """Whole uploads, each with its Content-Type."""
    face = Image.open(io.BytesIO(jpeg(0, side=160)))
    found = []
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        file = io.BytesIO()
        face.save(file, kind)
        found.append((f"image/{kind.lower()}", file.getvalue()))
    for photos in (1, 2):
        sent = httpx.Request(
            "POST",
            "http://x",
            files=[("photo", (f"{n}.jpg", jpeg(n, side=160), "image/jpeg")) for n in range(photos)],
            data={"name": "Ada"},
        )
        found.append((sent.headers["content-type"], sent.read()))
    return found


def mutated(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """The same bytes, changed in a few places. Half of the changes fall into the first 300 bytes, where headers are."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        start = rng.randrange(min(len(changed), 300) if rng.random() < 0.5 else len(changed)) if changed else 0
        end = start + rng.choice((1, 2, 4, 40, 1000))
        kind = rng.randrange(6)
        if kind == 0:
            changed[start:end] = rng.randbytes(len(changed[start:end]))
        elif kind == 1:
            changed[start:end] = rng.choice((b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\r\n", b'"', b"--"))
        elif kind == 2:
            del changed[start:end]
        elif kind == 3:
            changed[start:start] = changed[start:end]
        elif kind == 4:
            other = rng.choice(others)
            at = rng.randrange(len(other))
            changed[start:end] = other[at : at + end - start]
        elif rng.random() < 0.3:
            del changed[start:]
    return bytes(changed)


def memory(process: int) -> int:
    """Resident memory of a process in MiB; 0 where the system does not tell."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return 0
    return next(int(line.split()[1]) // 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))


def fault_of(answer: httpx.Response) -> str | None:
    """What is wrong with an answer; None where it is one of the API's."""
    if answer.is_success:
        return None
    try:
        body = answer.json()
        code, message = body["error"]["code"], body["error"]["message"]
    except (ValueError, KeyError):
        return f"{answer.status_code} is no error of the API: {answer.text[:200]}"
    if answer.status_code >= 500 or code not in CODES or "Traceback" in answer.text or "\n" in message:
        return f"{answer.status_code} {code}: {message}"
    return None


def attack(url: str, process: int, requests: int, seed: int) -> tuple[Counter[str], list[str], list[int]]:
    """Send the uploads. Returns the counts of answers, the faults, and the memory (MiB) after each tenth."""
    rng, whole = random.Random(seed), originals()
    others = [data for _, data in whole]
    counts: Counter[str] = Counter()
    faults, sizes = [], []
    with httpx.Client(base_url=f"{url}/v1/", timeout=60) as opened:
        for number in range(requests):
            kind, data = rng.choice(whole)
            if rng.random() < 0.1:
                kind = mutated(kind.encode(), rng, [b"multipart/form-data; boundary=x"]).decode("latin-1")
                kind = "".join(c for c in kind if c.isprintable() and c.isascii()).strip()
            sent, route = mutated(data, rng, others), rng.choice(ROUTES)
            answer = opened.post(route, content=sent, headers={"Content-Type": kind})
            counts[f"{answer.status_code}"] += 1
            if fault := fault_of(answer):
                faults.append(f"request {number} to {route}: {fault}")
            if (number + 1) % max(1, requests // 10) == 0:
                sizes.append(memory(process))
    return counts, faults, sizes


def main() -> None:
    """Run and print the summary. The exit code is 1 when an answer was none of the API's, or memory grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    log: list[str] = []
    with tempfile.TemporaryDirectory() as top, served("-g", Path(top) / "g") as process:
        reading = threading.Thread(target=lambda: log.extend(process.stderr), daemon=True)
        reading.start()  # a full pipe would stop the server
        begun = time.perf_counter()
        counts, faults, sizes = attack(process.url, process.pid, options.requests, options.seed)
        seconds = time.perf_counter() - begun
        process.terminate()
        if (code := process.wait(60)) != 0:
            faults.append(f"the server ended with {code}")
        reading.join(10)
    if any("Traceback" in line for line in log):
        faults.append(f"a trace in the log: {''.join(log)[-2000:]}")
    if sizes and sizes[-1] - sizes[0] > MOST_GROWTH:
        faults.append("memory grew")
    for fault in faults[:20]:
        print(fault)
    answered = ", ".join(f"{count} of {status}" for status, count in sorted(counts.items()))
    print(f"{options.requests} uploads in {seconds:.0f} s, seed {options.seed}: {answered}; {len(faults)} faults")
    print(f"memory after each tenth (MiB): {' '.join(map(str, sizes))}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
