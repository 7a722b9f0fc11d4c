"""How far one cloud of features is from another: Frechet distance and kernel distance.

Letters: N generated items, M real items, L other real items, D feature width, A and B items of the
two sides of a block.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import stats

from creagen_jax.creativity.distances import CHUNK, features
from creagen_jax.creativity.estimate import CONFIDENCE, Estimate, undetermined
from creagen_jax.creativity.fidelity import HALVES, halves
from creagen_jax.types import UserError

LEAST = 4  # items for each feature that extrapolation to infinitely many needs
ROUNDING = 1e-9  # of a distance, relative to the variances


def frechet(*, real: np.ndarray, generated: np.ndarray) -> float:
    """The squared Frechet distance of Gaussians fitted to `real` [M, D] and `generated` [N, D].

    |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^1/2, Dowson and Landau (1982), in squares of the
    unit of the features; with Inception's features this is the FID of Heusel et al. (2017). Finite
    sets are too far apart by about 1 / N, so values compare only at equal N and M. Raises UserError
    if a set has fewer than 2 items.
    """
    real_MD, generated_ND = features(real=real, generated=generated)
    fewest = min(len(real_MD), len(generated_ND))
    if fewest < 2:
        raise UserError(f"a Frechet distance needs 2 items of each, not {fewest}")
    return _frechet(generated_ND, real_MD)


def frechet_infinite(
    *, real: np.ndarray, generated: np.ndarray, sizes: int = 12, seed: int = 0
) -> Estimate:
    """The Frechet distance of infinitely many items: no bias, so any numbers compare.

    Chong and Forsyth (2020): the intercept of a line through the distances of `sizes` random
    subsets over 1 / size. Here both sets shrink together, from all to half of their items, so that
    the bias of the real ones goes too. It may be slightly negative.
    """
    real_MD, generated_ND = features(real=real, generated=generated)
    n, n_ref, width = len(generated_ND), len(real_MD), real_MD.shape[1]
    if min(n, n_ref) < LEAST * max(width, 2):
        note = f"{min(n, n_ref)} items are too few to extrapolate from with {width} features"
        return undetermined(note, n=n, n_ref=n_ref)
    shrinking = np.linspace(1, 2, sizes)

    def intercept(generated_ND: np.ndarray, real_MD: np.ndarray) -> float:
        rng = np.random.default_rng(seed)
        distances = [
            _frechet(*(_draw(items, int(len(items) / s), rng) for items in (generated_ND, real_MD)))
            for s in shrinking
        ]
        return stats.linregress(shrinking, distances).intercept

    return halves(intercept, generated_ND, real_MD, seed=seed)


def frechet_relative(
    *,
    real: np.ndarray,
    baseline: np.ndarray,
    generated: np.ndarray,
    repeats: int = HALVES,
    seed: int = 0,
) -> Estimate:
    """The Frechet distance of `generated` [N, D] over that of other real items, `baseline` [L, D].

    1: as far from the real items [M, D] as real items are. The larger of the two sets is cut to the
    size of the smaller one, so that both distances have the same bias.
    """
    real_MD, baseline_LD, generated_ND = features(real=real, baseline=baseline, generated=generated)
    n, n_ref = min(len(baseline_LD), len(generated_ND)), len(real_MD)
    if min(n, n_ref) < 4:  # a half has no covariance
        note = f"{n} items and {n_ref} real ones are too few"
        return undetermined(note, n=n, n_ref=n_ref)
    least = ROUNDING * (real_MD.var(axis=0).sum() + baseline_LD.var(axis=0).sum())
    if _frechet(baseline_LD, real_MD) <= least:
        note = "the other real items are as the real ones, or all are alike"
        return undetermined(note, n=n, n_ref=n_ref)

    def logarithm(generated_ND: np.ndarray, real_MD: np.ndarray, baseline_LD: np.ndarray) -> float:
        above, below = _frechet(generated_ND, real_MD), _frechet(baseline_LD, real_MD)
        return np.log(max(above, least) / max(below, least))

    rng = np.random.default_rng(seed)
    sets = _draw(generated_ND, n, rng), real_MD, _draw(baseline_LD, n, rng)
    log = halves(logarithm, *sets, repeats=repeats, seed=seed)
    # Distances of real items vary as 1 / n and not 1 / sqrt(n), so their logarithms vary as much
    # for halves, of which there only remains that they are drawn without replacement.
    spread = np.sqrt(2) * (log.high - log.value)
    low, value, high = np.exp(log.value + spread * np.array([-1, 0, 1]))
    return dataclasses.replace(log, value=value, low=low, high=high)


def kid(
    *,
    real: np.ndarray,
    generated: np.ndarray,
    subsets: int | None = None,
    subset_size: int = 1000,
    seed: int = 0,
) -> Estimate:
    """The kernel distance of `generated` [N, D] from `real` [M, D] (Binkowski et al., 2018).

    The unbiased estimate of the squared maximum mean discrepancy, Gretton et al. (2012), eq. 3, for
    the kernel (x.y / D + 1)^3. It does not depend on N and M, and around 0 it may be negative. With
    `subsets` it is the mean over that many pairs of random subsets of `subset_size` items, as most
    libraries print it. Raises UserError if a set has fewer items than that.
    """
    real_MD, generated_ND = features(real=real, generated=generated)
    n, n_ref = len(generated_ND), len(real_MD)
    if min(n, n_ref) < 3:  # of which each can be left out
        note = f"{n} generated and {n_ref} real items are too few"
        return undetermined(note, n=n, n_ref=n_ref)
    if subsets is None:
        value, variance = _discrepancy(generated_ND, real_MD)
    else:
        if not 3 <= subset_size <= min(n, n_ref):
            raise UserError(f"subset_size {subset_size} is not in 3 .. {min(n, n_ref)}")
        rng = np.random.default_rng(seed)
        drawn = [
            _discrepancy(*(_draw(items, subset_size, rng) for items in (generated_ND, real_MD)))
            for _ in range(subsets)
        ]
        value, variance = np.mean(drawn, axis=0)
        variance *= max(1 / subsets, subset_size / min(n, n_ref))  # at best, none is drawn twice
    spread = stats.norm.ppf(0.5 + CONFIDENCE / 2) * np.sqrt(variance)
    return Estimate(value, value - spread, value + spread, "jackknife", n, n_ref)


def _draw(items_ND: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n of the items, each at most once."""
    return items_ND[rng.permutation(len(items_ND))[:n]]


