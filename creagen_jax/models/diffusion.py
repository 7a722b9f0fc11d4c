"""Diffusion (Sohl-Dickstein et al. 2015; Song & Ermon 2019; Ho et al. 2020) as Karras et al. 2022
put it: a denoiser trained by denoising score matching at all noise levels; and flow matching.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from creagen_jax import config
from creagen_jax.data.tokenizers import END
from creagen_jax.functional import diffusion
from creagen_jax.functional.embedding import embed
from creagen_jax.models import _captions
from creagen_jax.models._dit import DiT
from creagen_jax.models._layers import Dense, cast
from creagen_jax.models._unet import UNet
from creagen_jax.types import Batch, Params, Spec, TrainState, UserError

KIND = "diffusion"
HOST = False

NETWORKS = {"unet": UNet, "dit": DiT}
LEVELS = 4  # noise levels at which the loss of a held-out example is taken


@dataclasses.dataclass(frozen=True)
class Config(config.Model):
    """Hyper-parameters of the denoiser, its training noise and its conditions."""

    network: Literal["unet", "dit"] = "unet"
    """Convolutions at several resolutions, or a Transformer over patches."""
    width: int = 64
    """D: channels at the highest resolution of the U-Net, or of each token."""
    levels: tuple[int, ...] = (1, 2)
    """Resolutions of the U-Net, each half of the one before: their widths as multiples of D."""
    blocks: int = 1
    """Residual blocks at each resolution, on the way down and again on the way up."""
    depth: int = 6
    """Blocks of the Transformer."""
    heads: int = 4
    """Attention heads."""
    patch: int = 1
    """Pixels of the side of a square that becomes one place of the network."""
    dropout: float = 0.0
    """Share of units dropped within the U-Net's blocks."""
    objective: Literal["edm", "flow"] = "edm"
    """Target of the network: Karras et al. 2022, or the velocity of flow matching."""
    sigma_data: float = 0.5
    """Standard deviation of the data, which lie in -1 .. 1; for edm."""
    noise_mean: float = -1.2
    """Mean of ln sigma in training; -1.2 is usual for edm, 0 for flow."""
    noise_std: float = 1.2
    """Standard deviation of ln sigma in training; 1.2 is usual for edm, 1 for flow."""
    label_dropout: float = 0.1
    """Share of examples whose class is withheld, so that guidance has an unconditional model."""
    source_depth: int = 2
    """Layers of the Transformer that reads sources, if the data have any."""
    source_dropout: float = 0.1
    """Share of examples whose source is withheld, likewise."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type to compute in; parameters stay float32."""


class Network(nn.Module):
    """F of eq. 7, with the noise level, the condition (or none) and the augmentation told to it.

    The condition is a class [B], or a source [B, S]: its summary is told, and the network looks at
    all of it. x is pictures [B, H, W, C], or clips [B, F, H, W, C], whose frames are told the same.
    """

    cfg: Config
    classes: int
    source_vocab: int
    augment: int

    @nn.compact
    def __call__(self, x, noise_B, condition_B, augment_BA, rng):
        cfg, dtype, context = self.cfg, x.dtype, None
        width = _told_width(cfg)
        told_BE = Dense(width, name="noise")(_waves(noise_B, cfg.width).astype(dtype))
        if self.classes:  # the last row stands for no class
            normal = nn.initializers.normal(1.0)
            label_CE = self.param("embed_label", normal, (self.classes + 1, width))
            told_BE += embed(label_CE, condition_B)
        if self.source_vocab:
            size = _captions.Size(width, cfg.source_depth, cfg.heads)
            context = _captions.Encoder(size, self.source_vocab, name="encoder")(condition_B)
            summary_BE = _captions.summary(*context)
            told_BE += Dense(width, use_bias=False, name="summary")(summary_BE)
        if self.augment:
            told_BE += Dense(width, use_bias=False, name="augment")(augment_BA.astype(dtype))
        told_BE = nn.silu(Dense(width, name="told")(nn.silu(told_BE)))
        frames = x.shape[1] if x.ndim == 5 else 1
        told_BE, context = jax.tree.map(lambda a: a.repeat(frames, 0), (told_BE, context))
        network = NETWORKS[cfg.network](cfg, frames, name="network")
        return network(x.reshape(-1, *x.shape[-3:]), told_BE, rng, context).reshape(x.shape)


def _told_width(cfg: Config) -> int:
    """E: width of what the network is told."""
    return cfg.width * (4 if cfg.network == "unet" else 1)


