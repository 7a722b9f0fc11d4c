"""Adversarial network of text: a generator writes, a discriminator tells written from real.

    generator      tokens -> embedding -> LSTM -> dropout -> softmax over the vocabulary
    discriminator  tokens -> embedding -> dropout -> LSTM -> dropout -> mean over T -> sigmoid

One loop holds three phases, told apart by the number of the step, as in SeqGAN (Yu et al. 2017,
algorithm 1): the generator learns by maximum likelihood, then the discriminator alone learns to
tell its texts from the data, then each learns against the other.

No gradient passes through the choice of a token. Two ways around it:

    gumbel  straight-through Gumbel-softmax (Jang et al. 2017; for text RelGAN, Nie et al. 2019):
            the discriminator reads one-hot tokens, the gradient is that of a relaxation. As in
            RelGAN it does not flow through the tokens that the generator reads back.
    policy  REINFORCE (Williams 1992) with SeqGAN's reward, what the discriminator says of the
            finished text. SeqGAN estimates each token's part in it by T roll-outs a text; here a
            learned value of the text before the token is the baseline, without bias and T times
            cheaper.

Both need the generator twice: once token by token, without gradient, to write, and once over the
whole texts, with large products and a gradient.

Letters: B batch, T time, V vocabulary, C classes, D width, K state width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from creagen_jax.data.tokenizers import END
from creagen_jax.functional import adversarial
from creagen_jax.functional.attention import mask_to_end
from creagen_jax.functional.layers import cross_entropy
from creagen_jax.models import _decoder, _language, _reader, _recurrent
from creagen_jax.models._reader import Texts
from creagen_jax.types import Batch, Params, Spec, TrainState, UserError

KIND = "autoregressive"
HOST = False

CELL = _reader.CELL
RUN = 3  # tokens of the runs whose variety shows a collapse


class Generator(NamedTuple):
    """What a language model needs to be to play: a part of the family contract, and
    forward(params, batch, rng, carry) -> (logits_BTV, carry)."""

    init: Callable
    forward: Callable
    init_carry: Callable
    next_logits: Callable


GENERATORS = {
    "lstm": Generator(
        partial(_recurrent.init, CELL),
        partial(_recurrent.forward, CELL),
        partial(_recurrent.init_carry, CELL),
        partial(_recurrent.next_logits, CELL),
    ),
    "transformer": Generator(
        _decoder.init, _decoder.forward, _decoder.init_carry, _decoder.next_logits
    ),
}


@dataclasses.dataclass(frozen=True)
class Config(_decoder.Config):
    """Hyper-parameters of both networks and of their game. What the LSTM does not know (`heads`,
    `expand`, `context`, `position`) is for the Transformer alone."""

    generator: Literal["lstm", "transformer"] = "lstm"
    """The network that writes."""
    width: int = 256
    """Width of the generator: of its embedding and its states."""
    depth: int = 1
    """Layers of the generator."""
    discriminator_width: int = 128
    """K: units of the discriminator's embedding and state, and of the baseline's."""
    discriminator_dropout: float = 0.25
    """Share of units that it drops behind its embedding and behind its state."""
    pretrain: int = 1500
    """Steps of maximum likelihood, before all else."""
    warm: int = 100
    """Steps after them in which the discriminator learns alone."""
    method: Literal["gumbel", "policy"] = "gumbel"
    """How the generator learns from the discriminator in spite of the discrete tokens."""
    temperature_start: float = 1.0
    """gumbel: temperature of the relaxation in the first adversarial step."""
    temperature_end: float = 0.5
    """gumbel: temperature `anneal` adversarial steps later, and from then on."""
    anneal: int = 2000
    """gumbel: adversarial steps in which the temperature falls."""
    teacher: float = 1.0
    """Weight of maximum likelihood, in nats per token, beside the game: it holds the language."""
    loss: Literal["non_saturating", "relativistic"] = "non_saturating"
    """What both play for; see `functional/adversarial.py`."""
    r1: float = 1.0
    """gamma of R1: the discriminator's slope at real one-hot tokens, half of it in the loss."""
    r2: float = 0.0
    """gamma of R2: likewise, at generated tokens."""
    penalised: float = 0.25
    """Share of the batch that the penalties are taken at: the same mean, for less time."""
    discriminator_steps: int = 1
    """Updates of the discriminator in a step, each on a part of the batch."""
    discriminator_rate: float = 1.0
    """Learning rate of the discriminator, relative to the optimizer's."""
    generator_rate: float = 0.1
    """Learning rate of the generator in adversarial steps, relative to the optimizer's."""


# --- writing ------------------------------------------------------------------------------------


