"""Shakespeare from a GRU, character by character; the state is carried from window to window."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import text
from creagen_jax.models import gru

CONFIG = Experiment(
    data=text.Config(tfds="tiny_shakespeare", length=128, order="consecutive"),
    model=gru.Config(width=512, depth=1, dropout=0.2),
    optim=Optim(name="muon", learning_rate=3e-3, muon_learning_rate=0.02, final=0.0, ema=0.99),
    train=Train(steps=1000, batch=32, eval_every=200, save_every=200, sample_every=500),
)

SMOKE = replace(
    CONFIG,
    data={"length": 32},
    model={"width": 32},
    train={"steps": 8, "batch": 8, "eval_every": 4, "eval_windows": 16, "save_every": 4},
)
