"""Pairs of texts: a source to read and a target to write. Both sides are lines as in `text`.

Targets are a `text.Dataset` of their own, which Markov chains and the creativity report read.
Sources are another one in the same order: as a batch of lines is a pure function of (seed, step)
and of how many lines there are, row b of a batch of targets belongs to row b of one of sources.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np

from creagen_jax import config
from creagen_jax.data import batching, corpus, labels, pair_sources, text, tokenizers
from creagen_jax.data.pair_sources import Pairs
from creagen_jax.data.sources import SPLITS, Line, Lines, shares
from creagen_jax.data.tokenizers import END, UNKNOWN, Tokenizer
from creagen_jax.types import Spec, UserError

EXAMPLES = 8  # held-out sources that a codec keeps
UNSEEN = "\N{REPLACEMENT CHARACTER}"  # as which UNKNOWN is decoded


@dataclasses.dataclass(frozen=True)
class Config(config.Data):
    """Where the pairs are, and how both sides become tokens."""

    source: Literal["addition", "pronunciations"] = "addition"
    """Embedded set; used if no path is given."""
    path: str = ""
    """File of pairs, .tsv, .csv, .jsonl or .json, perhaps with .gz; goes before source."""
    columns: tuple[str, str] = pair_sources.COLUMNS
    """Names of the columns of sources and of targets."""
    poems: bool = False
    """The file (.txt, .jsonl, .json) holds poems: each first line is to give the others."""
    lines: int = 0
    """Lines of the poems to keep; 0 keeps all of two lines or more."""
    reverse: bool = False
    """From target to source."""
    digits: int = 4
    """Digits of the embedded sums' numbers, at most."""
    stress: bool = False
    """Keep the stress of vowels in embedded pronunciations."""
    tokenizer: Literal["char", "byte", "bpe", "word"] = "char"
    """A token is a character, a UTF-8 byte, a piece found by byte-pair encoding, or a word."""
    target_tokenizer: Literal["", "char", "byte", "bpe", "word"] = ""
    """The same for the targets, if theirs is another."""
    shared: bool = False
    """One vocabulary for both sides."""
    vocab: int = 2048
    """V of each BPE tokenizer, in tokens (at least 258); the others find theirs."""
    source_length: int = 0
    """S, tokens of a source with its END; 0: the longest one, up to 1,024."""
    length: int = 0
    """T, tokens of a target with its END; 0: the longest one, up to 1,024."""
    long: Literal["truncate", "refuse"] = "truncate"
    """Longer ones are cut and counted, or an error."""
    validation: float = 0.1
    """Share of own data held out for validation."""
    test: float = 0.0
    """Share of own data held out for the test."""
    labels: bool = True
    """Condition on the examples' labels, if they have any."""


