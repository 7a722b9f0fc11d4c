"""Pictures of known merit: what the yardstick says of held-out digits, copies, noise and others."""

import json
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from creagen_jax.creativity import anchors as known
from creagen_jax.creativity import arrays, catalogue, exhibits, profile, spaces
from creagen_jax.creativity.arrays import Labels
from creagen_jax.types import UserError

few = settings(max_examples=15, deadline=None)
rng = np.random.default_rng(0)


def flat(items):
    return items.reshape(len(items), -1) / 16


def untrained(items):
    """A fixed random network of one layer."""
    weight = np.random.default_rng(7).standard_normal((64, 48)) / 8
    return np.maximum(flat(items) @ weight, 0)


@pytest.fixture(scope="module")
def digits():
    """A yardstick of the digits, and real ones that it has not seen."""
    x, label = load_digits(return_X_y=True)
    x = x.astype(np.uint8).reshape(-1, 8, 8, 1)
    order = np.random.default_rng(1).permutation(len(x))
    cuts = np.split(order, np.cumsum([900, 270, 270, 180]))
    train, reference, heldout, probe, fresh = (x[cut] for cut in cuts)
    pca = PCA(32, random_state=0).fit(flat(probe))
    reader = KNeighborsClassifier(3).fit(flat(train), label[cuts[0]])
    real = {
        "train": train,
        "reference": reference,
        "heldout": heldout,
        "features": {"pixels": lambda items: pca.transform(flat(items)), "network": untrained},
        "domain": "pixels",
        "size": 1000,
    }
    labels = Labels(*(label[cut] for cut in cuts[:3]))
    read = {"labels": labels, "read": lambda items: reader.predict(flat(items))}
    y = arrays.yardstick(**real, **read)
    sets = known.anchors(y, seed=1)
    found = {
        n: arrays.measure(y, s.items, asked=s.labels, intervals=False) for n, s in sets.items()
    }
    return types.SimpleNamespace(
        y=y,
        real=real,
        read=read,
        fresh=fresh,
        fresh_labels=label[cuts[4]],
        sets=sets,
        found=found,
    )


def measured(y, items, **how):
    return arrays.measure(y, items, **{"intervals": False, **how})


def values(found):
    """The axes' measures by name, all in one."""
    return {name: e.value for name, e in (found.quality | found.novelty | found.diversity).items()}


def assert_sound(found):
    """A number within its interval, or a reason; and a definition of each metric."""
    for name, each in found.metrics.items():
        assert name in catalogue.METRICS
        if each.value is None:
            assert each.note, name
        else:
            assert each.low <= each.value <= each.high, name


def assert_compatible(estimate, truth):
    """Within three standard errors: many are looked at, and their intervals leave out one in 20."""
    assert estimate.low - (estimate.value - estimate.low) / 2 <= truth
    assert truth <= estimate.high + (estimate.high - estimate.value) / 2


def axes(digits, name):
    return {
        axis: each.value
        for axis, each in profile.profile(digits.found[name], noise=digits.found["noise"]).items()
    }


# --- anchors -------------------------------------------------------------------------------------


def test_anchors_are_of_the_kind_of_the_training_items(digits):
    y = digits.y
    assert digits.sets.keys() == known.TITLES.keys() - known.clip_spoilers(1).keys()
    for items, labels in digits.sets.values():
        assert items.shape == (y.size, 8, 8, 1) and items.dtype == np.uint8
        assert items.max() <= 16 and labels.shape == (y.size,)
    trained = {item.tobytes() for item in y.train}
    assert all(item.tobytes() in trained for item in digits.sets["training copies"].items)
    assert len({item.tobytes() for item in digits.sets["training copies"].items}) == y.size
    noise, heldout = digits.sets["noise"].items, digits.sets["held-out"].items
    np.testing.assert_array_equal(*(np.sort(flat(x), axis=1) for x in (noise, heldout)))
    assert not (noise == heldout).all(axis=(1, 2, 3)).any()
    assert (digits.sets["one item"].items == heldout[0]).all()
    np.testing.assert_array_equal(heldout, y.heldout)


