"""Pictures with a caption each: cut and augmented as in `image`, their captions read as sources.

What is held out are combinations of words: no training caption has both words of a chosen pair, but
each word of a held-out caption stands in some training caption. So a model is asked for what it has
never seen together, and never for a word that it cannot know.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from creagen_jax.data import (
    batching,
    caching,
    caption_tokens,
    cutting,
    image,
    image_sources,
    image_store,
    pairs,
    sources,
    tokenizers,
)
from creagen_jax.data.cutting import Cut
from creagen_jax.data.image_store import SPLITS, Split
from creagen_jax.data.tokenizers import END, Tokenizer
from creagen_jax.types import Spec, UserError

EXAMPLES = 32  # held-out captions that a codec keeps


@dataclasses.dataclass(frozen=True)
class Config(cutting.Framed):
    """Where the pictures are, how each becomes an array, and how captions become tokens."""

    path: str = ""
    """Folder of pictures with captions.tsv, .csv or .jsonl (`file`, `caption`) or metadata.jsonl or
    .csv (`file_name`, `text`); without a table, file names are captions: red_apple_2.png."""
    color: Literal["auto", "grey", "rgb"] = "auto"
    """One channel or three; auto: grey if all pictures are."""
    tokenizer: Literal["char", "byte", "bpe", "word"] = "bpe"
    """A token is a character, a UTF-8 byte, a piece found by byte-pair encoding, or a word."""
    vocab: int = 2048
    """V of the BPE tokenizer, in tokens (at least 258); the others find theirs."""
    length: int = 32
    """S, tokens of a caption with its END; longer ones are cut."""
    validation: float = 0.1
    """Share of the pictures held out for validation, by pairs of words in their captions."""
    test: float = 0.1
    """Share held out for the test, likewise."""
    probe: float = 0.05
    """Share held out for the feature network of the evaluation, likewise."""
    split_seed: int = 0
    """Seed of the choice of these pairs."""


@dataclasses.dataclass(frozen=True)
class Codec(image.Codec):
    """What sampling needs of the data: captions to tokens; pictures as in `image`."""

    source_tokenizer: Tokenizer
    source_length: int  # S
    examples: tuple[str, ...]  # held-out captions, to be drawn when nobody asks for one

    def encode_source(self, text: str) -> np.ndarray:
        """[S] int32: s1 .. sn END, and END up to S; the empty text is no source.

        Raises UserError for a text that is too long, or has a character that the training captions
        do not have if tokens are characters, or a word if they are words.
        """
        return pairs.Codec.encode_source(self, _spelt(caption_tokens.normal(text)))

    def decode_source(self, ids: Iterable[int]) -> str:
        """The caption of a source, up to its first END."""
        return pairs.Codec.decode_source(self, ids).strip()


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures and captions, split and ready to be batched."""

    cfg: Config
    codec: Codec
    pictures: image.Dataset  # their labels are the numbers of their captions
    captions: tuple[str, ...]  # [K] each once, of all splits
    source_KS: np.ndarray  # int32, the same as tokens
    fingerprint: dict

    @property
    def splits(self) -> dict[str, Split]:
        """The pictures alone: "train", and "validation", "test", "probe" where there are such."""
        return {name: part._replace(labels=None) for name, part in self.pictures.splits.items()}

    def spec(self, batch_size: int) -> Spec:
        """What a model must know."""
        return dataclasses.replace(
            self.pictures.spec(batch_size),
            source=self.codec.source_length,
            source_vocab=self.codec.source_tokenizer.vocab,
        )


