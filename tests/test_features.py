"""Feature spaces of pictures, and the reader of their labels."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from creagen_jax import features
from creagen_jax.types import UserError


@pytest.fixture(scope="module", autouse=True)
def optimized():
    """Unlike other tests these compute more than they compile."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def digits():
    """Pictures and labels, in a fixed random order: "train", "heldout" and "probe"."""
    found = load_digits()
    images = np.rint(found.images * 255 / 16).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    parts = zip(("train", "heldout", "probe"), np.split(order, [1080, 1617]), strict=True)
    return {name: (images[rows], found.target[rows].astype(np.int32)) for name, rows in parts}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def spaces(digits, cache):
    found, warnings = features.spaces(*digits["probe"], cache=cache)
    assert not warnings
    return found


@pytest.fixture
def quick(monkeypatch):
    """Training that only shows that it runs."""
    monkeypatch.setattr(features, "STEPS", (4, 4))
    monkeypatch.setattr(features, "CHECKS", 2)


@pytest.fixture
def trainings(monkeypatch):
    """No training, and a list of those that would have been."""
    called = []
    monkeypatch.setattr(features, "_train", lambda *args: called.append(args) or args[0])
    return called


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def distances(a_ND, b_MD):
    return np.sqrt(((a_ND[:, None] - b_MD[None]) ** 2).sum(axis=2))


# --- all spaces --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pixels", "network", "domain"])
def test_neighbours_in_a_space_are_alike(digits, spaces, name):
    space, (train, labels), (heldout, truth) = spaces[name], digits["train"], digits["heldout"]
    nearest = KNeighborsClassifier(1).fit(space(train), labels)
    assert nearest.score(space(heldout), truth) > 0.94


@pytest.mark.parametrize("name", ["pixels", "network", "domain"])
def test_what_is_no_digit_is_far_from_digits(digits, spaces, name):
    space, heldout = spaces[name], digits["heldout"][0]
    real = space(digits["train"][0])
    usual = np.quantile(distances(space(heldout), real).min(axis=1), 0.9)
    rng = np.random.default_rng(0)
    shuffled = rng.permuted(heldout.reshape(len(heldout), -1), axis=1).reshape(heldout.shape)
    for strange in (noise(99, 8, 8, 1), shuffled, 255 - heldout):
        assert np.mean(distances(space(strange), real).min(axis=1) > usual) > 0.9


@pytest.mark.parametrize("name", ["pixels", "network", "domain"])
@settings(deadline=None, max_examples=10)
@given(st.integers(0, 300), st.integers(0, 300))
def test_features_do_not_depend_on_what_else_is_asked_for(digits, spaces, name, start, count):
    space, heldout = spaces[name], digits["heldout"][0]
    part = space(heldout[start : start + count])
    assert part.dtype == np.float32
    np.testing.assert_allclose(part, space(heldout)[start : start + count], atol=1e-5)


def test_the_same_seed_gives_the_same_features(digits, spaces, tmp_path):
    heldout = digits["heldout"][0][:50]
    again, _ = features.spaces(*digits["probe"], cache=tmp_path)
    for name, space in spaces.items():
        np.testing.assert_array_equal(space(heldout), again[name](heldout))
    other = features.network((8, 8, 1), seed=1)(heldout)
    assert not np.allclose(other, spaces["network"](heldout))


def test_too_few_pictures_leave_the_spaces_that_need_none(tmp_path):
    for count in (0, 1, features.FEWEST - 1):
        found, warnings = features.spaces(noise(count, 8, 8, 1), None, cache=tmp_path)
        assert found.keys() == {"pixels", "network"}
        assert len(warnings) == 1 and f"has {count} pictures" in warnings[0]
        assert found["pixels"](noise(3, 8, 8, 1)).shape == (3, 64)
        assert found["network"](noise(3, 8, 8, 1)).shape == (3, 128)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(12, 20, 3), (1, 1, 1), (5, 70, 1)])
