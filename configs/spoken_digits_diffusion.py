"""Spoken words, a class each, 0.64 s (a folder of sound files: --data.path), from diffusion."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import audio
from creagen_jax.models import diffusion

CONFIG = Experiment(
    data=audio.Config(path="spoken_digits", trim=True, shift=0.04),
    model=diffusion.Config(width=32, levels=(1, 2, 2), patch=4, sigma_data=0.5, noise_mean=0.0),
    optim=Optim(name="muon", learning_rate=2e-3, final=0.0, ema=0.995),
    train=Train(steps=4000, batch=64, eval_every=500, sample_every=1000, save_every=500),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16, "levels": (1,)},
    optim={"name": "adamw"},  # which compiles in half the time
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
