"""What an encoder and a decoder promise, for each kind of them."""

import dataclasses
from functools import cache, partial

import helpers  # noqa: F401  (keeps compiled programs)
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax, softmax

from creagen_jax.data.tokenizers import END
from creagen_jax.models import seq2seq
from creagen_jax.sampling import tokens
from creagen_jax.sampling.filters import Sampling
from creagen_jax.types import Spec, TrainState, UserError

B, S, T, V, SOURCES, C = 3, 5, 6, 7, 9, 2
SPEC = Spec(vocab=V, length=T, classes=C, source=S, source_vocab=SOURCES)
KINDS = {
    "lstm": {"cell": "lstm", "depth": 2},
    "gru": {"cell": "gru"},
    "lstm without attention": {"cell": "lstm", "attention": False},
    "gru without attention": {"cell": "gru", "depth": 2, "attention": False},
    "transformer": {"cell": "transformer", "depth": 2, "heads": 2, "context": 8},
    "transformer in step": {"cell": "transformer", "heads": 2, "context": 8, "stride": 2},
}
LOOKING = ("lstm", "gru", "transformer", "transformer in step")  # those with attention
every = pytest.mark.parametrize("kind", KINDS)
looking = pytest.mark.parametrize("kind", LOOKING)


def config(kind, **changes):
    return seq2seq.Config(**{"width": 8, **KINDS[kind], **changes})


