"""Shakespeare from a Transformer, character by character."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import text
from creagen_jax.models import transformer

CONFIG = Experiment(
    data=text.Config(tfds="tiny_shakespeare", length=128),
    model=transformer.Config(width=192, depth=4, heads=6, context=128),
    optim=Optim(name="muon", learning_rate=3e-3, muon_learning_rate=0.03, final=0.0, ema=0.995),
    train=Train(steps=3200, batch=12, eval_every=400, save_every=400, sample_every=800),
)

SMOKE = replace(
    CONFIG,
    data={"length": 32},
    model={"width": 32, "depth": 2, "heads": 2, "context": 32},
    train={"steps": 8, "batch": 8, "eval_every": 4, "eval_windows": 16, "save_every": 4},
)
