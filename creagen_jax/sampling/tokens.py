"""Decoding: draws tokens from any autoregressive model, one scan for every family.

A model enters as `next_logits(carry, token_B) -> (logits_BV, carry)`, a closure over parameters;
every leaf of the carry has the sample as its first axis. Everything here may be called inside jit.

    decode = start (the prompt) + advance (the rest), and advance may be called in chunks, to
    stream, or to stop in a host loop once `state.done.all()`. Chunks do not change the result.

Sample b draws its token at position t (prompt included) with fold_in(key(seed_b), t): it depends
on its own seed and prompt only, not on the batch around it.

With a guard (see `copying.py`), a token is drawn twice with that key, of all tokens and of those
that the guard allows; where the two differ the guard has stepped in. A sample that has no token
left ends, even if END is forbidden or refused by the guard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int8, Key

from creagen_jax.sampling import avoiding, copying
from creagen_jax.sampling.filters import Sampling, forbid, process
from creagen_jax.sampling.matching import Matcher

Carry = Any
NextLogits = Callable[[Carry, Array], tuple[Array, Carry]]

CHANGED, CUT = 1, 2  # what the guard did to a token: another one, or END, because none was left


@flax.struct.dataclass
class DecodeState:
    """What decoding carries from one token to the next. A pytree."""

    carry: Carry
    token: Int[Array, " B"]  # the next input, last of the prompt or of the draws
    position: Int[Array, " B"]  # tokens so far, prompt included
    done: Bool[Array, " B"]  # END was drawn
    key: Key[Array, " B"]
    counts: Int[Array, "B V"] | None  # how often each token was seen, if a filter asks
    history: Int[Array, "B L"] | None  # L = P + length: the tokens so far, if a filter asks
    guarded: Int8[Array, "B L"] | None  # CHANGED or CUT where the guard stepped in, if there is one


def keys_from_seeds(seeds_B: Int[Array, " B"]) -> Key[Array, " B"]:
    """One PRNG key for each sample: key_b = key(seeds_B[b])."""
    return jax.vmap(jax.random.key)(seeds_B)


def decode(
    next_logits: NextLogits,
    carry: Carry,
    prompt_BP: Int[Array, "B P"],
    prompt_len_B: Int[Array, " B"] | None,
    seeds_B: Int[Array, " B"],
    *,
    length: int,
    settings: Sampling,
    end: int = 0,
    forbidden: Sequence[int] = (),
    guard: copying.Guard | None = None,
    avoided: Matcher | None = None,
) -> tuple[Int[Array, "B T"], Int[Array, " B"], Bool[Array, " B"]]:
    """Draws up to `length` tokens after each prompt.

    Arguments are those of `start` and `advance`. Returns tokens [B, length] (END from the first
    END on), lengths [B] (tokens before END) and done [B] (whether END was drawn).
    """
    state = start(
        next_logits, carry, prompt_BP, prompt_len_B, seeds_B,
        length=length, settings=settings, end=end, guard=guard, avoided=avoided,
    )  # fmt: skip
    state, tokens_BT = advance(
        next_logits, state, length,
        settings=settings, end=end, forbidden=forbidden, guard=guard, avoided=avoided,
    )  # fmt: skip
    return tokens_BT, (tokens_BT != end).sum(-1), state.done


def start(
    next_logits: NextLogits,
    carry: Carry,
    prompt_BP: Int[Array, "B P"],
    prompt_len_B: Int[Array, " B"] | None,
    seeds_B: Int[Array, " B"],
    *,
    length: int,
    settings: Sampling,
    end: int = 0,
    guard: copying.Guard | None = None,
    avoided: Matcher | None = None,
) -> DecodeState:
    """Feeds the prompts to the model; the state is ready to draw up to `length` tokens.

    prompt_BP     [B, P] int32, P >= 1, right-padded; begins with the start token (END)
    prompt_len_B  [B] int32 in 1..P: tokens of each prompt, or None if all have P
    seeds_B       [B] integers: one seed for each sample
    length        how many tokens will be drawn at most: the size of the history, if one is kept
    end           the id of END, which the penalties do not count
    guard         the one that `advance` will get
    avoided       texts that no sample may contain (see `avoiding.build`), as `advance` will get it
    """
    B, P = prompt_BP.shape
    if avoided:
        next_logits, carry = avoiding.restrained(next_logits, avoided), avoiding.start(carry, B)
    carry, token_B = prefill(next_logits, carry, prompt_BP, prompt_len_B)
    position_B = jnp.full(B, P, jnp.int32) if prompt_len_B is None else prompt_len_B
    counts_BV = history_BL = guarded_BL = None
    if settings.needs_counts:
        V = jax.eval_shape(next_logits, carry, token_B)[0].shape[-1]
        seen_BP = (jnp.arange(P) < position_B[:, None]) & (prompt_BP != end)
        counts_BV = jnp.zeros((B, V), jnp.int32)
        counts_BV = counts_BV.at[jnp.arange(B)[:, None], prompt_BP].add(seen_BP)
    if settings.needs_history or guard:
        history_BL = jnp.pad(prompt_BP, ((0, 0), (0, length)))
    if guard:
        guarded_BL = jnp.zeros((B, P + length), jnp.int8)
    return DecodeState(
        carry=carry,
        token=token_B,
        position=position_B,
        done=jnp.zeros(B, bool),
        key=keys_from_seeds(seeds_B),
        counts=counts_BV,
        history=history_BL,
        guarded=guarded_BL,
    )


def prefill(
    next_logits: NextLogits,
    carry: Carry,
    prompt_BP: Int[Array, "B P"],
    prompt_len_B: Int[Array, " B"] | None,
) -> tuple[Carry, Int[Array, " B"]]:
    """Feeds all but the last token of each prompt. Returns the carry and the last tokens."""

    def feed(carry, inputs):
        token_B, inside_B = inputs
        _, fed = next_logits(carry, token_B)
        # A row whose prompt is over stays as it is.
        return fed if prompt_len_B is None else select_rows(inside_B, fed, carry)

    def step(carry, inputs):
        if prompt_len_B is None:
            return feed(carry, inputs), None
        return jax.lax.cond(inputs[1].any(), feed, lambda carry, _: carry, carry, inputs), None

    B, P = prompt_BP.shape
    last_B = jnp.full(B, P - 1) if prompt_len_B is None else prompt_len_B - 1
    inside_PB = jnp.arange(P - 1)[:, None] < last_B
    carry, _ = jax.lax.scan(step, carry, (prompt_BP[:, :-1].T, inside_PB))
    return carry, prompt_BP[jnp.arange(B), last_B]


def select_rows(chosen_B: Bool[Array, " B"], new: Carry, old: Carry) -> Carry:
    """The carry that is `new` in the chosen samples and `old` in the others."""

    def select(new, old):
        return jnp.where(chosen_B.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(select, new, old)


def advance(
    next_logits: NextLogits,
    state: DecodeState,
    steps: int,
    *,
    settings: Sampling,
    end: int = 0,
    forbidden: Sequence[int] = (),
    guard: copying.Guard | None = None,
    avoided: Matcher | None = None,
) -> tuple[DecodeState, Int[Array, "B T"]]:
    """Draws the next `steps` tokens, never one of `forbidden`. Returns state, tokens [B, steps].

    A sample that drew END goes on as END.
    """
    rows_B = jnp.arange(len(state.token))
    if avoided:
        next_logits = avoiding.restrained(next_logits, avoided)

    def choose(state, logits_BV):
        """A token of those whose logits are not -inf, END where there is none; and where so."""
        stuck_B = jnp.isneginf(logits_BV).all(-1)
        logits_BV = process(
            # The filters want at least one token; what they make of a stuck row is not used.
            jnp.where(stuck_B[:, None], 0.0, logits_BV),
            settings,
            counts_BV=state.counts,
            history_BL=state.history,
            length_B=state.position,
        )
        token_B = _draw(state.key, state.position, logits_BV, settings)
        return jnp.where(state.done | stuck_B, end, token_B), stuck_B

    def choose_guarded(state, logits_BV):
        refused_BV = copying.refused(guard, state.history, state.position, logits_BV.shape[1])
        token_B, stuck_B = choose(state, jnp.where(refused_BV, -jnp.inf, logits_BV))
        changed_B = token_B != choose(state, logits_BV)[0]
        action_B = jnp.where(changed_B, jnp.where(stuck_B, CUT, CHANGED), 0).astype(jnp.int8)
        return token_B, state.guarded.at[rows_B, state.position].set(action_B)

    def step(state, _):
        logits_BV, carry = next_logits(state.carry, state.token)
        if forbidden:
            logits_BV = forbid(logits_BV, forbidden)
        counts_BV, history_BL, guarded_BL = state.counts, state.history, state.guarded
        if guard:
            token_B, guarded_BL = choose_guarded(state, logits_BV)
        else:
            token_B, _ = choose(state, logits_BV)
        if counts_BV is not None:
            counts_BV = counts_BV.at[rows_B, token_B].add(token_B != end)
        if history_BL is not None:
            history_BL = history_BL.at[rows_B, state.position].set(token_B)
        state = state.replace(
            carry=carry,
            token=token_B,
            position=state.position + 1,
            done=token_B == end,
            counts=counts_BV,
            history=history_BL,
            guarded=guarded_BL,
        )
        return state, token_B

    state, tokens_TB = jax.lax.scan(step, state, length=steps)
    return state, tokens_TB.T


def _draw(
    key_B: Key[Array, " B"],
    position_B: Int[Array, " B"],
    logits_BV: Float[Array, "B V"],
    settings: Sampling,
) -> Int[Array, " B"]:
    """One token for each row; greedy at temperature 0, of equals the lowest id."""

    def draw(key, position, logits_V):
        return jax.random.categorical(jax.random.fold_in(key, position), logits_V)

    if settings.temperature == 0:
        token_B = logits_BV.argmax(-1)
    else:
        token_B = jax.vmap(draw)(key_B, position_B, logits_BV)
    return token_B.astype(jnp.int32)
