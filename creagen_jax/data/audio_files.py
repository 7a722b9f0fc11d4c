"""Sound as files: .wav that says where it comes from, and spectrograms as pictures."""

from __future__ import annotations

import base64
import io
import json
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib
import numpy as np
import soundfile

from creagen_jax import rundir
from creagen_jax.data import pictures
from creagen_jax.data.audio_forms import LogMel
from creagen_jax.data.pictures import About, Writer

FRAME = 0.01  # seconds from one column of a spectrogram to the next
BANDS = 64  # rows of it


def wav(wave: np.ndarray, rate: int, about: About) -> bytes:
    """A .wav of 16 bits of float32 samples [S] or [S, channels], clipped to -1 .. 1.

    `about` is the comment (ICMT) in its info chunk, as JSON in ASCII.
    """
    file, channels = io.BytesIO(), wave.shape[1] if wave.ndim == 2 else 1
    with soundfile.SoundFile(file, "w", rate, channels, "PCM_16", format="WAV") as sound:
        sound.comment = json.dumps(about)
        sound.write(wave.clip(-1, 1))
    return file.getvalue()


def wav_uri(wave: np.ndarray, rate: int) -> str:
    """A .wav to be put into a page."""
    return f"data:audio/wav;base64,{base64.b64encode(wav(wave, rate, {})).decode()}"


def mp3_uri(wave: np.ndarray, rate: int) -> str:
    """The same as an MP3, for longer sounds: some 15 times smaller. MP3 knows few rates."""
    file = io.BytesIO()
    soundfile.write(file, wave.clip(-1, 1), rate, "MPEG_LAYER_III", format="MP3")
    return f"data:audio/mpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def write_wav(path: str | os.PathLike, wave: np.ndarray, rate: int, about: About) -> None:
    """Writes what `wav` returns; the file appears when it is complete. Raises UserError if the disk
    refuses."""
    rundir.write(Path(path), wav(wave, rate, about))


def folder_writer(path: str | os.PathLike, rate: int) -> AbstractContextManager[Writer]:
    """Writes each wave of [n, S] or [n, S, channels] with its `about`: 000000.wav, 000001.wav, ...

    Raises UserError if the disk refuses.
    """
    return pictures.folder_writer(
        path, ".wav", lambda file, wave, about: write_wav(file, wave, rate, about)
    )


def read_about(path: str | os.PathLike) -> About:
    """The `about` of a .wav that this project wrote; {} of any other file."""
    found = {}
    for name, data in _chunks(Path(path).read_bytes()[12:]):
        if name == b"LIST" and data[:4] == b"INFO":
            found |= _chunks(data[4:])
    try:
        about = json.loads(found[b"ICMT"].rstrip(b"\0"))
    except (KeyError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name and the contents of each RIFF chunk; libsndfile reads back only short comments."""
    place = 0
    while place + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, place)
        yield name, data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2  # chunks begin at even places


def spectrogram(wave: np.ndarray, rate: int) -> np.ndarray:
    """[BANDS, T, 3] uint8, a picture of a wave [S] or [S, channels]: time to the right, mel bands
    upward, a column every FRAME seconds; from black at silence to bright."""
    wave = wave if wave.ndim == 1 else wave.mean(1)
    hop = max(round(FRAME * rate), 1)
    mel = LogMel(rate, hop, window=4 * hop, bands=BANDS)
    values = mel.encode(np.pad(wave, (0, -len(wave) % hop)))
    colors = matplotlib.colormaps["magma"]((values[::-1] + 1) / 2, bytes=True)
    return colors[..., :3]


def spectrograms(waves: Sequence[np.ndarray], rate: int) -> np.ndarray:
    """[N, BANDS, T, 3] uint8: the `spectrogram` of each of N waves; shorter ones end in black."""
    drawn = [spectrogram(wave, rate) for wave in waves]
    sheet_NHWC = np.zeros((len(drawn), BANDS, max(each.shape[1] for each in drawn), 3), np.uint8)
    for place_HWC, each in zip(sheet_NHWC, drawn, strict=True):
        place_HWC[:, : each.shape[1]] = each
    return sheet_NHWC