def test_mixtures_lie_between_two_training_items_of_their_class(digits):
    y, (items, labels) = digits.y, digits.sets["mixup"]
    train, of_P = flat(y.train), y.labels.train
    for item, label in zip(flat(items)[:20], labels[:20], strict=True):
        own = train[of_P == label]
        halfway = (own[:, None] + own[None]) / 2 * 16
        assert (np.rint(halfway) == item * 16).all(axis=-1).any()


def test_gaussians_have_the_mean_and_not_more_than_the_spread_of_their_class(digits):
    y, labels = digits.y, digits.sets["class Gaussian"].labels
    drawn = known.anchors(y, size=2000, seed=2)["class Gaussian"]
    for label in (0, 5):
        own, real = drawn.items[drawn.labels == label], y.train[y.labels.train == label]
        error = real.std(0) / np.sqrt(len(own)) * 5 + 0.5  # of values cut at 0
        assert (np.abs(own.mean(0) - real.mean(0)) < error).all()
        assert 0.6 < own.var(0).sum() / real.var(0).sum() < 1.05  # what is below 0 is cut
    share = np.bincount(labels, minlength=10) / len(labels)
    assert np.abs(share - np.bincount(y.labels.train) / len(y.train)).max() < 0.1


def test_held_out_items_score_1_on_every_axis(digits):
    assert axes(digits, "held-out") == pytest.approx(dict.fromkeys(axes(digits, "noise"), 1))
    found = digits.found["held-out"]
    assert found.valid_N.mean() > 0.9 and found.original_N.mean() > 0.9


def test_fresh_items_are_as_held_out_ones(digits):
    found = arrays.measure(digits.y, digits.fresh, asked=digits.fresh_labels)
    for each in (found.quality | found.novelty).values():
        assert_compatible(each, 1)
    for name, each in found.diversity.items():  # of fewer items, and given the others
        assert each.value > 0.85, name
    assert found.valid_N.mean() > 0.9 and found.original_N.mean() > 0.9
    assert found.distinct_N.mean() > 0.8


def test_copies_have_no_novelty_and_all_else(digits):
    found = digits.found["training copies"]
    assert set(values(found)) >= {"heldout_neighbour_rate_pixels", "originality_ratio"}
    assert all(each.value == 0 for each in found.novelty.values())
    assert not found.original_N.any() and not found.distinct_N.any()
    assert axes(digits, "training copies")["quality"] > 0.8
    assert axes(digits, "training copies")["diversity"] > 0.8


def test_noisy_copies_are_found_by_their_neighbours_and_blends_too(digits):
    for name in ("copies with noise", "mixup"):
        assert axes(digits, name)["novelty"] < 0.2, name
        assert digits.found[name].valid_N.mean() > 0.9, name
    assert digits.found["copies with noise"].original_N.mean() > 0.5  # the ratio is deceived
    assert digits.found["mixup"].original_N.mean() < 0.8
    assert digits.found["copies with noise"].quality["likeness_par"].high < 0.9


def test_noise_has_no_quality(digits):
    found = digits.found["noise"]
    assert axes(digits, "noise")["quality"] == 0
    assert not found.valid_N.any() and found.original_N.mean() > 0.95
    assert all(each.value < 0.2 for each in found.quality.values())
    assert found.novelty["heldout_neighbour_rate_pixels"].high > 0.8


def test_normal_distributions_lie_in_between(digits):
    found = axes(digits, "class Gaussian")
    assert 0.4 < found["quality"] < 0.95 and 0.4 < found["novelty"] < 0.95


def test_one_item_has_no_diversity_and_no_neighbours(digits):
    found = digits.found["one item"]
    assert axes(digits, "one item")["diversity"] < 0.1
    assert found.novelty["heldout_neighbour_rate_pixels"].value is None
    assert found.distinct_N.sum() <= 1


