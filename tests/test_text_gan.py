"""The text GAN: gradients through tokens equal their definitions, and the game keeps its rules."""

import itertools
from functools import cache, partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from creagen_jax import scoring
from creagen_jax.functional import adversarial
from creagen_jax.models import _language, _reader, lstm, text_gan
from creagen_jax.sampling import filters, tokens
from creagen_jax.types import Spec, UserError

few = settings(max_examples=20, deadline=None)
key = jax.random.key

B, T, V, C = 16, 4, 5, 2
SPEC = Spec(vocab=V, length=T, classes=C)
TINY = {
    "width": 8, "depth": 1, "discriminator_width": 8, "discriminator_dropout": 0.1,
    "pretrain": 2, "warm": 2, "anneal": 50, "generator_rate": 1.0, "teacher": 0.0,
}  # fmt: skip
NETWORKS = {
    "gumbel": {"method": "gumbel", "r1": 0.1, "r2": 0.1},
    "policy": {
        "method": "policy", "loss": "relativistic", "discriminator_steps": 2, "r1": 0.0,
    },
    "transformer": {
        "generator": "transformer", "heads": 2, "context": T, "dtype": "bfloat16", "teacher": 1.0,
        "label_dropout": 1.0, "r1": 0.0,
    },
}  # fmt: skip
every = pytest.mark.parametrize("name", NETWORKS)
both = pytest.mark.parametrize("name", ["gumbel", "policy"])
PARTS = {name: {"generator", "discriminator"} for name in NETWORKS}
PARTS["policy"] = {"generator", "discriminator", "baseline"}


def settings_of(name, **changes):
    return text_gan.Config(**{**TINY, **NETWORKS[name], **changes})


def make_batch(rows=B, seed=0):
    """Texts of 0 .. T - 1 tokens, as lines are stored: END c1 .. cn END then END."""
    rng = np.random.default_rng(seed)
    size_B = np.arange(rows) % T
    x = rng.integers(1, V, (rows, T + 1))
    x[:, 0] = 0
    x = np.where(np.arange(T + 1) > size_B[:, None], 0, x).astype(np.int32)
    mask = (np.arange(T) <= size_B[:, None]).astype(np.float32)
    return {"x": x, "mask": mask, "condition": (np.arange(rows) % C).astype(np.int32)}


TX = optax.adam(0.02, b1=0.5)


@cache
def begun(name):
    """A state whose parameters are not special: some start at zero, which would hide mistakes."""
    like = jax.eval_shape(lambda: text_gan.init(key(0), settings_of(name), SPEC, TX))
    rng = np.random.default_rng(0)
    noise = partial(jax.tree.map, lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), "f"))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    return zeros.replace(params=noise(like.params), step=jnp.zeros([], jnp.int32))


@cache
def compiled_step(name):
    return jax.jit(text_gan.make_step(settings_of(name), SPEC, TX))


def after(name, step, batch=None, rng=0):
    """The state after step number `step` (made as if it were the first), and its metrics."""
    state = begun(name).replace(step=jnp.array(step, jnp.int32))
    return compiled_step(name)(state, batch or make_batch(), key(rng))


evaluate = scoring.evaluator(text_gan, settings_of("gumbel"))


@jax.jit
def nats(params, batch):
    """What the LSTM that writes gives to texts, [B]."""
    forward = text_gan.GENERATORS["lstm"].forward(settings_of("gumbel"))
    return _language.eval_metrics(forward, params["generator"], batch)["loss"]


# --- gradients through tokens --------------------------------------------------------------------


def test_gumbel_softmax_draws_one_hot_tokens_in_proportion():
    logits_BV = jnp.array([[0.0, 1.0, -1.0, 0.5], [2.0, 0.0, 0.0, -3.0]])
    draw = jax.jit(jax.vmap(lambda key: adversarial.gumbel_softmax(key, logits_BV, 0.7)))
    drawn_NBV = np.asarray(draw(jax.random.split(key(0), 4000)))
    assert set(np.unique(drawn_NBV)) == {0, 1}  # exactly
    assert (drawn_NBV.sum(-1) == 1).all()
    p_BV = np.asarray(jax.nn.softmax(logits_BV))
    for row, p_V in enumerate(p_BV):
        assert stats.chisquare(drawn_NBV[:, row].sum(0), 4000 * p_V).pvalue > 1e-3
    together = drawn_NBV[:, 0].T @ drawn_NBV[:, 1] / 4000  # rows are independent
    np.testing.assert_allclose(together, np.outer(*p_BV), atol=0.03)


