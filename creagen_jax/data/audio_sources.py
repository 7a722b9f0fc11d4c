"""Where sound comes from: folders of WAV, FLAC and OGG, and embedded tones with their oracle."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from creagen_jax import config
from creagen_jax.data import image_sources, sources
from creagen_jax.data.cutting import DamagedError
from creagen_jax.types import UserError

SUFFIXES = (".wav", ".flac", ".ogg")
PEAK = 0.9  # of every clip, so that loud and soft recordings are alike
SILENT = 1e-6  # a peak below this is silence: a step of 16 bits is 3e-5
TRIM = 0.01  # of the peak, -40 dB: what is below it at the ends is silence


class Recording(NamedTuple):
    """What a file holds."""

    wave: np.ndarray  # [S, channels] float32
    rate: int  # samples a second


@dataclasses.dataclass(frozen=True)
class Source(image_sources.Source):
    """Recordings; each split can be read again and again."""

    noun: str = "recording"


@dataclasses.dataclass(frozen=True)
class Cut:
    """How a recording becomes a clip of fixed length."""

    rate: int
    samples: int
    channels: int
    trim: bool  # leave out silence at both ends

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the bytes of a clip: samples, channels, the two bytes of each."""
        return self.samples, self.channels, 2

    def __call__(self, read: functools.partial) -> np.ndarray:
        """[S, channels] int16, with a peak of PEAK: cut at the end, or silence after it.

        Raises DamagedError for what cannot be read, is empty, silent, or not finite.
        """
        try:
            wave, rate = read()
        except (soundfile.SoundFileError, OSError, ValueError, MemoryError) as error:
            raise DamagedError(" ".join(str(error).split())) from None
        if not wave.size:
            raise DamagedError("no samples")
        if not np.isfinite(wave).all():
            raise DamagedError("samples that are no numbers")
        if wave.shape[1] != self.channels:
            wave = wave.mean(axis=1, keepdims=True).repeat(self.channels, axis=1)
        peak = np.abs(wave).max()
        wave = wave / peak if peak >= SILENT else wave  # before any sum can overflow
        if rate != self.rate:
            wave = soxr.resample(wave, rate, self.rate)
        if self.trim:
            wave = _trimmed(wave)
        wave = wave[: self.samples]
        peak = np.abs(wave).max(initial=0.0)
        if peak < SILENT:
            raise DamagedError("silence only")
        wave = np.pad(wave * (PEAK / peak), [(0, self.samples - len(wave)), (0, 0)])
        return np.round(wave * 32767).astype(np.int16)


def _trimmed(wave: np.ndarray) -> np.ndarray:
    loud = np.abs(wave).max(axis=1, initial=0.0)
    place = np.flatnonzero(loud > TRIM * loud.max(initial=0.0))
    return wave[place[0] : place[-1] + 1] if len(place) else wave


# --- the user's own files ----------------------------------------------------------------------


def files(path: str) -> Source:
    """A folder of WAV, FLAC and OGG files whose sub-folders, if it has any, are classes; or with a
    sub-folder `train` (and perhaps `validation`, `test`), each of them such a folder.

    Raises UserError for what cannot be found.
    """
    folder = Path(path).expanduser()
    if folder.is_file():
        raise UserError(f"{path} is one file; choose a folder of {', '.join(SUFFIXES)} files")
    if not folder.is_dir():
        raise sources.not_found(folder)
    rows = {split: _rows(part) for split, part in sources.own_folders(folder).items()}
    if not rows["train"]:
        raise UserError(f"folder {folder} holds no {', '.join(SUFFIXES)} file")

    def clips(split: str) -> Iterator[image_sources.Example]:
        for file, label in rows[split]:
            name = os.path.relpath(file, folder)
            yield image_sources.Example(name, label, functools.partial(read, file))

    return Source(
        str(folder),
        {split: functools.partial(clips, split) for split in rows},
        sum(map(len, rows.values())),
        tuple(file for split in rows.values() for file, _ in split),
    )


def _rows(folder: Path) -> list[tuple[Path, str | None]]:
    """The sound files of a folder, each with its class."""
    found = sorted(file.relative_to(folder) for file in folder.rglob("*"))
    return [
        (folder / file, file.parts[0] if len(file.parts) > 1 else None)
        for file in found
        if file.suffix.lower() in SUFFIXES
        and (folder / file).is_file()
        and not any(part.startswith(".") for part in file.parts)
    ]


def read(path: str | os.PathLike) -> Recording:
    """The samples of a sound file. Raises what soundfile does."""
    return Recording(*soundfile.read(path, dtype="float32", always_2d=True))


# --- embedded ----------------------------------------------------------------------------------

