"""Classifier-free guidance: exact at 0 and 1, the formula elsewhere; and what it needs of training:
conditions that are withheld at random."""

import dataclasses
import json
from functools import cache, partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax import evaluation, generation, models
from creagen_jax.data import text
from creagen_jax.data.tokenizers import END
from creagen_jax.functional.embedding import embed_label
from creagen_jax.generation import Model, Request, draw
from creagen_jax.models import _language
from creagen_jax.sampling import guidance, tokens
from creagen_jax.sampling.filters import Sampling, validate
from creagen_jax.types import Spec, UserError

every = pytest.mark.parametrize("name", ["gru", "transformer"])
B, V, C = 4, 7, 2
WORDS = {"low": ["abba", "baba", "aabb", "bab"], "high": ["xyz", "zyxzy", "yyzx", "zzy"]}


def family(name, **changes):
    module = models.get(name)
    return module, module.Config(**{**helpers.MODELS[name], "label_dropout": 0.2, **changes})


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """make(family): a model of labelled words, with noisy parameters."""
    path = tmp_path_factory.mktemp("guidance") / "words.jsonl"
    rows = [{"text": w, "label": label} for label, words in WORDS.items() for w in words]
    path.write_text("\n".join(map(json.dumps, rows * 3)))
    dataset = text.load(text.Config(path=str(path), validation=0, length=12))

    @cache
    def make(name):
        module, cfg = family(name)
        spec = dataset.spec(24)
        params = module.init(jax.random.key(0), cfg, spec, optax.identity()).params
        noisy = jax.tree.map(
            lambda p: p + jax.random.normal(jax.random.key(p.size), p.shape), params
        )
        return Model(name, cfg, noisy, dataset.codec, spec.length, step=1)

    return make


def ask(scale, **changes):
    return Request(length=9, sampling=Sampling(guidance=scale), **changes)


# --- the formula ---------------------------------------------------------------------------------

logits_BV = st.lists(
    st.lists(st.one_of(st.floats(-20, 20, width=32), st.just(-np.inf)), min_size=V, max_size=V)
    .filter(lambda row: np.isfinite(row).any()),
    min_size=B, max_size=B,
).map(lambda rows: np.array(rows, np.float32))  # fmt: skip


def log_softmax(x):
    shifted = np.float64(x) - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@settings(max_examples=30, deadline=None)
@given(logits_BV, logits_BV, st.sampled_from([0.3, 1.5, 2.0, 7.0]))
def test_the_guided_distribution_is_that_of_the_formula(told, untold, scale):
    def next_logits(carry, token_B):
        return carry["logits"], {"logits": carry["logits"], "read": token_B}

    carry = guidance.start(lambda logits: {"logits": jnp.array(logits)}, told, untold, scale)
    found, after = guidance.guided(next_logits, scale)(carry, jnp.arange(B))
    p, q = log_softmax(told), log_softmax(untold)
    for b in range(B):
        for v in range(V):
            if np.isneginf(p[b, v]) or np.isneginf(q[b, v]):
                wanted = p[b, v]
            else:
                wanted = q[b, v] + scale * (p[b, v] - q[b, v])
            np.testing.assert_allclose(found[b, v], wanted, rtol=1e-5, atol=1e-4)
    for half in ("told", "untold"):
        np.testing.assert_array_equal(after[half]["logits"], carry[half]["logits"])
        np.testing.assert_array_equal(after[half]["read"], np.arange(B))


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_at_0_and_1_one_model_alone_is_asked(scale):
    def next_logits(carry, token_B):
        raise AssertionError

    assert guidance.guided(next_logits, scale) is next_logits
    assert guidance.start(lambda condition: condition, "told", "untold", scale) == (
        "told" if scale else "untold"
    )


# --- families under guidance ---------------------------------------------------------------------


def by_hand(model):
    """(condition_B, seeds_B) -> texts decoded from the plain model."""
    module = models.get(model.family)

    @jax.jit
    def decode(params, condition_B, seeds_B):
        return tokens.decode(
            partial(module.next_logits, params, model.cfg),
            module.init_carry(params, model.cfg, len(seeds_B), condition_B),
            jnp.full((len(seeds_B), 1), END),
            None,
            seeds_B,
            length=9,
            settings=Sampling(),
            end=END,
            forbidden=model.codec.forbidden,
        )[0]

    return lambda *how: [model.codec.decode(row) for row in decode(model.params, *how)]