class Round(NamedTuple):
    """What one adversarial step is played with."""

    first_B: jax.Array  # the token before each text, END for lines
    real: Texts
    fake: Texts
    noise_BTV: jax.Array  # what chose the written tokens


def write(params: Params, cfg: Config, rng, first_B, label_B, length: int):
    """Texts that the generator writes behind the tokens `first_B`: `length` tokens of each
    [B, T] int32, END from the first END on, and the Gumbel noise [B, T, V] that chose them."""
    B, V = len(first_B), len(params["generator"]["embed"])
    noise_TBV = jax.random.gumbel(rng, (length, B, V))

    def step(state, noise_BV):
        carry, token_B, done_B = state
        logits_BV, carry = next_logits(params, cfg, carry, token_B)
        token_B = jnp.where(done_B, END, (logits_BV + noise_BV).argmax(-1)).astype(jnp.int32)
        return (carry, token_B, token_B == END), token_B

    start = init_carry(params, cfg, B, label_B), first_B, jnp.zeros(B, bool)
    _, tokens_TB = jax.lax.scan(step, start, noise_TBV)
    return tokens_TB.T, noise_TBV.swapaxes(0, 1)


def _to_end(tokens_BT):
    """1 up to and including the first END, 0 behind it, [B, T] float32."""
    return mask_to_end(tokens_BT, END).astype(jnp.float32)


def _begin(params: Params, cfg: Config, batch: Batch, rng) -> Round:
    """Writes a text beside each of the batch, of the same label."""
    first_B, truth_BT, label_B = batch["x"][:, 0], batch["x"][:, 1:], batch.get("condition")
    tokens_BT, noise_BTV = write(params, cfg, rng, first_B, label_B, truth_BT.shape[1])
    return Round(
        first_B,
        real=Texts(truth_BT, batch["mask"] * _to_end(truth_BT), label_B),
        fake=Texts(tokens_BT, _to_end(tokens_BT), label_B),
        noise_BTV=noise_BTV,
    )


# --- what each network minimises ----------------------------------------------------------------


def _likelihood_loss(part: Params, cfg: Config, batch: Batch, rng):
    """Mean nats per token of the data."""
    logits_BTV, _ = GENERATORS[cfg.generator].forward(cfg)(part, batch, rng, None)
    nats_BT = cross_entropy(logits_BTV, batch["x"][:, 1:], batch["mask"])
    return nats_BT.sum() / jnp.maximum(batch["mask"].sum(), 1.0)


def _discriminator_loss(part: Params, cfg: Config, real: Texts, fake: Texts, rng):
    both = jax.tree.map(lambda *two: jnp.concatenate(two), real, fake)
    logits = _reader.judge(part, cfg, _reader.vectors(part, both.tokens_BT), both, rng)
    real_B, fake_B = jnp.split(logits, 2)
    game, penalty = adversarial.LOSSES[cfg.loss].discriminator(real_B, fake_B), jnp.zeros([])
    some = max(round(cfg.penalised * len(real_B)), 1)
    for gamma, side in ((cfg.r1, real), (cfg.r2, fake)):
        if gamma:
            side = jax.tree.map(lambda leaf: leaf[:some], side)
            critic = partial(_reader.judge, part, cfg, texts=side)
            x_BTD = _reader.vectors(part, side.tokens_BT)
            penalty += gamma / 2 * adversarial.zero_centred_penalty(critic, x_BTD).mean()
    means = {"real_logit": real_B.mean(), "fake_logit": fake_B.mean()}
    return game + penalty, {"discriminator_loss": game, "penalty": penalty, **means}


def _reread(part: Params, cfg: Config, game: Round):
    """The generator's logits [B, T, V] along the texts that it has written."""
    x = jnp.concatenate([game.first_B[:, None], game.fake.tokens_BT], axis=1)
    batch = {"x": x} if game.fake.label_B is None else {"x": x, "condition": game.fake.label_B}
    return GENERATORS[cfg.generator].forward(cfg)(part, batch, None, None)[0].astype(jnp.float32)


def _gumbel_loss(part: Params, params: Params, cfg: Config, game: Round, progress):
    """What the generator minimises: its loss at the tokens that it wrote, with the gradient of
    softer ones."""
    temperature = adversarial.annealed(cfg.temperature_start, cfg.temperature_end, progress)
    scores_BTV = _reread(part, cfg, game) + game.noise_BTV
    soft_BTV = adversarial.straight_through(scores_BTV, temperature)
    judge = partial(_reader.judge, params["discriminator"], cfg)
    vectors = partial(_reader.vectors, params["discriminator"])
    real_B = judge(vectors(game.real.tokens_BT), game.real)
    fake_B = judge(vectors(soft_BTV), game.fake)
    return adversarial.LOSSES[cfg.loss].generator(real_B, fake_B)


