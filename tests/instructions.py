#!/usr/bin/env python3
"""Instructions of the core path, wire text in to wire text out, counted by callgrind: a number no neighbour disturbs.

A frame of a pass-through call has 1.5 µs. `core_cost` measured 0.4 and 0.7 µs for the counts below, on the machine where
they were made; the bounds are a tenth above them. Whoever makes the path longer gives a reason and moves them, or does not.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FRAMES = 5_000
# Instructions a frame, inside `Call::handle`: what was counted, and the bound.
BOUNDS = {
    ("pass-through", "up"): 4_150,
    ("pass-through", "down"): 6_600,
}


def build() -> Path:
    command = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "patchbay-sim", "--example", "core_cost"]
    subprocess.run(command, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return (ROOT / target) / "release" / "examples" / "core_cost"


def count(binary: Path, media: str, direction: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*Call*handle*",
            f"--callgrind-out-file={folder}/out", str(binary), str(FRAMES), media, direction,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if collected is None or int(collected[1]) == 0:
        sys.exit(f"callgrind collected nothing:\n{done.stderr}")
    return int(collected[1]) // FRAMES


def main() -> int:
    binary, failed = build(), False
    for (media, direction), bound in BOUNDS.items():
        counted = count(binary, media, direction)
        verdict = "ok" if counted <= bound else "TOO MANY"
        failed |= counted > bound
        print(f"{media} {direction}: {counted} instructions a frame, at most {bound}: {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
