"""Who is near whom: Euclidean neighbours and balls, exact, without a matrix of all distances.

Pairs go through the accelerator in blocks of `chunk` x `chunk`, in float32, with a bound on what
rounding can do to each squared distance. The few pairs that float32 cannot decide are decided in
float64 on the host. So no result depends on the chunk, an exact copy is at distance 0, and items
equally far are a tie.

Letters: N queries or points, M pool items or centres, D feature width, K neighbours, A and B items
of the two sides of a block, P pairs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from creagen_jax.types import UserError

CHUNK = 1024
FAR = 1e30  # squared distance of padding, where the largest feature is 1
TINY = 1e-30  # more than underflow can take from a squared distance
GROUPS = 128  # of the items of a block
GATHERED = 2**20  # numbers held at once to decide pairs in float64


class Frame(NamedTuple):
    """Where float32 loses least: all features within -1 .. 1, many of them near 0."""

    origin_D: np.ndarray  # subtracted from the features
    scale: float  # then divides them


class Block(NamedTuple):
    """Some items of one side, in the frame, padded to a fixed number."""

    points_AD: jax.Array  # float32
    norm_A: jax.Array  # float32: squared; FAR for padding
    weight_A: jax.Array  # float32: what squared distances to an item are multiplied by
    first: int  # the number of its first item
    size: int  # items without the padding

    @property
    def items(self) -> slice:
        return slice(self.first, self.first + self.size)


def features(**arrays: np.ndarray) -> list[np.ndarray]:
    """The arrays in float64, each [items, D].

    Raises UserError, with the name of the array, unless all are finite and of the same width.
    """
    checked = []
    for name, array in arrays.items():
        try:
            array = np.asarray(array, np.float64)
        except (TypeError, ValueError):
            raise UserError(f"features of {name}: not an array of numbers") from None
        if array.ndim != 2 or array.shape[1] == 0:
            raise UserError(f"features of {name}: shape {array.shape} is not (items, width)")
        finite_N = np.isfinite(array).all(axis=1)
        if not finite_N.all():
            raise UserError(f"features of {name}: item {finite_N.argmin()} is not finite")
        checked.append(array)
    if len({array.shape[1] for array in checked}) > 1:
        widths = ", ".join(f"{name} {a.shape[1]}" for name, a in zip(arrays, checked, strict=True))
        raise UserError(f"features differ in width: {widths}")
    return checked


def nearest(
    queries: np.ndarray,
    pool: np.ndarray,
    *,
    k: int = 1,
    unit: np.ndarray | None = None,
    exclude_self: bool = False,
    chunk: int = CHUNK,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest pool items of each query: (distance [N, K] float64, index [N, K] int64).

    queries [N, D], pool [M, D]. Euclidean, ascending, ties by the lowest index. With `unit` [M],
    positive, the distance to pool item j is counted in unit[j]. With `exclude_self`, `queries` is
    the pool itself and item i does not find item i. Raises UserError for a pool smaller than k.
    """
    queries_ND, pool_MD = features(queries=queries, pool=pool)
    others = len(pool_MD) - exclude_self
    if not 1 <= k <= others:
        raise UserError(f"{k} nearest neighbours among {others} items")
    unit_M = np.ones(len(pool_MD)) if unit is None else np.asarray(unit, np.float64)
    exact = _exact(queries_ND, pool_MD)
    frame = _frame(queries_ND, pool_MD)
    pool_blocks = list(_blocks(pool_MD, frame, chunk, (frame.scale / unit_M) ** 2))
    distance_NK = np.full((len(queries_ND), k), np.inf)
    index_NK = np.zeros((len(queries_ND), k), np.int64)
    for x in _blocks(queries_ND, frame, chunk):
        bound_AK = np.full((len(x.norm_A), k), np.inf, np.float32)
        for y in pool_blocks:
            bound_AK = np.asarray(_tighten(bound_AK, x, y, exclude_self))
        for y in pool_blocks:
            _, near_AB = _compare(bound_AK, x, y, exclude_self)
            row_P, col_P = _pairs(_crop(near_AB, x, y))
            row_P, col_P = row_P + x.first, col_P + y.first
            _keep(distance_NK, index_NK, row_P, col_P, exact(row_P, col_P) / unit_M[col_P])
    return distance_NK, index_NK