def _policy_loss(part: Params, params: Params, cfg: Config, game: Round, progress):
    """Likewise, by the reward of each text less what was expected before each of its tokens."""
    del progress
    fake = game.fake
    log_prob_BT = -cross_entropy(_reread(part, cfg, game), fake.tokens_BT, fake.mask_BT)
    reward_BT, expected_BT = _reward(params, cfg, game), _expected(params["baseline"], cfg, game)
    return adversarial.policy_gradient_loss(log_prob_BT, reward_BT, expected_BT, fake.mask_BT)


def _reward(params: Params, cfg: Config, game: Round):
    """D(text) of each written text (Yu et al. 2017, eq. 2); in the relativistic game, the
    probability that it is more real than the real one beside it. [B, T]: it comes at the end, so it
    is what follows from each token."""
    part, loss = params["discriminator"], adversarial.LOSSES[cfg.loss]
    real_B, fake_B = (
        _reader.judge(part, cfg, _reader.vectors(part, texts.tokens_BT), texts)
        for texts in (game.real, game.fake)
    )
    # The generator's loss in either game is E -log of that probability.
    each_B = jax.vmap(lambda real, fake: loss.generator(real[None], fake[None]))(real_B, fake_B)
    return jnp.broadcast_to(jnp.exp(-each_B)[:, None], game.fake.mask_BT.shape)


def _expected(part: Params, cfg: Config, game: Round):
    """The reward that the baseline expects before each written token [B, T]."""
    before_BT = jnp.concatenate([game.first_B[:, None], game.fake.tokens_BT[:, :-1]], axis=1)
    return _reader.read(part, cfg, _reader.vectors(part, before_BT), game.fake.label_B)


def _baseline_loss(part: Params, params: Params, cfg: Config, game: Round):
    reward_BT = _reward(params, cfg, game)
    loss = adversarial.baseline_loss(_expected(part, cfg, game), reward_BT, game.fake.mask_BT)
    return loss, {"baseline_loss": loss, "reward": reward_BT[:, 0].mean()}


# --- the family contract ------------------------------------------------------------------------


def init(rng, cfg: Config, spec: Spec, tx) -> TrainState:
    """Raises UserError for settings outside their range, and data that goes on from batch to
    batch."""
    _check(cfg, spec)
    rngs = jax.random.split(rng, 3)
    params = {
        "generator": GENERATORS[cfg.generator].init(rngs[0], cfg, spec, tx).params,
        "discriminator": _reader.init(rngs[1], cfg, spec),
    }
    if cfg.method == "policy":
        params["baseline"] = _reader.init(rngs[2], cfg, spec)
    return TrainState(params, {name: tx.init(part) for name, part in params.items()})