@every
def test_0_is_the_model_without_a_label_and_1_the_one_with_it(make, name):
    model, seeds = make(name), np.arange(5, 13)
    plain = by_hand(model)
    texts = {
        (scale, label): [
            sample.text for sample in draw(model, ask(scale, label=label), num=8, seed=5)
        ]
        for scale in (0.0, 1.0)
        for label in WORDS
    }
    for number, label in enumerate(model.codec.labels):
        assert texts[0, label] == plain(None, seeds)
        assert texts[1, label] == plain(jnp.full(8, number), seeds)
    assert texts[0, "low"] == plain(jnp.full(8, -1), seeds) != texts[1, "low"]
    assert texts[1, "low"] != texts[1, "high"]


@every
def test_each_token_is_drawn_from_the_formula(make, name):
    """Along a text, the logits of the guided model are those of its two halves by hand."""
    model, scale = make(name), 2.5
    how = generation._How(name, model.cfg, Sampling(guidance=scale), ())
    module, label_B = models.get(name), jnp.array([0, 1, 1, 0])
    carry = how.init_carry(model.params, B, label_B)
    halves = [module.init_carry(model.params, model.cfg, B, each) for each in (label_B, None)]
    guided = jax.jit(how.next_logits(model.params))
    plain = jax.jit(partial(module.next_logits, model.params, model.cfg))
    read_TB = np.random.default_rng(0).integers(0, 5, (20, B))  # past the Transformer's context
    for token_B in read_TB:
        found, carry = guided(carry, jnp.array(token_B))
        (told, halves[0]), (untold, halves[1]) = (plain(half, token_B) for half in halves)
        p, q = log_softmax(np.asarray(told)), log_softmax(np.asarray(untold))
        np.testing.assert_allclose(found, q + scale * (p - q), rtol=1e-3, atol=1e-3)


def test_a_guided_sample_depends_on_its_own_seed_alone(make, monkeypatch):
    model, request = make("gru"), ask(2.0, prompt="a")
    many = draw(model, request, num=7, seed=3)
    assert draw(model, request, num=1, seed=5) == many[2:3]
    shown = []
    assert generation.stream(model, request, seed=5, show=shown.append) == many[2]
    monkeypatch.setattr(generation, "BATCH", 3)
    assert draw(model, request, num=7, seed=3) == many
    texts = {
        scale: [sample.text for sample in draw(model, ask(scale, prompt="a"), num=7, seed=3)]
        for scale in (0.0, 1.0)
    }
    assert [sample.text for sample in many] not in texts.values()


def test_beam_search_is_guided_too(make):
    model, scale = make("lstm"), 2.0
    sampling = Sampling(guidance=scale, beams=3, length_penalty=0.0)
    request = Request(label="high", length=4, sampling=sampling)
    found = draw(model, request, num=3, seed=0)
    how = generation._How("lstm", model.cfg, sampling, model.codec.forbidden)
    next_logits = jax.jit(how.next_logits(model.params))
    label = model.codec.label_id("high")
    for sample in found:
        carry, token, nats = how.init_carry(model.params, 1, jnp.array([label])), END, 0.0
        ids = [*model.codec.tokenizer.encode(sample.text), END][:4]
        for following in ids:
            logits, carry = next_logits(carry, jnp.array([token]))
            logits = logits.at[:, model.codec.forbidden[0]].set(-jnp.inf)
            nats += float(jax.nn.log_softmax(logits)[0, following])
            token = following
        assert sample.score == pytest.approx(nats, abs=1e-3)
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)
    plain = dataclasses.replace(request, sampling=dataclasses.replace(sampling, guidance=1.0))
    assert [s.score for s in draw(model, plain, num=3, seed=0)] != [s.score for s in found]


