"""Sound as what a model takes: mu-law levels, or a log-mel spectrogram and the way back from it.

Why log-mel: it is small, neighbours in time and frequency are alike, and pitch and vowel are shapes
in it. The modified discrete cosine transform can be inverted exactly, but its signs change from
frame to frame with the phase, and a small denoiser made less of it in as many steps. The price of
log-mel is the phase: it is found again from the sizes, so a clip comes back with nearly the same
sound and another wave form.

Letters: N clips or any leading axes, S samples, T frames of S, F frequencies, M mel bands.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from scipy import fft

LEVELS = 256  # of mu-law
RANGE = 80.0  # decibels from the loudest value to silence
UNMIXING = 30  # steps from mel bands back to frequencies
PHASING = 32  # steps of the search for the phase
MOMENTUM = 0.99  # of that search
GAUSSIAN = 0.25645  # width of the Gaussian most like a Hann window, over its length squared
SMALL = 1e-9  # instead of a division by zero


def mu_law(wave: np.ndarray) -> np.ndarray:
    """Levels 0 .. 255, uint8, of a wave in -1 .. 1, finer near 0 (ITU-T G.711, 1972; as a smooth
    curve, van den Oord et al. 2016, section 2.2). What lies outside is clipped."""
    mu, wave = LEVELS - 1, np.asarray(wave, np.float32).clip(-1, 1)
    curve = np.sign(wave) * np.log1p(mu * np.abs(wave)) / np.log1p(mu)
    return np.round((curve + 1) / 2 * mu).astype(np.uint8)


def from_mu_law(levels: np.ndarray) -> np.ndarray:
    """The float32 wave that levels 0 .. 255 stand for."""
    mu = LEVELS - 1
    curve = np.asarray(levels, np.float32) / mu * 2 - 1
    return (np.sign(curve) * np.expm1(np.abs(curve) * np.log1p(mu)) / mu).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class LogMel:
    """The log-mel spectrogram of clips at `rate` samples a second, as values in -1 .. 1.

    -1 is silence, RANGE decibels below 1, which is a sine of full scale.
    """

    rate: int
    hop: int  # samples from one frame to the next; clips are whole frames long
    window: int  # samples of a frame, which overlaps its neighbours
    bands: int  # M, as many as there are from 0 to half the rate

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """[..., S] in -1 .. 1 to [..., M, T] float32, low bands first."""
        power = np.abs(self._stft(np.asarray(wave, np.float32))) ** 2
        decibels = 10 * np.log10(np.maximum(power @ self._mel_MF.T / self._loudest, SMALL))
        return (2 * decibels / RANGE + 1).clip(-1, 1).swapaxes(-1, -2)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """[..., M, T] to [..., S] float32: a wave whose `encode` is nearly `values`.

        The same values always give the same wave.
        """
        values = np.asarray(values, np.float32).clip(-1, 1).swapaxes(-1, -2)
        decibels = (values - 1) / 2 * RANGE
        power_M = np.where(values > -1, 10 ** (decibels / 10), 0) * self._loudest
        return self._wave(np.sqrt(self._unmix(power_M.astype(np.float32))))

    @property
    def _loudest(self) -> float:
        """|STFT|^2 of a sine of full scale at its frequency."""
        return (self.window / 4) ** 2

    @functools.cached_property
    def _hann(self) -> np.ndarray:
        return np.sin(np.pi * np.arange(self.window, dtype=np.float32) / self.window) ** 2

    @functools.cached_property
    def _mel_MF(self) -> np.ndarray:
        """Triangles, evenly spaced on the mel scale (O'Shaughnessy 1987); each sums to 1."""
        top = 2595 * np.log10(1 + self.rate / 2 / 700)
        edges = 700 * (10 ** (np.linspace(0, top, self.bands + 2) / 2595) - 1)
        step = self.rate / self.window
        slope = np.maximum(np.diff(edges), step)[:, None]  # so that each reaches a frequency
        away = step * np.arange(self.window // 2 + 1) - edges[1:-1, None]
        mel = np.maximum(0, np.minimum(1 + away / slope[:-1], 1 - away / slope[1:]))
        return (mel / mel.sum(1, keepdims=True)).astype(np.float32)

    def _unmix(self, power_M: np.ndarray) -> np.ndarray:
        """Powers of all frequencies, none below 0, whose bands are these in the sense of least
        squares (multiplicative steps of Lee and Seung 2001, theorem 1)."""
        mel_MF = self._mel_MF
        wanted = power_M @ mel_MF
        power_F = power_M @ (mel_MF / np.maximum(mel_MF.sum(0), SMALL))
        for _ in range(UNMIXING):
            power_F *= wanted / np.maximum(power_F @ mel_MF.T @ mel_MF, SMALL)
        return power_F

    def _wave(self, size: np.ndarray) -> np.ndarray:
        """A wave whose |STFT| is nearly `size` [..., T, F]: Griffin and Lim 1984, with the
        momentum of Perraudin et al. 2013, algorithm 2."""
        guess = size * np.exp(1j * self._phase(size)).astype(np.complex64)
        before = self._stft(self._inverse(guess))
        for _ in range(PHASING):
            now = self._stft(self._inverse(guess))
            ahead = now + MOMENTUM * (now - before)
            guess, before = size * ahead / np.maximum(np.abs(ahead), SMALL), now
        return self._inverse(guess)

    def _phase(self, size: np.ndarray) -> np.ndarray:
        """[..., T, F] where the search begins: each frequency goes on from frame to frame as the
        slope of log `size` over frequency tells (Prusa et al. 2017), so tones keep their pitch."""
        log_size = np.log(np.maximum(size, SMALL))
        slope = np.zeros_like(log_size)
        slope[..., 1:-1] = (log_size[..., 2:] - log_size[..., :-2]) / 2
        frequency_F = np.arange(size.shape[-1], dtype=np.float32)
        advance = self.hop / self.window * (2 * np.pi * frequency_F + slope / GAUSSIAN)
        advance = np.cumsum((advance[..., 1:, :] + advance[..., :-1, :]) / 2, axis=-2)
        start = np.pi * frequency_F  # frames begin half a window before their middle
        return np.concatenate([np.zeros_like(size[..., :1, :]), advance], axis=-2) + start

    @property
    def _margin(self) -> int:
        """Samples by which the first frame begins before the wave."""
        return (self.window - self.hop) // 2

    def _stft(self, wave: np.ndarray) -> np.ndarray:
        """[..., S] to [..., T, F] complex64."""
        T = wave.shape[-1] // self.hop
        padded = np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(self._margin, self.window)])
        place = self.hop * np.arange(T)[:, None] + np.arange(self.window)
        return fft.rfft(padded[..., place] * self._hann)

    def _inverse(self, stft: np.ndarray) -> np.ndarray:
        """[..., T, F] to [..., S]: the wave whose STFT is nearest (Griffin and Lim 1984, eq. 6)."""
        T = stft.shape[-2]
        frames = fft.irfft(stft, self.window) * self._hann
        total = np.zeros((*stft.shape[:-2], T * self.hop + self.window), np.float32)
        weight = np.full(total.shape[-1], SMALL, np.float32)
        for t in range(T):
            here = slice(t * self.hop, t * self.hop + self.window)
            total[..., here] += frames[..., t, :]
            weight[here] += self._hann**2
        return (total / weight)[..., self._margin : self._margin + T * self.hop]