def test_missing_classes_cost_diversity_and_nothing_else(digits):
    y = digits.y
    kept = np.isin(y.labels.heldout, [0, 1, 2, 3])
    found = measured(y, y.heldout[kept], full=True)
    assert found.diversity["coverage_ratio"].value < 0.6
    assert found.quality["precision_ratio"].value > 0.9 and found.valid_N.mean() > 0.9
    assert found.metrics["class_distance"].value == pytest.approx(0.6, abs=0.1)
    assert "label_accuracy" not in found.metrics  # nothing was asked for


@pytest.mark.parametrize("copied", [0.25, 0.5, 0.75])
def test_the_neighbour_rate_tells_the_share_of_copies(digits, copied):
    y, n = digits.y, round(copied * len(digits.fresh))
    rates = measured(y, np.concatenate([y.train[:n], digits.fresh[n:]])).novelty
    for name in ("pixels", "network"):
        assert_compatible(rates[f"heldout_neighbour_rate_{name}"], 1 - copied)
    assert rates["originality_ratio"].value == pytest.approx(1 - copied, abs=0.08)


def test_the_yield_needs_all_three(digits):
    heldout = digits.found["held-out"]
    found = {
        name: profile.creative_yield(each, heldout=heldout).value.value
        for name, each in digits.found.items()
    }
    assert found["held-out"] == 1
    assert max(found["training copies"], found["noise"], found["one item"]) < 0.02
    assert found["mixup"] < 0.8 and found["class Gaussian"] > 0.8


# --- against the plain computation ---------------------------------------------------------------


def test_limits_are_quantiles_of_real_items(digits):
    y = digits.y
    seen = arrays.look(y, y.reference)
    for name, space in y.spaces.items():
        apart = np.sort(cdist(seen.features[name], space.train_PD), axis=1)
        np.testing.assert_allclose(seen.near[name].distance_N, apart[:, 0])
        np.testing.assert_allclose(seen.near[name].ratio_N, apart[:, 0] / apart[:, :50].mean(1))
        for failed in (seen.near[name].distance_N > space.far, space.ratio_M < space.near):
            assert spaces.TOLERANCE - 1.5 / 270 < failed.mean() <= spaces.TOLERANCE
    failed = ~(arrays.valid(y, seen) & arrays.original(y, seen))
    assert failed.mean() <= 2 * len(y.spaces) * spaces.TOLERANCE


def test_par_in_likeness_is_twice_the_chance_to_beat_a_real_item(digits):
    y, items = digits.y, np.concatenate([digits.fresh[:30], digits.sets["noise"].items[:30]])
    standard = y.home.standard_MD
    ours, theirs = (cdist(x, standard).min(1) for x in (y.home.features(items), y.home.peers_LD))
    expected = 2 * np.mean(ours[:, None] < theirs)
    assert measured(y, items).quality["likeness_par"].value == pytest.approx(expected)


def test_ratios_are_those_to_the_held_out_items(digits):
    y = digits.y
    found = measured(y, digits.fresh, asked=digits.fresh_labels, full=True)
    for name, real in {
        "precision": y.precision,
        "coverage": y.coverage,
        "label_accuracy": y.accuracy,
    }.items():
        ratio = found.metrics[name].value / real.value
        assert found.metrics[f"{name}_ratio"].value == pytest.approx(ratio), name
    read = y.read(y.heldout) == y.labels.heldout
    assert y.accuracy.value == read.mean()
    assert found.metrics["label_accuracy"].note == f"of held-out items: {read.mean():.1%}"
    assert found.metrics["near_duplicates"].value == pytest.approx(1 - found.original_N.mean())


