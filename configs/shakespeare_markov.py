"""Shakespeare from a Markov chain: Kneser-Ney n-grams of characters."""

from creagen_jax.config import Experiment, Train, replace
from creagen_jax.data import text
from creagen_jax.models import markov

CONFIG = Experiment(
    # Windows overlap by order - 1 tokens, so that every n-gram is counted at full length.
    data=text.Config(tfds="tiny_shakespeare", length=1024, order="sequential", overlap=5),
    model=markov.Config(order=6),
    train=Train(steps=0, batch=512, log_every=1),
)

SMOKE = replace(
    CONFIG,
    data={"length": 64, "overlap": 2},
    model={"order": 3},
    train={"steps": 2, "batch": 32, "eval_windows": 8},
)
