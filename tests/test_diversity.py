"""The Vendi score counts different items, and modes are found where they differ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from vendi_score import vendi as reference

from creagen_jax.creativity.diversity import class_histogram, mode_histogram, vendi, vendi_ratio
from creagen_jax.types import UserError

# scipy.sparse.csr, in the reference.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:vendi_score")

fast = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# --- Vendi score ---------------------------------------------------------------------------------


@fast
@given(seeds, st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 3.5]))
def test_vendi_equals_the_reference(seed, n, width, q):
    features = normal(seed, n, width) + 0.1
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    score = vendi(features, q=q)
    assert score == pytest.approx(reference.score_K(unit @ unit.T, q=q), rel=1e-10)
    assert score == pytest.approx(reference.score_dual(features, q=q), rel=1e-10)
    assert 1 - 1e-9 <= score <= n + 1e-9


def test_vendi_of_infinite_and_of_order_0():
    features = np.repeat(np.eye(3), [1, 2, 5], axis=0)  # three kinds, 5 of 8 of one
    assert vendi(features, q=np.inf) == pytest.approx(8 / 5)
    assert vendi(features, q=1000) == pytest.approx(8 / 5, rel=1e-2)
    assert vendi(features, q=0) == pytest.approx(3)
    assert vendi(features, q=np.inf) == pytest.approx(
        reference.score_K(features @ features.T, q="inf")
    )


@fast
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.sampled_from([0.5, 1, 2]))
def test_vendi_of_unlike_kinds_is_their_entropy(counts, q):
    # Scale does not count, and wide or narrow features give the same.
    kinds = np.repeat(np.eye(len(counts), 40), counts, axis=0) * 7
    share = np.array(counts) / sum(counts)
    entropy = stats.entropy(share) if q == 1 else np.log((share**q).sum()) / (1 - q)
    assert vendi(kinds, q=q) == pytest.approx(np.exp(entropy))
    assert vendi(kinds[:, : len(counts)], q=q) == pytest.approx(np.exp(entropy))


@pytest.mark.filterwarnings("error")
def test_vendi_is_smooth_in_its_order():
    counts = np.array([1, 2, 3, 10])
    kinds, share = np.repeat(np.eye(4), counts, axis=0), counts.astype(np.longdouble) / 16
    for q in (0.999, 1 - 1e-6, 1 + 1e-6, 1.001, 30, 300, 1e6):
        log = np.log((share**q).sum()) if q < 1e6 else q * np.log(share.max())
        assert vendi(kinds, q=q) == pytest.approx(float(np.exp(log / (1 - q))), rel=1e-9)
    orders = [0, 0.5, 0.999, 1 - 1e-7, 1 - 1e-9, 1, 1 + 1e-12, 1 + 1e-9, 1 + 1e-7, 1.001, 5, 1e300]
    scores = [vendi(kinds, q=q) for q in [*orders, np.inf]]
    assert (np.diff(scores) < 1e-7).all()
    near_one = scores[3:9]
    assert np.ptp(near_one) < 1e-6 and scores[-1] == pytest.approx(1.6)


def test_rows_of_zeros_are_one_kind():
    features = np.concatenate([np.zeros((3, 4)), np.eye(4)[:1].repeat(3, axis=0)])
    assert vendi(features) == pytest.approx(2)
    assert vendi(np.zeros((5, 4))) == pytest.approx(1)
    assert vendi(np.zeros((0, 4))) == 0
    assert vendi(np.full((5, 4), 1e150)) == pytest.approx(1)


def test_vendi_ratio_compares_equal_numbers():
    basis = normal(0, 6, 20)
    real = normal(1, 900, 6) @ basis
    same = vendi_ratio(real=real, generated=normal(2, 300, 6) @ basis)
    assert same.low < 1 < same.high and same.high - same.low < 0.2
    assert same.n == same.n_ref == 300
    assert vendi_ratio(real=real[:300], generated=real).value == pytest.approx(1, abs=0.1)
    narrow = vendi_ratio(real=real, generated=normal(2, 300, 2) @ basis[:2])
    assert narrow.high < 0.5
    one = vendi_ratio(real=real, generated=np.repeat(real[:1], 300, axis=0))
    assert one.value == pytest.approx(1 / vendi(real), rel=0.1)


def test_vendi_ratio_without_an_interval():
    parts = {"real": normal(3, 80, 5), "generated": normal(4, 80, 5)}
    alone, usual = vendi_ratio(**parts, repeats=0), vendi_ratio(**parts)
    assert alone.value == alone.low == alone.high == usual.value
    assert usual.low < usual.value < usual.high


def test_vendi_ratio_is_the_ratio_of_the_scores():
    real, generated = normal(3, 80, 5), normal(4, 80, 5) + 1
    for q in (1, 2, np.inf):
        ratio = vendi_ratio(real=real, generated=generated, q=q)
        assert ratio.value == pytest.approx(vendi(generated, q=q) / vendi(real, q=q))


# --- modes ---------------------------------------------------------------------------------------


def test_histogram_of_given_classes():
    real, generated = ["a"] * 30 + ["b"] * 60 + ["c"] * 10, ["a"] * 20 + ["b"] * 180
    found = class_histogram(real=real, generated=generated)
    np.testing.assert_allclose(found.real_K, [0.3, 0.6, 0.1])
    np.testing.assert_allclose(found.generated_K, [0.1, 0.9, 0])
    assert found.distance.value == pytest.approx(0.3)
    assert found.distance.low < 0.3 < found.distance.high
    assert (found.distance.n, found.distance.n_ref) == (200, 100)
    assert found.differs_K.all() and found.different.value == 1


@fast
@given(seeds, st.integers(2, 60), st.integers(2, 60))
def test_modes_differ_where_the_test_of_proportions_says_so(seed, m, n):
    rng = np.random.default_rng(seed)
    real, generated = rng.integers(0, 3, size=m), rng.choice(4, size=n, p=[0.1, 0.2, 0.3, 0.4])
    found = class_histogram(real=real, generated=generated)
    for mode, value in enumerate(np.unique(np.concatenate([real, generated]))):
        hits = np.array([(real == value).sum(), (generated == value).sum()])
        table = np.array([hits, [m, n] - hits])
        if len(found.real_K) == 1:
            assert not found.differs_K[mode]
        else:  # the chi-square of a table of two by two is the square of z
            p = stats.chi2_contingency(table, correction=False).pvalue
            assert found.differs_K[mode] == (p < 0.05)


def test_equal_distributions_have_few_different_modes():
    rng = np.random.default_rng(0)
    found = [
        class_histogram(real=rng.integers(0, 20, 400), generated=rng.integers(0, 20, 300))
        for _ in range(50)
    ]
    assert np.mean([each.different.value for each in found]) == pytest.approx(0.05, abs=0.02)


def test_lost_modes_are_counted():
    centres = 50 * np.eye(8)
    rng = np.random.default_rng(0)
    real, generated = rng.integers(0, 8, size=400), rng.integers(0, 4, size=300)  # half are lost
    found = mode_histogram(
        real=centres[real] + normal(1, 400, 8),
        generated=centres[generated] + normal(2, 300, 8),
        modes=8,
    )
    exact = class_histogram(real=real, generated=generated)
    assert found.distance.value == pytest.approx(exact.distance.value)
    assert found.different.value == exact.different.value > 0.9
    assert (found.generated_K == 0).sum() == 4
    assert sorted(found.real_K) == sorted(exact.real_K)


def test_few_real_items_have_few_modes():
    generated = normal(1, 500, 3)
    for real, modes in ((39, None), (40, 2), (199, 9), (1200, 50)):
        found = mode_histogram(real=normal(0, real, 3), generated=generated)
        if modes is None:
            assert found.distance.value is None and "39 real items" in found.different.note
        else:
            assert len(found.real_K) == modes and found.distance.value < 0.35
        assert (found.distance.n, found.distance.n_ref) == (500, real)
        assert (found.different.n, found.different.n_ref) == (500, real)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(0, 0), (0, 5), (5, 0), (1, 1), (1, 5), (3, 3)])
def test_too_few_items_are_undetermined(sizes):
    real, generated = (normal(i, size, 4) for i, size in enumerate(sizes))
    assert vendi_ratio(real=real, generated=generated).value is None
    found = mode_histogram(real=real, generated=generated)
    for estimate in (found.distance, found.different):
        assert estimate.value is None and estimate.note
        assert (estimate.n_ref, estimate.n) == sizes
    labels = class_histogram(real=[0] * sizes[0], generated=[1] * sizes[1])
    assert labels.distance.value is None or labels.distance.value == 1


def test_constant_features():
    same = np.ones((60, 4))
    assert vendi_ratio(real=same, generated=same).value == pytest.approx(1)
    for generated in (same, normal(0, 60, 4)):  # both fall on the only mode
        found = mode_histogram(real=same, generated=generated)
        assert found.distance.value is None and "too alike" in found.different.note
    collapsed = mode_histogram(real=normal(0, 60, 4), generated=same)
    assert collapsed.distance.value > 0.5 and (collapsed.generated_K > 0).sum() == 1


def test_bad_features_are_refused():
    good = normal(0, 10, 4)
    bad = good.copy()
    bad[2, 1] = np.inf
    for measure in (vendi_ratio, mode_histogram):
        with pytest.raises(UserError, match="item 2 is not finite"):
            measure(real=good, generated=bad)
        with pytest.raises(UserError, match="differ in width"):
            measure(real=good, generated=good[:, :2])
    with pytest.raises(UserError, match="order"):
        vendi(good, q=-1)
