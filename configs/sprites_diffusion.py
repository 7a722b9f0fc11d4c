"""Sprites in action, 8 frames of 32 x 32 pixels (a folder of GIFs: --data.path), from diffusion."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import video
from creagen_jax.models import diffusion

CONFIG = Experiment(
    data=video.Config(path="sprites"),
    model=diffusion.Config(
        width=80,
        levels=(1, 2),
        heads=2,
        patch=4,
        sigma_data=0.5,
        noise_mean=-0.6,  # where the grain of a plain ground is decided
    ),
    optim=Optim(name="muon", learning_rate=2e-3, final=0.0, ema=0.995),
    train=Train(steps=2600, batch=16, eval_every=500, sample_every=500, save_every=250),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16, "levels": (1,)},
    optim={"name": "adamw"},  # which compiles in half the time
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
