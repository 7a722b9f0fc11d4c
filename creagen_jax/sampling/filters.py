"""Filters: pure functions on logits that change what the next token may be, and their order.

Each takes and returns float32 logits_BV. A removed token has logit -inf. Every filter leaves at
least one token, so filters compose freely.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from creagen_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. The penalties see the prompt and what was drawn, never END."""

    temperature: float = 1.0  # divides the logits; 0 is greedy: always the likeliest token
    top_k: int = 0  # keep the k likeliest tokens; 0 is off
    top_p: float = 1.0  # keep the likeliest tokens that hold this much probability; 1 is off
    min_p: float = 0.0  # keep tokens at least this times as likely as the likeliest; 0 is off
    typical_p: float = 1.0  # keep the most typical tokens that hold this probability; 1 is off
    repetition_penalty: float = 1.0  # above 1 makes every token seen so far less likely; 1 is off
    presence_penalty: float = 0.0  # nats taken from every token seen so far; below 0 favours them
    frequency_penalty: float = 0.0  # nats taken from a token for each time it was seen
    no_repeat_ngram: int = 0  # no run of this many tokens occurs twice; 2 or more, 0 is off
    beams: int = 0  # beam search of this width, without chance; 0 draws at random
    length_penalty: float = 0.6  # beam search: 0 favours short results, 1 long ones
    guidance: float = 1.0  # 0 draws without the condition, 1 with it, above 1 more typical of it

    @property
    def needs_counts(self) -> bool:
        """Whether `process` wants counts_BV."""
        penalties = (self.repetition_penalty, self.presence_penalty, self.frequency_penalty)
        return penalties != (1.0, 0.0, 0.0)

    @property
    def needs_history(self) -> bool:
        """Whether `process` wants history_BL and length_B."""
        return self.no_repeat_ngram > 0


def validate(settings: Sampling) -> None:
    """Raises UserError for a setting outside its range, or one that beam search would ignore."""
    s, finite = settings, math.isfinite
    for name, inside, choices in (
        ("temperature", 0 <= s.temperature < math.inf, "0 (greedy) or more"),
        ("top_k", s.top_k >= 0, "0 (off) or more"),
        ("top_p", 0 < s.top_p <= 1, "above 0, up to 1 (off)"),
        ("min_p", 0 <= s.min_p <= 1, "0 (off) to 1"),
        ("typical_p", 0 < s.typical_p <= 1, "above 0, up to 1 (off)"),
        ("repetition_penalty", 0 < s.repetition_penalty < math.inf, "above 0; 1 is off"),
        ("presence_penalty", finite(s.presence_penalty), "a finite number; 0 is off"),
        ("frequency_penalty", finite(s.frequency_penalty), "a finite number; 0 is off"),
        ("no_repeat_ngram", s.no_repeat_ngram == 0 or s.no_repeat_ngram >= 2, "0 (off), or from 2"),
        ("beams", s.beams >= 0, "0 (off) or more"),
        ("length_penalty", 0 <= s.length_penalty < math.inf, "0 or more"),
        ("guidance", 0 <= s.guidance < math.inf, "0 (without the condition), 1 (with it) or more"),
    ):
        if not inside:
            raise UserError(f"{name} is {getattr(s, name)}; choose {choices}")
    if s.beams:
        plain = Sampling(
            temperature=1.0 if s.temperature else 0.0,  # greedy is without chance, too
            beams=s.beams,
            length_penalty=s.length_penalty,
            guidance=s.guidance,
        )
        for field in dataclasses.fields(s):
            if getattr(s, field.name) != getattr(plain, field.name):
                raise UserError(f"beam search ignores {field.name}; set one of the two")


def process(
    logits_BV: Float[Array, "B V"],
    settings: Sampling,
    *,
    forbidden: Sequence[int] = (),
    counts_BV: Int[Array, "B V"] | None = None,
    history_BL: Int[Array, "B L"] | None = None,
    length_B: Int[Array, " B"] | None = None,
) -> Float[Array, "B V"]:
    """Applies the filters that are on: bans, penalties, temperature, then truncation.

    Penalties act on the model's own logits, so their strength does not depend on temperature;
    truncation acts on what temperature made. An off filter is not traced at all.

    counts_BV is read if `settings.needs_counts`, history_BL and length_B if `needs_history`.
    """
    s = settings
    logits_BV = logits_BV.astype(jnp.float32)
    if forbidden:
        logits_BV = forbid(logits_BV, forbidden)
    if s.repetition_penalty != 1:
        logits_BV = repetition_penalty(logits_BV, counts_BV, s.repetition_penalty)
    if s.presence_penalty != 0:
        logits_BV = presence_penalty(logits_BV, counts_BV, s.presence_penalty)
    if s.frequency_penalty != 0:
        logits_BV = frequency_penalty(logits_BV, counts_BV, s.frequency_penalty)
    if s.no_repeat_ngram:
        logits_BV = no_repeat_ngram(logits_BV, history_BL, length_B, s.no_repeat_ngram)
    if s.temperature != 1:
        logits_BV = temperature(logits_BV, s.temperature)
    if s.top_k:
        logits_BV = top_k(logits_BV, s.top_k)
    if s.top_p < 1:
        logits_BV = top_p(logits_BV, s.top_p)
    if s.min_p > 0:
        logits_BV = min_p(logits_BV, s.min_p)
    if s.typical_p < 1:
        logits_BV = typical(logits_BV, s.typical_p)
    return logits_BV


def forbid(logits_BV: Float[Array, "B V"], ids: Sequence[int]) -> Float[Array, "B V"]:
    """Removes the tokens `ids`, whatever their probability; not all of V."""
    return logits_BV.at[:, jnp.asarray(ids)].set(-jnp.inf)


