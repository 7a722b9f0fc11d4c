"""Adversarial losses, gradient penalties and augmentation equal their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from creagen_jax.functional import adversarial
from creagen_jax.functional.adversarial import AUGMENTATIONS, LOSSES, augment
from creagen_jax.types import UserError

few = settings(max_examples=8, deadline=None)
key = jax.random.key
# Compiled at once: operation by operation takes longer.
distances = jax.jit(adversarial.distances)
changed = jax.jit(augment, static_argnums=2)
zero_centred_penalty = jax.jit(adversarial.zero_centred_penalty, static_argnums=0)
gradient_penalty = jax.jit(adversarial.gradient_penalty, static_argnums=1)
PLAYERS = [(name, player) for name in LOSSES for player in ("discriminator", "generator")]


def normal(seed, *shape):
    return jax.random.normal(key(seed), shape)


# --- losses --------------------------------------------------------------------------------------


def by_hand(name, player, real, fake):
    """As the papers have it: D is a probability where they speak of one, and players minimise."""
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    d = {"real": 1 / (1 + np.exp(-real)), "fake": 1 / (1 + np.exp(-fake))}
    # That the real one is the more real of the two, and the opposite.
    pair = {"real": 1 / (1 + np.exp(fake - real)), "fake": 1 / (1 + np.exp(real - fake))}
    value = {
        ("minimax", "discriminator"): -np.log(d["real"]) - np.log(1 - d["fake"]),
        ("minimax", "generator"): np.log(1 - d["fake"]),
        ("non_saturating", "discriminator"): -np.log(d["real"]) - np.log(1 - d["fake"]),
        ("non_saturating", "generator"): -np.log(d["fake"]),
        ("hinge", "discriminator"): np.maximum(0, 1 - real) + np.maximum(0, 1 + fake),
        ("hinge", "generator"): -fake,
        ("wasserstein", "discriminator"): fake - real,
        ("wasserstein", "generator"): -fake,
        ("relativistic", "discriminator"): -np.log(pair["real"]),
        ("relativistic", "generator"): -np.log(pair["fake"]),
    }
    return value[name, player].mean()


@pytest.mark.parametrize("name, player", PLAYERS)
@few
@given(st.integers(0, 99), st.sampled_from([1, 5]), st.floats(0, 4))
def test_loss(name, player, seed, batch, scale):
    real, fake = scale * normal(seed, batch), scale * normal(seed + 1, batch)
    loss = jax.jit(getattr(LOSSES[name], player))(real, fake)
    np.testing.assert_allclose(loss, by_hand(name, player, real, fake), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, player", PLAYERS)
def test_loss_does_not_overflow(name, player):
    loss = jax.jit(jax.value_and_grad(getattr(LOSSES[name], player), argnums=(0, 1)))
    sides = jnp.array([1e4, -1e4, 0.0])
    for real in sides:
        for fake in sides:
            value, gradients = loss(jnp.array([real, 0.0]), jnp.array([fake, 0.0]))
            assert jnp.isfinite(value) and jnp.abs(value) < 2e4
            assert all((jnp.abs(gradient) <= 1).all() for gradient in gradients)


def gradients(name, real, fake):
    """Of each player's loss by what it can move: the critic both logits, the generator its own."""
    real, fake = jnp.array([real]), jnp.array([fake])
    by_real, by_fake = jax.jit(jax.grad(LOSSES[name].discriminator, (0, 1)))(real, fake)
    by_generator = jax.jit(jax.grad(LOSSES[name].generator, 1))(real, fake)
    return by_real[0], by_fake[0], by_generator[0]


@pytest.mark.parametrize(
    "name, at_0, critic_sure",
    [
        ("minimax", (-0.5, 0.5, -0.5), (0, 0, 0)),
        ("non_saturating", (-0.5, 0.5, -0.5), (0, 0, -1)),
        ("hinge", (-1, 1, -1), (0, 0, -1)),
        ("wasserstein", (-1, 1, -1), (-1, 1, -1)),
        ("relativistic", (-0.5, 0.5, -0.5), (0, 0, -1)),
    ],
)
def test_gradients(name, at_0, critic_sure):
    """Where the critic knows nothing, and where it is sure: only then the generators differ."""
    np.testing.assert_allclose(gradients(name, 0.0, 0.0), at_0, atol=1e-6)
    np.testing.assert_allclose(gradients(name, 30.0, -30.0), critic_sure, atol=1e-6)


