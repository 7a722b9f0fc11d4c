"""Symbolic music: pieces as tokens (see `music_tokens`), one piece a line of words.

Long pieces are cut into windows. With `harmonise`, what is generated are alto, tenor and bass, and
the soprano is their source.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Literal

import numpy as np

from creagen_jax import config
from creagen_jax.data import (
    batching,
    caching,
    corpus,
    image_store,
    labels,
    music_codec,
    music_sources,
    music_tokens,
    text,
    tokenizers,
)
from creagen_jax.data.music_codec import Codec, HarmonyCodec, fit, melody
from creagen_jax.data.music_sources import Source
from creagen_jax.data.music_tokens import VOICES, Form, Piece
from creagen_jax.data.sources import SPLITS, Line, Lines, shares, split_of, text_hash
from creagen_jax.data.tokenizers import END, UNKNOWN
from creagen_jax.types import Spec, UserError

EXAMPLES = 8  # held-out sources that a codec keeps
LONGEST = 512  # predictions; the cap on what `length` = 0 means


@dataclasses.dataclass(frozen=True)
class Config(config.Data):
    """Where the music is, and how it becomes tokens."""

    source: str = "chorales"
    """Embedded set; used if no path is given."""
    path: str = ""
    """File or folder of .mid, .abc, .musicxml, .mxl; or a chorale file (.json of frames, .npz of
    voices); goes before source."""
    form: Literal["auto", "chords", "voices", "events"] = "auto"
    """Frames of what sounds, frames of four voices, or notes; auto: the one that says the most."""
    steps: int = 0
    """Steps to a quarter note; 0: those of a chorale file, 4 for the chorales, 12 for others."""
    length: int = 0
    """T, predictions in a window; 0: those of the longest piece, at most 512."""
    overlap: int = 0
    """Tokens that successive windows of a piece share; they count only once. 0: half a window."""
    order: Literal["random", "sequential"] = "random"
    """Shuffled epochs of windows at changing places, or every window once and in order."""
    transpose: int = 0
    """Augmentation: by up to this many semitones up or down, within the range of the training."""
    harmonise: bool = False
    """Of four voices: the soprano is the source, and the other three are to be written."""
    labels: bool = True
    """Condition on major or minor (or another mode), where the files name it."""
    validation: float = 0.1
    """Share of own pieces held out for validation."""
    test: float = 0.1
    """Share of own pieces held out for the test."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Tokens, split and ready to be batched."""

    cfg: Config
    codec: Codec
    length: int  # T
    splits: dict[str, corpus.Split]  # "train", and "validation" and "test" where there are such
    sources: dict[str, corpus.Split] | None  # the soprano of each piece; None if all is written
    shifts: np.ndarray  # [N, 2] semitones that a training piece may go down (<= 0) and up
    fingerprint: dict

    def spec(self, batch_size: int) -> Spec:
        """What a model must know."""
        codec = self.codec
        known = {"vocab": codec.tokenizer.vocab, "classes": len(codec.labels)}
        if self.sources:
            known["source"] = codec.source_length
            known["source_vocab"] = codec.source_tokenizer.vocab
        return Spec(length=self.length, **known)


def load(cfg: Config, *, cache: str | os.PathLike | None = None) -> Dataset:
    """Reads, splits and tokenises; pieces that differ in key alone share a split. What was read
    from files is kept in the `cache` folder.

    `cache` is $XDG_CACHE_HOME/creagen_jax or ~/.cache/creagen_jax unless given. Raises UserError
    for data that cannot be found, read, or used as `cfg` asks.
    """
    held_out = shares(cfg, "validation", "test")
    _check(cfg)
    folder = caching.folder(cache)
    if cfg.path:
        source = music_sources.files(cfg.path, cfg.steps, folder)
    else:
        source = music_sources.embedded(cfg.source, cfg.steps, folder)
    form = Form(source.form if cfg.form == "auto" else cfg.form, source.steps)
    splits = {
        name: [fit(piece, form) for piece in pieces]
        for name, pieces in _split(source, held_out).items()
    }
    if not cfg.harmonise:
        return _dataset(cfg, source, form, splits)
    if form.kind != "voices":
        pieces = (each for found in source.splits.values() for each in found)
        other = next((each.name for each in pieces if not music_sources.is_voiced(each)), "")
        which = f"{other} is none" if other else f"it cannot go with --data.form {form.kind}"
        raise UserError(
            f"--data.harmonise needs pieces of four voices, of one note at a time each; {which}"
        )
    return _harmony(cfg, source, form, splits)


