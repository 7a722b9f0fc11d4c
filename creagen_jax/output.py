"""What sample.py does for each kind of family: its flags, and how samples are written."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from creagen_jax import cli, generation, rundir, synthesis
from creagen_jax.data import pictures
from creagen_jax.generation import Model
from creagen_jax.types import UserError

FRAMES = 24  # of the animation of a diffusion model, at most one a step
FILMED = 64  # samples in an animation, at most
SECONDS = 0.1  # of a frame
TEXTS = (".txt", ".jsonl", ".tsv")


@dataclasses.dataclass(frozen=True)
class Common:
    """Flags of every family."""

    seed: int = 0
    """Seed of the first sample; the next ones take the next seeds."""
    checkpoint: str = "best"
    """best (by validation loss, if the family has one), last, or a step."""


@dataclasses.dataclass(frozen=True)
class Tokens(Common):
    """Flags of families that write text."""

    request: Annotated[generation.Request, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=generation.Request
    )
    num: int = 1
    """Samples to draw, from each source if sources are read; one alone is shown while drawn."""
    max_copy: int = 0
    """The most tokens in a row that may be copied from the training data; 0 is off."""
    out: str = ""
    """File to write to: .jsonl holds all about each sample, .tsv of pairs the source and the text;
    .mid, .wav and .png music; others the text. Of sound: a folder."""


@dataclasses.dataclass(frozen=True)
class Arrays(Common):
    """Flags of families that draw pictures, sounds or clips."""

    num: int = 64
    """Samples to draw."""
    out: str = ""
    """Folder for single files (.png, .wav, .gif), or a .npz of `images` and `labels`; of clips also
    NAME.gif or NAME.mp4; empty: RUN/samples/drawn."""
    grid: bool = False
    """One contact sheet instead, sorted by class; --out names its .png, or of clips its .gif, which
    plays."""
    animate: str = ""
    """Also a .gif of the first 64: of the denoising, or of a walk from latent to latent."""


@dataclasses.dataclass(frozen=True)
class Denoising(Arrays):
    """Flags of diffusion models."""

    request: Annotated[synthesis.Denoising, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=synthesis.Denoising
    )


@dataclasses.dataclass(frozen=True)
class Latent(Arrays):
    """Flags of GANs."""

    request: Annotated[synthesis.Drawing, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=synthesis.Drawing
    )


def tokens(run: Path, model: Model, args: Tokens) -> list[str]:
    """Samples to the screen or a file. Returns what to say about them."""
    request = dataclasses.replace(
        args.request,
        prompt=cli.text_argument(args.request.prompt),
        source=cli.lines_argument(args.request.source),
        avoid=cli.lines_argument(args.request.avoid),
        must=cli.lines_argument(args.request.must),
    )
    sources = generation.sources_of(model.codec, request) or [""]
    guard = None
    if args.max_copy:
        guard = generation.load_guard(run, args.max_copy, report=cli.warn)
    speed = generation.Speed()
    how = {"seed": args.seed, "guard": guard, "speed": speed}
    if not generation.writes_text(model.codec):
        samples = generation.draw(model, request, num=args.num, **how)
        place = _files(run, model, args, samples)
        return [f"{generation.summary(samples, speed)}: {place}"]
    if args.num == len(sources) == 1 and not args.out and not request.sampling.beams:
        show = functools.partial(print, end="", flush=True)
        samples = [generation.stream(model, request, show=show, **how)]
        print()
    else:
        samples = generation.draw(model, request, num=args.num, **how)
        if _is_file_of(model.codec, args.out):
            return [f"{generation.summary(samples, speed)}: {_write(model, args, samples)}"]
        cli.write(generation.render(samples, args.out), args.out)
    return [generation.summary(samples, speed)]


def _is_file_of(codec: Any, out: str) -> bool:
    """Whether texts go to files of what they stand for. Raises UserError for a name of neither."""
    suffix, known = Path(out).suffix.lower(), getattr(codec, "suffixes", ())
    if known and suffix not in ("", *TEXTS, *known):
        raise UserError(f"--out {out}: choose one of {', '.join((*known, *TEXTS))}")
    return suffix in known


def _write(model: Model, args: Tokens, samples: list[generation.Sample]) -> str:
    """Texts that stand for something else, as such files: NAME.mid, or NAME_000.mid, ..."""
    out, many = Path(args.out), len(samples) > 1
    for i, sample in enumerate(samples):
        place = _named(out, i, len(samples))
        model.codec.write(place, sample.text, sample.source, sample.about())
    return f"{out.with_stem(out.stem + '_*')}" if many else args.out


def _files(run: Path, model: Model, args: Tokens, samples: list[generation.Sample]) -> Path:
    """Samples that are no text, a file each."""
    codec, place = model.codec, _folder(run, model, args.out)
    _make_room(place, args, codec.suffix)
    with codec.writer(place) as file:
        file.add([sample.text for sample in samples], None, [sample.about() for sample in samples])
    return place


def arrays(run: Path, model: Model, args: Arrays) -> list[str]:
    """Samples to files. Returns what to say about them. Raises UserError for a name that does not
    say what to write, and as `synthesis.draw` does."""
    suffix = Path(args.out).suffix.lower()
    sheets = (".png", ".gif") if hasattr(model.codec, "moving") else (".png",)
    if args.grid and suffix not in ("", *sheets):
        raise UserError(f"--grid writes a {' or a '.join(sheets)}, not {args.out}")
    if suffix == ".png" and not args.grid:
        raise UserError(f"--out {args.out} is one picture: --grid makes it a contact sheet")
    if args.animate and Path(args.animate).suffix.lower() != ".gif":
        raise UserError(f"--animate writes a .gif, not {args.animate}")
    request = args.request
    if isinstance(request, synthesis.Denoising):
        request = dataclasses.replace(request, prompt=cli.lines_argument(request.prompt))
    speed = synthesis.Speed()
    how = {"num": args.num, "seed": args.seed}
    batches = synthesis.timed(synthesis.draw(model, request, **how), speed)
    if args.grid:
        place = _grid(run, model, args, batches)
    else:
        place = _each(run, model, args, batches)
    said = f"{args.num} sample{'s' * (args.num > 1)}: {place}"
    if speed.seconds:
        said += f", {speed.samples / speed.seconds:,.1f} samples/s"
    if not args.animate:
        return [said]
    how["num"] = min(args.num, FILMED)
    film = synthesis.film(model, request, **how, frames=FRAMES)
    sheets = (pictures.grid(model.codec.visible(samples)) for samples in film)
    pictures.write_gif(args.animate, sheets, seconds=SECONDS, about={"seed": str(args.seed)})
    return [said, f"animation: {args.animate}"]


def _each(run: Path, model: Model, args: Arrays, batches: Iterator[synthesis.Samples]) -> Path:
    """Each sample for itself, written as it is drawn: memory does not grow with their number."""
    codec, place = model.codec, _folder(run, model, args.out)
    _make_room(place, args, codec.suffix)
    if place.suffix.lower() == ".npz":
        writer = pictures.npz_writer(place, args.num, codec.shape)
    elif place.suffix.lower() in getattr(codec, "suffixes", ()):
        writer = pictures.each_writer(lambda number: _named(place, number, args.num), codec.write)
    else:
        writer = codec.writer(place)
    with contextlib.closing(batches), writer as file:
        for batch in batches:
            file.add(batch.images, batch.labels, batch.about(codec))
    return place


def _named(place: Path, number: int, num: int) -> Path:
    """NAME.gif for one sample, NAME_000.gif, NAME_001.gif ... for several."""
    return place.with_stem(f"{place.stem}_{number:03d}") if num > 1 else place


def _folder(run: Path, model: Model, out: str) -> Path:
    """Where samples go: any folder, pictures and clips also an .npz, or files of the kinds
    that the codec writes. Raises UserError for other files."""
    suffix, given = model.codec.suffix, Path(out).suffix.lower()
    kinds = getattr(model.codec, "suffixes", ())
    if kinds and given not in ("", ".npz", *kinds):
        raise UserError(f"--out {out}: choose a folder, or one of {', '.join(('.npz', *kinds))}")
    if suffix == ".wav" and given:
        raise UserError(f"--out {out} must be a folder: each sample is a {suffix} in it")
    return Path(out) if out else rundir.samples(run) / "drawn"


def _make_room(folder: Path, args: Arrays | Tokens, suffix: str) -> None:
    """Samples of an earlier call must not pass for some of this one: the run's own folder is
    emptied of them, and for any other folder it is a UserError."""
    old = [path for path in folder.glob(f"*{suffix}") if path.stem.isdigit()]
    left = [path for path in old if int(path.stem) >= args.num]
    if args.out and left:
        raise UserError(
            f"{folder} holds {len(old)} samples, of which {len(left)} would stay among the "
            f"{args.num} new ones; choose another --out"
        )
    for path in left:
        path.unlink()


def _grid(run: Path, model: Model, args: Arrays, batches: Iterator[synthesis.Samples]) -> Path:
    parts = list(batches)
    samples = np.concatenate([part.images for part in parts])
    if parts[0].labels is not None:
        labels = np.concatenate([part.labels for part in parts])
        samples = samples[np.argsort(labels, kind="stable")]
    place = Path(args.out) if args.out else rundir.samples(run) / "grid.png"
    about = {**parts[0].about(model.codec)[0], "num": str(args.num)}
    about.pop("label", None)
    if len({prompt for part in parts for prompt in part.prompts or ()}) > 1:
        about.pop("prompt")
    if place.suffix.lower() == ".gif":
        sheets, seconds = map(pictures.grid, model.codec.moving(samples)), model.codec.seconds
        pictures.write_gif(place, sheets, seconds=seconds, about=about, hold=seconds)
    else:
        pictures.write_png(place, pictures.grid(model.codec.visible(samples)), about)
    return place


class Command(NamedTuple):
    """What sample.py does for one kind of family."""

    Args: type
    run: object  # (run, model, args) -> lines to say


COMMANDS = {
    "autoregressive": Command(Tokens, tokens),
    "diffusion": Command(Denoising, arrays),
    "latent": Command(Latent, arrays),
}
