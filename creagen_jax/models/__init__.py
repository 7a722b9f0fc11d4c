"""One file a family. The file name is the registry: `get("lstm")` imports `models/lstm.py`.

A family is a module of pure functions:

    KIND                                   "autoregressive", "diffusion" or "latent": how to sample
    HOST                                   True if its step is NumPy on the host, not to be jitted
    Config                                 frozen dataclass of hyper-parameters
    init(rng, cfg, spec, tx)               -> TrainState
    make_step(cfg, spec, tx)               -> step(state, batch, rng) -> (state, metrics)
    eval_metrics(params, cfg, batch, rng)  -> {"loss": [B], "weight": [B]}: sums over each example;
                                           without "loss", no checkpoint counts as better than a
                                           later one

and exactly one way to draw:

    "autoregressive"   init_carry(params, cfg, n, condition)     -> carry; every leaf has the sample
                                                                 as its first axis
                       next_logits(params, cfg, carry, token_B)  -> (logits_BV, carry)
    "diffusion"        denoise(params, cfg, x, sigma_B, condition_B) -> estimate of the clean x
    "latent"           generate(params, cfg, z_BZ, condition_B)  -> x; the latent is standard normal

where a condition of None is that of a model without classes; to `denoise`, and to `init_carry` of
a model with classes, no class at all. To `denoise` of a model that reads sources the condition is
source_BS [n, S] int32 instead, and None is no source. To `init_carry` the condition is

    label_B [n] int32, -1 for no label     of a family that reads no source
    {"source": [n, S] int32, "label"}      of one that does: END alone is no source; the label as
                                           above, or None
`tx` is the optax transformation that `optim.py` made from the configuration.
"""

import importlib
import pkgutil
from types import ModuleType

from creagen_jax.types import UserError


def names() -> list[str]:
    """The families there are."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("_"))


def get(name: str) -> ModuleType:
    """The module of a family. Raises UserError for an unknown one."""
    if name not in names():
        raise UserError(f"unknown model family '{name}'; choose one of {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")
