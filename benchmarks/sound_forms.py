"""What is lost between a sound and what a model sees of it, with no model between them.

    python -m benchmarks.sound_forms spoken_digits_diffusion --data.path spoken_digits/

Held-out clips of a config go through its array and through mu-law tokens, and back. "Wave" is the
ratio of signal to noise of samples, "spectrum" that of the magnitudes of a short-time Fourier
transform, in decibels, the median of all clips. Griffin-Lim finds phases of its own, so of the
array the samples are not those of the recording, whatever it sounds like.
"""

import argparse
import dataclasses
import sys

import numpy as np
from scipy import signal

import benchmarks
from creagen_jax import cli, config
from creagen_jax.data import audio
from train import CONFIGS

WINDOW = 256  # samples of the transform that judges


def decibels(kept: np.ndarray, lost: np.ndarray) -> float:
    """Of the median clip; axes behind the first are summed."""
    axes = tuple(range(1, kept.ndim))
    energy, noise = (np.square(each).sum(axes) for each in (kept, lost))
    return float(np.median(10 * np.log10(energy / np.maximum(noise, 1e-12))))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config")
    parser.add_argument("--data.path", dest="path", default="")
    parser.add_argument("--num", type=int, default=200, help="clips")
    args = parser.parse_args(argv)
    chosen = config.load(args.config, CONFIGS).data
    changes = {"channels": "mono", "shift": 0.0, **({"path": args.path} if args.path else {})}
    benchmarks.header("form", "numbers a second", "wave, dB", "spectrum, dB")
    for form in ("array", "tokens"):
        dataset = audio.load(dataclasses.replace(chosen, **changes, form=form))
        wave = audio.samples(dataset, "test", args.num)
        codec = dataset.codec
        encoded = codec.encode(wave[..., None])
        back = codec.decode(encoded)
        spectra = [np.abs(signal.stft(each, nperseg=WINDOW)[2]) for each in (wave, back)]
        seconds = wave.shape[-1] / codec.cut.rate
        benchmarks.row(
            form,
            f"{np.prod(encoded.shape[1:]) / seconds:,.0f}",
            f"{decibels(wave, wave - back):.1f}",
            f"{decibels(spectra[0], spectra[0] - spectra[1]):.1f}",
        )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
