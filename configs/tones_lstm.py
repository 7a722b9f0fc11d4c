"""Tones of four timbres, 0.128 s at 4 kHz, from an LSTM, sample by sample."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import audio
from creagen_jax.models import lstm

CONFIG = Experiment(
    data=audio.Config(source="tones", form="tokens", rate=4000, seconds=0.128),
    model=lstm.Config(width=256, depth=1),
    optim=Optim(name="muon", learning_rate=4e-3, final=0.0, ema=0.99),
    train=Train(steps=1500, batch=32, eval_every=250, sample_every=500, save_every=250),
)

SMOKE = replace(
    CONFIG,
    model={"width": 32},
    train={"steps": 20, "batch": 32, "eval_every": 10, "save_every": 10, "sample_every": 10},
)