def test_what_is_read_as_another_class_is_not_valid(digits):
    y, wrong = digits.y, (digits.fresh_labels + 1) % 10
    found = measured(y, digits.fresh, asked=wrong)
    assert found.quality["label_accuracy_ratio"].value < 0.05 and found.valid_N.mean() < 0.05
    reasons = arrays.faults(y, arrays.look(y, digits.fresh, wrong), list("abcdefghij"))
    right, asked = ("abcdefghij"[labels[0]] for labels in (digits.fresh_labels, wrong))
    assert f"read as {right}, not {asked}" in reasons[0]


def test_features_are_around_the_training_items(digits):
    for name, space in digits.y.spaces.items():
        np.testing.assert_allclose(space.train_PD.mean(0), 0, atol=1e-9)
        raw = digits.real["features"][name](digits.fresh)
        ours = space.features(digits.fresh)
        np.testing.assert_allclose(cdist(ours, ours), cdist(raw, raw), atol=1e-6)


# --- a picture that was moved --------------------------------------------------------------------


@few
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_moves_keep_the_shape_and_the_inside(n, height, width, channels):
    items = np.arange(n * height * width * channels).reshape(n, height, width, channels)
    mirrored, up, down, left, right = (move(items) for move in spaces.PICTURE_MOVES)
    np.testing.assert_array_equal(mirrored[:, :, 0], items[:, :, -1])
    np.testing.assert_array_equal(up[:, :-1], items[:, 1:])
    np.testing.assert_array_equal(down[:, 1:], items[:, :-1])
    np.testing.assert_array_equal(left[:, :, :-1], items[:, :, 1:])
    np.testing.assert_array_equal(right[:, :, 1:], items[:, :, :-1])
    assert {x.shape for x in (mirrored, up, down, left, right)} == {items.shape}
    np.testing.assert_array_equal(up[:, -1], items[:, -1])  # the edge stays


def test_a_copy_that_was_moved_is_a_copy_if_moves_are_looked_through(digits):
    moving = arrays.yardstick(**digits.real, moves={"pixels": spaces.PICTURE_MOVES})
    for move in spaces.PICTURE_MOVES[:2]:
        copies = move(digits.y.train[:60])
        seen, plain = arrays.look(moving, copies), arrays.look(digits.y, copies)
        assert arrays.original(moving, seen).mean() < arrays.original(digits.y, plain).mean() - 0.25
        assert (seen.near["pixels"].train_N == np.arange(60)).mean() > 0.9
    mirrored = arrays.look(moving, digits.y.train[:60, :, ::-1])
    assert not arrays.original(moving, mirrored).any()  # a shift loses an edge, a mirror nothing
    fresh = arrays.original(moving, arrays.look(moving, digits.fresh))
    assert fresh.mean() > 0.9


# --- sets ----------------------------------------------------------------------------------------


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 1000))
def test_the_order_of_items_does_not_matter(digits, seed):
    items = np.concatenate(
        [digits.fresh[:60], digits.y.train[:30], digits.sets["noise"].items[:30]]
    )
    labels = digits.y.read(items)
    order = np.random.default_rng(seed).permutation(len(items))
    a = measured(digits.y, items, asked=labels)
    b = measured(digits.y, items[order], asked=labels[order])
    np.testing.assert_array_equal(a.valid_N[order], b.valid_N)
    np.testing.assert_array_equal(a.original_N[order], b.original_N)
    assert values(a) == pytest.approx(values(b))


def test_intervals_change_no_value_and_all_metrics_are_defined(digits):
    found = arrays.measure(digits.y, digits.fresh, asked=digits.fresh_labels, full=True)
    bare = measured(digits.y, digits.fresh, asked=digits.fresh_labels)
    assert bare.metrics.keys() < found.metrics.keys()
    for name, each in bare.metrics.items():
        assert found.metrics[name].value == pytest.approx(each.value), name
    vendi = found.diversity["vendi_ratio"]
    assert vendi.low < vendi.value < vendi.high
    assert_sound(found)


