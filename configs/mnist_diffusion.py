"""MNIST digits, 28 x 28 pixels, from a diffusion model."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import image
from creagen_jax.models import diffusion

CONFIG = Experiment(
    data=image.Config(tfds="mnist", validation=0.1),
    model=diffusion.Config(width=64, levels=(1, 2), patch=2, sigma_data=0.6, noise_mean=0.0),
    optim=Optim(name="muon", learning_rate=2e-3, final=0.0, ema=0.995),
    train=Train(steps=3600, batch=64, eval_every=400, sample_every=200, save_every=400),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16, "levels": (1,)},
    optim={"name": "adamw"},  # which compiles in half the time
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
