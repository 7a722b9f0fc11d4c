"""Peak memory of loading a text of 5, 50 and 500 MB and drawing batches from it.

    python benchmarks/memory_text.py [--tokenizer char] [--megabytes 5 50 500]

Each size runs in a process of its own. `anonymous` is the highest RssAnon (memory that the process
itself allocated; Linux) seen every 5 ms, less what it was before loading: it must not grow with the
text. `resident` is getrusage's ru_maxrss, which also counts the pages of the memory-mapped token
file that happen to be in the page cache; the kernel takes those back whenever it needs them.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from creagen_jax.data import text

WORDS = ["the", "of", "and", "night", "moon", "river", "silent", "stone", "burns", "月", "光", "é"]


def write(path: Path, megabytes: int) -> None:
    """A text of random words, a block at a time."""
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < megabytes * 1_000_000:
            words = rng.choice(WORDS, (10_000, 12))
            file.write("".join(" ".join(line) + "\n" for line in words))


def anonymous_mb() -> float:
    """RssAnon of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def measure(path: Path, tokenizer: str, cache: str, batches: int = 500) -> None:
    """Loads, draws and prints one row."""
    before, peak, done = anonymous_mb(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    dataset = text.load(text.Config(path=str(path), length=128, tokenizer=tokenizer), cache=cache)
    loaded = time.perf_counter()
    for step in range(batches):
        text.train_batch(dataset, seed=0, step=step, size=64)
    drawn = time.perf_counter()
    done.set()
    watcher.join()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{os.path.getsize(path) / 1e6:8.0f} {loaded - start:8.1f} {peak[0] - before:14.0f}"
        f" {resident:14.0f} {(drawn - loaded) / batches * 1e6:12.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", default="char", choices=["char", "byte", "bpe"])
    parser.add_argument("--megabytes", type=int, nargs="+", default=[5, 50, 500])
    args = parser.parse_args()
    print("text MB   load s   anonymous MB    resident MB  us per batch")
    spawn = multiprocessing.get_context("spawn")
    for megabytes in args.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "corpus.txt"
            write(path, megabytes)
            process = spawn.Process(target=measure, args=(path, args.tokenizer, folder))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
