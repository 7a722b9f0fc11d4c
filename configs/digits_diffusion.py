"""Handwritten digits, 8 x 8 pixels, from a diffusion model."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import image
from creagen_jax.models import diffusion

CONFIG = Experiment(
    data=image.Config(source="digits", shift=1),
    model=diffusion.Config(width=64, levels=(1, 2), sigma_data=0.75, noise_mean=0.0),
    optim=Optim(name="muon", learning_rate=2e-3, final=0.0, ema=0.99, beta2=0.99),
    train=Train(steps=700, batch=128, eval_every=150, sample_every=150, save_every=300),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16},
    optim={"name": "adamw"},  # which compiles in half the time
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
