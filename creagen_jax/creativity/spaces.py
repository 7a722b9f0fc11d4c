"""Feature spaces with real items in them: what is far from these, what is near, what is a copy.

Letters: N items, M reference items, L other held-out items, P training items, D feature width,
K neighbours, W ways to look at an item.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from creagen_jax.creativity import memorisation
from creagen_jax.creativity.distances import features as checked
from creagen_jax.creativity.distances import nearest
from creagen_jax.types import UserError

TOLERANCE = 0.02  # share of real items that each test of validity and originality fails
SURROUNDINGS = 50  # training items that tell how near an item should be to one of them
FAR = 1.5  # a held-out-neighbour rate of held-out items beyond this, or its inverse, is no chance

Array = np.ndarray
Features = Callable[[Array], Array]  # items [N, ...] to [N, D]
Move = Callable[[Array], Array]  # items to others [N, ...] that are the same works


class Nearness(NamedTuple):
    """How near items are to the training items."""

    distance_N: Array  # to the nearest one
    ratio_N: Array  # over the mean distance to those around it: 0 for a copy
    train_N: Array  # number of the nearest one


@dataclasses.dataclass(frozen=True, eq=False)
class Space:
    """A feature space, and the real items in it."""

    features: Features
    moves: Sequence[Move]
    train_PD: Array
    standard_MD: Array  # of the reference
    peers_LD: Array  # of the other held-out items
    doubt: str = "no held-out items"  # why they are not exchangeable with training items; or ""
    far: float = np.inf  # distance to the nearest training item that only few real items exceed
    near: float = 0.0  # the ratio of `Nearness` that only few real items are below
    ratio_M: Array = dataclasses.field(default_factory=partial(np.zeros, 0))  # of the reference


def build(
    name: str, function: Features, moves: Sequence[Move], train: Array, *heldout: Array
) -> Space:
    """The space of a feature function, moved so that the training items lie around 0, for
    similarity by angle needs a middle. Raises UserError for features that are none."""

    def raw(items: Array) -> Array:
        (found_ND,) = checked(**{name: function(items)})
        if len(found_ND) != len(items):
            raise UserError(f"features of {name}: {len(found_ND)} rows for {len(items)} items")
        return found_ND

    train_PD = raw(train)
    mean_D = train_PD.mean(axis=0)

    def features(items: Array) -> Array:
        return raw(items) - mean_D if len(items) else np.zeros((0, len(mean_D)))

    return Space(features, moves, train_PD - mean_D, *map(features, heldout))


def kin(space: Space) -> str:
    """Why held-out items are no random part of all items, by the company they keep; or ""."""
    rate = memorisation.hnr_features(
        train=space.train_PD,
        heldout=space.standard_MD,
        generated=space.peers_LD,
        permutations=0,
    ).estimate
    if rate.value is None or rate.low <= 1 <= rate.high or 1 / FAR <= rate.value <= FAR:
        return ""
    company = "each other" if rate.value > 1 else "the training items"
    return (
        f"held-out items are nearest to {company} too often to be a random part of all: their own "
        f"held-out-neighbour rate is {rate.value:.2f}"
    )


def limited(space: Space, reference: Array, doubt: str) -> Space:
    """The space with the limits that the reference sets."""
    near = nearness(space, reference, space.standard_MD)
    return dataclasses.replace(
        space,
        doubt=doubt,
        far=float(np.quantile(near.distance_N, 1 - TOLERANCE, method="higher")),
        near=float(np.quantile(near.ratio_N, TOLERANCE, method="lower")),
        ratio_M=near.ratio_N,
    )


def nearness(space: Space, items: Array, features_ND: Array) -> Nearness:
    """Of the items as they are and after each move, whichever is the nearest."""
    found, k = [], min(SURROUNDINGS, len(space.train_PD))
    for way_ND in [features_ND, *(space.features(move(items)) for move in space.moves)]:
        distance_NK, index_NK = nearest(way_ND, space.train_PD, k=k)
        mean_N = distance_NK.mean(axis=1)
        ratio_N = distance_NK[:, 0] / np.where(mean_N > 0, mean_N, 1)  # see `copy_ratio`
        found.append((distance_NK[:, 0], ratio_N, index_NK[:, 0]))
    distance_WN, ratio_WN, index_WN = map(np.stack, zip(*found, strict=True))
    best_N = ratio_WN.argmin(axis=0)
    return Nearness(distance_WN.min(0), ratio_WN.min(0), index_WN[best_N, np.arange(len(items))])


# --- pictures, spectrograms, clips ---------------------------------------------------------------


def _mirrored(items_NHWC: Array) -> Array:
    return items_NHWC[:, :, ::-1]


def _shifted(items_NHWC: Array, rows: int, columns: int) -> Array:
    """By one pixel; the edge stays."""
    wide = np.pad(items_NHWC, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    _, height, width, _ = items_NHWC.shape
    return wide[:, 1 - rows : 1 - rows + height, 1 - columns : 1 - columns + width]


def _moved(items_NHWC: Array, columns: int) -> Array:
    """To the right; what was not there is silent."""
    moved = np.roll(items_NHWC, columns, axis=2)
    moved[:, :, slice(0, columns) if columns > 0 else slice(columns, None)] = 0
    return moved


def _later(items_NHWC: Array, frames: int, channels: int) -> Array:
    """Clips as pictures of the channels of all frames: so many frames later, the first one held; or
    sooner, the last one."""
    count = items_NHWC.shape[-1] // channels
    return reordered(items_NHWC, (np.arange(count) - frames).clip(0, count - 1), channels)


def _backwards(items_NHWC: Array, channels: int) -> Array:
    return reordered(items_NHWC, np.arange(items_NHWC.shape[-1] // channels)[::-1], channels)


def reordered(items_NHWC: Array, order_F: Array, channels: int) -> Array:
    """Such clips with their frames in another order."""
    return items_NHWC[..., (channels * order_F[:, None] + np.arange(channels)).ravel()]


# A sound that begins up to eight frames sooner or later is the same sound.
SOUND_MOVES: tuple[Move, ...] = tuple(
    partial(_moved, columns=columns) for columns in (-8, -4, -2, -1, 1, 2, 4, 8)
)

# A picture that was mirrored or shifted by a pixel is the same picture.
PICTURE_MOVES: tuple[Move, ...] = (
    _mirrored,
    *(
        partial(_shifted, rows=rows, columns=columns)
        for rows, columns in ((-1, 0), (1, 0), (0, -1), (0, 1))
    ),
)


def clip_moves(channels: int) -> tuple[Move, ...]:
    """Of clips [N, H, W, F * `channels`]: moved in space or by a frame, or played backwards,
    a clip is the same clip."""
    return (
        *PICTURE_MOVES,
        partial(_backwards, channels=channels),
        *(partial(_later, frames=frames, channels=channels) for frames in (-1, 1)),
    )
