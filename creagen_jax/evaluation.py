"""A run in, a creativity report out; or somebody's files, many settings, checkpoints, or runs; or
quality against diversity by temperature, of several systems."""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from creagen_jax import (
    checkpoint,
    cli,
    config,
    data,
    generation,
    judging,
    judging_pictures,
    material,
    models,
    pairing,
    probing,
    retrieving,
    rundir,
    synthesis,
)
from creagen_jax.config import Request
from creagen_jax.creativity import audit, frontier, record, report, series, words
from creagen_jax.data import caching, image_sources
from creagen_jax.judging_pictures import Pictures
from creagen_jax.sampling import filters, solvers
from creagen_jax.types import UserError

LINES, PIECES, PICTURES = 2000, 400, 2000  # samples drawn of lines, pieces of a stream, pictures
ENOUGH = 200  # items, or characters of a stream, that are audited as training would split them
WORDS = 5  # texts of as many words in the middle are compared by words on the frontier
FAST = 5  # times fewer of them with --fast

Bench = judging.Bench | judging_pictures.Bench
Say = Callable[[str], None]
Rows = list[tuple[str, record.Report]]


@dataclasses.dataclass(frozen=True)
class Config:
    """What is evaluated, and how thoroughly."""

    num: int = 0
    """Samples to draw; 0: 2,000 lines or pictures, or 400 pieces of a stream."""
    seed: int = 0
    """Seed of the first sample, and of all that is random in the measuring."""
    checkpoint: str = "best"
    """best (by validation loss), last, or a step."""
    fast: bool = False
    """A fifth of the samples, and only what the profile needs."""
    sweep: tuple[str, ...] = ()
    """A sampling setting and its values, such as: temperature 0.5 0.7 1.0."""
    checkpoints: bool = False
    """Every checkpoint that the run has kept, to see where copying begins."""
    frontier: tuple[str, ...] = ()
    """Temperatures, such as 0.7 1.0 1.3: quality against diversity of text that the runs write; of
    a run of text_gan also before its adversarial phase."""
    samples: str = ""
    """Generated items that are judged instead of a run's own: a file or folder of what RUN has
    learnt from; or, without RUN, text, one item a line, or a folder or .npz of pictures."""
    train: str = ""
    """The training items that belong to --samples without RUN, likewise."""
    heldout: str = ""
    """Held-out items that belong to --samples, likewise; or that --frontier compares with."""
    features: str = ""
    """Your own features of pictures, to judge by: package.module:function or file.py:function."""
    audit: str = ""
    """Instead of a run: data to look through before training on it."""
    unit: Literal["auto", "stream", "line"] = "auto"
    """What an item of --audit is, as --data.unit of train.py."""
    out: str = ""
    """Folder for the report; empty: that of the (first) run. An audit is only printed without."""


def run(runs: Sequence[Path], request: Request, cfg: Config, *, say: Say = print) -> list[str]:
    """Does what the configuration asks and writes it. Returns the lines to print.

    Raises UserError for flags that do not go together, and as all its parts do.
    """
    _check(runs, cfg)
    if cfg.audit:
        return _audit(cfg)
    out = Path(cfg.out) if cfg.out else runs[0]
    if cfg.samples:
        _check_drawing(runs, request, cfg)
        found = of_others(runs[0], request, cfg) if runs else of_files(cfg)
    elif cfg.frontier:
        return _frontier(runs, request, cfg, out, say)
    elif len(runs) == 1 and not cfg.sweep and not cfg.checkpoints:
        found = of_run(runs[0], request, cfg, say=say)
    else:
        return _series(runs, request, cfg, out, say)
    paths = write(out, "report", report.render(found), record.to_json(found))
    return [*words.summary(found), *_written(paths)]


