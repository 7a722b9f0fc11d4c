"""One file a modality. The file name is the registry: `get("text")` imports `data/text.py`.

A modality is a module of pure functions:

    Config                                     frozen dataclass: where the data is, how it is cut
    load(cfg, *, cache=None)                   -> Dataset, with .spec(batch_size), .fingerprint
    windows(dataset, split, overlap=0)         -> how many windows cover a split
    train_batch(dataset, *, seed, step, size)  -> dict of NumPy arrays; pure in (seed, step)
    eval_batches(dataset, split, *, size, limit=None, overlap=0)
                                               -> the batches that cover a split exactly once
    describe(dataset)                          -> the fingerprint for a person to read
    units(totals)                              -> {"loss": nats per token, ...}
    save(dataset, folder)                      writes what sampling needs of the data
    load_codec(folder)                         -> Codec: prompts to tokens, tokens to text
"""

import importlib
import pkgutil
from types import ModuleType

from creagen_jax.types import UserError

HELPERS = {"batching", "corpus", "sources", "tokenizers"}  # shared files that are no modality


def names() -> list[str]:
    """The modalities there are."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)} - HELPERS)


def get(name: str) -> ModuleType:
    """The module of a modality. Raises UserError for an unknown one."""
    if name not in names():
        raise UserError(f"unknown kind of data '{name}'; choose one of {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")