def make_batch(seed=0):
    """Random pairs: a source as long as it can be, one with padding, and one that is empty."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, V, (B, T + 1), dtype=np.int32)
    source = rng.integers(1, SOURCES, (B, S), dtype=np.int32)
    x[:, 0] = END
    for row, length in zip(source, LENGTHS, strict=True):
        row[length - 1 :] = END
    return {
        "x": x,
        "mask": np.ones((B, T), np.float32),
        "source": source,
        "condition": np.arange(B, dtype=np.int32) % C,
    }


LENGTHS = (S, 3, 1)  # of the sources of `make_batch`, END included
UNTOLD = {  # what a batch holds where nothing is told
    "source": np.full((B, S), END, np.int32),
    "condition": np.full(B, -1, np.int32),
}


def altered(array, index, value):
    """A copy of the array with another value at the index."""
    array = array.copy()
    array[index] = value
    return array


@cache
def trained(kind):
    """Parameters of the right shapes, all of them random: some initial ones are zero, which would
    hide mistakes."""
    init = partial(seq2seq.init, cfg=config(kind), spec=SPEC, tx=optax.identity())
    leaves, tree = jax.tree.flatten(jax.eval_shape(init, jax.random.key(0)).params)
    rng = np.random.default_rng(1)
    return jax.tree.unflatten(
        tree, [jnp.float32(rng.normal(0, 0.5, leaf.shape)) for leaf in leaves]
    )


@cache
def compiled(kind):
    """Logits [B, T, V] and, where there is attention, weights [B, T, S] of a batch."""
    cfg = config(kind)

    @jax.jit
    def run(params, batch):
        weights = seq2seq.alignments(params, cfg, batch) if cfg.attention else None
        return seq2seq._forward(cfg)(params, batch, None, None)[0], weights

    return run


def logits_of(kind, batch):
    return np.asarray(compiled(kind)(trained(kind), batch)[0])


def nats_of(kind, batch):
    """-log p of each token of the targets, [B, T]."""
    log_p = log_softmax(logits_of(kind, batch), axis=-1)
    return -np.take_along_axis(log_p, batch["x"][:, 1:, None], axis=2)[..., 0]


@cache
def stepper(kind):
    """`init_carry` and `next_logits`, compiled."""
    begin = partial(seq2seq.init_carry, cfg=config(kind), n=B)
    return jax.jit(begin), jax.jit(partial(seq2seq.next_logits, cfg=config(kind)))


def condition_of(batch):
    return {"source": batch["source"], "label": batch["condition"]}


def fresh(kind, condition):
    """next_logits(carry, token_B), compiled, and the carry before the first token."""
    (begin, step), params = stepper(kind), trained(kind)
    carry = begin(params, condition=condition)

    def next_logits(carry, token_B):
        logits, carry = step(params, carry=carry, token_B=token_B)
        return np.asarray(logits), carry

    return next_logits, carry


@every
def test_predictions_do_not_depend_on_what_follows(kind):
    batch = make_batch()
    before = logits_of(kind, batch)
    for t in range(1, T):
        x = altered(batch["x"], np.s_[:, t], batch["x"][:, t] % (V - 1) + 1)
        after = logits_of(kind, {**batch, "x": x})
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        assert (after[:, t:] != before[:, t:]).any(-1).all()


@every
def test_a_source_changes_its_own_row_alone(kind):
    batch = make_batch()
    before = logits_of(kind, batch)
    for b, length in enumerate(LENGTHS):
        for j in range(length):  # the END is replaced too
            token = batch["source"][b, j] % (SOURCES - 1) + 1
            source = altered(batch["source"], (b, j), token)
            after = logits_of(kind, {**batch, "source": source})
            changed = (after != before).any(-1)
            assert changed[b].all() and changed.sum() == T


@every
def test_what_follows_the_end_of_a_source_does_not_matter(kind):
    batch = make_batch()
    before = logits_of(kind, batch)
    junk = altered(batch["source"], np.s_[1, 3:], 5)
    junk = altered(junk, np.s_[2, 1:], np.arange(S - 1))
    np.testing.assert_array_equal(logits_of(kind, {**batch, "source": junk}), before)
    longer = {**batch, "source": np.pad(batch["source"], ((0, 0), (0, 4)), constant_values=END)}
    np.testing.assert_allclose(logits_of(kind, longer), before, rtol=1e-4, atol=1e-5)


@every
def test_decoding_equals_the_whole_target_at_once(kind):
    batch, order = make_batch(), np.array([2, 0, 1])
    next_logits, carry = fresh(kind, condition_of(batch))
    whole = logits_of(kind, batch)
    for t in range(T):
        assert all(leaf.shape[0] == B for leaf in jax.tree.leaves(carry))
        moved = jax.tree.map(lambda leaf: np.asarray(leaf)[order], carry)
        reordered, _ = next_logits(moved, batch["x"][order, t])
        logits, carry = next_logits(carry, batch["x"][:, t])
        np.testing.assert_allclose(logits, whole[:, t], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(reordered, logits[order], rtol=1e-5, atol=1e-6)


@every
def test_no_label_and_no_source(kind):
    """None is a label of -1 and a source of END, which are the same however long they are."""
    batch = make_batch()
    nothing = condition_of(UNTOLD)
    logits = []
    for condition in (None, nothing, {**nothing, "label": None}):
        next_logits, carry = fresh(kind, condition)
        logits.append(next_logits(carry, batch["x"][:, 0])[0])
    for same in logits[1:]:
        np.testing.assert_allclose(same, logits[0], rtol=1e-5, atol=1e-6)
    told, other, none = (
        logits_of(kind, {**batch, "condition": np.full(B, label, np.int32)}) for label in (0, 1, -1)
    )
    assert ((told != other) & (told != none) & (other != none)).any(-1).all()


def test_a_gru_with_attention_is_that_of_the_papers():
    """Row by row, on sources without padding, one step after the other."""
    params, batch = trained("gru"), make_batch()
    logits, weights = compiled("gru")(params, batch)
    encoder, decoder = (jax.tree.map(np.asarray, params[part]) for part in ("encoder", "decoder"))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def cell(layer, x, h):
        x_r, x_z, x_n = np.split(x @ layer["W"] + layer["b"], 3)
        u_r, u_z, u_n = np.split(h @ layer["U"], 3)
        z = sigmoid(x_z + u_z)
        return z * h + (1 - z) * np.tanh(x_n + sigmoid(x_r + u_r) * u_n)

    for b, length in enumerate(LENGTHS):
        source = encoder["embed"][np.asarray(batch["source"][b, :length])]
        forward, backward = [np.zeros(8)], [np.zeros(8)]
        for j in range(length):
            forward.append(cell(encoder["forward0"], source[j], forward[-1]))
            backward.append(cell(encoder["backward0"], source[length - 1 - j], backward[-1]))
        h = np.concatenate([forward[1:], backward[:0:-1]], axis=1)
        s = np.tanh(backward[-1] @ encoder["start"])
        layer = decoder["layer0"]
        for t in range(T):
            scores = np.tanh(s @ layer["query"] + h @ encoder["keys"]) @ layer["score"]
            alpha = np.exp(scores) / np.exp(scores).sum()
            y = decoder["embed"][batch["x"][b, t]] + decoder["embed_label"][batch["condition"][b]]
            s = cell(layer, np.concatenate([y, alpha @ h]), s)
            readout = np.tanh(np.concatenate([s, alpha @ h]) @ decoder["readout"])
            np.testing.assert_allclose(weights[b, t, :length], alpha, atol=1e-5)
            expected = readout @ decoder["head"] + decoder["head_bias"]
            np.testing.assert_allclose(logits[b, t], expected, atol=1e-4)


@looking
def test_alignments_are_shares_of_the_source(kind):
    weights = np.asarray(compiled(kind)(trained(kind), make_batch())[1])
    assert weights.shape == (B, T, S) and weights.dtype == np.float32
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    for row, length in zip(weights, LENGTHS, strict=True):
        assert (row[:, :length] > 0).all() and (row[:, length:] == 0).all()


def test_alignments_need_no_label():
    batch = make_batch()
    unlabelled = {key: batch[key] for key in ("x", "source")}
    _, expected = compiled("gru")(trained("gru"), batch | {"condition": UNTOLD["condition"]})
    align = jax.jit(seq2seq.alignments, static_argnums=1)
    weights = align(trained("gru"), config("gru"), unlabelled)
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-6)


def test_without_attention_nothing_is_aligned():
    with pytest.raises(UserError, match="attention"):
        seq2seq.alignments({}, config("gru without attention"), make_batch())


@looking
def test_bfloat16_is_close(kind):
    cfg, batch = config(kind, dtype="bfloat16"), jax.device_put(make_batch())
    forward = jax.jit(lambda params: seq2seq._forward(cfg)(params, batch, None, None)[0])
    log_p, exact = (
        log_softmax(np.float32(logits), axis=-1)
        for logits in (forward(trained(kind)), logits_of(kind, batch))
    )
    assert (log_p != exact).any()
    np.testing.assert_allclose(log_p, exact, atol=0.2)
    condition, token_B = condition_of(batch), batch["x"][:, 0]
    carry = jax.eval_shape(
        lambda params: seq2seq.init_carry(params, cfg, B, condition), trained(kind)
    )
    logits, after = jax.eval_shape(
        lambda params, carry: seq2seq.next_logits(params, cfg, carry, token_B), trained(kind), carry
    )
    assert logits.dtype == jnp.float32
    jax.tree.map(lambda old, new: np.testing.assert_equal(new.dtype, old.dtype), carry, after)


@looking
def test_it_learns_to_copy(kind):
    """Eight words by heart in a hundred steps, and writes them."""
    rng = np.random.default_rng(0)
    words = np.array([rng.permutation(np.arange(1, V))[: T - 1] for _ in range(8)], np.int32)
    x = np.pad(words, ((0, 0), (1, 1)), constant_values=END)
    batch = jax.device_put({"x": x, "mask": np.ones((8, T), np.float32), "source": x[:, 1:]})
    spec = dataclasses.replace(SPEC, classes=0, source=T, source_vocab=V)
    cfg, tx = config(kind, width=32, depth=1), optax.adam(1e-2)
    step = seq2seq.make_step(cfg, spec, tx)

    @jax.jit
    def train(key):
        state, keys = seq2seq.init(key, cfg, spec, tx), jax.random.split(key, 100)
        return jax.lax.scan(lambda state, key: step(state, batch, key), state, keys)

    state, metrics = train(jax.random.key(0))
    assert metrics["loss"][0] > 1.5 and metrics["loss"][-1] < 0.05

    @jax.jit
    def write(params):
        def next_logits(carry, token_B):
            return seq2seq.next_logits(params, cfg, carry, token_B)

        carry = seq2seq.init_carry(params, cfg, 8, {"source": batch["source"], "label": None})
        prompt, seeds = jnp.full((8, 1), END, jnp.int32), jnp.arange(8)
        return tokens.decode(
            next_logits, carry, prompt, None, seeds, length=T, settings=Sampling(temperature=0.0)
        )

    written, _, done = write(state.params)
    np.testing.assert_array_equal(written, x[:, 1:])
    assert done.all()


def test_sources_are_withheld_and_targets_smoothed_in_training():
    batch, smoothing = make_batch(), 0.5
    nothing = batch | UNTOLD
    cfg, tx = config("gru", source_dropout=1.0, label_smoothing=smoothing), optax.sgd(1.0)
    state = TrainState.create(trained("gru"), tx)
    step = jax.jit(seq2seq.make_step(cfg, SPEC, tx))
    new, metrics = step(state, batch, jax.random.key(0))
    same, _ = step(state, nothing, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, new.params, same.params)
    # The gradient of the output's bias is the mean of p - q, where q is the smoothed target.
    p = softmax(logits_of("gru", nothing), axis=-1)
    q = (1 - smoothing) * np.eye(V)[batch["x"][:, 1:]] + smoothing / V
    after, before = (np.asarray(s.params["decoder"]["head_bias"]) for s in (new, state))
    np.testing.assert_allclose(after - before, (q - p).mean((0, 1)), atol=1e-5)
    # Evaluation knows neither.
    told, untold = (nats_of("gru", each) for each in (batch, nothing))
    np.testing.assert_allclose(metrics["loss"], untold.mean(), rtol=1e-5)
    evaluate = jax.jit(seq2seq.eval_metrics, static_argnums=1)
    loss = evaluate(trained("gru"), cfg, batch, None)["loss"]
    np.testing.assert_allclose(loss, told.sum(1), rtol=1e-4)


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_dropout_follows_from_the_key(kind):
    cfg, batch = config(kind, dropout=0.5), jax.device_put(make_batch())
    forward = jax.jit(lambda key: seq2seq._forward(cfg)(trained(kind), batch, key, None)[0])
    first, same, other = (np.asarray(forward(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any(-1).all()


def test_without_a_key_or_a_compiler_the_predictions_are_the_same():
    cfg, batch = config("gru", dropout=0.5), jax.device_put(make_batch())
    plain, _ = seq2seq._forward(cfg)(trained("gru"), batch, None, None)
    np.testing.assert_allclose(plain, logits_of("gru", batch), rtol=1e-4, atol=1e-5)


def test_a_target_ends_with_the_context():
    batch, context = make_batch(), config("transformer").context
    next_logits, carry = fresh("transformer", condition_of(batch))
    for _ in range(context):
        logits, carry = next_logits(carry, batch["x"][:, 1])
        assert np.isfinite(logits).all()
    for _ in range(2):
        logits, carry = next_logits(carry, batch["x"][:, 1])
        np.testing.assert_array_equal(softmax(logits, axis=-1), np.tile(np.eye(V)[END], (B, 1)))


def test_equal_places_of_a_source_are_told_apart_only_with_a_stride():
    batch = jax.tree.map(jnp.asarray, make_batch()) | {"source": jnp.full((B, S), 2)}
    for kind, same in (("transformer", True), ("transformer in step", False)):
        weights_BTS = seq2seq.alignments(trained(kind), config(kind), batch)
        assert np.allclose(weights_BTS, 1 / S, atol=1e-5) == same


def test_what_does_not_fit_is_a_users_mistake():
    no_source = dataclasses.replace(SPEC, source=0, source_vocab=0)
    for kind, changes, spec, words in (
        ("gru", {}, no_source, "pairs"),
        ("gru", {"source_dropout": 1.5}, SPEC, "source_dropout"),
        ("lstm", {"label_smoothing": -0.1}, SPEC, "label_smoothing"),
        ("transformer", {"width": 9}, SPEC, "model.width"),
        ("transformer", {"width": 6}, SPEC, "model.width"),
        ("transformer", {"context": T - 1}, SPEC, f"--model.context {T}"),
        ("transformer", {"attention": False}, SPEC, "--model.cell"),
        ("gru", {"stride": 3}, SPEC, "model.stride"),
        ("transformer", {"stride": -1}, SPEC, "model.stride"),
    ):
        with pytest.raises(UserError, match=words):
            seq2seq.init(jax.random.key(0), config(kind, **changes), spec, optax.identity())