@jax.jit
def slopes(logits, weight, noise_key, temperature):
    """The gradients of gumbel_softmax and of its relaxation, both weighted, and the weighted
    one-hot tokens."""

    def relaxed(logits):
        noise = jax.random.gumbel(noise_key, logits.shape)
        return jnp.sum(weight * jax.nn.softmax((logits + noise) / temperature))

    def ours(logits):
        return jnp.sum(weight * adversarial.gumbel_softmax(noise_key, logits, temperature))

    return jax.grad(ours)(logits), jax.grad(relaxed)(logits)


@few
@given(st.integers(0, 99), st.floats(0.1, 5))
def test_gumbel_softmax_has_the_gradient_of_its_relaxation(seed, temperature):
    logits, weight = np.random.default_rng(seed).normal(size=(2, 2, 3, 4)).astype(np.float32)
    ours, relaxed = slopes(logits, weight, key(seed), temperature)
    np.testing.assert_allclose(ours, relaxed, rtol=1e-4, atol=1e-6)
    assert np.abs(ours).max() > 1e-6


def test_annealing_is_geometric_and_stops():
    at = [
        float(adversarial.annealed(2.0, 0.5, progress)) for progress in (-1.0, 0.0, 0.5, 1.0, 7.0)
    ]
    np.testing.assert_allclose(at, [2, 2, 1, 0.5, 0.5], rtol=1e-6)


# A policy of two tokens, each one of three: END is 0, and behind it only END.
SEQUENCES = np.array([[0, 0], *itertools.product((1, 2), range(3))])
ALIVE = jnp.array([[1.0, row[0] != 0] for row in SEQUENCES])
REWARD = jnp.array([0.1, 0.9, 0.3, -0.5, 2.0, 0.2, 0.4])  # of each sequence


def log_probs(theta):
    """log p of each token of each sequence, [7, 2]; theta [4, 3] has a row for each context."""
    log_p = jax.nn.log_softmax(theta)
    first, second = log_p[0][SEQUENCES[:, 0]], log_p[1 + SEQUENCES[:, 0], SEQUENCES[:, 1]]
    return jnp.stack([first, second * ALIVE[:, 1]], axis=1)


@jax.jit
def policy_gradients(theta, baseline, rows_N2):
    """The exact gradient of -E[reward], and the estimates from N batches of two sequences."""

    def minus_reward(theta):
        return -jnp.sum(jnp.exp(log_probs(theta).sum(1)) * REWARD)

    def estimate(theta, rows):
        reward = jnp.repeat(REWARD[rows][:, None], 2, axis=1)
        log_prob = log_probs(theta)[rows]
        return adversarial.policy_gradient_loss(log_prob, reward, baseline[rows], ALIVE[rows])

    estimates = jax.vmap(jax.grad(estimate), (None, 0))(theta, rows_N2)
    return jax.grad(minus_reward)(theta), estimates


PAIRS = np.array(list(itertools.product(range(7), repeat=2)))


def with_chances(theta, baseline):
    """The exact gradient, all estimates, and the probability of each."""
    exact, estimates = policy_gradients(theta, baseline, PAIRS)
    p = np.exp(np.asarray(log_probs(theta).sum(1)))
    return np.asarray(exact), np.asarray(estimates), p[PAIRS].prod(1)


@few
@given(st.integers(0, 99), st.booleans())
def test_the_policy_gradient_is_unbiased_whatever_the_baseline(seed, with_baseline):
    rng = np.random.default_rng(seed)
    theta, of_context = rng.normal(size=(4, 3)), rng.normal(size=4) * with_baseline
    exact, estimates, p = with_chances(jnp.asarray(theta), by_context(of_context))
    np.testing.assert_allclose(np.einsum("n,nij", p, estimates), exact, rtol=1e-3, atol=1e-5)


def by_context(value):
    """A value for each token of each sequence, [7, 2], from one for each context: before the first
    token, and behind each first token."""
    return jnp.stack([jnp.full(7, value[0]), jnp.asarray(value)[1 + SEQUENCES[:, 0]]], axis=1)