def _check(runs: Sequence[Path], cfg: Config) -> None:
    modes = {
        "RUN": bool(runs),
        "--samples": bool(cfg.samples),
        "--audit": bool(cfg.audit),
    }
    if not any(modes.values()) or (cfg.audit and sum(modes.values()) > 1):
        given = " and ".join(name for name, on in modes.items() if on) or "nothing"
        raise UserError(
            f"{given} given; choose one: RUN [RUN ...], RUN --samples FILE --out DIR, --samples "
            "FILE --train FILE [--heldout FILE] --out DIR, or --audit DATA"
        )
    if cfg.samples and not runs and not (cfg.train and cfg.out):
        raise UserError(
            "--samples needs RUN, whose data they are held against, and --out DIR; or --train FILE "
            "and --out DIR, and better --heldout FILE, too"
        )
    if cfg.samples and not cfg.out:
        raise UserError("--samples needs --out DIR: RUN has a report of its own")
    if cfg.samples and (len(runs) > 1 or cfg.sweep or cfg.checkpoints or cfg.frontier):
        raise UserError(
            "--samples takes one RUN at most, and none of --sweep, --checkpoints and --frontier"
        )
    if (runs or not cfg.samples) and (cfg.train or (cfg.heldout and not cfg.frontier)):
        raise UserError(
            "--train and --heldout go with --samples without RUN; a run knows its own data"
        )
    if cfg.frontier and (not runs or cfg.sweep or cfg.checkpoints or cfg.features):
        raise UserError(
            "--frontier takes RUN [RUN ...] of text, and none of --sweep, --checkpoints and "
            "--features"
        )
    if (cfg.sweep or cfg.checkpoints) and (len(runs) != 1 or (cfg.sweep and cfg.checkpoints)):
        raise UserError("--sweep and --checkpoints take one run, and not both at once")
    if len(cfg.sweep) == 1:
        raise UserError(f"--sweep {cfg.sweep[0]} needs values, such as 0.5 1.0")
    if cfg.features and cfg.audit:
        raise UserError("--features is for pictures; --audit looks through text")
    if cfg.unit != "auto" and not cfg.audit:
        raise UserError("--unit goes with --audit; a run knows its own, and --samples has lines")
    if cfg.num < 0:
        raise UserError(f"--num is {cfg.num}; choose 1 or more, or 0 for the default")


def _check_drawing(runs: Sequence[Path], request: Request, cfg: Config) -> None:
    """Raises UserError for flags of drawing, where nothing is drawn; --label names the data."""
    usual = request_of(runs)
    if runs:
        usual = dataclasses.replace(usual, label=request.label)
    drawn = {"--num": cfg.num, "--checkpoint": cfg.checkpoint != Config.checkpoint}
    drawn["flags of sample.py"] = request != usual
    if given := [name for name, on in drawn.items() if on]:
        raise UserError(f"{given[0]} cannot go with --samples, which are not drawn from a run")


# --- one report ----------------------------------------------------------------------------------


def of_run(run: Path, request: Request, cfg: Config, *, say: Say = print) -> record.Report:
    """Draws samples from a run and judges them."""
    drawn = draw(run, request, cfg, cfg.checkpoint, say)
    return drawn.judge(bench(drawn, request, cfg), run.name, full=not cfg.fast)


def of_others(run: Path, request: Request, cfg: Config) -> record.Report:
    """Judges items in files, whoever made them, as if they were of a run.

    Raises UserError for files of another kind than the run's data, or a run that answers sources.
    """
    modality = data.get(config.modality(rundir.read(run)["experiment"]))
    codec, settings = modality.load_codec(rundir.codec(run)), {"samples": cfg.samples}
    if not generation.writes_text(codec):
        items = judging_pictures.others(modality, codec, cfg.samples)
        drawn = Drawn(run, codec, items, [], settings)
    elif generation.reads_source(codec):
        raise UserError(f"{run} answers sources, and --samples do not tell what they answer")
    else:
        drawn = Drawn(run, codec, *material.others(modality, codec, cfg.samples), settings)
    return drawn.judge(bench(drawn, request, cfg), Path(cfg.samples).name, full=not cfg.fast)


