"""Spoken words, a class each, 0.64 s (a folder of sound files: --data.path), from a GAN."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import audio
from creagen_jax.models import gan

CONFIG = Experiment(
    data=audio.Config(path="spoken_digits", trim=True, shift=0.04),
    model=gan.Config(width=48, levels=(1, 2, 2), patch=4, r1=0.3, r2=0.3),
    optim=Optim(learning_rate=5e-4, beta1=0.0, clip=0.0, final=0.0, ema=0.99),
    train=Train(steps=2400, batch=64, eval_every=400, sample_every=400, save_every=250),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16, "levels": (1,)},
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
