"""A run directory in, samples out."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from creagen_jax import checkpoint, config, data, models, rundir
from creagen_jax.data.tokenizers import END
from creagen_jax.sampling import beam, copying, filters, tokens
from creagen_jax.types import Params, Spec, UserError

BATCH = 64  # samples drawn at once
STREAM_LENGTH = 500  # tokens of a sample whose data has no lines that could end it
CHUNK = 16  # tokens between two looks at whether all samples have ended
SEARCHED = 5_000_000  # tokens of training data that the guard against copying knows


@dataclasses.dataclass(frozen=True)
class Model:
    """What is needed to draw samples."""

    family: str
    cfg: config.Model
    params: Params
    codec: Any
    length: int  # T, predictions in a training window
    step: int  # of the checkpoint


@dataclasses.dataclass(frozen=True)
class Request(config.Request):
    """What is asked of a family that writes tokens."""

    prompt: str = ""
    """Text to continue; @FILE reads it from a file."""
    length: int = 0
    """Tokens to draw at most; 0: a line as long as in training, or 500 tokens of a stream."""
    sampling: Annotated[filters.Sampling, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=filters.Sampling
    )


@dataclasses.dataclass
class Speed:
    """Of decoding: adds up over batches, compilation left out."""

    tokens: int = 0  # drawn, over all samples
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Sample:
    """One sample, and all that is needed to draw it again."""

    text: str
    seed: int
    label: str | None
    settings: dict[str, Any]
    new: bool | None  # not a line of the training data; None where the data has no lines
    refused: int | None  # how often the guard against copying stepped in; None without it
    cut: bool | None  # whether it left no token, so that the sample ended; None without it


def load(run: Path, which: str = "best", report: Callable[[str], None] = print) -> Model:
    """The model of a run: its "best" checkpoint by validation loss, its "last", or a step.

    A damaged checkpoint is reported and the newest sound one used. Raises UserError for a folder
    that is no run, or one without a checkpoint, or without the step asked for.
    """
    fields = rundir.read(run)
    experiment, folder = fields["experiment"], rundir.checkpoints(run)
    steps = checkpoint.steps(folder)
    if not steps:
        raise UserError(f"{run} has no checkpoint yet; train it, or wait for its first save")
    if which == "best":
        step = checkpoint.newest(folder, checkpoint.read_meta, report)["best_step"]
    elif which == "last":
        step = steps[-1]
    elif which.isdigit() and int(which) in steps:
        step = int(which)
    else:
        raise UserError(
            f"no checkpoint '{which}' in {run}; choose best, last, {', '.join(map(str, steps))}"
        )
    family = config.family(experiment)
    like = _structure(family, experiment, fields["spec"])

    def read(path: Path):
        return int(path.name), checkpoint.restore_params(path, like)

    try:
        step, params = read(folder / str(step))
    except checkpoint.Damaged as damage:
        report(f"damaged checkpoint {step} passed over: {damage}")
        step, params = checkpoint.newest(folder, read, report)
    return Model(
        family=family,
        cfg=experiment.model,
        params=local(params),
        codec=data.get(config.modality(experiment)).load_codec(rundir.codec(run)),
        length=fields["spec"].length,
        step=step,
    )


def kind(run: Path) -> str:
    """How the family of a run draws: its KIND. Raises UserError for a folder that is no run."""
    return models.get(config.family(rundir.read(run)["experiment"])).KIND


def training_data(run: Path) -> Any:
    """The data set that a run was trained on, read again.

    Raises UserError if it is gone, or has changed since.
    """
    fields = rundir.read(run)
    experiment = fields["experiment"]
    dataset = data.get(config.modality(experiment)).load(experiment.data)
    now = json.loads(json.dumps(dataset.fingerprint))
    if changed := config.differences(fields["fingerprint"], now):
        raise UserError(f"the training data of {run} has changed since ({'; '.join(changed)})")
    return dataset


def load_guard(run: Path, longest: int, report: Callable[[str], None] = print) -> copying.Guard:
    """What keeps samples of a run from copying more than `longest` tokens in a row from its
    training data; of very large data, from its beginning, which is reported.

    Raises UserError as `training_data` does.
    """
    if longest < 1:
        raise UserError(f"--max_copy is {longest}; choose 1 or more, or 0 (off)")
    known = training_data(run).splits["train"].tokens
    if len(known) > SEARCHED:
        report(
            f"--max_copy knows the first {SEARCHED:,} of {len(known):,} training tokens: "
            "what stands behind them may still be copied"
        )
    return copying.build(known[:SEARCHED], longest, end=END)


def local(params: Params) -> Params:
    """A copy on the default device, tied to no sharding, of parameters that lie anywhere."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), params)