def _waves(noise_B, width: int):
    """Sines and cosines of c_noise at `width` / 2 frequencies (Vaswani et al. 2017, as for
    positions): [B, width]."""
    frequency = jnp.exp(jnp.linspace(0, jnp.log(100.0), width // 2))
    angle = noise_B[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def _denoise(params: Params, cfg: Config, p, y, condition_B, augment_BA, rng):
    """D(y; sigma), given the preconditioning p of sigma."""
    embed_CE, augment_AE = params.get("embed_label"), params.get("augment")
    classes = 0 if embed_CE is None else len(embed_CE) - 1
    source_vocab = len(params["encoder"]["embed"]) if "encoder" in params else 0
    augment = 0 if augment_AE is None else len(augment_AE["kernel"])
    if augment and augment_BA is None:
        augment_BA = jnp.zeros((len(y), augment))
    if classes and condition_B is None:
        condition_B = jnp.full(len(y), classes)
    if source_vocab and condition_B is None:
        condition_B = jnp.full((len(y), 1), END)
    network, cast_params = Network(cfg, classes, source_vocab, augment), cast(params, cfg.dtype)

    def F(x, noise_B):
        x = x.astype(cfg.dtype)
        out = network.apply({"params": cast_params}, x, noise_B, condition_B, augment_BA, rng)
        return out.astype(jnp.float32)

    return diffusion.precondition(F, p, y)


def _error(params: Params, cfg: Config, x, sigma_B, noise, condition_B, augment_BA, rng):
    """Weighted squared error of each example [B]."""
    p = diffusion.PRECONDITIONS[cfg.objective](sigma_B, cfg.sigma_data)
    y = x + sigma_B.reshape(-1, *(1,) * (x.ndim - 1)) * noise
    return diffusion.weighted_error(p, _denoise(params, cfg, p, y, condition_B, augment_BA, rng), x)


# --- the family contract ------------------------------------------------------------------------


def init(rng, cfg: Config, spec: Spec, tx) -> TrainState:
    _check(cfg, spec)
    network = Network(cfg, spec.classes, spec.source_vocab, spec.augment)
    x, augment_BA = jnp.zeros((1, *spec.shape)), jnp.zeros((1, spec.augment))
    condition_B = jnp.zeros((1, spec.source) if spec.source else 1, jnp.int32)
    params = network.init(rng, x, jnp.zeros(1), condition_B, augment_BA, None)
    return TrainState.create(params["params"], tx)


def make_step(cfg: Config, spec: Spec, tx):
    def loss_fn(params: Params, batch: Batch, rng):
        x = batch["x"]
        keys = jax.random.split(rng, 4)
        sigma_B = diffusion.noise_levels(keys[0], len(x), cfg.noise_mean, cfg.noise_std)
        noise = jax.random.normal(keys[1], x.shape)
        condition_B = batch.get("condition")
        if condition_B is not None:
            withheld_B = jax.random.bernoulli(keys[2], cfg.label_dropout, (len(x),))
            condition_B = jnp.where(withheld_B, spec.classes, condition_B)
        if spec.source:
            withheld_B = jax.random.bernoulli(keys[2], cfg.source_dropout, (len(x),))
            condition_B = jnp.where(withheld_B[:, None], END, batch["source"])
        augment_BA = batch.get("augment")
        return _error(params, cfg, x, sigma_B, noise, condition_B, augment_BA, keys[3]).mean()

    def step(state: TrainState, batch: Batch, rng):
        loss, grads = jax.value_and_grad(loss_fn)(state.params, batch, rng)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = state.replace(params=params, opt_state=opt_state)
        return state, {"loss": loss, "grad_norm": optax.tree.norm(grads)}

    return step


def eval_metrics(params: Params, cfg: Config, batch: Batch, rng):
    """`loss` of each example: the mean over LEVELS noise levels, the same every time."""
    x = batch["x"]
    share = (jnp.arange(LEVELS) + 0.5) / LEVELS
    sigmas = jnp.exp(cfg.noise_mean + cfg.noise_std * jax.scipy.special.ndtri(share))

    def at(sigma, rng):
        noise = jax.random.normal(rng, x.shape)
        sigma_B = jnp.full(len(x), sigma)
        condition_B = batch.get("source", batch.get("condition"))
        return _error(params, cfg, x, sigma_B, noise, condition_B, batch.get("augment"), None)

    errors_LB = jax.lax.map(lambda each: at(*each), (sigmas, jax.random.split(rng, LEVELS)))
    return {"loss": errors_LB.mean(0) * batch["mask"], "weight": batch["mask"]}


def denoise(params: Params, cfg: Config, x, sigma_B, condition_B):
    """The estimate of the clean x. `condition_B` is a class [B], a source [B, S], or None; the
    number of classes is no class, and END alone is no source."""
    p = diffusion.PRECONDITIONS[cfg.objective](sigma_B, cfg.sigma_data)
    return _denoise(params, cfg, p, x, condition_B, None, None)


def _check(cfg: Config, spec: Spec) -> None:
    """Raises UserError for a network that does not fit the pictures or clips."""
    *frames, H, W, _ = spec.shape
    if cfg.patch < 1 or H % cfg.patch or W % cfg.patch:
        raise UserError(
            f"--model.patch {cfg.patch} does not divide pictures of {H} x {W}; choose a divisor"
        )
    width = cfg.width * (cfg.levels[-1] if cfg.network == "unet" else 1)
    if width % cfg.heads:
        raise UserError(f"--model.heads {cfg.heads} does not divide a width of {width}")
    widths = [cfg.width * each for each in cfg.levels] if cfg.network == "unet" else [cfg.width]
    if frames and any(width % (2 * cfg.heads) for width in widths):
        raise UserError(
            f"--model.width {cfg.width}: of clips, twice --model.heads {cfg.heads} must divide "
            "every width"
        )
    for name in ("label_dropout", "source_dropout"):
        if not 0 <= getattr(cfg, name) <= 1:
            raise UserError(f"--model.{name} is {getattr(cfg, name)}; choose 0 to 1")
    if spec.source and (cfg.width % cfg.heads or _told_width(cfg) // cfg.heads % 2):
        raise UserError(
            f"--model.width {cfg.width} must be an even multiple of --model.heads {cfg.heads}"
        )
    if spec.source and spec.classes:
        raise UserError("diffusion is told classes or sources, not both: choose data with one")
