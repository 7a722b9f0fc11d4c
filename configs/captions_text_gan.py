"""Captions of your own, one a line (a file: --data.path), word by word, from a text GAN."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import text
from creagen_jax.models import text_gan

# The checkpoints at step 1000, where maximum likelihood ends, and later ones stay: so that
# evaluate.py --checkpoints compares before and after.
CONFIG = Experiment(
    data=text.Config(path="captions.txt", unit="line", tokenizer="word", length=24),
    model=text_gan.Config(
        width=256, depth=1, dropout=0.4, pretrain=1000, warm=1000, method="policy", r1=0.1
    ),
    optim=Optim(learning_rate=2e-3, schedule="constant", ema=0.99),
    train=Train(
        steps=4500, batch=64, eval_every=250, sample_every=500, save_every=250, keep_every=500
    ),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16, "discriminator_width": 16, "pretrain": 1, "warm": 1},
    train={
        "steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "keep_every": 0,
        "sample_every": 2,
    },
)  # fmt: skip