def test_the_relativistic_loss_pairs_rows_and_sees_differences_alone():
    real, fake = normal(0, 5), normal(1, 5)
    for loss in LOSSES["relativistic"]:
        np.testing.assert_allclose(loss(real + 7, fake + 7), loss(real, fake), rtol=1e-5)
        assert abs(loss(real, fake[::-1]) - loss(real, fake)) > 1e-3


@pytest.mark.parametrize("q", [(0.5, 0.3, 0.2), (0.1, 0.2, 0.7)])
def test_the_best_critic_of_minimax(q):
    """It is D* = p / (p + q), where its loss is log 4 - 2 JSD(p, q)  (Goodfellow et al. 2014,
    proposition 1 and theorem 1). p and q are the shares of three kinds of examples."""
    p, q, of = np.array([0.5, 0.3, 0.2]), np.array(q), 10
    real, fake = (np.repeat(np.arange(3), np.round(of * share).astype(int)) for share in (p, q))

    def loss(logits):
        return LOSSES["minimax"].discriminator(logits[real], logits[fake])

    tx = optax.adam(0.1)

    def step(_, carry):
        logits, state = carry
        updates, state = tx.update(jax.grad(loss)(logits), state)
        return optax.apply_updates(logits, updates), state

    logits, _ = jax.lax.fori_loop(0, 400, step, (jnp.ones(3), tx.init(jnp.ones(3))))
    np.testing.assert_allclose(jax.nn.sigmoid(logits), p / (p + q), atol=1e-3)
    middle = (p + q) / 2
    divergence = (p * np.log(p / middle) + q * np.log(q / middle)).sum() / 2
    np.testing.assert_allclose(loss(logits), np.log(4) - 2 * divergence, atol=1e-4)


# --- gradient penalties --------------------------------------------------------------------------


def critic_of(params):
    """A small smooth critic of pictures."""
    return lambda x: jnp.tanh(x.reshape(len(x), -1) @ params["W"]) @ params["v"]


PARAMS = {"W": normal(0, 12, 5), "v": normal(1, 5)}


def slopes(critic, x, epsilon=1e-3):
    """The gradient of each logit by central differences, in float64."""
    x = np.asarray(x, np.float64)
    rows = []
    for place in np.ndindex(x.shape[1:]):
        step = np.zeros(x.shape[1:])
        step[place] = epsilon
        rows.append((critic(x + step) - critic(x - step)) / (2 * epsilon))
    return np.stack(rows, axis=1)  # [B, D]


def test_penalties_equal_finite_differences():
    real, fake = normal(2, 3, 2, 3, 2), normal(3, 3, 2, 3, 2)
    params = {name: np.asarray(value, np.float64) for name, value in PARAMS.items()}

    def by_hand(x):
        return np.tanh(x.reshape(len(x), -1) @ params["W"]) @ params["v"]

    square = zero_centred_penalty(critic_of(PARAMS), real)
    np.testing.assert_allclose(square, (slopes(by_hand, real) ** 2).sum(1), 1e-4, 1e-7)

    e = np.asarray(jax.random.uniform(key(0), (3, 1, 1, 1)))
    between = e * np.asarray(real) + (1 - e) * np.asarray(fake)
    expected = (np.linalg.norm(slopes(by_hand, between), axis=1) - 1) ** 2
    penalty = gradient_penalty(key(0), critic_of(PARAMS), real, fake)
    np.testing.assert_allclose(penalty, expected, rtol=1e-4)


@few
@given(st.integers(0, 99), st.sampled_from([1, 4]))
def test_penalties_of_a_linear_critic(seed, batch):
    w = normal(seed, 6)
    real, fake = normal(seed + 1, batch, 2, 3), normal(seed + 2, batch, 2, 3)

    def critic(x):
        return x.reshape(len(x), -1) @ w + 3

    length = np.linalg.norm(w)
    square = zero_centred_penalty(critic, real)
    np.testing.assert_allclose(square, np.full(batch, length**2), rtol=1e-5)
    penalty = gradient_penalty(key(seed), critic, real, fake)
    np.testing.assert_allclose(penalty, np.full(batch, (length - 1) ** 2), rtol=1e-4, atol=1e-6)


