"""Names from Markov chains: Kneser-Ney n-grams, each class with its own."""

from creagen_jax.config import Experiment, Train, replace
from creagen_jax.data import text
from creagen_jax.models import markov

CONFIG = Experiment(
    data=text.Config(source="names", length=0, order="sequential"),
    model=markov.Config(order=6),
    train=Train(steps=0, batch=32768, log_every=1),
)

SMOKE = replace(CONFIG, model={"order": 3}, train={"steps": 2, "batch": 2048})
