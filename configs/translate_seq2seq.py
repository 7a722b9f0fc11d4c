"""Translations between two languages of your own (a table: --data.path), from a Transformer."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import pairs
from creagen_jax.models import seq2seq

CONFIG = Experiment(
    data=pairs.Config(
        path="pairs.tsv", tokenizer="bpe", target_tokenizer="char", source_length=24, length=24
    ),
    model=seq2seq.Config(cell="transformer", width=256, depth=2, dropout=0.1, label_smoothing=0.1),
    optim=Optim(name="muon", learning_rate=2e-3, final=0.0, ema=0.995),
    train=Train(steps=4000, batch=64, eval_every=250, sample_every=500, save_every=250),
)

SMOKE = replace(
    CONFIG,
    model={"width": 32, "depth": 1, "heads": 2},
    train={"steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "sample_every": 2},
)
