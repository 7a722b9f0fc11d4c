"""A run directory in, samples out, where samples are arrays: of diffusion models and of GANs."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from creagen_jax import config, generation, models
from creagen_jax.data.tokenizers import END
from creagen_jax.generation import Model
from creagen_jax.sampling import solvers
from creagen_jax.sampling.tokens import keys_from_seeds
from creagen_jax.types import UserError

BATCH = 64  # samples drawn at once
WALK = 12  # pictures of a walk from one latent to the next
SHOWN = 80  # samples to watch training by
QUICK = solvers.Solving(solver="dpmpp_2m", steps=12)  # for these


@dataclasses.dataclass(frozen=True)
class Denoising(config.Request):
    """What is asked of a diffusion model."""

    sampling: Annotated[solvers.Solving, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=solvers.Solving
    )
    prompt: tuple[str, ...] = ()
    """What to draw, for models that read captions; the samples take several in turn, and without
    any those held-out captions that the run keeps. @FILE reads one a line."""
    image: str = ""
    """A picture to start from, or to paint in."""
    strength: float = 1.0
    """Of --image without --mask: 0 leaves the picture, 1 draws from noise alone."""
    mask: str = ""
    """A picture that is white where --image is to be painted anew."""
    first: int = 0
    """Of --image, a clip or a picture, the first frames that stay, where samples are clips: they go
    on from there."""


@dataclasses.dataclass(frozen=True)
class Truncation:
    """How a latent is drawn."""

    truncation: float = 1.0
    """Scale of the latent (Brock et al. 2019): below 1 more typical pictures and fewer kinds."""


@dataclasses.dataclass(frozen=True)
class Drawing(config.Request):
    """What is asked of a GAN."""

    sampling: Annotated[Truncation, tyro.conf.arg(name="")] = Truncation()


REQUESTS = {"diffusion": Denoising, "latent": Drawing}


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples of one batch, and all that is needed to draw them again."""

    images: np.ndarray  # [B, H, W, C] uint8; or as the codec decodes what is no picture
    labels: np.ndarray | None  # [B] int32; None for a model without classes
    prompts: tuple[str, ...] | None  # [B]; None for a model that reads none
    seeds: np.ndarray  # [B]
    settings: dict[str, Any]
    frames: np.ndarray | None = None  # [B, F, H, W, C] uint8: how each came about, if asked for

    def about(self, codec) -> list[dict[str, str]]:
        """Text fields for the file of each sample: its settings as JSON, its seed, and what it
        was asked for."""
        settings = json.dumps(self.settings, ensure_ascii=False)
        fields = [{"creagen_jax": settings, "seed": str(seed)} for seed in self.seeds]
        if self.labels is not None:
            for each, label in zip(fields, self.labels, strict=True):
                each["label"] = codec.labels[label]
        if self.prompts is not None:
            for each, prompt in zip(fields, self.prompts, strict=True):
                each["prompt"] = prompt
        return fields


def draw(
    model: Model, request: Denoising | Drawing, *, num: int, seed: int, frames: int = 0
) -> Iterator[Samples]:
    """`num` samples, batch by batch, with the seeds seed, seed + 1, ...; each depends on its own.

    `frames` asks a diffusion model for that many of its estimates on the way. Raises UserError for
    an unknown label, prompts that cannot be read, files that are no pictures, and settings out of
    range.
    """
    if num < 1:
        raise UserError(f"--num is {num}; choose 1 or more")
    config.check_seed(seed, num)
    if request.label:
        model.codec.label_id(request.label)
    _check_prompts(model, request)
    return _batches(model, request, _ways(model, request, frames), num, seed)


