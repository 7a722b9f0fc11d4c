"""Axes, yield and composite are what their definitions say of measures that are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.creativity.estimate import Estimate, exact, undetermined, wilson
from creagen_jax.creativity.profile import (
    Measures,
    compare,
    composite,
    counts,
    creative_yield,
    distinct,
    profile,
)
from creagen_jax.creativity.record import AXES

few = settings(max_examples=50, deadline=None)


def flags(hits, n):
    return np.arange(n) < hits


def measures(valid=80, n=100, quality=None, novelty=None, diversity=None):
    """`valid` of n items are valid, all of these original and distinct."""
    parts = [flags(valid, n), np.ones(n, bool), flags(valid, n)]
    axes = (axis or {"a": exact(1, n=n)} for axis in (quality, novelty, diversity))
    return Measures(*parts, *axes)


def of_quality(*estimates):
    return measures(quality=dict(zip("abc", estimates, strict=False)))


def numbers(estimate):
    return estimate.low, estimate.value, estimate.high


def axes(*values):
    return {
        name: undetermined("too few", n=5) if value is None else exact(value, n=5)
        for name, value in zip(AXES, values, strict=True)
    }


# --- axes ----------------------------------------------------------------------------------------


def test_quality_lies_between_noise_and_real_data():
    items, noise = of_quality(wilson(60, 100), exact(1.1, n=100)), of_quality(exact(0.2, n=10))
    found = profile(items, noise=noise)["quality"]
    expected = [(x - 0.2) / (1 - 0.2) for x in numbers(wilson(60, 100))]
    np.testing.assert_allclose(numbers(found), expected)
    assert found.n == 100


@pytest.mark.parametrize("value, shown", [(1, 1), (1.4, 1), (0.1, 0), (0.03, 0)])
def test_quality_is_neither_above_real_data_nor_below_noise(value, shown):
    items, noise = of_quality(Estimate(value, value - 0.1, value + 0.1, "", 9)), exact(0.1, n=9)
    found = profile(items, noise=of_quality(noise))["quality"]
    assert found.value == shown and 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(
    "items, noise",
    [
        (undetermined("no held-out data", n=9), exact(0.1, n=9)),
        (exact(0.5, n=9), exact(1, n=9)),
        (exact(0.5, n=9), exact(1.2, n=9)),
    ],
)
def test_quality_without_a_scale_is_undetermined(items, noise):
    found = profile(of_quality(items), noise=of_quality(noise))["quality"]
    assert found.value is None and found.note


ESTIMATES = st.one_of(
    st.floats(-1, 3).map(lambda x: Estimate(x, x - 0.5, x + 0.5, "hand", 9)),
    st.sampled_from(["too few", "no held-out data"]).map(lambda why: undetermined(why, n=9)),
)


@few
@given(st.dictionaries(st.sampled_from("abcd"), ESTIMATES))
def test_novelty_and_diversity_are_the_lowest_of_their_measures(parts):
    items = Measures(flags(5, 9), flags(9, 9), flags(5, 9), {}, novelty=parts, diversity=parts)
    found = profile(items, noise=of_quality(exact(0, n=9)))
    assert tuple(found) == AXES and found["novelty"] == found["diversity"]
    novelty = found["novelty"]
    known = {name: each.value for name, each in parts.items() if each.value is not None}
    if known:
        assert novelty.value == min(max(min(known.values()), 0), 1)
        assert 0 <= novelty.low <= novelty.value <= novelty.high <= 1
        assert known[novelty.note.split()[-1]] == min(known.values())
    else:
        assert novelty.value is None and novelty.note
        assert all(each.note in novelty.note for each in parts.values())


def test_an_undetermined_measure_does_not_hide_a_low_one():
    parts = {"a": undetermined("too few", n=9), "b": exact(0.2, n=9), "c": exact(0.9, n=9)}
    found = profile(measures(novelty=parts), noise=of_quality(exact(0, n=9)))
    assert found["novelty"].value == 0.2 and found["diversity"].value == 1


def test_a_rough_measure_does_not_decide_by_chance():
    parts = {"rough": Estimate(0.5, 0.1, 1.2, "hand", 9), "b": Estimate(0.8, 0.7, 0.9, "hand", 9)}
    found = profile(measures(novelty=parts), noise=of_quality(exact(0, n=9)))["novelty"]
    assert (found.low, found.value, found.high) == (0.7, 0.8, 0.9)


def test_axes_are_compared_one_by_one():
    found = compare(axes(0.5, 0.25, 1), axes(0.25, 0.5, None))
    assert found["quality"].value == 0.25 and found["novelty"].value == -0.25
    assert found["diversity"].value is None and found["diversity"].note == "too few"


# --- Creative Yield ------------------------------------------------------------------------------


def test_yield_is_relative_to_that_of_heldout_data():
    found = creative_yield(measures(30), heldout=measures(40, n=50))
    np.testing.assert_allclose(numbers(found.absolute), numbers(wilson(30, 100)))
    np.testing.assert_allclose(numbers(found.value), [x / 0.8 for x in numbers(wilson(30, 100))])
    assert found.counts.generated == 100 and found.heldout.distinct == 40
    best = creative_yield(measures(90), heldout=measures(40, n=50))
    assert best.value.value == pytest.approx(1.125)  # better than held-out data is not forbidden


def test_yield_is_not_relative_to_heldout_data_in_doubt():
    found = creative_yield(measures(30), heldout=measures(40), doubt="from another source")
    assert found.value.value is None and found.value.note == "from another source"
    assert found.absolute.value == 0.3 and found.counts.distinct == 30


@pytest.mark.parametrize(
    "items, heldout",
    [
        (measures(30), None),
        (measures(30), measures(0)),
        (measures(30), measures(0, n=0)),
        (measures(0, n=0), measures(30)),
    ],
)
def test_yield_without_a_measure_is_undetermined(items, heldout):
    found = creative_yield(items, heldout=heldout)
    assert found.value.value is None and found.value.note


FLAGS = st.lists(st.booleans(), max_size=12)


@few
@given(st.data(), FLAGS)
def test_counts_are_a_funnel_of_the_items_tested_for_distinctness(data, valid):
    original = data.draw(st.lists(st.booleans(), min_size=len(valid), max_size=len(valid)))
    size = data.draw(st.integers(0, len(valid)))
    both = [a and b for a, b in zip(valid, original, strict=True)][:size]
    unlike = [a and data.draw(st.booleans()) for a in both]
    parts = [np.array(part, bool) for part in (valid, original, unlike)]
    found = counts(Measures(*parts, {}, {}, {}))
    assert found.generated == size
    assert (found.valid, found.original) == (sum(valid[:size]), sum(both))
    assert found.distinct == sum(unlike)
    assert found.generated >= found.valid >= found.original >= found.distinct >= 0


@few
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), max_size=12),
    st.sampled_from([0.0, 1.0, 1.5, 3.0]),
)
def test_distinct_items_are_the_first_of_those_too_much_alike(rows, alike):
    features_ND = np.array([row[:2] for row in rows], float).reshape(-1, 2)
    candidate_N = np.array([row[2] for row in rows], bool)
    found_N = distinct(features_ND, candidate_N, alike)
    assert found_N.dtype == bool and found_N.shape == candidate_N.shape

    def too_much_alike(i, j):
        distance = np.hypot(*(features_ND[i] - features_ND[j]))
        return distance == 0 or distance < alike

    for i, found in enumerate(found_N):
        before = any(found_N[j] and too_much_alike(i, j) for j in range(i))
        assert found == (candidate_N[i] and not before)


def test_the_first_of_equal_items_counts_in_any_order():
    features_ND = np.array([[0.0], [5.0], [0.0], [5.0], [9.0]])
    every = np.ones(5, bool)
    assert distinct(features_ND, every, 0.0).tolist() == [True, True, False, False, True]
    assert distinct(features_ND[::-1], every, 0.0).tolist() == [True, True, True, False, False]
    assert distinct(features_ND, np.arange(5) > 0, 0.0).tolist() == [False, True, True, False, True]
    assert distinct(np.zeros((0, 1)), np.zeros(0, bool), 1.0).shape == (0,)


# --- composite -----------------------------------------------------------------------------------


def test_composite_is_the_geometric_mean_and_names_the_lowest_axis():
    found = composite(axes(0.8, 0.1, 0.5))
    assert found.value.value == pytest.approx(0.04 ** (1 / 3)) and found.worst == "novelty"
    assert composite(axes(1, 1, 1)).value.value == 1


@pytest.mark.parametrize("axis", range(3))
def test_one_axis_of_zero_makes_the_composite_zero(axis):
    found = composite(axes(*(0 if i == axis else 0.9 for i in range(3))))
    assert found.value.value == 0 and found.worst == AXES[axis]


@pytest.mark.parametrize("axis", range(3))
def test_the_composite_is_undetermined_if_an_axis_is(axis):
    found = composite(axes(*(None if i == axis else 0.0 for i in range(3))))
    assert found.value.value is None and found.worst is None and AXES[axis] in found.value.note


SHARES = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted)


@few
@given(st.lists(SHARES, min_size=3, max_size=3))
def test_the_composite_lies_between_the_ends_of_its_axes(ends):
    parts = (Estimate(value, low, high, "hand", 9) for low, value, high in ends)
    found = composite(dict(zip(AXES, parts, strict=True))).value
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert min(low for low, _, _ in ends) <= found.low + 1e-9
    assert found.high <= max(high for _, _, high in ends) + 1e-9