def like(codec: Codec, path: str) -> tuple[ModuleType, Dataset]:
    """Other pieces in the form of a codec, all in "train". Raises UserError as `load`."""
    how = {"form": codec.form.kind, "steps": codec.form.steps}
    return sys.modules[__name__], load(Config(path=path, validation=0.0, test=0.0, **how))


def _check(cfg: Config) -> None:
    for name, most in (("length", np.inf), ("steps", 96), ("transpose", 12)):
        if not 0 <= getattr(cfg, name) <= most:
            choices = "0 or more" if most == np.inf else f"0 to {most}"
            raise UserError(f"--data.{name} is {getattr(cfg, name)}; choose {choices}")


def _split(source: Source, held_out: dict[str, float]) -> dict[str, list[Piece]]:
    """About the given shares for the splits that the source lacks."""
    cuts = corpus.missing(held_out, source.splits)
    splits = {**source.splits, "train": [], **{name: [] for name in cuts}}
    for piece in source.splits["train"]:
        splits[split_of(text_hash(music_tokens.intervals(piece)), cuts)].append(piece)
    return {name: splits[name] for name in SPLITS if name in splits}


def _dataset(cfg: Config, source: Source, form: Form, splits: dict[str, list[Piece]]) -> Dataset:
    data = _spelt(source.name, form, splits, labelled=cfg.labels)
    longest = int(max(np.diff(split.offsets).max() - 1 for split in data.splits.values()))
    length = cfg.length or min(longest, LONGEST)
    if cfg.overlap and not 0 < cfg.overlap < length:
        raise UserError(f"--data.overlap {cfg.overlap} must be 0, or below {length} (length)")
    ids = data.splits["train"].labels
    label_shares = () if ids is None else np.bincount(ids, minlength=len(data.labels)) / len(ids)
    spelt = (music_tokens.spell(form, piece) for piece in splits["train"])
    hashes = {text_hash(music_tokens.intervals(music_tokens.parse(form, words))) for words in spelt}
    codec = Codec(
        tokenizer=data.tokenizer,
        labels=data.labels,
        label_shares=tuple(map(float, label_shares)),
        line=True,
        start=END,
        forbidden=(UNKNOWN,),
        train_hashes=np.array(sorted(hashes), np.uint64),
        form=form,
    )
    for name, split in data.fingerprint["splits"].items():
        del split["chars"]
        split["notes"] = sum(len(piece.notes) for piece in splits[name])
    fingerprint = data.fingerprint | {
        "unit": "piece",
        "form": form.kind,
        "steps": form.steps,
        "length": length,
        "damaged": source.damaged,
    }
    shifts = music_tokens.shifts(splits["train"], cfg.transpose)
    return Dataset(cfg, codec, length, data.splits, None, shifts, fingerprint)


def _harmony(cfg: Config, source: Source, form: Form, splits: dict[str, list[Piece]]) -> Dataset:
    """The three lower voices, each piece in one window, and the sopranos as their sources."""
    below = dataclasses.replace(form, voices=VOICES[1:])
    dataset = _dataset(cfg, source, below, splits)
    melodies = _spelt(source.name, melody(form), splits, labelled=False)
    codec = HarmonyCodec(
        **vars(dataset.codec),
        source_tokenizer=melodies.tokenizer,
        source_length=dataset.length // len(below.voices) + 1,
        examples=(),
    )
    dataset = dataclasses.replace(dataset, codec=codec, sources=melodies.splits)
    held = sources(dataset, list(splits)[-1])
    examples = tuple(held[i] for i in batching.spaced(len(held), EXAMPLES))
    return dataclasses.replace(dataset, codec=dataclasses.replace(codec, examples=examples))


def _spelt(
    name: str, form: Form, splits: dict[str, list[Piece]], *, labelled: bool
) -> corpus.Corpus:
    """The words of all pieces as tokens. A piece of no known mode is of mode "unknown", unless
    they all are."""
    known = any(piece.label for pieces in splits.values() for piece in pieces)
    lines = {
        split: [
            Line(music_tokens.spell(form, piece), (piece.label or "unknown") if known else None)
            for piece in pieces
        ]
        for split, pieces in splits.items()
    }
    tokenizer = tokenizers.Word(music_tokens.words(form))
    how = {"kind": tokenizer, "vocab": 0, "shares": {}, "labelled": labelled}
    return corpus.from_lines(Lines(name, lines), **how)


# --- batches -----------------------------------------------------------------------------------


def windows(dataset: Dataset, split: str, overlap: int | None = None) -> int:
    """How many windows cover the pieces of a split, in steps of `length - overlap` tokens.

    `overlap` is the configured one unless given.
    """
    return int(_counts(dataset, split, _stride(dataset, overlap)).sum())


