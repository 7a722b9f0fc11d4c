"""Captions: where they stand, which words they have, and which of them are held out."""

from __future__ import annotations

import collections
import itertools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from creagen_jax.data import image_sources, image_store, pair_sources, sources
from creagen_jax.types import UserError

TABLES = {  # in a folder of pictures, with their columns of files and texts; the first one is read
    "captions.tsv": ("file", "caption"),
    "captions.csv": ("file", "caption"),
    "captions.jsonl": ("file", "caption"),
    "metadata.jsonl": ("file_name", "text"),
    "metadata.csv": ("file_name", "text"),
}
# Scripts without spaces between words: there each character counts as a word.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")


class Row(NamedTuple):
    """A picture and its caption."""

    file: Path
    caption: str


def read(path: str) -> list[Row]:
    """The pictures of a folder with their captions, as `normal` writes them.

    Raises UserError for what cannot be found or read, a caption without a word, and a file that the
    table names twice.
    """
    folder = Path(path).expanduser()
    if not folder.exists():
        raise sources.not_found(folder)
    if not folder.is_dir():
        raise UserError(f"{path} is one file; choose a folder of pictures with captions")
    table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if table:
        found = pair_sources.files(str(table), shares={}, columns=TABLES[table.name])
        rows = [Row(folder / row.source, normal(row.target)) for row in found.splits["train"]]
        if twice := [
            file for file, n in collections.Counter(row.file for row in rows).items() if n > 1
        ]:
            raise UserError(
                f"{table} names {twice[0].name} more than once; keep one caption of each"
            )
    else:
        rows = [Row(file, _from_name(file)) for file in _pictures(folder)]
    if not rows:
        raise UserError(f"folder {path} holds no {', '.join(image_sources.SUFFIXES)} file")
    if bare := [row.file.name for row in rows if not words(row.caption)]:
        ways = f"; write {', '.join(TABLES)}, or name the files by what they show"
        raise UserError(
            f"{path}: {len(bare)} of {len(rows)} pictures have no word as a caption: "
            f"{image_store.first(bare)}{'' if table else ways}"
        )
    return rows


def normal(caption: str) -> str:
    """A caption in lower case, with one space between two words: the same to a reader."""
    return " ".join(unicodedata.normalize("NFC", caption).lower().split())


def words(caption: str) -> frozenset[str]:
    """The different words of a caption; of a script without spaces, its characters."""
    return frozenset(WORD.findall(caption))


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.rglob("*") if file.suffix.lower() in image_sources.SUFFIXES
    )


def _from_name(file: Path) -> str:
    """red_apple_2.png is a second red apple."""
    return normal(re.sub(r"[\W_]+", " ", re.sub(r"(^|[\W_]+)\d+$", "", file.stem)))


def hold_out(captions: Sequence[str], shares: dict[str, float], seed: int) -> dict[str, str]:
    """The split of each caption that is held out; equal captions are those of several pictures.

    In an order that only the seed and the texts decide, a caption is taken with all others that
    have the same two words, if each of their words also stands in a caption that stays. A split
    gets at most its share of the pictures (or as many as a caption can have, if that is more), and
    less where words combine too little. Raises UserError for a split that gets none.
    """
    pictures = collections.Counter(captions)
    words_of = {caption: words(caption) for caption in pictures}
    having = collections.defaultdict(set)
    for caption, found in words_of.items():
        for word in found:
            having[word].add(caption)
    stay = {word: len(those) for word, those in having.items()}  # training captions with a word
    order = sorted(pictures, key=lambda caption: sources.text_hash(f"{seed} {caption}"))
    split_of = {}
    for name, share in shares.items():
        room = max(round(share * len(captions)), max(pictures.values(), default=0))
        for caption in order:
            for a, b in [] if caption in split_of else _pairs(words_of[caption], seed):
                taken = {each for each in having[a] & having[b] if each not in split_of}
                lost = collections.Counter(word for each in taken for word in words_of[each])
                size = sum(pictures[each] for each in taken)
                if size <= room and all(stay[word] > n for word, n in lost.items()):
                    split_of |= dict.fromkeys(taken, name)
                    stay |= {word: stay[word] - n for word, n in lost.items()}
                    room -= size
                    break
        if name not in split_of.values():
            raise UserError(
                f"no two words of the {len(order)} different captions can be held out for the "
                f"{name} split: too few captions share words; give more pictures, or use "
                f"--data.{name} 0"
            )
    return split_of


def _pairs(words_: Iterable[str], seed: int) -> list[tuple[str, str]]:
    """Each two of them, in an order that only the seed and the words decide."""
    found = itertools.combinations(sorted(words_), 2)
    return sorted(found, key=lambda pair: sources.text_hash(f"{seed} {pair}"))
