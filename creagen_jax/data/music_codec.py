"""What sampling needs of music: between pieces, their words, and tokens."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from creagen_jax.data import (
    audio_files,
    music_files,
    music_sources,
    music_tokens,
    pictures,
    sources,
    text,
    tokenizers,
)
from creagen_jax.data.cutting import DamagedError
from creagen_jax.data.music_tokens import VOICES, Form, Piece
from creagen_jax.data.pictures import About
from creagen_jax.data.tokenizers import END, Tokenizer
from creagen_jax.types import UserError

SHOWN_RATE = 8000  # samples a second of the music in a report


@dataclasses.dataclass(frozen=True, eq=False)
class Codec(text.Codec):
    """What sampling needs of the data: between pieces, their words and tokens."""

    form: Form

    suffixes = music_files.SUFFIXES

    @property
    def grammar(self) -> Form:
        """Hashable; its `follows()` tells a sampler which token may stand behind which."""
        return self.form

    def piece(self, text: str, source: str | None = None) -> Piece:
        """The piece to be heard of generated words, above it that of its source."""
        made = music_tokens.tied(music_tokens.parse(self.form, text))
        if source is None:
            return made
        form = melody(self.form)
        above = music_tokens.tied(music_tokens.parse(form, _words(source, form)))
        return music_tokens.piece([*above.notes, *made.notes], above.length)

    def encode_prompt(self, text: str) -> np.ndarray:
        """[P] int32, the tokens that generation continues; at least one.

        `text` is words, or the path of a MIDI, ABC or MusicXML file. Raises UserError for a word
        that the form does not have, or a file that cannot be read.
        """
        return super().encode_prompt(_words(text, self.form))

    def is_new(self, text: str) -> bool:
        """Whether a piece is none of the training split, in no key."""
        return super().is_new(self.judged(text))

    def judged(self, text: str) -> str:
        """What is equal for words that differ in key alone."""
        return music_tokens.intervals(music_tokens.parse(self.form, text))

    def write(self, path: str | os.PathLike, text: str, source: str | None, about: About) -> None:
        """A .mid, .wav or .png of generated words. Raises UserError if the disk refuses."""
        music_files.write(path, self.piece(text, source), self.form.steps, about)

    def visible(self, items: Iterable[tuple[str, str | None]]) -> np.ndarray:
        """[N, H, W, 3] uint8: piano rolls of words and their sources."""
        return music_files.rolls([self.piece(*item) for item in items], self.form.steps)

    def exhibit(self, text: str, source: str | None) -> dict[str, str]:
        """A piano roll, and the music to play."""
        piece = self.piece(text, source)
        roll = music_files.roll(piece, self.form.steps)
        return {
            "picture": pictures.data_uri(roll),
            "sound": audio_files.mp3_uri(
                music_files.synthesise(piece, self.form.steps, rate=SHOWN_RATE), SHOWN_RATE
            ),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class HarmonyCodec(Codec):
    """The same of a model that reads a soprano."""

    source_tokenizer: Tokenizer
    source_length: int  # S
    examples: tuple[str, ...]  # held-out sopranos, to be shown when nobody asks for one

    def encode_source(self, text: str) -> np.ndarray:
        """[S] int32: s1 .. sn END, and END up to S; the empty text is no source.

        `text` is words, or the path of a file of which the top voice is read. Raises UserError for
        one that is too long or cannot be read.
        """
        ids = self.source_tokenizer.encode(_words(text, melody(self.form)))
        if len(ids) >= self.source_length:
            raise UserError(
                f"the source has {len(ids)} steps; this model reads at most "
                f"{self.source_length - 1}"
            )
        return np.pad(ids, (0, self.source_length - len(ids)), constant_values=END)

    def decode_source(self, ids: Iterable[int]) -> str:
        """The words of a source, up to its first END."""
        return self.source_tokenizer.decode(itertools.takewhile(lambda id_: id_ != END, ids))


def melody(form: Form) -> Form:
    """The form of a soprano alone."""
    return dataclasses.replace(form, voices=VOICES[:1])


def _words(text: str, form: Form) -> str:
    """Words as they are; of the path of a music file those of its first piece."""
    path = Path(text).expanduser()
    if path.suffix.lower() not in music_sources.SUFFIXES:
        return text
    if not path.is_file():
        raise sources.not_found(path)
    try:
        return music_tokens.spell(form, fit(music_sources.read(path, form.steps)[0], form))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except DamagedError as error:
        raise UserError(f"cannot read {path}: {error}") from None


def fit(piece: Piece, form: Form) -> Piece:
    """A piece as its form can spell it. Raises UserError if it has not the voices of the form."""
    if form.kind == "events":
        return music_tokens.struck(music_tokens.tied(piece))
    if form.kind == "voices" and form.voices == VOICES[:1]:
        return music_tokens.top(piece)
    if form.kind == "voices" and not music_sources.is_voiced(piece):
        raise UserError(
            f"{piece.name or 'this piece'} is not of four voices of one note at a time each; "
            "choose --data.form chords or events"
        )
    return piece


# --- what a run keeps --------------------------------------------------------------------------


def save(codec: Codec, folder: str | os.PathLike) -> None:
    """Writes what `load_codec` reads beside that of `text`."""
    fields: dict[str, Any] = {"form": dataclasses.asdict(codec.form)}
    if isinstance(codec, HarmonyCodec):
        fields |= {"source_length": codec.source_length, "examples": codec.examples}
    (Path(folder) / "music.json").write_text(json.dumps(fields))


def load_codec(folder: str | os.PathLike) -> Codec:
    """What sampling needs. Raises UserError if it is not there."""
    folder, codec = Path(folder), text.load_codec(folder)
    try:
        fields = json.loads((folder / "music.json").read_text())
    except FileNotFoundError:
        raise UserError(f"no music.json in {folder}") from None
    form = Form(**fields["form"])
    if "source_length" not in fields:
        return Codec(**vars(codec), form=form)
    return HarmonyCodec(
        **vars(codec),
        form=form,
        source_tokenizer=tokenizers.Word(music_tokens.words(melody(form))),
        source_length=fields["source_length"],
        examples=tuple(fields["examples"]),
    )