def test_the_interpolates_lie_evenly_between_the_two_sides():
    """For D(x) = |x|^2 / 2 the gradient is x itself, so that its length tells where x is."""
    count = 2000
    real, fake = jnp.full((count, 1), 2.0), jnp.full((count, 1), 1.0)
    penalty = gradient_penalty(key(0), lambda x: (x**2).sum(1) / 2, real, fake)
    e = np.sort(np.sqrt(penalty))  # |1 + e| - 1
    np.testing.assert_allclose(e, (np.arange(count) + 0.5) / count, atol=0.04)  # Kolmogorov
    same = gradient_penalty(key(0), lambda x: (x**2).sum(1) / 2, real, real)
    np.testing.assert_allclose(same, 1.0, rtol=1e-5)


def test_penalties_train_the_critic():
    """Gradients by its parameters exist, also where the gradient by x is 0, and equal those of
    one example after the other."""
    x = normal(4, 3, 2, 3, 2)

    def mean(params, x):
        square = adversarial.zero_centred_penalty(critic_of(params), x)
        return jnp.mean(square + adversarial.gradient_penalty(key(0), critic_of(params), x, x))

    gradient = jax.jit(jax.grad(mean))
    together = gradient(PARAMS, x)
    single = [gradient(PARAMS, x[i : i + 1]) for i in range(3)]
    average = jax.tree.map(lambda *leaves: sum(leaves) / 3, *single)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), together, average
    )
    assert all(jnp.abs(leaf).max() > 0.1 for leaf in jax.tree.leaves(together))

    flat = gradient(jax.tree.map(jnp.zeros_like, PARAMS), x)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(flat))


# --- augmentation --------------------------------------------------------------------------------


def test_no_policy_changes_nothing():
    x = normal(0, 3, 5, 4, 2)
    np.testing.assert_array_equal(augment(key(0), x, ()), x)


def test_color_is_its_three_parts():
    x = normal(0, 3, 5, 4, 3)
    parts = augment(key(0), x, ("brightness", "saturation", "contrast"))
    np.testing.assert_array_equal(augment(key(0), x, ("color",)), parts)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_augmentation(name):
    """Compiled as not; a row depends on itself alone; the gradient is the true one; keys and rows
    differ."""
    x, line = normal(0, 6, 9, 12, 3), normal(1, 6, 9, 12, 3)

    def change(x, seed=0):
        return changed(key(seed), x, (name,))

    y = change(x)
    assert y.shape == x.shape and y.dtype == x.dtype
    np.testing.assert_allclose(augment(key(0), x, (name,)), y, atol=1e-6)
    np.testing.assert_array_equal(change(x.at[0].set(5.0))[1:], y[1:])

    gradient = jax.grad(lambda x: (change(x) * line).sum())(x)
    slope = ((change(x + line) - y) * line).sum()  # exact, because all are affine
    np.testing.assert_allclose((gradient * line).sum(), slope, rtol=1e-4, atol=1e-4)
    assert (gradient != 0).any(axis=(1, 2, 3)).all()
    assert all((change(x, seed) != y).any() for seed in (1, 2))
    alike = changed(key(0), jnp.broadcast_to(x[:1], x.shape), (name,))
    assert len(np.unique(alike, axis=0)) > 1  # each row is changed in its own way


MANY = 400


def test_brightness():
    x = normal(0, MANY, 4, 4, 3)
    added = np.asarray(changed(key(0), x, ("brightness",)) - x)
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1, :1], added.shape), atol=1e-6)
    assert -0.5 <= added.min() < -0.47 and 0.47 < added.max() <= 0.5


@pytest.mark.parametrize(
    "name, axes, low, high", [("saturation", 3, 0, 2), ("contrast", (1, 2, 3), 0.5, 1.5)]
)
def test_scaling(name, axes, low, high):
    x = normal(0, MANY, 4, 4, 3)
    y = changed(key(0), x, (name,))
    centre = x.mean(axes, keepdims=True)
    np.testing.assert_allclose(y.mean(axes, keepdims=True), centre, atol=1e-5)
    factor = ((y - centre) * (x - centre)).sum((1, 2, 3)) / ((x - centre) ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(y - centre, factor[:, None, None, None] * (x - centre), atol=1e-4)
    near = 0.05 * (high - low)
    assert low - 1e-5 <= factor.min() < low + near and high - near < factor.max() <= high + 1e-5


def test_saturation_of_grey():
    x = normal(0, 3, 5, 4, 1)
    np.testing.assert_allclose(augment(key(0), x, ("saturation",)), x, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (28, 20)])
