"""Music by the instruments of a sound font, where FluidSynth (fluidsynth.org) is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from creagen_jax.types import UserError

VARIABLE = "SOUND_FONT"  # names a .sf2 or .sf3; empty: no FluidSynth
FONTS = (  # where systems keep their own
    "/usr/share/sounds/sf3/default-GM.sf3",
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/soundfonts/default.sf2",
)


def play(song: bytes, rate: int) -> np.ndarray | None:
    """[S, 2] float32 of the contents of a .mid at `rate` samples a second; None without the program
    or a sound font.

    Raises UserError if the sound font cannot be played.
    """
    program, font = shutil.which("fluidsynth"), _font()
    if not (program and font):
        return None
    with tempfile.TemporaryDirectory() as folder:
        played, written = Path(folder) / "song.mid", Path(folder) / "song.wav"
        played.write_bytes(song)
        how = ("-n", "-i", "-q", "-r", str(rate), "-F", str(written))  # no MIDI in, no shell
        done = subprocess.run([program, *how, font, str(played)], capture_output=True)
        # It says that all is well even if it could not read the font.
        if _is_font(font) and not done.returncode and written.is_file():
            return soundfile.read(written, dtype="float32")[0]
    raise UserError(
        f"fluidsynth cannot play with '{font}'; set {VARIABLE} to another .sf2, or to nothing"
    )


def _font() -> str:
    """The sound font to play with; "" for none."""
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    return next((font for font in FONTS if Path(font).is_file()), "")


def _is_font(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:] == b"sfbk"
