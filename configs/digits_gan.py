"""Handwritten digits, 8 x 8 pixels, from a generative adversarial network."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import image
from creagen_jax.models import gan

CONFIG = Experiment(
    data=image.Config(source="digits", shift=1),
    model=gan.Config(width=48, levels=(1, 2), r1=0.3, r2=0.3),
    optim=Optim(learning_rate=5e-4, beta1=0.0, clip=0.0, final=0.0, ema=0.99),
    train=Train(steps=1900, batch=64, eval_every=250, sample_every=125, save_every=250),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16},
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