def test_translation_moves_whole_pictures(size):
    """Every row is its picture moved by one of the allowed steps, 0 where nothing was; and every
    step happens."""
    H, W = size
    x = normal(0, 1000, H, W, 1)
    x, y = np.asarray(x), np.asarray(changed(key(0), x, ("translation",)))
    most = [int(H / 8 + 0.5), int(W / 8 + 0.5)]
    steps = [(a, b) for a in range(-most[0], most[0] + 1) for b in range(-most[1], most[1] + 1)]
    seen = np.zeros(len(x), int)
    for a, b in steps:
        moved = np.zeros_like(x)
        moved[:, max(a, 0) : H + min(a, 0), max(b, 0) : W + min(b, 0)] = x[
            :, max(-a, 0) : H + min(-a, 0), max(-b, 0) : W + min(-b, 0)
        ]
        hits = (moved == y).all((1, 2, 3))
        assert 0 < hits.sum() < 3 * len(x) / len(steps)
        seen += hits
    assert (seen == 1).all()


@pytest.mark.parametrize("size", [(8, 8), (12, 9), (28, 28)])
def test_cutout_cuts_a_rectangle(size):
    H, W = size
    y = np.asarray(changed(key(0), jnp.ones((MANY, H, W, 2)), ("cutout",)))
    assert set(np.unique(y)) == {0.0, 1.0}
    cut = y[..., 0] == 0
    np.testing.assert_array_equal(y[..., 1] == 0, cut)
    rows, columns = cut.any(2), cut.any(1)
    np.testing.assert_array_equal(cut, rows[:, :, None] & columns[:, None, :])
    for inside, side in ((rows, H), (columns, W)):
        assert (np.abs(np.diff(inside, axis=1, prepend=False, append=False).sum(1)) == 2).all()
        lengths = inside.sum(1)
        half = (side + 1) // 2
        assert lengths.max() == half and lengths.min() >= half // 2 >= 1
        assert (inside.mean(0) > 0.2).all()  # every place is cut now and then


def test_the_fill_shows_how_far_a_dark_picture_was_moved():
    x = jnp.full((20, 16, 16, 1), -1.0)
    y = np.asarray(changed(key(0), x, ("translation",)))
    assert set(np.unique(y)) == {-1.0, 0.0}


@pytest.mark.parametrize("policy", [("blur",), ("color", "colour")])
def test_an_unknown_augmentation(policy):
    with pytest.raises(
        UserError, match=r"no augmentation '(blur|colour)'; choose from color, .*cut"
    ):
        augment(key(0), jnp.zeros((1, 4, 4, 1)), policy)


@pytest.mark.parametrize("shape", [(5, 8, 8, 3), (3, 1, 2, 1)])
def test_policies_combine(shape):
    y = changed(key(0), normal(0, *shape), ("color", "translation", "cutout"))
    assert y.shape == shape and jnp.isfinite(y).all()


# --- collapse ------------------------------------------------------------------------------------


@few
@given(st.integers(0, 99), st.sampled_from([2, 7]), st.floats(0.1, 10))
def test_distances(seed, batch, scale):
    a, b = scale * normal(seed, batch, 3, 4, 2) + 1, scale * normal(seed + 1, 4, 3, 4, 2)
    flat = [np.asarray(x, np.float64).reshape(len(x), -1) for x in (a, b)]
    expected = cdist(*flat) / np.sqrt(24)
    np.testing.assert_allclose(distances(a, b), expected, rtol=1e-4)


def test_distances_within_a_collapsed_batch():
    x = jnp.broadcast_to(normal(0, 1, 28, 28, 1), (64, 28, 28, 1))
    assert jnp.max(distances(x, x)) < 1e-5
    assert jnp.isfinite(jax.jit(jax.grad(lambda x: distances(x, x).sum()))(x)).all()
