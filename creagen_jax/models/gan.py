"""Generative adversarial networks of pictures (Goodfellow et al. 2014): a generator draws, a
discriminator tells drawn from real, each trained against the other.

The default is the baseline of Huang et al. 2024: relativistic pairing with the penalties R1 and R2,
residual networks without normalisation. A class enters the generator beside the latent, and the
discriminator by projection (Miyato & Koyama 2018).

Letters: B batch, Z latent, H W C picture, D width.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from creagen_jax import config
from creagen_jax.functional import adversarial
from creagen_jax.functional.convolution import (
    depth_to_space,
    double,
    halve,
    space_to_depth,
)
from creagen_jax.functional.embedding import embed
from creagen_jax.functional.layers import rms_norm
from creagen_jax.models._layers import Conv, Dense, cast
from creagen_jax.types import Batch, Params, Spec, TrainState, UserError

KIND = "latent"
HOST = False

SLOPE = 0.2  # of the leaky ReLU below zero


@dataclasses.dataclass(frozen=True)
class Config(config.Model):
    """Hyper-parameters of both networks and of their game."""

    latent: int = 64
    """Z: numbers that a picture is drawn from."""
    width: int = 64
    """D: channels at the highest resolution."""
    levels: tuple[int, ...] = (1, 2)
    """Resolutions, each half of the one before: their widths as multiples of D."""
    blocks: int = 1
    """Residual blocks at each resolution."""
    patch: int = 1
    """Pixels of the side of a square that becomes one place of the networks."""
    loss: Literal["minimax", "non_saturating", "hinge", "wasserstein", "relativistic"] = (
        "relativistic"
    )
    """What both play for; see `functional/adversarial.py`."""
    r1: float = 1.0
    """gamma of R1: the discriminator's slope at real pictures, half of it in the loss."""
    r2: float = 1.0
    """gamma of R2: likewise, at generated pictures."""
    gradient_penalty: float = 0.0
    """lambda of the gradient penalty between real and generated pictures; 10 for wasserstein."""
    penalised: float = 0.25
    """Share of the batch that the penalties are taken at: the same mean, for less time."""
    discriminator_steps: int = 1
    """Updates of the discriminator in a step, each on a part of the batch; 5 for wasserstein."""
    discriminator_rate: float = 1.0
    """Learning rate of the discriminator, relative to the generator's."""
    augment: tuple[str, ...] = ()
    """What hides details from the discriminator, for small data: color, translation, cutout."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type to compute in; parameters stay float32."""


class Block(nn.Module):
    """Residual block without normalisation; it starts as the identity."""

    width: int

    @nn.compact
    def __call__(self, x_BHWC):
        h = Conv(self.width)(nn.leaky_relu(x_BHWC, SLOPE))
        h = Conv(self.width, zero=True, bias=False)(nn.leaky_relu(h, SLOPE))
        if x_BHWC.shape[-1] != self.width:
            x_BHWC = Conv(self.width, kernel=1, bias=False)(x_BHWC)
        return x_BHWC + h


class Generator(nn.Module):
    """A latent, a class and what augmentation did, to a picture [B, H, W, C]."""

    cfg: Config
    smallest: tuple[int, int]  # h, w: the lowest resolution
    channels: int
    classes: int
    augment: int

    @nn.compact
    def __call__(self, z_BZ, label_B, augment_BA):
        cfg, normal = self.cfg, nn.initializers.normal
        shape = (*self.smallest, cfg.width * cfg.levels[-1])
        # Names with `embed` keep AdamW beside Muon: these are no matrices between hidden units.
        latent_ZhwD = self.param("embed_latent", normal(cfg.latent**-0.5), (cfg.latent, *shape))
        x = jnp.einsum("bz,zhwd->bhwd", rms_norm(z_BZ), latent_ZhwD)
        if self.classes:
            x += self.param("embed_label", normal(1.0), (self.classes, *shape))[label_B]
        if self.augment:
            table_AhwD = self.param("embed_augment", normal(1.0), (self.augment, *shape))
            x += jnp.einsum("ba,ahwd->bhwd", augment_BA, table_AhwD)
        for level in reversed(range(len(cfg.levels))):
            width = cfg.width * cfg.levels[level]
            if level < len(cfg.levels) - 1:
                # Narrowed before it is enlarged, which costs a quarter.
                x = double(Conv(width, kernel=1, bias=False)(x))
            for _ in range(cfg.blocks):
                x = Block(width)(x)
        x = Conv(self.channels * cfg.patch**2, name="head")(nn.leaky_relu(x, SLOPE))
        return depth_to_space(x, cfg.patch)  # no tanh: where it is flat, a generator learns nothing


