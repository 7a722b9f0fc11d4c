import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax import muon, optim
from creagen_jax.config import Optim

CONSTANT = Optim(schedule="constant", warmup=0, clip=0.0)


def params(seed=0):
    shapes = {"embed": (9, 8), "block0": {"up": (8, 12)}, "b0": (8,), "head": (8, 9)}
    shapes |= {"conv": (1, 2, 4, 6), "embed_latent": (4, 2, 2, 6), "head_conv": (3, 3, 6, 2)}
    leaves, tree = jax.tree.flatten(shapes, is_leaf=lambda x: isinstance(x, tuple))
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(tree, [jnp.asarray(rng.normal(size=s), jnp.float32) for s in leaves])


def updates_of(cfg, steps, grads):
    """The sum of the updates for a list of gradients."""
    tx, theta = optim.make(cfg, steps), params()
    state = tx.init(theta)
    for grad in grads:
        update, state = tx.update(grad, state, theta)
        theta = optax.apply_updates(theta, update)
    return jax.tree.map(jnp.subtract, theta, params())


# --- schedules -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant"])
@settings(max_examples=20, deadline=None)
@given(warmup=st.integers(0, 300), steps=st.integers(2, 400), final=st.floats(0, 1))
def test_schedule_rises_from_zero_to_the_peak_and_falls_to_its_share(shape, warmup, steps, final):
    rate = optim.schedule(Optim(schedule=shape, warmup=warmup, final=final), 0.5, steps)
    warmup = min(warmup, steps // 2)
    values = np.array(rate(jnp.arange(401)))[: steps + 1]  # of one shape: compiled once
    rise = np.linspace(0, 0.5, warmup + 1) if warmup else 0.5
    np.testing.assert_allclose(values[: warmup + 1], rise, rtol=1e-5, atol=1e-7)
    assert (np.diff(values[warmup:]) <= 1e-7).all()
    end = 0.5 if shape == "constant" else 0.5 * final
    np.testing.assert_allclose(values[-1], end, rtol=1e-5, atol=1e-6)


def test_halfway_down_cosine_and_linear_are_at_the_mean_of_peak_and_end():
    for shape in ("cosine", "linear"):
        rate = optim.schedule(Optim(schedule=shape, warmup=20, final=0.2), 1.0, 120)
        np.testing.assert_allclose(rate(70), 0.6, rtol=1e-5)


# --- update rules --------------------------------------------------------------------------------


def test_muon_is_for_hidden_matrices_and_adam_for_all_else():
    cfg = dataclasses.replace(CONSTANT, name="muon", learning_rate=0.01, muon_learning_rate=0.1)
    update = updates_of(cfg, 10, [params(seed=1)])
    # Muon makes all singular values about equal. Adam's first update has the gradient's signs and
    # one size for all numbers: the learning rate, times 1.47 with Nesterov's look ahead.
    singular = np.linalg.svd(update["block0"]["up"], compute_uv=False)
    assert singular.max() / singular.min() < 2
    # A kernel of a convolution is one matrix, from all its inputs to its outputs.
    singular = np.linalg.svd(update["conv"].reshape(-1, 6), compute_uv=False)
    assert singular.max() / singular.min() < 2
    for name in ("embed", "b0", "head", "embed_latent", "head_conv"):
        np.testing.assert_allclose(update[name], -0.01474 * jnp.sign(params(1)[name]), rtol=1e-3)


@pytest.mark.parametrize("shape, rank", [((6, 20), 6), ((6, 6), 6), ((30, 90), 4)])
def test_muon_on_a_cpu_makes_the_same_of_a_matrix(shape, rank):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(shape[0], rank)) @ np.diag(0.2 ** np.arange(rank))
    X = jnp.float32(X @ rng.normal(size=(rank, shape[1])))
    X /= jnp.linalg.norm(X)
    np.testing.assert_allclose(muon.by_gram(X), muon.by_itself(X), atol=2e-3)


@pytest.mark.parametrize("beta", [0.95, 0.8])
def test_muon_is_that_of_optax(beta):
    rng = np.random.default_rng(0)
    shapes = {"wide": (4, 9), "tall": (9, 4), "square": (5, 5), "kernel": (3, 3, 2, 6)}

    def draw():
        return {name: jnp.float32(rng.normal(size=shape)) for name, shape in shapes.items()}

    where = {
        name: optax.contrib.MuonDimensionNumbers(tuple(range(len(shape) - 1)), -1)
        for name, shape in shapes.items()
    }
    weights = draw()
    theirs = optax.contrib.muon(
        0.1, beta=beta, weight_decay=0.3, muon_weight_dimension_numbers=lambda _: where
    )
    cfg = dataclasses.replace(
        CONSTANT, name="muon", muon_learning_rate=0.1, muon_beta=beta, weight_decay=0.3
    )
    ours = optim.make(cfg, 10)
    states = ours.init(weights), theirs.init(weights)
    for _ in range(3):
        gradients = draw()
        (mine, mine_state), (other, other_state) = (
            jax.jit(tx.update)(gradients, state, weights)
            for tx, state in zip((ours, theirs), states, strict=True)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), mine, other)
        states = mine_state, other_state


def test_adamw_decays_matrices_and_nothing_else():
    zeros = jax.tree.map(jnp.zeros_like, params())
    cfg = dataclasses.replace(CONSTANT, learning_rate=0.1, weight_decay=0.5)
    update = updates_of(cfg, 10, [zeros])
    for name in ("embed", "conv"):
        np.testing.assert_allclose(update[name], -0.05 * params()[name], rtol=1e-5)
    assert not update["b0"].any()


def test_clipping_bounds_the_gradient_s_norm():
    """Adam does not see a gradient's scale, unless two of different scales follow each other."""
    small, large = params(1), jax.tree.map(lambda g: 1000 * g, params(2))
    norm = optax.tree.norm(small)
    clipped = jax.tree.map(lambda g: g * norm / optax.tree.norm(large), large)
    cfg = dataclasses.replace(CONSTANT, clip=float(norm))
    ours = updates_of(cfg, 10, [small, large])
    theirs = updates_of(CONSTANT, 10, [small, clipped])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours, theirs)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_accumulating_two_half_batches_is_one_whole_batch(name):
    cfg = Optim(name=name, warmup=1, learning_rate=0.01)
    halves = [params(seed) for seed in range(1, 7)]
    wholes = [
        jax.tree.map(lambda a, b: (a + b) / 2, *halves[i : i + 2]) for i in range(0, len(halves), 2)
    ]
    accumulated = updates_of(dataclasses.replace(cfg, accumulate=2), 6, halves)
    whole = updates_of(cfg, 3, wholes)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), accumulated, whole)


# --- the average ---------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(decay=st.floats(0.5, 0.9999), step=st.integers(0, 100_000))
def test_average_forgets_fast_at_first(decay, step):
    old, new = {"w": jnp.array([1.0, 5.0])}, {"w": jnp.array([3.0, 5.0])}
    kept = min(decay, (1 + step) / (10 + step))
    got = optim.average(old, new, decay, jnp.asarray(step))["w"]
    np.testing.assert_allclose(got, [kept + 3 * (1 - kept), 5.0], rtol=1e-5)