def load(cfg: Config, *, cache: str | os.PathLike | None = None) -> Dataset:
    """Reads, cuts, splits and tokenises. Sets that are large when decoded are kept in `cache`.

    `cache` is $XDG_CACHE_HOME/creagen_jax or ~/.cache/creagen_jax unless given. A held-out picture
    that another split has too, under another caption, is left out. Raises UserError for data that
    cannot be found, read, or used as `cfg` asks.
    """
    _check(cfg)
    rows = caption_tokens.read(cfg.path)
    shares = {name: getattr(cfg, name) for name in SPLITS if getattr(cfg, name, 0)}
    held = caption_tokens.hold_out([row.caption for row in rows], shares, cfg.split_seed)
    source = _source(cfg.path, rows, held, ["train", *shares])
    shape = image_store.shape_of(source, cfg.height, cfg.width, cfg.color)
    if cfg.shift >= min(shape[:2]):
        raise UserError(
            f"--data.shift {cfg.shift} moves pictures of {shape[0]}x{shape[1]} out of the frame"
        )
    # The store knows its files and its cut, but not which captions are held out.
    place = "-".join(map(str, ["captions", cfg.split_seed, *shares, *shares.values()]))
    store = image_store.build(
        source,
        Cut(shape, cfg.background, cfg.fit),
        {},
        labelled=True,
        cache=caching.folder(cache) / place,
    )
    splits, left_out = _apart(store.splits)
    codec, source_KS, cut = _tokens(cfg, store.labels, splits, shape)
    about = {
        **store.fingerprint,
        "splits": {name: _count(split) for name, split in splits.items()},
        "left_out": left_out,
        "tokenizer": cfg.tokenizer,
        "vocabulary": codec.source_tokenizer.vocab,
        "length": codec.source_length,
        "truncated": cut,
    }
    pictures = image.Dataset(cfg, _plain(codec), splits, about)
    return Dataset(cfg, codec, pictures, store.labels, source_KS, about)


like = image.like  # other pictures need no captions


def _check(cfg: Config) -> None:
    if not cfg.path:
        raise UserError("no pictures: give a folder of pictures with captions as --data.path")
    sources.shares(cfg, "validation", "test", "probe")
    cutting.check(cfg)
    if cfg.length < 2:
        raise UserError(f"--data.length is {cfg.length}; choose 2 or more")


# --- from captions and pictures to arrays -------------------------------------------------------


def _source(
    path: str, rows: list[caption_tokens.Row], held: dict[str, str], names: list[str]
) -> image_sources.Source:
    """The pictures by split, with their captions as labels."""

    def read_split(name: str) -> Iterator[image_sources.Example]:
        for file, caption in rows:
            if held.get(caption, "train") == name:
                reader = functools.partial(Image.open, file)
                yield image_sources.Example(file.name, caption, reader)

    tables = (Path(path).expanduser() / name for name in caption_tokens.TABLES)
    return image_sources.Source(
        path,
        {name: functools.partial(read_split, name) for name in names},
        len(rows),
        (*filter(Path.is_file, tables), *(row.file for row in rows)),
    )


def _apart(splits: dict[str, Split]) -> tuple[dict[str, Split], int]:
    """The splits without the pictures that an earlier one has too, and how many these were."""
    seen, found, left_out = set(), {}, 0
    for name, (images, ids) in splits.items():
        hashes = [sources.data_hash(each.tobytes()) for each in images]
        kept = np.array([hash_ not in seen for hash_ in hashes])
        found[name] = Split(images, ids) if kept.all() else Split(images[kept], ids[kept])
        left_out += int((~kept).sum())
        seen.update(hashes)
    return found, left_out


def _tokens(
    cfg: Config, captions: tuple[str, ...], splits: dict[str, Split], shape: tuple[int, int, int]
) -> tuple[Codec, np.ndarray, int]:
    """The codec, the captions as sources [K, S], and how many of them were cut."""
    train = (_spelt(captions[i]) for i in np.unique(splits["train"].labels))
    tokenizer = tokenizers.train(cfg.tokenizer, train, cfg.vocab)
    ids = [tokenizer.encode(_spelt(caption), unknown=True) for caption in captions]
    S = cfg.length
    source_KS = np.full((len(ids), S), END, np.int32)
    for source_S, each in zip(source_KS, ids, strict=True):
        source_S[: min(len(each), S - 1)] = each[: S - 1]
    codec = Codec(
        labels=(),
        label_shares=(),
        shape=shape,
        background=cfg.background,
        fit=cfg.fit,
        augment=int(cfg.flip) + 2 * (cfg.shift > 0),
        source_tokenizer=tokenizer,
        source_length=S,
        examples=(),
    )
    shown = [name for name in ("train", "validation", "test") if name in splits][-1]
    known = [i for i in np.unique(splits[shown].labels) if len(ids[i]) < S]
    examples = tuple(captions[known[i]] for i in batching.spaced(len(known), EXAMPLES))
    return dataclasses.replace(codec, examples=examples), source_KS, sum(len(i) >= S for i in ids)