@every
def test_no_label_is_a_label_of_minus_one(make, name):
    model, module = make(name), models.get(name)
    carries = [
        module.init_carry(model.params, model.cfg, B, label_B)
        for label_B in (None, jnp.full(B, -1), jnp.zeros(B, jnp.int32))
    ]
    logits = [
        module.next_logits(model.params, model.cfg, carry, jnp.arange(B))[0] for carry in carries
    ]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert (np.asarray(logits[0]) != np.asarray(logits[2])).any(-1).all()
    shapes = [jax.tree.map(jnp.shape, carry) for carry in carries]
    assert shapes[0] == shapes[1] == shapes[2]


def test_no_label_adds_nothing():
    table_CD = jax.random.normal(jax.random.key(0), (C, 3))
    found = embed_label(table_CD, jnp.array([1, -1, 0, -1]))
    np.testing.assert_array_equal(found, [table_CD[1], [0, 0, 0], table_CD[0], [0, 0, 0]])
    gradient = jax.grad(lambda table: embed_label(table, jnp.array([1, -1, -1])).sum())(table_CD)
    np.testing.assert_array_equal(gradient, [[0, 0, 0], [1, 1, 1]])


# --- training ------------------------------------------------------------------------------------


def make_batch(size=B, length=6, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.arange(length) < rng.integers(1, length + 1, (size, 1))
    return {
        "x": jnp.array(rng.integers(0, V, (size, length + 1)), jnp.int32),
        "mask": jnp.array(mask, jnp.float32),
        "condition": jnp.array(rng.integers(0, C, size), jnp.int32),
    }


def test_the_share_of_rows_that_is_withheld():
    size, share = 20_000, 0.15
    source = jnp.tile(jnp.array([5, 3, END, END]), (size, 1))
    batch = {**make_batch(size), "source": source}
    first, again, other = (
        _language.withhold(jax.random.key(seed), batch, share) for seed in (0, 0, 1)
    )
    withheld = np.asarray(first["condition"] == -1)
    assert abs(withheld.mean() - share) < 4 * np.sqrt(share * (1 - share) / size)
    np.testing.assert_array_equal(withheld, (first["source"] == END).all(1))  # both, or neither
    for name in ("condition", "source"):
        np.testing.assert_array_equal(first[name][~withheld], batch[name][~withheld])
        np.testing.assert_array_equal(first[name], again[name])
    both = (withheld & np.asarray(other["condition"] == -1)).mean()
    assert both < 2 * share**2  # another step, other rows
    assert first["x"] is batch["x"] and first["mask"] is batch["mask"]
    assert _language.withhold(jax.random.key(0), {"x": batch["x"]}, 0.5).keys() == {"x"}


@every
def test_a_step_that_withholds_all_labels_is_one_without_labels(name):
    spec, tx = Spec(vocab=V, length=6, classes=C), optax.sgd(0.5)
    module, cfg = family(name, label_dropout=1.0)
    batch = make_batch()
    unlabelled = {**batch, "condition": jnp.full(B, -1)}
    state = module.init(jax.random.key(0), cfg, spec, tx)
    noisy = jax.tree.map(
        lambda p: p + 0.1 * jax.random.normal(jax.random.key(p.size), p.shape), state.params
    )
    state = state.replace(params=noisy)  # a Transformer's head is zeros at first
    plain_cfg = dataclasses.replace(cfg, label_dropout=0.0)
    (whole, metrics), (plain, same) = (
        jax.jit(module.make_step(each, spec, tx))(state, batch, jax.random.key(1))
        for each, batch in ((cfg, batch), (plain_cfg, unlabelled))
    )
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, (whole.params, metrics), (plain.params, same))
    np.testing.assert_array_equal(whole.params["embed_label"], state.params["embed_label"])
    assert (whole.params["embed"] != state.params["embed"]).any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_label_smoothing(smoothing):
    """The gradient of the logits is p - q' over the tokens counted; the loss is that of q."""
    batch = make_batch()
    shape = (*batch["mask"].shape, V)
    params = jax.random.normal(jax.random.key(0), shape)
    step = _language.make_step(
        lambda params, batch, rng, carry: (params, carry), optax.sgd(1.0), smoothing=smoothing
    )
    state = _language.TrainState.create(params, optax.sgd(1.0))
    state, metrics = step(state, batch, jax.random.key(0))
    mask, target = np.asarray(batch["mask"])[..., None], np.asarray(batch["x"])[:, 1:]
    log_p = log_softmax(np.asarray(params))
    one_hot = np.eye(V)[target]
    smoothed = (1 - smoothing) * one_hot + smoothing / V
    wanted = mask * (np.exp(log_p) - smoothed) / mask.sum()
    np.testing.assert_allclose(params - state.params, wanted, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], -(mask * one_hot * log_p).sum() / mask.sum(), 1e-5)
    forward = lambda params, batch, rng, carry: (params, carry)  # noqa: E731
    nats = _language.eval_metrics(forward, params, batch)["loss"].sum() / mask.sum()
    np.testing.assert_allclose(nats, metrics["loss"], rtol=1e-5)


