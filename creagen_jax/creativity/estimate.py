"""What every metric returns: a value with its interval, or the reason why there is none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
Z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))  # standard deviations from the middle to an end
REPEATS = 50  # subsamples
DRAWS = 1000  # of the bootstrap


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number that says how far it can be trusted. Value, low and high are None together."""

    value: float | None  # None: undetermined, for the reason in `note`
    low: float | None  # of the 95 % interval
    high: float | None
    method: str  # of the interval
    n: int  # generated items that it rests on
    n_ref: int = 0  # reference items, 0 if there are none
    note: str = ""  # what a reader must beware of

    def __post_init__(self):
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None:
                if not math.isfinite(number):
                    raise ValueError(f"{name} {number} is no estimate; say `undetermined` instead")
                object.__setattr__(self, name, float(number))  # NumPy's own kinds are not JSON

    def scaled(self, factor: float) -> Estimate:
        """All numbers times a positive factor, as when dividing by that of held-out data."""
        if self.value is None:
            return self
        return self._with(np.array([self.value, self.low, self.high]) * factor)

    def clipped(self, low: float = 0.0, high: float = 1.0) -> Estimate:
        """All numbers forced into low .. high."""
        if self.value is None:
            return self
        return self._with(np.clip([self.value, self.low, self.high], low, high))

    def _with(self, numbers: np.ndarray) -> Estimate:
        return dataclasses.replace(self, value=numbers[0], low=numbers[1], high=numbers[2])


def undetermined(note: str, *, n: int, n_ref: int = 0) -> Estimate:
    """No number, and why."""
    return Estimate(None, None, None, "none", n, n_ref, note)


def exact(value: float, *, n: int, n_ref: int = 0, note: str = "") -> Estimate:
    """A count or a share of these very items, with nothing to infer."""
    return Estimate(value, value, value, "exact", n, n_ref, note)


def effective_size(counts: np.ndarray) -> float:
    """1 / sum of squared shares (Kish, 1965): of n hits, how many are independent.

    counts [K]: how many of the hits fall on each of K groups; hits on one group count as one.
    """
    total = counts.sum()
    return 0.0 if total == 0 else float(total**2 / (counts.astype(np.float64) ** 2).sum())