def test_pictures_of_any_shape(shape, trainings, tmp_path):
    found, _ = features.spaces(noise(25, *shape), None, cache=tmp_path)
    assert len(trainings) == 1
    for space in found.values():
        values = space(noise(9, *shape, seed=1))
        assert values.shape[0] == 9 and np.isfinite(values).all()
        np.testing.assert_allclose(values[:4], space(noise(9, *shape, seed=1)[:4]), atol=1e-5)


def test_pictures_that_are_all_the_same(quick, tmp_path):
    found, _ = features.spaces(np.full((30, 12, 20, 3), 255, np.uint8), None, cache=tmp_path)
    for space in found.values():
        assert np.isfinite(space(noise(4, 12, 20, 3))).all()


# --- pixels ------------------------------------------------------------------------------------


def test_distances_of_pixels_are_root_mean_squares(digits):
    real, heldout = digits["train"][0], digits["heldout"][0][:40].astype(np.float64)
    space = features.pixels(real, width=64)
    flat = heldout.reshape(40, -1) / 255 / 8
    np.testing.assert_allclose(
        distances(space(heldout.astype(np.uint8)), space(heldout.astype(np.uint8))),
        distances(flat, flat),
        atol=1e-4,
    )


def test_the_last_feature_of_pixels_is_what_components_leave_out(digits):
    real, heldout = digits["train"][0], digits["heldout"][0]
    values = features.pixels(real, width=5)(heldout)
    assert values.shape == (len(heldout), 6)
    flat = heldout.reshape(len(heldout), -1) / 255 / 8
    whole = np.linalg.norm(flat - real.reshape(len(real), -1).mean(axis=0) / 255 / 8, axis=1)
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), whole, atol=1e-5)


def test_constant_components_are_dropped():
    real = np.repeat(noise(60, 8, 1, 1), 8, axis=2)  # stripes: eight dimensions of 64
    assert features.pixels(real)(real).shape == (60, 9)


def test_large_pictures_are_shrunk_and_keep_their_mean():
    real = np.repeat(np.repeat(noise(30, 8, 16, 3), 8, axis=1), 8, axis=2)
    assert features.pixels(real[:5])(real).shape == (30, 16 * 32 * 3)
    flat = np.full((2, 64, 128, 3), 51, np.uint8)
    np.testing.assert_allclose(features.pixels(real[:5])(flat) * np.sqrt(16 * 32 * 3), 0.2, 1e-4)


# --- trained -----------------------------------------------------------------------------------


def test_without_labels_it_is_an_auto_encoder(digits, tmp_path):
    (train, labels), (heldout, truth) = digits["train"], digits["heldout"]
    space = features.trained(digits["probe"][0], None, cache=tmp_path)
    nearest = KNeighborsClassifier(1).fit(space(train), labels)
    assert nearest.score(space(heldout), truth) > 0.94


def test_distances_are_in_units_of_the_spread_of_the_pictures(digits, spaces):
    real = spaces["domain"](digits["probe"][0])
    np.testing.assert_allclose(real.var(axis=0).sum(), 1, rtol=1e-4)


def test_a_reader_reads_heldout_digits(digits, cache):
    heldout, truth = digits["heldout"]
    read = features.reader(*digits["train"], cache=cache)
    found = read(heldout)
    assert found.dtype == np.int32 and found.shape == (len(heldout),)
    assert np.mean(found == truth) > 0.96
    np.testing.assert_array_equal(read(heldout[:7]), found[:7])


def test_a_reader_of_one_picture_knows_one_class(quick, tmp_path):
    read = features.reader(noise(1, 8, 8, 1), np.zeros(1, np.int32), cache=tmp_path)
    np.testing.assert_array_equal(read(noise(5, 8, 8, 1)), np.zeros(5))


