"""Denoising score matching: noise levels, preconditioning, loss.

A noisy picture is y = x + sigma n, n ~ N(0, I). The denoiser D(y; sigma) estimates x, and so the
score, (D(y; sigma) - y) / sigma^2 (Karras et al. 2022, eq. 3). It is made of a network F by

    D(y; sigma) = c_skip y + c_out F(c_in y, c_noise)                                    (eq. 7)
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


class Precondition(NamedTuple):
    """The four functions of sigma in eq. 7, each [B]."""

    c_skip: Float[Array, " B"]
    c_out: Float[Array, " B"]
    c_in: Float[Array, " B"]
    c_noise: Float[Array, " B"]


def edm(sigma_B: Float[Array, " B"], sigma_data: float) -> Precondition:
    """Karras et al. 2022, table 1: inputs and targets of F have unit variance."""
    total_B = jnp.sqrt(sigma_B**2 + sigma_data**2)
    return Precondition(
        c_skip=sigma_data**2 / total_B**2,
        c_out=sigma_B * sigma_data / total_B,
        c_in=1 / total_B,
        c_noise=jnp.log(sigma_B) / 4,
    )


def flow(sigma_B: Float[Array, " B"], sigma_data: float) -> Precondition:
    """Flow matching on straight lines (Lipman et al. 2023; Liu et al. 2023) in the same form.

    The picture at time t is (1 - t) x + t n = y / (1 + sigma) with t = sigma / (1 + sigma); F is
    its velocity, n - x, and so x = (1 - t) x + t n - t F. `sigma_data` plays no part.
    """
    t_B = sigma_B / (1 + sigma_B)
    return Precondition(c_skip=1 - t_B, c_out=-t_B, c_in=1 - t_B, c_noise=t_B)


PRECONDITIONS = {"edm": edm, "flow": flow}


def noise_levels(rng: Key[Array, ""], count: int, mean: float, std: float) -> Float[Array, " B"]:
    """[B] sigma with ln sigma ~ N(mean, std^2) (Karras et al. 2022, table 1), spread evenly.

    One level falls into each of B parts of equal probability: the loss varies less from batch to
    batch (after Kingma et al. 2021, appendix I.1). For flow matching this is the logit-normal time
    of Esser et al. 2024, because logit(t) = ln sigma.
    """
    u_B = (jnp.arange(count) + jax.random.uniform(rng, (count,))) / count
    u_B = jnp.clip(u_B, 1e-6, 1 - 1e-6)
    return jnp.exp(mean + std * jax.scipy.special.ndtri(u_B))


def precondition(network, p: Precondition, y: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """D(y; sigma) of eq. 7, for `network(c_in y, c_noise)`."""
    c_skip, c_out, c_in = (_beside(c_B, y) for c_B in p[:3])
    return c_skip * y + c_out * network(c_in * y, p.c_noise)


def weighted_error(
    p: Precondition, denoised: Float[Array, "B ..."], x: Float[Array, "B ..."]
) -> Float[Array, " B"]:
    """lambda(sigma) |D - x|^2 per pixel, lambda = 1 / c_out^2 (Karras et al. 2022, eq. 8): the
    squared error of F itself, so that no noise level outweighs the others."""
    error_B = jnp.square(denoised - x).reshape(len(x), -1).mean(1)
    return error_B / p.c_out**2


def _beside(c_B: jax.Array, y: jax.Array) -> jax.Array:
    """[B] with as many axes as y."""
    return c_B.reshape(-1, *(1,) * (y.ndim - 1))
