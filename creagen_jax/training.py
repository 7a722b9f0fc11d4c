"""The only training loop. It knows the family contract and the modality contract, nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from creagen_jax import (
    checkpoint,
    config,
    data,
    flops,
    generation,
    logging,
    models,
    parallel,
    rundir,
    scoring,
    synthesis,
    update,
)
from creagen_jax.data import batching, pictures
from creagen_jax.types import Spec, TrainState, UserError

WIDE = 160  # pixels: such pictures stand below one another
SAMPLES = 8  # drawn on the screen, where that is asked for
HIDDEN = ("loss", "skipped_in_row")  # metrics of a step that are not logged as they are
COLLAPSED = 0.5  # times the variety of the data: samples that vary less are warned of
FRAME = 0.2  # seconds that each sheet of samples shows in the film of a training
SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGREE_EVERY = 10  # steps between two looks of several processes at whether one was interrupted


@dataclasses.dataclass(frozen=True)
class Job:
    """All that stays the same while a run trains."""

    experiment: config.Experiment
    modality: ModuleType
    dataset: Any
    family: ModuleType
    spec: Spec
    steps: int  # in all
    mesh: jax.sharding.Mesh


@dataclasses.dataclass
class Progress:
    """The loop's own account, saved with each checkpoint."""

    step: int = 0
    seconds: float = 0.0  # of training so far, over all sittings
    losses: list[float] = dataclasses.field(default_factory=list)  # since the last logged one
    best_loss: float = math.inf
    best_step: int = 0
    worse: int = 0  # evaluations in a row that were not better
    finished: bool = False


def train(
    experiment: config.Experiment,
    run: Path,
    *,
    stop_at: int = 0,
    overwrite: bool = False,
    dry_run: bool = False,
) -> int:
    """Train, or go on training, in a run directory; stop behind step `stop_at` if that is given.

    Returns the exit code: 0, or 130 / 143 if it was interrupted and saved. Raises UserError for
    whatever is wrong with the data, the flags, the run directory or the disk.
    """
    if stop_at < 0:
        raise UserError(f"--stop_at is {stop_at}; choose a step, or 0 to go to the end")
    job = prepare(experiment)
    if dry_run:
        _estimate(job)
        return 0
    state, step = _build(job)  # first, so that flags that do not fit leave no run behind
    _open(job, run, overwrite)
    progress = Progress()
    found = checkpoint.newest(
        rundir.checkpoints(run), lambda path: checkpoint.restore(path, state), print
    )
    if found:
        state, meta = found
        progress = Progress(**meta)
        print(f"resuming at step {progress.step} of {job.steps}")
    last = min(stop_at or job.steps, job.steps)
    speaks = logging.Log(
        run,
        step=progress.step,
        steps=job.steps,
        size=experiment.train.batch * max(job.spec.length, 1),
        unit="tokens" if job.spec.vocab else "examples",
        reference=partial(_reference, job, run),
        shortest=_shortest(job, state),
        lead=jax.process_index() == 0,
    )
    with speaks as log, _Interrupt() as interrupt:
        state = _loop(job, run, state, step, progress, last, log, interrupt)
        if interrupt.signal:
            log.say(f"interrupted; step {progress.step} is saved, the same command goes on")
            return 128 + interrupt.signal
        if progress.finished:
            _final(job, run, state, progress, log)
            _film(run, log)
    return 0


# --- before the first step ----------------------------------------------------------------------


