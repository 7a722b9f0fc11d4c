"""Are the items inside what real items span, and do they span all of it? Balls around items.

Improved precision and recall (Kynkaanniemi et al., 2019), density and coverage (Naeem et al.,
2020). The ball of an item reaches to its k-th nearest neighbour in its own set; an item at the very
edge of a ball is outside.

Letters: N generated items, M real items, D feature width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from creagen_jax.creativity.distances import count_inside, features, inside, nearest
from creagen_jax.creativity.estimate import Estimate, ratio, subsample, undetermined, wilson

SHARES = "precision", "recall", "density", "coverage"
HALVES = 20  # drawn for an interval; each costs a quarter of the whole or more


@dataclasses.dataclass(frozen=True, eq=False)
class PRDC:
    """What the balls tell of each item, and the four shares that follow."""

    k: int  # neighbours that a ball reaches to
    balls_N: np.ndarray  # how many real balls hold this generated item
    covered_M: np.ndarray  # bool: the ball of this real item holds a generated item
    recalled_M: np.ndarray  # bool: some generated ball holds this real item

    @property
    def inside_N(self) -> np.ndarray:
        """bool: some real ball holds this generated item."""
        return self.balls_N > 0

    @property
    def precision(self) -> float:
        """The share of generated items inside some real ball."""
        return float(self.inside_N.mean())

    @property
    def recall(self) -> float:
        """The share of real items inside some generated ball; the large balls of noise hold all."""
        return float(self.recalled_M.mean())

    @property
    def density(self) -> float:
        """The mean number of real balls that hold a generated item, over k; 1 for real data."""
        return float(self.balls_N.mean() / self.k)

    @property
    def coverage(self) -> float:
        """The share of real balls that hold a generated item; see `expected_coverage`."""
        return float(self.covered_M.mean())


def prdc(*, real: np.ndarray, generated: np.ndarray, k: int = 5) -> PRDC:
    """Precision, recall, density and coverage of `generated` [N, D] against `real` [M, D].

    Raises UserError if either set has k items or fewer.
    """
    real_MD, generated_ND = features(real=real, generated=generated)
    balls_N, points_M = _held(points=generated_ND, centres=real_MD, k=k)
    balls_M, _ = _held(points=real_MD, centres=generated_ND, k=k)
    return PRDC(k, balls_N, covered_M=points_M > 0, recalled_M=balls_M > 0)


def prdc_estimates(
    *,
    real: np.ndarray,
    generated: np.ndarray,
    k: int = 5,
    shares: Sequence[str] = SHARES,
    repeats: int = HALVES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Precision, recall, density and coverage with intervals, by name: those asked for.

    The intervals of precision and density are about generated items, given the real ones. Coverage
    and recall change with either set, so halves of both are drawn, `repeats` times.
    """
    real_MD, generated_ND = features(real=real, generated=generated)
    n, n_ref = len(generated_ND), len(real_MD)
    if min(n, n_ref) // 2 <= k:
        note = f"{n} generated and {n_ref} real items are too few for balls of {k} neighbours"
        return dict.fromkeys(shares, undetermined(note, n=n, n_ref=n_ref))
    copied = float((_radii(real_MD, k) == 0).mean())
    note = f"{copied:.0%} of the real items have {k} exact copies and so no ball" if copied else ""
    if copied == 1:
        return dict.fromkeys(shares, undetermined(note, n=n, n_ref=n_ref))

    def recall(generated_ND: np.ndarray, real_MD: np.ndarray) -> float:
        return (_held(points=real_MD, centres=generated_ND, k=k)[0] > 0).mean()

    def coverage(generated_ND: np.ndarray, real_MD: np.ndarray) -> float:
        return (_held(points=generated_ND, centres=real_MD, k=k)[1] > 0).mean()

    def of_halves(statistic: Callable[..., float]) -> Estimate:
        how = {"seed": seed, "repeats": repeats, "note": note}
        return halves(statistic, generated_ND, real_MD, **how).clipped()

    balls_N, _ = _held(points=generated_ND, centres=real_MD, k=k)
    found = {
        "precision": lambda: wilson((balls_N > 0).sum(), n, n_ref=n_ref, note=note),
        "recall": lambda: of_halves(recall),
        "density": lambda: ratio(balls_N / k, np.ones(n), seed=seed, n_ref=n_ref, note=note),
        "coverage": lambda: of_halves(coverage),
    }
    return {name: found[name]() for name in shares}