def _structure(family: str, experiment: config.Experiment, spec: Spec) -> Params:
    """Parameters as the family makes them, if only their structure."""
    module = models.get(family)

    def init():
        return module.init(jax.random.key(0), experiment.model, spec, optax.identity()).params

    return init() if module.HOST else jax.eval_shape(init)


def draw(
    model: Model,
    request: Request,
    *,
    num: int,
    seed: int,
    guard: copying.Guard | None = None,
    speed: Speed | None = None,
) -> list[Sample]:
    """`num` samples with the seeds seed, seed + 1, ...; each depends on its own seed alone.

    With beams, the `num` best of one search instead. With a guard, no sample copies more tokens in
    a row than it allows. Raises UserError for an unknown label, an unseen character in the prompt,
    or seeds and settings out of range.
    """
    if num < 1:
        raise UserError(f"--num is {num}; choose 1 or more")
    config.check_seed(seed, num)
    prompt = _prompt(model, request)
    if request.sampling.beams:
        if guard:
            raise UserError("beam search ignores max_copy; set one of the two")
        labels = _labels(model, request, np.array([seed]))
        tokens_BT = _search(model, request, prompt, labels, num)
        return [_sample(model, request, ids, labels, 0, seed) for ids in tokens_BT]
    drawn = []
    size = min(num, BATCH)  # the last batch draws more than is asked for, but compiles nothing new
    for first in range(0, num, size):
        seeds = seed + first + np.arange(size)
        labels = _labels(model, request, seeds)
        chunks = _chunks(model, request, prompt, labels, seeds, guard, speed or Speed())
        tokens_BT, guarded_BT = (np.concatenate(parts, 1) for parts in zip(*chunks, strict=True))
        drawn += [
            _sample(model, request, ids, labels, row, seed + first + row, guard, guarded_BT[row])
            for row, ids in enumerate(tokens_BT)
        ]
    return drawn[:num]


def stream(
    model: Model,
    request: Request,
    *,
    seed: int,
    show: Callable[[str], None],
    guard: copying.Guard | None = None,
    speed: Speed | None = None,
) -> Sample:
    """One sample, the same as `draw` makes it; `show` gets its text in pieces as it is drawn."""
    config.check_seed(seed)
    seeds = np.array([seed])
    prompt, labels = _prompt(model, request), _labels(model, request, seeds)
    show(request.prompt)
    ids, guarded, shown = np.zeros(0, np.int32), np.zeros(0, np.int8), ""
    chunks = _chunks(model, request, prompt, labels, seeds, guard, speed or Speed())
    for tokens_1T, guarded_1T in chunks:
        ids = np.concatenate([ids, tokens_1T[0]])
        guarded = np.concatenate([guarded, guarded_1T[0]])
        # A character of several bytes may be half drawn: it decodes to U+FFFD until it is whole.
        text = model.codec.decode(ids).rstrip("\ufffd")
        show(text[len(shown) :])
        shown = text
    return _sample(model, request, ids, labels, 0, seed, guard, guarded)


def render(samples: list[Sample], out: str) -> str:
    """Samples as text: JSON lines for a .jsonl file, the bare texts for any other file, and for
    the screen (`out` empty) lines with their labels and marks."""
    if out.endswith(".jsonl"):
        lines = [json.dumps(dataclasses.asdict(s), ensure_ascii=False) for s in samples]
    elif any(sample.new is None for sample in samples):  # pieces of a stream, of many lines each
        lines = [line for sample in samples for line in (sample.text, "-" * 80)][:-1]
    elif out:
        lines = [sample.text for sample in samples]
    else:
        marks = {True: "new", False: "in training data"}
        lines = [f"{s.text:24s} {s.label or '':10s} {marks[s.new]}" for s in samples]
    return "\n".join(lines) + "\n"


def summary(samples: list[Sample], speed: Speed) -> str:
    """How many samples are new, what the guard did, and the speed of decoding."""
    parts = [f"{len(samples)} sample{'s' * (len(samples) > 1)}"]
    marked = [sample.new for sample in samples if sample.new is not None]
    if marked:
        parts.append(f"{sum(marked)} new ({sum(marked) / len(marked):.0%})")
    if samples[0].refused is not None:
        refused = sum(sample.refused for sample in samples)
        parts.append(f"copying refused {refused} time{'s' * (refused != 1)}")
        parts.append(f"{sum(sample.cut for sample in samples)} ended early")
    if speed.seconds:
        parts.append(f"{speed.tokens / speed.seconds:,.0f} tokens/s")
    return ", ".join(parts)


def _prompt(model: Model, request: Request) -> np.ndarray:
    filters.validate(request.sampling)
    return model.codec.encode_prompt(request.prompt)