def _ways(model: Model, request: Denoising | Drawing, frames: int):
    """(keys_B, condition_B) -> x, or x and frames; whatever is wrong with the request comes out."""
    if models.get(model.family).KIND == "latent":
        if not 0 <= request.sampling.truncation < np.inf:
            raise UserError(
                f"--truncation is {request.sampling.truncation}; choose 0 or more; 1 is usual"
            )
        return partial(_from_latent, model, request)
    solvers.validate(request.sampling)
    if request.sampling.guidance != 1:
        asked = f"--guidance {request.sampling.guidance:g}"
        reads = generation.reads_source(model.codec)
        if not reads and not model.codec.labels:
            raise UserError(
                f"{asked} needs a model with classes; this one was trained without labels: "
                "leave it at 1"
            )
        dropout = "source_dropout" if reads else "label_dropout"
        if not getattr(model.cfg, dropout):
            raise UserError(
                f"{asked} needs a model that was also trained without its condition (--model."
                f"{dropout} above 0): leave it at 1"
            )
    if request.mask and not request.image:
        raise UserError("--mask needs --image, the picture to paint in")
    if request.first and (not request.image or request.mask):
        raise UserError("--first needs --image, the clip to go on from, and no --mask")
    if not 0 <= request.strength <= 1:
        raise UserError(f"--strength is {request.strength}; choose 0 to 1")
    if request.strength != 1 and (not request.image or request.mask or request.first):
        raise UserError("--strength goes with --image, and not with --mask or --first")
    image = jnp.asarray(model.codec.read(request.image)) if request.image else None
    mask = jnp.asarray(model.codec.read_mask(request.mask)) if request.mask else None
    if request.first:
        if not hasattr(model.codec, "mask_behind"):
            raise UserError("--first is for models of video")
        mask = jnp.asarray(model.codec.mask_behind(request.first))
    how = _How(model.family, model.cfg, model.codec.shape, request.sampling, request.strength)
    return partial(_from_noise, how, frames, model.params, image, mask, len(model.codec.labels))


def _check_prompts(model: Model, request: Denoising | Drawing) -> None:
    """Raises UserError for prompts that the model cannot read."""
    prompts = getattr(request, "prompt", ())
    if prompts and not generation.reads_source(model.codec):
        raise UserError("--prompt is for models that read captions; this one reads none")
    for prompt in prompts:
        if not prompt.strip():
            raise UserError("--prompt is empty; name what to draw")
        model.codec.encode_source(prompt)


def _prompts_of(model: Model, request: Denoising | Drawing, seeds) -> tuple[str, ...] | None:
    """The prompt of each sample, by its seed; None for a model that reads none."""
    if not generation.reads_source(model.codec) or not isinstance(request, Denoising):
        return None
    prompts = request.prompt or model.codec.examples
    return tuple(prompts[seed % len(prompts)] for seed in seeds)


def _condition(model: Model, labels, prompts):
    """What a model is told of each sample: [B] labels, or [B, S] sources; None for neither."""
    if prompts is not None:
        return jnp.asarray(np.stack([model.codec.encode_source(prompt) for prompt in prompts]))
    return None if labels is None else jnp.asarray(labels)


def _batches(model, request, way, num: int, seed: int) -> Iterator[Samples]:
    settings = {
        **dataclasses.asdict(request.sampling),
        **{name: value for name, value in vars(request).items() if name != "sampling"},
        "family": model.family,
        "checkpoint": model.step,
    }
    size = min(num, BATCH)  # the last batch draws more than is asked for, but compiles nothing new
    for first in range(0, num, size):
        seeds = seed + first + np.arange(size)
        labels = generation.labels_of(model.codec, request.label, seeds)
        prompts = _prompts_of(model, request, seeds)
        condition_B = _condition(model, labels, prompts)
        x, frames = way(keys_from_seeds(jnp.asarray(seeds)), condition_B)
        kept = slice(num - first)
        yield Samples(
            images=model.codec.decode(x)[kept],
            labels=None if labels is None else labels[kept],
            prompts=None if prompts is None else prompts[kept],
            seeds=seeds[kept],
            settings=settings,
            frames=None if frames is None else model.codec.decode(frames)[kept],
        )


@dataclasses.dataclass(frozen=True)
class _How:
    """All that is static in denoising: hashable, so that each is compiled once."""

    family: str
    cfg: config.Model
    shape: tuple[int, ...]
    sampling: solvers.Solving
    strength: float


@partial(jax.jit, static_argnums=(0, 1, 5))
def _from_noise(how: _How, frames: int, params, image, mask, classes: int, keys_B, condition_B):
    settings, B = how.sampling, len(keys_B)
    sigmas = solvers.levels(settings)
    x = solvers.initial(keys_B, how.shape, settings.sigma_max)
    known = None
    if image is not None:
        images = jnp.broadcast_to(image, (B, *how.shape))
        if mask is None:
            x, sigmas = solvers.start(images, how.strength, sigmas, keys_B)
        else:
            known = (images, jnp.broadcast_to(mask, (B, *mask.shape)))
    denoise = partial(models.get(how.family).denoise, params, how.cfg)
    none_B = None
    if condition_B is not None:  # END alone is no source
        none_B = jnp.full_like(condition_B, END if condition_B.ndim == 2 else classes)
    guided = solvers.guided(denoise, condition_B, none_B, settings)
    found = solvers.solve(guided, x, sigmas, keys_B, settings, known=known, trajectory=frames)
    return found if frames else (found, None)