def of_files(cfg: Config) -> record.Report:
    """Judges items in files, whoever made them."""
    about = {"samples": cfg.samples, "train": cfg.train, "heldout": cfg.heldout}
    title = Path(cfg.samples).name
    how = {"title": title, "protocol": about, "full": not cfg.fast}
    if image_sources.holds_pictures(cfg.samples):
        found, generated = judging_pictures.of_files(cfg.samples, cfg.train, cfg.heldout)
        on = judging_pictures.bench(found, generated, cache=caching.folder(None), **_how(cfg))
        return judging_pictures.judge(on, generated, **how)
    if cfg.features:
        raise UserError(f"--features is for pictures; {cfg.samples} holds text")
    texts = material.lines(cfg.samples)
    real = material.of_files(cfg.train, cfg.heldout)
    on = judging.bench(real, texts, seed=cfg.seed, fast=cfg.fast)
    return judging.judge(on, texts, **how)


def _how(cfg: Config) -> dict[str, Any]:
    return {"own": cfg.features, "seed": cfg.seed, "fast": cfg.fast}


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """Samples of a run, or of files that are judged as if they were."""

    run: Path
    codec: Any
    items: list[str] | Pictures  # what the model itself made: what it was given is not its own
    labels: list[str]  # of texts; of pictures they are in the items
    settings: dict[str, Any]
    model: generation.Model | None = None  # that drew them
    asked: pairing.Questions | None = None  # what each item was written from, where that is so
    prompts: tuple[str, ...] = ()  # what each picture was drawn from, where that is so

    def judge(self, on: Bench, title: str, *, full: bool) -> record.Report:
        """Their report; if it is full all is measured, and the model itself is questioned, too."""
        found, modality = {}, config.modality(rundir.read(self.run)["experiment"])
        if full and self.model:
            dataset = generation.training_data(self.run)
            if held := next((name for name in dataset.splits if name != "train"), ""):
                found = probing.probe(self.model, modality, dataset, held, seed=on.seed)
            if self.prompts:
                told = retrieving.scores(dataset, self.items.images, self.prompts, seed=on.seed)
                found = {name: found.get(name, {}) | told[name] for name in told}
        if self.asked:
            scores = pairing.scores(self.codec, self.items, self.asked, seed=on.seed)
            found = {**found, "model": {**scores, **found.get("model", {})}}
        how = {
            "title": title,
            "protocol": {"run": str(self.run), "sampling": self.settings},
            "probed": found,
            "full": full,
        }
        if isinstance(self.items, Pictures):
            return judging_pictures.judge(on, self.items, **how)
        how["labels"] = self.labels
        if self.asked:
            how |= {"sources": self.asked.sources, "references": self.asked.references}
            how["alignments"] = pairing.alignments(self.model, self.items, self.asked)
        if hasattr(self.codec, "exhibit"):
            sources = self.asked.sources if self.asked else [None] * len(self.items)
            how["exhibit"] = lambda i: self.codec.exhibit(self.items[i], sources[i])
        return judging.judge(on, material.judged(self.codec, self.items), **how)