def test_the_expected_reward_as_a_baseline_lowers_the_variance():
    theta = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    p = np.exp(np.asarray(log_probs(theta).sum(1)))
    behind = [np.average(REWARD, weights=p * (SEQUENCES[:, 0] == first)) for first in range(3)]

    def variance(baseline):
        exact, estimates, p = with_chances(theta, baseline)
        return p @ ((estimates - exact) ** 2).sum((1, 2))

    least = variance(by_context(np.array([p @ REWARD, *behind])))
    assert least < variance(jnp.zeros((7, 2))) < variance(jnp.full((7, 2), 5.0))


def test_the_baseline_learns_the_mean_reward_and_teaches_it_nothing():
    reward = jnp.array([[1.0, 9.0], [3.0, 5.0]])
    mask = jnp.array([[1.0, 0.0], [1.0, 1.0]])
    loss = jax.jit(jax.value_and_grad(adversarial.baseline_loss, argnums=(0, 1)))
    value, (by_baseline, by_reward) = loss(jnp.full((2, 2), 3.0), reward, mask)
    np.testing.assert_allclose(value, ((1 - 3) ** 2 + 0 + (5 - 3) ** 2) / 3)
    np.testing.assert_allclose(by_baseline.sum(), 0, atol=1e-6)  # 3 is the mean of 1, 3 and 5
    assert by_baseline[0, 1] == 0 and not by_reward.any()
    assert loss(reward, reward, 0 * mask)[0] == 0


@few
@given(st.integers(0, 99), st.integers(1, 3), st.sampled_from([1, 5]), st.integers(1, 3))
def test_distinct_counts_runs(seed, n, rows, vocab):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, vocab + 1, (rows, 6)).astype(np.int32)
    size = rng.integers(0, 7, rows)
    runs = [tuple(x[b, i : i + n]) for b in range(rows) for i in range(size[b] - n + 1)]
    mask = np.arange(6) < size[:, None]
    found = distinct(x, mask, n)
    np.testing.assert_allclose(found, len(set(runs)) / max(len(runs), 1), rtol=1e-6)


distinct = jax.jit(adversarial.distinct, static_argnums=2)


# --- writing -------------------------------------------------------------------------------------


def test_texts_are_written_as_the_shared_decoder_draws_them():
    """Both in proportion to the exact probabilities of all texts."""
    cfg, params, label, rows = settings_of("gumbel"), begun("gumbel").params, 1, 4000
    texts = [text for text in itertools.product(range(V), repeat=3)
             if not any(a == 0 and b != 0 for a, b in itertools.pairwise(text))]  # fmt: skip
    y = np.array(texts, np.int32)
    batch = {
        "x": np.pad(y, ((0, 0), (1, 0))),
        "mask": np.asarray(text_gan._to_end(jnp.asarray(y))),
        "condition": np.full(len(y), label, np.int32),
    }
    p = np.exp(-np.asarray(nats(params, batch), np.float64))
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-4)
    p /= p.sum()
    label_B = jnp.full(rows, label)

    @jax.jit
    def write():
        return text_gan.write(params, cfg, key(1), jnp.zeros(rows, jnp.int32), label_B, 3)

    @jax.jit
    def decode():
        next_logits = partial(text_gan.next_logits, params, cfg)
        carry = text_gan.init_carry(params, cfg, rows, label_B)
        start = jnp.zeros((rows, 1), jnp.int32)
        return tokens.decode(
            next_logits, carry, start, None, jnp.arange(rows), length=3, settings=filters.Sampling()
        )

    written, noise = write()
    assert noise.shape == (rows, 3, V)
    place = {text: i for i, text in enumerate(texts)}  # no other text is possible
    counts = np.array([
        np.bincount([place[tuple(row)] for row in np.asarray(drawn)], minlength=len(texts))
        for drawn in (written, decode()[0])
    ])  # fmt: skip
    common = rows * p > 10
    for counted in counts:
        seen = np.append(counted[common], counted[~common].sum())
        expected = rows * np.append(p[common], p[~common].sum())
        assert stats.chisquare(seen, expected / expected.sum() * rows).pvalue > 1e-3