def make_step(cfg: Config, spec: Spec, tx):
    generator_loss = {"gumbel": _gumbel_loss, "policy": _policy_loss}[cfg.method]

    def update(state: TrainState, name: str, grads, rate: float = 1.0) -> TrainState:
        updates, moments = tx.update(grads, state.opt_state[name], state.params[name])
        updates = jax.tree.map(lambda leaf: rate * leaf, updates)
        part = optax.apply_updates(state.params[name], updates)
        params, opt_state = {**state.params, name: part}, {**state.opt_state, name: moments}
        return state.replace(params=params, opt_state=opt_state)

    def learn_discriminator(state: TrainState, game: Round, rng):
        for i, key in enumerate(jax.random.split(rng, cfg.discriminator_steps)):
            cuts = [
                jax.tree.map(lambda leaf, i=i: jnp.split(leaf, cfg.discriminator_steps)[i], texts)
                for texts in (game.real, game.fake)
            ]
            gradient = jax.grad(_discriminator_loss, has_aux=True)
            grads, metrics = gradient(state.params["discriminator"], cfg, *cuts, key)
            state = update(state, "discriminator", grads, cfg.discriminator_rate)
        return state, metrics

    def learn_baseline(state: TrainState, game: Round):
        if cfg.method != "policy":
            return state, {}
        gradient = jax.grad(_baseline_loss, has_aux=True)
        grads, metrics = gradient(state.params["baseline"], state.params, cfg, game)
        return update(state, "baseline", grads), metrics

    # The phases: (state, batch, rng) -> (state, metrics).

    def pretrain(state: TrainState, batch: Batch, rng):
        part = state.params["generator"]
        nats, grads = jax.value_and_grad(_likelihood_loss)(part, cfg, batch, rng)
        metrics = {"loss": nats, "nats": nats, "grad_norm": optax.tree.norm(grads)}
        return update(state, "generator", grads), metrics

    def warm(state: TrainState, batch: Batch, rng):
        rngs = jax.random.split(rng)
        game = _begin(state.params, cfg, batch, rngs[0])
        state, metrics = learn_discriminator(state, game, rngs[1])
        state, more = learn_baseline(state, game)
        return state, {"loss": metrics["discriminator_loss"], **metrics, **more}

    def compete(state: TrainState, batch: Batch, rng):
        rngs = jax.random.split(rng, 3)
        # Both learn from the same written texts: to write them is much of the work.
        game = _begin(state.params, cfg, batch, rngs[0])
        state, metrics = learn_discriminator(state, game, rngs[1])
        progress = (state.step - cfg.pretrain - cfg.warm) / max(cfg.anneal, 1)

        def loss_fn(part):
            played = generator_loss(part, state.params, cfg, game, progress)
            nats = _likelihood_loss(part, cfg, batch, rngs[2]) if cfg.teacher else jnp.zeros([])
            return played + cfg.teacher * nats, {"loss": played, "nats": nats}

        grads, own = jax.grad(loss_fn, has_aux=True)(state.params["generator"])
        state = update(state, "generator", grads, cfg.generator_rate)
        # Only now: a baseline that knows the rewards of these texts would bias the gradient.
        state, more = learn_baseline(state, game)
        return state, {**metrics, **own, **more, "grad_norm": optax.tree.norm(grads)}

    def step(state: TrainState, batch: Batch, rng):
        if len(batch["x"]) % cfg.discriminator_steps:
            raise UserError(
                f"a batch of {len(batch['x'])} does not divide into {cfg.discriminator_steps} "
                "--model.discriminator_steps; choose a multiple"
            )
        if cfg.label_dropout:
            batch = _language.withhold(rng, batch, cfg.label_dropout)
        # All phases report the same metrics; one that has no meaning in a phase is 0.
        shapes = jax.eval_shape(compete, state, batch, rng)[1]
        zeros = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}

        def branch(phase):
            def run(*args):
                state, metrics = phase(*args)
                return state, {**zeros, **metrics}

            return run

        phase = jnp.sum(state.step >= jnp.array([cfg.pretrain, cfg.pretrain + cfg.warm]))
        branches = [branch(each) for each in (pretrain, warm, compete)]
        state, metrics = jax.lax.switch(phase, branches, state, batch, rng)
        return state, {**metrics, "phase": phase}

    return step


def eval_metrics(params: Params, cfg: Config, batch: Batch, rng):
    """How well the generator predicts held-out text, and how much its own texts vary.

    `nats` are sums over each example, `weight` the tokens counted. Not `loss`, by which the best
    checkpoint would be chosen: that is the one at the end of maximum likelihood. `variety` is the
    share of distinct runs of three tokens among all that a batch of generated texts holds, and
    `variety_of_data` that of the held-out texts beside them: a generator that collapses has far
    less. Both are the same for all rows, times `weight`.
    """
    forward = GENERATORS[cfg.generator].forward(cfg)
    scores = _language.eval_metrics(forward, params["generator"], batch)
    game, weight_B = _begin(params, cfg, batch, rng), scores["weight"]
    counts_B1 = (weight_B > 0)[:, None]  # not padding

    def variety(texts: Texts):
        n = min(RUN, texts.tokens_BT.shape[1])
        return adversarial.distinct(texts.tokens_BT, texts.mask_BT * counts_B1, n) * weight_B

    return {
        "nats": scores["loss"],
        "variety": variety(game.fake),
        "variety_of_data": variety(game.real),
        "weight": weight_B,
    }


def init_carry(params: Params, cfg: Config, n: int, condition_B):
    return GENERATORS[cfg.generator].init_carry(params["generator"], cfg, n, condition_B)


def next_logits(params: Params, cfg: Config, carry, token_B):
    return GENERATORS[cfg.generator].next_logits(params["generator"], cfg, carry, token_B)


def _check(cfg: Config, spec: Spec) -> None:
    """Raises UserError for settings outside their range, and data in one stream."""
    if spec.streams:
        raise UserError("text_gan writes whole examples; choose --data.order random")
    for name, least in {"pretrain": 0, "warm": 0, "teacher": 0, "discriminator_steps": 1}.items():
        if getattr(cfg, name) < least:
            raise UserError(f"--model.{name} is {getattr(cfg, name)}; choose {least} or more")
    for name in ("temperature_start", "temperature_end"):
        if getattr(cfg, name) <= 0:
            raise UserError(f"--model.{name} is {getattr(cfg, name)}; choose above 0")
    if not 0 < cfg.penalised <= 1:
        raise UserError(f"--model.penalised is {cfg.penalised}; choose above 0, to 1")
