"""What the family contract promises, for every family."""

import dataclasses
import itertools
from functools import cache, partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from creagen_jax import models, scoring
from creagen_jax.models import _decoder
from creagen_jax.sampling import tokens
from creagen_jax.types import Spec, UserError

B, T, V, C = 3, 8, 12, 2
SPEC = Spec(vocab=V, length=T, classes=C)
NEURAL = ("lstm", "gru", "transformer", "sinusoidal")
ALL = (*NEURAL, "markov")
neural = pytest.mark.parametrize("name", NEURAL)
every = pytest.mark.parametrize("name", ALL)
FAMILIES = {"transformer" if name == "sinusoidal" else name for name in ALL}
ELSEWHERE = {*helpers.PICTURES, *helpers.OTHERS}
assert set(models.names()) - ELSEWHERE == FAMILIES


def family(name, **changes):
    """A family's module and a tiny configuration; `sinusoidal` is a Transformer's."""
    if name == "sinusoidal":
        name, changes = "transformer", {"position": name, **changes}
    module = models.get(name)
    return module, module.Config(**{**helpers.MODELS[name], **changes})


def make_batch(seed=0, length=T):
    """Rows of distinct tokens, as far as there are so many."""
    rng = np.random.default_rng(seed)
    rows = [np.tile(rng.permutation(V), length // V + 1)[: length + 1] for _ in range(B)]
    return {
        "x": jnp.array(rows, jnp.int32),
        "mask": jnp.ones((B, length)),
        "condition": jnp.arange(B, dtype=jnp.int32) % C,
    }


@cache
def trained(name):
    """Parameters that are no longer special: counts of a few texts, or noise on the initial ones.
    Several layers start at zero, which would hide mistakes."""
    module, cfg = family(name)
    state = initial(module, cfg, optax.identity())
    if module.HOST:
        step = module.make_step(cfg, SPEC, None)
        return step(step(state, make_batch(1), None)[0], make_batch(2), None)[0].params
    leaves, tree = jax.tree.flatten(state.params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [p + 0.3 * jax.random.normal(key, p.shape) for p, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noisy)


@cache
def evaluator(name, **changes):
    return scoring.evaluator(*family(name, **changes))


def evaluate(name, params, batch, **changes):
    return evaluator(name, **changes)(params, batch)


def initial(module, cfg, tx, spec=SPEC, seed=0):
    """The state before the first step."""
    init = partial(module.init, cfg=cfg, spec=spec, tx=tx)
    return (init if module.HOST else jax.jit(init))(jax.random.key(seed))


def compiled_step(module, cfg, tx, spec=SPEC):
    step = module.make_step(cfg, spec, tx)
    return step if module.HOST else jax.jit(step)


def nats_BT(name, params, batch):
    """The loss of each prediction alone, by masks of one position."""
    columns = [
        evaluate(name, params, {**batch, "mask": jnp.zeros((B, T)).at[:, t].set(1)})["loss"]
        for t in range(T)
    ]
    return jnp.stack(columns, axis=1)


def fresh(name, condition, n=B):
    """next_logits(carry, token_B), compiled, and the carry before the first token."""
    module, cfg = family(name)
    params = trained(name)

    @jax.jit
    def next_logits(carry, token_B):
        return module.next_logits(params, cfg, carry, token_B)

    return next_logits, module.init_carry(params, cfg, n, condition)


@every
def test_predictions_do_not_depend_on_what_follows(name):
    batch = make_batch()
    before = nats_BT(name, trained(name), batch)
    for t in (1, 4, T):
        x = batch["x"].at[:, t].set((batch["x"][:, t] + 1) % V)
        after = nats_BT(name, trained(name), {**batch, "x": x})
        np.testing.assert_array_equal(after[:, : t - 1], before[:, : t - 1])
        assert (after[:, t - 1 :] != before[:, t - 1 :]).any(axis=1).all()


@neural
def test_gradients_reach_all_of_the_past_and_none_of_the_future(name):
    batch = make_batch()

    @jax.jit
    @jax.jacrev
    def jacobian(embed):
        return nats_BT(name, {**trained(name), "embed": embed}, batch)

    reach_BTV = np.abs(jacobian(trained(name)["embed"])).max(-1)
    for b, t, s in np.ndindex(B, T, T):  # the tokens of a row are distinct
        assert (reach_BTV[b, t, batch["x"][b, s]] > 0) == (s <= t)


@every
def test_decoding_equals_the_whole_sequence_at_once(name):
    batch = make_batch()
    next_logits, carry = fresh(name, batch["condition"])

    def step(carry, inputs):
        token_B, target_B = inputs
        logits_BV, carry = next_logits(carry, token_B)
        return carry, jax.nn.log_softmax(logits_BV)[jnp.arange(B), target_B]

    x_TB = batch["x"].T
    _, log_p_TB = jax.lax.scan(step, carry, (x_TB[:-1], x_TB[1:]))
    metrics = evaluate(name, trained(name), batch)
    np.testing.assert_allclose(-log_p_TB.sum(0), metrics["loss"], rtol=1e-4)
    np.testing.assert_array_equal(metrics["weight"], T)


@pytest.mark.parametrize("name", ["transformer", "sinusoidal"])
def test_decoding_past_the_context_equals_the_window_that_is_kept(name):
    cfg = family(name)[1]
    context, steps, lengths = cfg.context, 40, np.array([1, 9, 16])  # rows slide at different times
    text = np.random.default_rng(0).integers(0, V, (B, steps + max(lengths))).astype(np.int32)
    condition = jnp.arange(B) % C
    next_logits, carry = fresh(name, condition)
    carry, token = tokens.prefill(next_logits, carry, jnp.array(text), jnp.array(lengths))
    forward = jax.jit(
        lambda x: _decoder.forward(cfg)(
            trained(name), {"x": x, "condition": condition}, None, None
        )[0]
    )
    kept = [list(row[: n - 1]) for row, n in zip(text, lengths, strict=True)]
    for i in range(steps):
        logits, carry = next_logits(carry, token)
        window = np.zeros((B, context + 1), np.int32)
        for b, row in enumerate(kept):
            if len(row) == context:
                del row[: context - context // 2]
            row.append(token[b])
            window[b, : len(row)] = row
        last = [len(row) - 1 for row in kept]
        np.testing.assert_allclose(logits, forward(window)[np.arange(B), last], atol=2e-4)
        token = jnp.array(text[np.arange(B), lengths + i])
    assert {len(row) for row in kept} - {context}  # some have slid


@every
def test_a_label_changes_the_predictions(name):
    batch = make_batch()
    other = {**batch, "condition": (batch["condition"] + 1) % C}
    losses = [evaluate(name, trained(name), each)["loss"] for each in (batch, other)]
    assert (losses[0] != losses[1]).all()
    next_logits, carry = fresh(name, batch["condition"])
    _, other_carry = fresh(name, other["condition"])
    token = batch["x"][:, 0]
    assert (next_logits(carry, token)[0] != next_logits(other_carry, token)[0]).any(-1).all()


@every
def test_what_the_mask_leaves_out_does_not_matter(name):
    """Neither what stands in padding, nor rows of padding."""
    module, cfg = family(name)
    batch, end = make_batch(), 5
    batch["mask"] = batch["mask"].at[1, end:].set(0).at[2].set(0)
    other = {**batch, "x": batch["x"].at[1, end + 1 :].set(0).at[2].set(0)}
    fewer = {key: value[:2] for key, value in other.items()}
    state = initial(module, cfg, optax.sgd(0.1)).replace(params=trained(name))
    step = compiled_step(module, cfg, optax.sgd(0.1))
    (first, metrics), *rest = (
        step(state, each, jax.random.key(0)) for each in (batch, other, fewer)
    )
    for new, same in rest:
        np.testing.assert_allclose(same["loss"], metrics["loss"], rtol=1e-5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            new.params,
            first.params,
        )
    losses = [evaluate(name, trained(name), each)["loss"] for each in (batch, other)]
    np.testing.assert_array_equal(*losses)
    assert losses[0][2] == 0


@every
def test_every_leaf_of_a_carry_has_the_sample_first(name):
    batch, order = make_batch(), np.array([2, 0, 1])
    next_logits, carry = fresh(name, batch["condition"])
    for t in range(3):
        _, carry = next_logits(carry, batch["x"][:, t])
    assert all(leaf.shape[0] == B for leaf in jax.tree.leaves(carry))
    logits, _ = next_logits(carry, batch["x"][:, 3])
    moved = jax.tree.map(lambda leaf: leaf[order], carry)
    reordered, _ = next_logits(moved, batch["x"][order, 3])
    np.testing.assert_allclose(reordered, logits[order], rtol=1e-5, atol=1e-6)


@neural
def test_bfloat16_is_close(name):
    batch = make_batch()
    exact = evaluate(name, trained(name), batch)["loss"]
    low = evaluate(name, trained(name), batch, dtype="bfloat16")["loss"]
    np.testing.assert_allclose(low, exact, rtol=0.05)
    module, cfg = family(name, dtype="bfloat16")
    state = initial(module, cfg, optax.sgd(0.1))
    new, metrics = compiled_step(module, cfg, optax.sgd(0.1))(state, batch, jax.random.key(0))
    assert jnp.isfinite(metrics["loss"])
    for leaf in jax.tree.leaves(new.params):
        assert leaf.dtype == jnp.float32 and jnp.isfinite(leaf).all()
    carry = module.init_carry(new.params, cfg, B, batch["condition"])
    logits, _ = jax.jit(partial(module.next_logits, cfg=cfg))(
        new.params, carry=carry, token_B=batch["x"][:, 0]
    )
    assert logits.dtype == jnp.float32


@neural
def test_initial_parameters_follow_from_the_key(name):
    module, cfg = family(name)
    first, same, other = (
        initial(module, cfg, optax.identity(), seed=seed).params for seed in (0, 0, 1)
    )
    jax.tree.map(np.testing.assert_array_equal, first, same)
    assert (first["embed"] != other["embed"]).any()


@neural
def test_training_lowers_the_loss(name):
    module, cfg = family(name)
    tx = optax.adam(1e-2)
    state, step = initial(module, cfg, tx), compiled_step(module, cfg, tx)
    losses = []
    for _ in range(20):
        state, metrics = step(state, make_batch(), jax.random.key(0))
        losses.append(float(metrics["loss"]))
    assert abs(losses[0] - np.log(V)) < 0.5 and losses[-1] < 0.8 * losses[0]


@neural
def test_dropout_acts_in_training_only(name):
    module, cfg = family(name, dropout=0.5)
    state = initial(module, cfg, optax.sgd(0.0)).replace(params=trained(name))
    step = compiled_step(module, cfg, optax.sgd(0.0))
    losses = [float(step(state, make_batch(), jax.random.key(i))[1]["loss"]) for i in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    plain, off = (
        evaluate(name, trained(name), make_batch(), dropout=p)["loss"] for p in (0.0, 0.5)
    )
    np.testing.assert_array_equal(plain, off)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_carried_state_makes_two_windows_one(name):
    module, cfg = family(name)
    tx, spec = optax.sgd(0.0), dataclasses.replace(SPEC, streams=B)
    state = initial(module, cfg, tx, spec).replace(params=trained(name))
    step = compiled_step(module, cfg, tx, spec)
    whole = make_batch(length=2 * T)
    windows = [
        {**whole, "x": whole["x"][:, first : first + T + 1], "mask": jnp.ones((B, T))}
        for first in (0, T)
    ]

    def losses(reset_B):
        new, first = step(state, {**windows[0], "reset": jnp.ones(B, bool)}, jax.random.key(0))
        _, second = step(new, {**windows[1], "reset": jnp.array(reset_B)}, jax.random.key(0))
        return float(first["loss"]), float(second["loss"])

    together = evaluate(name, trained(name), whole)["loss"].mean() / T
    np.testing.assert_allclose(sum(losses([False] * B)), together, rtol=1e-5)
    alone = evaluate(name, trained(name), windows[1])["loss"]
    np.testing.assert_allclose(losses([True] * B)[1], alone.mean() / T, rtol=1e-5)
    mixed = {losses(reset)[1] for reset in itertools.product([True, False], repeat=B)}
    assert len(mixed) == 2**B  # each row has its own


def test_a_transformer_refuses_what_does_not_fit():
    for changes, spec, word in (
        ({"width": 15}, SPEC, "model.width"),
        ({"width": 6}, SPEC, "model.width"),
        ({"context": T - 1}, SPEC, "--model.context"),
    ):
        module, cfg = family("transformer", **changes)
        with pytest.raises(UserError, match=word):
            module.init(jax.random.key(0), cfg, spec, optax.identity())


def test_an_unknown_family_is_a_users_mistake():
    with pytest.raises(UserError, match="choose one of diffusion, gan, gru, lstm, markov"):
        models.get("elman")
