"""Texts as the sequences that they are compared by: words without case and punctuation, or
characters without case."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

EDGE = 0  # the unit before and after a whole text: with it, a copy of all of it is longer
WORD = re.compile(r"\w+")


class Texts(NamedTuple):
    """Texts as the units that they are compared by: N arrays each, with an entry for each unit."""

    ids: list[np.ndarray]
    start: list[np.ndarray]  # where each unit begins in its text
    stop: list[np.ndarray]


class Alphabet(NamedTuple):
    """From characters and words to ids 1, 2, ..."""

    characters: dict[str, int]
    words: dict[str, int]  # those seen twice in the training texts, then once, then others
    common: int  # how many of the words are of the first kind
    known: int  # and of the first or the second


def texts_of(texts: Sequence[str], alphabet: Alphabet, *, line: bool, words: bool) -> Texts:
    """The units of texts. What the alphabet does not have gets an id that no real text has."""
    out = Texts([], [], [])
    split = partial(_word_units, alphabet) if words else _character_units
    for text in texts:
        ids, start, stop = split(text)
        if line:
            ids = np.concatenate([[EDGE], ids, [EDGE]])
            start = np.concatenate([[0], start, [len(text)]])
            stop = np.concatenate([[0], stop, [len(text)]])
        for part, values in zip(out, (ids, start, stop), strict=True):
            part.append(values)
    return out


def _word_units(alphabet: Alphabet, text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = list(WORD.finditer(text))
    beyond = len(alphabet.words) + 1
    ids = [alphabet.words.get(match[0].casefold(), beyond) for match in found]
    bounds = np.array([match.span() for match in found], np.int64).reshape(-1, 2)
    return np.array(ids, np.int64), bounds[:, 0], bounds[:, 1]


def _character_units(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    folded = text.casefold()
    if len(folded) != len(text):  # some characters fold to several
        folded = "".join(f if len(f := c.casefold()) == 1 else c for c in text)
    ids = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)
    place = np.arange(len(text))
    return ids, place, place + 1


def alphabet_of(documents: Sequence[str], more: Sequence[str]) -> Alphabet:
    """The alphabet of training documents, and of the words that `more` texts add."""
    seen_characters = sorted(set().union(*documents))
    count = Counter(word.casefold() for text in documents for word in WORD.findall(text))
    trained = sorted(count, key=lambda word: (count[word] == 1, word))
    others = {word.casefold() for text in more for word in WORD.findall(text)} - count.keys()
    return Alphabet(
        {character: i for i, character in enumerate(seen_characters, 1)},
        {word: i for i, word in enumerate([*trained, *sorted(others)], 1)},
        sum(seen > 1 for seen in count.values()),
        len(count),
    )


def characters(texts: Sequence[str], alphabet: Alphabet) -> list[list[int]]:
    """Texts as ids of characters, case and all, of which 0 stands for any unknown one."""
    return [[alphabet.characters.get(character, 0) for character in text] for text in texts]


def common_words(units: Texts, alphabet: Alphabet) -> list[np.ndarray]:
    """Words as ids of which 0 stands for any rare one."""
    return [np.where(ids <= alphabet.common, ids, 0) for ids in units.ids]
