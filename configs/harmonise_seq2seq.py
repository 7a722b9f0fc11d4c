"""Alto, tenor and bass for a soprano, in eighth notes, as Bach writes them, from a Transformer."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import music
from creagen_jax.models import seq2seq

CONFIG = Experiment(
    data=music.Config(source="chorales", harmonise=True, steps=2, length=384, transpose=6),
    model=seq2seq.Config(
        cell="transformer", width=128, depth=3, context=384, stride=3, dropout=0.1
    ),
    optim=Optim(name="muon", learning_rate=3e-3, final=0.0, ema=0.99),
    train=Train(steps=1500, batch=16, eval_every=150, sample_every=500, save_every=150),
)

SMOKE = replace(
    CONFIG,
    data={"length": 48},
    model={"width": 32, "depth": 1, "heads": 2, "context": 48},
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
