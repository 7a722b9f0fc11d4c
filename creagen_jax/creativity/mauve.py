"""MAUVE: how close two sets of features come to being one distribution (Pillutla et al., 2021).

Letters: N items of each set, D feature width, K clusters, R points of the curve.
"""

from __future__ import annotations

import numpy as np
from scipy.special import rel_entr
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize

from creagen_jax.creativity.distances import features
from creagen_jax.creativity.diversity import kmeans
from creagen_jax.creativity.estimate import Estimate, subsample, undetermined
from creagen_jax.types import UserError

FEWEST = 20  # items of each set, for two clusters
ENOUGH = 1000  # with fewer, the clusters say more than the items
SAME = 1e-9  # scaled features that differ by less, differ by rounding
VARIANCE = 0.9  # share of it that the principal components keep
REPEATS = 20  # subsamples; each takes a clustering


def mauve_from_histograms(
    p_K: np.ndarray, q_K: np.ndarray, *, c: float = 5.0, points: int = 25
) -> float:
    """The area under the divergence curve of two histograms that each add up to 1 (section 2).

    The curve is (exp(-c KL(q | r)), exp(-c KL(p | r))) for mixtures r = l p + (1 - l) q. It leads
    from (1, 0) to (0, 1), so its areas over the two axes are the same.
    """
    weight_R1 = np.linspace(1e-6, 1 - 1e-6, points)[:, None]
    r_RK = weight_R1 * p_K + (1 - weight_R1) * q_K
    x_R, y_R = (np.exp(-c * rel_entr(h_K, r_RK).sum(axis=1)) for h_K in (q_K, p_K))
    return float(np.trapezoid([1, *x_R, 0], [0, *y_R, 1]))


def mauve(
    *,
    real: np.ndarray,
    generated: np.ndarray,
    c: float = 5.0,
    seeds: int = 5,
    clusters: int | None = None,
    seed: int = 0,
) -> Estimate:
    """MAUVE of generated [N, D] against real items [M, D]: 1 for equal distributions, 0 for apart.

    Rows are scaled to length 1, reduced to 90 % of their variance and clustered by k-means into
    `clusters`, by default one for ten items. The score depends on the clustering, so it is the mean
    over `seeds` of them, and on the number of items, so the larger set is cut, at random, to the
    smaller. The interval holds the chance of both items and clusters: each subsample is clustered
    anew. Raises UserError for less than one of the `seeds` or `clusters`.
    """
    if seeds < 1 or (clusters is not None and clusters < 1):
        raise UserError(f"MAUVE with {seeds} seeds and {clusters} clusters; at least 1 of each")
    real_ND, generated_ND = features(real=real, generated=generated)
    n = min(len(real_ND), len(generated_ND))
    if n < FEWEST:
        return undetermined(f"{n} items are too few", n=n, n_ref=n)
    rng = np.random.default_rng(seed)
    sets = [rng.permutation(x)[:n] for x in (real_ND, generated_ND)]
    both_ND = normalize(np.concatenate(sets))
    if np.ptp(both_ND, axis=0).max() < SAME:
        return undetermined("all features are the same", n=n, n_ref=n)
    both_ND = PCA(VARIANCE).fit_transform(both_ND).astype(np.float32)

    def score(index: np.ndarray) -> float:
        points_ND = both_ND[np.concatenate([index, index + n])]
        k = clusters or max(2, round(len(index) / 10))
        label = kmeans(points_ND, k, seed=int(rng.integers(2**31))).labels_
        p_K, q_K = (np.bincount(half, minlength=k) / len(index) for half in np.split(label, 2))
        return mauve_from_histograms(p_K, q_K, c=c)

    def statistic(index: np.ndarray) -> float:
        return float(np.mean([score(index) for _ in range(seeds if len(index) == n else 1)]))

    note = "" if n >= ENOUGH else f"{n} items of each kind; below {ENOUGH} MAUVE says little"
    return subsample(statistic, n, seed=seed, repeats=REPEATS, n_ref=n, note=note).clipped()