def test_the_untold_half_learns_what_all_classes_have_in_common():
    """Class c writes the letter c + 2, with other lengths: told, the letter is certain; untold, it
    is one of two; and guidance of 3 is surer than the told model is."""
    spec, tx = Spec(vocab=4, length=3, classes=C), optax.adam(0.05)
    module, cfg = family("gru", label_dropout=0.3)
    label_B = jnp.arange(32) % C
    x = jnp.zeros((32, 4), jnp.int32).at[:, 1].set(label_B + 2).at[::4, 2].set(2)
    batch = {"x": x, "mask": jnp.ones((32, 3)), "condition": label_B}
    state = module.init(jax.random.key(0), cfg, spec, tx)
    step = jax.jit(module.make_step(cfg, spec, tx))
    for i in range(60):
        state, _ = step(state, batch, jax.random.key(i))

    @partial(jax.jit, static_argnums=0)
    def first(scale):
        how = generation._How("gru", cfg, Sampling(guidance=scale), ())
        carry = how.init_carry(state.params, C, jnp.arange(C))
        return jax.nn.softmax(how.next_logits(state.params)(carry, jnp.full(C, END))[0])

    np.testing.assert_allclose(first(0.0)[:, 2:], 0.5, atol=0.12)
    own = [np.asarray(first(scale))[np.arange(C), np.arange(C) + 2] for scale in (1.0, 3.0)]
    assert (own[0] > 0.9).all() and (own[1] > own[0]).all()


# --- a user's mistakes ---------------------------------------------------------------------------


@every
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_of_withheld_labels_that_is_none(name, share):
    module, cfg = family(name, label_dropout=share)
    with pytest.raises(UserError, match=r"--model.label_dropout is .*; choose 0 to 1"):
        module.init(jax.random.key(0), cfg, Spec(vocab=V, length=6, classes=C), optax.identity())


@every
def test_a_family_that_reads_no_source_refuses_pairs(name):
    module, cfg = family(name)
    spec = Spec(vocab=V, length=6, source=5, source_vocab=9)
    with pytest.raises(UserError, match=r"reads no source.*choose seq2seq"):
        module.init(jax.random.key(0), cfg, spec, optax.identity())


@pytest.mark.parametrize("scale", [-1.0, float("inf"), float("nan")])
def test_a_scale_out_of_range(scale):
    with pytest.raises(UserError, match=r"guidance is .*; choose 0"):
        validate(Sampling(guidance=scale))
    validate(Sampling(guidance=3.0, beams=2))


def test_a_sweep_sets_it():
    requests = [evaluation.with_setting(Request(), "guidance", value) for value in ("0", "1.5")]
    assert [request.sampling for request in requests] == [Sampling(guidance=g) for g in (0.0, 1.5)]
    with pytest.raises(UserError, match="guidance is -1"):
        evaluation.with_setting(Request(), "guidance", "-1")


def test_guidance_of_a_model_that_cannot_be_guided(make):
    model = make("lstm")
    never = dataclasses.replace(model.cfg, label_dropout=0.0)
    unlabelled = dataclasses.replace(model.codec, labels=(), label_shares=())
    markov = models.get("markov").Config()
    for changes, message in (
        ({"cfg": never}, r"trained without its label.*--model.label_dropout 0.1"),
        ({"codec": unlabelled}, "needs a model with labels; this one has none"),
        ({"family": "markov", "cfg": markov}, "a markov cannot be guided"),
    ):
        for scale in (0.0, 2.0):
            with pytest.raises(UserError, match=f"--guidance {scale:g}.*{message}"):
                draw(dataclasses.replace(model, **changes), ask(scale), num=1, seed=0)
