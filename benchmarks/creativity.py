"""Seconds and memory of the metrics of creativity, ours and those of reference libraries.

    python -m benchmarks.creativity [--only prdc self_bleu suffix_index] [--repeats 3]

Each candidate does the same work on the same data in a process of its own; they take turns, and the
medians are printed. Imports and data are made before the clock starts; compilation is counted. Peak
memory is what the process holds at most beyond that. That all results are equal is checked. NLTK
takes minutes a turn.
"""

import argparse
import contextlib
import io
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

import benchmarks

Candidate = Callable[[], Callable[[], dict[str, float]]]  # prepares; what it returns is measured
MB = 1024  # ru_maxrss is in kB on Linux
TOLERANCE = 1e-12  # of results


def compare(work: str, candidates: dict[str, Candidate], repeats: int) -> None:
    """Prints a row for each candidate, and by how much the first, which is ours, is better.

    Raises AssertionError if their results differ.
    """
    runs = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, candidate in candidates.items():
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                runs[name].append(pool.submit(measure, candidate).result())
    (_, _, expected), *_ = next(iter(runs.values()))
    ours = None
    for name, measured in runs.items():
        seconds, memory, results = zip(*measured, strict=True)
        for result in results:
            assert result.keys() == expected.keys()
            assert all(abs(result[key] - expected[key]) <= TOLERANCE for key in expected), name
        seconds, memory = statistics.median(seconds), statistics.median(memory)
        cells = [f"{seconds / ours[0]:.1f}x", f"{memory / ours[1]:.1f}x"] if ours else ["", ""]
        ours = ours or (seconds, memory)
        benchmarks.row(work, name, f"{seconds:.2f}", f"{memory:,.0f}", *cells)


def measure(candidate: Candidate) -> tuple[float, float, dict[str, float]]:
    """Seconds, peak memory in MB, and the result."""
    call = candidate()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds, (peak - before) / MB, result


# --- precision, recall, density and coverage -----------------------------------------------------


def clouds() -> tuple[np.ndarray, np.ndarray]:
    """Real and generated features, 10,000 items of 64."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((10_000, 64)), 0.1 + rng.standard_normal((10_000, 64))


def our_prdc():
    from creagen_jax.creativity import fidelity

    real, generated = clouds()

    def call():
        result = fidelity.prdc(real=real, generated=generated)
        return {name: getattr(result, name) for name in fidelity.SHARES}

    return call


def reference_prdc():
    from prdc import compute_prdc

    real, generated = clouds()

    def call():
        with contextlib.redirect_stdout(io.StringIO()):
            return compute_prdc(real, generated, nearest_k=5)

    return call


def prdc(repeats: int) -> None:
    candidates = {"creagen_jax": our_prdc, "prdc": reference_prdc}
    compare("precision, recall, density, coverage: 10,000 x 10,000 x 64", candidates, repeats)


# --- self-BLEU -----------------------------------------------------------------------------------


def sentences() -> list[list[int]]:
    """2,000 sentences of 5 to 20 words, which are drawn as often as those of a language (Zipf)."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, 5001)
    share /= share.sum()
    return [rng.choice(5000, rng.integers(5, 21), p=share).tolist() for _ in range(2000)]


def our_self_bleu():
    from creagen_jax.creativity import bleu

    items = sentences()
    return lambda: {"self-BLEU": bleu.self_bleu(items).value}  # and its interval


def reference_self_bleu():
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    items, smooth = sentences(), SmoothingFunction().method1

    def call():
        scores = [
            sentence_bleu(items[:i] + items[i + 1 :], item, smoothing_function=smooth)
            for i, item in enumerate(items)
        ]
        return {"self-BLEU": float(np.mean(scores))}

    return call


def self_bleu(repeats: int) -> None:
    candidates = {"creagen_jax": our_self_bleu, "NLTK": reference_self_bleu}
    compare("self-BLEU of 2,000 sentences", candidates, repeats)


# --- the suffix index ----------------------------------------------------------------------------


def documents(size: int, seed: int) -> list[np.ndarray | str]:
    """A text of 9/10 of the symbols, and random ones.

    The text is Python's own documentation, again and again, with its paragraphs in another order
    each time, so it repeats itself at length.
    """
    from pydoc_data.topics import topics

    rng = np.random.default_rng(seed)
    paragraphs = "\n\n".join(topics[name] for name in sorted(topics)).split("\n\n")
    text = ""
    while len(text) < size - size // 10:
        text += "".join(f"{paragraphs[i]}\n\n" for i in rng.permutation(len(paragraphs)))
    return [text[: size - size // 10], rng.integers(1000, size=size // 10)]


def our_index(size: int):
    from creagen_jax.creativity import suffix

    corpus = documents(size, seed=0)
    return lambda: {"symbols": len(suffix.build(corpus).symbols)}


def our_match(size: int, queried: int):
    from creagen_jax.creativity import suffix

    index, queries = suffix.build(documents(size, seed=0)), documents(queried, seed=1)

    def call():
        text, noise = suffix.match(index, queries)
        return {"of text": text.length.mean(), "of noise": noise.length.mean()}

    return call


def suffix_index(repeats: int) -> None:
    """No library does the same, so each row names its target instead."""
    for size, target in ((1_000_000, "4 s"), (5_000_000, "40 s, 2,000 MB")):
        work = f"suffix index of {size:,} symbols (target: {target})"
        compare(work, {"creagen_jax": partial(our_index, size)}, repeats)
        work = f"matching 200,000 symbols with {size:,}"
        compare(work, {"creagen_jax": partial(our_match, size, 200_000)}, repeats)


ROWS = [prdc, self_bleu, suffix_index]  # one function for each comparison


def main() -> None:
    names = [row.__name__ for row in ROWS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(benchmarks.machine("jax", "numpy", "prdc", "nltk"))
    benchmarks.header(
        "work",
        "library",
        "seconds",
        "peak memory, MB",
        "creagen_jax is faster by",
        "and smaller by",
    )
    for row in ROWS:
        if row.__name__ in args.only:
            row(args.repeats)


if __name__ == "__main__":
    main()