def _stride(dataset: Dataset, overlap: int | None) -> int:
    """Tokens from window to window. Raises UserError if the windows would not move."""
    overlap = overlap or dataset.cfg.overlap or dataset.length // 2
    if not 0 <= overlap < dataset.length:
        raise UserError(f"overlap {overlap} must be at least 0 and below {dataset.length} (length)")
    return dataset.length - overlap


def _counts(dataset: Dataset, split: str, stride: int) -> np.ndarray:
    """[N] windows of each piece; one of a piece with a source, which is cut if it is longer."""
    predictions = np.diff(dataset.splits[split].offsets) - 1
    if dataset.sources:
        return np.ones_like(predictions)
    return 1 + np.maximum(0, -(-(predictions - dataset.length) // stride))


def _place(counts_N: np.ndarray, index_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The piece of each window, and its number among the windows of the piece."""
    ends_N = np.cumsum(counts_N)
    piece_B = np.searchsorted(ends_N, index_B, side="right")
    return piece_B, index_B - (ends_N - counts_N)[piece_B]


def train_batch(dataset: Dataset, *, seed: int, step: int, size: int) -> dict[str, np.ndarray]:
    """The batch of a step (see `Spec`): a pure function of (seed, step).

    In random order each piece has windows enough to be covered, and in each epoch the middle of
    window i falls anywhere into the i-th of as many equal parts of it; and it is transposed. In
    sequential order every pass counts each position once, as it is; its last batch is padded.
    """
    if dataset.cfg.order == "sequential":
        index_B = batching.in_order(windows(dataset, "train"), step=step, size=size)
        return batching.pad(_in_order(dataset, "train", index_B, _stride(dataset, None)), size)
    counts_N = _counts(dataset, "train", dataset.length)
    index_B = batching.shuffled(int(counts_N.sum()), seed=seed, step=step, size=size)
    piece_B, number_B = _place(counts_N, index_B)
    rng = np.random.default_rng((seed, step, 1))
    predictions_B = (np.diff(dataset.splits["train"].offsets) - 1)[piece_B]
    middle_B = (number_B + rng.random(size)) / counts_N[piece_B] * predictions_B
    last_B = np.maximum(predictions_B - dataset.length, 0)
    if dataset.sources:  # which belong to the beginning
        last_B = np.zeros_like(last_B)
    start_B = np.clip((middle_B - dataset.length / 2).astype(int), 0, last_B)
    low_B, high_B = dataset.shifts[piece_B].T
    shift_B = rng.integers(low_B, high_B, endpoint=True)
    return _batch(dataset, "train", piece_B, start_B, 0, shift_B)


def eval_batches(
    dataset: Dataset, split: str, *, size: int, limit: int | None = None, overlap: int | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """The batches that count every prediction of a split exactly once, or those of `limit` evenly
    spaced windows.

    Of frames that is: from the second frame of each piece on, without its END, as the literature
    counts. Successive windows of a piece share `overlap` tokens (the configured one unless given).
    Each batch also holds `frames` and `notes`, [B] float32: how many the counted tokens end and
    are. The last batch is padded with rows of mask 0. Raises UserError for a split that the data
    does not have.
    """
    if split not in dataset.splits:
        choices = ", ".join(dataset.splits)
        raise UserError(f"the data has no {split} split; choose one of {choices}")
    form, stride = dataset.codec.form, _stride(dataset, overlap)
    tables = {
        "frames": music_tokens.frame_ends(form),
        "notes": music_tokens.note_tokens(form),
    }
    index = batching.spaced(windows(dataset, split, overlap), limit)
    for first in range(0, len(index), size):
        index_B = index[first : first + size]
        batch = _in_order(dataset, split, index_B, stride)
        targets_BT = batch["x"][:, 1:]
        if form.frames:
            ends_BT = tables["frames"][targets_BT]
            framed_BT = np.cumsum(ends_BT, axis=1) > ends_BT  # a frame has ended before
            _, number_B = _place(_counts(dataset, split, stride), index_B)
            batch["mask"] *= (framed_BT | (number_B > 0)[:, None]) & (targets_BT != END)
        for name, table_V in tables.items():
            batch[name] = (table_V[targets_BT] * batch["mask"]).sum(1, dtype=np.float32)
        yield batching.pad(batch, size)


def _in_order(
    dataset: Dataset, split: str, index_B: np.ndarray, stride: int
) -> dict[str, np.ndarray]:
    """The windows of these numbers, each position of a piece counted in the first that has it."""
    piece_B, number_B = _place(_counts(dataset, split, stride), index_B)
    start_B = number_B * stride
    skip_B = np.where(number_B > 0, dataset.length - stride, 0)
    return _batch(dataset, split, piece_B, start_B, skip_B, np.zeros_like(piece_B))


def _batch(
    dataset: Dataset,
    split: str,
    piece_B: np.ndarray,
    start_B: np.ndarray,
    skip: np.ndarray | int,
    shift_B: np.ndarray,
) -> dict[str, np.ndarray]:
    """Windows from token `start_B` of their pieces on, of which the first `skip` predictions do not
    count, `shift_B` semitones higher."""
    pieces, most, form = dataset.splits[split], dataset.cfg.transpose, dataset.codec.form
    first_B = pieces.offsets[piece_B] + start_B
    stop_B = np.minimum(first_B + dataset.length + 1, pieces.offsets[piece_B + 1])
    batch = text._gather(pieces.tokens, first_B, stop_B, skip, dataset.length)
    moved = shift_B[:, None] + most
    batch["x"] = music_tokens.transposition(form, most)[moved, batch["x"]]
    if pieces.labels is not None:
        batch["condition"] = pieces.labels[piece_B]
    if dataset.sources:
        tokens, offsets = dataset.sources[split].tokens, dataset.sources[split].offsets
        longest = dataset.codec.source_length
        source = text._gather(tokens, offsets[piece_B], offsets[piece_B + 1], 0, longest)["x"]
        table = music_tokens.transposition(melody(form), most)
        batch["source"] = table[moved, source[:, 1:]]
        batch["source"][:, -1] = END
    return batch


# --- as text, and what is said about it ----------------------------------------------------------


texts = text.texts


def targets(dataset: Dataset) -> tuple[ModuleType, Dataset]:
    """What is written alone, for what reads no source."""
    names = (field.name for field in dataclasses.fields(Codec))
    codec = Codec(**{name: getattr(dataset.codec, name) for name in names})
    return sys.modules[__name__], dataclasses.replace(dataset, codec=codec, sources=None)


def sources(dataset: Dataset, split: str) -> list[str]:
    """The sopranos of a split as a model reads them: in the order of `texts`, cut if too long."""
    tokens, offsets = dataset.sources[split].tokens, dataset.sources[split].offsets
    longest = dataset.codec.source_length
    return [
        dataset.codec.decode_source(tokens[start + 1 : start + longest]) for start in offsets[:-1]
    ]


def references(dataset: Dataset, split: str) -> list[tuple[str, list[str]]]:
    """Each soprano of a split once, with all that is written below it; none without sources."""
    if not dataset.sources:
        return []
    found: dict[str, dict[str, None]] = {}
    for above, below in zip(sources(dataset, split), texts(dataset, split), strict=True):
        found.setdefault(above, {})[below] = None
    return [(above, list(below)) for above, below in found.items()]


def describe(dataset: Dataset) -> str:
    """The fingerprint for a person to read, a line for each split."""
    about = dataset.fingerprint
    lines = [
        f"data: {about['source']}, music as {about['form']}, {about['steps']} steps to a quarter "
        f"note; windows of {about['length']}; vocabulary of {about['vocabulary']}; "
        f"sha256 {about['sha256'][:12]}"
    ]
    lines += labels.describe(about["splits"])
    if damaged := about["damaged"]:
        names = [f"{name} ({why})" for name, why in damaged.items()]
        lines.append(f"  skipped    {len(damaged):,} damaged: {image_store.first(names)}")
    return "\n".join(lines)


def units(totals: dict[str, float]) -> dict[str, float]:
    """Means over the tokens, from sums and their `weight`; and nats per note token and, of frames,
    per frame: all that the 88 keys of a frame are told by."""
    weight, notes, frames = (max(float(totals[k]), 1.0) for k in ("weight", "notes", "frames"))
    means = {
        name: float(total) / weight
        for name, total in totals.items()
        if name not in ("weight", "notes", "frames")
    }
    nats = float(totals["loss" if "loss" in totals else "nats"])
    per_frame = {"nats_per_frame": nats / frames} if totals["frames"] else {}
    return {**means, **per_frame, "nats_per_note": nats / notes}


# --- what a run keeps --------------------------------------------------------------------------


def save(dataset: Dataset, folder: str | os.PathLike) -> None:
    """Writes what `load_codec` reads."""
    text.save(dataset, folder)
    music_codec.save(dataset.codec, folder)


load_codec = music_codec.load_codec
