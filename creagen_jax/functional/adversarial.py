"""Adversarial training: losses, gradient penalties, augmentation of what the critic sees.

A critic, or discriminator, gives one logit an example: high for what it takes to be real. No
critic may normalise over the batch, or the gradients of one example would hold those of others.

Letters: B batch, H W C image, D numbers of an example.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from creagen_jax.types import UserError

Logits = Float[Array, " B"]
Scalar = Float[Array, ""]
Image = Float[Array, "B H W C"]
Critic = Callable[[Array], Array]  # [B, ...] -> logits [B]


# --- losses --------------------------------------------------------------------------------------


class Loss(NamedTuple):
    """What each player minimises, given the critic's logits of real and of generated examples."""

    discriminator: Callable[[Array, Array], Array]  # (real_B, fake_B) -> scalar
    generator: Callable[[Array, Array], Array]


def logistic(real_B: Logits, fake_B: Logits) -> Scalar:
    """-E log D(x) - E log(1 - D(G(z))), D = sigmoid(logit)  (Goodfellow et al. 2014, eq. 1)."""
    return jnp.mean(jax.nn.softplus(-real_B)) + jnp.mean(jax.nn.softplus(fake_B))


def saturating(real_B: Logits, fake_B: Logits) -> Scalar:
    """E log(1 - D(G(z)))  (Goodfellow et al. 2014, eq. 1): flat where the critic is sure."""
    return -jnp.mean(jax.nn.softplus(fake_B))


def non_saturating(real_B: Logits, fake_B: Logits) -> Scalar:
    """-E log D(G(z))  (Goodfellow et al. 2014, section 3)."""
    return jnp.mean(jax.nn.softplus(-fake_B))


def hinge(real_B: Logits, fake_B: Logits) -> Scalar:
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z)))  (Lim & Ye 2017; Miyato et al. 2018, eq. 16)."""
    return jnp.mean(jax.nn.relu(1 - real_B)) + jnp.mean(jax.nn.relu(1 + fake_B))


def wasserstein(real_B: Logits, fake_B: Logits) -> Scalar:
    """E D(G(z)) - E D(x), for a critic that is 1-Lipschitz  (Arjovsky et al. 2017, eq. 2-3)."""
    return jnp.mean(fake_B) - jnp.mean(real_B)


def linear(real_B: Logits, fake_B: Logits) -> Scalar:
    """-E D(G(z)): the generator's loss of hinge (Miyato et al. 2018, eq. 17) and Wasserstein."""
    return -jnp.mean(fake_B)


def relativistic(real_B: Logits, fake_B: Logits) -> Scalar:
    """E softplus(D(G(z)) - D(x)), each generated example against a real one.

    Jolicoeur-Martineau (2018), section 4; Huang et al. (2024), eq. 2 with f(t) = -softplus(-t),
    where the critic's sign is the other way around. It pairs row b with row b: the generator plays
    the same game with the two sides exchanged.
    """
    return jnp.mean(jax.nn.softplus(fake_B - real_B))


LOSSES = {
    "minimax": Loss(logistic, saturating),
    "non_saturating": Loss(logistic, non_saturating),
    "hinge": Loss(hinge, linear),
    "wasserstein": Loss(wasserstein, linear),
    "relativistic": Loss(relativistic, lambda real_B, fake_B: relativistic(fake_B, real_B)),
}


# --- gradient penalties --------------------------------------------------------------------------


def zero_centred_penalty(critic: Critic, x: Float[Array, "B ..."]) -> Float[Array, " B"]:
    """|grad_x D(x)|^2 of each example: R1 where x is real, R2 where it is generated.

    Mescheder et al. (2018), eq. 9 and 10, whose gamma / 2 and mean are left to the caller. To be
    differentiated with respect to the critic's parameters.
    """
    # One backward pass: a logit depends on its own example alone, so the gradient of the sum holds
    # the gradients of all.
    gradient = jax.grad(lambda x: jnp.sum(critic(x)))(x)
    return jnp.sum(gradient**2, axis=range(1, x.ndim))


def gradient_penalty(
    rng: Key[Array, ""],
    critic: Critic,
    real: Float[Array, "*shape"],
    fake: Float[Array, "*shape"],
) -> Float[Array, " B"]:
    """(|grad D(x)| - 1)^2 of each example, at x = e real + (1 - e) fake, e uniform in 0 .. 1.

    Gulrajani et al. (2017), eq. 3 and algorithm 1, whose lambda and mean are left to the caller.
    """
    e = jax.random.uniform(rng, (len(real),) + (1,) * (real.ndim - 1))
    return (_sqrt(zero_centred_penalty(critic, e * real + (1 - e) * fake)) - 1) ** 2