TIMBRES = {  # the strength of each harmonic, the fundamental first
    "sine": (1.0,),
    "square": (1.0, 0.0, 1 / 3, 0.0, 1 / 5, 0.0, 1 / 7),
    "sawtooth": (1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7),
    "organ": (1.0, 1.0, 0.0, 1.0),
}
PITCHES = range(48, 72)  # MIDI numbers: two octaves from 131 Hz to 494 Hz
TONE_RATE = 16_000  # samples a second
TONE_SECONDS = 1.0
TAKES = 8  # of each pitch and timbre, which differ in phase and decay
PRECISION = 1 / 100  # semitones between two pitches that `read_tone` tries
FINENESS = 16  # points of its spectrum for each sample


class Tone(NamedTuple):
    """What `read_tone` hears."""

    pitch: float  # MIDI number
    timbre: str
    clear: float  # share of the energy that is this tone, 0 .. 1


def embedded(name: str) -> Source:
    """An embedded set: "tones", with the timbre as label, or "pitches", the same by pitch.

    Raises UserError if unknown.
    """
    names = ("tones", "pitches")
    if name not in names:
        raise UserError(f"no embedded set '{name}'; {config.nearest(name, list(names))}")

    def clips() -> Iterator[image_sources.Example]:
        for pitch in PITCHES:
            for timbre in TIMBRES:
                for take in range(TAKES):
                    label = timbre if name == "tones" else str(pitch)
                    make = functools.partial(_take, pitch, timbre, take)
                    yield image_sources.Example(f"{pitch} {timbre} {take}", label, make)

    return Source(name, {"train": clips}, len(PITCHES) * len(TIMBRES) * TAKES)


def frequency(pitch: float) -> float:
    """Hertz of a MIDI number, equally tempered, 69 at 440."""
    return 440 * 2 ** ((pitch - 69) / 12)


def tone(
    pitch: float, timbre: str, *, rate: int, samples: int, phase: float = 0.0, decay: float = 0.0
) -> np.ndarray:
    """[samples] float32: harmonics of a pitch, those from half the rate on left out.

    phase  of the fundamental, in cycles
    decay  how fast it fades, in nepers a second
    """
    second = np.arange(samples) / rate
    cycle = frequency(pitch) * second + phase
    harmonics = enumerate(TIMBRES[timbre], 1)
    wave = sum(
        strength * np.sin(2 * np.pi * k * cycle)
        for k, strength in harmonics
        if k * frequency(pitch) < rate / 2
    )
    return (wave * np.exp(-decay * second)).astype(np.float32)


def _take(pitch: int, timbre: str, take: int) -> Recording:
    rng = np.random.default_rng((pitch, list(TIMBRES).index(timbre), take))
    how = {"phase": rng.random(), "decay": rng.uniform(0, 3)}
    samples = int(TONE_SECONDS * TONE_RATE)
    wave = tone(pitch, timbre, rate=TONE_RATE, samples=samples, **how)
    return Recording(wave[:, None], TONE_RATE)


def read_tone(wave: np.ndarray, rate: int) -> Tone:
    """The pitch and the timbre of a wave [S], of those that are embedded.

    That is the pair whose harmonics are most like the spectrum's at these frequencies (the largest
    normalised inner product of their sizes), of pitches PRECISION apart.
    """
    window = np.hanning(len(wave))
    wave = np.asarray(wave, np.float64) * window
    energy = (wave**2).sum()
    if energy < SILENT**2:
        return Tone(float(PITCHES[0]), "sine", 0.0)
    points = 1 << (FINENESS * len(wave) - 1).bit_length()
    size = np.abs(np.fft.rfft(wave, points))
    pitch_P = np.arange(PITCHES[0] - 1, PITCHES[-1] + 1 + PRECISION, PRECISION)

    def likeness_P(strengths: tuple[float, ...]) -> np.ndarray:
        hertz_PK = frequency(pitch_P)[:, None] * np.arange(1, len(strengths) + 1)
        weight_PK = np.where(hertz_PK < rate / 2, strengths, 0)
        place_PK = np.round(hertz_PK * points / rate).astype(int).clip(0, len(size) - 1)
        return (weight_PK * size[place_PK]).sum(1) / np.linalg.norm(weight_PK, axis=1)

    likeness = {timbre: likeness_P(strengths) for timbre, strengths in TIMBRES.items()}
    timbre = max(likeness, key=lambda timbre: likeness[timbre].max())
    best = likeness[timbre].argmax()
    whole = energy * window.sum() ** 2 / (window**2).sum() / 2  # of a steady tone alone
    return Tone(float(pitch_P[best]), timbre, float(likeness[timbre][best] ** 2 / whole))
