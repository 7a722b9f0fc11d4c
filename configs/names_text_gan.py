"""Names (surnames, female, male), letter by letter, from an adversarial network of text."""

from creagen_jax.config import Experiment, Optim, Train, replace
from creagen_jax.data import text
from creagen_jax.models import text_gan

# The checkpoints at step 1500, where maximum likelihood ends, and later ones stay: so that
# evaluate.py --checkpoints compares before and after.
CONFIG = Experiment(
    data=text.Config(source="names", length=0),
    model=text_gan.Config(width=256, depth=1, pretrain=1500, warm=500, anneal=3000, r1=0.1),
    optim=Optim(name="muon", learning_rate=4e-3, schedule="constant", ema=0.99),
    train=Train(
        steps=5000, batch=128, eval_every=250, sample_every=500, save_every=250, keep_every=500
    ),
)

SMOKE = replace(
    CONFIG,
    model={"width": 16, "discriminator_width": 16, "pretrain": 1, "warm": 1},
    optim={"name": "adamw"},  # which compiles in half the time
    train={
        "steps": 4, "batch": 16, "eval_every": 2, "save_every": 2, "keep_every": 0,
        "sample_every": 2,
    },
)  # fmt: skip