def _sqrt(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The square root, with the gradient 0 at 0 and below, where rounding may lead."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)


# --- differentiable augmentation -----------------------------------------------------------------


def augment(rng: Key[Array, ""], x_BHWC: Image, policy: tuple[str, ...]) -> Image:
    """Each example changed at random, real or generated, before the critic sees it.

    DiffAugment (Zhao et al. 2020, section 3.2), with its strengths; the gradient flows through. The
    changes in `policy` (see AUGMENTATIONS, and "color" for the first three) follow one another.
    What is moved in or cut out is 0, mid-grey, on purpose: as it looks like no background, the
    critic sees how far a picture was moved, and the generator need not draw moved pictures.

    Raises UserError if a name in `policy` is unknown.
    """
    changes = augmentations(policy)
    for change_rng, change in zip(jax.random.split(rng, len(changes)), changes, strict=True):
        x_BHWC = change(change_rng, x_BHWC)
    return x_BHWC


def brightness(rng: Key[Array, ""], x_BHWC: Image) -> Image:
    """Adds up to a quarter of the range, -0.5 .. 0.5, to all of a picture."""
    return x_BHWC + _uniform(rng, x_BHWC, -0.5, 0.5)


def saturation(rng: Key[Array, ""], x_BHWC: Image) -> Image:
    """Scales the distance of each pixel from its grey by 0 .. 2; nothing to do for C = 1."""
    grey_BHW1 = jnp.mean(x_BHWC, axis=-1, keepdims=True)
    return grey_BHW1 + _uniform(rng, x_BHWC, 0.0, 2.0) * (x_BHWC - grey_BHW1)


def contrast(rng: Key[Array, ""], x_BHWC: Image) -> Image:
    """Scales the distance from the mean of the picture by 0.5 .. 1.5."""
    mean_B111 = jnp.mean(x_BHWC, axis=(1, 2, 3), keepdims=True)
    return mean_B111 + _uniform(rng, x_BHWC, 0.5, 1.5) * (x_BHWC - mean_B111)


def translation(rng: Key[Array, ""], x_BHWC: Image) -> Image:
    """Moves a picture by whole pixels, up to an eighth of the side (rounded), each way."""
    for axis, axis_rng in zip((1, 2), jax.random.split(rng), strict=True):
        size = x_BHWC.shape[axis]
        most = (size + 4) // 8
        start_B = jax.random.randint(axis_rng, (len(x_BHWC),), 0, 2 * most + 1)
        padded = jnp.pad(x_BHWC, [(most, most) if a == axis else (0, 0) for a in range(4)])
        x_BHWC = jnp.take_along_axis(padded, _along(axis, start_B, size), axis)
    return x_BHWC


def cutout(rng: Key[Array, ""], x_BHWC: Image) -> Image:
    """Cuts out a rectangle of half the sides, its centre anywhere in the picture."""
    inside = True
    for axis, axis_rng in zip((1, 2), jax.random.split(rng), strict=True):
        size = x_BHWC.shape[axis]
        half = (size + 1) // 2
        centre_B = jax.random.randint(axis_rng, (len(x_BHWC),), 0, size)
        place = _along(axis, half // 2 - centre_B, size)  # in the rectangle
        inside &= (place >= 0) & (place < half)
    return jnp.where(inside, 0, x_BHWC)


def _along(axis: int, start_B: Int[Array, " B"], size: int) -> Int[Array, "B rows columns 1"]:
    """start, start + 1, ... for each example, along the rows (axis 1) or columns (axis 2)."""
    return jnp.expand_dims(start_B[:, None] + jnp.arange(size), (3 - axis, 3))


def _uniform(rng: Key[Array, ""], x_BHWC: Image, low: float, high: float) -> Array:
    return jax.random.uniform(rng, (len(x_BHWC), 1, 1, 1), x_BHWC.dtype, low, high)


AUGMENTATIONS = {
    "brightness": brightness,
    "saturation": saturation,
    "contrast": contrast,
    "translation": translation,
    "cutout": cutout,
}
COLOR = ("brightness", "saturation", "contrast")


def augmentations(policy: tuple[str, ...]) -> list[Callable[[Array, Array], Array]]:
    """The changes that a policy names. Raises UserError if it names one that is unknown."""
    names = [name for entry in policy for name in (COLOR if entry == "color" else (entry,))]
    for name in names:
        if name not in AUGMENTATIONS:
            choices = ", ".join(["color", *AUGMENTATIONS])
            raise UserError(f"no augmentation '{name}'; choose from {choices}")
    return [AUGMENTATIONS[name] for name in names]


# --- collapse ------------------------------------------------------------------------------------


def distances(a: Float[Array, "A ..."], b: Float[Array, "B ..."]) -> Float[Array, "A B"]:
    """How far each example of a is from each of b: the root mean square of the differences of
    their numbers. By one product of matrices, which leaves some 1e-3 where a distance is 0."""
    a_AD, b_BD = a.reshape(len(a), -1), b.reshape(len(b), -1)
    centre_D = jnp.mean(b_BD, axis=0)  # what all have in common only costs digits
    a_AD, b_BD = a_AD - centre_D, b_BD - centre_D
    product_AB = jnp.matmul(a_AD, b_BD.T, precision="highest")
    square_AB = jnp.sum(a_AD**2, axis=1)[:, None] + jnp.sum(b_BD**2, axis=1) - 2 * product_AB
    return _sqrt(square_AB / b_BD.shape[1])