def _spelt(caption: str) -> str:
    """With a space before the first word too, so that it has the same pieces wherever it stands."""
    return f" {caption}" if caption else ""


def _count(split: Split) -> dict[str, int]:
    return {"examples": len(split.images), "captions": len(np.unique(split.labels))}


def _plain(codec: Codec) -> image.Codec:
    names = (field.name for field in dataclasses.fields(image.Codec))
    return image.Codec(**{name: getattr(codec, name) for name in names})


# --- batches -----------------------------------------------------------------------------------


def windows(dataset: Dataset, split: str, overlap: int = 0) -> int:
    """How many pictures a split has; they do not overlap."""
    return image.windows(dataset.pictures, split, overlap)


def train_batch(dataset: Dataset, *, seed: int, step: int, size: int) -> dict[str, np.ndarray]:
    """The batch of a step (see `Spec`): a pure function of (seed, step)."""
    batch = image.train_batch(dataset.pictures, seed=seed, step=step, size=size)
    batch["source"] = dataset.source_KS[batch.pop("condition")]
    return batch


def eval_batches(
    dataset: Dataset, split: str, *, size: int, limit: int | None = None, overlap: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """The batches that hold every picture of a split once, or `limit` evenly spaced ones.

    The last batch is padded with rows of mask 0 and without a source. Raises UserError for a split
    that the data does not have.
    """
    for batch in image.eval_batches(dataset.pictures, split, size=size, limit=limit):
        source_BS = dataset.source_KS[batch.pop("condition")]
        batch["source"] = np.where(batch["mask"][:, None] > 0, source_BS, END)
        yield batch


# --- what is said about it, and what a run keeps ------------------------------------------------


def captions(dataset: Dataset, split: str) -> list[str]:
    """The caption of each picture of a split, in their order."""
    return [dataset.captions[i] for i in dataset.pictures.splits[split].labels]


def one_each(dataset: Dataset, split: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The N different captions of a split, as texts and as sources [N, S], and the first picture of
    each, [N, H, W, C] uint8."""
    part = dataset.pictures.splits[split]
    ids, first = np.unique(part.labels, return_index=True)
    return [dataset.captions[i] for i in ids], dataset.source_KS[ids], part.images[first]


def describe(dataset: Dataset) -> str:
    """The fingerprint for a person to read, a line for each split."""
    about = dataset.fingerprint
    said = f"  captions   {about['length']} {about['tokenizer']} tokens of {about['vocabulary']:,}"
    if about["truncated"]:
        said += f", {about['truncated']:,} cut"
    if about["left_out"]:
        said += f"; {about['left_out']:,} held-out pictures left out that other splits have too"
    return f"{image.describe(dataset.pictures)}\n{said}"


units = image.units


def save(dataset: Dataset, folder: str | os.PathLike) -> None:
    """Writes what `load_codec` reads."""
    folder, codec = Path(folder), dataset.codec
    image.save(dataset.pictures, folder)
    tokenizers.save(codec.source_tokenizer, folder / "source_tokenizer.json")
    fields = {"source_length": codec.source_length, "examples": codec.examples}
    (folder / "source.json").write_text(json.dumps(fields))


def load_codec(folder: str | os.PathLike) -> Codec:
    """What sampling needs. Raises UserError if it is not there."""
    folder, codec = Path(folder), image.load_codec(folder)
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
