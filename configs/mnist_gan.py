"""MNIST digits, 28 x 28 pixels, from a generative adversarial network."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import image
from creagen_jax.models import gan

CONFIG = Experiment(
    data=image.Config(tfds="mnist", validation=0.1),
    model=gan.Config(width=64, levels=(1, 2), patch=2, r1=0.3, r2=0.3),
    optim=Optim(learning_rate=5e-4, beta1=0.0, clip=0.0, final=0.0, ema=0.995),
    train=Train(steps=3200, batch=64, eval_every=200, sample_every=200, save_every=400),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16, "levels": (1,)},
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
