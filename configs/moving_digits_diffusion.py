"""Handwritten digits that bounce in a box, 8 frames of 16 x 16 pixels, from a diffusion model."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import video
from creagen_jax.models import diffusion

CONFIG = Experiment(
    data=video.Config(source="moving_digits", color="grey"),
    model=diffusion.Config(
        width=64,
        levels=(1, 2),
        heads=2,
        patch=2,
        sigma_data=0.46,
        noise_mean=0.6,  # where places, rather than shapes, are decided
    ),
    optim=Optim(name="muon", learning_rate=2e-3, final=0.0, ema=0.995),
    train=Train(steps=4000, batch=16, eval_every=500, sample_every=500, save_every=250),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16, "levels": (1,)},
    optim={"name": "adamw"},  # which compiles in half the time
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
