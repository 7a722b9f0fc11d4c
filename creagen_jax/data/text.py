"""Text as tokens: one long stream cut into windows, or one example a line.

A line is stored as END c1 .. cn END; a stream is one array, with END between its documents, a
memory map if it is large. Either way a window is a range of one token array.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np

from creagen_jax import config
from creagen_jax.data import batching, caching, corpus, labels, sources, tokenizers
from creagen_jax.data.corpus import Corpus, Split
from creagen_jax.data.tokenizers import END, UNKNOWN, Tokenizer
from creagen_jax.types import Spec, UserError

STREAM_LENGTH = 128  # predictions; what `length` = 0 means for a stream
LONGEST_LINE = 1024  # predictions; the cap on what `length` = 0 means for lines


@dataclasses.dataclass(frozen=True)
class Config(config.Data):
    """Where the text is, what one example is, how it becomes tokens, and in which order."""

    source: str = "names"
    """Embedded set; used if neither path nor tfds is given."""
    path: str = ""
    """File or folder of .txt, .jsonl or .csv; goes before tfds and source."""
    tfds: str = ""
    """Name of a prepared TensorFlow Datasets set with a `text` feature; goes before source."""
    tfds_dir: str = ""
    """Folder of prepared TFDS sets; empty for $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    unit: Literal["auto", "stream", "line"] = "auto"
    """One long text, or one example a line; auto: a file of plain text is a stream."""
    tokenizer: Literal["char", "byte", "bpe", "word"] = "char"
    """A token is a character, a UTF-8 byte, a piece found by byte-pair encoding, or (of lines) a
    word: what spaces part."""
    vocab: int = 2048
    """V of the BPE tokenizer, in tokens (at least 258); the others find theirs."""
    length: int = 0
    """T, predictions in a window; longer lines are cut; 0: the longest line, or 128 of a stream."""
    validation: float = 0.1
    """Share of own data held out for validation: of lines, or of a stream's characters."""
    test: float = 0.0
    """Share of own data held out for the test; a stream's end."""
    order: Literal["random", "consecutive", "sequential"] = "random"
    """Random windows, or shuffled epochs of lines; B cursors for a carried state; every window
    once and in order."""
    overlap: int = 0
    """Tokens that successive windows of a sequential stream share; they count only once."""
    labels: bool = True
    """Condition on the examples' labels, if they have any."""


