"""Feature spaces in which pictures are compared, and a reader of their labels.

All are functions of uint8 pictures [N, H, W, C]. What is fitted or trained for a feature space sees
only pictures that are neither training nor held-out material (the `probe` split): a network that
had been trained on one of them would tell the two apart by itself.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import runpy
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.decomposition import PCA

from creagen_jax import config, rundir
from creagen_jax.data import batching
from creagen_jax.functional import convolution
from creagen_jax.functional.layers import rms_norm
from creagen_jax.types import UserError

Features = Callable[[np.ndarray], np.ndarray]  # pictures [N, H, W, C] to features [N, D]
Params = dict[str, np.ndarray]

FEWEST = 20  # pictures that can be fitted, or a network be trained on
MOST = 20_000  # pictures that a network is trained on
LONGEST = 32  # pixels of the longer side; larger pictures are shrunk first
COARSE = 5  # pixels of the longer side at which convolutions end
CHUNK = 256  # pictures computed at once
CONSTANT = 1e-12  # variance of a feature below which it says nothing

CHANNELS = (16, 64)  # fewest, and those of the last convolution
CODE = 64  # D of the trained network
HIDDEN = 256  # width of the decoder
OPTIMIZER = optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.01))
RATE = 3e-3  # peak of the learning rate, after a tenth of the steps
BATCH = 64
STEPS = (600, 1250)  # fewest and most: a picture is seen about 40 times in between
CHECKS = 15  # how often the loss on pictures that were put aside is looked at
PATIENCE = 4  # checks without a better one after which training stops
NOISE = 1 / 3  # largest standard deviation added to pictures, in that of the pictures
RECONSTRUCTION = 2.0  # weight of the share of variance not reconstructed, beside the labels' nats
CACHE_FORMAT = 1  # to be raised when the parameters of the same pictures would be others


def spaces(
    images_NHWC: np.ndarray, labels_N: np.ndarray | None, *, seed: int = 0, cache: Path
) -> tuple[dict[str, Features], list[str]]:
    """The feature spaces "pixels", "network" and "domain", and warnings for the report.

    Fitted on the pictures, and the labels if there are any, of the probe split: uint8
    [N, H, W, C] and int32 [N]. If there are too few of them (see `FEWEST`) the space "domain" is
    missing, "pixels" is not fitted, and a warning says so. `cache` is a folder (see `trained`).
    """
    found = {
        "pixels": pixels(images_NHWC),
        "network": network(images_NHWC.shape[1:], seed),
    }
    if len(images_NHWC) < FEWEST:
        return found, [
            f"the probe split has {len(images_NHWC)} pictures, and {FEWEST} are needed to train "
            "features: pictures are compared by their pixels and by a network that is not trained"
        ]
    return {**found, "domain": trained(images_NHWC, labels_N, seed=seed, cache=cache)}, []


# --- without training --------------------------------------------------------------------------


def pixels(images_NHWC: np.ndarray, width: int = 64) -> Features:
    """Principal components of the pixels, and how far a picture is from what they span.

    Fitted on the pictures given; of fewer than `FEWEST`, the features are all the pixels.
    Distances are root mean squares over the pixels, in units of their full range, except that what
    lies beyond the components counts by its size only.
    """
    unit = 255 * np.sqrt(np.prod(_shrunk(images_NHWC.shape[1:])))

    @jax.jit
    def flat(x_BHWC: jax.Array) -> jax.Array:
        return _shrink(x_BHWC).reshape(len(x_BHWC), -1) / unit

    if len(images_NHWC) < FEWEST:
        return functools.partial(_rows, flat)
    real_ND = _rows(flat, images_NHWC[batching.spaced(len(images_NHWC), MOST)])
    # As many components as pictures would be exact for these pictures, and for no others.
    pca = PCA(min(width, real_ND.shape[1], len(real_ND) // 2), random_state=0)
    with np.errstate(invalid="ignore"):  # pictures that are all the same
        pca.fit(real_ND)
    mean_P, components_DP = pca.mean_, pca.components_[pca.explained_variance_ > CONSTANT]

    @jax.jit
    def features(x_BHWC: jax.Array) -> jax.Array:
        x_BP = flat(x_BHWC) - mean_P
        part_BD = x_BP @ components_DP.T
        rest_B = jnp.linalg.norm(x_BP - part_BD @ components_DP, axis=1)
        return jnp.concatenate([part_BD, rest_B[:, None]], axis=1)

    return functools.partial(_rows, features)


def network(shape: tuple[int, int, int], seed: int = 0, width: int = 128) -> Features:
    """A convolutional network with random weights, the same on every machine for a seed.

    Each convolution is followed by absolute values. Their means and standard deviations by channel,
    and the coarsest ones themselves, are brought to `width` features by a random projection, which
    hardly changes distances (Johnson and Lindenstrauss 1984).
    """
    rng = np.random.default_rng(seed)
    H, W, C = _shrunk(shape)
    layers = []
    for channels in _channels(H, W):
        # Without biases the absolute values of a picture and of its negative would be the same.
        bias = rng.standard_normal(channels, np.float32) / 2
        layers.append((jnp.asarray(_normal(rng, 3, 3, C, channels)), bias))
        C = channels

    def statistics(x_BHWC: jax.Array) -> jax.Array:
        x_BHWC, found = _shrink(x_BHWC) / 127.5 - 1, []
        for level, (kernel, bias) in enumerate(layers):
            x_BHWC = convolution.halve(x_BHWC) if level else x_BHWC
            x_BHWC = jnp.abs(convolution.convolve(x_BHWC, kernel) + bias)
            found += [x_BHWC.mean((1, 2)), x_BHWC.std((1, 2))]
        grid_BD = x_BHWC.reshape(len(x_BHWC), -1) / np.sqrt(np.prod(x_BHWC.shape[1:3]))
        return jnp.concatenate([*found, grid_BD], axis=1)

    many = jax.eval_shape(statistics, jax.ShapeDtypeStruct((1, *shape), np.uint8)).shape[1]
    projection = rng.standard_normal((many, width), np.float32) / np.sqrt(width, dtype=np.float32)
    return functools.partial(_rows, jax.jit(lambda x_BHWC: statistics(x_BHWC) @ projection))


def user(name: str) -> Features:
    """The user's own features: "package.module:function" or "path/to/file.py:function".

    The function takes uint8 pictures [N, H, W, C], a few at a time, and returns [N, D] numbers.
    Raises UserError if there is no such function; the features raise it for any other result.
    """
    module, colon, attribute = name.rpartition(":")
    if not colon:
        raise UserError(f"features '{name}': write package.module:function or file.py:function")
    try:
        is_file = module.endswith(".py")
        found = runpy.run_path(module) if is_file else vars(importlib.import_module(module))
    except Exception as error:  # whatever goes wrong in a user's file as it is read
        raise UserError(f"features '{name}': cannot import {module}: {error}") from None
    functions = {key: value for key, value in found.items() if callable(value)}
    if attribute not in functions:
        own = [key for key in functions if not key.startswith("_")]
        raise UserError(f"features '{name}': no such function; {config.nearest(attribute, own)}")

    def features(images_NHWC: np.ndarray) -> np.ndarray:
        part_ND = np.asarray(functions[attribute](images_NHWC))
        N = len(images_NHWC)
        if part_ND.shape[:1] != (N,) or part_ND.ndim != 2 or part_ND.dtype.kind not in "fiub":
            raise UserError(
                f"features '{name}' returned {part_ND.dtype} {list(part_ND.shape)} for {N} "
                f"pictures; they must be numbers [{N}, D]"
            )
        return part_ND.astype(np.float32)

    return functools.partial(_rows, features)


def of_clips(shape: tuple[int, int, int, int], seed: int = 0) -> dict[str, Features]:
    """Two sides of clips of `shape` F, H, W, C, given as pictures [N, H, W, F * C]: "frames", the
    mean `network` features of their frames, whatever the order of these, and "motion", those of the
    differences from each frame to the next."""
    F, H, W, C = shape
    of_frame, of_motion = network((H, W, C), seed), network((H, W, (F - 1) * C), seed)

    def frames(clips_NHWC: np.ndarray) -> np.ndarray:
        each_NHWFC = clips_NHWC.reshape(-1, H, W, F, C)
        return np.mean([of_frame(each_NHWFC[:, :, :, frame]) for frame in range(F)], axis=0)

    def motion(clips_NHWC: np.ndarray) -> np.ndarray:
        step_NHWC = clips_NHWC[..., C:].astype(np.int16) - clips_NHWC[..., :-C]
        return of_motion(np.round(step_NHWC / 2 + 127.5).astype(np.uint8))

    return {"frames": frames, "motion": motion}


# --- trained -----------------------------------------------------------------------------------


def trained(
    images_NHWC: np.ndarray, labels_N: np.ndarray | None, *, seed: int = 0, cache: Path
) -> Features:
    """The code of a denoising auto-encoder (Vincent et al. 2008) that also tells labels, if any.

    Labels make the code know what matters in these pictures; reconstruction keeps in it what
    differs within a class, and what no picture of the set has. Distances are in units of the
    root mean square distance of the pictures given from their mean. The parameters are kept in
    the folder `cache`, so that the same pictures are trained on once; raises UserError if it
    cannot be written.
    """
    params = _trained(images_NHWC, labels_N, picture=True, seed=seed, cache=cache)
    some_NHWC = images_NHWC[batching.spaced(len(images_NHWC), MOST)]
    encode = functools.partial(_rows, functools.partial(_encode, params))
    unit = np.sqrt(max(encode(some_NHWC).var(axis=0).sum(), CONSTANT))
    return lambda images_NHWC: encode(images_NHWC) / unit


def reader(
    images_NHWC: np.ndarray, labels_N: np.ndarray, *, seed: int = 0, cache: Path
) -> Callable[[np.ndarray], np.ndarray]:
    """A classifier trained on labelled pictures: a function of pictures to labels [N] int32.

    Train it on the real training split, and tell its accuracy on held-out pictures beside what it
    says of generated ones. `cache` as in `trained`.
    """
    params = _trained(images_NHWC, labels_N, picture=False, seed=seed, cache=cache)
    return functools.partial(_rows, functools.partial(_read, params))


def _trained(
    images_NHWC: np.ndarray, labels_N: np.ndarray | None, *, picture: bool, seed: int, cache: Path
) -> Params:
    """The parameters, from the cache if they are there and sound; with a decoder of the `picture`,
    if asked for, and of the labels, if there are any."""
    some = batching.spaced(len(images_NHWC), MOST)
    images_NHWC = _rows(_small, images_NHWC[some])
    classes = 0 if labels_N is None else int(labels_N.max()) + 1
    labels_N = (np.zeros(len(some)) if labels_N is None else labels_N[some]).astype(np.int32)

    settings = json.dumps([CACHE_FORMAT, images_NHWC.shape, classes, picture, seed]).encode()
    key = hashlib.sha256(settings + images_NHWC.tobytes() + labels_N.tobytes()).hexdigest()[:16]
    path = cache / f"network-{key}.npz"
    params = _load(path)
    if params is None:
        start = _init(images_NHWC.shape[1:], classes, picture, seed)
        params = _train(start, images_NHWC, labels_N, seed)
        _save(path, params)
    return params


def _load(path: Path) -> Params | None:
    """None if there is no such file, or a damaged one."""
    try:
        with np.load(path) as file:
            return dict(file)
    except Exception:  # a damaged file may fail in any way
        return None


def _save(path: Path, params: Params) -> None:
    """Writes beside the final place and renames, so that a file is complete or absent."""
    part = path.with_suffix(f".{os.getpid()}.part")
    with rundir.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.savez(file, **params)
        part.replace(path)


def _init(shape: tuple[int, int, int], classes: int, picture: bool, seed: int) -> Params:
    rng = np.random.default_rng(seed)
    H, W, C = shape
    params, channels = {}, _channels(H, W)
    for level, width in enumerate(channels):
        params[f"kernel{level}"] = _normal(rng, 3, 3, C, width)
        params[f"bias{level}"] = np.zeros(width, np.float32)
        C = width
    h, w = (_coarse(side, len(channels)) for side in (H, W))
    layers = {"code": (h * w * C, CODE)}
    if picture:
        layers |= {"hidden": (CODE, HIDDEN), "picture": (HIDDEN, np.prod(shape))}
    if classes:
        layers |= {"labels": (CODE, classes)}
    for name, (inputs, outputs) in layers.items():
        params[name] = _normal(rng, inputs, outputs)
        params[f"{name}_bias"] = np.zeros(outputs, np.float32)
    return params


@jax.jit
def _small(x_BHWC: jax.Array) -> jax.Array:
    return jnp.round(_shrink(x_BHWC)).astype(jnp.uint8)


@jax.jit
def _encode(params: Params, x_BHWC: jax.Array) -> jax.Array:
    """[B, CODE] of pictures with values in 0 .. 255."""
    x_BHWC, level = _shrink(x_BHWC) / 127.5 - 1, 0
    while f"kernel{level}" in params:
        x_BHWC = convolution.halve(x_BHWC) if level else x_BHWC
        x_BHWC = convolution.convolve(x_BHWC, params[f"kernel{level}"]) + params[f"bias{level}"]
        x_BHWC = jax.nn.relu(rms_norm(x_BHWC))
        level += 1
    return _dense(params, "code", x_BHWC.reshape(len(x_BHWC), -1))


def _logits(params: Params, code_BD: jax.Array) -> jax.Array:
    return _dense(params, "labels", jax.nn.relu(code_BD))


@jax.jit
def _read(params: Params, x_BHWC: jax.Array) -> jax.Array:
    """[B] int32: the most likely label."""
    return _logits(params, _encode(params, x_BHWC)).argmax(axis=1).astype(jnp.int32)


def _dense(params: Params, name: str, x_BD: jax.Array) -> jax.Array:
    return x_BD @ params[name] + params[f"{name}_bias"]


@jax.jit
def _loss(
    params: Params,
    variance: float,
    noisy_BHWC: jax.Array,
    clean_BHWC: jax.Array,
    label_B: jax.Array,
) -> jax.Array:
    """[B]; the variance is that of a pixel."""
    code_BD, loss_B = _encode(params, noisy_BHWC), 0.0
    if "picture" in params:
        picture_BD = _dense(params, "picture", jax.nn.relu(_dense(params, "hidden", code_BD)))
        error_BD = 127.5 * picture_BD - clean_BHWC.reshape(picture_BD.shape)
        loss_B += RECONSTRUCTION * (error_BD**2).mean(axis=1) / variance
    if "labels" in params:
        logits_BC = _logits(params, code_BD)
        target_BC = optax.smooth_labels(jax.nn.one_hot(label_B, logits_BC.shape[1]), 0.1)
        loss_B += optax.softmax_cross_entropy(logits_BC, target_BC)
    return loss_B


@jax.jit
def _step(params: Params, state: optax.OptState, rate: float, *batch) -> tuple:
    """Parameters and the optimizer's state after one more batch."""
    gradient = jax.grad(lambda params: _loss(params, *batch).mean())(params)
    updates, state = OPTIMIZER.update(gradient, state, params)
    return jax.tree.map(lambda p, update: p - rate * update, params, updates), state