@pytest.mark.parametrize("n", [20, 270, 500])
def test_more_or_fewer_items_than_held_out_ones(digits, n):
    items = np.resize(digits.fresh, (n, 8, 8, 1))
    found = measured(digits.y, items)
    assert len(found.valid_N) == len(found.original_N) == n
    assert len(found.distinct_N) == min(n, 270) and found.valid_N.mean() > 0.9
    assert_sound(found)


def test_classes_have_rows_of_their_own(digits):
    y, (items, labels) = digits.y, digits.sets["held-out"]
    copies = digits.sets["training copies"]
    mixed = np.concatenate([items[labels != 3], copies.items[copies.labels == 3]])
    asked = np.concatenate([labels[labels != 3], copies.labels[copies.labels == 3]])
    asked[asked == 5] = 6
    found = arrays.by_class(y, mixed, asked)
    assert set(found) == set(range(10)) - {5}
    assert found[3]["near_duplicates"].value == 1 and found[2]["near_duplicates"].value < 0.3
    assert 0.3 < found[6]["label_accuracy"].value < 0.7 < found[6]["coverage"].value
    assert found[6]["precision"].value < 0.7 < found[0]["precision"].value
    assert all(name in catalogue.METRICS for row in found.values() for name in row)


# --- held-out items that are none ----------------------------------------------------------------


def test_random_parts_are_not_doubted(digits):
    assert digits.y.doubt == "" and digits.y.warnings == []
    assert {space.doubt for space in digits.y.spaces.values()} == {""}


def test_a_leak_is_refused(digits):
    y = digits.y
    mixed = np.concatenate([y.train[:20], y.heldout[20:]])
    leaky = arrays.yardstick(**digits.real | {"heldout": mixed})
    assert "3.7% of the held-out items are also training items" in leaky.doubt
    found = measured(leaky, digits.fresh, full=True)
    assert {each.note for each in found.novelty.values()} == {leaky.doubt}
    assert not {"near_duplicates", "copying_ct", "heldout_neighbour_p"} & found.metrics.keys()
    assert not measured(leaky, y.train[:50]).original_N.any()
    assert_sound(found)


def test_one_space_may_be_doubted_alone(digits):
    """A network that knows its training items by heart tells them from all others."""
    trained = {item.tobytes() for item in digits.y.train}

    def memory(items):
        known = np.array([[item.tobytes() in trained] for item in items])
        return np.concatenate([untrained(items), 9.0 * known], axis=1)

    features = {**digits.real["features"], "memory": memory}
    y = arrays.yardstick(**digits.real | {"features": features})
    assert y.doubt == "" and "nearest to each other too often" in y.spaces["memory"].doubt
    found = measured(y, digits.fresh).novelty
    assert found["heldout_neighbour_rate_memory"].value is None
    assert found["heldout_neighbour_rate_pixels"].value is not None


def test_held_out_items_made_of_training_items_are_refused(digits):
    rng = np.random.default_rng(0)
    near = digits.y.train[:540].copy()
    near[np.arange(540), rng.integers(8, size=540), rng.integers(8, size=540)] ^= 1
    made = {"reference": near[:270], "heldout": near[270:]}
    y = arrays.yardstick(**digits.real | made)
    assert "the training items" in y.doubt


@pytest.mark.parametrize("halves", [(0, 0), (1, 0), (0, 1)])
def test_without_held_out_items_nothing_is_relative(digits, halves):
    part = {"reference": digits.y.reference[: halves[0]], "heldout": digits.y.heldout[: halves[1]]}
    y = arrays.yardstick(**digits.real | part)
    assert y.doubt and y.size == 0
    for items in (digits.fresh, digits.y.train[:40], digits.fresh[:0]):
        found = measured(y, items, full=True)
        assert all(value is None for value in values(found).values())
        assert len(found.valid_N) == len(found.original_N) == len(found.distinct_N) == 0
        assert_sound(found)
    assert measured(y, digits.y.train[:40], full=True).metrics["exact_copies"].value == 1
    assert len(known.anchors(y, size=30)["mixup"].items) == 30
    assert exhibits.showcase(y, digits.y.train[:40]).reasons[0] == "exact copy"


