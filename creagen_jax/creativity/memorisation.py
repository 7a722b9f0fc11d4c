"""Is it new, or is it a copy? Memorisation of training data: from features, losses, continuations.

The held-out-neighbour rate is the measure to trust: it is 1 for whatever did not use the training
items, good or bad, and 1 - e if a share e was copied, at any sizes of the sets. It needs a held-out
set from the same source, split by source (by song, author, video), without copies across the split:
`leak` tells.

Letters: N generated items, M other items, P pool items (training and held-out ones together),
D feature width, K neighbours, T tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from creagen_jax.creativity.distances import count_inside, features, inside, nearest
from creagen_jax.creativity.diversity import kmeans
from creagen_jax.creativity.estimate import (
    Estimate,
    Z,
    difference,
    effective_size,
    pairs_above,
    ratio,
    roc_area,
    undetermined,
    wilson,
)
from creagen_jax.types import UserError

FEWEST = 30  # independent neighbours, below which a rate is not told
NEAR = 1e-6  # of the spread of the training items: closer than this is the same item
BELOW = 10  # held-out items below a threshold that set it well enough
SOME = 10_000  # training items that tell cells well enough

Losses = tuple[np.ndarray, np.ndarray]  # nats [N] and tokens [N], sums over each example


@dataclasses.dataclass(frozen=True)
class HNR:
    """The held-out-neighbour rate: share / pi."""

    estimate: Estimate  # 1: no memorisation; 0: every item is nearest to a training item
    p: float  # of the permutation test; small: nearer to training items than by chance
    effective: float  # independent neighbours
    share: float  # of the items whose nearest pool item is held out
    pi: float  # share of the pool that is held out


class Duplicates(NamedTuple):
    """Generated items that are as close to a training item as almost no held-out item is."""

    estimate: Estimate  # their share
    threshold: float | None  # of `copy_ratio`; None if undetermined
    copied_N: np.ndarray  # bool


# --- held-out-neighbour rate ---------------------------------------------------------------------


def heldout_neighbour_rate(
    weight_P: np.ndarray, in_heldout_P: np.ndarray, *, permutations: int = 2000, seed: int = 0
) -> HNR:
    """The rate, from how many generated items each pool item is the nearest of.

    weight_P [P]: each generated item has weight 1, shared alike by the pool items tied for it.
    in_heldout_P [P] bool. If generation did not depend on which pool items were trained on, their
    labels may be exchanged, and the share of held-out ones has mean pi exactly. That is the null
    hypothesis of the test (one-sided, exact for any weights: Phipson and Smyth, 2010). Many items
    may have one neighbour, so the interval counts independent ones. Equal weights have the same
    share whatever the labels, so they leave the rate undetermined; they come from a pool of copies
    of one item, and by chance hardly ever. Raises UserError if the shapes differ.
    """
    if weight_P.shape != in_heldout_P.shape:
        raise UserError(f"{weight_P.shape} weights and {in_heldout_P.shape} labels of pool items")
    pool, heldout, n = len(weight_P), int(in_heldout_P.sum()), round(float(weight_P.sum()))
    weight_P = np.round(weight_P, 9)  # sums of the same shares are the same
    hits, total = weight_P[in_heldout_P].sum(), weight_P.sum()
    share, pi = float(hits / max(total, 1)), heldout / max(pool, 1)
    effective = min(effective_size(weight_P), n)  # ties spread the weight of an item
    p = _permutation_test(weight_P, heldout, hits, permutations, seed)
    if n == 0 or heldout == 0 or heldout == pool:
        kind = "generated" if n == 0 else "held-out" if heldout == 0 else "training"
        estimate = undetermined(f"no {kind} items", n=n, n_ref=pool)
    elif (weight_P == weight_P[0]).all():
        estimate = undetermined("all pool items are equally near", n=n, n_ref=pool)
    elif effective < FEWEST:
        why = f"{n} items have only {effective:.0f} independent neighbours"
        estimate = undetermined(why, n=n, n_ref=pool)
    else:
        estimate = wilson(share * n, n, effective=effective, n_ref=pool).scaled(1 / pi)
    return HNR(estimate, p, effective, share, pi)


def _permutation_test(
    weight_P: np.ndarray, heldout: int, hits: float, permutations: int, seed: int
) -> float:
    """How often `heldout` random pool items have a weight of `hits` or less, observed one included.

    Pool items of one weight are alike: it is enough to draw how many of each weight are chosen.
    """
    rng = np.random.default_rng(seed)
    weight, count = np.unique(weight_P, return_counts=True)
    step = max(1, 2**22 // max(len(weight), 1))  # so that memory stays small
    below = 0
    for first in range(0, permutations, step):
        draws = min(step, permutations - first)
        chosen = rng.multivariate_hypergeometric(count, heldout, size=draws)
        below += int((chosen @ weight <= hits + 1e-6).sum())
    return (1 + below) / (1 + permutations)


def hnr_features(
    *,
    train: np.ndarray,
    heldout: np.ndarray,
    generated: np.ndarray,
    permutations: int = 2000,
    seed: int = 0,
) -> HNR:
    """The held-out-neighbour rate by Euclidean distance between features [items, D].

    It says nothing about quality: noise has a rate of 1 as well. Copies must be near each other in
    the features, and a feature network must not have been trained on the training items alone. Pass
    each real item once: the labels of copies are not exchangeable.
    """
    weight_P = neighbour_weights(train=train, heldout=heldout, generated=generated)
    in_heldout_P = np.arange(len(weight_P)) >= len(train)
    return heldout_neighbour_rate(weight_P, in_heldout_P, permutations=permutations, seed=seed)


def neighbour_weights(
    *, train: np.ndarray, heldout: np.ndarray, generated: np.ndarray
) -> np.ndarray:
    """Of how many generated items each pool item is the nearest [P], training first; ties share."""
    train_PD, heldout_PD, generated_ND = features(train=train, heldout=heldout, generated=generated)
    pool_PD = np.concatenate([train_PD, heldout_PD])
    weight_P = np.zeros(len(pool_PD))
    if len(pool_PD) == 0 or len(generated_ND) == 0:
        return weight_P
    distance_NK, index_NK = nearest(generated_ND, pool_PD, k=min(2, len(pool_PD)))
    tied_N = distance_NK[:, 0] == distance_NK[:, 1:].min(axis=1, initial=np.inf)
    np.add.at(weight_P, index_NK[~tied_N, 0], 1)
    if not tied_N.any():
        return weight_P
    # A ball that is hardly larger than the distance holds all those at that distance.
    radius_N = np.nextafter(distance_NK[tied_N, 0], np.inf)
    balls = {"points": pool_PD, "centres": generated_ND[tied_N], "radii": radius_N}
    _, ties_N = count_inside(**balls)
    for rows, cols, inside_AB in inside(**balls):
        weight_P[cols] += (1 / ties_N[rows]) @ inside_AB
    return weight_P


def leak(*, train: np.ndarray, heldout: np.ndarray) -> Estimate:
    """Share of held-out items that are also training items, exactly or but for rounding.

    Above 1 % nothing that compares with held-out items should be believed. "But for rounding" is
    within 1e-6 of the root mean square distance of training items from their mean. Counts held-out
    items as n and training items as n_ref.
    """
    train_MD, heldout_ND = features(train=train, heldout=heldout)
    if why := _unfit({"held-out": heldout_ND, "training": train_MD}):
        return why
    near = NEAR * np.sqrt(train_MD.var(axis=0).sum())
    distance_N1, _ = nearest(heldout_ND, train_MD)
    return wilson(int((distance_N1 <= near).sum()), len(heldout_ND), n_ref=len(train_MD))


# --- copies of single items ----------------------------------------------------------------------


def copy_ratio(*, train: np.ndarray, queries: np.ndarray, k: int = 50) -> np.ndarray:
    """Distance of each query to the nearest training item, over the mean of the k nearest: [N].

    train [M, D], queries [N, D]. 0 for an exact copy, near 1 where no training item stands out
    (Carlini et al., 2023b, without their factor alpha). Raises UserError for an empty training set.
    """
    return _copy_ratio(train, queries, k)[0]


def _copy_ratio(train: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """`copy_ratio` [N], and which training item is the nearest [N]."""
    distance_NK, index_NK = nearest(queries, train, k=min(k, max(len(train), 1)))
    mean_N = distance_NK.mean(axis=1)
    return distance_NK[:, 0] / np.where(mean_N > 0, mean_N, 1), index_NK[:, 0]


def calibrated_duplicates(
    *,
    train: np.ndarray,
    heldout: np.ndarray,
    generated: np.ndarray,
    quantile: float = 0.01,
    k: int = 50,
    seed: int = 0,
) -> Duplicates:
    """Which generated items are nearer to a training item than all but 1 % of held-out items are.

    An honest model has a share of about `quantile`, for then the items are as held-out ones. The
    interval takes the threshold, that quantile of the held-out `copy_ratio`, as given. It is found
    from at most 10 / `quantile` held-out items, drawn at random, and undetermined if there are less
    than 1 / `quantile` or if a larger share than `quantile` are copies of training items.
    """
    train_MD, heldout_MD, generated_ND = features(train=train, heldout=heldout, generated=generated)
    n, n_ref = len(generated_ND), len(heldout_MD)
    unknown = partial(Duplicates, threshold=None, copied_N=np.zeros(n, bool))
    sets = {"generated": generated_ND, "held-out": heldout_MD, "training": train_MD}
    if why := _unfit(sets, vary=["training"]):
        return unknown(why)
    if n_ref * quantile < 1:
        why = f"{n_ref} held-out items are too few for a quantile of {quantile:g}"
        return unknown(undetermined(why, n=n, n_ref=n_ref))
    known_MD = np.random.default_rng(seed).permutation(heldout_MD)[: round(BELOW / quantile)]
    ratio_N, nearest_N = _copy_ratio(train_MD, np.concatenate([generated_ND, known_MD]), k)
    threshold = float(np.quantile(ratio_N[n:], quantile))
    if threshold == 0:
        why = f"a share of more than {quantile:g} of the held-out items are in the training set"
        return unknown(undetermined(why, n=n, n_ref=n_ref))
    copied_N = ratio_N[:n] < threshold
    return Duplicates(_share(copied_N, nearest_N[:n], n_ref=n_ref), threshold, copied_N)


def authenticity(*, train: np.ndarray, generated: np.ndarray) -> Estimate:
    """Share of items farther from their nearest training item than that is from its own nearest.

    Alaa et al. (2022), section 3. Held-out items have 0.5 or more, noise has 1, copies 0, and
    copies with noise anything: read it beside its value of held-out items.
    """
    train_MD, generated_ND = features(train=train, generated=generated)
    if why := _unfit({"generated": generated_ND, "training": train_MD}, vary=["training"]):
        return why
    distance_N1, index_N1 = nearest(generated_ND, train_MD)
    neighbour_N = index_N1[:, 0]
    # The ball around that neighbour, up to the item, holds others if one of them is nearer.
    balls = {"centres": train_MD[neighbour_N], "radii": distance_N1[:, 0]}
    _, held_N = count_inside(points=train_MD, **balls)
    return _share(held_N > 1, neighbour_N, n_ref=len(train_MD))


def copying_ct(
    *,
    train: np.ndarray,
    heldout: np.ndarray,
    generated: np.ndarray,
    cells: int = 3,
    components: int = 64,
    seed: int = 0,
) -> Estimate:
    """C_T: are generated items nearer to training items than held-out items are, in z scores?

    Meehan, Chaudhuri and Dasgupta (2020), section 4: in each k-means cell of the training items
    (cells are found from 10,000 of them) the Mann-Whitney test of distances to the nearest training
    item; the mean over cells with 20 or more generated items, weighted by held-out items. Far below
    0: copies. Far above 0: noise and bad fits, which hide copies. It grows with the sizes.
    The interval is that of a z score.
    """
    train, heldout, generated = features(train=train, heldout=heldout, generated=generated)
    n, n_ref = len(generated), len(heldout)
    sets = {"generated": generated, "held-out": heldout, "training": train}
    if why := _unfit(sets, vary=list(sets)):
        return why
    some = np.sort(np.random.default_rng(seed).permutation(len(train))[:SOME])
    if train.shape[1] > components:
        with threadpool_limits(1):  # as for `kmeans`
            pca = PCA(min(components, len(some)), random_state=seed).fit(train[some])
        train, heldout, generated = (pca.transform(x) for x in (train, heldout, generated))
    clusters = kmeans(train[some], cells, seed=seed, starts=10)
    labelled = [(x, clusters.predict(x)) for x in (train, heldout, generated)]
    scores, weights = [], []
    for cell in range(cells):
        seen, unseen, drawn = (x[label == cell] for x, label in labelled)
        if len(drawn) >= 20 and len(unseen) > 0:
            scores.append(_z_score(nearest(drawn, seen)[0], nearest(unseen, seen)[0]))
            weights.append(len(unseen))
    if not scores:
        return undetermined("no cell has 20 generated items and a held-out item", n=n, n_ref=n_ref)
    weight = np.array(weights) / sum(weights)
    value, half = weight @ scores, Z * np.sqrt((weight**2).sum())
    return Estimate(value, value - half, value + half, "normal", n, n_ref)


# --- what the model itself gives away ------------------------------------------------------------


def loss_gap(*, train: Losses, heldout: Losses, seed: int = 0) -> Estimate:
    """Nats per token of held-out examples less those of training examples: 0 without over-fitting.

    The interval supposes independent examples, as overlapping windows of a text are not. Counts
    training examples as n and held-out ones as n_ref. Raises UserError for losses that are not
    finite and for examples without tokens.
    """
    train, heldout = _losses(train), _losses(heldout)
    gap = difference(ratio(*heldout, seed=seed), ratio(*train, seed=seed + 1))
    return dataclasses.replace(gap, n=len(train[0]), n_ref=len(heldout[0]))


def membership_auc(*, train: Losses, heldout: Losses) -> Estimate:
    """How well the loss per token tells training from held-out examples: 0.5 not at all, 1 surely.

    The area under the ROC curve of a threshold on the loss (Yeom et al., 2018). Counts, and raises
    UserError, as `loss_gap` does.
    """
    train_N, heldout_M = (np.divide(*_losses(losses)) for losses in (train, heldout))
    if why := _unfit({"training": train_N, "held-out": heldout_M}):
        return why
    return roc_area(train_N, heldout_M)


def extraction_rate(*, continuation_NT: np.ndarray, truth_NT: np.ndarray) -> Estimate:
    """Share of training prefixes that the model continues exactly as the training data does.

    Carlini et al. (2023a), section 3: the T tokens drawn, at temperature 0, after each of N
    prefixes, and the T tokens that follow in the data. Raises UserError if the shapes differ.
    """
    continuation_NT, truth_NT = np.asarray(continuation_NT), np.asarray(truth_NT)
    if continuation_NT.shape != truth_NT.shape or truth_NT.ndim != 2:
        shapes = f"{continuation_NT.shape} and {truth_NT.shape}"
        raise UserError(f"continuations and truth have shapes {shapes}; both must be (N, T)")
    if truth_NT.shape[1] == 0:
        return undetermined("no tokens to compare", n=len(truth_NT))
    return wilson(int((continuation_NT == truth_NT).all(axis=1).sum()), len(truth_NT))


def _losses(losses: Losses) -> Losses:
    """The same as arrays in float64, checked."""
    nats_N, tokens_N = (np.asarray(array, np.float64) for array in losses)
    if nats_N.shape != tokens_N.shape or nats_N.ndim != 1:
        raise UserError(f"losses of shape {nats_N.shape} for tokens of shape {tokens_N.shape}")
    if not np.isfinite(nats_N).all():
        raise UserError(f"the loss of example {np.isfinite(nats_N).argmin()} is not finite")
    if not (tokens_N > 0).all():
        raise UserError(f"example {(tokens_N > 0).argmin()} has no tokens")
    return nats_N, tokens_N


def _unfit(sets: dict[str, np.ndarray], vary: Sequence[str] = ()) -> Estimate | None:
    """Why nothing can be said: a set is empty, or one of those that must vary does not.

    The first set is the one that is judged, the second what it is held against.
    """
    n, n_ref = [len(items) for items in sets.values()][:2]
    for kind, items in sets.items():
        if len(items) == 0:
            return undetermined(f"no {kind} items", n=n, n_ref=n_ref)
        if kind in vary and not np.ptp(items, axis=0).any():
            return undetermined(f"no two {kind} items differ", n=n, n_ref=n_ref)
    return None


def _share(is_N: np.ndarray, group_N: np.ndarray, *, n_ref: int) -> Estimate:
    """The share of items that are, where items of one group (here: one neighbour) are one."""
    effective = effective_size(np.bincount(group_N))
    return wilson(int(is_N.sum()), len(is_N), effective=effective, n_ref=n_ref)


def _z_score(a_N: np.ndarray, b_M: np.ndarray) -> float:
    """U as a z score under the hypothesis of one distribution."""
    n, m = len(a_N), len(b_M)
    u = pairs_above(a_N.ravel(), b_M.ravel())
    return (u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12)
