"""Which example or window comes when: pure functions of (seed, step), shared by all modalities."""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


@functools.lru_cache(maxsize=2)  # a batch may need the end of one epoch and the start of the next
def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """[count] the order of the examples in an epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def shuffled(count: int, *, seed: int, step: int, size: int) -> np.ndarray:
    """[B] the examples of a step: each of `count` once an epoch, in a new order every epoch."""
    epoch_B, place_B = np.divmod(step * size + np.arange(size), count)
    index_B = np.empty(size, np.int64)
    for epoch in np.unique(epoch_B):
        here = epoch_B == epoch
        index_B[here] = permutation(seed, int(epoch), count)[place_B[here]]
    return index_B


def in_order(count: int, *, step: int, size: int) -> np.ndarray:
    """[<= B] the examples of a step: 0, 1, 2 ...; a pass ends with a smaller batch."""
    first = step * size % (-(-count // size) * size)
    return np.arange(first, min(first + size, count))


def pad(batch: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """The batch with rows of zeros (so mask 0) up to `size`, for shapes that never change."""
    rows = size - len(next(iter(batch.values())))
    return {name: np.pad(a, [(0, rows)] + [(0, 0)] * (a.ndim - 1)) for name, a in batch.items()}


def spaced(count: int, limit: int | None) -> np.ndarray:
    """Evenly spaced examples of `count`, always the same; all of them without a limit."""
    number = count if limit is None else min(limit, count)
    return np.arange(number) * count // max(number, 1)


def random_starts(last: int, *, seed: int, step: int, size: int) -> np.ndarray:
    """[B] where the windows of a step start: uniform over 0 .. last."""
    return np.random.default_rng((seed, step)).integers(0, last + 1, size)


def cursor_starts(
    predictions: int, length: int, *, seed: int, step: int, size: int
) -> tuple[np.ndarray, bool]:
    """[B] where the windows of a step start, and whether the rows start afresh.

    The stream is cut into B equal parts and row b walks through part b, window after window of
    `length` predictions. Every epoch starts at another offset below `length`, so that windows
    are not cut at the same places each time. Needs size * length <= predictions.
    """
    part = predictions // size
    offsets = min(length, part - length + 1)  # how many offsets there are to choose from
    windows = (part - offsets + 1) // length
    epoch, window = divmod(step, windows)
    offset = np.random.default_rng((seed, epoch)).integers(offsets)
    return np.arange(size) * part + offset + window * length, window == 0


def prefetch(make: Callable[[int], Item], start: int, depth: int = 2) -> Iterator[Item]:
    """Yields make(start), make(start + 1), ... made by one background thread, `depth` ahead.

    An exception in `make` is raised here, in its turn. Closing the iterator ends the thread.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
    try:
        ahead = collections.deque(pool.submit(make, start + i) for i in range(depth))
        for step in itertools.count(start + depth):
            ahead.append(pool.submit(make, step))
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
