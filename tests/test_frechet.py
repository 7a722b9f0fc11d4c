"""Frechet and kernel distances equal their formulas, and the limits they must have."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.creativity import frechet as module
from creagen_jax.creativity.frechet import frechet, frechet_infinite, frechet_relative, kid
from creagen_jax.types import UserError

fast = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32)


def normal(n, width=4, seed=0, mean=0.0, scale=1.0):
    return mean + scale * np.random.default_rng(seed).standard_normal((n, width))


def mixed(n, width, seed):
    """Items whose features depend on each other."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, width)) @ rng.standard_normal((width, width)) + rng.normal()


def by_square_root(x, y):
    s, t = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(s @ t).real
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s + t - 2 * root)


def by_eigenvalues(x, y):
    s, t = np.atleast_2d(np.cov(x.T)), np.atleast_2d(np.cov(y.T))
    values, vectors = np.linalg.eigh(s)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ t @ root).clip(0)).sum()
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * overlap


@fast
@given(st.integers(12, 60), st.integers(12, 60), st.integers(2, 8), seeds)
def test_frechet_of_full_rank_is_the_formula(m, n, width, seed):
    x, y = mixed(m, width, seed), mixed(n, width, seed + 1)
    assert frechet(real=x, generated=y) == pytest.approx(by_square_root(x, y), rel=1e-6)


@fast
@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 40), seeds)
def test_frechet_is_that_by_eigenvalues_whatever_the_ranks(m, n, width, seed):
    # Clipped eigenvalues have errors of eps, their roots of sqrt(eps).
    x, y = mixed(m, width, seed), mixed(n, width, seed + 1)
    assert frechet(real=x, generated=y) == pytest.approx(by_eigenvalues(x, y), rel=1e-6)


def test_frechet_of_gaussians_that_share_axes():
    # |m1 - m2|^2 + |s1 - s2|^2 for items that have exactly these means and deviations.
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T
    unit = corners * np.sqrt(7 / 8)  # covariance 1 with n - 1 = 7
    m1, s1, m2, s2 = np.random.default_rng(0).uniform(0.5, 2, size=(4, 3))
    result = frechet(real=m1 + s1 * unit, generated=m2 + s2 * unit)
    assert result == pytest.approx(((m1 - m2) ** 2).sum() + ((s1 - s2) ** 2).sum(), rel=1e-12)


def test_frechet_of_equal_sets_is_0_and_rotation_and_order_do_not_matter():
    x, y = mixed(50, 6, 0), mixed(70, 6, 1)
    rotation = np.linalg.qr(normal(6, 6))[0]
    assert frechet(real=x, generated=x[::-1]) == pytest.approx(0, abs=1e-10)
    expected = pytest.approx(frechet(real=x, generated=y), rel=1e-10)
    assert frechet(real=x[::-1] @ rotation, generated=y @ rotation) == expected
    assert frechet(real=y, generated=x) == expected


def test_frechet_of_constant_features_is_the_distance_of_the_means():
    assert frechet(real=np.ones((9, 3)), generated=np.zeros((5, 3))) == 3
    assert frechet(real=np.ones((9, 3)), generated=np.ones((5, 3))) == 0


@pytest.mark.parametrize("mean, scale, m, n", [(0, 1, 300, 500), (0.2, 1.3, 400, 300)])
def test_extrapolation_takes_the_bias_away(mean, scale, m, n):
    width, plain, infinite = 8, [], []
    for seed in range(15):
        x, y = normal(m, width, seed), normal(n, width, [seed, 1], mean, scale)
        plain.append(frechet(real=x, generated=y))
        infinite.append(frechet_infinite(real=x, generated=y, seed=seed))
    truth = width * (mean**2 + (scale - 1) ** 2)
    values = [estimate.value for estimate in infinite]
    assert np.mean(plain) - truth > 3 * np.std(plain) / np.sqrt(15)
    assert abs(np.mean(values) - truth) < 4 * np.std(values) / np.sqrt(15)
    assert sum(e.low <= truth <= e.high for e in infinite) >= 13


def test_other_real_items_are_at_relative_distance_1():
    estimates = [
        frechet_relative(
            real=normal(200, seed=seed),
            baseline=normal(150, seed=[seed, 1]),
            generated=normal(400, seed=[seed, 2]),
            seed=seed,
        )
        for seed in range(15)
    ]
    assert sum(e.low <= 1 <= e.high for e in estimates) >= 13
    assert {(e.n, e.n_ref) for e in estimates} == {(150, 200)}
    assert 0.5 < np.median([e.value for e in estimates]) < 2  # no trace of 400 items against 150


def test_relative_distance_is_a_quotient_and_tells_what_is_worse():
    real, baseline, generated = normal(200), normal(100, seed=1), normal(100, seed=2, mean=1)
    estimate = frechet_relative(real=real, baseline=baseline, generated=generated)
    expected = frechet(real=real, generated=generated) / frechet(real=real, generated=baseline)
    assert estimate.value == pytest.approx(expected)
    assert 1 < estimate.low < estimate.value < estimate.high


