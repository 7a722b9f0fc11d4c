"""Adversarial training: losses, gradient penalties, augmentation of what the critic sees, gradients
through tokens, signs of collapse.

A critic, or discriminator, gives one logit an example: high for what it takes to be real. No
critic may normalise over the batch, or the gradients of one example would hold those of others.

Letters: B batch, H W C image, D numbers of an example, T time, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

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


# --- gradients through tokens --------------------------------------------------------------------


def gumbel_softmax(
    rng: Key[Array, ""], logits: Float[Array, "*shape V"], temperature: Float[Array, ""] | float
) -> Float[Array, "*shape V"]:
    """One-hot samples of softmax(logits), with the gradient of a relaxation of them.

    Jang et al. 2017, eq. 1 (the sample), eq. 2 (the relaxation, also Maddison et al. 2017) and
    section 2.2 (straight through). The gradient is biased; the temperature, above 0, trades its
    bias, which grows with it, for its variance.
    """
    noise = jax.random.gumbel(rng, logits.shape, logits.dtype)
    return straight_through(logits + noise, temperature)


def straight_through(
    scores: Float[Array, "*shape V"], temperature: Float[Array, ""] | float
) -> Float[Array, "*shape V"]:
    """The one-hot vector of the highest score, with the gradient of softmax(scores / temperature).

    Where the scores are logits plus Gumbel noise, this is `gumbel_softmax`.
    """
    soft = jax.nn.softmax(scores / temperature)
    hard = jax.nn.one_hot(scores.argmax(-1), scores.shape[-1], dtype=soft.dtype)
    # Forward exactly `hard`: hard + soft - soft would be off by a rounding error.
    return hard + (soft - jax.lax.stop_gradient(soft))


def annealed(start: float, end: float, progress: Float[Array, ""] | float) -> Scalar:
    """From `start` at progress 0 to `end` at 1 and later, by a constant factor in equal times, as
    RelGAN has it (Nie et al. 2019)."""
    return start * (end / start) ** jnp.clip(progress, 0, 1)


def policy_gradient_loss(
    log_prob_BT: Float[Array, "B T"],
    reward_BT: Float[Array, "B T"],
    baseline_BT: Float[Array, "B T"],
    mask_BT: Float[Array, "B T"],
) -> Scalar:
    """A loss whose gradient is an unbiased estimate of that of -E[reward].

    The policy gradient of SeqGAN (Yu et al. 2017, eq. 6 and 7; Williams 1992), the mean over rows:

        -1/B sum_b sum_t (reward_bt - baseline_bt) log p(x_bt | x_b1 .. x_b,t-1)

    reward_BT is an estimate of what follows from token t, and baseline_BT of the same before token
    t is chosen: it must not depend on that token, and then changes the variance alone.
    """
    advantage_BT = jax.lax.stop_gradient(reward_BT - baseline_BT) * mask_BT
    return -jnp.sum(advantage_BT * log_prob_BT) / len(log_prob_BT)


def baseline_loss(
    baseline_BT: Float[Array, "B T"],
    reward_BT: Float[Array, "B T"],
    mask_BT: Float[Array, "B T"],
) -> Scalar:
    """Mean square of reward - baseline: least where the baseline is the expected reward, of which
    it learns, and the reward learns nothing."""
    error_BT = (jax.lax.stop_gradient(reward_BT) - baseline_BT) * mask_BT
    return jnp.sum(error_BT**2) / jnp.maximum(mask_BT.sum(), 1)


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


def distinct(
    tokens_BT: Int[Array, "B T"], mask_BT: Float[Array, "B T"] | Bool[Array, "B T"], n: int
) -> Scalar:
    """Distinct runs of n tokens among all runs of n tokens, over a whole batch (distinct-n of Li
    et al. 2016, section 5.2): 1 if none occurs twice, and near 0 if all rows are alike.

    mask_BT counts the first tokens of each row; a run counts if its last token does. NaN never: 0
    where there is no run.
    """
    T = tokens_BT.shape[1]
    runs_NR = jnp.stack([tokens_BT[:, i : T - n + 1 + i].ravel() for i in range(n)])
    counts_R = mask_BT[:, n - 1 :].ravel() > 0
    # Sorted, equal runs are neighbours; those that do not count come last.
    order_R = jnp.lexsort([*runs_NR, ~counts_R])
    runs_NR, counts_R = runs_NR[:, order_R], counts_R[order_R]
    new_R = jnp.any(runs_NR != jnp.roll(runs_NR, 1, axis=1), axis=0).at[0].set(True)
    return jnp.sum(new_R & counts_R) / jnp.maximum(counts_R.sum(), 1)
