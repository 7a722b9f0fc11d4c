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
    like(codec, path)                          -> (module, Dataset) of other files, all in "train"

if texts stand for something else, such as music, their codec has

    grammar                                    hashable; .follows() -> [V, V] which token may follow
    judged(text)                               -> the text in which copies are looked for
    suffixes, write(path, text, source, about) other files than text that hold a sample
    visible(items), exhibit(text, source)      as below; items are (text, source)

if samples are no text, their codec has

    suffix                                     of a file that holds one: ".png", ".wav", ".gif"
    visible(samples)                           -> [N, H, W, C] uint8: a picture of each
    writer(folder)                             -> context of a `pictures.Writer` of such files
    suffixes, write(path, sample, about)       other files that hold one, where there are such

and, if they are no pictures either,

    samples(dataset, split)                    -> the split as its codec decodes samples
    codec.compared(samples)                    -> [N, H, W, C] uint8: what is compared with others
    codec.exhibit(sample)                      -> fields of `record.Item` that show or play it

and, if they are clips,

    codec.moving(samples), seconds             -> [F, N, H, W, C] uint8: each frame; and its time
    codec.mask_behind(first)                   -> [F, 1, 1, 1]: 1 behind the first frames

and, if an example is a pair of a source and a target,

    sources(dataset, split)                    -> the sources of a split, as they are read
    references(dataset, split)                 -> [(source, all its targets)]
    targets(dataset)                           -> (module, Dataset) of the targets alone, as text
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from creagen_jax.types import UserError

HELPERS = {  # shared files that are no modality
    "audio_files", "audio_forms", "audio_sources", "batching", "caching", "caption_tokens",
    "corpus", "cutting", "fluidsynth", "image_sources", "image_store", "labels", "music_codec",
    "music_files", "music_sources", "music_tokens", "pair_sources", "pictures", "sources",
    "tokenizers", "video_files", "video_sources",
}  # fmt: skip


def names() -> list[str]:
    """The modalities there are."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)} - HELPERS)


def get(name: str) -> ModuleType:
    """The module of a modality. Raises UserError for an unknown one."""
    if name not in names():
        raise UserError(f"unknown kind of data '{name}'; choose one of {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def targets(modality: ModuleType, dataset: Any) -> tuple[ModuleType, Any]:
    """What is generated, as data of its own: of pairs the targets, else the data as it is.

    For what reads no source, such as a Markov chain or the search for copies.
    """
    return modality.targets(dataset) if hasattr(modality, "targets") else (modality, dataset)
