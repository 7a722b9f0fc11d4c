"""Precision, recall, density and coverage equal those of `prdc`, and say what they should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc

from creagen_jax.creativity.fidelity import (
    SHARES,
    expected_coverage,
    prdc,
    prdc_estimates,
    rarity,
    realism,
)
from creagen_jax.types import UserError

fast = settings(max_examples=25, deadline=None)


def normal(n, width=3, seed=0, scale=1.0):
    return scale * np.random.default_rng(seed).standard_normal((n, width))


@st.composite
def problems(draw):
    """Two sets [M, D] and [N, D] of a few items, on a grid or not, and k."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    k, width = draw(st.sampled_from([1, 5])), draw(st.sampled_from([1, 3]))
    shapes = [(draw(st.integers(k + 2, 60)), width) for _ in range(2)]  # fewer is too few for prdc
    if draw(st.booleans()):
        return *(rng.integers(-2, 3, size=shape).astype(float) for shape in shapes), k
    return rng.standard_normal(shapes[0]), 0.3 + 1.2 * rng.standard_normal(shapes[1]), k


@fast
@given(problems())
def test_shares_are_those_of_prdc(problem):
    real, generated, k = problem
    result = prdc(real=real, generated=generated, k=k)
    expected = compute_prdc(real, generated, k)
    for name in SHARES:
        assert getattr(result, name) == pytest.approx(expected[name], abs=1e-12), name


def test_shares_are_those_of_prdc_over_several_blocks():
    real, generated = normal(1500, 16), normal(1100, 16, seed=1) + 0.1
    result, expected = prdc(real=real, generated=generated), compute_prdc(real, generated, 5)
    for name in SHARES:
        assert getattr(result, name) == pytest.approx(expected[name], abs=1e-12), name


def test_real_and_generated_are_not_swapped():
    result = prdc(real=normal(300), generated=normal(200, seed=1, scale=0.2))
    assert result.precision > 0.99
    assert result.recall < 0.3 and result.coverage < 0.3
    assert result.inside_N.shape == result.balls_N.shape == (200,)
    assert result.covered_M.shape == result.recalled_M.shape == (300,)


def test_copies_of_real_items():
    real = normal(100)
    result = prdc(real=real, generated=real)
    assert (result.precision, result.recall, result.coverage) == (1, 1, 1)
    # The ball holds its centre and all neighbours but the k-th, which is at its edge.
    assert result.density == pytest.approx(1)


def test_order_and_rotation_do_not_matter():
    rng = np.random.default_rng(2)
    real, generated = normal(120), normal(90, seed=1)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    i, j = rng.permutation(120), rng.permutation(90)
    a = prdc(real=real, generated=generated)
    b = prdc(real=real[i] @ rotation, generated=generated[j] @ rotation)
    np.testing.assert_array_equal(a.balls_N[j], b.balls_N)
    np.testing.assert_array_equal(a.covered_M[i], b.covered_M)
    np.testing.assert_array_equal(a.recalled_M[i], b.recalled_M)


@pytest.mark.parametrize("n_real, n_generated, k", [(150, 150, 5), (200, 100, 3), (100, 300, 1)])
def test_expected_shares_of_equal_distributions(n_real, n_generated, k):
    results = [
        prdc(real=normal(n_real, seed=seed), generated=normal(n_generated, seed=[seed, 1]), k=k)
        for seed in range(30)
    ]
    for name, expected in (
        ("coverage", expected_coverage(n_real, n_generated, k)),
        ("density", 1),
    ):
        values = [getattr(result, name) for result in results]
        assert abs(np.mean(values) - expected) < 4 * np.std(values) / np.sqrt(30), name


def test_expected_coverage():
    assert expected_coverage(10**6, 10**6, 5) == pytest.approx(1 - 2**-5, abs=1e-5)
    assert expected_coverage(2, 1, 1) == 0.5  # of two others, the generated one is the nearer
    assert expected_coverage(6, 1, 5) == pytest.approx(5 / 6)  # unless it is the farthest of 6


def brute(real, generated, k):
    """Radii [M] of the real balls and distances [M, N]."""
    apart = np.linalg.norm(real[:, None] - real[None], axis=-1)
    return np.sort(apart, axis=1)[:, k], np.linalg.norm(real[:, None] - generated[None], axis=-1)


