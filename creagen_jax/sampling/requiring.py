"""Texts that every sample contains, from any autoregressive model, without training for it.

    1. The model draws a draft of what follows the prompt, to its end.
    2. Where a required text w is missing, it is put in: of all places t of the draft y, from the
       prompt to the end, and all missing texts, one is drawn with

           P(w, t) ~ p(w | prompt, y[:t]) ** (1 / temperature)

       the draft is cut at t, and w stands there.
    3. From behind w the model draws a new draft, and so on until no text is missing.

So the model wrote what precedes a text without knowing of it, but the text stands where that made
it likely; and it wrote what follows knowing it. The order of the texts is the model's too. What is
put in stays; a text that a draft has by itself may be lost with the draft, and is then missing.
That place is the more likely whose text before it asks for w: it is no exact draw from the model
under the condition that w occurs, which also weighs what may follow.

A text is spelt as the tokenizer spells it; one that begins a word, also with a space before it. It
stands only where room is left for the other texts and, if words have spaces between them, where a
word may begin. How it goes on is the model's choice: "cat" may become "cats".

Letters: B samples, T tokens drawn, L tokens with the prompt, V vocabulary, S states of a matcher,
K required texts, M spellings of them, R tokens of a spelling, P places that are looked at.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int8, Key

from creagen_jax.sampling import avoiding, copying, matching, tokens
from creagen_jax.sampling.filters import Sampling
from creagen_jax.sampling.tokens import Carry, NextLogits
from creagen_jax.types import UserError

PLACES = 32  # P at most: of more places than that, so many are looked at, evenly spread
CHUNK = 16  # tokens drawn between two looks at whether all drafts have ended
PATIENCE = 8  # drafts in which no place is found for a text, before it is given up


@flax.struct.dataclass
class Required:
    """The required texts. A pytree."""

    matcher: matching.Matcher  # of each text: leaves [K, S, V]
    spelling_MR: jax.Array  # int32: the tokens of each spelling, right-padded
    length_M: jax.Array  # int32: how many they are
    text_M: jax.Array  # int32: which text each spells
    need_K: jax.Array  # int32: tokens of each text's longest spelling
    behind_MV: jax.Array  # bool: the tokens that a spelling may stand behind
    before_MV: jax.Array  # bool: the tokens of a draft that it may stand in the place of


def build(
    pieces: Sequence[bytes],
    texts: Sequence[str],
    encode: Callable[[str], Int[np.ndarray, " tokens"]],
    *,
    joiner: bytes = b"",
) -> Required:
    """What `require` wants of one or more texts; `encode` gives a text's tokens, `pieces` and
    `joiner` are those of `matching.build`.

    Raises UserError for an empty text, and whatever `encode` raises.
    """
    spaced = joiner == b" " or any(b" " in piece for piece in pieces)
    no_letter_V = np.array([not _is_letter((piece and piece + joiner)[-1:]) for piece in pieces])
    no_space_V = np.array([piece.rstrip() == piece != b"" for piece in pieces])
    word_over_V = np.array([piece != b" " and not _is_letter(piece[:1]) for piece in pieces])
    whole_V = np.array([piece[:1] < b"\x80" or piece[:1] >= b"\xc0" for piece in pieces])
    anything_V = np.ones(len(pieces), bool)

    matchers, spellings = [], []  # a spelling: its text, its tokens, and where it may stand
    for k, text in enumerate(texts):
        if not text.strip():
            raise UserError("a required text is empty; give one or more characters")
        # Chinese and Japanese, whose characters are wide, put no spaces between words.
        word = spaced and text[0].isalnum() and unicodedata.east_asian_width(text[0]) not in "WF"
        ids = encode(text)
        spelt = joiner.join(pieces[i] for i in ids)  # a tokenizer may make one space of several
        matchers.append(matching.build(pieces, [spelt], joiner=joiner, words=word))
        spellings.append((k, ids, no_letter_V if word else anything_V, whole_V))
        if word and not joiner:
            spellings.append((k, encode(" " + text), no_space_V, word_over_V))

    text_M, tokens_M, behind_MV, before_MV = zip(*spellings, strict=True)
    length_M = np.array([len(ids) for ids in tokens_M])
    need_K = [length_M[np.array(text_M) == k].max() for k in range(len(texts))]
    padded = [np.pad(ids, (0, length_M.max() - len(ids))) for ids in tokens_M]
    return Required(
        matcher=_stack(matchers),
        spelling_MR=jnp.asarray(np.stack(padded), jnp.int32),
        length_M=jnp.asarray(length_M, jnp.int32),
        text_M=jnp.asarray(text_M, jnp.int32),
        need_K=jnp.asarray(need_K, jnp.int32),
        behind_MV=jnp.asarray(np.stack(behind_MV)),
        before_MV=jnp.asarray(np.stack(before_MV)),
    )


def _is_letter(byte: bytes) -> bool:
    return byte != b"" and matching.is_letter(byte[0])


def _stack(matchers: Sequence[matching.Matcher]) -> matching.Matcher:
    """One matcher with leaves [K, S, V]; states that only pad are never reached."""
    states = max(len(matcher.next) for matcher in matchers)

    def stack(*leaves):
        return jnp.stack([jnp.pad(leaf, ((0, states - len(leaf)), (0, 0))) for leaf in leaves])

    return jax.tree.map(stack, *matchers)


def check(required: Required, length: int, beams: int = 0) -> None:
    """Raises UserError if the texts need more than `length` tokens, or for beam search."""
    if beams:
        raise UserError("beam search ignores must; set one of the two")
    need = int(required.need_K.sum())
    if need > length:
        raise UserError(
            f"the required texts need {need} tokens, and a sample has {length}; leave some out, or "
            "raise --length where the model allows it"
        )


def require(
    next_logits: NextLogits,
    carry: Carry,
    prompt_BP: Int[Array, "B P"],
    prompt_len_B: Int[Array, " B"] | None,
    seeds_B: Int[Array, " B"],
    required: Required,
    *,
    length: int,
    settings: Sampling,
    end: int = 0,
    forbidden: Sequence[int] = (),
    guard: copying.Guard | None = None,
    avoided: matching.Matcher | None = None,
) -> tuple[Int[Array, "B T"], Int8[Array, "B T"], Bool[Array, "B K"]]:
    """Draws up to `length` tokens after each prompt, and the required texts are among them.

    The arguments are those of `tokens.decode`; `check` has found that the texts fit. The guard
    watches what is drawn, not what is put in. A text counts as there if its last token is not of
    the prompt. A sample whose first draft has all texts is the one that `tokens.decode` draws; each
    depends on its own seed and prompt only, not on the batch around it.

    Returns tokens [B, length] (END from the first END on), what the guard did to each, and the
    texts that a sample lacks all the same: the model gives them no chance, or no place without an
    avoided text.
    """
    (B, P), T, K = prompt_BP.shape, length, len(required.need_K)
    start_B = jnp.full(B, P, jnp.int32) if prompt_len_B is None else prompt_len_B
    drawn_BT = start_B[:, None] + jnp.arange(T)  # where the drawn tokens stand behind the prompts
    how = {"settings": settings, "end": end, "guard": guard, "avoided": avoided}
    judge = next_logits, carry
    if avoided:
        judge = avoiding.restrained(next_logits, avoided), avoiding.start(carry, B)

    def whole(tokens_BT):
        return _behind(prompt_BP, start_B, tokens_BT, end)

    def draft(tokens_BT, fixed_B, wanted_B, key_B):
        """What the model draws behind the fixed tokens, where wanted, and what the guard did."""
        padded = -(-T // CHUNK) * CHUNK
        text_BL, size_B = whole(tokens_BT), start_B + fixed_B
        state = tokens.start(next_logits, carry, text_BL, size_B, seeds_B, length=padded, **how)
        state = state.replace(key=key_B, done=~wanted_B)

        def unfinished(loop):
            return (~loop[0].done & (loop[0].position < start_B + T)).any()

        def draw(loop):
            state, new_BT, count = loop
            state, part = tokens.advance(next_logits, state, CHUNK, forbidden=forbidden, **how)
            return state, jax.lax.dynamic_update_slice(new_BT, part, (0, count)), count + CHUNK

        new_BT = jnp.full((B, padded), end, jnp.int32)
        state, new_BT, _ = jax.lax.while_loop(unfinished, draw, (state, new_BT, jnp.int32(0)))
        behind_BT = jnp.arange(T) - fixed_B[:, None]
        new_BT = jnp.take_along_axis(new_BT, jnp.clip(behind_BT, 0, T - 1), 1)
        is_new_BT = (behind_BT >= 0) & wanted_B[:, None]
        guarded_BT = jnp.zeros((B, T), jnp.int8)
        if guard:
            guarded_BT = jnp.take_along_axis(state.guarded, drawn_BT, 1)
        return is_new_BT, new_BT, guarded_BT

    def put_in(tokens_BT, fixed_B, known_BK, key_B, place_key_B):
        """The drafts with one text that each lacks, the places where they were cut for it, and how
        many of their tokens stay from now on."""
        text_BL = whole(tokens_BT)
        before_BT = jnp.take_along_axis(text_BL, drawn_BT - 1, 1)
        fits_BTM = _fits(required, tokens_BT, before_BT, fixed_B, known_BK, end)
        place_BP, listed_BP = _some(place_key_B, fits_BTM.any(-1))
        fits_BPM = jnp.take_along_axis(fits_BTM, place_BP[..., None], 1) & listed_BP[..., None]
        at_BP = start_B[:, None] + place_BP
        score_BX = _scores(*judge, text_BL, at_BP, fits_BPM, required).reshape(B, -1)
        if settings.temperature == 0:
            chosen_B = score_BX.argmax(1)
        else:
            chosen_B = jax.vmap(jax.random.categorical)(key_B, score_BX / settings.temperature)
        found_B = (score_BX > -jnp.inf).any(1)
        place_B, spelling_B = jnp.divmod(chosen_B, len(required.length_M))
        cut_B = jnp.where(found_B, place_BP[jnp.arange(B), place_B], fixed_B)
        size_B = jnp.where(found_B, required.length_M[spelling_B], 0)

        spelt_BR = required.spelling_MR[spelling_B]
        return _insert(tokens_BT, spelt_BR, cut_B, size_B, end), cut_B, cut_B + size_B

    def step(loop):
        is_new_BT, new_BT, guarded_BT = draft(
            loop["tokens"], loop["fixed"], loop["lacking"].any(1), loop["key"]
        )
        tokens_BT = jnp.where(is_new_BT, new_BT, loop["tokens"])
        known_BK = _known(required, whole(tokens_BT), drawn_BT)
        lacking_BK = known_BK > T
        # No token is drawn with what 0 makes of the key: position 0 is of the prompt.
        key_B3 = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, 0), 3))(loop["key"])
        lacks_B = lacking_BK.any(1)
        put_BT, cut_B, fixed_B = jax.lax.cond(
            lacks_B.any(),
            put_in,
            lambda tokens_BT, fixed_B, *_: (tokens_BT, fixed_B, fixed_B),
            tokens_BT, loop["fixed"], known_BK, key_B3[:, 0], key_B3[:, 1],
        )  # fmt: skip
        guarded_BT = jnp.where(is_new_BT, guarded_BT, loop["guarded"])
        is_cut_BT = lacks_B[:, None] & (jnp.arange(T) >= cut_B[:, None])
        return {
            "tokens": jnp.where(is_cut_BT, put_BT, tokens_BT),
            "fixed": jnp.where(lacks_B, fixed_B, loop["fixed"]),
            "guarded": jnp.where(is_cut_BT, 0, guarded_BT),
            "lacking": lacking_BK,
            "key": key_B3[:, 2],
            "drafts": loop["drafts"] + 1,
        }

    loop = {
        "tokens": jnp.full((B, T), end, jnp.int32),
        "fixed": jnp.zeros(B, jnp.int32),
        "guarded": jnp.zeros((B, T), jnp.int8),
        "lacking": jnp.ones((B, K), bool),
        "key": tokens.keys_from_seeds(seeds_B),
        "drafts": jnp.int32(0),
    }
    loop = jax.lax.while_loop(
        lambda loop: loop["lacking"].any() & (loop["drafts"] <= K + PATIENCE), step, loop
    )
    return loop["tokens"], loop["guarded"], loop["lacking"]


def _behind(
    prompt_BP: Int[Array, "B P"],
    start_B: Int[Array, " B"],
    tokens_BT: Int[Array, "B T"],
    end: int,
) -> Int[Array, "B L"]:
    """The prompts, of `start_B` tokens each, and behind them other tokens: L = P + T."""
    T = tokens_BT.shape[1]
    text_BL = jnp.pad(prompt_BP, ((0, 0), (0, T)))
    index_BL = jnp.arange(text_BL.shape[1]) - start_B[:, None]
    later_BL = jnp.take_along_axis(tokens_BT, jnp.clip(index_BL, 0, T - 1), 1)
    return jnp.where(index_BL < 0, text_BL, jnp.where(index_BL < T, later_BL, end))


def _insert(
    tokens_BT: Int[Array, "B T"],
    spelt_BR: Int[Array, "B R"],
    cut_B: Int[Array, " B"],
    size_B: Int[Array, " B"],
    end: int,
) -> Int[Array, "B T"]:
    """The tokens before the cut, `size_B` that are spelt there, and END."""
    T, R = tokens_BT.shape[1], spelt_BR.shape[1]
    index_BT = jnp.arange(T) - cut_B[:, None]
    spelt_BT = jnp.take_along_axis(spelt_BR, jnp.clip(index_BT, 0, R - 1), 1)
    spelt_BT = jnp.where(index_BT < size_B[:, None], spelt_BT, end)
    return jnp.where(index_BT < 0, tokens_BT, spelt_BT)


def _known(
    required: Required, text_BL: Int[Array, "B L"], drawn_BT: Int[Array, "B T"]
) -> Int[Array, "B K"]:
    """How many drawn tokens there are until each text is complete; T + 1 if it never is."""
    found_KBL = jax.vmap(matching.occurrences, (0, None))(required.matcher, text_BL)
    found_KBT = jnp.take_along_axis(found_KBL, drawn_BT[None], 2)
    T = drawn_BT.shape[1]
    return jnp.where(found_KBT.any(-1), 1 + found_KBT.argmax(-1), T + 1).T


def _fits(
    required: Required,
    tokens_BT: Int[Array, "B T"],
    before_BT: Int[Array, "B T"],
    fixed_B: Int[Array, " B"],
    known_BK: Int[Array, "B K"],
    end: int,
) -> Bool[Array, "B T M"]:
    """In the place of which token of the draft each spelling may stand, if its text is lacking."""
    T = tokens_BT.shape[1]
    place_T = jnp.arange(T)
    first_BT = place_T == fixed_B[:, None]
    end_BT = tokens_BT == end
    stop_B = jnp.where(end_BT.any(1), end_BT.argmax(1), T)
    drafted_BT = (fixed_B[:, None] <= place_T) & (place_T <= stop_B[:, None])
    # A text that is complete before the cut stays; all others may yet need their room.
    need_BT = ((known_BK[:, None] > place_T[:, None]) * required.need_K).sum(-1)
    taken_M = required.length_M - required.need_K[required.text_M]
    room_BTM = (place_T + need_BT)[..., None] + taken_M <= T
    lacking_BM = known_BK[:, required.text_M] > T
    behind_BTM = required.behind_MV.T[before_BT]
    before_BTM = required.before_MV.T[tokens_BT] | first_BT[..., None]
    return drafted_BT[..., None] & room_BTM & lacking_BM[:, None] & behind_BTM & before_BTM


def _some(
    key_B: Key[Array, " B"], open_BT: Bool[Array, "B T"]
) -> tuple[Int[Array, "B P"], Bool[Array, "B P"]]:
    """The open places in ascending order, or PLACES of them, evenly spread from a beginning by
    chance; and which of the entries are places: where there are fewer, the last are none."""
    T = open_BT.shape[1]
    P = min(PLACES, T)
    count_BT = jnp.cumsum(open_BT, 1)
    shift_B = jax.vmap(jax.random.uniform)(key_B)
    stride_B = jnp.maximum(count_BT[:, -1] / P, 1)
    rank_BP = ((jnp.arange(P) + shift_B[:, None]) * stride_B[:, None]).astype(jnp.int32)
    listed_BP = rank_BP < count_BT[:, -1:]
    place_BP = jax.vmap(jnp.searchsorted)(count_BT, rank_BP + 1)
    return jnp.where(listed_BP, place_BP, 0), listed_BP


def _scores(
    next_logits: NextLogits,
    carry: Carry,
    text_BL: Int[Array, "B L"],
    place_BP: Int[Array, "B P"],
    fits_BPM: Bool[Array, "B P M"],
    required: Required,
) -> Float[Array, "B P M"]:
    """log p(spelling | the text before the place) in nats, at ascending places; -inf where it does
    not fit.

    One pass over the text, in which each sample goes from place to place at its own pace: no more
    than two carries are kept.
    """
    B, R = len(text_BL), required.spelling_MR.shape[1]
    rows_B = jnp.arange(B)

    def spell(loop, inputs):
        (carry, token_B), (token, inside) = loop, inputs
        logits_BV, carry = next_logits(carry, token_B)
        log_prob_B = jax.nn.log_softmax(logits_BV.astype(jnp.float32))[:, token]
        # Where no token is left, log_softmax is not a number.
        log_prob_B = jnp.where(jnp.isneginf(logits_BV[:, token]), -jnp.inf, log_prob_B)
        return (carry, jnp.full(B, token)), jnp.where(inside, log_prob_B, 0.0)

    def look(loop, inputs):
        place_B, fits_MB = inputs
        last_B = place_B - 1  # the token that the model reads next

        def feed(loop):
            carry, fed_B = loop
            behind_B = fed_B < last_B
            _, fed = next_logits(carry, text_BL[rows_B, fed_B])
            return tokens.select_rows(behind_B, fed, carry), fed_B + behind_B

        def score(inputs):
            spelling_R, length, fits_B = inputs
            start = carry, text_BL[rows_B, last_B]
            log_prob_RB = jax.lax.cond(
                fits_B.any(),
                lambda: jax.lax.scan(spell, start, (spelling_R, jnp.arange(R) < length))[1],
                lambda: jnp.zeros((R, B)),
            )
            return jnp.where(fits_B, log_prob_RB.sum(0), -jnp.inf)

        carry, fed_B = jax.lax.while_loop(lambda loop: (loop[1] < last_B).any(), feed, loop)
        score_MB = jax.lax.map(score, (required.spelling_MR, required.length_M, fits_MB))
        return (carry, fed_B), score_MB

    start = carry, jnp.zeros(B, jnp.int32)
    _, score_PMB = jax.lax.scan(look, start, (place_BP.T, fits_BPM.transpose(1, 2, 0)))
    return score_PMB.transpose(2, 0, 1)
