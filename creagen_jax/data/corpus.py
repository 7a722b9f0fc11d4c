"""From a text source to token arrays: cut into splits, train the tokenizer, encode, describe.

A line is stored as END c1 .. cn END; a stream is one array, with END between its documents. Lines
are in memory. A stream is read in pieces, and if it is large its tokens live in a cached file that
is mapped into memory, so that memory does not grow with the corpus.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from creagen_jax.data import tokenizers
from creagen_jax.data.sources import SPLITS, Chunks, Line, Lines, Stream, split_by_hash, text_hash
from creagen_jax.data.tokenizers import END, UNKNOWN, Tokenizer
from creagen_jax.types import UserError

MEMORY_BYTES = 64_000_000  # streams of more text than this are kept in a file, not in memory
CACHE_FORMAT = 1  # part of the name of a cached stream; to be raised when its contents change
BLOCK = 1 << 22  # tokens of a memory map looked at at once


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The tokens of one split."""

    tokens: np.ndarray  # [tokens] uint16 or uint32
    offsets: np.ndarray | None = None  # [N+1] where each line starts; None for a stream
    labels: np.ndarray | None = None  # [N] int32


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """A tokenised source."""

    tokenizer: Tokenizer
    splits: dict[str, Split]
    counts_V: np.ndarray  # [V] how often each token occurs in the training split
    fingerprint: dict
    labels: tuple[str, ...] = ()  # the name of each label
    train_hashes: np.ndarray | None = None  # [lines] uint64, sorted; None for a stream


def missing(shares: dict[str, float], splits: Iterable[str]) -> dict[str, float]:
    """The shares to be cut from "train": those wanted of splits that the source lacks."""
    return {name: share for name, share in shares.items() if share and name not in splits}


# --- lines -------------------------------------------------------------------------------------


def from_lines(
    source: Lines, *, kind: str | Tokenizer, vocab: int, shares: dict[str, float], labelled: bool
) -> Corpus:
    """Lines, each END c1 .. cn END; equal lines of a source without splits share a split.

    Raises UserError for an empty split, one symbol only, or labels that some examples lack.
    """
    splits = dict(source.splits)
    splits |= split_by_hash(splits["train"], missing(shares, splits))
    for name, lines in splits.items():
        if not lines:
            raise UserError(f"{source.name}: the {name} split has no example; give more")
    _check_symbols(source.name, (line.text for line in splits["train"]))
    labels = _label_names(source.name, splits) if labelled else ()
    id_of_label = {label: i for i, label in enumerate(labels)}

    tokenizer = tokenizers.train(kind, (line.text for line in splits["train"]), vocab)
    hashes = {
        name: np.array([text_hash(line.text) for line in lines], np.uint64)
        for name, lines in splits.items()
    }
    arrays, described = {}, {}
    for name, lines in splits.items():
        texts = [line.text for line in lines]
        ids, sizes = tokenizer.encode_all(texts, unknown=name != "train")
        offsets = np.cumsum([0, *(sizes + 2)])
        inside = np.ones(offsets[-1], bool)
        inside[offsets[:-1]] = inside[offsets[1:] - 1] = False
        tokens = np.full(offsets[-1], END, _dtype(tokenizer))
        tokens[inside] = ids
        arrays[name] = Split(
            tokens,
            offsets,
            np.array([id_of_label[line.label] for line in lines], np.int32) if labels else None,
        )
        described[name] = {
            "examples": len(lines),
            "tokens": len(tokens),
            "chars": sum(len(line.text) for line in lines),
            "unknown": int((tokens == UNKNOWN).sum()),
            "duplicates": len(lines) - len(np.unique(hashes[name])),
        }
        if labels:
            described[name]["labels"] = dict(sorted(Counter(line.label for line in lines).items()))
        if name != "train":
            described[name]["also_in_train"] = int(np.isin(hashes[name], hashes["train"]).sum())
    return Corpus(
        tokenizer,
        arrays,
        _count(arrays["train"].tokens, tokenizer.vocab),
        _fingerprint(source.name, "line", _sha256_of_lines(splits), tokenizer, described),
        labels,
        np.unique(hashes["train"]),
    )


def _label_names(name: str, splits: dict[str, list[Line]]) -> tuple[str, ...]:
    lines = [line for lines in splits.values() for line in lines]
    bare = [line for line in lines if line.label is None]
    if len(bare) == len(lines):
        return ()
    if bare:
        raise UserError(
            f"{name}: {len(bare)} of {len(lines)} examples have no label (one is "
            f"{bare[0].text[:40]!r}); give every one a label, or use --data.no_labels"
        )
    return tuple(sorted({line.label for line in lines}))


def _sha256_of_lines(splits: dict[str, list[Line]]) -> str:
    digest = hashlib.sha256()
    for name, lines in splits.items():
        digest.update(json.dumps([name, lines]).encode())
    return digest.hexdigest()


# --- streams -----------------------------------------------------------------------------------