def inside(
    *, points: np.ndarray, centres: np.ndarray, radii: np.ndarray, chunk: int = CHUNK
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Which points are inside which balls, in blocks: (centres, points, inside [A, B] bool).

    points [N, D], centres [M, D], radii [M]. The two slices say which centres and points a block is
    about. A point at exactly the radius is outside.
    """
    points_ND, centres_MD = features(points=points, centres=centres)
    radius_M = np.asarray(radii, np.float64)
    if len(points_ND) == 0:
        return
    exact = _exact(centres_MD, points_ND)
    frame = _frame(centres_MD, points_ND)
    points_blocks = list(_blocks(points_ND, frame, chunk))
    for x in _blocks(centres_MD, frame, chunk):
        limit_A1 = _pad((radius_M[x.items, None] / frame.scale) ** 2, len(x.norm_A), 0)
        for y in points_blocks:
            sure_AB, near_AB = (_crop(part, x, y) for part in _compare(limit_A1, x, y, False))
            row_P, col_P = _pairs(near_AB & ~sure_AB)
            distance_P = exact(row_P + x.first, col_P + y.first)
            inside_AB = sure_AB.copy()
            inside_AB[row_P, col_P] = distance_P < radius_M[row_P + x.first]
            yield x.items, y.items, inside_AB


def count_inside(
    *, points: np.ndarray, centres: np.ndarray, radii: np.ndarray, chunk: int = CHUNK
) -> tuple[np.ndarray, np.ndarray]:
    """How many balls hold each point [N], and how many points each ball holds [M]; see `inside`."""
    balls_N, points_M = np.zeros(len(points), np.int64), np.zeros(len(centres), np.int64)
    for rows, cols, inside_AB in inside(points=points, centres=centres, radii=radii, chunk=chunk):
        balls_N[cols] += inside_AB.sum(axis=0)
        points_M[rows] += inside_AB.sum(axis=1)
    return balls_N, points_M


# --- float32, on the accelerator -----------------------------------------------------------------


def _frame(x_ND: np.ndarray, y_MD: np.ndarray) -> Frame:
    """That of both sides. The median of y, because outliers can take a mean far from all items."""
    origin_D = np.median(y_MD, axis=0)
    scale = max(np.abs(side - origin_D).max(initial=0) for side in (x_ND, y_MD))
    return Frame(origin_D, float(scale) or 1.0)


def _bounds(x: Block, y: Block, exclude_self: bool) -> tuple[jax.Array, jax.Array]:
    """Squared distances [A, B] times the weights of y: no less than, and no more than.

    A dot product in float32 is off by at most D eps / 2 |x| |y|, and casts, norms and sums by a few
    eps (|x|^2 + |y|^2); the bound is twice as wide.
    """
    norm_AB = x.norm_A[:, None] + y.norm_A[None, :]
    square_AB = norm_AB - 2 * jnp.matmul(x.points_AD, y.points_AD.T, precision="highest")
    error_AB = (x.points_AD.shape[1] + 16) * jnp.finfo(jnp.float32).eps * norm_AB + TINY
    if exclude_self:
        row_A, col_B = (side.first + jnp.arange(len(side.norm_A)) for side in (x, y))
        square_AB = jnp.where(row_A[:, None] == col_B[None, :], FAR, square_AB)
    weight_B = y.weight_A[None, :]
    return (square_AB - error_AB) * weight_B, (square_AB + error_AB) * weight_B


@partial(jax.jit, static_argnames="exclude_self")
def _tighten(bound_AK: jax.Array, x: Block, y: Block, exclude_self: bool) -> jax.Array:
    """Upper bounds of the K least weighted squared distances, ascending, given those so far.

    The least of all are sought among the least of groups of items, which is faster, and no less an
    upper bound where two of them share a group.
    """
    _, high_AB = _bounds(x, y, exclude_self)
    groups = math.gcd(GROUPS, high_AB.shape[1])
    least_AG = high_AB.reshape(len(high_AB), -1, groups).min(axis=1)
    return -jax.lax.top_k(-jnp.concatenate([bound_AK, least_AG], axis=1), bound_AK.shape[1])[0]


@partial(jax.jit, static_argnames="exclude_self")
def _compare(
    bound_AK: jax.Array, x: Block, y: Block, exclude_self: bool
) -> tuple[jax.Array, jax.Array]:
    """Which pairs [A, B] are below the last bound of their row for sure, and which possibly."""
    low_AB, high_AB = _bounds(x, y, exclude_self)
    limit_A1 = bound_AK[:, -1:]
    return high_AB < limit_A1, low_AB <= limit_A1


def _blocks(
    items_ND: np.ndarray, frame: Frame, chunk: int, weight_N: np.ndarray | None = None
) -> Iterator[Block]:
    """The items in blocks of `chunk`, or of the power of 2 that is enough for a few."""
    size = min(chunk, 1 << max(len(items_ND) - 1, 63).bit_length())
    weight_N = np.ones(len(items_ND)) if weight_N is None else weight_N
    for first in range(0, len(items_ND), size):
        part_AD = (items_ND[first : first + size] - frame.origin_D) / frame.scale
        yield Block(
            points_AD=_pad(part_AD, size, 0),
            norm_A=_pad((part_AD**2).sum(axis=1), size, FAR),
            weight_A=_pad(weight_N[first : first + size], size, 1),
            first=first,
            size=len(part_AD),
        )


def _pad(array_N: np.ndarray, size: int, value: float) -> jax.Array:
    """The array in float32 and filled up to `size` items."""
    missing = [(0, size - len(array_N))] + [(0, 0)] * (array_N.ndim - 1)
    return jnp.asarray(np.pad(array_N.astype(np.float32), missing, constant_values=value))


def _crop(array_AB: jax.Array, x: Block, y: Block) -> np.ndarray:
    """Without the padding, on the host."""
    return np.asarray(array_AB)[: x.size, : y.size]


def _pairs(array_AB: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [P] and columns [P] of what is True, by row: `nonzero`, which is slow for matrices."""
    return np.divmod(np.flatnonzero(array_AB), array_AB.shape[1])


# --- float64, on the host ------------------------------------------------------------------------


def _exact(x_ND: np.ndarray, y_MD: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function of the row and column numbers of pairs [P] that returns their distances [P].

    Items that occur many times make many pairs that float32 cannot decide. So copies are numbered
    alike, and each different pair is measured once.
    """
    row_N, col_M = _first_copies(x_ND), _first_copies(y_MD)
    step = max(1, GATHERED // x_ND.shape[1])

    def distances(row_P: np.ndarray, col_P: np.ndarray) -> np.ndarray:
        pair, inverse_P = np.unique(row_N[row_P] * len(y_MD) + col_M[col_P], return_inverse=True)
        row, col = np.divmod(pair, len(y_MD))
        parts = [slice(i, i + step) for i in range(0, len(pair), step)]
        squares = [((x_ND[row[i]] - y_MD[col[i]]) ** 2).sum(axis=1) for i in parts]
        return np.sqrt(np.concatenate([np.zeros(0), *squares]))[inverse_P]

    return distances


def _first_copies(array_ND: np.ndarray) -> np.ndarray:
    """For each item the number of the first one equal to it [N]."""
    first = {}
    digests = (hashlib.blake2b(a.tobytes(), digest_size=16).digest() for a in array_ND)
    return np.array([first.setdefault(d, i) for i, d in enumerate(digests)], np.int64)


def _keep(distance_NK, index_NK, row_P, col_P, distance_P) -> None:
    """Puts pairs into the lists of the K nearest in place; columns must come in ascending order."""
    rows, k = np.unique(row_P), distance_NK.shape[1]
    row = np.concatenate([np.repeat(rows, k), row_P])
    distance = np.concatenate([distance_NK[rows].ravel(), distance_P])
    index = np.concatenate([index_NK[rows].ravel(), col_P])
    order = np.lexsort((distance, row))  # stable, so that of equal ones the first is kept
    rank = np.arange(len(row)) - np.searchsorted(row[order], row[order])
    kept = order[rank < k]
    distance_NK[rows], index_NK[rows] = distance[kept].reshape(-1, k), index[kept].reshape(-1, k)