def _from_latent(model: Model, request: Drawing, keys_B, labels_B):
    z_BZ = _latents(keys_B, model.cfg.latent, request.sampling.truncation)
    return _generate(model.family, model.cfg, model.params, z_BZ, labels_B), None


@partial(jax.jit, static_argnums=1)
def _latents(keys_B, width: int, truncation: float):
    """Standard normal latents [B, Z], each from its own key, scaled by the truncation."""
    return truncation * jax.vmap(lambda key: jax.random.normal(key, (width,)))(keys_B)


@partial(jax.jit, static_argnums=(0, 1))
def _generate(family: str, cfg, params, z_BZ, labels_B):
    return models.get(family).generate(params, cfg, z_BZ, labels_B)


# --- looking ------------------------------------------------------------------------------------


def film(model: Model, request, *, num: int, seed: int, frames: int) -> Iterator[np.ndarray]:
    """The frames of an animation, [N, H, W, C] uint8 each.

    Of a diffusion model: what it takes the `num` samples to be, from noise to the end. Of a GAN: a
    walk through `num` latents and back to the first, one picture [1, H, W, C] a frame.
    """
    if models.get(model.family).KIND == "latent":
        yield from _walk(model, request, num, seed)
        return
    parts = list(draw(model, request, num=num, seed=seed, frames=frames))
    frames_NF = np.concatenate([part.frames for part in parts])
    yield from frames_NF.swapaxes(0, 1)
    yield np.concatenate([part.images for part in parts])


def _walk(model: Model, request: Drawing, num: int, seed: int) -> Iterator[np.ndarray]:
    seeds = seed + np.arange(num)
    labels = generation.labels_of(model.codec, request.label, seeds)
    keys = keys_from_seeds(jnp.asarray(seeds))
    z_NZ = _latents(keys, model.cfg.latent, request.sampling.truncation)
    for i in range(num):
        label_B = None if labels is None else jnp.full(WALK, labels[i])
        path = between(z_NZ[i], z_NZ[(i + 1) % num], jnp.arange(WALK) / WALK)
        x = _generate(model.family, model.cfg, model.params, path, label_B)
        yield from model.codec.decode(x)[:, None]


def between(a_Z, b_Z, share_B):
    """[B, Z] on the great circle from a to b (White 2016): a straight line would pass through
    latents that are shorter than any in training."""
    cos = jnp.dot(a_Z, b_Z) / jnp.linalg.norm(a_Z) / jnp.linalg.norm(b_Z)
    angle = jnp.arccos(jnp.clip(cos, -1 + 1e-6, 1 - 1e-6))
    a_B, b_B = jnp.sin((1 - share_B) * angle), jnp.sin(share_B * angle)
    return (a_B[:, None] * a_Z + b_B[:, None] * b_Z) / jnp.sin(angle)


def preview(model: Model, *, seed: int) -> np.ndarray:
    """SHOWN samples to watch training by [N, H, W, C] uint8, always from the same seeds; of up to
    that many classes in equal numbers, else as they come. Diffusion takes few steps for them."""
    request = REQUESTS[models.get(model.family).KIND]()
    if isinstance(request, Denoising):
        request = dataclasses.replace(request, sampling=QUICK)
    seeds = seed + np.arange(SHOWN)
    labels, classes = None, len(model.codec.labels)
    if 0 < classes <= SHOWN:
        labels = np.arange(SHOWN) * classes // SHOWN
    elif classes:
        labels = generation.labels_of(model.codec, "", seeds)
    condition_B = _condition(model, labels, _prompts_of(model, request, seeds))
    x, _ = _ways(model, request, 0)(keys_from_seeds(jnp.asarray(seeds)), condition_B)
    return model.codec.decode(x)


@dataclasses.dataclass
class Speed:
    """Of drawing: the first batch, which compiles, is left out."""

    samples: int = 0
    seconds: float = 0.0


def timed(batches: Iterator[Samples], speed: Speed) -> Iterator[Samples]:
    """The same batches, their number and time noted."""
    first = True
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        if not first:
            speed.samples += len(batch.images)
            speed.seconds += time.perf_counter() - began
        first = False
        yield batch
