"""Captioned pictures of your own, 32 x 32 pixels in colour (a folder: --data.path), from words."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import captioned
from creagen_jax.models import diffusion

CONFIG = Experiment(
    data=captioned.Config(path="emoji", height=32, color="rgb", flip=True, length=24),
    model=diffusion.Config(
        width=64, levels=(1, 2, 2), patch=2, sigma_data=0.6, noise_mean=0.0, source_dropout=0.1
    ),
    optim=Optim(name="muon", learning_rate=2e-3, final=0.0, ema=0.995),
    train=Train(steps=1500, batch=64, eval_every=250, sample_every=250, save_every=250),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16, "levels": (1,), "source_depth": 1},
    optim={"name": "adamw"},  # which compiles in half the time
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