@dataclasses.dataclass(frozen=True, eq=False)
class Codec(text.Codec):
    """What sampling needs of the data: sources to tokens, prompts and targets as in text."""

    source_tokenizer: Tokenizer
    source_length: int  # S
    examples: tuple[str, ...]  # held-out sources, to be shown when nobody asks for one

    def encode_source(self, text: str) -> np.ndarray:
        """[S] int32: s1 .. sn END, and END up to S; the empty text is no source.

        Raises UserError for a text that is too long, or has a character that the training sources
        do not have, unless it is marked as such with U+FFFD, as `decode_source` does.
        """
        self.source_tokenizer.encode(text.replace(UNSEEN, ""))
        ids = self.source_tokenizer.encode(text, unknown=True)
        if len(ids) >= self.source_length:
            raise UserError(
                f"source {_short(text)} has {len(ids)} tokens; this model reads at most "
                f"{self.source_length - 1}"
            )
        return np.pad(ids, (0, self.source_length - len(ids)), constant_values=END)

    def decode_source(self, ids: Iterable[int]) -> str:
        """The text of a source, up to its first END."""
        return self.source_tokenizer.decode(itertools.takewhile(lambda id_: id_ != END, ids))


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Tokens of both sides, split alike and ready to be batched."""

    cfg: Config
    codec: Codec
    targets: text.Dataset
    sources: text.Dataset  # source i belongs to target i, in every split
    fingerprint: dict

    @property
    def splits(self) -> dict[str, corpus.Split]:
        """Those of the targets: "train", and "validation" and "test" where there are such."""
        return self.targets.splits

    def spec(self, batch_size: int) -> Spec:
        """What a model must know."""
        return dataclasses.replace(
            self.targets.spec(batch_size),
            source=self.sources.length,
            source_vocab=self.codec.source_tokenizer.vocab,
        )


def load(cfg: Config, *, cache: str | os.PathLike | None = None) -> Dataset:
    """Reads, splits by the source, and tokenises. Pairs are in memory: `cache` is not used.

    Raises UserError for data that cannot be found, read, or used as `cfg` asks.
    """
    _check(cfg)
    if cfg.path:
        found = pair_sources.files(
            cfg.path,
            shares={"validation": cfg.validation, "test": cfg.test},
            columns=cfg.columns,
            poems=cfg.poems,
            lines=cfg.lines,
            reverse=cfg.reverse,
        )
    else:
        found = pair_sources.embedded(
            cfg.source, digits=cfg.digits, stress=cfg.stress, reverse=cfg.reverse
        )
    kinds = [cfg.tokenizer, cfg.target_tokenizer or cfg.tokenizer]
    if cfg.shared:
        both = (side for pair in found.splits["train"] for side in (pair.source, pair.target))
        kinds = [tokenizers.train(cfg.tokenizer, both, cfg.vocab)] * 2
    sources_ = _side(cfg, found, "source", kinds[0], cfg.source_length)
    targets_ = _side(cfg, found, "target", kinds[1], cfg.length)
    codec = Codec(
        **vars(targets_.codec),
        source_tokenizer=sources_.codec.tokenizer,
        source_length=sources_.length,
        examples=(),
    )
    dataset = Dataset(cfg, codec, targets_, sources_, _fingerprint(found, sources_, targets_))
    codec = dataclasses.replace(codec, examples=_examples(dataset))
    return dataclasses.replace(dataset, codec=codec)


def _check(cfg: Config) -> None:
    shares(cfg, "validation", "test")
    for name in ("source_length", "length", "lines"):
        if getattr(cfg, name) < 0 or getattr(cfg, name) == 1:
            raise UserError(f"--data.{name} is {getattr(cfg, name)}; choose 2 or more, or 0")
    if not 1 <= cfg.digits <= 18:
        raise UserError(f"--data.digits is {cfg.digits}; choose 1 to 18")
    if cfg.lines and not cfg.poems:
        raise UserError("--data.lines counts the lines of poems; use it with --data.poems")
    if cfg.shared and cfg.target_tokenizer not in ("", cfg.tokenizer):
        raise UserError(
            f"--data.shared needs one tokenizer: {cfg.tokenizer} or {cfg.target_tokenizer}"
        )


def _side(
    cfg: Config,
    found: Pairs,
    side: Literal["source", "target"],
    kind: str | Tokenizer,
    length: int,
) -> text.Dataset:
    lines = {
        name: [Line(getattr(pair, side), pair.label) for pair in pairs]
        for name, pairs in found.splits.items()
    }
    labelled = cfg.labels and side == "target"
    data = corpus.from_lines(
        Lines(found.name, lines), kind=kind, vocab=cfg.vocab, shares={}, labelled=labelled
    )
    predictions = {name: np.diff(split.offsets) - 1 for name, split in data.splits.items()}
    longest = int(max(each.max() for each in predictions.values()))
    length = length or min(longest, text.LONGEST_LINE)
    if longest > length and cfg.long == "refuse":
        name, row = next(
            (name, int(np.argmax(each > length)))
            for name, each in predictions.items()
            if (each > length).any()
        )
        flag = "length" if side == "target" else "source_length"
        raise UserError(
            f"{found.name}: {side} {_short(lines[name][row].text)} has {predictions[name][row]} "
            f"tokens with its END; raise --data.{flag} {length}, or cut with --data.long truncate"
        )
    return text.of_lines(text.Config(unit="line", length=length), data)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def _fingerprint(found: Pairs, sources_: text.Dataset, targets_: text.Dataset) -> dict:
    source, target = sources_.fingerprint, targets_.fingerprint
    both = f"{source['sha256']} {target['sha256']}"
    splits = {}
    for name in filter(found.splits.get, SPLITS):
        pairs = found.splits[name]
        counts = {
            f"source_{key}": source["splits"][name][key]
            for key in ("tokens", "chars", "unknown", "truncated")
        }
        repeated = {"duplicates": len(pairs) - len(set(pairs))}
        splits[name] = {**target["splits"][name], **repeated, **counts}
    return {
        "source": found.name,
        "unit": "pair",
        "sha256": hashlib.sha256(both.encode()).hexdigest(),
        "tokenizer": target["tokenizer"],
        "vocabulary": target["vocabulary"],
        "length": target["length"],
        "source_tokenizer": source["tokenizer"],
        "source_vocabulary": source["vocabulary"],
        "source_length": source["length"],
        "left_out": found.left_out,
        "splits": splits,
    }


def _examples(dataset: Dataset) -> tuple[str, ...]:
    """Different sources of the last split there is, evenly spaced; known ones, if there are any."""
    once = list(dict.fromkeys(sources(dataset, list(dataset.splits)[-1])))
    known = [source for source in once if UNSEEN not in source] or once
    return tuple(known[i] for i in batching.spaced(len(known), EXAMPLES))


# --- batches -----------------------------------------------------------------------------------


def windows(dataset: Dataset, split: str, overlap: int = 0) -> int:
    """How many pairs a split has; `overlap` is for streams and changes nothing."""
    return text.windows(dataset.targets, split, overlap)


def train_batch(dataset: Dataset, *, seed: int, step: int, size: int) -> dict[str, np.ndarray]:
    """The batch of a step (see `Spec`): a pure function of (seed, step)."""
    batch, source = (
        text.train_batch(side, seed=seed, step=step, size=size)
        for side in (dataset.targets, dataset.sources)
    )
    return {**batch, "source": _closed(source["x"])}


def eval_batches(
    dataset: Dataset, split: str, *, size: int, limit: int | None = None, overlap: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """The batches that hold every pair of a split exactly once, or `limit` evenly spaced ones.

    As those of `text`, `chars` and `bytes` of the targets included. The last batch is padded with
    rows of mask 0 and without a source. Raises UserError for a split that the data does not have.
    """
    sides = (
        text.eval_batches(side, split, size=size, limit=limit, overlap=0)
        for side in (dataset.targets, dataset.sources)
    )
    for batch, source in zip(*sides, strict=True):
        yield {**batch, "source": _closed(source["x"])}


def _closed(x_BS: np.ndarray) -> np.ndarray:
    """[B, S] sources without the END before them, and with one behind those that were cut."""
    source_BS = x_BS[:, 1:].copy()
    source_BS[:, -1] = END
    return source_BS


# --- as text -----------------------------------------------------------------------------------


def targets(dataset: Dataset) -> tuple[ModuleType, text.Dataset]:
    """The targets alone, as lines of text."""
    return text, dataset.targets


def texts(dataset: Dataset, split: str, limit: int | None = None) -> list[str]:
    """The targets of a split, in its first `limit` tokens."""
    return text.texts(dataset.targets, split, limit)


def sources(dataset: Dataset, split: str) -> list[str]:
    """The sources of a split as a model reads them, in the order of `texts`.

    So `Codec.encode_source` takes each of them: what is too long is cut, and what the training
    sources do not have is U+FFFD.
    """
    tokens, offsets = dataset.sources.splits[split].tokens, dataset.sources.splits[split].offsets
    length, found = dataset.sources.length, []
    for start, stop in itertools.pairwise(offsets):
        ids = tokens[start + 1 : min(start + length, stop - 1)]
        source = dataset.codec.decode_source(ids)
        if stop - start - 1 > length and ids[-1] != UNKNOWN:
            source = source.rstrip(UNSEEN)  # a part of a character that was cut
        found.append(source)
    return found


def references(dataset: Dataset, split: str) -> list[tuple[str, list[str]]]:
    """Each source of a split once, with all its different targets: any of them is right."""
    found: dict[str, dict[str, None]] = {}
    for source, target in zip(sources(dataset, split), texts(dataset, split), strict=True):
        found.setdefault(source, {})[target] = None
    return [(source, list(targets)) for source, targets in found.items()]


def describe(dataset: Dataset) -> str:
    """The fingerprint for a person to read, a line for each split."""
    about = dataset.fingerprint
    lines = [
        f"data: {about['source']}, pairs: "
        f"{about['source_length']} {about['source_tokenizer']} tokens of "
        f"{about['source_vocabulary']} to {about['length']} {about['tokenizer']} tokens of "
        f"{about['vocabulary']}; sha256 {about['sha256'][:12]}"
    ]
    if about["left_out"]:
        lines.append(f"  {about['left_out']:,} poems left out")
    return "\n".join(lines + labels.describe(about["splits"]))


units = text.units


# --- what a run keeps --------------------------------------------------------------------------


def save(dataset: Dataset, folder: str | os.PathLike) -> None:
    """Writes what `load_codec` reads."""
    folder, codec = Path(folder), dataset.codec
    text.save(dataset.targets, folder)
    tokenizers.save(codec.source_tokenizer, folder / "source_tokenizer.json")
    fields = {"source_length": codec.source_length, "examples": codec.examples}
    (folder / "source.json").write_text(json.dumps(fields))


def load_codec(folder: str | os.PathLike) -> Codec:
    """What sampling needs. Raises UserError if it is not there."""
    folder, codec = Path(folder), text.load_codec(folder)
    try:
        fields = json.loads((folder / "source.json").read_text())
        return Codec(
            **vars(codec),
            source_tokenizer=tokenizers.load(folder / "source_tokenizer.json"),
            source_length=fields["source_length"],
            examples=tuple(fields["examples"]),
        )
    except FileNotFoundError as error:
        raise UserError(f"no {Path(error.filename).name} in {folder}") from None