def _labels(model: Model, request: Request, seeds: np.ndarray) -> np.ndarray | None:
    """The class of each sample [B], or None for a model without classes."""
    if request.sampling.beams and model.codec.labels and not request.label:
        raise UserError(f"beam search needs --label: one of {', '.join(model.codec.labels)}")
    return labels_of(model.codec, request.label, seeds)


def labels_of(codec: Any, label: str, seeds: np.ndarray) -> np.ndarray | None:
    """The class of each sample [B]: the label asked for, or else one by its seed, as often as in
    the training data; None for a model without classes. Raises UserError for an unknown label."""
    if label:
        return np.full(len(seeds), codec.label_id(label), np.int32)
    if not codec.labels:
        return None
    shares = np.asarray(codec.label_shares)
    draws = [np.random.default_rng(seed).choice(len(shares), p=shares) for seed in seeds]
    return np.array(draws, np.int32)


def _length(model: Model, request: Request) -> int:
    if request.length < 0:
        raise UserError(f"--length is {request.length}; choose 1 or more, or 0 for the default")
    return request.length or (model.length if model.codec.line else STREAM_LENGTH)


def _chunks(
    model, request, prompt, labels, seeds, guard, speed: Speed
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tokens [B, a few] and what the guard did to each, until the length is reached or every sample
    has ended."""
    length = _length(model, request)
    size = min(max(length // 4, 1), CHUNK)
    padded = -(-length // size) * size  # chunks of one size, so that one is compiled
    how = _How(model.family, model.cfg, request.sampling, model.codec.forbidden)
    prompts_BP = np.tile(prompt, (len(seeds), 1))
    state = _start(how, model.params, padded, prompts_BP, labels, seeds, guard)
    for first in range(0, length, size):
        began = time.perf_counter()
        state, tokens_BT = _advance(how, size, model.params, state, guard)
        tokens_BT = np.asarray(tokens_BT)
        if first:  # the first chunk's time is that of compiling
            speed.tokens += tokens_BT.size
            speed.seconds += time.perf_counter() - began
        guarded_BT = np.zeros_like(tokens_BT)
        if guard:  # copied, because the next chunk takes the state over
            guarded_BT = np.array(state.guarded)[:, len(prompt) + first :]
        kept = min(size, length - first)
        yield tokens_BT[:, :kept], guarded_BT[:, :kept]
        if state.done.all():
            return


@dataclasses.dataclass(frozen=True)
class _How:
    """All that is static in decoding: hashable, so that each is compiled once."""

    family: str
    cfg: config.Model
    sampling: filters.Sampling
    forbidden: tuple[int, ...]

    def next_logits(self, params: Params):
        return partial(models.get(self.family).next_logits, params, self.cfg)


@partial(jax.jit, static_argnums=(0, 2))
def _start(how: _How, params, length, prompt_BP, labels_B, seeds_B, guard):
    carry = models.get(how.family).init_carry(params, how.cfg, len(seeds_B), labels_B)
    return tokens.start(
        how.next_logits(params), carry, prompt_BP, None, seeds_B,
        length=length, settings=how.sampling, end=END, guard=guard,
    )  # fmt: skip


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _advance(how: _How, steps, params, state, guard):
    return tokens.advance(
        how.next_logits(params), state, steps,
        settings=how.sampling, end=END, forbidden=how.forbidden, guard=guard,
    )  # fmt: skip


def _search(model, request, prompt, labels, num: int) -> np.ndarray:
    """The `num` best continuations by beam search: tokens [num, T]."""
    settings = request.sampling
    if num > settings.beams:
        raise UserError(f"--num {num} asks for more than the {settings.beams} --beams hold")
    family = models.get(model.family)

    @jax.jit
    def search(params, prompt_1P):
        return beam.beam_search(
            partial(family.next_logits, params, model.cfg),
            family.init_carry(params, model.cfg, 1, labels),
            prompt_1P,
            None,
            beams=settings.beams,
            length=_length(model, request),
            length_penalty=settings.length_penalty,
            end=END,
            forbidden=model.codec.forbidden,
        )

    tokens_1KT, _, scores_1K = search(model.params, prompt[None])
    return np.asarray(tokens_1KT[0])[np.isfinite(scores_1K[0])][:num]


def _sample(model, request, ids, labels, row: int, seed: int, guard=None, guarded_T=None) -> Sample:
    text = request.prompt + model.codec.decode(ids)
    settings = {
        **dataclasses.asdict(request.sampling),
        "prompt": request.prompt,
        "length": _length(model, request),
        "max_copy": guard.longest if guard else 0,
        "checkpoint": model.step,
    }
    return Sample(
        text=text,
        seed=seed,
        label=None if labels is None else model.codec.labels[labels[row]],
        settings=settings,
        new=model.codec.is_new(text),
        refused=int(np.count_nonzero(guarded_T)) if guard else None,
        cut=bool((guarded_T == tokens.CUT).any()) if guard else None,
    )
