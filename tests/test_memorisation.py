"""Known copiers are found, honest generators are not accused, and each measure equals its formula
written slowly with other libraries."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from creagen_jax.creativity import memorisation
from creagen_jax.creativity.memorisation import heldout_neighbour_rate, hnr_features
from creagen_jax.types import UserError

D = 3


@pytest.fixture(scope="module")
def digits():
    """Train [900, 32], held-out [448, 32] and fresh [449, 32] images, by principal components."""
    images, _ = load_digits(return_X_y=True)
    images = PCA(32, random_state=0).fit_transform(images)
    return np.split(np.random.default_rng(0).permutation(images), [900, 1348])


def noisy_copies(train, n, noise, seed=0):
    rng = np.random.default_rng(seed)
    copies = train[rng.choice(len(train), n, replace=False)]
    return copies + noise * train.std(axis=0) * rng.normal(size=copies.shape)


def features(seed, *sizes, width=D):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(size, width)) for size in sizes]


def losses(values):
    return np.asarray(values, float), np.ones(len(values))


# --- held-out-neighbour rate ---------------------------------------------------------------------


def test_controls(digits):
    train, heldout, fresh = digits

    def rate(generated):
        return hnr_features(train=train, heldout=heldout, generated=generated)

    honest = rate(fresh)
    assert honest.estimate.low < 1 < honest.estimate.high
    assert abs(honest.estimate.value - 1) < 0.2 and honest.p > 0.05
    far = 100 * fresh.std() + 50 * features(1, 400, width=32)[0]
    assert rate(far).p > 0.05  # bad, but no copy

    copier = rate(train[:448])
    assert copier.estimate.value == 0 and copier.p == 1 / 2001
    assert copier.estimate.high < 0.05 and copier.effective == 448
    blurred = rate(noisy_copies(train, 448, 0.5))
    assert blurred.estimate.value < 0.2 and blurred.p < 0.01


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("heldout_items", [100, 448])  # the formula for equal sizes would be wrong
def test_rate_is_one_minus_the_share_of_copies(digits, share, heldout_items):
    train, heldout, fresh = digits
    copied = round(share * 400)
    generated = np.concatenate([train[:copied], fresh[: 400 - copied]])
    rate = hnr_features(train=train, heldout=heldout[:heldout_items], generated=generated)
    assert rate.estimate.low <= 1 - share <= rate.estimate.high
    assert rate.pi == heldout_items / (900 + heldout_items)
    assert rate.estimate.value == pytest.approx(rate.share / rate.pi)


def test_one_repeated_item_is_undetermined(digits):
    train, heldout, fresh = digits
    rate = hnr_features(train=train, heldout=heldout, generated=np.repeat(fresh[:1], 400, axis=0))
    assert rate.estimate.value is None and rate.effective == 1
    assert "independent" in rate.estimate.note and rate.p > 0.05


def brute_force_weights(pool, generated):
    tied = cdist(generated, pool, "sqeuclidean")
    tied = tied == tied.min(axis=1, keepdims=True)
    return (tied / tied.sum(axis=1, keepdims=True)).sum(axis=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(1, 12))
def test_tied_neighbours_share_the_weight(seed, train, heldout, generated):
    # Few levels: copies within a set and across, and different items equally far away.
    rng = np.random.default_rng(seed)
    parts = [rng.integers(0, 3, size=(n, D)).astype(float) for n in (train, heldout, generated)]
    names = dict(zip(("train", "heldout", "generated"), parts, strict=True))
    expected = brute_force_weights(np.concatenate(parts[:2]), parts[2])
    np.testing.assert_allclose(memorisation.neighbour_weights(**names), expected, atol=1e-12)


def test_many_ties_share_the_weight():
    pool = np.repeat(np.eye(60), 2, axis=0)  # all equally far from the origin
    weight = memorisation.neighbour_weights(
        train=pool[:80], heldout=pool[80:], generated=np.zeros((5, 60))
    )
    np.testing.assert_allclose(weight, 5 / 120)
    rate = heldout_neighbour_rate(weight, np.arange(120) >= 80)
    assert rate.share == pytest.approx(1 / 3) and rate.p == 1
    assert rate.effective == 5 and rate.estimate.value is None  # 120 neighbours, but 5 items


def test_labels_are_exchangeable():
    weight = np.array([0, 2, 0.5, 1 / 3, 1 / 3, 1 / 3, 1.5, 0])  # of 5 items
    labels = np.array([np.isin(np.arange(8), chosen) for chosen in combinations(range(8), 3)])
    rates = [heldout_neighbour_rate(weight, label, permutations=4000) for label in labels[::7]]
    every = labels @ weight / 5
    assert every.mean() == pytest.approx(3 / 8)
    for rate in rates:
        expected = (every <= rate.share + 1e-9).mean()  # the exact test: all 56 ways to label
        assert rate.p == pytest.approx(expected, abs=0.04)


def test_p_is_uniform_without_memorisation():
    rng = np.random.default_rng(0)
    p = []
    for seed in range(60):
        pool, generated = rng.normal(size=(300, D)), 1.5 * rng.normal(size=(200, D))
        parts = {"train": pool[:200], "heldout": pool[200:], "generated": generated}
        p.append(hnr_features(**parts, permutations=500, seed=seed).p)
    assert stats.kstest(p, "uniform").pvalue > 0.05
    assert 0 <= np.mean(np.array(p) < 0.05) <= 0.12


def test_equals_the_overfitting_protection_of_sdmetrics_for_equal_sizes():
    train, heldout, generated = features(0, 80, 80, 60)
    generated[:20] = train[:20] + 0.01
    to_train, to_heldout = (cdist(generated, x).min(axis=1) for x in (train, heldout))
    expected = min(1, 2 * (1 - (to_train < to_heldout).mean()))
    rate = hnr_features(train=train, heldout=heldout, generated=generated)
    assert min(1, rate.estimate.value) == pytest.approx(expected, rel=1e-12)
    assert rate.estimate.value < 1


def test_order_does_not_matter():
    train, heldout, generated = features(1, 90, 50, 120)
    parts = {"train": train, "heldout": heldout, "generated": generated}
    shuffled = {name: np.random.default_rng(2).permutation(x) for name, x in parts.items()}
    assert hnr_features(**parts) == hnr_features(**shuffled)
    weight = memorisation.neighbour_weights(**parts)
    assert weight.sum() == pytest.approx(120)
    np.testing.assert_array_equal(weight, brute_force_weights(np.r_[train, heldout], generated))


def test_equal_weights_are_undetermined():
    # The share is pi for any labels: that says nothing, and looks like an honest model.
    for each in (1.0, 4 / 90, 1 / 3):
        rate = heldout_neighbour_rate(np.full(90, each), np.arange(90) >= 60)
        assert rate.estimate.value is None and "equally near" in rate.estimate.note
        assert rate.share == pytest.approx(rate.pi) and rate.p == 1
    same, different = np.ones((100, D)), features(0, 200)[0]
    rate = hnr_features(train=same, heldout=same[:50], generated=different)
    assert rate.estimate.value is None and "equally near" in rate.estimate.note
    weight = np.full(90, 1.0)
    weight[:2] = 0.5, 1.5
    assert heldout_neighbour_rate(weight, np.arange(90) >= 60).estimate.value is not None


def test_permutations_of_many_different_weights_are_as_of_few():
    weight = np.random.default_rng(0).random(5000)
    weight *= 4000 / weight.sum()
    label = np.arange(5000) % 4 == 0
    p = heldout_neighbour_rate(weight, label, permutations=1000).p
    spread = np.sqrt(1250 * 0.75 * weight.var(ddof=1))
    assert p == pytest.approx(
        stats.norm.cdf((weight[label].sum() - 1250 * weight.mean()) / spread), abs=0.05
    )


def test_leak(digits):
    train, heldout, _ = digits
    assert memorisation.leak(train=train, heldout=heldout).value == 0
    leaky = np.concatenate([train[:3], train[3:5] + 1e-7, heldout[:95]])
    estimate = memorisation.leak(train=train, heldout=leaky)
    assert estimate.value == 0.05 and (estimate.n, estimate.n_ref) == (100, 900)


# --- copies of single items ----------------------------------------------------------------------


def test_copy_ratio_equals_its_definition():
    train, queries = features(3, 70, 20)
    queries[0] = train[5]
    distance, _ = NearestNeighbors(n_neighbors=50).fit(train).kneighbors(queries)
    ratio = memorisation.copy_ratio(train=train, queries=queries)
    np.testing.assert_allclose(ratio, distance[:, 0] / distance.mean(axis=1), rtol=1e-9)
    assert ratio[0] == 0 and ratio.max() <= 1


def test_calibrated_duplicates_are_the_copies(digits):
    train, heldout, fresh = digits
    generated = np.concatenate([noisy_copies(train, 100, 0.1), fresh[:300]])
    found = memorisation.calibrated_duplicates(train=train, heldout=heldout, generated=generated)
    assert found.copied_N[:100].mean() > 0.95 and found.copied_N[100:].mean() < 0.05
    assert found.estimate.value == found.copied_N.mean() and 0 < found.threshold < 1
    ratio = memorisation.copy_ratio(train=train, queries=heldout)
    assert (ratio < found.threshold).mean() == pytest.approx(0.01, abs=0.003)
    assert (found.estimate.n, found.estimate.n_ref) == (400, 448)


def test_the_threshold_of_duplicates_is_a_quantile_of_enough_heldout_items():
    train, heldout, generated = features(11, 80, 3000, 200)
    ratio = memorisation.copy_ratio(train=train, queries=heldout, k=5)

    def threshold(heldout, **changes):
        parts = {"train": train, "heldout": heldout, "generated": generated, "k": 5}
        return memorisation.calibrated_duplicates(**parts | changes).threshold

    for quantile in (0.01, 0.05):
        all_of_them = heldout[:200]
        expected = np.quantile(ratio[:200], quantile)
        for seed in (0, 1):
            found = threshold(all_of_them, quantile=quantile, seed=seed)
            assert found == pytest.approx(expected, rel=1e-9)
    # Of many held-out items some are drawn, wherever they are.
    in_order = heldout[np.argsort(ratio)]
    drawn = [threshold(in_order, seed=seed) for seed in range(8)]
    below = [(ratio < each).mean() for each in drawn]
    assert len(set(drawn)) > 1 and min(below) > 0.003 and max(below) < 0.025


def test_duplicates_are_undetermined_where_nothing_is_normal():
    train, heldout, generated = features(12, 60, 100, 50)
    same = np.ones((60, D))
    leaky = np.concatenate([train[:3], heldout[3:]])
    cases = {
        "no two training": (train[:1], heldout),
        "no two training items": (same, heldout),
        "99 held-out": (train, heldout[:99]),
        "in the training set": (train, leaky),
    }
    for why, (known, new) in cases.items():
        found = memorisation.calibrated_duplicates(train=known, heldout=new, generated=generated)
        assert found.estimate.value is None and why in found.estimate.note
        assert found.threshold is None and not found.copied_N.any()
        assert (found.estimate.n, found.estimate.n_ref) == (50, len(new))
    parts = {"heldout": heldout, "generated": generated}
    assert memorisation.calibrated_duplicates(train=train, **parts).threshold > 0
    two = memorisation.calibrated_duplicates(train=train[:2], **parts)
    assert two.estimate.value < 0.1  # not all of them


def test_authenticity_equals_its_definition():
    train, generated = features(4, 60, 50)
    generated[:10] = train[:10]
    search = NearestNeighbors(n_neighbors=2).fit(train)
    distance, index = search.kneighbors(generated, n_neighbors=1)
    own = search.kneighbors(train)[0][:, 1]
    estimate = memorisation.authenticity(train=train, generated=generated)
    assert estimate.value == (distance[:, 0] > own[index[:, 0]]).mean()
    assert memorisation.authenticity(train=train, generated=train).value == 0
    assert memorisation.authenticity(train=train, generated=100 + generated).value == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 12))
def test_authenticity_where_distances_tie(seed, train, generated):
    rng = np.random.default_rng(seed)
    known, drawn = (rng.integers(0, 4, size=(n, D)).astype(float) for n in (train, generated))
    own = cdist(known, known, "sqeuclidean")
    np.fill_diagonal(own, np.inf)
    to_train = cdist(drawn, known, "sqeuclidean")
    expected = (to_train.min(axis=1) > own.min(axis=1)[to_train.argmin(axis=1)]).mean()
    estimate = memorisation.authenticity(train=known, generated=drawn)
    if len(np.unique(known, axis=0)) == 1:
        assert estimate.value is None
    else:
        assert estimate.value == pytest.approx(expected)


def slow_ct(train, heldout, generated, clusters):
    scores, weights = [], []
    for cell in range(3):
        t, h, g = (x[clusters.predict(x) == cell] for x in (train, heldout, generated))
        if len(g) >= 20:
            search = NearestNeighbors(n_neighbors=1).fit(t)
            g_far, h_far = (search.kneighbors(x)[0][:, 0] for x in (g, h))
            n, m = len(g), len(h)
            u = stats.mannwhitneyu(g_far, h_far).statistic
            scores.append((u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))
            weights.append(m)
    return np.average(scores, weights=weights)


@pytest.mark.parametrize("width", [D, 80])
def test_ct_equals_its_definition(width):
    parts = features(5, 150, 90, 100, width=width)
    parts[2][:40] = parts[0][:40]
    reduced = parts
    if width > 64:
        pca = PCA(64, random_state=0).fit(parts[0])
        reduced = [pca.transform(x) for x in parts]
    clusters = KMeans(3, n_init=10, random_state=0).fit(reduced[0])
    estimate = memorisation.copying_ct(train=parts[0], heldout=parts[1], generated=parts[2])
    assert estimate.value == pytest.approx(slow_ct(*reduced, clusters), rel=1e-9)
    assert estimate.low < estimate.value < estimate.high


def test_ct_of_controls(digits):
    train, heldout, fresh = digits

    def ct(generated):
        return memorisation.copying_ct(train=train, heldout=heldout, generated=generated)

    assert abs(ct(fresh).value) < 2
    assert ct(train[:448]).high < -10 and ct(noisy_copies(train, 448, 1.0)).low > 3
    assert ct(heldout).value == 0
    assert (ct(fresh).n, ct(fresh).n_ref) == (449, 448)


def test_ct_chooses_cells_by_some_of_many_training_items(monkeypatch):
    parts = dict(zip(("train", "heldout", "generated"), features(13, 900, 200, 300), strict=True))
    parts["generated"][:100] = parts["train"][:100]
    every = memorisation.copying_ct(**parts)
    monkeypatch.setattr(memorisation, "SOME", 300)
    some = memorisation.copying_ct(**parts)
    assert some != every and some.value == pytest.approx(every.value, rel=0.2)
    wide = {name: np.pad(x, ((0, 0), (0, 70))) for name, x in parts.items()}
    assert memorisation.copying_ct(**wide).value == pytest.approx(some.value)  # by components


def test_ct_of_a_set_without_differences_is_undetermined():
    parts = dict(zip(("train", "heldout", "generated"), features(14, 60, 50, 40), strict=True))
    for name, kind in (("train", "training"), ("heldout", "held-out"), ("generated", "generated")):
        for constant in (parts[name][:1], np.repeat(parts[name][:1], 40, axis=0)):
            estimate = memorisation.copying_ct(**parts | {name: constant})
            assert estimate.value is None and estimate.note == f"no two {kind} items differ"


# --- what the model itself gives away ------------------------------------------------------------


def test_loss_gap_is_the_difference_of_means_per_token():
    rng = np.random.default_rng(6)
    tokens = rng.integers(5, 15, size=200)
    train, heldout = tokens * rng.normal(1.0, 0.1, 200), tokens * rng.normal(1.5, 0.1, 200)
    gap = memorisation.loss_gap(train=(train, tokens), heldout=(heldout, tokens))
    assert gap.value == pytest.approx((heldout.sum() - train.sum()) / tokens.sum())
    assert gap.low < 0.5 < gap.high and gap.high - gap.low < 0.1
    fewer = memorisation.loss_gap(train=(train, tokens), heldout=(heldout[:150], tokens[:150]))
    assert (fewer.n, fewer.n_ref) == (200, 150)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=20),
    st.lists(st.integers(0, 5), min_size=1, max_size=20),
)
def test_membership_auc_equals_that_of_a_classifier(train, heldout):
    auc = memorisation.membership_auc(train=losses(train), heldout=losses(heldout))
    is_heldout = np.repeat([0, 1], [len(train), len(heldout)])
    assert auc.value == pytest.approx(roc_auc_score(is_heldout, train + heldout))
    assert 0 <= auc.low <= auc.value <= auc.high <= 1
    assert auc.high - auc.low > 0.05  # never sure, even where the classes are apart


def test_membership_auc_interval_covers():
    rng = np.random.default_rng(7)
    true = stats.norm.cdf(1.5 / np.sqrt(2))
    covered = 0
    for _ in range(200):
        auc = memorisation.membership_auc(
            train=losses(rng.normal(size=40)), heldout=losses(rng.normal(1.5, size=25))
        )
        covered += auc.low <= true <= auc.high
    assert 0.91 < covered / 200 < 0.99


def test_membership_auc_uses_the_loss_per_token():
    nats, tokens = np.array([10.0, 40.0]), np.array([10, 20])
    auc = memorisation.membership_auc(train=(nats[:1], tokens[:1]), heldout=(nats[1:], tokens[1:]))
    assert auc.value == 1
    auc = memorisation.membership_auc(train=(nats, tokens), heldout=(nats, tokens))
    assert auc.value == 0.5
    auc = memorisation.membership_auc(train=losses([1, 2, 3]), heldout=losses([4, 5]))
    assert (auc.n, auc.n_ref) == (3, 2)


def test_extraction_counts_exact_continuations():
    truth = np.arange(40).reshape(8, 5)
    continuation = truth.copy()
    continuation[3, 4] = continuation[5, 0] = 99
    rate = memorisation.extraction_rate(continuation_NT=continuation, truth_NT=truth)
    assert rate.value == 6 / 8 and rate.low < 0.75 < rate.high and rate.n == 8
    with pytest.raises(UserError, match=r"\(8, 4\) and \(8, 5\)"):
        memorisation.extraction_rate(continuation_NT=truth[:, :4], truth_NT=truth)


# --- bad input -----------------------------------------------------------------------------------


def estimates(train, heldout, generated):
    """All that is measured of features."""
    parts = {"train": train, "heldout": heldout, "generated": generated}
    rate = hnr_features(**parts)
    duplicates = memorisation.calibrated_duplicates(**parts)
    assert 0 < rate.p <= 1 and duplicates.copied_N.shape == (len(generated),)
    return {
        "rate": rate.estimate,
        "leak": memorisation.leak(train=train, heldout=heldout),
        "duplicates": duplicates.estimate,
        "authenticity": memorisation.authenticity(train=train, generated=generated),
        "ct": memorisation.copying_ct(**parts),
    }


@pytest.mark.parametrize("empty", [(0,), (1,), (2,), (0, 1, 2)])
def test_an_empty_set_leaves_estimates_undetermined(empty):
    parts = [x[: 0 if i in empty else None] for i, x in enumerate(features(8, 40, 130, 50))]
    found = estimates(*parts)
    train, heldout, generated = map(len, parts)
    needed = {"leak": {0, 1}, "authenticity": {0, 2}}
    counted = {
        "rate": (generated, train + heldout),
        "leak": (heldout, train),
        "authenticity": (generated, train),
    }
    for name, estimate in found.items():
        undetermined = not needed.get(name, {0, 1, 2}).isdisjoint(empty)
        assert (estimate.value is None) == undetermined, name
        assert not undetermined or estimate.note
        assert (estimate.n, estimate.n_ref) == counted.get(name, (generated, heldout)), name


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 1, 40), (40, 40, 1), (40, 120, 40)])
def test_constant_features_and_single_items(sizes):
    for fill in (0.0, 1e-300, 7.0):
        found = estimates(*(np.full((size, D), fill) for size in sizes))
        assert found.pop("leak").value == 1
        for name, estimate in found.items():
            assert estimate.value is None and estimate.note, name
    estimates(*features(9, *sizes))  # no crash, no NaN


def test_losses_and_continuations_of_nothing():
    none, some = losses([]), losses([1.0, 2.0])
    for train, heldout in ((none, some), (some, none)):
        assert memorisation.loss_gap(train=train, heldout=heldout).value is None
        assert memorisation.membership_auc(train=train, heldout=heldout).value is None
    for shape in ((0, 4), (3, 0)):
        array = np.zeros(shape, int)
        assert memorisation.extraction_rate(continuation_NT=array, truth_NT=array).value is None


def test_bad_losses_and_weights_are_refused():
    good = losses([1.0, 2.0])
    bad = {
        "example 1 is not finite": losses([1.0, np.nan]),
        "example 0 has no tokens": (np.ones(2), np.array([0, 3])),
        r"shape \(2,\) for tokens of shape \(3,\)": (np.ones(2), np.ones(3)),
    }
    for message, wrong in bad.items():
        for measure in (memorisation.loss_gap, memorisation.membership_auc):
            with pytest.raises(UserError, match=message):
                measure(train=good, heldout=wrong)
    with pytest.raises(UserError, match="labels"):
        heldout_neighbour_rate(np.ones(5), np.ones(4, bool))


def test_bad_features_are_refused():
    train, heldout, generated = features(10, 20, 20, 20)
    with pytest.raises(UserError, match="differ in width"):
        hnr_features(train=train, heldout=heldout[:, :2], generated=generated)
    generated[3, 1] = np.nan
    with pytest.raises(UserError, match="item 3 is not finite"):
        estimates(train, heldout, generated)
