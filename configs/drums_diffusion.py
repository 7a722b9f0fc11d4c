"""Drum sounds, 0.5 s at 16 kHz (a folder of one-shots: --data.path), from diffusion."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import audio
from creagen_jax.models import diffusion

CONFIG = Experiment(
    data=audio.Config(path="drums", rate=16_000, seconds=0.512, hop=128, window=512, trim=True),
    model=diffusion.Config(width=64, levels=(1, 2, 2), patch=4, sigma_data=0.5, noise_mean=0.0),
    optim=Optim(name="muon", learning_rate=2e-3, final=0.0, ema=0.995),
    train=Train(steps=2500, batch=64, eval_every=250, sample_every=250, save_every=250),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16, "levels": (1,)},
    optim={"name": "adamw"},  # which compiles in half the time
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
