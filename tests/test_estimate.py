"""Intervals: that they hold what they promise, and that nothing pretends to be a number."""

import numpy as np
import pytest
from scipy import stats

from creagen_jax.creativity.estimate import (
    Estimate,
    difference,
    effective_size,
    exact,
    quotient,
    ratio,
    roc_area,
    subsample,
    undetermined,
    wilson,
)


def held(intervals, truth):
    """How many per cent of the intervals hold the truth."""
    return 100 * np.mean([each.low <= truth <= each.high for each in intervals])


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_an_estimate_is_finite(number):
    with pytest.raises(ValueError, match="no estimate"):
        Estimate(0.5, 0.0, number, "Wilson", 3)


def test_numbers_become_those_of_json():
    estimate = Estimate(np.float32(0.5), np.float64(0), np.int64(1), "Wilson", 3)
    assert [type(x) for x in (estimate.value, estimate.low, estimate.high)] == [float] * 3


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (3, 7), (1, 1), (500, 1000)])
def test_wilson_is_scipys(hits, n):
    estimate = wilson(hits, n)
    reference = stats.binomtest(hits, n).proportion_ci(method="wilson")
    np.testing.assert_allclose([estimate.low, estimate.high], list(reference), atol=1e-12)
    assert estimate.low <= estimate.value == hits / n <= estimate.high


def test_an_effective_size_widens_the_interval_but_not_the_value():
    plain, wide = wilson(30, 100), wilson(30, 100, effective=10)
    assert plain.value == wide.value and wide.low < plain.low and wide.high > plain.high


def test_effective_size_counts_groups_of_one_size():
    assert effective_size(np.array([5, 5, 5, 0])) == pytest.approx(3)
    assert effective_size(np.array([7])) == 1
    assert effective_size(np.zeros(3)) == 0


def test_a_ratio_of_sums_holds_the_truth():
    rng = np.random.default_rng(0)
    intervals = []
    for seed in range(200):
        tokens = rng.integers(5, 15, 100)
        intervals.append(ratio(rng.poisson(2.0 * tokens), tokens, seed=seed))
    assert 90 <= held(intervals, 2.0) <= 99


def test_subsampling_holds_the_truth_and_does_not_shift_the_value():
    rng = np.random.default_rng(0)
    intervals = []
    for seed in range(200):
        x = rng.normal(1.0, 1.0, 60)
        estimate = subsample(lambda index, x=x: x[index].mean(), len(x), seed=seed)
        assert estimate.value == pytest.approx(x.mean())
        intervals.append(estimate)
    assert 90 <= held(intervals, 1.0) <= 99


def test_without_repeats_there_is_no_interval():
    estimate = subsample(lambda index: float(len(index)), 10, repeats=0)
    assert (estimate.low, estimate.value, estimate.high) == (10, 10, 10)
    assert estimate.method == "no interval"


@pytest.mark.parametrize(
    "estimate",
    [
        wilson(0, 0),
        roc_area(np.zeros(0), np.ones(2)),
        ratio(np.zeros(0), np.zeros(0)),
        ratio(np.ones(1), np.ones(1)),
        ratio(np.ones(3), np.zeros(3)),
        subsample(lambda index: 1.0, 3),
        difference(exact(1, n=2), undetermined("none", n=0)),
        quotient(undetermined("none", n=0), exact(1, n=2)),
    ],
)
def test_what_cannot_be_known_is_undetermined(estimate):
    assert estimate.value is estimate.low is estimate.high is None and estimate.note
    assert estimate.scaled(2.0) == estimate.clipped() == estimate


@pytest.mark.parametrize(("shift", "sizes"), [(0.0, (200, 200)), (1.0, (300, 40)), (3.0, (50, 60))])
def test_a_roc_area_holds_the_truth(shift, sizes):
    rng, truth = np.random.default_rng(0), stats.norm.cdf(shift / np.sqrt(2))
    pairs = ((rng.normal(0, 1, sizes[0]), rng.normal(shift, 1, sizes[1])) for _ in range(300))
    areas = [roc_area(*pair) for pair in pairs]
    assert 92 <= held(areas, truth) <= 99
    assert np.mean([area.value for area in areas]) == pytest.approx(truth, abs=0.01)


def test_a_roc_area_counts_pairs_and_halves_of_ties():
    area = roc_area(np.array([1, 2, np.inf]), np.array([2, 3]))
    assert area.value == pytest.approx((1 + 1 + 0.5 + 1 + 0 + 0) / 6)
    certain = roc_area(np.zeros(5), np.ones(4))
    assert certain.value == certain.high == 1 and certain.low < 0.8


def test_a_difference_holds_the_truth():
    rng = np.random.default_rng(0)
    pairs = rng.binomial([80, 50], [0.6, 0.3], (400, 2))
    intervals = [difference(wilson(a, 80), wilson(b, 50)) for a, b in pairs]
    assert 93 <= held(intervals, 0.3) <= 98


def test_clipping_and_scaling_move_all_numbers():
    estimate = Estimate(0.9, 0.8, 1.2, "Wilson", 3).scaled(2.0).clipped()
    assert (estimate.low, estimate.value, estimate.high) == (1, 1, 1)


def test_a_ratio_covers_what_it_estimates():
    """Of two means with their own intervals: about 95 of 100 intervals hold the true ratio."""
    rng = np.random.default_rng(0)

    def mean(share, n):
        value, error = rng.normal(share, 0.04), 1.96 * 0.04
        return Estimate(value, value - error, value + error, "normal", n)

    ratios = [quotient(mean(0.4, 60), mean(0.8, 40)) for _ in range(1000)]
    assert all(r.low <= r.value <= r.high and (r.n, r.n_ref) == (60, 40) for r in ratios)
    assert 930 <= sum(r.low <= 0.5 <= r.high for r in ratios) <= 970


def test_a_ratio_of_exact_numbers_is_exact():
    ratio = quotient(exact(0.3, n=5), exact(0.6, n=7))
    np.testing.assert_allclose([ratio.value, ratio.low, ratio.high], 0.5, atol=1e-7)
    nothing = quotient(exact(0, n=5), exact(0.6, n=7))
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


@pytest.mark.parametrize("heldout", [exact(0, n=7), undetermined("no items", n=0)])
def test_nothing_is_divided_by_nothing(heldout):
    ratio = quotient(exact(0.3, n=5), heldout)
    assert ratio.value is None and ratio.note
