"""Music as files: .mid that says where it comes from, sound, and piano rolls as pictures."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import mido
import numpy as np

from creagen_jax import rundir
from creagen_jax.data import audio_files, fluidsynth, pictures
from creagen_jax.data.music_tokens import DURATION, ONSET, PART, PITCH, Piece
from creagen_jax.data.pictures import About

SUFFIXES = (".mid", ".wav", ".png")

BEAT = 480  # MIDI ticks of a quarter note
TEMPO = 100  # quarter notes a minute
VELOCITY = 80
RATE = 22050  # samples a second
PARTIALS = 8  # of a tone
ATTACK, RELEASE, DECAY = 0.01, 0.08, 1.2  # seconds: rise, end, and to 1 / e of the loudness
PEAK = 0.9
CELL = 4  # pixels of a semitone in a piano roll, and of a step if a quarter note is few of them
QUARTER = 16  # pixels of a quarter note that is many; but each step has one at least
MARGIN = 2  # semitones above and below
COLORS = np.array([(217, 72, 65), (240, 173, 60), (66, 140, 92), (56, 103, 214)], np.uint8)
PAPER, BLACK_KEYS, BEAT_LINE = 255, 240, 208  # greys


def midi(piece: Piece, steps: int, about: About, *, tempo: float = TEMPO) -> bytes:
    """A .mid of format 1, `steps` to a quarter note and `tempo` quarter notes a minute, with a
    track for each voice. `about` is a text event of the first track, as JSON in ASCII."""
    file = mido.MidiFile(type=1, ticks_per_beat=BEAT)
    file.tracks.append(
        mido.MidiTrack(
            [
                mido.MetaMessage("text", text=json.dumps(about)),
                mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)),
            ]
        )
    )
    for part in np.unique(piece.notes[:, PART]):
        notes = piece.notes[piece.notes[:, PART] == part].astype(int)
        ends = notes[:, ONSET] + notes[:, DURATION]
        # At one time what ends comes before what begins, for a note may be struck again.
        events = sorted(
            [(end, 0, pitch) for end, pitch in zip(ends, notes[:, PITCH], strict=True)]
            + [(onset, 1, pitch) for onset, _, pitch, _ in notes]
        )
        track, before = mido.MidiTrack(), 0
        for step, begins, pitch in events:
            tick = round(step * BEAT / steps)
            message = mido.Message(
                "note_on" if begins else "note_off",
                channel=int(part) % 9,
                note=int(pitch),
                velocity=VELOCITY,
                time=tick - before,
            )
            track.append(message)
            before = tick
        file.tracks.append(track)
    data = io.BytesIO()
    file.save(file=data)
    return data.getvalue()


def write(path: str | os.PathLike, piece: Piece, steps: int, about: About) -> None:
    """Writes a piece as its suffix says: .mid, a .wav to hear, or a .png of its piano roll; the
    file appears when it is complete, with its `about`.

    Raises UserError if the disk refuses.
    """
    path = Path(path)
    contents = {
        ".mid": lambda: midi(piece, steps, about),
        ".wav": lambda: audio_files.wav(sound(piece, steps), RATE, about),
        ".png": lambda: pictures.png(roll(piece, steps), about),
    }
    part = path.with_name(path.name + ".part")
    with rundir.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(contents[path.suffix.lower()]())
        part.rename(path)


def read_about(path: str | os.PathLike) -> About:
    """The `about` of a .mid that this project wrote; {} of any other file."""
    try:
        texts = [event.text for event in mido.MidiFile(path).tracks[0] if event.type == "text"]
        about = json.loads(texts[0])
    except (OSError, ValueError, LookupError, EOFError):
        return {}
    return about if isinstance(about, dict) else {}


def sound(piece: Piece, steps: int) -> np.ndarray:
    """[S, 2] float32 by FluidSynth, where it is installed with a sound font (see `fluidsynth`);
    else [S] as `synthesise` makes it. A piece without notes is silence.

    Raises UserError if the sound font cannot be played.
    """
    played = fluidsynth.play(midi(piece, steps, {}), RATE) if len(piece.notes) else None
    if played is None:
        return synthesise(piece, steps)
    return played * np.float32(PEAK / max(np.abs(played).max(), 1e-9))


def synthesise(piece: Piece, steps: int, *, tempo: float = TEMPO, rate: int = RATE) -> np.ndarray:
    """[S] float32 in -1 .. 1: each note the sum of its first partials, the k-th with 1 / k^1.5 of
    the loudness of the first, in equal temperament (A4 is 440 Hz), dying away as of a string."""
    second = 60 / tempo / steps  # of a step
    size = int((piece.length * second + RELEASE) * rate) + 1
    wave = np.zeros(size, np.float32)
    for onset, duration, pitch, _ in piece.notes.tolist():
        start = int(onset * second * rate)
        t = np.arange(min(int((duration * second + RELEASE) * rate), size - start)) / rate
        frequency = 440 * 2 ** ((pitch - 69) / 12)
        tone = np.zeros_like(t)
        for k in range(1, PARTIALS + 1):
            if k * frequency < rate / 2:  # else it would sound as another pitch
                tone += np.sin(2 * np.pi * k * frequency * t) / k**1.5
        fade = ((duration * second + RELEASE - t) / RELEASE).clip(0, 1)
        wave[start : start + len(t)] += tone * (t / ATTACK).clip(0, 1) * fade * np.exp(-t / DECAY)
    return wave * np.float32(PEAK / max(np.abs(wave).max(), 1e-9))


def rolls(pieces: Sequence[Piece], steps: int) -> np.ndarray:
    """[N, H, W, 3] uint8: the `roll` of each piece, on paper of one size."""
    drawn = [roll(piece, steps) for piece in pieces]
    H, W = (max(each.shape[axis] for each in drawn) for axis in (0, 1))
    sheet_NHWC = np.full((len(drawn), H, W, 3), PAPER, np.uint8)
    for place_HWC, each in zip(sheet_NHWC, drawn, strict=True):
        place_HWC[: each.shape[0], : each.shape[1]] = each
    return sheet_NHWC


def roll(piece: Piece, steps: int) -> np.ndarray:
    """[H, W, 3] uint8: time to the right, pitch upward, a colour for each voice, a line at each
    quarter note; the black keys are grey."""
    across = min(max(QUARTER // steps, 1), CELL)
    pitches = piece.notes[:, PITCH] if len(piece.notes) else np.array([60])
    low, high = pitches.min() - MARGIN, pitches.max() + MARGIN
    rows = np.arange(high, low - 1, -1)
    black = np.isin(rows % 12, (1, 3, 6, 8, 10))
    cells = np.empty((len(rows), max(piece.length, 1), 3), np.uint8)
    cells[:] = np.where(black, BLACK_KEYS, PAPER)[:, None, None]
    picture = cells.repeat(CELL, axis=0).repeat(across, axis=1)
    picture[:, :: steps * across] = BEAT_LINE
    for onset, duration, pitch, part in piece.notes.tolist():
        top, left = (high - pitch) * CELL, onset * across
        # A pixel of the background stays before the next note, so that repeated notes are two.
        box = picture[top : top + CELL, left : left + max(duration * across - 1, 1)]
        box[:] = COLORS[part % len(COLORS)]
    return picture
