"""Beam search: the likeliest whole sequences under a model, without chance."""

from __future__ import annotations

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from creagen_jax.sampling import avoiding
from creagen_jax.sampling.filters import forbid
from creagen_jax.sampling.matching import Matcher
from creagen_jax.sampling.tokens import Carry, NextLogits, prefill


@flax.struct.dataclass
class BeamState:
    """K hypotheses for each of B examples. A pytree."""

    carry: Carry  # every leaf [B * K, ...]
    step: Int[Array, ""]
    token: Int[Array, "B K"]  # the next input
    tokens: Int[Array, "B K length"]  # the hypotheses so far, END after their end
    log_prob: Float[Array, "B K"]  # nats; -inf where there are fewer hypotheses than K
    done: Bool[Array, "B K"]  # ended with END


def beam_search(
    next_logits: NextLogits,
    carry: Carry,
    prompt_BP: Int[Array, "B P"],
    prompt_len_B: Int[Array, " B"] | None,
    *,
    beams: int,
    length: int,
    length_penalty: float = 0.6,
    end: int = 0,
    forbidden: Sequence[int] = (),
    avoided: Matcher | None = None,
) -> tuple[Int[Array, "B K T"], Int[Array, "B K"], Float[Array, "B K"]]:
    """The `beams` best continuations of each prompt, best first.

    A hypothesis that ends leaves the beam, which narrows by one, and is kept (Sutskever et al.
    2014, section 3.2). One of `length` tokens without END is kept as it is. The order is by

        score = log P(Y | prompt) / ((5 + |Y|) / 6) ** length_penalty

    (Wu et al. 2016, eq. 14), where |Y| counts END; one beam is greedy decoding.

    With `avoided` (see `avoiding.build`), they are the best of those that contain no avoided text.

    Takes the prompts as `tokens.start` does, and a carry of B samples. Returns tokens
    [B, beams, length] (END from the first END on), lengths [B, beams] (tokens before END) and
    scores [B, beams] in nats, -inf where there are fewer sequences than beams.
    """
    B, K = len(prompt_BP), beams

    def next_log_prob(carry, token):
        logits, carry = next_logits(carry, token)
        logits = logits.astype(jnp.float32)
        return jax.nn.log_softmax(forbid(logits, forbidden) if forbidden else logits), carry

    if avoided:  # what is left of the probabilities is not shared out again: it ranks whole texts
        carry, next_log_prob = avoiding.start(carry, B), avoiding.restrained(next_log_prob, avoided)

    def step(state):
        log_prob_BV, carry = next_log_prob(state.carry, state.token.reshape(B * K))
        V = log_prob_BV.shape[-1]
        log_prob_BKV = log_prob_BV.reshape(B, K, V)
        # A finished hypothesis has one continuation, END at no cost, and is always kept.
        stay_V = jnp.where(jnp.arange(V) == end, 0.0, -jnp.inf)
        log_prob_BKV = jnp.where(state.done[..., None], stay_V, log_prob_BKV)
        total_BKV = state.log_prob[..., None] + log_prob_BKV
        kept_BKV = state.done[..., None] & (stay_V == 0)
        order_BKV = jnp.where(kept_BKV, jnp.inf, total_BKV)
        _, best_BK = jax.lax.top_k(order_BKV.reshape(B, K * V), K)
        parent_BK, token_BK = best_BK // V, best_BK % V

        log_prob_BK = _select(total_BKV.reshape(B, K * V), best_BK)
        tokens_BKT = _select(state.tokens, parent_BK).at[:, :, state.step].set(token_BK)
        flat = (jnp.arange(B)[:, None] * K + parent_BK).reshape(B * K)
        return BeamState(
            carry=jax.tree.map(lambda leaf: leaf[flat], carry),
            step=state.step + 1,
            token=token_BK,
            tokens=tokens_BKT,
            log_prob=log_prob_BK,
            done=(token_BK == end) & (log_prob_BK > -jnp.inf),
        )

    def unfinished(state):
        alive_BK = ~state.done & (state.log_prob > -jnp.inf)
        return (state.step < length) & alive_BK.any()

    carry, token_B = prefill(next_log_prob, carry, prompt_BP, prompt_len_B)
    state = BeamState(
        carry=jax.tree.map(lambda leaf: jnp.repeat(leaf, K, axis=0), carry),
        step=jnp.int32(0),
        token=jnp.repeat(token_B[:, None], K, axis=1),
        tokens=jnp.full((B, K, length), end, jnp.int32),
        # All K begin alike: only the first may continue, or they would stay alike.
        log_prob=jnp.tile(jnp.where(jnp.arange(K) == 0, 0.0, -jnp.inf), (B, 1)),
        done=jnp.zeros((B, K), bool),
    )
    state = jax.lax.while_loop(unfinished, step, state)

    lengths_BK = (state.tokens != end).sum(-1)
    score_BK = state.log_prob / ((5 + lengths_BK + state.done) / 6) ** length_penalty
    order_BK = jnp.argsort(-score_BK, axis=-1)
    return tuple(_select(leaf, order_BK) for leaf in (state.tokens, lengths_BK, score_BK))


def _select(leaf: Array, index_BK: Int[Array, "B K"]) -> Array:
    """leaf[b, index_BK[b, k]] for every b and k."""
    return leaf[jnp.arange(len(leaf))[:, None], index_BK]
