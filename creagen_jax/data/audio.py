"""Sound: clips of one length, kept as 16-bit samples; to a model log-mel spectrograms or tokens."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np

from creagen_jax.data import (
    audio_files,
    audio_sources,
    batching,
    caching,
    image,
    image_store,
    labels,
    pictures,
    sources,
)
from creagen_jax.data.audio_forms import LEVELS, LogMel, from_mu_law, mu_law
from creagen_jax.data.audio_sources import PEAK, Cut
from creagen_jax.data.cutting import DamagedError
from creagen_jax.data.image_store import Split
from creagen_jax.data.tokenizers import END
from creagen_jax.types import Spec, UserError

FULL_SCALE = 32767  # the 16-bit sample that stands for 1


@dataclasses.dataclass(frozen=True)
class Config(sources.Parts):
    """Where the recordings are, how each becomes a clip, and what a model sees of it."""

    source: str = "tones"
    """Embedded set, used if no path is given: tones (labels are timbres) or pitches."""
    path: str = ""
    """Folder of .wav, .flac and .ogg files (sub-folders are classes); goes before source."""
    rate: int = 8000
    """Samples a second; recordings of another rate are resampled."""
    seconds: float = 0.64
    """Length of a clip: longer recordings are cut at the end, shorter ones end in silence."""
    channels: Literal["mono", "stereo"] = "mono"
    """One channel, the mean of those recorded, or two."""
    trim: bool = False
    """Leave out silence at both ends of a recording: what is 40 dB below its peak."""
    form: Literal["array", "tokens"] = "array"
    """Log-mel spectrogram, an array [bands, frames, channels]; or mu-law tokens, one a sample."""
    bands: int = 64
    """Mel bands of the array; more of them keep pitch and timbre better."""
    hop: int = 80
    """Samples from one frame of the array to the next."""
    window: int = 256
    """Samples of a frame, at least two hops."""
    order: Literal["random", "sequential"] = "random"
    """Of tokens: shuffled epochs, or every clip once and in order."""
    shift: float = 0.0
    """Augmentation of the array: move a clip by up to this many seconds in both directions."""


@dataclasses.dataclass(frozen=True)
class Codec:
    """What sampling needs of the data: between waves and what a model takes."""

    labels: tuple[str, ...]  # the name of each label; empty if unconditional
    label_shares: tuple[float, ...]  # how often each stands in the training split; sums to 1
    form: str
    cut: Cut
    mel: LogMel
    augment: int  # A

    suffix = ".wav"
    line = True  # a sequence of tokens is a clip, which
    start = END  # stands at its beginning, and nowhere else
    forbidden = (END,)

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, C of an array: bands, frames, channels."""
        return self.mel.bands, self.cut.samples // self.mel.hop, self.cut.channels

    def label_id(self, name: str) -> int:
        """The id of a label. Raises UserError for an unknown one."""
        return labels.label_id(self.labels, name)

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """Waves [..., S, C] in -1 .. 1 as arrays [..., H, W, C], or tokens [..., S] int32."""
        if self.form == "tokens":
            return mu_law(wave[..., 0]).astype(np.int32) + END + 1
        return np.moveaxis(self.mel.encode(wave.swapaxes(-1, -2)), -3, -1)

    def decode(self, x: np.ndarray) -> np.ndarray:
        """The wave of an array [..., H, W, C] or of tokens [..., T]: float32 in -1 .. 1, [..., S]
        or, of stereo, [..., S, 2]. What is louder than clips are is made softer as a whole.

        Raises ValueError for a token that is no level.
        """
        x = np.asarray(x)
        if self.form == "tokens":
            if ((x <= END) | (x > END + LEVELS)).any():
                raise ValueError(f"tokens of sound are {END + 1} to {END + LEVELS}")
            return from_mu_law(x - END - 1)
        wave = self.mel.decode(np.moveaxis(x, -1, -3))  # [..., C, S]
        wave *= PEAK / np.maximum(np.abs(wave).max(axis=(-1, -2), keepdims=True), PEAK)
        return wave[..., 0, :] if self.cut.channels == 1 else wave.swapaxes(-1, -2)

    def read(self, path: str | os.PathLike) -> np.ndarray:
        """A sound file, cut as those of the training, as `encode` gives it.

        Raises UserError for a file that is no sound.
        """
        return self.encode(_read(path, self.cut))

    def read_mask(self, path: str | os.PathLike) -> np.ndarray:
        """Raises UserError: sound has no masks."""
        raise UserError(f"--mask {path} is for pictures; sound takes --image and --strength")

    def encode_prompt(self, path: str) -> np.ndarray:
        """[P] int32, the tokens that generation continues: those of a sound file without its end in
        silence; "" is the beginning alone.

        Raises UserError for a file that is no sound.
        """
        wave = _read(path, self.cut)[:, :1] if path else np.zeros((0, 1), np.float32)
        sounds = np.flatnonzero(wave)
        wave = wave[: sounds[-1] + 1 if len(sounds) else 0]
        return np.concatenate([[self.start], self.encode(wave)]).astype(np.int32)

    def visible(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        """[N, H, W, 3] uint8: spectrograms of N waves; shorter ones end in black."""
        return audio_files.spectrograms(waves, self.cut.rate)

    def writer(self, folder: str | os.PathLike) -> AbstractContextManager[pictures.Writer]:
        """Of waves, as .wav files."""
        return audio_files.folder_writer(folder, self.cut.rate)

    def compared(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        """[N, H, W, 1] uint8: the log-mel spectrograms of N waves, of their mean if stereo."""
        S = self.cut.samples // self.mel.hop * self.mel.hop
        mono_NS = np.zeros((len(waves), S), np.float32)
        for row_S, wave in zip(mono_NS, waves, strict=True):
            wave = (wave if wave.ndim == 1 else wave.mean(1))[:S]
            row_S[: len(wave)] = wave
        values_NHW = self.mel.encode(mono_NS)
        return np.round((values_NHW.clip(-1, 1) + 1) * 127.5).astype(np.uint8)[..., None]

    def exhibit(self, wave: np.ndarray) -> dict[str, str]:
        """A spectrogram, and the sound to play."""
        return {
            "picture": pictures.data_uri(self.visible([wave])[0]),
            "sound": audio_files.wav_uri(wave, self.cut.rate),
        }

    def is_new(self, wave: np.ndarray) -> None:
        """Not known: copies of sound are found by likeness, not by a hash."""
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Clips, split and ready to be batched."""

    cfg: Config
    codec: Codec
    length: int  # T of tokens: the samples of a clip
    splits: dict[str, Split]  # of bytes; "train", and "validation", "test", "probe" where present
    fingerprint: dict

    def spec(self, batch_size: int) -> Spec:
        """What a model must know."""
        codec, classes = self.codec, len(self.codec.labels)
        if codec.form == "tokens":
            return Spec(vocab=LEVELS + 1, length=self.length, classes=classes)
        return Spec(shape=codec.shape, classes=classes, augment=codec.augment)


def load(cfg: Config, *, cache: str | os.PathLike | None = None) -> Dataset:
    """Reads, cuts and splits; equal clips share a split. Large sets are kept in the `cache` folder.

    `cache` is $XDG_CACHE_HOME/creagen_jax or ~/.cache/creagen_jax unless given. Raises UserError
    for data that cannot be found, read, or used as `cfg` asks.
    """
    cut = _cut(cfg)
    shares = sources.shares(cfg, "validation", "test", "probe")
    if cfg.path:
        source = audio_sources.files(cfg.path)
    else:
        source = audio_sources.embedded(cfg.source)
    folder = caching.folder(cache)
    store = image_store.build(source, cut, shares, labelled=cfg.labels, cache=folder)
    ids = store.splits["train"].labels
    shares = () if ids is None else np.bincount(ids, minlength=len(store.labels)) / len(ids)
    codec = Codec(
        labels=store.labels,
        label_shares=tuple(map(float, shares)),
        form=cfg.form,
        cut=cut,
        mel=LogMel(cfg.rate, cfg.hop, cfg.window, cfg.bands),
        augment=int(cfg.shift > 0),
    )
    fingerprint = {**store.fingerprint, "rate": cfg.rate, "trim": cfg.trim}
    return Dataset(cfg, codec, cut.samples, store.splits, fingerprint)


def like(codec: Codec, path: str) -> tuple[ModuleType, Dataset]:
    """Other clips, cut as those of a codec are, all in "train". Raises UserError as `load`."""
    cut, mel = codec.cut, codec.mel
    cfg = Config(
        path=path,
        rate=cut.rate,
        seconds=cut.samples / cut.rate,
        channels="stereo" if cut.channels == 2 else "mono",
        trim=cut.trim,
        form=codec.form,
        bands=mel.bands,
        hop=mel.hop,
        window=mel.window,
        **sources.WHOLE,
    )
    return sys.modules[__name__], load(cfg)


def _cut(cfg: Config) -> Cut:
    """Clips of whole frames. Raises UserError for a `cfg` that contradicts itself."""
    for name in ("rate", "bands", "hop"):
        if getattr(cfg, name) < 1:
            raise UserError(f"--data.{name} is {getattr(cfg, name)}; choose 1 or more")
    frames = cfg.form == "array"
    if frames and not 2 * cfg.hop <= cfg.window:
        raise UserError(
            f"--data.window {cfg.window} is too short for --data.hop {cfg.hop}; choose "
            f"{2 * cfg.hop} or more"
        )
    if frames and cfg.bands > cfg.window // 2:
        raise UserError(
            f"--data.bands {cfg.bands} are more than a window of {cfg.window} samples tells "
            f"apart; choose up to {cfg.window // 2}"
        )
    if not frames and (cfg.channels == "stereo" or cfg.shift):
        raise UserError("--data.form tokens is for mono sound without --data.shift")
    if not 0 <= cfg.shift < cfg.seconds:
        raise UserError(f"--data.shift {cfg.shift} must be 0 to --data.seconds {cfg.seconds}")
    step = cfg.hop if frames else 1
    samples = round(cfg.seconds * cfg.rate / step) * step
    if samples < step:
        raise UserError(f"--data.seconds {cfg.seconds} is shorter than one frame")
    return Cut(cfg.rate, samples, 2 if cfg.channels == "stereo" else 1, cfg.trim)


# --- batches -----------------------------------------------------------------------------------


def windows(dataset: Dataset, split: str, overlap: int = 0) -> int:
    """How many clips a split has; they do not overlap."""
    return len(dataset.splits[split].images)


def train_batch(dataset: Dataset, *, seed: int, step: int, size: int) -> dict[str, np.ndarray]:
    """The batch of a step (see `Spec`): a pure function of (seed, step).

    Every clip comes once an epoch, in a new order and augmented anew; or, in sequential order, in
    the order of the data, the last batch of each pass padded.
    """
    count = windows(dataset, "train")
    if dataset.cfg.order == "sequential":
        index_B = batching.in_order(count, step=step, size=size)
        return batching.pad(_batch(dataset, "train", index_B), size)
    index_B = batching.shuffled(count, seed=seed, step=step, size=size)
    if not dataset.codec.augment:
        return _batch(dataset, "train", index_B)
    return _batch(dataset, "train", index_B, np.random.default_rng((seed, step, 1)))


def eval_batches(
    dataset: Dataset, split: str, *, size: int, limit: int | None = None, overlap: int | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """The batches that hold every clip of a split once, as it is, or `limit` evenly spaced ones.

    The last batch is padded with rows of mask 0. `overlap` is for data that is cut into windows.
    Raises UserError for a split that the data does not have.
    """
    _check_split(dataset, split)
    index = batching.spaced(windows(dataset, split), limit)
    for first in range(0, len(index), size):
        batch = _batch(dataset, split, index[first : first + size])
        yield batching.pad({"mask": np.ones(len(batch["x"]), np.float32), **batch}, size)


def samples(dataset: Dataset, split: str, limit: int | None = None) -> np.ndarray:
    """The clips of a split as `Codec.decode` gives sound, before any form; or `limit` evenly spaced
    ones. Raises UserError for a split that the data does not have."""
    _check_split(dataset, split)
    found = _waves(dataset.splits[split], batching.spaced(windows(dataset, split), limit))
    return found[..., 0] if dataset.codec.cut.channels == 1 else found


def _check_split(dataset: Dataset, split: str) -> None:
    if split not in dataset.splits:
        choices = ", ".join(dataset.splits)
        raise UserError(f"the data has no {split} split; choose one of {choices}")


def _waves(split: Split, index_B: np.ndarray) -> np.ndarray:
    """[B, S, C] float32."""
    return split.images[index_B].view(np.int16)[..., 0].astype(np.float32) / FULL_SCALE


def _batch(
    dataset: Dataset, split: str, index_B: np.ndarray, rng: np.random.Generator | None = None
) -> dict[str, np.ndarray]:
    """Clips as a model takes them, moved at random by `rng`."""
    clips, codec = dataset.splits[split], dataset.codec
    wave_BSC = _waves(clips, index_B)
    batch = {}
    if codec.augment:
        batch["augment"] = np.zeros((len(index_B), 1), np.float32)
    if rng is not None:
        batch["augment"] = rng.uniform(-1, 1, (len(index_B), 1)).astype(np.float32)
        steps_B = np.round(batch["augment"][:, 0] * dataset.cfg.shift * dataset.cfg.rate)
        wave_BSC = np.stack(list(map(_moved, wave_BSC, steps_B.astype(int))))
    x = codec.encode(wave_BSC)
    if codec.form == "tokens":
        batch["mask"] = np.ones(x.shape, np.float32)
        x = np.pad(x, ((0, 0), (1, 0)), constant_values=END)
    batch["x"] = x
    if clips.labels is not None:
        batch["condition"] = clips.labels[index_B]
    return batch


def _moved(wave_SC: np.ndarray, steps: int) -> np.ndarray:
    """A wave `steps` samples later, with silence in the place that it leaves."""
    moved = np.roll(wave_SC, steps, axis=0)
    moved[slice(0, steps) if steps >= 0 else slice(steps, None)] = 0
    return moved


# --- what is said about it ----------------------------------------------------------------------


def describe(dataset: Dataset) -> str:
    """The fingerprint for a person to read, a line for each split."""
    about, codec = dataset.fingerprint, dataset.codec
    cut = codec.cut
    if codec.form == "tokens":
        form = f"{dataset.length:,} mu-law tokens"
    else:
        form = "log-mel {} bands x {} frames x {}".format(*codec.shape)
    lines = [
        f"data: {about['source']}, clips of {cut.samples / cut.rate:g} s at {cut.rate:,} Hz "
        f"({'silence at the ends left out, ' * cut.trim}longer ones cut, shorter ones end in "
        f"silence), {form}; sha256 {about['sha256'][:12]}"
    ]
    lines += labels.describe(about["splits"])
    if damaged := about["damaged"]:
        lines.append(f"  skipped    {len(damaged):,} damaged: {image_store.first(damaged)}")
    return "\n".join(lines)


units = image.units  # means per clip, or per token


# --- what a run keeps --------------------------------------------------------------------------


def save(dataset: Dataset, folder: str | os.PathLike) -> None:
    """Writes what `load_codec` reads."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "codec.json").write_text(json.dumps(dataclasses.asdict(dataset.codec)))


def load_codec(folder: str | os.PathLike) -> Codec:
    """What sampling needs. Raises UserError if it is not there."""
    try:
        fields = json.loads((Path(folder) / "codec.json").read_text())
    except FileNotFoundError:
        raise UserError(f"no codec.json in {folder}") from None
    fields |= {"cut": Cut(**fields["cut"]), "mel": LogMel(**fields["mel"])}
    return Codec(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


def _read(path: str | os.PathLike, cut: Cut) -> np.ndarray:
    """[S, C] float32. Raises UserError for a file that is no sound."""
    try:
        return cut(functools.partial(audio_sources.read, path)).astype(np.float32) / FULL_SCALE
    except DamagedError as error:
        raise UserError(f"cannot read {path}: {error}") from None