def _frechet(generated_ND: np.ndarray, real_MD: np.ndarray) -> float:
    apart_D = generated_ND.mean(axis=0) - real_MD.mean(axis=0)
    a_RD, b_RD = _factor(generated_ND), _factor(real_MD)
    overlap = np.linalg.svd(a_RD @ b_RD.T, compute_uv=False).sum()
    return max(0.0, float((apart_D**2).sum() + (a_RD**2).sum() + (b_RD**2).sum() - 2 * overlap))


def _factor(items_ND: np.ndarray) -> np.ndarray:
    """F [min(N, D), D] with F^T F = S, the covariance.

    tr (S1 S2)^1/2 is the nuclear norm of F1 F2^T. With fewer items than features F is the items
    themselves, and a singular S does no harm.
    """
    centred_ND = (items_ND - items_ND.mean(axis=0)) / np.sqrt(len(items_ND) - 1)
    if len(items_ND) <= items_ND.shape[1]:
        return centred_ND
    values_D, vectors_DD = np.linalg.eigh(centred_ND.T @ centred_ND)
    return np.sqrt(values_D.clip(0))[:, None] * vectors_DD.T


def _discrepancy(x_ND: np.ndarray, y_MD: np.ndarray) -> tuple[float, float]:
    """The squared discrepancy and its jackknife variance, which is if anything too large (Efron and
    Stein, 1981)."""
    (n, width), m = x_ND.shape, len(y_MD)
    xx_N = _kernel_sums(x_ND, x_ND)[0] - ((x_ND**2).sum(axis=1) / width + 1) ** 3
    yy_M = _kernel_sums(y_MD, y_MD)[0] - ((y_MD**2).sum(axis=1) / width + 1) ** 3
    xy_N, xy_M = _kernel_sums(x_ND, y_MD)
    xx, yy, xy = xx_N.sum(), yy_M.sum(), xy_N.sum()

    def unbiased(xx, n, yy, m, xy):
        return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)

    without_x_N = unbiased(xx - 2 * xx_N, n - 1, yy, m, xy - xy_N)
    without_y_M = unbiased(xx, n, yy - 2 * yy_M, m - 1, xy - xy_M)
    variance = (n - 1) * without_x_N.var() + (m - 1) * without_y_M.var()
    return unbiased(xx, n, yy, m, xy), variance


def _kernel_sums(x_ND: np.ndarray, y_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row sums [N] and column sums [M] of (x.y / D + 1)^3, a block at a time.

    In float64, because the discrepancy is a small difference of such sums.
    """
    rows_N, cols_M = np.zeros(len(x_ND)), np.zeros(len(y_MD))
    for i in range(0, len(x_ND), CHUNK):
        for j in range(0, len(y_MD), CHUNK):
            base_AB = x_ND[i : i + CHUNK] @ y_MD[j : j + CHUNK].T / x_ND.shape[1] + 1
            kernel_AB = base_AB * base_AB * base_AB  # NumPy's ** 3 takes ten times as long
            rows_N[i : i + CHUNK] += kernel_AB.sum(axis=1)
            cols_M[j : j + CHUNK] += kernel_AB.sum(axis=0)
    return rows_N, cols_M