def test_what_is_alive_ends_with_the_first_end():
    x = np.array([[1, 2, 0, 0], [0, 3, 1, 0], [4, 1, 2, 3], [0, 0, 0, 0]], np.int32)
    alive = [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    np.testing.assert_array_equal(text_gan._to_end(jnp.asarray(x)), alive)


# --- the discriminator ---------------------------------------------------------------------------


@jax.jit
def judged(part, x, mask, label):
    texts = text_gan.Texts(x, mask, label)
    return _reader.judge(part, settings_of("gumbel"), _reader.vectors(part, x), texts)


def judge(x, mask, label, part=None):
    return np.asarray(judged(part or begun("gumbel").params["discriminator"], x, mask, label))


def test_the_discriminator_reads_to_the_end_and_no_further():
    batch = make_batch()
    x, mask, label = batch["x"][:, 1:], batch["mask"], batch["condition"]
    before = judge(x, mask, label)
    assert before.shape == (B,) and before.dtype == np.float32
    np.testing.assert_array_equal(judge(np.where(mask > 0, x, 3), mask, label), before)
    for t in range(T):
        changed = judge(np.where(np.arange(T) == t, (x + 1) % V, x), mask, label) != before
        np.testing.assert_array_equal(changed, mask[:, t] > 0)
    one_hot = np.asarray(jax.nn.one_hot(x, V))
    np.testing.assert_allclose(judge(one_hot, mask, label), before, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(judge(x, mask, label[::-1]) != before, label[::-1] != label)
    assert np.isfinite(judge(x, 0 * mask, label)).all()  # rows that only pad


def test_no_label_is_told_as_minus_one():
    """It differs from every label, and adds nothing: the same as without classes."""
    batch = make_batch()
    x, mask = batch["x"][:, 1:], batch["mask"]
    *of_label, untold = (judge(x, mask, np.full(B, label, np.int32)) for label in (0, 1, -1))
    assert all((untold != each).all() for each in of_label)
    part = begun("gumbel").params["discriminator"]
    without = {name: leaf for name, leaf in part.items() if name != "embed_label"}
    np.testing.assert_allclose(judge(x, mask, None, without), untold, rtol=1e-5)


# --- the phases ----------------------------------------------------------------------------------


def moved(a, b):
    """The parts of which any leaf differs; each leaf of such a part must, but for labels that are
    withheld."""
    found = set()
    for part in a:
        old, new = (helpers.arrays(each[part]) for each in (a, b))
        changed = {
            leaf: bool((old[leaf] != new[leaf]).any()) for leaf in old if "label" not in leaf
        }
        assert len(set(changed.values())) == 1, (part, changed)
        found |= {part for leaf in changed if changed[leaf]}
    return found


@every
def test_phases_switch_exactly_at_their_steps(name):
    others = PARTS[name] - {"generator"}
    learning = [{"generator"}] * 2 + [others] * 2 + [PARTS[name]] * 2
    state = begun(name)
    for number, parts in enumerate(learning):
        new, metrics = compiled_step(name)(state, make_batch(seed=number), key(number))
        assert moved(state.params, new.params) == parts, number
        for part in PARTS[name]:
            old, count = (int(each.opt_state[part][0].count) for each in (state, new))
            updates = settings_of(name).discriminator_steps if part == "discriminator" else 1
            assert count - old == (updates if part in parts else 0)
        assert metrics["phase"] == number // 2
        assert {"loss", "grad_norm", "nats", "discriminator_loss"} <= metrics.keys()
        for metric, value in metrics.items():
            assert value.shape == () and np.isfinite(value), metric
        state = new.replace(step=state.step + 1)


def test_pretraining_is_that_of_the_lstm_family():
    state, batch = begun("gumbel"), make_batch()
    part, cfg = state.params["generator"], lstm.Config(width=8, depth=1)
    alone = lstm.init(key(0), cfg, SPEC, TX).replace(params=part)
    theirs, metrics = jax.jit(lstm.make_step(cfg, SPEC, TX))(alone, batch, key(3))
    ours, mine = after("gumbel", 0)
    np.testing.assert_allclose(mine["loss"], metrics["loss"], rtol=1e-6)
    ours, theirs = (helpers.arrays(each) for each in (ours.params["generator"], theirs.params))
    for leaf in theirs:
        np.testing.assert_allclose(ours[leaf], theirs[leaf], atol=1e-4, err_msg=leaf)


@both
def test_a_step_follows_from_its_key_alone(name):
    first, same, other = (helpers.arrays(after(name, 4, rng=rng)[0].params) for rng in (0, 0, 1))
    helpers.assert_same(first, same)
    assert any((first[leaf] != other[leaf]).any() for leaf in first)


@both
def test_the_game_alone_teaches_the_data(name):
    """All texts are `2 END`; maximum likelihood and pre-training do not help."""
    batch = {
        "x": np.tile(np.array([0, 2, 0, 0, 0], np.int32), (B, 1)),
        "mask": np.tile(np.array([1, 1, 0, 0], np.float32), (B, 1)),
        "condition": np.zeros(B, np.int32),
    }
    state = begun(name).replace(step=jnp.array(4, jnp.int32))
    before = nats(state.params, batch).mean()
    for number in range(100):
        state, _ = compiled_step(name)(state, batch, key(number))
        state = state.replace(step=state.step + 1)
    assert before > 1.5 > 0.5 > nats(state.params, batch).mean()


# --- evaluation ----------------------------------------------------------------------------------


def test_a_collapse_shows():
    batch, params = make_batch(64), begun("gumbel").params
    alive = evaluate(params, batch)
    head_bias = jnp.where(jnp.arange(V) == 3, 50.0, 0.0)  # always the same token
    flat = {**params, "generator": {**params["generator"], "head_bias": head_bias}}
    dead = evaluate(flat, batch)
    total = {name: [float(each[name].sum() / each["weight"].sum()) for each in (alive, dead)]
             for name in ("variety", "variety_of_data")}  # fmt: skip
    assert total["variety_of_data"][0] == total["variety_of_data"][1]
    assert total["variety"][0] > total["variety_of_data"][0] / 2
    assert total["variety"][1] < total["variety_of_data"][1] / 10
    for scores in (alive, dead):
        assert all(each.shape == (64,) and np.isfinite(each).all() for each in scores.values())
        assert "loss" not in scores  # or else the best checkpoint would be maximum likelihood's


def test_rows_that_pad_count_nothing():
    batch, half = make_batch(64), 32
    batch["x"][half:], batch["mask"][half:] = 0, 0
    scores = evaluate(begun("gumbel").params, batch)
    assert not any(np.asarray(each)[half:].any() for each in scores.values())
    share = scores["variety_of_data"][0] / scores["weight"][0]
    size_B = batch["mask"].astype(int).sum(1)
    runs = [
        tuple(row[i : i + 3])
        for row, size in zip(batch["x"][:, 1:], size_B, strict=True)
        for i in range(size - 2)
    ]
    np.testing.assert_allclose(share, len(set(runs)) / len(runs), rtol=1e-6)


# --- settings ------------------------------------------------------------------------------------


def test_withheld_labels_are_not_read():
    """With all of them withheld, another label changes nothing."""
    batch = make_batch()
    other = {**batch, "condition": 1 - batch["condition"]}
    for number in (0, 4):
        one, two = (after("transformer", number, each)[0] for each in (batch, other))
        helpers.assert_same(helpers.arrays(one.params), helpers.arrays(two.params))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"pretrain": -1}, "--model.pretrain is -1; choose 0"),
        ({"teacher": -0.5}, "--model.teacher"),
        ({"discriminator_steps": 0}, "--model.discriminator_steps is 0; choose 1"),
        ({"temperature_end": 0.0}, "--model.temperature_end is 0.0; choose above 0"),
        ({"penalised": 0.0}, "--model.penalised"),
        ({"label_dropout": 2.0}, "--model.label_dropout"),
    ],
)
def test_settings_outside_their_range(changes, words):
    with pytest.raises(UserError, match=words) as error:
        text_gan.init(key(0), settings_of("gumbel", **changes), SPEC, TX)
    assert "\n" not in str(error.value)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"--data\.order random"):
        stream = Spec(vocab=V, length=T, streams=B)
        text_gan.init(key(0), settings_of("gumbel"), stream, TX)
    with pytest.raises(UserError, match="a batch of 3 does not divide into 2"):
        text_gan.make_step(settings_of("policy"), SPEC, TX)(begun("policy"), make_batch(3), key(0))


def test_the_first_parameters_follow_from_the_key():
    name = "policy"
    init = jax.jit(lambda seed: text_gan.init(key(seed), settings_of(name), SPEC, TX).params)
    first, same, other = (helpers.arrays(init(seed)) for seed in (0, 0, 1))
    helpers.assert_same(first, same)
    assert {leaf.split("'")[1] for leaf in first} == PARTS[name]
    for leaf, value in first.items():
        assert value.dtype == np.float32 and np.isfinite(value).all()
        assert (value != other[leaf]).any() or "embed" not in leaf