class Discriminator(nn.Module):
    """A picture, its class and what augmentation did to it, to a logit [B]: high for real."""

    cfg: Config
    classes: int
    augment: int

    @nn.compact
    def __call__(self, x_BHWC, label_B, augment_BA):
        cfg = self.cfg
        x = Conv(cfg.width * cfg.levels[0], name="in")(space_to_depth(x_BHWC, cfg.patch))
        for level, factor in enumerate(cfg.levels):
            width = cfg.width * factor
            if level:
                x = Conv(width, kernel=1, bias=False)(halve(x))
            for _ in range(cfg.blocks):
                x = Block(width)(x)
        x_BD = Dense(4 * cfg.width, name="out")(nn.leaky_relu(x, SLOPE).reshape(len(x), -1))
        x_BD = nn.leaky_relu(x_BD, SLOPE)
        width, normal = x_BD.shape[-1], nn.initializers.normal
        told_BD = self.param("embed_none", normal(1.0), (1, width))
        if self.classes:
            table_CD = self.param("embed_label", normal(1.0), (self.classes, width))
            told_BD += embed(table_CD, label_B)
        if self.augment:
            told_BD += augment_BA @ self.param("embed_augment", normal(1.0), (self.augment, width))
        return jnp.sum(x_BD * told_BD, axis=-1) * width**-0.5


def _networks(cfg: Config, params: Params) -> tuple[Generator, Discriminator]:
    """The networks that parameters belong to, which tell the shapes."""
    part = params["generator"]
    h, w = part["embed_latent"].shape[1:3]
    channels = len(part["head"]["b"]) // cfg.patch**2
    told = [len(part[name]) if name in part else 0 for name in ("embed_label", "embed_augment")]
    return Generator(cfg, (h, w), channels, *told), Discriminator(cfg, *told)


def _generate(params: Params, cfg: Config, z_BZ, label_B, augment_BA):
    network, _ = _networks(cfg, params)
    if augment_BA is None:
        augment_BA = jnp.zeros((len(z_BZ), network.augment))
    variables = {"params": cast(params["generator"], cfg.dtype)}
    told = label_B, augment_BA.astype(cfg.dtype)
    return network.apply(variables, z_BZ.astype(cfg.dtype), *told).astype(jnp.float32)


def _critic(params: Params, cfg: Config, label_B, augment_BA):
    """The discriminator of pictures with these labels: critic(x) -> logits."""
    _, network = _networks(cfg, params)
    variables = {"params": cast(params["discriminator"], cfg.dtype)}
    told_BA = None if augment_BA is None else augment_BA.astype(cfg.dtype)

    def critic(x_BHWC):
        logit_B = network.apply(variables, x_BHWC.astype(cfg.dtype), label_B, told_BA)
        return logit_B.astype(jnp.float32)

    return critic


# --- the family contract ------------------------------------------------------------------------


def init(rng, cfg: Config, spec: Spec, tx) -> TrainState:
    _check(cfg, spec)
    H, W, C = spec.shape
    smallest = H // _factor(cfg), W // _factor(cfg)
    told = jnp.zeros(1, jnp.int32), jnp.zeros((1, spec.augment))
    generator = Generator(cfg, smallest, C, spec.classes, spec.augment)
    discriminator = Discriminator(cfg, spec.classes, spec.augment)
    rngs = jax.random.split(rng)
    params = {
        "generator": generator.init(rngs[0], jnp.zeros((1, cfg.latent)), *told)["params"],
        "discriminator": discriminator.init(rngs[1], jnp.zeros((1, H, W, C)), *told)["params"],
    }
    return TrainState(params, {name: tx.init(each) for name, each in params.items()})


