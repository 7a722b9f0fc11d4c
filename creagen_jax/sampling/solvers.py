"""Solvers: draw from any diffusion model by following its denoiser from noise to data.

A model enters as `denoise(x, sigma_B) -> D`, a closure over parameters: the estimate of the clean x
in x = clean + sigma * normal (Karras et al. 2022, D(x; sigma)). The probability-flow ODE is

    dx / dsigma = (x - D(x; sigma)) / sigma        (Karras et al. 2022, eqs. 1 and 3)

An Euler step from sigma to sigma' is the blend D + (sigma' / sigma) (x - D), exactly D at
sigma' = 0, and every solver here is that blend with something added. Everything may be called
inside jit.

    x = initial(keys_B, shape, settings.sigma_max)
    x = solve(denoise, x, levels(settings), keys_B, settings)

Sample b draws the noise to begin with by fold_in(keys_B[b], 0) and that of step i, from 1 on, by
fold_in(keys_B[b], i): it does not depend on the batch around it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

from creagen_jax.types import UserError

Denoise = Callable[[Array, Array], Array]
ConditionalDenoise = Callable[[Array, Array, Any], Array]

Solver = Literal["heun", "euler", "ddim", "dpmpp_2m", "ancestral", "churn"]
Schedule = Literal["karras", "exponential", "vp", "cosine", "flow"]

ALWAYS = 1e9  # above any noise level, and JSON can hold it


@dataclasses.dataclass(frozen=True)
class Solving:
    """How noise becomes a sample. Noise levels are standard deviations; data is in -1 .. 1."""

    solver: Solver = "heun"  # heun and churn evaluate the model 2 * steps - 1 times, others steps
    steps: int = 18  # from one noise level to the next; the last one ends at 0
    schedule: Schedule = "karras"  # how the noise levels are spaced
    sigma_min: float = 0.002  # the last noise level above 0
    sigma_max: float = 80.0  # the first noise level
    rho: float = 7.0  # karras: above 1 puts more levels near sigma_min
    guidance: float = 1.0  # 0 unconditional, 1 conditional, above 1 more typical of the condition
    guidance_low: float = 0.0  # guidance acts above this noise level; elsewhere it is 1
    guidance_high: float = ALWAYS  # guidance acts up to this noise level
    eta: float = 0.0  # ddim: fresh noise, from 0 (none: euler) to 1 (ancestral)
    churn: float = 40.0  # churn: fresh noise in all; each step adds up to 41 % of its level
    churn_low: float = 0.05  # churn: no fresh noise below this noise level
    churn_high: float = 50.0  # churn: no fresh noise above this noise level
    churn_noise: float = 1.003  # churn: standard deviation of the fresh noise


# What only one solver or schedule reads.
_READ_BY = {
    "rho": ("schedule", "karras"),
    "eta": ("solver", "ddim"),
    "churn": ("solver", "churn"),
    "churn_low": ("solver", "churn"),
    "churn_high": ("solver", "churn"),
    "churn_noise": ("solver", "churn"),
}


def validate(settings: Solving) -> None:
    """Raises UserError for a setting outside its range, or one that nothing would read."""
    s = settings
    for name, inside, choices in (
        ("solver", s.solver in get_args(Solver), ", ".join(get_args(Solver))),
        ("schedule", s.schedule in get_args(Schedule), ", ".join(get_args(Schedule))),
        ("steps", s.steps >= 1, "1 or more"),
        ("sigma_min", 0 < s.sigma_min < math.inf, "above 0"),
        ("sigma_max", s.sigma_min < s.sigma_max < math.inf, f"above sigma_min, {s.sigma_min:g}"),
        ("rho", 1 <= s.rho < math.inf, "1 (evenly spaced) or more"),
        ("guidance", 0 <= s.guidance < math.inf, "0 (unconditional), 1 (conditional) or more"),
        ("guidance_low", 0 <= s.guidance_low < math.inf, "0 (off) or more"),
        ("guidance_high", s.guidance_low < s.guidance_high, "more than guidance_low"),
        ("eta", 0 <= s.eta <= 1, "0 (no fresh noise) to 1"),
        ("churn", 0 <= s.churn < math.inf, "0 (no fresh noise) or more"),
        ("churn_low", 0 <= s.churn_low < math.inf, "0 or more"),
        ("churn_high", s.churn_low < s.churn_high, "more than churn_low"),
        ("churn_noise", 0 < s.churn_noise < math.inf, "above 0"),
    ):
        if not inside:
            raise UserError(f"{name} is {getattr(s, name)}; choose {choices}")
    plain = Solving()
    for name, (by, reader) in _READ_BY.items():
        if getattr(s, name) != getattr(plain, name) and getattr(s, by) != reader:
            raise UserError(f"{by} {getattr(s, by)} ignores {name}; choose {by} {reader}")
    if s.guidance in (0, 1) and (s.guidance_low, s.guidance_high) != (0, ALWAYS):
        raise UserError(f"guidance {s.guidance:g} has no interval; choose another guidance")
    if (np.diff(levels(s)) >= 0).any():
        raise UserError(f"steps is {s.steps}, too many between {s.sigma_min:g} and {s.sigma_max:g}")


# --- noise levels --------------------------------------------------------------------------------

BETA_D, BETA_MIN = 19.9, 0.1  # Karras et al. 2022, table 1, of Song et al. 2021 (score SDE)


def levels(settings: Solving) -> Float[np.ndarray, " levels"]:
    """The noise levels [steps + 1], float32, descending from sigma_max to sigma_min, then 0.

    Each schedule is even in a measure of its own:
        karras       sigma^(1 / rho)        Karras et al. 2022, eq. 5
        exponential  log sigma              Lu et al. 2022 (DPM-Solver)
        vp           the time of the SDE whose beta is linear: Ho et al. 2020 in continuous time
                                            (Song et al. 2021; Karras et al. 2022, table 1)
        cosine       arctan sigma           Nichol and Dhariwal 2021, eq. 17
        flow         sigma / (1 + sigma)    the time of straight paths, (1 - t) x + t noise
                                            (Lipman et al. 2023; Liu et al. 2023)
    """
    measure, inverse = {
        "karras": (lambda s: s ** (1 / settings.rho), lambda u: u**settings.rho),
        "exponential": (np.log, np.exp),
        "vp": (_vp_time, _vp_level),
        "cosine": (np.arctan, np.tan),
        "flow": (lambda s: s / (1 + s), lambda t: t / (1 - t)),
    }[settings.schedule]
    even = np.linspace(measure(settings.sigma_max), measure(settings.sigma_min), settings.steps)
    return np.append(inverse(even), 0).astype(np.float32)


def _vp_time(sigma):
    return (np.sqrt(BETA_MIN**2 + 2 * BETA_D * np.log1p(sigma**2)) - BETA_MIN) / BETA_D


def _vp_level(t):
    return np.sqrt(np.expm1(BETA_D * t**2 / 2 + BETA_MIN * t))


# --- where to begin ------------------------------------------------------------------------------


def initial(
    keys_B: Key[Array, " B"], shape: tuple[int, ...], sigma_max: float
) -> Float[Array, "B ..."]:
    """Noise of level sigma_max, one sample of `shape` for each key."""
    return sigma_max * _noise(keys_B, 0, shape, jnp.float32)


def start(
    image: Float[Array, "B ..."],
    strength: float,
    sigmas: Float[np.ndarray, " levels"],
    keys_B: Key[Array, " B"],
) -> tuple[Float[Array, "B ..."], Float[np.ndarray, " rest"]]:
    """Where image-to-image begins: the images with noise on them, and the levels left to solve.

    `strength` is the share of the steps taken (SDEdit, Meng et al. 2022): at 0 none, which leaves
    the image, at 1 all of them, from noise alone. Raises UserError outside 0 .. 1.
    """
    if not 0 <= strength <= 1:
        raise UserError(f"strength is {strength}; choose 0 (the image) to 1 (only noise)")
    steps = round(strength * (len(sigmas) - 1))
    rest = sigmas[len(sigmas) - 1 - steps :]
    noise = rest[0] * _noise(keys_B, 0, image.shape[1:], image.dtype)
    return noise if strength == 1 else image + noise, rest


def _noise(keys_B, number, shape, dtype):
    """The noise of one step; number 0 is the one to begin with."""
    keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, number)
    return jax.vmap(lambda key: jax.random.normal(key, shape, dtype))(keys_B)


# --- guidance ------------------------------------------------------------------------------------


def guided(
    denoise: ConditionalDenoise,
    condition_B: Shaped[Array, "B ..."] | None,
    null_B: Shaped[Array, "B ..."] | None,
    settings: Solving,
) -> Denoise:
    """Classifier-free guidance (Ho and Salimans 2022): D_null + guidance (D_condition - D_null).

    denoise      (x, sigma_B, condition_B) -> D
    condition_B  what to draw; None for a model without condition
    null_B       the condition that stands for none; read unless guidance is 1

    Guidance 0 is the model without condition and 1 the one with it, exactly, each one evaluation of
    B samples; else one of 2 B samples. It acts at noise levels above guidance_low, up to
    guidance_high (Kynkaanniemi et al. 2024); elsewhere it is 1.
    Raises UserError for guidance, other than 0 and 1, without a condition.
    """
    s = settings
    if condition_B is None and s.guidance not in (0, 1):
        raise UserError(f"guidance is {s.guidance}, but there is no condition; choose 1")

    def alone(x, sigma_B):
        return denoise(x, sigma_B, null_B if s.guidance == 0 else condition_B)

    def both(x, sigma_B):
        twice = (jnp.concatenate([x, x]), jnp.concatenate([sigma_B, sigma_B]))
        D, D_null = jnp.split(denoise(*twice, jnp.concatenate([condition_B, null_B])), 2)
        return D + (s.guidance - 1) * (D - D_null)

    def within(x, sigma_B):
        # All rows of a batch are at one noise level.
        acts = (s.guidance_low < sigma_B[0]) & (sigma_B[0] <= s.guidance_high)
        return jax.lax.cond(acts, both, alone, x, sigma_B)

    if s.guidance in (0, 1):
        return alone
    return both if (s.guidance_low, s.guidance_high) == (0, ALWAYS) else within


# --- solving -------------------------------------------------------------------------------------


def solve(
    denoise: Denoise,
    x: Float[Array, "B ..."],
    sigmas: Float[np.ndarray, " levels"],
    keys_B: Key[Array, " B"],
    settings: Solving,
    *,
    known: tuple[Float[Array, "B ..."], Shaped[Array, "B ..."]] | None = None,
    trajectory: int = 0,
) -> Float[Array, "B ..."] | tuple[Float[Array, "B ..."], Float[Array, "B frames ..."]]:
    """Follows the denoiser from x, at noise level sigmas[0], down to sigmas[-1] = 0.

        euler      the Euler method: first order
        ddim       Song et al. 2021 (DDIM), eqs. 12 and 16, for x / sqrt(alpha_bar): there, the
                   noise that each step replaces is what `ancestral` replaces, times eta
        ancestral  Ho et al. 2020, eqs. 6 and 7, in the same coordinates: ddim of eta 1
        heun       Karras et al. 2022, algorithm 1: second order
        churn      Karras et al. 2022, algorithm 2: heun from a little more noise in each step
        dpmpp_2m   Lu et al. 2022 (DPM-Solver++), algorithm 2, in lambda = -log sigma: second order;
                   the first and the last step are of first order

    sigmas      as `levels` or `start` returns them: static
    keys_B      those that x was drawn with
    known       in-painting: (image, mask), the mask of a shape that broadcasts. Where it is 0, x is
                the image with fresh noise at the beginning of each step (RePaint, Lugmayr et al.
                2022, without resampling), and the image itself in every estimate and at the end.
                It pulls on the rest less than it should: least without fresh noise, most with churn
    trajectory  also return this many of the estimates D on the way, evenly spaced, the last one
                included; at most one a step

    Returns x, and the frames [B, trajectory, ...] if asked for.
    """
    steps = len(sigmas) - 1
    frames_BF = jnp.zeros((len(x), min(trajectory, steps), *x.shape[1:]), x.dtype)

    def estimate(x, sigma):
        D = denoise(x, jnp.full(len(x), sigma))
        return D if known is None else jnp.where(known[1] == 0, known[0], D)

    def heun(x, D, euler, at):
        slope = (x - D) / at["sigma"] + (euler - estimate(euler, at["next"])) / at["next"]
        return x + (at["next"] - at["sigma"]) * slope / 2

    def step(carry, at):
        x, D_before, frames_BF = carry
        noise = _noise(keys_B, at["number"], x.shape[1:], x.dtype)
        if settings.solver == "churn":
            x = x + at["churned"] * noise
        if known is not None:
            x = jnp.where(known[1] == 0, known[0] + at["sigma"] * noise, x)
        D = target = estimate(x, at["sigma"])
        if trajectory:
            frames_BF = frames_BF.at[:, at["frame"]].set(D)

        if settings.solver == "dpmpp_2m":
            target = D + at["extrapolate"] * (D - D_before)
        end = target + at["down"] / at["sigma"] * (x - target)
        if settings.solver in ("heun", "churn"):  # but the step to 0 needs no second evaluation
            end = jax.lax.cond(at["next"] > 0, heun, lambda x, D, end, at: end, x, D, end, at)
        if settings.solver in ("ddim", "ancestral"):
            end = end + at["up"] * noise
        return (end, D, frames_BF), None

    plan = _plan(sigmas.astype(np.float64), settings)
    plan = {name: jnp.asarray(row, x.dtype) for name, row in plan.items()}
    plan["number"] = 1 + jnp.arange(steps)
    plan["frame"] = jnp.arange(steps) * frames_BF.shape[1] // max(steps, 1)
    (x, _, frames_BF), _ = jax.lax.scan(step, (x, jnp.zeros_like(x), frames_BF), plan)
    return (x, frames_BF) if trajectory else x


def _plan(sigmas, settings):
    """The coefficients of every step, [steps] each.

    sigma        the noise level that the step begins at, after churn
    churned      standard deviation of the noise that churn adds before it
    next         the noise level that it ends at
    down, up     next = sqrt(down^2 + up^2): what is left of the noise, and what is fresh
    extrapolate  dpmpp_2m: how far the estimate is carried on, h / (2 h_before)
    """
    sigma, next_ = sigmas[:-1], sigmas[1:]
    churned, extrapolate = np.zeros_like(sigma), np.zeros_like(sigma)
    if settings.solver == "churn":
        acts = (settings.churn_low <= sigma) & (sigma <= settings.churn_high)
        gamma = acts * min(settings.churn / settings.steps, math.sqrt(2) - 1)
        churned = settings.churn_noise * sigma * np.sqrt((1 + gamma) ** 2 - 1)
        sigma = sigma * (1 + gamma)
    if settings.solver == "dpmpp_2m":
        h = np.log(sigma[:-1] / next_[:-1])
        extrapolate[1:-1] = h[1:] / (2 * h[:-1])
    eta = {"ddim": settings.eta, "ancestral": 1}.get(settings.solver, 0)
    up = eta * next_ * np.sqrt(1 - (next_ / sigma) ** 2)
    down = np.sqrt(next_**2 - up**2)
    return {
        "sigma": sigma, "churned": churned, "next": next_,
        "down": down, "up": up, "extrapolate": extrapolate,
    }  # fmt: skip
