"""Bach's chorales, four voices in sixteenth notes, from a Transformer."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import music
from creagen_jax.models import transformer

CONFIG = Experiment(
    data=music.Config(source="chorales", length=256, transpose=6),
    model=transformer.Config(width=192, depth=4, heads=6, context=256, dropout=0.2),
    optim=Optim(name="muon", learning_rate=3e-3, final=0.0, ema=0.99),
    train=Train(steps=1200, batch=16, eval_every=150, sample_every=500, save_every=150),
)

SMOKE = replace(
    CONFIG,
    data={"length": 32},
    model={"width": 32, "depth": 2, "heads": 2, "context": 32},
    train={"steps": 8, "batch": 8, "eval_every": 4, "eval_windows": 16, "save_every": 4},
)