def prepare(experiment: config.Experiment) -> Job:
    """Load the data and check what can be checked before anything is written."""
    size = experiment.train.batch
    if size < 1:
        raise UserError(f"--train.batch is {size}; choose 1 or more")
    modality = data.get(config.modality(experiment))
    dataset = modality.load(experiment.data)
    print(modality.describe(dataset))
    mesh = parallel.mesh()
    parallel.check(mesh, size)
    name, spec = config.family(experiment), dataset.spec(size)
    family = models.get(name)
    if (family.KIND == "autoregressive") != (spec.vocab > 0):
        made, given = ("arrays", "tokens") if spec.vocab else ("tokens", "arrays")
        raise UserError(f"{name} makes {made}, and these data are {given}: choose another family")
    return Job(
        experiment=experiment,
        modality=modality,
        dataset=dataset,
        family=family,
        spec=spec,
        steps=experiment.train.steps or -(-modality.windows(dataset, "train") // size),
        mesh=mesh,
    )


def _open(job: Job, run: Path, overwrite: bool) -> None:
    """Begin a run directory or check that it is this job's."""
    if jax.process_index() == 0 and not rundir.clear(run, overwrite=overwrite):
        libraries = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")
        fields = {
            "experiment": job.experiment,
            "spec": job.spec,
            "fingerprint": job.dataset.fingerprint,
            "versions": {name: importlib.metadata.version(name) for name in libraries},
        }
        rundir.create(run, fields, partial(job.modality.save, job.dataset))
    parallel.sync("run")
    rundir.check_same(run, job.experiment, job.dataset.fingerprint)


def _reference(job: Job, run: Path) -> dict[str, Any]:
    """The reference line's scores, made when they are first wanted; {} for data without one."""
    path = rundir.reference(run)
    if path.is_file():
        return json.loads(path.read_text())
    if not (job.spec.vocab and "validation" in job.dataset.splits):
        return {}
    found = scoring.reference(job.modality, job.dataset)
    rundir.write(path, json.dumps(found, indent=1).encode())
    return found


def _build(job: Job) -> tuple[TrainState, Callable]:
    """The state before the first step, and the step."""
    state = update.new_state(job.experiment, job.family, job.spec, steps=job.steps, mesh=job.mesh)
    step = update.make_step(job.experiment, job.family, job.spec, steps=job.steps)
    return state, update.compiled(step, state, job.family, job.mesh)


def _shortest(job: Job, state: TrainState) -> float:
    """Seconds of a step at the peak of the devices; 0 where that is not known."""
    peak = flops.peak(list(job.mesh.devices.flat))
    if not peak or job.family.HOST:
        return 0.0
    experiment, size = job.experiment, job.experiment.train.batch
    step = update.make_step(experiment, job.family, job.spec, steps=job.steps)
    batch = job.modality.train_batch(job.dataset, seed=experiment.seed, step=0, size=size)
    return flops.of(step, state, batch) / peak


def _batches(job: Job, start: int) -> Iterator[dict[str, np.ndarray]]:
    """The batches of step start, start + 1, ..., made ahead by a background thread."""

    spec = job.spec
    limits = {"x": spec.vocab, "condition": spec.classes, "source": spec.source_vocab}

    def make(step: int) -> dict[str, np.ndarray]:
        batch = job.modality.train_batch(
            job.dataset, seed=job.experiment.seed, step=step, size=job.experiment.train.batch
        )
        for key, limit in limits.items():
            # A gather on the device would clamp the id in silence.
            if limit and not 0 <= batch[key].min() <= batch[key].max() < limit:
                raise UserError(f"batch {step}: `{key}` has an id outside 0 .. {limit - 1}")
        return batch

    return batching.prefetch(make, start)


def _estimate(job: Job, seconds: float = 3.0) -> None:
    """What a dry run prints: the configuration, sizes, and a measured estimate of the time."""
    state, step = _build(job)
    print(json.dumps(config.to_json(job.experiment), indent=1, ensure_ascii=False))
    print(f"parameters: {_size(state.params)[0]:,}")
    print(f"memory of the training state: {_size(state)[1] / 2**20:.1f} MiB, batches aside")
    times = []
    with contextlib.closing(_batches(job, 0)) as batches:
        while len(times) < 4 or sum(times[1:]) < seconds:
            began = time.perf_counter()
            state, metrics = step(state, next(batches))
            float(metrics["loss"])
            times.append(time.perf_counter() - began)
    each = float(np.median(times[1:]))
    print(
        f"time: first step {times[0]:.1f} s, then {each * 1e3:.1f} ms each; {job.steps} steps take "
        f"about {(times[0] + each * job.steps) / 60:.1f} minutes, evaluations aside"
    )


def _size(tree: Any) -> tuple[int, int]:
    """Numbers and bytes in a pytree."""
    leaves = [np.asarray(leaf) if np.isscalar(leaf) else leaf for leaf in jax.tree.leaves(tree)]
    return sum(leaf.size for leaf in leaves), sum(leaf.nbytes for leaf in leaves)


# --- the loop -----------------------------------------------------------------------------------


def _loop(job, run, state, step, progress, last, log, interrupt) -> TrainState:
    """Train until step `last`, an early stop or an interruption; save. Returns the state."""
    cfg = job.experiment.train
    folder = rundir.checkpoints(run)
    evaluate = _evaluator(job)
    began = time.perf_counter() - progress.seconds
    pending = None  # metrics of the newest step, not yet looked at
    saved = progress.step

    def look() -> None:
        """Read the pending metrics: this waits for their step."""
        nonlocal pending
        if pending:
            if math.isfinite(loss := float(pending["loss"])):
                progress.losses.append(loss)
            if int(pending["skipped_in_row"]) >= cfg.max_skipped:
                intact = ", ".join(map(str, checkpoint.steps(folder))) or "none"
                raise UserError(
                    f"{cfg.max_skipped} updates in a row were not finite, up to step "
                    f"{progress.step}; intact checkpoints: {intact}; lower --optim.learning_rate"
                )
        pending = None

    def stays(step: int) -> bool:
        return cfg.keep_every > 0 and step % cfg.keep_every == 0

    def save() -> None:
        nonlocal saved
        progress.seconds = time.perf_counter() - began
        if math.isinf(progress.best_loss):  # none evaluated so far: the last is the best known
            progress.best_step = progress.step
        before = [step for step in checkpoint.steps(folder) if step < progress.step]
        keep = {progress.best_step, *before[-1:], *filter(stays, before)}
        checkpoint.save(folder, state, dataclasses.asdict(progress), keep)
        saved = progress.step

    with contextlib.closing(_batches(job, progress.step)) as batches:
        while progress.step < last and not progress.finished and not interrupt.due(progress.step):
            state, metrics = step(state, next(batches))
            look()  # at the step before, now that the next one is on its way
            pending = metrics
            at = progress.step = progress.step + 1
            progress.finished = at == job.steps
            logs = at % cfg.log_every == 0 or progress.finished
            evaluates = at % cfg.eval_every == 0 or progress.finished
            saves = at % cfg.save_every == 0 or stays(at)
            if logs or evaluates or saves:
                look()
            if logs:
                loss = float(np.mean(progress.losses)) if progress.losses else math.nan
                more = {key: float(value) for key, value in metrics.items() if key not in HIDDEN}
                log.train(at, loss, time.perf_counter() - began, **more)
                progress.losses = []
            if evaluates and "validation" in job.dataset.splits:
                scores = evaluate(state.eval_params, "validation", limit=cfg.eval_windows)
                log.scores(at, "validation", scores, time.perf_counter() - began, "some")
                if "loss" in scores:  # a GAN has none that ranks its checkpoints
                    _judge(progress, scores["loss"], cfg.patience)
                _warn_of_collapse(scores, log)
            if cfg.sample_every and at % cfg.sample_every == 0:
                log.samples(at, *_draw(job, state))
            if saves or progress.best_step == at:
                save()
        look()
        if progress.step != saved:
            save()
    return state


def _judge(progress: Progress, loss: float, patience: int) -> None:
    """Take note of a validation loss; an early stop after `patience` that were not better."""
    if loss < progress.best_loss:
        progress.best_loss, progress.best_step, progress.worse = loss, progress.step, 0
    else:
        progress.worse += 1
    progress.finished |= 0 < patience <= progress.worse


def _warn_of_collapse(scores: dict[str, float], log: logging.Log) -> None:
    """A line on the screen if the samples of a GAN vary far less than the data."""
    if "variety" in scores and scores["variety"] < COLLAPSED * scores["variety_of_data"]:
        share = scores["variety"] / scores["variety_of_data"]
        log.say(
            f"warning: samples vary {share:.0%} as much as the data: the generator collapses; "
            "lower --optim.learning_rate, or raise --model.r1 and --model.r2"
        )


def _evaluator(job: Job) -> Callable[..., dict[str, float]]:
    """evaluate(params, split, **how to cut it into windows) -> scores."""
    evaluate = scoring.evaluator(job.family, job.experiment.model)
    place = None
    if not job.family.HOST:
        place = partial(parallel.place, job.mesh)
        # Every process adds up the sums of all of them.
        evaluate = jax.jit(evaluate, out_shardings=parallel.replicated(job.mesh))

    def score(params, split: str, **how) -> dict[str, float]:
        size = job.experiment.train.batch
        batches = job.modality.eval_batches(job.dataset, split, size=size, **how)
        return scoring.score(evaluate, params, batches, job.modality.units, place)

    return score


def _draw(job: Job, state: TrainState) -> tuple[str, bytes, str]:
    """A few samples, with the same seeds every time, so that progress can be watched: the suffix
    and the content of their file, and what of it is shown on the screen."""
    params = state.eval_params
    if not job.family.HOST:  # gathered, if they are sharded
        params = generation.local(jax.device_put(params, parallel.replicated(job.mesh)))
    model = generation.Model(
        family=config.family(job.experiment),
        cfg=job.experiment.model,
        params=params,
        codec=job.dataset.codec,
        length=job.spec.length,
        step=int(state.step),
    )
    seed = job.experiment.seed
    if job.family.KIND != "autoregressive":
        return _sheet(model, synthesis.preview(model, seed=seed))
    many = model.codec.line and not generation.reads_source(model.codec)  # one of each source
    drawn = generation.draw(model, generation.Request(), num=SAMPLES if many else 1, seed=seed)
    if not generation.writes_text(model.codec):
        return _sheet(model, [sample.text for sample in drawn])
    if hasattr(model.codec, "visible"):
        return _sheet(model, [(sample.text, sample.source) for sample in drawn])
    text = "\n".join(map(generation.brief, drawn))
    return ".txt", f"{text}\n".encode(), text


def _sheet(model: generation.Model, samples: Sequence[np.ndarray]) -> tuple[str, bytes, str]:
    """Samples that are no text on a contact sheet."""
    drawn_NHWC = model.codec.visible(samples)
    sheet = pictures.grid(drawn_NHWC, columns=8 if drawn_NHWC.shape[2] < WIDE else 1)
    return ".png", pictures.png(sheet, {"step": str(model.step)}), ""


def _final(job: Job, run: Path, state: TrainState, progress: Progress, log: logging.Log) -> None:
    """Score the best checkpoint on the held-out splits, in each way that was not scored before."""
    ways = {"all": None}
    if job.spec.vocab and not job.dataset.codec.line:
        # So that each prediction sees at least half a window.
        ways["sliding"] = job.spec.length // 2
    held_out = [split for split in ("validation", "test") if split in job.dataset.splits]
    scored = {(line["split"], line.get("windows")) for line in logging.read(run)}
    wanted = [(split, way) for split in held_out for way in ways if (split, way) not in scored]
    if not wanted:
        log.say(f"{run} is finished: {progress.step} steps, the best is {progress.best_step}")
        return
    step = progress.best_step
    if step != progress.step:
        try:
            state, _ = checkpoint.restore(rundir.checkpoints(run) / str(step), state)
        except checkpoint.Damaged as damage:
            log.say(f"damaged checkpoint {step} passed over, the last one is scored: {damage}")
            step = progress.step
    evaluate = _evaluator(job)
    limit = job.experiment.train.final_windows
    for split, way in wanted:
        scores = evaluate(state.eval_params, split, limit=limit, overlap=ways[way])
        log.scores(step, split, scores, progress.seconds, way)


def _film(run: Path, log: logging.Log) -> None:
    """RUN/samples/progress.gif of the sheets of samples that were drawn on the way, if any."""
    sheets = sorted(rundir.samples(run).glob("step_*.png"))
    if log.lead and len(sheets) > 1:
        frames = map(pictures.read_png, sheets)
        path = rundir.samples(run) / "progress.gif"
        pictures.write_gif(path, frames, seconds=FRAME, about={}, hold=10 * FRAME)


class _Interrupt:
    """Within it, SIGINT (Ctrl-C) and SIGTERM are noted for the loop to save and stop; the second
    of them stops at once."""

    signal = 0

    def due(self, step: int) -> bool:
        """Whether to stop behind this step. Several processes agree on it now and then: each may
        get the signal at another step, but all must stop at the same one."""
        if jax.process_count() > 1:
            if step % AGREE_EVERY:
                return False
            self.signal = parallel.largest(self.signal)
        return self.signal > 0

    def __enter__(self) -> _Interrupt:
        self._old = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.signal = number
        for other, handler in self._old.items():
            signal.signal(other, handler)