def repetition_penalty(
    logits_BV: Float[Array, "B V"], counts_BV: Int[Array, "B V"], penalty: float
) -> Float[Array, "B V"]:
    """Divides positive logits of seen tokens by `penalty` and multiplies negative ones by it.

    Keskar et al. 2019 (CTRL), section 4.1, which divides; multiplying where the logit is negative
    makes the token less likely there too.
    """
    penalised_BV = jnp.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return jnp.where(counts_BV > 0, penalised_BV, logits_BV)


def presence_penalty(
    logits_BV: Float[Array, "B V"], counts_BV: Int[Array, "B V"], penalty: float
) -> Float[Array, "B V"]:
    """Takes `penalty` nats from every seen token."""
    return logits_BV - penalty * (counts_BV > 0)


def frequency_penalty(
    logits_BV: Float[Array, "B V"], counts_BV: Int[Array, "B V"], penalty: float
) -> Float[Array, "B V"]:
    """Takes `penalty` nats from a token for each time it was seen."""
    return logits_BV - penalty * counts_BV


def no_repeat_ngram(
    logits_BV: Float[Array, "B V"],
    history_BL: Int[Array, "B L"],
    length_B: Int[Array, " B"],
    n: int,
) -> Float[Array, "B V"]:
    """Removes tokens that would complete an n-gram already in history_BL[b, :length_B[b]].

    Paulus et al. 2018, section 2.5. A row in which that removes every token is left as it was.
    """
    B, L = history_BL.shape
    rows_B1 = jnp.arange(B)[:, None]
    # Window w covers history[w : w + n]. Its last token is banned if the others are the last n - 1.
    windows = max(L - n + 1, 0)
    last = jnp.arange(windows) + n - 1
    banned_BW = last < length_B[:, None]
    for i in range(n - 1):
        recent_B1 = history_BL[rows_B1, length_B[:, None] - (n - 1) + i]
        banned_BW &= history_BL[:, i : i + windows] == recent_B1
    banned_BV = jnp.zeros(logits_BV.shape, bool)
    banned_BV = banned_BV.at[rows_B1, history_BL[:, n - 1 :]].max(banned_BW)
    kept_BV = jnp.where(banned_BV, -jnp.inf, logits_BV)
    return jnp.where(jnp.isneginf(kept_BV).all(-1, keepdims=True), logits_BV, kept_BV)


def temperature(logits_BV: Float[Array, "B V"], t: float) -> Float[Array, "B V"]:
    """Divides the logits by t; t = 0 gives the limit, an equal chance for each of the maxima."""
    # Shifted so that the largest is 0: a tiny t then underflows to -inf and never to NaN.
    shifted_BV = logits_BV - logits_BV.max(-1, keepdims=True)
    return shifted_BV / max(t, float(jnp.finfo(jnp.float32).tiny))


def top_k(logits_BV: Float[Array, "B V"], k: int) -> Float[Array, "B V"]:
    """Keeps the k likeliest tokens, exactly k of them: of equals, the lowest ids. Fan et al. 2018.

    Any k of V or more keeps all.
    """
    if k >= logits_BV.shape[-1]:
        return logits_BV
    _, ids_BK = jax.lax.top_k(logits_BV, k)
    return _keep(logits_BV, ids_BK, True)


def top_p(logits_BV: Float[Array, "B V"], p: float) -> Float[Array, "B V"]:
    """Keeps the nucleus: the fewest tokens, likeliest first, with total probability of p or more.

    Holtzman et al. 2020, section 3.1, eq. 2.
    """
    return _fewest(logits_BV, -logits_BV, p)


def min_p(logits_BV: Float[Array, "B V"], p: float) -> Float[Array, "B V"]:
    """Keeps tokens with probability of at least p times the largest. Nguyen et al. 2024."""
    floor_B1 = logits_BV.max(-1, keepdims=True) + (math.log(p) if p > 0 else -math.inf)
    return jnp.where(logits_BV >= floor_B1, logits_BV, -jnp.inf)


def typical(logits_BV: Float[Array, "B V"], p: float) -> Float[Array, "B V"]:
    """Keeps the fewest tokens of total probability p whose surprisal is nearest to the entropy.

    Meister et al. 2022, Locally Typical Sampling.
    """
    log_prob_BV = jax.nn.log_softmax(logits_BV)
    entropy_B1 = jax.scipy.special.entr(jnp.exp(log_prob_BV)).sum(-1, keepdims=True)
    return _fewest(logits_BV, jnp.abs(-log_prob_BV - entropy_B1), p)


def _fewest(
    logits_BV: Float[Array, "B V"], rank_BV: Float[Array, "B V"], mass: float
) -> Float[Array, "B V"]:
    """Keeps tokens by ascending rank, of equals the lowest id first, until they hold `mass`."""
    if mass >= 1:
        return logits_BV
    ids_BV = jnp.argsort(rank_BV, axis=-1)
    prob_BV = jnp.take_along_axis(jax.nn.softmax(logits_BV), ids_BV, axis=-1)
    before_BV = jnp.cumsum(prob_BV, axis=-1) - prob_BV
    # The first always stays, even where `mass` is too small for float32.
    return _keep(logits_BV, ids_BV, (before_BV < mass).at[:, 0].set(True))


def _keep(
    logits_BV: Float[Array, "B V"], ids_BK: Int[Array, "B K"], keep_BK: Bool[Array, "B K"] | bool
) -> Float[Array, "B V"]:
    """Removes all tokens but those of ids_BK for which keep_BK holds."""
    rows_B1 = jnp.arange(len(logits_BV))[:, None]
    keep_BV = jnp.zeros(logits_BV.shape, bool).at[rows_B1, ids_BK].set(keep_BK)
    return jnp.where(keep_BV, logits_BV, -jnp.inf)
