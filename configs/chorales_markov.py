"""Bach's chorales, four voices in sixteenth notes, from a Markov chain."""

from creagen_jax.config import Experiment, Train, replace
from creagen_jax.data import music
from creagen_jax.models import markov

CONFIG = Experiment(
    data=music.Config(source="chorales", order="sequential"),
    model=markov.Config(order=9),
    train=Train(steps=0, batch=2048, log_every=1),
)

SMOKE = replace(CONFIG, model={"order": 5}, train={"steps": 2, "batch": 64})