def wilson(
    hits: float, n: int, *, effective: float | None = None, n_ref: int = 0, note: str = ""
) -> Estimate:
    """A share, with Wilson's score interval (1927); `effective` replaces n in the interval."""
    if n == 0:
        return undetermined("no items", n=0, n_ref=n_ref)
    share, size = hits / n, n if effective is None else effective
    centre = (share + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z / (1 + Z**2 / size) * math.sqrt(share * (1 - share) / size + Z**2 / (4 * size**2))
    # Rounding must not put a share of 0 or 1 outside of its own interval.
    low, high = min(max(centre - half, 0), share), max(min(centre + half, 1), share)
    method = "Wilson" if effective is None else "Wilson, effective size"
    return Estimate(share, low, high, method, n, n_ref, note)


def ratio(
    above_N: np.ndarray, below_N: np.ndarray, *, seed: int = 0, n_ref: int = 0, note: str = ""
) -> Estimate:
    """sum(above) / sum(below), with the percentile bootstrap over the N items.

    A mean of N values has `below` = ones. Items, not their tokens, are resampled, because the
    tokens of one item depend on each other.
    """
    above_N, below_N = np.asarray(above_N, np.float64), np.asarray(below_N, np.float64)
    n = len(above_N)
    if n < 2 or below_N.sum() == 0:
        why = "one item has no spread" if n == 1 else "no items"
        return undetermined(why, n=n, n_ref=n_ref)
    value = above_N.sum() / below_N.sum()
    rng = np.random.default_rng(seed)
    draws = (rng.integers(n, size=n) for _ in range(DRAWS))
    drawn = [above_N[i].sum() / below_N[i].sum() for i in draws if below_N[i].any()]
    low, high = np.quantile(drawn, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Estimate(value, min(low, value), max(high, value), "bootstrap", n, n_ref, note)


def pairs_above(a_N: np.ndarray, b_M: np.ndarray) -> float:
    """Of the pairs (a, b), how many have a > b, ties half: the U of Mann and Whitney (1947)."""
    rank = stats.rankdata(np.concatenate([a_N, b_M]))[: len(a_N)]
    return float(rank.sum() - len(a_N) * (len(a_N) + 1) / 2)


def roc_area(lower_N: np.ndarray, higher_M: np.ndarray) -> Estimate:
    """The chance that one of `lower` is below one of `higher`, ties half: the area under the ROC
    curve of a threshold.

    The interval holds all areas that are compatible with the one found, by the variance of Hanley
    and McNeil (1982): of both sets, and wide where all of one lie below all of the other.
    """
    n, m = len(lower_N), len(higher_M)
    if not n or not m:
        return undetermined("no items", n=n, n_ref=m)
    value = pairs_above(higher_M, lower_N) / (n * m)
    area = np.linspace(0, 1, 10001)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n - 1) * (q1 - area**2) + (m - 1) * (q2 - area**2)
    held = area[(value - area) ** 2 <= Z**2 * spread / (n * m)]
    low, high = min(held.min(initial=value), value), max(held.max(initial=value), value)
    return Estimate(value, low, high, "Hanley-McNeil", n, m)


def subsample(
    statistic: Callable[[np.ndarray], float],
    n: int,
    *,
    seed: int = 0,
    repeats: int = REPEATS,
    n_ref: int = 0,
    note: str = "",
) -> Estimate:
    """statistic(all n items), with an interval from halves drawn without replacement.

    `statistic` takes an index array. The bootstrap repeats items, which neighbours and spectra
    take for copies; halves do not. Their spread around their own mean, scaled by sqrt(m / n) for
    the size of the sample and 1 / sqrt(1 - m / n) for drawing without replacement (together 1 for
    halves), stands for that of the value (Politis, Romano and Wolf, 1999). Without `repeats` there
    is no interval.
    """
    half = n // 2
    if half < 2:
        return undetermined(f"{n} items are too few", n=n, n_ref=n_ref)
    value = float(statistic(np.arange(n)))
    if repeats == 0:
        return Estimate(value, value, value, "no interval", n, n_ref, note)
    rng = np.random.default_rng(seed)
    parts = [float(statistic(rng.permutation(n)[:half])) for _ in range(repeats)]
    scale = math.sqrt(half / n) / math.sqrt(1 - half / n)
    spread = Z * float(np.std(parts, ddof=1)) * scale
    return Estimate(value, value - spread, value + spread, "subsampling", n, n_ref, note)


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b of two independent estimates, from their intervals (MOVER: Zou and Donner, 2008)."""
    n, n_ref = min(a.n, b.n), min(a.n_ref, b.n_ref)
    if a.value is None or b.value is None:
        note = a.note if a.value is None else b.note
        return undetermined(note, n=n, n_ref=n_ref)
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, low, high, "MOVER", n, n_ref)


def quotient(a: Estimate, b: Estimate) -> Estimate:
    """a / b of two independent positive estimates (MOVER: Donner and Zou, 2012, eq. 9)."""
    n, n_ref = a.n, b.n
    for part in (a, b):
        if part.value is None:
            return undetermined(part.note, n=n, n_ref=n_ref)
    if not 0 < b.low <= b.high < 2 * b.value:
        return undetermined("the denominator may be zero", n=n, n_ref=n_ref)

    def bound(end: float, opposite: float, sign: int) -> float:
        product, square = a.value * b.value, opposite * (2 * b.value - opposite)
        inner = product**2 - end * (2 * a.value - end) * square
        return max(product + sign * math.sqrt(max(inner, 0)), 0) / square

    value, low, high = a.value / b.value, bound(a.low, b.high, -1), bound(a.high, b.low, 1)
    # Rounding must not put the value outside of its interval.
    low, high = min(low, value), max(high, value)
    return Estimate(value, low, high, "MOVER", n, n_ref, a.note or b.note)
