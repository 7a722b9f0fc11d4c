"""Handwritten digits, 8 x 8 pixels, from a diffusion model."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import image
from creagen_jax.models import diffusion

CONFIG = Experiment(
    data=image.Config(source="digits"),
    model=diffusion.Config(width=64, levels=(1, 2), sigma_data=0.75, noise_mean=0.0),
    optim=Optim(name="muon", learning_rate=2e-3, final=0.0, ema=0.99, beta2=0.99),
    train=Train(steps=800, batch=128, eval_every=200, sample_every=100, save_every=200),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16},
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