@dataclasses.dataclass(frozen=True, eq=False)
class Codec:
    """What sampling needs of the data: from a prompt to tokens, and from tokens to text."""

    tokenizer: Tokenizer
    labels: tuple[str, ...]  # the name of each label; empty if unconditional
    label_shares: tuple[float, ...]  # how often each stands in the training split; sums to 1
    line: bool  # examples are lines that END closes; else a stream
    start: int  # the token that stands before an empty prompt
    forbidden: tuple[int, ...]  # ids that must not be sampled
    train_hashes: np.ndarray | None  # [lines] uint64, sorted; None for a stream

    def encode_prompt(self, text: str) -> np.ndarray:
        """[P] int32, the tokens that generation continues; at least one.

        Raises UserError for a character that the training text does not have.
        """
        start = [self.start] if self.line or not text else []
        return np.array([*start, *self.tokenizer.encode(text)], np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of generated tokens, up to the first END."""
        ids = np.asarray(ids)
        ends = np.flatnonzero(ids == END)
        return self.tokenizer.decode(ids[: ends[0]] if len(ends) else ids)

    def label_id(self, name: str) -> int:
        """The id of a label. Raises UserError for an unknown one."""
        return labels.label_id(self.labels, name)

    def is_new(self, text: str) -> bool | None:
        """Whether a text is no line of the training split; None for a stream."""
        if self.train_hashes is None:
            return None
        hash_ = np.uint64(sources.text_hash(text))
        place = np.searchsorted(self.train_hashes, hash_)
        return bool(place == len(self.train_hashes) or self.train_hashes[place] != hash_)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Tokens, split and ready to be batched."""

    cfg: Config
    codec: Codec
    length: int  # T
    splits: dict[str, Split]  # "train", and "validation" and "test" where there are such
    fingerprint: dict

    def spec(self, batch_size: int) -> Spec:
        """What a model must know. Raises UserError if B cursors do not fit into the stream."""
        consecutive = self.cfg.order == "consecutive"
        if consecutive and len(self.splits["train"].tokens) - 1 < batch_size * self.length:
            raise UserError(
                f"the training text has {len(self.splits['train'].tokens)} tokens, too few for "
                f"{batch_size} consecutive rows of {self.length}; lower --train.batch or "
                "--data.length"
            )
        return Spec(
            vocab=self.codec.tokenizer.vocab,
            length=self.length,
            classes=len(self.codec.labels),
            streams=batch_size if consecutive else 0,
        )


def load(cfg: Config, *, cache: str | os.PathLike | None = None) -> Dataset:
    """Reads, tokenises and splits. Large streams are tokenised once, into the `cache` folder.

    `cache` is $XDG_CACHE_HOME/creagen_jax or ~/.cache/creagen_jax unless given. Raises UserError
    for data that cannot be found, read, or used as `cfg` asks.
    """
    if cfg.length < 0:
        raise UserError(f"--data.length {cfg.length} must be at least 1, or 0 to find it")
    shares = sources.shares(cfg, "validation", "test")
    if cfg.path:
        source = sources.files(cfg.path, cfg.unit)
    elif cfg.tfds:
        source = sources.tfds(cfg.tfds, cfg.tfds_dir, cfg.unit)
    else:
        source = sources.embedded(cfg.source)
    how = {"kind": cfg.tokenizer, "vocab": cfg.vocab, "shares": shares}
    if isinstance(source, sources.Lines):
        return of_lines(cfg, corpus.from_lines(source, **how, labelled=cfg.labels))
    if cfg.tokenizer == "word":
        raise UserError(
            f"{source.name} is a stream, whose line breaks words would lose; choose --data.unit "
            "line, or --data.tokenizer char, byte or bpe"
        )
    return _stream(cfg, corpus.from_stream(source, **how, cache=caching.folder(cache)))


def like(codec: Codec, path: str) -> tuple[ModuleType, Dataset]:
    """Other text, cut into lines or documents as that of a codec is, all in "train".

    Raises UserError as `load`.
    """
    unit = "line" if codec.line else "stream"
    # Nothing is cut into windows here, so no text is too short; bytes spell any text.
    cfg = Config(path=path, unit=unit, tokenizer="byte", length=1, validation=0.0)
    return sys.modules[__name__], load(cfg)


def of_lines(cfg: Config, data: Corpus) -> Dataset:
    """Tokenised lines as a data set. Raises UserError for an order that lines do not have."""
    if cfg.order == "consecutive":
        raise UserError("--data.order consecutive needs a stream; this data is one example a line")
    predictions = {name: np.diff(split.offsets) - 1 for name, split in data.splits.items()}
    length = cfg.length or min(int(predictions["train"].max()), LONGEST_LINE)
    for name, split in data.fingerprint["splits"].items():
        split["truncated"] = int((predictions[name] > length).sum())
    train_labels = data.splits["train"].labels
    shares = () if train_labels is None else np.bincount(train_labels) / len(train_labels)
    codec = Codec(
        tokenizer=data.tokenizer,
        labels=data.labels,
        label_shares=tuple(map(float, shares)),
        line=True,
        start=END,
        forbidden=(UNKNOWN,),
        train_hashes=data.train_hashes,
    )
    return Dataset(cfg, codec, length, data.splits, {**data.fingerprint, "length": length})


def _stream(cfg: Config, data: Corpus) -> Dataset:
    length = cfg.length or STREAM_LENGTH
    for name, split in data.splits.items():
        if len(split.tokens) <= length:
            raise UserError(
                f"the {name} text has {len(split.tokens)} tokens, too few for one window of "
                f"{length} + 1; lower --data.length, or give more text"
            )
    if not 0 <= cfg.overlap < length:
        raise UserError(f"--data.overlap {cfg.overlap} must be at least 0 and below {length}")
    single = data.counts_V[END] == 0
    codec = Codec(
        tokenizer=data.tokenizer,
        labels=(),
        label_shares=(),
        line=False,
        start=_stream_start(data) if single else END,
        forbidden=(END, UNKNOWN) if single else (UNKNOWN,),
        train_hashes=None,
    )
    return Dataset(cfg, codec, length, data.splits, {**data.fingerprint, "length": length})


def _stream_start(data: Corpus) -> int:
    """What a sample without a prompt follows: a newline, or else the most frequent token."""
    pieces = data.tokenizer.pieces
    newline = pieces.index(b"\n") if b"\n" in pieces else None
    known = newline is not None and data.counts_V[newline] > 0
    return newline if known else int(data.counts_V.argmax())


# --- batches -----------------------------------------------------------------------------------


def windows(dataset: Dataset, split: str, overlap: int | None = None) -> int:
    """How many windows cover a split: its lines, or steps of `length - overlap` of a stream.

    `overlap` is the configured one unless given.
    """
    overlap = dataset.cfg.overlap if overlap is None else overlap
    tokens, offsets = dataset.splits[split].tokens, dataset.splits[split].offsets
    if offsets is not None:
        return len(offsets) - 1
    stride = dataset.length - overlap
    return 1 + max(0, -(-(len(tokens) - 1 - dataset.length) // stride))


def train_batch(dataset: Dataset, *, seed: int, step: int, size: int) -> dict[str, np.ndarray]:
    """The batch of a step (see `Spec`): a pure function of (seed, step).

    In sequential order, every pass counts each position once; its last batch is padded.
    """
    split, order, length = dataset.splits["train"], dataset.cfg.order, dataset.length
    at = {"step": step, "size": size}
    if order == "sequential":
        count = windows(dataset, "train")
        batch = _batch(dataset, split, batching.in_order(count, **at), dataset.cfg.overlap)
        return batching.pad(batch, size)
    if split.offsets is not None:
        return _batch(dataset, split, batching.shuffled(len(split.offsets) - 1, seed=seed, **at))
    predictions = len(split.tokens) - 1
    if order == "random":
        start_B = batching.random_starts(predictions - length, seed=seed, **at)
        return _gather(split.tokens, start_B, start_B + length + 1, 0, length)
    start_B, reset = batching.cursor_starts(predictions, length, seed=seed, **at)
    batch = _gather(split.tokens, start_B, start_B + length + 1, 0, length)
    return {**batch, "reset": np.full(size, reset)}


def eval_batches(
    dataset: Dataset, split: str, *, size: int, limit: int | None = None, overlap: int | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """The batches that count every prediction of a split exactly once, or evenly spaced windows.

    `limit` is how many windows, always the same. With `overlap` (the configured one unless given),
    successive windows of a stream
    share that many tokens, and count only what follows them (in all but the first window), so
    each counted token has at least that much history. The last batch is padded with rows of
    mask 0. Each batch also holds `chars` and `bytes`, [B] float32: the characters and UTF-8 bytes
    of the counted tokens. Raises UserError for a split that the data does not have.
    """
    if split not in dataset.splits:
        choices = ", ".join(dataset.splits)
        raise UserError(f"the data has no {split} split; choose one of {choices}")
    overlap = dataset.cfg.overlap if overlap is None else overlap
    if not 0 <= overlap < dataset.length:
        raise UserError(f"overlap {overlap} must be at least 0 and below {dataset.length} (length)")
    tokenizer = dataset.codec.tokenizer
    index = batching.spaced(windows(dataset, split, overlap), limit)
    for first in range(0, len(index), size):
        batch = _batch(dataset, dataset.splits[split], index[first : first + size], overlap)
        if dataset.cfg.order == "consecutive":
            batch["reset"] = np.ones(len(batch["x"]), bool)
        targets_BT = batch["x"][:, 1:]
        for name, table_V in (("chars", tokenizer.chars_V), ("bytes", tokenizer.bytes_V)):
            batch[name] = (table_V[targets_BT] * batch["mask"]).sum(1, dtype=np.float32)
        yield batching.pad(batch, size)


def texts(dataset: Dataset, split: str, limit: int | None = None) -> list[str]:
    """The lines of a split, or the documents of a stream, in its first `limit` tokens."""
    tokens, offsets = dataset.splits[split].tokens, dataset.splits[split].offsets
    if offsets is not None and limit is not None:
        limit = offsets[np.searchsorted(offsets, limit, side="right") - 1]  # whole lines only
    tokens = np.asarray(tokens[:limit])
    parts = np.split(tokens, np.flatnonzero(tokens == END))
    if offsets is not None:  # each line is END c1 .. cn END
        parts = parts[1::2]
    return [dataset.codec.tokenizer.decode(part) for part in parts]


def describe(dataset: Dataset) -> str:
    """The fingerprint for a person to read, a line for each split."""
    about = dataset.fingerprint
    unit = "one example a line" if dataset.codec.line else "one stream"
    lines = [
        f"data: {about['source']}, {unit}, windows of {dataset.length}; "
        f"{about['tokenizer']} vocabulary of {about['vocabulary']}; "
        f"sha256 {about['sha256'][:12]}"
    ]
    lines += labels.describe(about["splits"])
    return "\n".join(lines)


def units(totals: dict[str, float]) -> dict[str, float]:
    """Comparable units from sums of `loss` (nats), `weight` (tokens), `chars` and `bytes`.

    A model that is not ranked by its likelihood says `nats` instead of `loss`. Of all else the mean
    over the tokens.
    """
    weight, chars, size = (float(totals[name]) for name in ("weight", "chars", "bytes"))
    means = {
        name: float(total) / weight
        for name, total in totals.items()
        if name not in ("weight", "chars", "bytes")
    }
    nats = float(totals["loss" if "loss" in totals else "nats"])
    per_byte = nats / size / math.log(2)
    return {**means, "nats_per_char": nats / chars, "bits_per_byte": per_byte}


def _batch(
    dataset: Dataset, split: Split, index_B: np.ndarray, overlap: int = 0
) -> dict[str, np.ndarray]:
    """The windows of the given numbers, counted as `windows` does."""
    if split.offsets is not None:
        start_B, stop_B = split.offsets[index_B], split.offsets[index_B + 1]
        batch = _gather(split.tokens, start_B, stop_B, 0, dataset.length)
    else:
        start_B = index_B * (dataset.length - overlap)
        stop_B = np.minimum(start_B + dataset.length + 1, len(split.tokens))
        skip_B = np.where(index_B > 0, overlap, 0)
        batch = _gather(split.tokens, start_B, stop_B, skip_B, dataset.length)
    if split.labels is not None:
        batch["condition"] = split.labels[index_B]
    return batch


def _gather(tokens, start_B, stop_B, skip, length: int) -> dict[str, np.ndarray]:
    """x and mask of windows start .. stop, of which the first `skip` predictions do not count."""
    place_BT = start_B[:, None] + np.arange(length + 1)
    inside_BT = place_BT < stop_B[:, None]
    x = np.where(inside_BT, tokens[np.minimum(place_BT, len(tokens) - 1)], END)
    counted_BT = inside_BT[:, 1:] & (np.arange(length) >= np.broadcast_to(skip, len(x))[:, None])
    return {"x": x.astype(np.int32), "mask": counted_BT.astype(np.float32)}


# --- what a run keeps --------------------------------------------------------------------------


def save(dataset: Dataset, folder: str | os.PathLike) -> None:
    """Writes what `load_codec` reads."""
    folder, codec = Path(folder), dataset.codec
    folder.mkdir(parents=True, exist_ok=True)
    tokenizers.save(codec.tokenizer, folder / "tokenizer.json")
    names = ("labels", "label_shares", "line", "start", "forbidden")
    fields = {name: getattr(codec, name) for name in names}
    (folder / "codec.json").write_text(json.dumps(fields))
    if codec.train_hashes is not None:
        np.save(folder / "train_hashes.npy", codec.train_hashes)


def load_codec(folder: str | os.PathLike) -> Codec:
    """What sampling needs. Raises UserError if it is not there."""
    folder = Path(folder)
    try:
        fields = json.loads((folder / "codec.json").read_text())
        return Codec(
            tokenizer=tokenizers.load(folder / "tokenizer.json"),
            labels=tuple(fields["labels"]),
            label_shares=tuple(fields["label_shares"]),
            line=fields["line"],
            start=fields["start"],
            forbidden=tuple(fields["forbidden"]),
            train_hashes=np.load(folder / "train_hashes.npy") if fields["line"] else None,
        )
    except FileNotFoundError as error:
        raise UserError(f"no {Path(error.filename).name} in {folder}") from None