def draw(run: Path, request: Request, cfg: Config, which: str, say: Say) -> Drawn:
    """Samples of the best, the last or any other checkpoint."""
    model = generation.load(run, which, report=say)
    if models.get(model.family).KIND == "autoregressive":
        request = dataclasses.replace(request, prompt=cli.text_argument(request.prompt))
        usual = LINES if model.codec.line else PIECES
        num, asked = cfg.num or (usual // FAST if cfg.fast else usual), None
        if generation.reads_source(model.codec):
            asked = _questions(run, request, num)
            request, num = dataclasses.replace(request, source=asked.sources), 1
        samples = generation.draw(model, request, num=num, seed=cfg.seed)
        if not generation.writes_text(model.codec):
            labels = None
            if model.codec.labels:
                labels = np.array([model.codec.label_id(each.label) for each in samples], np.int32)
            waves = np.stack([each.text for each in samples])
            items = judging_pictures.seen(model.codec, waves, labels)
            return Drawn(run, model.codec, items, [], samples[0].settings, model)
        texts = [sample.text[sample.given :] for sample in samples]
        labels = [sample.label or "" for sample in samples]
        return Drawn(run, model.codec, texts, labels, samples[0].settings, model, asked)
    num = cfg.num or (PICTURES // FAST if cfg.fast else PICTURES)
    if generation.reads_source(model.codec) and not request.prompt:
        asked = retrieving.questions(generation.training_data(run))
        request = dataclasses.replace(request, prompt=asked)
    parts = list(synthesis.draw(model, request, num=num, seed=cfg.seed))
    images = np.concatenate([part.images for part in parts])
    labels = None
    if model.codec.labels:
        labels = np.concatenate([part.labels for part in parts])
    prompts = tuple(prompt for part in parts for prompt in part.prompts or ())
    items = judging_pictures.seen(model.codec, images, labels)
    return Drawn(run, model.codec, items, [], parts[0].settings, model, prompts=prompts)


def _questions(run: Path, request: generation.Request, num: int) -> pairing.Questions:
    """Held-out sources for the model of a run."""
    if request.source:
        raise UserError("--source goes with sample.py; evaluate.py asks for held-out sources")
    modality = config.modality(rundir.read(run)["experiment"])
    dataset = generation.training_data(run)
    if len(dataset.splits) == 1:
        raise UserError(f"{run} has no held-out pairs to ask for; train with --data.validation 0.1")
    return pairing.questions(modality, dataset, num)


def bench(drawn: Drawn, request: Request, cfg: Config) -> Bench:
    """What samples of a run, and others like them, are held against."""
    if isinstance(drawn.items, Pictures):
        found = judging_pictures.of_run(drawn.run, request.label)
        cache = rundir.evaluation(drawn.run)
        return judging_pictures.bench(found, drawn.items, cache=cache, **_how(cfg))
    if cfg.features:
        raise UserError(f"--features is for pictures; {drawn.run} holds text")
    found = material.of_run(drawn.run, request)
    texts = material.judged(drawn.codec, drawn.items)
    return judging.bench(found, texts, seed=cfg.seed, fast=cfg.fast)


# --- many reports --------------------------------------------------------------------------------


def _series(runs: Sequence[Path], request: Request, cfg: Config, out: Path, say: Say) -> list[str]:
    if cfg.sweep:
        name, page, rows = "sweep", *sweep(runs[0], request, cfg, say=say)
    elif cfg.checkpoints:
        name, page, rows = "checkpoints", *along_training(runs[0], request, cfg, say=say)
    else:
        name, page, rows = "comparison", *compare(runs, request, cfg, say=say)
    listed = [{"label": label, "report": record.to_json(found)} for label, found in rows]
    paths = write(out, name, page, {"schema": record.SCHEMA, "rows": listed})
    return [*(f"{label:24s} {_brief(found)}" for label, found in rows), *_written(paths)]


def _brief(found: record.Report) -> str:
    told = {name: each for name, each in found.metrics.items() if name in series.TOLD}
    parts = {**found.profile, "yield": found.creative_yield.shown, **told}
    return "  ".join(f"{name} {words.brief(each)}" for name, each in parts.items())


def sweep(run: Path, request: Request, cfg: Config, *, say: Say = print) -> tuple[str, Rows]:
    """A report for each value of a sampling setting: the page, and the reports."""
    setting, *values = cfg.sweep
    requests = [with_setting(request, setting, value) for value in values]
    rows, on = [], None
    for value, asked in zip(values, requests, strict=True):
        say(f"{setting} {value} ...")
        drawn = draw(run, asked, cfg, cfg.checkpoint, say)
        on = on or bench(drawn, request, cfg)
        rows.append((value, drawn.judge(on, run.name, full=False)))
    yields = [(found.creative_yield.absolute.value or 0, label) for label, found in rows]
    page = series.render(
        f"{run.name} by {setting}",
        rows,
        sentences=[f"Creative Yield is highest at {setting} {max(yields)[1]}."],
        x=[float(value) for value in values],
        x_title=setting,
    )
    return page, rows


def with_setting(request: Request, setting: str, value: str) -> Request:
    """The request with a sampling setting changed. Raises UserError."""
    numbers = {
        field.name: type(getattr(request.sampling, field.name))
        for field in dataclasses.fields(request.sampling)
    }
    names = sorted(name for name, kind in numbers.items() if kind in (int, float))
    if setting not in names:
        raise UserError(f"no setting '{setting}'; {config.nearest(setting, names)}")
    kind = numbers[setting]
    try:
        number = kind(value)
    except ValueError:
        wanted = "whole numbers" if kind is int else "numbers"
        raise UserError(f"{setting} takes {wanted}, not '{value}'") from None
    sampling = dataclasses.replace(request.sampling, **{setting: number})
    if isinstance(sampling, filters.Sampling):
        filters.validate(sampling)
    elif isinstance(sampling, solvers.Solving):
        solvers.validate(sampling)
    return dataclasses.replace(request, sampling=sampling)


def request_of(runs: Sequence[Path]) -> Request:
    """The flags that choose how samples are drawn, for the family of the first run; without a run,
    those of text. Raises UserError for a folder that is no run, or kinds that do not go together.
    """
    kinds = {run: generation.kind(run) for run in runs}
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{run} ({kind})" for run, kind in kinds.items())
        raise UserError(f"these runs draw in different ways, so no flags fit all: {listed}")
    kind = next(iter(kinds.values()), "autoregressive")
    if kind == "autoregressive" and runs and rundir.read(runs[0])["spec"].source:
        # What is right is asked for, so the likeliest output is judged unless flags say otherwise.
        return generation.Request(sampling=filters.Sampling(temperature=0.0))
    return synthesis.REQUESTS.get(kind, generation.Request)()


def along_training(
    run: Path, request: Request, cfg: Config, *, say: Say = print
) -> tuple[str, Rows]:
    """A report for each checkpoint that a run has kept: the page, and the reports."""
    steps = checkpoint.steps(rundir.checkpoints(run))
    if not steps:
        raise UserError(f"{run} has no checkpoint yet; train it, or wait for its first save")
    rows, on = [], None
    for step in steps:
        say(f"step {step} ...")
        drawn = draw(run, request, cfg, str(step), say)
        on = on or bench(drawn, request, cfg)
        rows.append((str(step), drawn.judge(on, run.name, full=False)))
    onset = series.onset(steps, [found.profile["novelty"] for _, found in rows])
    begins = "No checkpoint copies more than held-out data do."
    if onset is not None:
        begins = f"Copying begins at step {onset:.0f} or before it."
    page = series.render(
        f"{run.name} along training",
        rows,
        sentences=[begins, "train.keep_every decides how many checkpoints there are."],
        x=steps,
        x_title="step",
        mark=None if onset is None else (onset, "copying begins"),
    )
    return page, rows


def compare(
    runs: Sequence[Path], request: Request, cfg: Config, *, say: Say = print
) -> tuple[str, Rows]:
    """A report for each run of the same data, against the same anchors: the page, and the reports.

    Raises UserError if the runs were trained on different data.
    """
    _same_data(runs)
    rows, on = [], None
    for run in runs:
        say(f"{run} ...")
        drawn = draw(run, request, cfg, cfg.checkpoint, say)
        on = on or bench(drawn, request, cfg)
        rows.append((str(run), drawn.judge(on, str(run), full=not cfg.fast)))
    return series.render("Runs compared", rows), rows


def _same_data(runs: Sequence[Path]) -> None:
    """Raises UserError if the runs were trained on different data."""
    prints = [rundir.read(run)["fingerprint"] for run in runs]
    for run, other in zip(runs, prints, strict=True):
        if (other["sha256"], *other["splits"]) != (prints[0]["sha256"], *prints[0]["splits"]):
            raise UserError(f"{run} and {runs[0]} were trained on different data")


# --- quality against diversity -------------------------------------------------------------------


def _frontier(
    runs: Sequence[Path], request: Request, cfg: Config, out: Path, say: Say
) -> list[str]:
    rows, sentences = along_temperature(runs, request, cfg, say=say)
    page = frontier.render("Temperatures compared", rows, sentences=sentences)
    listed = [dataclasses.asdict(row) for row in rows]
    fields = {"schema": record.SCHEMA, "sentences": sentences, "rows": listed}
    paths = write(out, "frontier", page, fields)
    return [*map(frontier.line, rows), *sentences, *_written(paths)]


def along_temperature(
    runs: Sequence[Path], request: Request, cfg: Config, *, say: Say = print
) -> tuple[list[frontier.Row], list[str]]:
    """A row for each run and temperature, and sentences that hold the first run against the others;
    a run of text_gan is held against itself before its adversarial phase, too.

    Raises UserError for runs that write no text of their own, or of different data.
    """
    _same_data(runs)
    stages = [(run, *stage) for run in runs for stage in _stages(run, cfg).items()]
    requests = [with_setting(request, "temperature", value) for value in cfg.frontier]
    systems: dict[str, dict[float, Sequence[str]]] = {}
    for run, name, which in stages:
        systems[name] = {}
        for asked in requests:
            at = asked.sampling.temperature
            say(f"{name}, temperature {at:g} ...")
            systems[name][at] = draw(run, asked, cfg, which, say).items
    found = material.of_run(runs[0], request)
    heldout = material.lines(cfg.heldout) if cfg.heldout else found.heldout
    by_words = statistics.median(len(each.split()) for each in found.documents) >= WORDS
    real = {"train": found.documents, "heldout": heldout}
    rows = frontier.frontier(systems, **real, words=by_words, seed=cfg.seed)
    first, *others = systems
    what = "The adversarial phase" if _pretrained(runs[0]) else first
    verdicts = [frontier.verdict(rows, first, name, what=what) for name in others]
    return rows, list(itertools.chain.from_iterable(verdicts))


def _stages(run: Path, cfg: Config) -> dict[str, str]:
    """The checkpoints of a run that are compared, by the names of these systems."""
    found, before = {str(run): cfg.checkpoint}, _pretrained(run)
    if before and before in checkpoint.steps(rundir.checkpoints(run)):
        found[f"{run}, maximum likelihood alone"] = str(before)
    return found


def _pretrained(run: Path) -> int:
    """The step at which an adversarial phase began; 0 if there was none."""
    experiment = rundir.read(run)["experiment"]
    if config.modality(experiment) != "text":
        raise UserError(
            f"--frontier is for runs that write text of their own, which {run} does not"
        )
    before = getattr(experiment.model, "pretrain", 0)
    return before if before < experiment.train.steps else 0


# --- data, and files -----------------------------------------------------------------------------


def _audit(cfg: Config) -> list[str]:
    text = data.get("text")
    # Nothing is cut into windows here, so no text is too short.
    source = text.Config(path=cfg.audit, unit=cfg.unit, labels=False, length=1, validation=0.0)
    dataset = text.load(source)
    if text.windows(dataset, "train") >= ENOUGH:
        dataset = text.load(dataclasses.replace(source, validation=text.Config.validation))
    texts = {name: text.texts(dataset, name) for name in dataset.splits}
    found = audit.audit(train=texts.pop("train"), heldout=texts, seed=cfg.seed)
    lines = audit.lines(found)
    if cfg.out:
        lines += _written(write(Path(cfg.out), "audit", None, dataclasses.asdict(found)))
    return lines


def write(folder: Path, name: str, page: str | None, fields: Any) -> list[Path]:
    """Writes NAME.json, and NAME.html if there is a page, each complete or not at all."""
    contents = {"json": json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False) + "\n"}
    if page is not None:
        contents["html"] = page
    paths = []
    with rundir.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in contents.items():
            part = folder / f".{name}.{suffix}.part"
            part.write_text(content, encoding="utf-8")
            paths.append(part.rename(folder / f"{name}.{suffix}"))
    return paths


def _written(paths: list[Path]) -> list[str]:
    return [f"written: {', '.join(map(str, paths))}"]
