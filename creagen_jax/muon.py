"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal.

The same as in optax, in less time on a CPU, where that can cost as much as the gradients do: optax
takes each matrix as a batch of one, whose products are slower, and goes through all of it in every
iteration.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from creagen_jax.types import Params

A, B, C = 3.4445, -4.7750, 2.0315  # of the polynomial, whose slope at 0 is as large as can be
ITERATIONS = 5
EPSILON = 1e-8


class State(NamedTuple):
    """What is kept from update to update."""

    count: Int[Array, ""]
    momentum: Params


def orthogonalise(X_MN: Float[Array, "M N"]) -> Float[Array, "M N"]:
    """Nearly U V^T of the singular value decomposition U S V^T, by the iteration of Newton and
    Schulz: the singular values come to lie between about 0.7 and 1.2.

        X <- P X,    P = a I + b S + c S S,    S = X X^T
    """
    X_MN /= jnp.linalg.norm(X_MN) + EPSILON
    if X_MN.shape[0] > X_MN.shape[1]:
        return _orthogonalise(X_MN.T).T
    return _orthogonalise(X_MN)


def _orthogonalise(X_MN):
    """Of a matrix that is not tall. On a CPU the small S stands for X; in the lower precision that
    accelerators multiply by, its small eigenvalues could turn negative and grow."""
    return jax.lax.platform_dependent(X_MN, cpu=by_gram, default=by_itself)


def by_itself(X_MN: Float[Array, "M N"]) -> Float[Array, "M N"]:
    """As it is written: 4 M M N + 2 M M M operations an iteration."""
    for _ in range(ITERATIONS):
        X_MN = _polynomial(X_MN @ X_MN.T) @ X_MN
    return X_MN


def by_gram(X_MN: Float[Array, "M N"]) -> Float[Array, "M N"]:
    """The product of all P, which commute with S, then once X: 8 M M M operations an iteration."""
    S_MM = X_MN @ X_MN.T
    Q_MM = P_MM = _polynomial(S_MM)
    for _ in range(ITERATIONS - 1):
        S_MM = P_MM @ S_MM @ P_MM
        P_MM = _polynomial(S_MM)
        Q_MM = P_MM @ Q_MM
    return Q_MM @ X_MN


def _polynomial(S_MM):
    return A * jnp.eye(len(S_MM), dtype=S_MM.dtype) + B * S_MM + C * (S_MM @ S_MM)


def scale_by_muon(beta: float) -> optax.GradientTransformation:
    """Updates from Nesterov's momentum, orthogonal, times sqrt(max(1, outputs / inputs)) so that
    outputs change alike whatever the shape. A kernel [h, w, C, O] is a matrix of all its inputs."""

    def init(params: Params) -> State:
        return State(jnp.zeros([], jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(gradients: Params, state: State, params: Params | None = None):
        del params
        count = state.count + 1
        momentum = jax.tree.map(
            lambda m, g: beta * m + (1 - beta) * g, state.momentum, gradients
        )  # of which a mean of ones would be 1 - beta^count

        def direction(m, g):
            ahead = beta * m / (1 - beta ** (count + 1)) + (1 - beta) * g / (1 - beta**count)
            X = ahead.reshape(-1, ahead.shape[-1])
            return (max(1, X.shape[1] / X.shape[0]) ** 0.5 * orthogonalise(X)).reshape(g.shape)

        return jax.tree.map(direction, momentum, gradients), State(count, momentum)

    return optax.GradientTransformation(init, update)