# --- the kernel distance -------------------------------------------------------------------------


def oracle(x, y):
    """Unbiased squared discrepancy, summed pair by pair."""
    n, m = len(x), len(y)
    k = lambda a, b: (a @ b / len(a) + 1) ** 3  # noqa: E731
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@fast
@given(st.integers(3, 12), st.integers(3, 12), st.integers(1, 5), seeds)
def test_kid_is_the_sum_over_pairs(m, n, width, seed):
    x, y = mixed(m, width, seed), mixed(n, width, seed + 1)
    value = kid(real=x, generated=y).value
    scale = ((x**2).sum(1).max() + (y**2).sum(1).max() + 1) ** 3  # of what cancels
    assert value == pytest.approx(oracle(x, y), abs=1e-12 * scale)


def test_interval_of_kid_is_the_jackknife():
    x, y = mixed(9, 3, 0), mixed(7, 3, 1)
    without_x = [oracle(np.delete(x, i, axis=0), y) for i in range(9)]
    without_y = [oracle(x, np.delete(y, i, axis=0)) for i in range(7)]
    variance = 8 * np.var(without_x) + 6 * np.var(without_y)
    estimate = kid(real=x, generated=y)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(1.959964 * np.sqrt(variance))


def test_blocks_of_kid_do_not_matter(monkeypatch):
    x, y = mixed(50, 3, 0), mixed(41, 3, 1)
    whole = kid(real=x, generated=y)
    monkeypatch.setattr(module, "CHUNK", 8)
    assert kid(real=x, generated=y).value == pytest.approx(whole.value, rel=1e-10)
    assert kid(real=x, generated=y).high == pytest.approx(whole.high, rel=1e-10)


def test_subsets_of_all_items_are_all_items_and_smaller_ones_agree():
    x, y = normal(60, seed=0), normal(60, seed=1, mean=0.5)
    whole = kid(real=x, generated=y)
    assert kid(real=x, generated=y, subsets=2, subset_size=60).value == pytest.approx(whole.value)
    subsets = kid(real=x, generated=y, subsets=200, subset_size=20)
    assert subsets.value == pytest.approx(whole.value, rel=0.1)
    assert subsets == kid(real=x, generated=y, subsets=200, subset_size=20)
    one = kid(real=x, generated=y, subsets=1, subset_size=20)
    assert one.high - one.low > subsets.high - subsets.low


def test_kid_of_one_distribution_is_0_on_average_and_within_its_interval():
    estimates = [
        kid(real=normal(60, seed=seed), generated=normal(40, seed=[seed, 1])) for seed in range(60)
    ]
    values = [estimate.value for estimate in estimates]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(60)
    assert sum(e.low <= 0 <= e.high for e in estimates) >= 52  # of 57 expected


# --- degenerate sets -----------------------------------------------------------------------------

FUNCTIONS = [
    frechet_infinite,
    kid,
    lambda real, generated: frechet_relative(real=real, baseline=real + 1, generated=generated),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("m, n", [(0, 30), (30, 0), (1, 30), (30, 1), (1, 1)])
def test_too_few_items_are_undetermined(function, m, n):
    estimate = function(real=normal(m), generated=normal(n))
    assert estimate.value is None and "too few" in estimate.note


@pytest.mark.parametrize("function", FUNCTIONS)
def test_constant_features_have_a_number(function):
    for real, generated in [(normal(40), np.ones((40, 4))), (np.ones((40, 4)), normal(40))]:
        estimate = function(real=real, generated=generated)
        assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("n", range(2, 20))
def test_small_sets_of_any_size_do_not_crash(n):
    real, generated = normal(n, width=1), normal(n + 1, width=1, seed=1)
    assert frechet(real=real, generated=generated) >= 0
    for function in FUNCTIONS:
        function(real=real, generated=generated)


def test_a_baseline_that_is_the_reference_is_undetermined():
    for real in (normal(40), np.ones((40, 4))):
        estimate = frechet_relative(real=real, baseline=real[::-1], generated=normal(30, seed=1))
        assert estimate.value is None and "as the real ones" in estimate.note


@pytest.mark.parametrize("function", [frechet, *FUNCTIONS])
@pytest.mark.parametrize("wrong", [np.ones((30, 3)), np.full((30, 4), np.nan), np.ones(30)])
def test_wrong_features_are_a_clear_error(function, wrong):
    with pytest.raises(UserError, match="features"):
        function(real=normal(30), generated=wrong)


def test_one_item_has_no_covariance():
    with pytest.raises(UserError, match="2 items of each, not 1"):
        frechet(real=normal(30), generated=normal(1))


def test_subsets_larger_than_the_sets_are_a_clear_error():
    with pytest.raises(UserError, match="subset_size 1000 is not in"):
        kid(real=normal(30), generated=normal(20), subsets=5)
