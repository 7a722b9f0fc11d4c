"""Whether pictures show what their captions say: is the right picture found among all of them?

A caption and a picture are vectors of one space (Radford et al. 2021). For each caption all the
pictures are sorted by the cosine of the two; recall at k is the share of captions whose own picture
is among the first k (Karpathy and Fei-Fei 2015). Each caption must stand there once only.
"""

from __future__ import annotations

import numpy as np

from creagen_jax.creativity.estimate import Estimate, exact, ratio, undetermined, wilson

K = 10  # pictures that are looked at


def hits(text_ND: np.ndarray, picture_ND: np.ndarray, k: int = K) -> np.ndarray:
    """[N] in 0 .. 1: whether picture i is among the k that are nearest to caption i.

    Where several are as near, the chance that it is if they stand in any order: vectors that are
    all the same have k / N everywhere. Raises ValueError for vectors that are not finite, or of
    other numbers than one another.
    """
    text_ND, picture_ND = (np.asarray(each, np.float64) for each in (text_ND, picture_ND))
    if text_ND.shape != picture_ND.shape or text_ND.ndim != 2:
        raise ValueError(f"captions {text_ND.shape} and pictures {picture_ND.shape} do not pair")
    if not (np.isfinite(text_ND).all() and np.isfinite(picture_ND).all()):
        raise ValueError("vectors must be finite")
    # Rounding must not put equal pictures in an order.
    cosine_NM = np.round(_unit(text_ND) @ _unit(picture_ND).T, 9)
    own_N1 = np.diag(cosine_NM)[:, None]
    nearer_N = (cosine_NM > own_N1).sum(axis=1)
    as_near_N = (cosine_NM == own_N1).sum(axis=1)  # itself included
    return ((k - nearer_N) / as_near_N).clip(0, 1)


def recall(text_ND: np.ndarray, picture_ND: np.ndarray, k: int = K) -> Estimate:
    """Recall at k, with Wilson's interval."""
    found_N = hits(text_ND, picture_ND, k)
    return wilson(found_N.sum(), len(found_N), n_ref=len(found_N))


def chance(n: int, k: int = K) -> float:
    """Recall at k of pictures in any order."""
    return min(k / n, 1.0)


def measure(
    text_ND: np.ndarray,
    generated_ND: np.ndarray,
    real_ND: np.ndarray,
    *,
    k: int = K,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Recall at k of generated pictures, beside what it can be.

    text_ND       the N different captions
    generated_ND  the pictures drawn from them
    real_ND       their real pictures

    "generated", "real", "shuffled" (the real pictures, each of another caption) and "chance" are
    shares; "times_chance" is generated over chance, "of_real" generated over real, with the
    bootstrap over the captions. More captions make it harder: compare at the same N.
    """
    n = len(text_ND)
    if n <= k:
        note = f"{n} captions are too few to find {k} of them"
        names = ("generated", "real", "shuffled", "chance", "times_chance", "of_real")
        return dict.fromkeys(names, undetermined(note, n=n))
    generated = recall(text_ND, generated_ND, k)
    generated_N, real_N = hits(text_ND, generated_ND, k), hits(text_ND, real_ND, k)
    return {
        "generated": generated,
        "real": recall(text_ND, real_ND, k),
        "shuffled": recall(text_ND, real_ND[_elsewhere(n, seed)], k),
        "chance": exact(chance(n, k), n=n),
        "times_chance": generated.scaled(1 / chance(n, k)),
        "of_real": ratio(generated_N, real_N, seed=seed, n_ref=n),
    }


def _elsewhere(n: int, seed: int) -> np.ndarray:
    """[n] a random order of 0 .. n-1 in which none keeps its place: one cycle through all."""
    cycle = np.random.default_rng(seed).permutation(n)
    order = np.empty(n, np.int64)
    order[cycle] = np.roll(cycle, 1)
    return order


def _unit(x_ND: np.ndarray) -> np.ndarray:
    """Of length 1; zeros stay."""
    size_N1 = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return x_ND / np.where(size_N1 > 0, size_N1, 1)
