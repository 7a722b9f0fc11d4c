"""Seconds from the command to the first step of training, and to the first sample.

    python -m benchmarks.start [CONFIG ...] [--repeats 3] [--data.path FILE]

Each row is a command in a process of its own. The first start fills an empty cache of compiled
programs; of those behind it the median is printed. The first step counts as made when its loss
stands in metrics.jsonl, the sample when the command has ended.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import benchmarks

ROOT = Path(__file__).parent.parent
ONE = ["--train.log_every", "1", "--train.save_every", "1"]


def command(*arguments: str, cache: str) -> subprocess.Popen:
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    quiet = {"stdout": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, **quiet)


def first_step(config: str, run: Path, path: list[str], cache: str) -> float:
    began = time.perf_counter()
    flags = ["--run", str(run), "--overwrite", "--stop_at", "1", *ONE, *path]
    process = command("train.py", config, *flags, cache=cache)
    lines = run / "metrics.jsonl"
    while not (lines.exists() and lines.stat().st_size):
        if process.poll():
            raise SystemExit(f"train.py {config} ended with {process.returncode}")
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    process.wait()
    lines.unlink()
    return seconds


def first_sample(run: Path, cache: str) -> float:
    began = time.perf_counter()
    out = run / "first"
    process = command("sample.py", str(run), "--num", "1", "--out", str(out), cache=cache)
    if process.wait():
        raise SystemExit(f"sample.py {run} ended with {process.returncode}")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", metavar="CONFIG", default=["names_lstm"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data.path", dest="path")
    args = parser.parse_args()
    path = ["--data.path", args.path] if args.path else []
    print(benchmarks.machine("jax"))
    benchmarks.header("config", "until", "first start, s", "later starts, s")
    for name in args.configs:
        with tempfile.TemporaryDirectory() as folder:
            run, cache = Path(folder) / "run", f"{folder}/cache"
            train = [first_step(name, run, path, cache) for _ in range(1 + args.repeats)]
            sample = [first_sample(run, cache) for _ in range(1 + args.repeats)]
        for what, (first, *later) in {"first step": train, "first sample": sample}.items():
            benchmarks.row(name, what, f"{first:.1f}", f"{np.median(later):.1f}")


if __name__ == "__main__":
    main()