def expected_coverage(n_real: int, n_generated: int, k: int = 5) -> float:
    """Coverage by items from the distribution of the real ones (Naeem et al., 2020).

    1 minus the chance that a real item's k nearest, of the real and generated items together, are
    all real: about 1 - 2^-k for sets of one size. For n_real > k.
    """
    closer = np.arange(1, k + 1)
    return float(1 - np.prod((n_real - closer) / (n_real + n_generated - closer)))


def realism(*, real: np.ndarray, generated: np.ndarray, k: int = 5) -> np.ndarray:
    """How deep inside real balls each generated item is [N] (Kynkaanniemi et al., 2019, eq. 3).

    The largest radius / distance to the centre, over the real balls no larger than their median,
    for outliers have large ones. Above 1: inside such a ball; inf: a copy of a real item. Raises
    UserError if there are k real items or fewer.
    """
    real_MD, generated_ND = features(real=real, generated=generated)
    radius_M = _radii(real_MD, k)
    used_M = (radius_M > 0) & (radius_M <= np.median(radius_M))
    if not used_M.any():  # most real items are copies
        return np.zeros(len(generated_ND))
    distance_N1, _ = nearest(generated_ND, real_MD[used_M], unit=radius_M[used_M])
    with np.errstate(divide="ignore"):
        return 1 / distance_N1[:, 0]


def rarity(*, real: np.ndarray, generated: np.ndarray, k: int = 3) -> np.ndarray:
    """The radius of the smallest real ball that holds each generated item [N] (Han et al., 2022).

    Large: unusual, and yet among real items. inf: in no real ball. Raises UserError if there are k
    real items or fewer.
    """
    real_MD, generated_ND = features(real=real, generated=generated)
    radius_M = _radii(real_MD, k)
    smallest_N = np.full(len(generated_ND), np.inf)
    blocks = inside(points=generated_ND, centres=real_MD, radii=radius_M)
    for rows, cols, inside_AB in blocks:
        held_B = np.where(inside_AB, radius_M[rows, None], np.inf).min(axis=0)
        smallest_N[cols] = np.minimum(smallest_N[cols], held_B)
    return smallest_N


def halves(
    statistic: Callable[..., float],
    generated: np.ndarray,
    *others: np.ndarray,
    seed: int = 0,
    repeats: int = HALVES,
    note: str = "",
) -> Estimate:
    """statistic(generated, *others), with an interval from halves of all the sets; see `subsample`.

    The first of the others is the reference.
    """
    rng = np.random.default_rng([seed, 1])  # not the draws of `subsample` itself

    def of(index: np.ndarray) -> float:
        if len(index) == len(generated):
            return statistic(generated, *others)
        drawn = (items[rng.permutation(len(items))[: len(items) // 2]] for items in others)
        return statistic(generated[index], *drawn)

    n, n_ref = len(generated), len(others[0])
    return subsample(of, n, seed=seed, repeats=repeats, n_ref=n_ref, note=note)


def _held(*, points: np.ndarray, centres: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """How many balls hold each point [N], and how many points the ball of each centre holds [M]."""
    return count_inside(points=points, centres=centres, radii=_radii(centres, k))


def _radii(items_ND: np.ndarray, k: int) -> np.ndarray:
    """The distance of each item to its k-th nearest neighbour [N]."""
    return nearest(items_ND, items_ND, k=k, exclude_self=True)[0][:, -1]
