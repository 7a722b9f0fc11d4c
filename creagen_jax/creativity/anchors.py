"""Arrays of known merit, between which a generated set lies: real ones, copies, noise, cheap fits.

Letters: N items, P training items of a class, V values of an item, K components.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from creagen_jax.creativity import spaces
from creagen_jax.creativity.arrays import Array, Yardstick
from creagen_jax.creativity.distances import nearest

TITLES = {
    "held-out": "Held-out data",
    "training copies": "Copies of training data",
    "copies with noise": "Copies of training data with noise",
    "mixup": "Means of two training items that are alike",
    "class Gaussian": "Normal distributions of the values, one a class",
    "noise": "Real data with their values shuffled",
    "one item": "One held-out item repeated",
    "shuffled frames": "Held-out clips with their frames in random order",
    "still": "Held-out clips that stay at their first frame",
}
NOISE = 0.5  # standard deviation of noise on copies, in those of the training data
NEIGHBOURS = 5  # of an item, one of which it is mixed with
COMPONENTS = 64  # of a normal distribution


Spoil = Callable[[Array, np.random.Generator], Array]  # items to others [N, ...] that are worse


class Anchor(NamedTuple):
    """A set of items, and the classes that they are to be of."""

    items: Array  # [N, ...], of the kind of the training items
    labels: Array | None  # [N]; None without classes


def anchors(
    y: Yardstick, *, spoilt: Mapping[str, Spoil] | None = None, size: int = 0, seed: int = 0
) -> dict[str, Anchor]:
    """Sets of known merit by the names of TITLES, `size` items each or as many as `y` compares;
    among them real items that were `spoilt` in ways that only this kind of items knows.

    Without held-out items there are no "held-out" ones, and training items stand in where real ones
    are needed.
    """
    rng = np.random.default_rng(seed)
    size = size or y.size or len(y.train)
    labels_P = None if y.labels is None else np.asarray(y.labels.train)
    classes = np.zeros(len(y.train), int) if labels_P is None else labels_P

    def anchor(items: Array, labels: Array | None) -> Anchor:
        return Anchor(_like(y.train, items), None if labels_P is None else labels)

    chosen = rng.choice(len(y.train), min(size, len(y.train)), replace=False)
    copies, labels = y.train[chosen], classes[chosen]
    spread = y.train.std(axis=0, dtype=np.float64)
    partners = y.train[_partners(y, classes, chosen, rng)]
    asked = rng.choice(classes, size)
    heldout = Anchor(copies, labels)
    if len(y.heldout):
        heldout = Anchor(y.heldout[:size], y.labels and np.asarray(y.labels.heldout)[:size])
    found = {
        "held-out": heldout,
        "training copies": anchor(copies, labels),
        "copies with noise": anchor(
            copies + NOISE * spread * rng.standard_normal(copies.shape), labels
        ),
        "mixup": anchor((copies + partners.astype(np.float64)) / 2, labels),
        "class Gaussian": anchor(_normal(y.train, classes, asked, rng), asked),
        "noise": anchor(rng.permuted(_flat(heldout.items), axis=1), heldout.labels),
        "one item": anchor(
            *(None if x is None else np.repeat(x[:1], size, axis=0) for x in heldout)
        ),
        **{
            name: Anchor(spoil(heldout.items, rng), heldout.labels)
            for name, spoil in (spoilt or {}).items()
        },
    }
    if not len(y.heldout):
        del found["held-out"]
    return found


def _flat(items: Array) -> Array:
    return items.reshape(len(items), -1)


def _like(train: Array, items: Array) -> Array:
    """The items in the shape, the range and the type of the training items."""
    items = items.reshape(len(items), *train.shape[1:])
    if np.issubdtype(train.dtype, np.integer):
        items = np.rint(items)
    return np.clip(items, train.min(), train.max()).astype(train.dtype)


def _partners(y: Yardstick, classes: Array, chosen: Array, rng: np.random.Generator) -> Array:
    """For each of the chosen training items the number of one of its nearest in its class; its own
    number if it is the only one."""
    partners = chosen.copy()
    for label in np.unique(classes[chosen]):
        of, rows = np.flatnonzero(classes == label), np.flatnonzero(classes[chosen] == label)
        k = min(NEIGHBOURS, len(of) - 1)
        if k:
            _, near_PK = nearest(y.home.train_PD[of], y.home.train_PD[of], k=k, exclude_self=True)
            own = np.searchsorted(of, chosen[rows])
            partners[rows] = of[near_PK[own, rng.integers(k, size=len(rows))]]
    return partners


def _normal(train: Array, classes: Array, asked: Array, rng: np.random.Generator) -> Array:
    """An item of each class asked for, from the normal distribution of its principal components,
    with variances shrunk as Ledoit and Wolf (2004) do: [N, V]."""
    drawn_NV = np.zeros((len(asked), train[0].size))
    for label in np.unique(asked):
        items_PV = _flat(train[classes == label]).astype(np.float64)
        rows = np.flatnonzero(asked == label)
        drawn_NV[rows] = items_PV.mean(axis=0)
        components = min(COMPONENTS, len(items_PV) - 1, items_PV.shape[1])
        if components and np.ptp(items_PV, axis=0).any():
            with threadpool_limits(1):  # more threads add up in an order that varies
                pca = PCA(components, random_state=int(label)).fit(items_PV)
            scores_PK = pca.transform(items_PV)
            share, variance_K = ledoit_wolf_shrinkage(scores_PK), scores_PK.var(axis=0)
            deviation_K = np.sqrt((1 - share) * variance_K + share * variance_K.mean())
            noise_NK = deviation_K * rng.standard_normal((len(rows), components))
            drawn_NV[rows] += noise_NK @ pca.components_
    return drawn_NV


# --- clips ---------------------------------------------------------------------------------------


def clip_spoilers(channels: int) -> dict[str, Spoil]:
    """Of clips [N, H, W, F * `channels`]: what only a look at their motion tells from real ones."""

    def shuffled(items: Array, rng: np.random.Generator) -> Array:
        F = items.shape[-1] // channels
        return np.concatenate(
            [spaces.reordered(each[None], rng.permutation(F), channels) for each in items]
        )

    def still(items: Array, rng: np.random.Generator) -> Array:
        return spaces.reordered(items, np.zeros(items.shape[-1] // channels, int), channels)

    return {"shuffled frames": shuffled, "still": still}