# --- degenerate items ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", "one", "same", "constant", "two"])
def test_degenerate_items_are_measured_or_undetermined(digits, kind):
    items = {
        "none": digits.fresh[:0],
        "one": digits.fresh[:1],
        "same": np.repeat(digits.fresh[:1], 90, axis=0),
        "constant": np.full((50, 8, 8, 1), 16, np.uint8),
        "two": digits.fresh[:2],
    }[kind]
    asked = digits.fresh_labels[:1].repeat(len(items))
    found = measured(digits.y, items, asked=asked, full=True)
    assert len(found.valid_N) == len(found.original_N) == len(items)
    assert_sound(found)
    assert found.distinct_N.sum() <= 2
    if kind == "constant":
        assert not found.valid_N.any()
    arrays.by_class(digits.y, items, asked)
    shown = exhibits.showcase(digits.y, items, asked)
    assert shown.unselected == list(range(min(len(items), exhibits.UNSELECTED)))


@pytest.mark.parametrize(
    "kind, shape", [("constant", (3, 1, 2)), ("few", (2, 2, 2, 1)), ("one", (1,))]
)
def test_degenerate_real_items_make_a_yardstick(kind, shape):
    """Of any number of dimensions, as sounds and films have it."""
    n = {"constant": 40, "few": 4, "one": 1}[kind]
    scale = 0 if kind == "constant" else 1
    parts = [scale * rng.standard_normal((n, *shape)).astype(np.float32) for _ in range(4)]
    y = arrays.yardstick(
        train=parts[0],
        reference=parts[1],
        heldout=parts[2],
        features={"values": lambda items: items.reshape(len(items), -1)},
        domain="values",
        labels=Labels(*(np.zeros(n, int) for _ in range(3))),
        read=lambda items: np.zeros(len(items), int),
        size=100,
    )
    for items, labels in known.anchors(y).values():
        assert items.dtype == np.float32 and items.shape[1:] == shape
        found = measured(y, items, asked=labels, full=True)
        assert all(e.value is None or e.low <= e.value <= e.high for e in found.metrics.values())
    exhibits.showcase(y, parts[3])


def test_one_class_only(digits):
    one = {name: digits.real[name][:200] for name in ("train", "reference", "heldout")}
    labels = Labels(*(np.full(len(items), 4) for items in one.values()))
    y = arrays.yardstick(**digits.real | one, labels=labels, read=lambda x: np.full(len(x), 4))
    sets = known.anchors(y)
    found = measured(
        y, sets["class Gaussian"].items, asked=sets["class Gaussian"].labels, full=True
    )
    assert found.metrics["label_accuracy_ratio"].value == 1
    assert found.metrics["class_distance"].value == 0
    assert list(arrays.by_class(y, digits.fresh, np.full(len(digits.fresh), 4))) == [4]
    assert_sound(found)


