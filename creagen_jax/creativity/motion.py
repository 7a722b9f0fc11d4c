"""Motion of one bright thing on a dark ground: where it is, whether it moves as thrown, and whether
it stays what it is.

Letters: N clips, F frames, H W C a frame, P V phases and speeds that are tried.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from creagen_jax.creativity.estimate import Estimate, wilson
from creagen_jax.types import UserError

DARK = 32  # of 255: what is darker counts for no place
PHASES = 128  # of a bounce, from 0 to twice the room
SPEEDS = 128  # from 0 to the fastest
CHUNK = 64  # clips fitted at once


def places(clips_NFHWC: np.ndarray) -> np.ndarray:
    """[N, F, 2] float64: the mean row and column of the light in each frame of uint8 clips, in
    pixels; the middle of a dark frame."""
    light_NFHW = clips_NFHWC.astype(np.float64).mean(-1)
    light_NFHW = np.where(light_NFHW < DARK, 0, light_NFHW)
    H, W = light_NFHW.shape[2:]
    total_NF = light_NFHW.sum((2, 3))
    row_NF = (light_NFHW.sum(3) * np.arange(H)).sum(2)
    column_NF = (light_NFHW.sum(2) * np.arange(W)).sum(2)
    dark_NF = total_NF == 0
    total_NF = np.where(dark_NF, 1, total_NF)
    middle = [(H - 1) / 2, (W - 1) / 2]
    found = np.stack([row_NF, column_NF], axis=-1) / total_NF[..., None]
    return np.where(dark_NF[..., None], middle, found)


def bounce_residual(places_NF2: np.ndarray, *, room: float, fastest: float) -> np.ndarray:
    """[N] root mean square distance, in pixels, of the places from those of the thing that is
    nearest to them among all that move at a constant velocity in a box and bounce.

    room     pixels in which the thing can move, along each axis
    fastest  pixels a frame, along each axis

    Each axis is fitted for itself: a phase and a speed on a grid, and an offset, since nobody knows
    where in the thing its light is. Raises UserError for less than three frames.
    """
    N, F, _ = places_NF2.shape
    if F < 3:
        raise UserError(f"clips of {F} frames do not tell how things move; 3 or more do")
    axes_MF = np.moveaxis(places_NF2, 2, 1).reshape(-1, F).astype(np.float32)
    parts = [
        np.asarray(_least(_padded(axes_MF[i : i + CHUNK]), room, fastest))
        for i in range(0, len(axes_MF), CHUNK)
    ]
    squares_N2 = np.concatenate(parts)[: 2 * N].reshape(N, 2)
    return np.sqrt(squares_N2.sum(1))


def _padded(rows: np.ndarray) -> np.ndarray:
    return np.pad(rows, ((0, CHUNK - len(rows)), (0, 0)))


@jax.jit
def _least(axis_MF: jax.Array, room: float, fastest: float) -> jax.Array:
    """[M] the least mean square residual."""
    time_F = jnp.arange(axis_MF.shape[1])
    phase_P = jnp.arange(PHASES) * (2 * room / PHASES)
    speed_V = jnp.linspace(0, fastest, SPEEDS)
    there_PVF = jnp.mod(phase_P[:, None, None] + speed_V[:, None] * time_F, 2 * room)
    fit_PVF = room - jnp.abs(room - there_PVF)
    fit_PVF -= fit_PVF.mean(-1, keepdims=True)

    def least(axis_F):
        return jnp.square(axis_F - axis_F.mean() - fit_PVF).mean(-1).min()

    return jax.lax.map(least, axis_MF)


def steady(read_NF: np.ndarray, asked_N: np.ndarray | None = None) -> Estimate:
    """The share of clips all of whose frames are read as one class; as the one that was asked for,
    if that is given.

    read_NF: the class that each frame is read as.
    """
    wanted_N = read_NF[:, 0] if asked_N is None else asked_N
    return wilson((read_NF == wanted_N[:, None]).all(1).sum(), len(read_NF))