def make_step(cfg: Config, spec: Spec, tx):
    loss = adversarial.LOSSES[cfg.loss]

    def draw(params, rng, batch: Batch):
        z_BZ = jax.random.normal(rng, (len(batch["x"]), cfg.latent))
        return _generate(params, cfg, z_BZ, batch.get("condition"), batch.get("augment"))

    def see(params, rng, batch: Batch, fake):
        """The logits of real and generated pictures [B], [B], under the same augmentation."""
        critic = _critic(params, cfg, batch.get("condition"), batch.get("augment"))
        return tuple(critic(adversarial.augment(rng, x, cfg.augment)) for x in (batch["x"], fake))

    def penalties(params, rng, batch: Batch, fake):
        some = max(round(cfg.penalised * len(fake)), 1)
        batch = {key: value[:some] for key, value in batch.items()}
        real, fake = (adversarial.augment(rng, x, cfg.augment) for x in (batch["x"], fake[:some]))
        critic = _critic(params, cfg, batch.get("condition"), batch.get("augment"))
        total = 0.0
        if cfg.r1:
            total += cfg.r1 / 2 * adversarial.zero_centred_penalty(critic, real).mean()
        if cfg.r2:
            total += cfg.r2 / 2 * adversarial.zero_centred_penalty(critic, fake).mean()
        if cfg.gradient_penalty:
            slopes_B = adversarial.gradient_penalty(rng, critic, real, fake)
            total += cfg.gradient_penalty * slopes_B.mean()
        return total

    def discriminator_loss(part, params, rng, batch: Batch):
        params = {**params, "discriminator": part}
        rngs = jax.random.split(rng, 3)
        fake = jax.lax.stop_gradient(draw(params, rngs[0], batch))
        real_B, fake_B = see(params, rngs[1], batch, fake)
        game = loss.discriminator(real_B, fake_B)
        penalty = penalties(params, rngs[2], batch, fake)
        return game + penalty, {
            "discriminator_loss": game,
            "penalty": penalty,
            "real_logit": real_B.mean(),
            "fake_logit": fake_B.mean(),
        }

    def generator_loss(part, params, rng, batch: Batch):
        params = {**params, "generator": part}
        rngs = jax.random.split(rng)
        return loss.generator(*see(params, rngs[1], batch, draw(params, rngs[0], batch)))

    def update(name: str, params, opt_state, grads, rate: float = 1.0):
        updates, new = tx.update(grads, opt_state[name], params[name])
        updates = jax.tree.map(lambda leaf: rate * leaf, updates)
        part = optax.apply_updates(params[name], updates)
        return {**params, name: part}, {**opt_state, name: new}

    def step(state: TrainState, batch: Batch, rng):
        rng_d, rng_g = jax.random.split(rng)
        n = cfg.discriminator_steps
        if len(batch["x"]) % n:
            raise UserError(
                f"a batch of {len(batch['x'])} does not divide into {n} "
                "--model.discriminator_steps; choose a multiple"
            )
        cuts = {key: jnp.split(value, n) for key, value in batch.items()}
        parts = [{key: cut[i] for key, cut in cuts.items()} for i in range(n)]
        params, opt_state = state.params, state.opt_state
        # Not a scan: on a CPU, the gradients of convolutions take ten times as long in one.
        for part, key in zip(parts, jax.random.split(rng_d, n), strict=True):
            grads, metrics = jax.grad(discriminator_loss, has_aux=True)(
                params["discriminator"], params, key, part
            )
            params, opt_state = update(
                "discriminator", params, opt_state, grads, cfg.discriminator_rate
            )
        value, grads = jax.value_and_grad(generator_loss)(params["generator"], params, rng_g, part)
        params, opt_state = update("generator", params, opt_state, grads)
        metrics |= {"loss": value, "grad_norm": optax.tree.norm(grads)}
        return state.replace(params=params, opt_state=opt_state), metrics

    return step


def eval_metrics(params: Params, cfg: Config, batch: Batch, rng):
    """How far as many samples are from held-out pictures, and how much they vary.

    A GAN gives its data no likelihood. `energy_distance` (Szekely & Rizzo 2013) compares pictures
    by the root-mean-square distance d of their pixels, 2 d(x, g) - d(x, x') - d(g, g'): 0 if
    samples and data are alike. `variety` is d(g, g'), `variety_of_data` d(x, x'): a generator that
    collapses has far less variety. Each is given as [B] sums over the pairs of a row.
    """
    x, mask_B = batch["x"], batch["mask"]
    label_B = batch.get("condition")
    z_BZ = jax.random.normal(rng, (len(x), cfg.latent))
    fake = generate(params, cfg, z_BZ, label_B)
    pair_BB = mask_B[:, None] * mask_B * (1 - jnp.eye(len(x)))
    pairs = jnp.maximum(pair_BB.sum(1), 1)

    def mean_distance(a, b):
        return (adversarial.distances(a, b) * pair_BB).sum(1) / pairs * mask_B

    between_B, real_B, fake_B = (mean_distance(*two) for two in ((x, fake), (x, x), (fake, fake)))
    return {
        "energy_distance": 2 * between_B - real_B - fake_B,
        "variety": fake_B,
        "variety_of_data": real_B,
        "weight": mask_B,
    }


def generate(params: Params, cfg: Config, z_BZ, condition_B):
    """Pictures [B, H, W, C] in -1 .. 1 of latents [B, Z], which are standard normal in training."""
    return _generate(params, cfg, z_BZ, condition_B, None)


def _factor(cfg: Config) -> int:
    """Pixels of a picture's side for one place at the lowest resolution."""
    return cfg.patch * 2 ** (len(cfg.levels) - 1)


def _check(cfg: Config, spec: Spec) -> None:
    """Raises UserError for networks that do not fit the pictures."""
    if len(spec.shape) != 3:
        raise UserError("gan draws pictures, and these data are clips: choose diffusion")
    H, W, _ = spec.shape
    if cfg.patch < 1 or H % _factor(cfg) or W % _factor(cfg):
        raise UserError(
            f"pictures of {H} x {W} cannot be halved {len(cfg.levels) - 1} times in patches of "
            f"{cfg.patch}; choose other --model.levels or --model.patch, or --data.height and "
            f"--data.width as multiples of {_factor(cfg)}"
        )
    if not 0 < cfg.penalised <= 1:
        raise UserError(f"--model.penalised is {cfg.penalised}; choose above 0, to 1")
    if cfg.discriminator_steps < 1:
        raise UserError(
            f"--model.discriminator_steps is {cfg.discriminator_steps}; choose 1 or more"
        )
    adversarial.augmentations(cfg.augment)