def from_stream(
    source: Stream, *, kind: str, vocab: int, shares: dict[str, float], cache: Path
) -> Corpus:
    """A stream, cut in order (train, validation, test) by characters if it has no splits.

    Raises UserError for an empty source or one symbol only.
    """
    sizes, n_bytes, sha256 = _measure(source)
    splits, chars = dict(source.splits), dict(sizes)
    if cuts := missing(shares, splits):
        train, total = splits["train"], sizes["train"]
        start = int(total * (1 - sum(cuts.values())))
        splits["train"], chars["train"] = functools.partial(_cut, train, 0, start), start
        for i, name in enumerate(cuts, 1):
            stop = int(total * (1 - sum(list(cuts.values())[i:])))
            splits[name], chars[name] = functools.partial(_cut, train, start, stop), stop - start
            start = stop
    _check_symbols(source.name, _text(splits["train"]()))

    if n_bytes <= MEMORY_BYTES:
        tokenizer = tokenizers.train(kind, _text(splits["train"]()), vocab)
        arrays = {
            name: np.concatenate(list(_encode(chunks(), tokenizer, unknown=name != "train")))
            for name, chunks in splits.items()
        }
    else:
        settings = [CACHE_FORMAT, sha256, chars, kind, vocab if kind == "bpe" else 0]
        key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
        tokenizer, arrays = _cached(splits, kind, vocab, cache / key)
    described = {
        name: {
            "tokens": len(tokens),
            "chars": chars[name],
            "unknown": int(_count(tokens, tokenizer.vocab)[UNKNOWN]),
        }
        for name, tokens in arrays.items()
    }
    return Corpus(
        tokenizer,
        {name: Split(tokens) for name, tokens in arrays.items()},
        _count(arrays["train"], tokenizer.vocab),
        _fingerprint(source.name, "stream", sha256, tokenizer, described),
    )


def _measure(source: Stream) -> tuple[dict[str, int], int, str]:
    """Characters of each split (a document's END is one), bytes of all, hash of all."""
    digest, chars, n_bytes = hashlib.sha256(), {}, 0
    for name, chunks in source.splits.items():
        digest.update(f"{name}\0".encode())
        chars[name] = 0
        for chunk in chunks():
            data = b"\xff" if chunk is None else chunk.encode()  # 0xFF is never part of UTF-8
            digest.update(data)
            n_bytes += len(data)
            chars[name] += 1 if chunk is None else len(chunk)
        if not chars[name]:
            raise UserError(f"{source.name} is empty" + f" ({name})" * (len(source.splits) > 1))
    return chars, n_bytes, digest.hexdigest()


def _cut(chunks: Callable[[], Chunks], start: int, stop: int) -> Chunks:
    """Characters start .. stop of a stream."""
    position = 0
    for chunk in chunks():
        size = 1 if chunk is None else len(chunk)
        low, high = max(start - position, 0), min(stop - position, size)
        if low < high:
            yield chunk and chunk[low:high]
        position += size
        if position >= stop:
            return


def _text(chunks: Chunks) -> Iterator[str]:
    return (chunk for chunk in chunks if chunk is not None)


def _encode(chunks: Chunks, tokenizer: Tokenizer, *, unknown: bool) -> Iterator[np.ndarray]:
    yield np.empty(0, _dtype(tokenizer))  # what an empty split consists of
    for chunk in chunks:
        ids = [END] if chunk is None else tokenizer.encode(chunk, unknown=unknown)
        yield np.asarray(ids, _dtype(tokenizer))


def _cached(
    splits: dict[str, Callable[[], Chunks]], kind: str, vocab: int, folder: Path
) -> tuple[Tokenizer, dict[str, np.ndarray]]:
    """Tokenizer and memory-mapped tokens, made and written unless the folder is there."""
    if not folder.is_dir():
        try:
            _fill_cache(splits, kind, vocab, folder)
        except OSError as error:
            raise UserError(f"cannot keep tokens in {folder}: {error.strerror}") from None
    tokenizer = tokenizers.load(folder / "tokenizer.json")
    return tokenizer, {
        name: np.memmap(folder / f"{name}.bin", _dtype(tokenizer), "r") for name in splits
    }


def _fill_cache(
    splits: dict[str, Callable[[], Chunks]], kind: str, vocab: int, folder: Path
) -> None:
    """Writes beside the final place and renames, so that a cached stream is always complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="partial-") as parent:
        partial = Path(parent) / folder.name
        partial.mkdir()
        tokenizer = tokenizers.train(kind, _text(splits["train"]()), vocab)
        tokenizers.save(tokenizer, partial / "tokenizer.json")
        for name, chunks in splits.items():
            with (partial / f"{name}.bin").open("wb") as file:
                for ids in _encode(chunks(), tokenizer, unknown=name != "train"):
                    ids.tofile(file)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise


# --- both --------------------------------------------------------------------------------------


def _check_symbols(name: str, chunks: Iterable[str]) -> None:
    seen = ""
    for chunk in chunks:
        seen = (seen + chunk)[:1]
        if chunk.count(seen) < len(chunk):
            return
    raise UserError(f"{name}: the training text is {seen!r} only; there is nothing to learn")


def _dtype(tokenizer: Tokenizer) -> type:
    return np.uint16 if tokenizer.vocab <= 1 << 16 else np.uint32


def _count(tokens: np.ndarray, vocab: int) -> np.ndarray:
    """[V] how often each token occurs."""
    blocks = (tokens[i : i + BLOCK] for i in range(0, len(tokens), BLOCK))
    return sum((np.bincount(block, minlength=vocab) for block in blocks), np.zeros(vocab, np.int64))


def _fingerprint(name: str, unit: str, sha256: str, tokenizer: Tokenizer, splits: dict) -> dict:
    return {
        "source": name,
        "unit": unit,
        "sha256": sha256,
        "tokenizer": tokenizer.kind,
        "vocabulary": tokenizer.vocab,
        "splits": {split: splits[split] for split in SPLITS if split in splits},
    }
