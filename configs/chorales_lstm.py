"""Bach's chorales, four voices in sixteenth notes, from an LSTM."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import music
from creagen_jax.models import lstm

CONFIG = Experiment(
    data=music.Config(source="chorales", length=256, transpose=6),
    model=lstm.Config(width=256, depth=1, dropout=0.2),
    optim=Optim(name="muon", learning_rate=4e-3, final=0.0, ema=0.99),
    train=Train(steps=2000, batch=32, eval_every=200, sample_every=500, save_every=200),
)

SMOKE = replace(
    CONFIG,
    data={"length": 32},
    model={"width": 32},
    train={"steps": 8, "batch": 8, "eval_every": 4, "eval_windows": 16, "save_every": 4},
)