def _train(params: Params, images_NHWC: np.ndarray, labels_N: np.ndarray, seed: int) -> Params:
    """The parameters with the least loss on a tenth of the pictures that is put aside."""
    order = np.random.default_rng(seed).permutation(len(images_NHWC))
    variance = max(float(images_NHWC[order[:1000]].var(axis=0).mean()), 1.0)
    aside, rest = np.split(order, [max(len(order) // 10, 1)])
    rest = rest if len(rest) else aside
    steps = int(np.clip(40 * len(rest) / BATCH, *STEPS))

    def draw(rows_B: np.ndarray, key: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng((seed, key))
        clean_BHWC = _shift(images_NHWC[rows_B], rng).astype(np.float32)
        scale_B111 = rng.uniform(0, NOISE * np.sqrt(variance), (len(rows_B), 1, 1, 1))
        noise_BHWC = rng.standard_normal(clean_BHWC.shape, np.float32)
        noisy_BHWC = clean_BHWC + scale_B111.astype(np.float32) * noise_BHWC
        return noisy_BHWC, clean_BHWC, labels_N[rows_B]

    held = draw(aside, 0)
    best, least, found, state = params, np.inf, 0, OPTIMIZER.init(params)
    for i in range(1, steps + 1):
        rows_B = rest[batching.shuffled(len(rest), seed=seed, step=i, size=BATCH)]
        rate = RATE * min(10 * i / steps, 1) * (1 + np.cos(np.pi * i / steps)) / 2
        params, state = _step(params, state, rate, variance, *draw(rows_B, i))
        if i % (steps // CHECKS):
            continue
        loss = float(_rows(functools.partial(_loss, params, variance), *held).mean())
        if loss < least:
            best, least, found = params, loss, i
        if i - found >= PATIENCE * (steps // CHECKS):
            break
    return jax.tree.map(np.asarray, best)


def _shift(images_BHWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture moved by up to a twelfth of its sides; pixels of the edge are repeated."""
    B, *sides, _ = images_BHWC.shape
    reach = [round(side / 12) for side in sides]
    by = [rng.integers(-most, most, (B, 1), endpoint=True) for most in reach]
    row_BH, column_BW = (
        (np.arange(side) + by_B1).clip(0, side - 1) for side, by_B1 in zip(sides, by, strict=True)
    )
    return images_BHWC[np.arange(B)[:, None, None], row_BH[:, :, None], column_BW[:, None, :]]


# --- both --------------------------------------------------------------------------------------


def _rows(function: Callable[..., np.ndarray], *arrays_N: np.ndarray) -> np.ndarray:
    """A function of rows applied to `CHUNK` rows at a time, the last ones padded: the same program
    for any number of them, and memory that does not grow with it."""
    parts = []
    for first in range(0, max(len(arrays_N[0]), 1), CHUNK):
        rows = {str(i): array_N[first : first + CHUNK] for i, array_N in enumerate(arrays_N)}
        part = function(*batching.pad(rows, CHUNK).values())
        parts.append(np.asarray(part)[: len(rows["0"])])
    return np.concatenate(parts)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Weights [..., outputs] that keep the size of what they are applied to (He et al. 2015,
    eq. 10)."""
    scale = np.sqrt(2 / np.prod(shape[:-1]), dtype=np.float32)
    return scale * rng.standard_normal(shape, np.float32)


def _channels(H: int, W: int) -> list[int]:
    """The channels of each convolution: half as many where pictures are twice as large.

    Between two of them the picture is halved.
    """
    levels = 1
    while _coarse(max(H, W), levels) > COARSE:
        levels += 1
    fewest, last = CHANNELS
    return [max(last >> finer, fewest) for finer in reversed(range(levels))]


def _coarse(side: int, levels: int) -> int:
    """The side of what the last of `levels` convolutions sees."""
    return -(-side // 2 ** (levels - 1))


def _shrunk(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of pictures after `_shrink`."""
    H, W, C = shape
    scale = min(1.0, LONGEST / max(H, W))
    return max(1, round(H * scale)), max(1, round(W * scale)), C


def _shrink(x_BHWC: jax.Array) -> jax.Array:
    """Pictures with values in 0 .. 255 as float32, with no side longer than `LONGEST`."""
    x_BHWC, shape = x_BHWC.astype(jnp.float32), _shrunk(x_BHWC.shape[1:])
    if shape == x_BHWC.shape[1:]:
        return x_BHWC
    return jax.image.resize(x_BHWC, (len(x_BHWC), *shape), "linear", antialias=True)
