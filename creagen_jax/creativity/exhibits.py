"""Which generated arrays a reader of a report should see. They are named by number, for only a page
knows how to show them.

Letters: N items, M reference items.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from creagen_jax.creativity import arrays, fidelity
from creagen_jax.creativity.arrays import Array, Yardstick
from creagen_jax.creativity.distances import nearest

UNSELECTED, CHOSEN, PAIRS = 64, 12, 12  # items in the parts of a showcase
NEIGHBOURS = 3  # of the balls that tell what is rare


class Pair(NamedTuple):
    """A generated item between the real items most like it, in the space in which it is most of a
    copy."""

    item: int
    train: int  # the nearest of `Yardstick.train`
    heldout: int | None  # the nearest of `Yardstick.reference`
    percentile: float | None  # of held-out items, how many per cent are copied less


@dataclasses.dataclass(frozen=True)
class Showcase:
    """Numbers of generated items, each picture only once but in the first part."""

    unselected: list[int]  # the first ones drawn
    copied: list[Pair]  # the most copied first
    rarest: list[int]  # valid and original; the rarest first
    rejects: list[int]  # at random
    reasons: dict[int, str]  # what is wrong with an item in any part, in words; "" if nothing is


def showcase(
    y: Yardstick,
    items: Array,
    asked: Array | None = None,
    *,
    names: Sequence[str] = (),
    seed: int = 0,
) -> Showcase:
    """What to show of items [N, ...].

    asked [N]: the class numbers that were asked for; names: of the classes, if they have any.
    """
    seen = arrays.look(y, items, asked)
    first = {}
    for i, item in enumerate(items):
        first.setdefault(arrays.content(item), i)
    once = list(first.values())
    reasons = [", ".join(each) for each in arrays.faults(y, seen, names)]
    copied = _copied(y, seen, once)
    rare_N = _rarity(y, seen)
    sound = [i for i in once if not reasons[i] and np.isfinite(rare_N[i])]
    rejected = np.random.default_rng(seed).permutation([i for i in once if reasons[i]])
    parts = {
        "unselected": list(range(min(len(items), UNSELECTED))),
        "rarest": sorted(sound, key=lambda i: -rare_N[i])[:CHOSEN],
        "rejects": [int(i) for i in rejected[:CHOSEN]],
    }
    shown = {*(pair.item for pair in copied), *(i for part in parts.values() for i in part)}
    return Showcase(**parts, copied=copied, reasons={i: reasons[i] for i in sorted(shown)})


def _rarity(y: Yardstick, seen: arrays.Look) -> Array:
    """`fidelity.rarity`; inf of all where real items are too few for balls."""
    if len(y.reference) <= NEIGHBOURS:
        return np.full(len(seen.copied_N), np.inf)
    features_ND = seen.features[y.domain]
    return fidelity.rarity(real=y.home.standard_MD, generated=features_ND, k=NEIGHBOURS)


def _copied(y: Yardstick, seen: arrays.Look, once: list[int]) -> list[Pair]:
    """The most copied items; a space in which few held-out items are more copied decides."""

    def key(i: int, name: str) -> tuple[float, float]:
        ratio, usual = seen.near[name].ratio_N[i], y.spaces[name].ratio_M
        return np.mean(usual <= ratio) if len(usual) else 0.0, ratio

    space_of = {i: min(y.spaces, key=lambda name, i=i: key(i, name)) for i in once}
    pairs = []
    for i in sorted(once, key=lambda i: key(i, space_of[i]))[:PAIRS]:
        name = space_of[i]
        heldout = percentile = None
        if len(y.reference):
            own_1D = seen.features[name][i : i + 1]
            heldout = int(nearest(own_1D, y.spaces[name].standard_MD)[1][0, 0])
        if y.size:
            percentile = float(100 * np.mean(y.spaces[name].ratio_M > seen.near[name].ratio_N[i]))
        pairs.append(Pair(i, int(seen.near[name].train_N[i]), heldout, percentile))
    return pairs
