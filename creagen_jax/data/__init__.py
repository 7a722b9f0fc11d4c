"""One file a modality. The file name is the registry: `get("text")` imports `data/text.py`.

A modality is a module of pure functions:

    Config                                     frozen dataclass: where the data is, how it is cut
    load(cfg, *, cache=None)                   -> Dataset, with .spec(batch_size), .fingerprint
    windows(dataset, split, overlap=0)         -> how many windows (or examples) cover a split
    train_batch(dataset, *, seed, step, size)  -> dict of NumPy arrays; pure in (seed, step)
    eval_batches(dataset, split, *, size, limit=None, overlap=0)
                                               -> the batches that cover a split exactly once
    describe(dataset)                          -> the fingerprint for a person to read
    units(totals)                              -> {"loss": nats per token, or a mean per example}
    save(dataset, folder)                      writes what sampling needs of the data
    load_codec(folder)                         -> Codec: from and to text, pictures, ...
"""

import importlib
import pkgutil
from types import ModuleType

from creagen_jax.types import UserError

HELPERS = {  # shared files that are no modality
    "batching", "caching", "corpus", "cutting", "image_sources", "image_store", "labels",
    "pictures", "sources", "tokenizers",
}  # fmt: skip


def names() -> list[str]:
    """The modalities there are."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)} - HELPERS)


def get(name: str) -> ModuleType:
    """The module of a modality. Raises UserError for an unknown one."""
    if name not in names():
        raise UserError(f"unknown kind of data '{name}'; choose one of {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")
