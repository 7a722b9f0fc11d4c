"""Seconds and memory of the metrics of creativity, ours and those of reference libraries.

    python -m benchmarks.creativity [--only prdc] [--repeats 3]

Each candidate does the same work on the same data in a process of its own; they take turns, and the
medians are printed. Imports and data are made before the clock starts; compilation is counted. Peak
memory is what the process holds at most beyond that. That all results are equal is checked.
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
        ours = ours or (seconds, memory)
        ratios = [f"{seconds / ours[0]:.1f}x", f"{memory / ours[1]:.1f}x"]
        cells = ratios if (seconds, memory) != ours else ["", ""]
        benchmarks.row(work, name, f"{seconds:.2f}", f"{memory:,.0f}", *cells)


def measure(candidate: Candidate) -> tuple[float, float, dict[str, float]]:
    """Seconds, peak memory in MB, and the result."""
    call = candidate()
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


ROWS = [prdc]  # one function for each comparison


def main() -> None:
    names = [row.__name__ for row in ROWS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(benchmarks.machine("jax", "numpy", "prdc"))
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
