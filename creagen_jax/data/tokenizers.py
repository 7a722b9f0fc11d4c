"""Text to token ids and back, without loss: bytes, characters, byte-level BPE; or words, which lose
only the kind of space between them.

Every id stands for a fixed string of bytes, so decoding is one join, and characters and bytes of
any tokens can be counted without decoding them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tokenizers as huggingface

from creagen_jax.types import UserError

END = 0  # begins and ends a line-like example; separates the documents of a stream
UNKNOWN = 1  # a character of held-out text that training text does not have
SPECIAL = 2  # ids below this stand for no text

BPE_TRAINING_CHARS = 50_000_000  # merges hardly change beyond this, and training time grows
BPE_PIECE_CHARS = 1 << 16  # the library keeps about 150 bytes a token of what it encodes at once


def utf8(text: str) -> bytes:
    """The UTF-8 bytes of `text`. Raises UserError for half a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise UserError(
            f"character {error.start + 1} of the text is U+{code:04X}, half a surrogate pair, "
            "which UTF-8 cannot hold"
        ) from None


class Tokenizer:
    """Ids 0 .. V-1; `pieces` are the bytes that each id stands for."""

    kind: str
    pieces: tuple[bytes, ...]
    joiner: bytes = b""  # what stands between the pieces of a text

    @property
    def vocab(self) -> int:
        """V, END and UNKNOWN included."""
        return len(self.pieces)

    @functools.cached_property
    def chars_V(self) -> np.ndarray:
        """[V] characters of each id: its bytes that begin one. END is a newline, UNKNOWN one."""
        chars = [sum(byte & 0xC0 != 0x80 for byte in piece) for piece in self.pieces]
        return np.array([1, 1, *chars[SPECIAL:]], np.int32)

    @functools.cached_property
    def bytes_V(self) -> np.ndarray:
        """[V] UTF-8 bytes of each id; one for END (a newline) and for UNKNOWN."""
        return np.array([1, 1, *map(len, self.pieces[SPECIAL:])], np.int32)

    def encode(self, text: str, *, unknown: bool = False) -> np.ndarray:
        """[T] int32. Raises UserError for an unseen character, unless `unknown` maps it."""
        raise NotImplementedError

    def encode_all(
        self, texts: Sequence[str], *, unknown: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts, one behind the other, and how many are each one's [N]."""
        ids = [self.encode(text, unknown=unknown) for text in texts]
        return np.concatenate([*ids, np.empty(0, np.int32)]), np.array(list(map(len, ids)), int)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; END is nothing, UNKNOWN and broken UTF-8 are U+FFFD."""
        return b"".join(self.pieces[i] for i in ids).decode(errors="replace")


_SPECIAL_PIECES = (b"", "\N{REPLACEMENT CHARACTER}".encode())


@dataclasses.dataclass(frozen=True, eq=False)
class Byte(Tokenizer):
    """One token a UTF-8 byte: V = 258, and no text is unknown."""

    kind = "byte"
    pieces = (*_SPECIAL_PIECES, *(bytes([byte]) for byte in range(256)))

    def encode(self, text: str, *, unknown: bool = False) -> np.ndarray:
        return np.frombuffer(utf8(text), np.uint8).astype(np.int32) + SPECIAL


@dataclasses.dataclass(frozen=True, eq=False)
class Char(Tokenizer):
    """One token a character (a Unicode code point) of the training text, in sorted order."""

    characters: str
    kind = "char"

    @functools.cached_property
    def pieces(self) -> tuple[bytes, ...]:
        return (*_SPECIAL_PIECES, *(character.encode() for character in self.characters))

    @functools.cached_property
    def _id_of_code(self) -> np.ndarray:
        """[largest code point + 2] the id of each; the last entry serves all that lie beyond."""
        codes = _code_points(self.characters)
        table = np.full(codes.max(initial=0) + 2, UNKNOWN, np.int32)
        table[codes] = np.arange(SPECIAL, SPECIAL + len(codes))
        return table

    def encode(self, text: str, *, unknown: bool = False) -> np.ndarray:
        codes = _code_points(text)
        ids = self._id_of_code[np.minimum(codes, len(self._id_of_code) - 1)]
        if not unknown and (ids == UNKNOWN).any():
            unseen = codes[ids == UNKNOWN]
            raise UserError(
                f"character {chr(unseen[0])!r} (U+{unseen[0]:04X}) is not in the training text; "
                f"unseen characters in this text: {len(unseen)}, distinct: {len(set(unseen))}"
            )
        return ids

    def encode_all(
        self, texts: Sequence[str], *, unknown: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        # At once: many short texts would take as many calls.
        return self.encode("".join(texts), unknown=unknown), np.array(list(map(len, texts)), int)


@dataclasses.dataclass(frozen=True, eq=False)
class Word(Tokenizer):
    """One token a word of the training text, in sorted order; words are what spaces separate.

    All space between two words becomes one space character, which counts with the word before it;
    that of the last word stands for the END's newline, and END itself counts as nothing.
    """

    words: tuple[str, ...]
    kind = "word"
    joiner = b" "

    @functools.cached_property
    def pieces(self) -> tuple[bytes, ...]:
        return (*_SPECIAL_PIECES, *(word.encode() for word in self.words))

    @functools.cached_property
    def chars_V(self) -> np.ndarray:
        return np.array([0, 2, *(len(word) + 1 for word in self.words)], np.int32)

    @functools.cached_property
    def bytes_V(self) -> np.ndarray:
        return np.array([0, 2, *(len(piece) + 1 for piece in self.pieces[SPECIAL:])], np.int32)

    @functools.cached_property
    def _id_of_word(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words, SPECIAL)}

    def encode(self, text: str, *, unknown: bool = False) -> np.ndarray:
        words = _words(text)
        unseen = [word for word in words if word not in self._id_of_word]
        if unseen and not unknown:
            raise UserError(
                f"word {unseen[0]!r} is not in the training text; unseen words in this text: "
                f"{len(unseen)}, distinct: {len(set(unseen))}"
            )
        return np.array([self._id_of_word.get(word, UNKNOWN) for word in words], np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        return self.joiner.join(self.pieces[i] for i in ids if i != END).decode()


@dataclasses.dataclass(frozen=True, eq=False)
class BPE(Tokenizer):
    """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019): any text."""

    model: huggingface.Tokenizer
    kind = "bpe"

    @functools.cached_property
    def pieces(self) -> tuple[bytes, ...]:
        # The library spells a token with one printable character a byte, as GPT-2 does: printable
        # Latin-1 stands for itself, the other bytes for the code points from 256 on, in order.
        spelling = [chr(b) if chr(b).isprintable() and b != 32 else None for b in range(256)]
        beyond = map(chr, itertools.count(256))
        byte_of = {spelt or next(beyond): byte for byte, spelt in enumerate(spelling)}
        tokens = (self.model.id_to_token(i) for i in range(self.model.get_vocab_size()))
        return (*_SPECIAL_PIECES, *(bytes(byte_of[c] for c in token) for token in tokens))

    def encode(self, text: str, *, unknown: bool = False) -> np.ndarray:
        utf8(text)
        ids = (self.model.encode(piece).ids for piece in split_at_newlines(text, BPE_PIECE_CHARS))
        return np.fromiter(itertools.chain.from_iterable(ids), np.int32) + SPECIAL


def train(kind: str | Tokenizer, chunks: Iterable[str], vocab: int = 0) -> Tokenizer:
    """The tokenizer of the training text that `chunks` make up; `vocab` is V, for BPE only.

    BPE may find fewer merges than asked for. A `kind` that is a tokenizer is trained already. No
    word may go on from one chunk to the next. Raises UserError for an unknown kind, too small V.
    """
    if isinstance(kind, Tokenizer):
        return kind
    if kind == "byte":
        return Byte()
    if kind == "char":
        seen: set[str] = set()
        for chunk in chunks:
            utf8(chunk)
            seen.update(chunk)
        return Char("".join(sorted(seen)))
    if kind == "word":
        return Word(tuple(sorted({word for chunk in chunks for word in _words(chunk)})))
    if kind == "bpe":
        return BPE(_train_bpe(chunks, vocab))
    raise UserError(f"unknown tokenizer '{kind}'; choose one of byte, char, bpe, word")


def save(tokenizer: Tokenizer, path: Path) -> None:
    """Writes a tokenizer as JSON."""
    state = {"kind": tokenizer.kind}
    if isinstance(tokenizer, Char):
        state["characters"] = tokenizer.characters
    if isinstance(tokenizer, Word):
        state["words"] = tokenizer.words
    if isinstance(tokenizer, BPE):
        state["model"] = tokenizer.model.to_str()
    path.write_text(json.dumps(state))


def load(path: Path) -> Tokenizer:
    """Reads what `save` wrote."""
    state = json.loads(path.read_text())
    if state["kind"] == "char":
        return Char(state["characters"])
    if state["kind"] == "word":
        return Word(tuple(state["words"]))
    if state["kind"] == "bpe":
        return BPE(huggingface.Tokenizer.from_str(state["model"]))
    return Byte()


def split_at_newlines(text: str, size: int) -> Iterator[str]:
    """Pieces of at most `size` characters that end after a newline wherever there is one."""
    start = 0
    while start < len(text):
        stop = start + size
        if stop < len(text):
            stop = text.rfind("\n", start, stop) + 1 or stop
        yield text[start:stop]
        start = stop


def _code_points(text: str) -> np.ndarray:
    utf8(text)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _words(text: str) -> list[str]:
    utf8(text)
    return text.split()


def _train_bpe(chunks: Iterable[str], vocab: int) -> huggingface.Tokenizer:
    byte_level = huggingface.pre_tokenizers.ByteLevel(add_prefix_space=False)
    smallest = SPECIAL + len(byte_level.alphabet())
    if vocab < smallest:
        raise UserError(f"a BPE vocabulary of {vocab} is too small; choose {smallest} or more")
    model = huggingface.Tokenizer(huggingface.models.BPE())
    model.pre_tokenizer = byte_level
    trainer = huggingface.trainers.BpeTrainer(
        vocab_size=vocab - SPECIAL,
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(_first(chunks, BPE_TRAINING_CHARS), trainer)
    return model


def _first(chunks: Iterable[str], size: int) -> Iterator[str]:
    for chunk in chunks:
        yield from split_at_newlines(chunk[:size], BPE_PIECE_CHARS)
        size -= len(chunk)
        if size <= 0:
            return
