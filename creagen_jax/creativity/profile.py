"""The three axes, the Creative Yield and the composite: what all kinds of items are judged by.

An axis lies between anchors that are measured every time: 1 is held-out data, 0 is noise for
quality, copies of the training data for novelty, one item repeated for diversity.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from creagen_jax.creativity.estimate import Estimate, difference, undetermined, wilson
from creagen_jax.creativity.record import AXES, Composite, Counts, Yield

FEW = 100  # items; below it every number is too rough to act on


@dataclasses.dataclass(frozen=True, eq=False)
class Measures:
    """What was measured of one set of N items, in the form that all kinds of items share."""

    valid_N: np.ndarray  # bool: as good as nearly all held-out items
    original_N: np.ndarray  # bool: not nearer to the training data than nearly all held-out items
    distinct_N: np.ndarray  # bool: valid, original, and unlike all such items before it; of the
    # first items only, where held-out items are fewer, because more items are less distinct
    quality: dict[str, Estimate]  # 1: as real items; noise lies near 0
    novelty: dict[str, Estimate]  # 1: as held-out data, 0: as training copies
    diversity: dict[str, Estimate]  # 1: as held-out data, 0: as one item repeated
    metrics: dict[str, Estimate] = dataclasses.field(default_factory=dict)


def profile(items: Measures, *, noise: Measures) -> dict[str, Estimate]:
    """Quality, novelty and diversity, each 0 .. 1 between its anchors.

    Each is the worst of its measures, for a set must pass all: the one whose interval ends lowest,
    so that the roughest measure does not decide by chance. Quality counts from that of noise on.
    """
    n = len(items.valid_N)
    quality, floor = _worst(items.quality, n), _worst(noise.quality, n).value
    return {
        "quality": _from(floor or 0.0, quality),
        "novelty": _worst(items.novelty, n),
        "diversity": _worst(items.diversity, n),
    }


def creative_yield(items: Measures, *, heldout: Measures | None, doubt: str = "") -> Yield:
    """Of the items, how many are valid, original and distinct at once; and relative to held-out.

    `doubt`: why held-out items are no standard for all three at once; there is no relative yield.

    After the valid, unique and novel molecules of Polykovskiy et al. (2020, MOSES), with thresholds
    that held-out data set.
    """
    if heldout is None:
        nothing = undetermined("no held-out data", n=len(items.valid_N))
        return Yield(nothing, nothing)
    absolute = wilson(items.distinct_N.sum(), len(items.distinct_N), n_ref=len(heldout.valid_N))
    best = _share(heldout.distinct_N)
    if absolute.value is None or best == 0 or doubt:
        note = doubt or absolute.note or "no held-out item is valid, original and distinct"
        relative = undetermined(note, n=absolute.n, n_ref=absolute.n_ref)
    else:
        relative = absolute.scaled(1 / best)
    return Yield(relative, absolute, counts(items), counts(heldout))


def counts(items: Measures) -> Counts:
    """How many of the items that were tested for distinctness are left after each test."""
    first = slice(len(items.distinct_N))
    valid_N = items.valid_N[first]
    original_N = valid_N & items.original_N[first]
    return Counts(len(valid_N), *(int(x.sum()) for x in (valid_N, original_N, items.distinct_N)))


def distinct(features_ND: np.ndarray, candidate_N: np.ndarray, alike: float) -> np.ndarray:
    """Which candidates are unlike all those accepted before them [N] bool, in their order.

    Two items are too much alike if their features are equal, or nearer than `alike`.
    """
    accepted: list[int] = []
    for i in np.flatnonzero(candidate_N):
        distance_A = np.linalg.norm(features_ND[accepted] - features_ND[i], axis=1)
        if not ((distance_A < alike) | (distance_A == 0)).any():
            accepted.append(i)
    accepted_N = np.zeros(len(candidate_N), bool)
    accepted_N[accepted] = True
    return accepted_N


def composite(axes: dict[str, Estimate]) -> Composite:
    """(quality * novelty * diversity) ** (1/3), and the lowest axis; 0 if any of them is 0."""
    parts = [axes[name] for name in AXES]
    n, n_ref = min(part.n for part in parts), min(part.n_ref for part in parts)
    for name, part in zip(AXES, parts, strict=True):
        if part.value is None:
            return Composite(undetermined(f"{name} is undetermined", n=n, n_ref=n_ref))
    value, low, high = (
        math.prod(getattr(part, which) for part in parts) ** (1 / 3)
        for which in ("value", "low", "high")
    )
    # Of all ends at once: wider than 95 % if the axes err independently.
    mean = Estimate(value, low, high, "ends of the axes' intervals", n, n_ref)
    return Composite(mean, min(AXES, key=lambda name: axes[name].value))


def compare(a: dict[str, Estimate], b: dict[str, Estimate]) -> dict[str, Estimate]:
    """a - b for each axis."""
    return {name: difference(a[name], b[name]) for name in AXES}


def _from(floor: float, value: Estimate) -> Estimate:
    """On the scale from `floor`, which is taken as known, to 1."""
    if value.value is None or floor >= 1:
        note = value.note or "real items do no better than noise"
        return undetermined(note, n=value.n, n_ref=value.n_ref)
    numbers = {
        name: (getattr(value, name) - floor) / (1 - floor) for name in ("value", "low", "high")
    }
    return dataclasses.replace(value, **numbers).clipped()


def _worst(measures: dict[str, Estimate], n: int) -> Estimate:
    """The lowest beyond doubt of the determined ones, forced into 0 .. 1; its note names it."""
    known = {name: each for name, each in measures.items() if each.value is not None}
    if not known:
        reasons = "; ".join(dict.fromkeys(each.note for each in measures.values()))
        return undetermined(reasons or "nothing to measure it by", n=n)
    name = min(known, key=lambda name: (known[name].high, known[name].value))
    return dataclasses.replace(known[name].clipped(), note=f"the lowest of its measures: {name}")


def _share(flags_N: np.ndarray) -> float:
    return float(flags_N.mean()) if len(flags_N) else 0.0