def test_more_pictures_than_needed_are_thinned_out(trainings, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "MOST", 10)
    images, labels = noise(40, 8, 8, 1), np.arange(40, dtype=np.int32) // 10
    few = features.reader(images[::4], labels[::4], cache=tmp_path)
    many = features.reader(images, labels, cache=tmp_path)
    assert len(trainings) == 1  # the same ten pictures
    np.testing.assert_array_equal(few(images), many(images))


def test_training_stops_when_it_only_learns_by_heart(digits, monkeypatch):
    images, labels = digits["probe"]
    steps, step = [], features._step
    monkeypatch.setattr(features, "_step", lambda *args: steps.append(args) or step(*args))
    start = features._init((8, 8, 1), 10, False, 0)
    features._train(start, images, np.random.default_rng(0).permutation(labels), seed=0)
    assert len(steps) < features.STEPS[0]


# --- the cache ---------------------------------------------------------------------------------


def test_what_is_cached_is_not_trained_again(trainings, tmp_path):
    images, labels = noise(30, 8, 8, 1), np.arange(30, dtype=np.int32) % 3
    asked = {"images_NHWC": images, "labels_N": labels, "cache": tmp_path / "new"}
    first = features.trained(**asked)(images)
    np.testing.assert_array_equal(features.trained(**asked)(images), first)
    assert len(trainings) == 1
    for changed in ({"seed": 1}, {"labels_N": None}, {"labels_N": 2 - labels}):
        features.trained(**asked | changed)
    features.trained(**asked | {"images_NHWC": 255 - images})
    features.reader(**asked)
    assert len(trainings) == 6 == len(list((tmp_path / "new").iterdir()))


@pytest.mark.parametrize("kind", ["empty", "other", "cut", "flipped"])
def test_a_damaged_cache_is_made_anew(trainings, tmp_path, kind):
    images = noise(30, 8, 8, 1)
    first = features.trained(images, None, cache=tmp_path)(images)
    (file,) = tmp_path.iterdir()
    sound = file.read_bytes()
    damaged = {
        "empty": b"",
        "other": b"no archive",
        "cut": sound[:-300],
        "flipped": _flipped(sound),
    }
    file.write_bytes(damaged[kind])
    for _ in range(2):
        np.testing.assert_array_equal(features.trained(images, None, cache=tmp_path)(images), first)
    assert len(trainings) == 2 and len(features._load(file)) == len(trainings[0][0])
    assert list(tmp_path.iterdir()) == [file]


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def test_a_cache_that_cannot_be_written_is_the_users_mistake(trainings, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        features.trained(noise(30, 8, 8, 1), None, cache=tmp_path / "file" / "cache")


# --- the user's own ----------------------------------------------------------------------------

OWN = """
import numpy as np
CONSTANT = 3
def mean(images): return images.mean((1, 2))
def flat(images): return np.asarray(images).ravel()
def words(images): return np.full((len(images), 1), "word")
def fewer(images): return images[1:, 0, 0]
"""


def test_the_users_own_function(tmp_path, monkeypatch):
    (tmp_path / "own_features.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    images = noise(600, 4, 4, 3)
    for name in ("own_features:mean", f"{tmp_path}/own_features.py:mean"):
        np.testing.assert_allclose(features.user(name)(images), images.mean((1, 2)), rtol=1e-5)
    for name in ("flat", "words", "fewer"):
        with pytest.raises(UserError, match="must be numbers"):
            features.user(f"own_features:{name}")(images)


@pytest.mark.parametrize(
    "name, message",
    [
        ("own_features", "write package.module:function"),
        ("no_such_module:f", "cannot import no_such_module"),
        ("no/such/file.py:f", "cannot import no/such/file.py"),
        ("broken_features:f", "cannot import broken_features"),
        ("own_features:meen", "did you mean 'mean'"),
        ("own_features:CONSTANT", "no such function"),
    ],
)
def test_a_users_function_that_is_not_there(name, message, tmp_path, monkeypatch):
    (tmp_path / "own_features.py").write_text(OWN)
    (tmp_path / "broken_features.py").write_text("def (")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        features.user(name)
    assert "\n" not in str(caught.value)