@fast
@given(problems())
def test_rarity_is_the_radius_of_the_smallest_ball(problem):
    real, generated, k = problem
    radius, apart = brute(real, generated, k)
    expected = np.where(apart < radius[:, None], radius[:, None], np.inf).min(axis=0)
    result = rarity(real=real, generated=generated, k=k)
    np.testing.assert_allclose(result, expected, rtol=1e-12)
    inside_N = prdc(real=real, generated=generated, k=k).inside_N
    np.testing.assert_array_equal(np.isfinite(result), inside_N)


@fast
@given(problems())
def test_realism_is_the_deepest_place_in_a_small_ball(problem):
    real, generated, k = problem
    radius, apart = brute(real, generated, k)
    small = (radius <= np.median(radius)) & (radius > 0)
    with np.errstate(divide="ignore"):
        depth = radius[small, None] / apart[small]
    result = realism(real=real, generated=generated, k=k)
    np.testing.assert_allclose(result, depth.max(axis=0, initial=0), rtol=1e-12)


def test_realism_falls_with_the_distance_and_copies_are_infinitely_real():
    real = normal(200)
    copy, near, far = realism(real=real, generated=real[:1] + np.array([[0], [0.5], [50]]))
    assert copy == np.inf and copy > near > far > 0


# --- intervals -----------------------------------------------------------------------------------


def test_estimates_are_the_shares_within_their_intervals():
    real, generated = normal(120), normal(80, seed=1) + 0.3
    estimates = prdc_estimates(real=real, generated=generated, seed=3)
    shares = prdc(real=real, generated=generated)
    assert tuple(estimates) == SHARES
    for name, estimate in estimates.items():
        assert estimate.value == pytest.approx(getattr(shares, name), abs=1e-12)
        assert estimate.low <= estimate.value <= estimate.high
        assert 0.01 < estimate.high - estimate.low < 0.4
        assert (estimate.n, estimate.n_ref, estimate.note) == (80, 120, "")
    assert estimates == prdc_estimates(real=real, generated=generated, seed=3)


def test_interval_of_coverage_holds_its_expectation():
    held = 0
    for seed in range(12):
        sets = {"real": normal(60, seed=seed), "generated": normal(60, seed=[seed, 1])}
        coverage = prdc_estimates(**sets, seed=seed)["coverage"]
        held += coverage.low <= expected_coverage(60, 60) <= coverage.high
    assert held >= 9  # of 12 intervals of 95 %, fewer has a chance of 0.2 %


def test_one_repeated_item_has_no_recall():
    estimates = prdc_estimates(real=normal(60), generated=np.zeros((50, 3)))
    assert estimates["precision"].value == 1
    assert estimates["recall"].value == 0
    assert estimates["coverage"].value < 0.3


@pytest.mark.parametrize("n_real, n_generated", [(0, 20), (20, 0), (1, 20), (20, 1), (11, 20)])
def test_too_few_items_are_undetermined(n_real, n_generated):
    estimates = prdc_estimates(real=normal(n_real), generated=normal(n_generated))
    for estimate in estimates.values():
        assert estimate.value is None and "too few" in estimate.note
        assert (estimate.n, estimate.n_ref) == (n_generated, n_real)


def test_identical_real_items_are_undetermined():
    for generated in (np.ones((30, 3)), normal(30)):
        for estimate in prdc_estimates(real=np.ones((30, 3)), generated=generated).values():
            assert estimate.value is None and "100% of the real items" in estimate.note


def test_copies_among_the_real_items_are_noted():
    real = np.concatenate([normal(70), np.ones((30, 3))])
    estimates = prdc_estimates(real=real, generated=normal(40, seed=1))
    for estimate in estimates.values():
        assert estimate.value is not None and "30% of the real items" in estimate.note


def test_degenerate_sets_have_realism_and_rarity():
    same = np.ones((30, 3))
    np.testing.assert_array_equal(realism(real=same, generated=normal(4)), np.zeros(4))
    np.testing.assert_array_equal(rarity(real=same, generated=normal(4)), np.full(4, np.inf))
    for function in (realism, rarity):
        assert function(real=normal(9), generated=np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize("function", [prdc, prdc_estimates, realism, rarity])
@pytest.mark.parametrize("wrong", [np.ones((30, 2)), np.full((30, 3), np.nan), np.ones(30)])
def test_wrong_features_are_a_clear_error(function, wrong):
    with pytest.raises(UserError, match="features"):
        function(real=normal(30), generated=wrong)


def test_too_few_items_for_the_arrays_are_a_clear_error():
    with pytest.raises(UserError, match="5 nearest neighbours among 4 items"):
        prdc(real=normal(5), generated=normal(30))