def test_training_items_count_once_and_a_part_of_very_many_is_told(digits, monkeypatch):
    twice = digits.real | {"train": np.concatenate([digits.y.train] * 2)}
    y = arrays.yardstick(**twice)
    assert len(y.train) == len(digits.y.train) and y.warnings == []
    monkeypatch.setattr(arrays, "POOL", 300)
    y = arrays.yardstick(
        **twice,
        **digits.read | {"labels": Labels(np.tile(digits.y.labels.train, 2), *digits.y.labels[1:])},
    )
    assert len(y.train) == len(y.labels.train) == 300
    (warning,) = y.warnings
    assert warning.startswith(f"300 of {len(digits.y.train)} training items")
    found = measured(y, digits.y.train[:100], full=True)
    assert found.metrics["exact_copies"].value == 1 and not found.original_N.any()
    assert (y.read(y.train) == y.labels.train).mean() > 0.95  # labels go with their items


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        ({"domain": "colour"}, "no feature space 'colour'; choose one of pixels, network"),
        ({"train": np.zeros((0, 8, 8, 1), np.uint8)}, "no training items"),
        ({"heldout": np.zeros((5, 9, 8, 1), np.uint8)}, "held-out items are .9, 8, 1"),
        ({"reference": np.zeros((5, 8, 8, 1))}, "reference items are .*'float64'"),
        ({"labels": Labels([1], [], [])}, "1 labels for 900 training items"),
        ({"features": {"pixels": lambda items: np.zeros((3, 2))}}, "pixels: 3 rows for 900 items"),
        ({"features": {"pixels": lambda items: np.zeros(len(items))}}, "pixels: shape"),
        ({"features": {"pixels": lambda items: np.full((len(items), 2), np.nan)}}, "not finite"),
    ],
)
def test_mistakes_are_named(digits, change, message):
    with pytest.raises(UserError, match=message):
        arrays.yardstick(**digits.real | change)


def test_generated_items_that_cannot_be_compared_are_named(digits):
    with pytest.raises(UserError, match="generated items are"):
        measured(digits.y, digits.fresh[:, :7])
    with pytest.raises(UserError, match="2 labels for 177 generated items"):
        measured(digits.y, digits.fresh, asked=[1, 2])
    sounds = {name: rng.standard_normal((30, 5)) for name in ("train", "reference", "heldout")}
    y = arrays.yardstick(**sounds, features={"raw": np.asarray}, domain="raw", size=9)
    broken = rng.standard_normal((4, 5))
    broken[2, 3] = np.inf
    with pytest.raises(UserError, match="generated item 2 is not finite"):
        measured(y, broken)


# --- what a reader should see --------------------------------------------------------------------


def test_the_showcase_finds_copies_and_faults(digits):
    y = digits.y
    noise = digits.sets["noise"].items[:20]
    items = np.concatenate([digits.fresh[:80], y.train[40:46], noise])
    asked = y.read(items)
    asked[7] = (asked[7] + 1) % 10
    shown = exhibits.showcase(y, items, asked)
    assert shown.unselected == list(range(exhibits.UNSELECTED))
    assert {pair.item for pair in shown.copied[:6]} == set(range(80, 86))
    for pair in shown.copied[:6]:
        np.testing.assert_array_equal(y.train[pair.train], items[pair.item])
        assert pair.percentile == 100 and shown.reasons[pair.item] == "exact copy"
        assert 0 <= pair.heldout < len(y.reference)
    assert len(shown.copied) == exhibits.PAIRS
    assert "read as" in shown.reasons[7]
    assert shown.rejects and all(shown.reasons[i] for i in shown.rejects)
    assert shown.rarest and not any(shown.reasons[i] for i in shown.rarest)
    assert {"unlike any real one"} <= {
        r for i in shown.rejects for r in shown.reasons[i].split(", ")
    }
    parts = [*shown.unselected, *shown.rarest, *shown.rejects, *(p.item for p in shown.copied)]
    assert set(shown.reasons) == set(parts)
    json.dumps(dict(vars(shown)))  # numbers are Python's own


def test_rare_items_are_farther_from_others_than_usual(digits):
    y = digits.y
    shown = exhibits.showcase(y, digits.fresh)
    standard, features = y.home.standard_MD, y.home.features(digits.fresh)
    third = np.sort(cdist(features, standard), axis=1)[:, 2]
    assert np.median(third[shown.rarest]) > np.quantile(third, 0.7)


def test_a_picture_is_shown_once_though_drawn_often(digits):
    items = np.concatenate([np.repeat(digits.y.train[:1], 30, axis=0), digits.fresh[:30]])
    shown = exhibits.showcase(digits.y, items)
    assert [pair.item for pair in shown.copied].count(0) == 1
    assert not {pair.item for pair in shown.copied} & set(range(1, 30))
    assert len(shown.unselected) == 60
