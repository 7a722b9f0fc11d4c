"""How many different things there are: the Vendi score, and which modes of the data are used.

Letters: N items, D feature width, K modes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from creagen_jax.creativity.distances import features
from creagen_jax.creativity.estimate import Estimate, Z, exact, subsample, undetermined
from creagen_jax.types import UserError

REPEATS = 20  # subsamples; each takes the eigenvalues of two matrices
EACH = 20  # real items of a mode, on average; fewer tell the chance of the items, not the modes


@dataclasses.dataclass(frozen=True, eq=False)
class ModeHistogram:
    """How real and generated items fall on the same modes."""

    real_K: np.ndarray  # share of the real items in each mode
    generated_K: np.ndarray
    differs_K: np.ndarray  # bool: by more than chance, at 5 %
    distance: Estimate  # total variation: the share of items that would have to change mode
    different: Estimate  # share of the modes that differ; 0.05 is what equal distributions have


def vendi(features_ND: np.ndarray, *, q: float = 1.0) -> float:
    """The effective number of different items, 1 .. N, with cosine similarity; 0 of none.

    Friedman and Dieng (2023): exp of the Renyi entropy, of order q, of the eigenvalues of K / N
    with K the similarity matrix [N, N]. q = 0 counts rare kinds as much as common ones, q = inf
    only the commonest. A row of zeros is like other rows of zeros and unlike all else. Raises
    UserError for negative q and for features that are not finite.
    """
    (features_ND,) = features(items=features_ND)
    if not q >= 0:
        raise UserError(f"the order of the Vendi score is {q}; it must be 0 or more")
    if len(features_ND) == 0:
        return 0.0
    unit_ND = normalize(features_ND)
    unit_ND = np.column_stack([unit_ND, ~unit_ND.any(axis=1)])
    # Both products have the same eigenvalues but for zeros: the smaller one is enough.
    n, width = unit_ND.shape
    gram = unit_ND.T @ unit_ND if width <= n else unit_ND @ unit_ND.T
    share = np.linalg.eigvalsh(gram / n)
    share = share[share > share.max() * max(n, width) * np.finfo(np.float64).eps]
    share /= share.sum()
    if q == np.inf:
        return float(1 / share.max())
    if abs(q - 1) < 1e-8:  # where the general formula is lost in rounding
        return float(np.exp(-(share * np.log(share)).sum()))
    return float(np.exp(logsumexp(q * np.log(share)) / (1 - q)))


def vendi_ratio(
    *,
    real: np.ndarray,
    generated: np.ndarray,
    q: float = 1.0,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Estimate:
    """`vendi` of generated [N, D] over that of real items [M, D], as many of each.

    The score grows with the number of items, so the larger set is cut, at random, to the smaller.
    The interval is from `repeats` halves of both; without them there is none.
    """
    real_ND, generated_ND = features(real=real, generated=generated)
    n = min(len(real_ND), len(generated_ND))
    rng = np.random.default_rng(seed)
    real_ND, generated_ND = (rng.permutation(x)[:n] for x in (real_ND, generated_ND))

    def statistic(index: np.ndarray) -> float:
        return vendi(generated_ND[index], q=q) / vendi(real_ND[index], q=q)

    return subsample(statistic, n, seed=seed, repeats=repeats, n_ref=n)


def mode_histogram(
    *, real: np.ndarray, generated: np.ndarray, modes: int = 50, seed: int = 0
) -> ModeHistogram:
    """Histograms over k-means clusters of the real items: real [M, D], generated [N, D].

    Without labels this is how modes are found; with labels see `class_histogram`. There is no more
    than one mode for 20 real items, and of a single mode nothing is told.
    """
    real_MD, generated_ND = features(real=real, generated=generated)
    m, n = len(real_MD), len(generated_ND)
    label_M, label_N, modes = np.zeros(m), np.zeros(n), min(modes, m // EACH)
    if modes > 1 and n > 0:
        clusters = kmeans(real_MD, modes, seed=seed)
        label_M, label_N = clusters.labels_, clusters.predict(generated_ND)
    found = class_histogram(real=label_M, generated=label_N, seed=seed)
    if m > 0 and n > 0 and len(found.real_K) == 1:
        why = undetermined(f"{m} real items are too few or too alike for two modes", n=n, n_ref=m)
        found = dataclasses.replace(found, distance=why, different=why)
    return found


def class_histogram(*, real: np.ndarray, generated: np.ndarray, seed: int = 0) -> ModeHistogram:
    """Histograms of given class ids: real [M], generated [N].

    Each mode is tested by itself, by the z test of two proportions (NDB / K: Richardson and Weiss,
    2018).
    """
    m, n = len(real), len(generated)
    values, label = np.unique(np.concatenate([real, generated]), return_inverse=True)
    is_real, k = np.arange(m + n) < m, len(values)

    def shares(index: np.ndarray) -> np.ndarray:
        """Of the generated (0) and of the real items (1) in each mode: [2, K]."""
        count_2K = np.bincount(is_real[index] * k + label[index], minlength=2 * k).reshape(2, k)
        return count_2K / np.maximum(count_2K.sum(axis=1, keepdims=True), 1)

    def total_variation(index: np.ndarray) -> float:
        return float(np.abs(np.subtract(*shares(index))).sum() / 2)

    generated_K, real_K = shares(np.arange(m + n))
    if m == 0 or n == 0:
        why = undetermined("no real items" if m == 0 else "no generated items", n=n, n_ref=m)
        return ModeHistogram(real_K, generated_K, np.zeros(k, bool), why, why)
    pooled_K = np.bincount(label) / (m + n)
    error_K = np.sqrt(pooled_K * (1 - pooled_K) * (1 / m + 1 / n))
    differs_K = np.abs(real_K - generated_K) > Z * error_K
    distance = subsample(total_variation, m + n, seed=seed).clipped()
    different = exact(differs_K.mean(), n=n, n_ref=m)
    distance = dataclasses.replace(distance, n=n, n_ref=m)
    return ModeHistogram(real_K, generated_K, differs_K, distance, different)


def kmeans(points_ND: np.ndarray, clusters: int, *, seed: int, starts: int = 1) -> KMeans:
    """k-means, the best of some starts, with no more clusters than there are different points.

    In one thread: two add up numbers in an order that varies, and wait busily for each other.
    """
    clusters = min(clusters, len(np.unique(points_ND, axis=0)))
    with threadpool_limits(1):
        return KMeans(clusters, n_init=starts, random_state=seed).fit(points_ND)
