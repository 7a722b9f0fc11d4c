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
from creagen_jax.data.tokenizers import END, utf8
from creagen_jax.sampling import (
    avoiding,
    beam,
    copying,
    filters,
    grammar,
    guidance,
    matching,
    requiring,
    tokens,
)
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
    source: tuple[str, ...] = ()
    """Texts to start from, for families that read a source; @FILE reads one a line."""
    length: int = 0
    """Tokens to draw at most; 0: a line as long as in training, or 500 tokens of a stream."""
    avoid: tuple[str, ...] = ()
    """Texts that no sample contains, not even inside a word, in capitals or not; @FILE, a line."""
    must: tuple[str, ...] = ()
    """Texts that every sample contains; the model chooses the places. @FILE reads one a line."""
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

    text: Any  # or what else the data hold, as their codec decodes it: of sound, a wave
    seed: int
    source: str | None  # what it was drawn from; None for a family that reads no source
    label: str | None
    settings: dict[str, Any]
    new: bool | None  # not a line of the training data; None where the data has no lines
    refused: int | None  # how often the guard against copying stepped in; None without it
    cut: bool | None  # whether it left no token, so that the sample ended; None without it
    score: float | None = None  # by which beam search ranks it, in nats; None if drawn by chance
    given: int = 0  # characters of the text that are the prompt's

    def about(self) -> dict[str, str]:
        """Text fields for a file of it alone: its settings as JSON, its seed, its label."""
        settings = json.dumps(self.settings, ensure_ascii=False)
        label = {} if self.label is None else {"label": self.label}
        return {"creagen_jax": settings, "seed": str(self.seed), **label}


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

    A family that reads a source draws `num` from each, in their order, and the seeds run through
    all of them. With beams, the `num` best of one search (from each source) instead. With a guard,
    no sample copies more tokens in a row than it allows. Raises UserError for an unknown label, an
    unseen character in the prompt, a source where none is read, or seeds and settings out of range.
    """
    if num < 1:
        raise UserError(f"--num is {num}; choose 1 or more")
    plan = _plan(model, request)
    if request.sampling.beams:
        if guard:
            raise UserError("beam search ignores max_copy; set one of the two")
        config.check_seed(seed)
        return _search(model, plan, num, seed)
    count = num * len(plan.sources or [""])
    config.check_seed(seed, count)
    drawn = []
    size = min(count, BATCH)  # the last batch repeats its last sample, but compiles nothing new
    for first in range(0, count, size):
        number = np.minimum(first + np.arange(size), count - 1)
        rows = _rows(model, plan, number // num, seed + number)
        chunks = _chunks(model, plan, rows, guard, speed or Speed())
        tokens_BT, guarded_BT = (np.concatenate(parts, 1) for parts in zip(*chunks, strict=True))
        drawn += [
            _sample(model, plan, rows, row, ids, guard, guarded_BT[row])
            for row, ids in enumerate(tokens_BT)
        ]
    return drawn[:count]


def stream(
    model: Model,
    request: Request,
    *,
    seed: int,
    show: Callable[[str], None],
    guard: copying.Guard | None = None,
    speed: Speed | None = None,
) -> Sample:
    """One sample, the first that `draw` makes; `show` gets its text in pieces as it is drawn."""
    config.check_seed(seed)
    plan = _plan(model, request)
    rows = _rows(model, plan, np.zeros(1, int), np.array([seed]))
    ids, guarded = np.zeros(0, np.int32), np.zeros(0, np.int8)
    show(shown := plan.text(model, ids))
    for tokens_1T, guarded_1T in _chunks(model, plan, rows, guard, speed or Speed()):
        ids = np.concatenate([ids, tokens_1T[0]])
        guarded = np.concatenate([guarded, guarded_1T[0]])
        # A character of several bytes may be half drawn: it decodes to U+FFFD until it is whole.
        text = plan.text(model, ids).rstrip("\ufffd")
        show(text[len(shown) :])
        shown = text
    return _sample(model, plan, rows, 0, ids, guard, guarded)


def render(samples: list[Sample], out: str) -> str:
    """Samples as text: JSON lines for a .jsonl file, source and text for a .tsv one, the bare texts
    for any other file, and for the screen (`out` empty) lines with what they were drawn from, or
    their labels and marks.

    Line breaks within a text are " / " in a .tsv file and on the screen; in a file of bare texts
    they stay, and a blank line stands between the texts.
    """
    between = "\n"
    if out.endswith(".jsonl"):
        parts = [json.dumps(dataclasses.asdict(s), ensure_ascii=False) for s in samples]
    elif out.endswith(".tsv") and samples[0].source is not None:
        parts = [f"{_one_line(s.source)}\t{_one_line(s.text)}" for s in samples]
    elif any(sample.new is None for sample in samples):  # pieces of a stream, of many lines each
        parts, between = [sample.text for sample in samples], f"\n{'-' * 80}\n"
    elif out:
        parts = [sample.text for sample in samples]
        between = "\n\n" if any("\n" in text for text in parts) else "\n"
    elif samples[0].source is not None:
        parts = [brief(sample) for sample in samples]
    else:
        marks = {True: "new", False: "in training data"}
        parts = [f"{s.text:24s} {s.label or '':10s} {marks[s.new]}" for s in samples]
    return between.join(parts) + "\n"


def brief(sample: Sample) -> str:
    """The text of a sample; if it was drawn from a source, one line of that and the text."""
    if sample.source is None:
        return sample.text
    return f"{_one_line(sample.source)}\t-> {_one_line(sample.text)}"


def _one_line(text: str) -> str:
    return " / ".join(text.split("\n"))


def summary(samples: list[Sample], speed: Speed) -> str:
    """How many samples are new, what the guard did, and the speed of decoding."""
    parts = [f"{len(samples)} sample{'s' * (len(samples) > 1)}"]
    marked = [sample.new for sample in samples if sample.new is not None]
    if marked and samples[0].source is None:  # a right answer may well have been seen
        parts.append(f"{sum(marked)} new ({sum(marked) / len(marked):.0%})")
    if samples[0].refused is not None:
        refused = sum(sample.refused for sample in samples)
        parts.append(f"copying refused {refused} time{'s' * (refused != 1)}")
        parts.append(f"{sum(sample.cut for sample in samples)} ended early")
    if speed.seconds:
        parts.append(f"{speed.tokens / speed.seconds:,.0f} tokens/s")
    return ", ".join(parts)


# --- what is asked for ---------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A request that was found to fit the model."""

    request: Request
    prompt: np.ndarray  # [P] int32, with the token that stands before all text
    given: np.ndarray  # int32, its tokens that are text
    sources: tuple[str, ...] | None
    length: int  # tokens to draw at most
    avoided: matching.Matcher | None
    required: requiring.Required | None

    def text(self, model: Model, ids: np.ndarray) -> str:
        """The prompt and what was drawn after it."""
        return model.codec.decode(np.concatenate([self.given, ids]))


@dataclasses.dataclass(frozen=True)
class _Rows:
    """The samples of one batch: what differs between them."""

    seeds: np.ndarray  # [B]
    labels: np.ndarray | None  # [B] int32
    sources: tuple[str, ...] | None  # [B]
    condition: Any  # the labels and the sources, as the model is told them


def _plan(model: Model, request: Request) -> _Plan:
    filters.validate(request.sampling)
    _check_guidance(model, request.sampling.guidance)
    prompt = model.codec.encode_prompt(request.prompt)
    given = prompt[int(model.codec.line or not request.prompt) :]
    length = _length(model, request, len(prompt) - 1)
    avoided, required = _constraints(model, request, length)
    return _Plan(
        request=request,
        prompt=prompt,
        given=given,
        sources=sources_of(model.codec, request),
        length=length,
        avoided=avoided,
        required=required,
    )


def _constraints(model: Model, request: Request, length: int):
    """What decoding wants of the texts to avoid and of those required; None where there are none.

    Raises UserError for texts that are empty, cannot be spelt, contradict each other or do not fit.
    """
    if not (request.avoid or request.must):
        return None, None
    if not writes_text(model.codec):
        raise UserError("--avoid and --must are for models that write text")
    tokenizer, avoided, required = model.codec.tokenizer, None, None
    joiner = tokenizer.joiner
    avoid, must = ([utf8(text) for text in texts] for texts in (request.avoid, request.must))
    if joiner:  # of such a text, all space between two words is one joiner
        avoid, must = ([joiner.join(text.split()) for text in texts] for texts in (avoid, must))
    if avoid:
        avoided = avoiding.build(tokenizer.pieces, avoid, joiner=joiner)
        avoiding.check(avoid, must)
    if must:
        required = requiring.build(tokenizer.pieces, request.must, tokenizer.encode, joiner=joiner)
        requiring.check(required, length, request.sampling.beams)
    return avoided, required


def _check_guidance(model: Model, scale: float) -> None:
    """Raises UserError for guidance of a model that cannot write without its condition."""
    if scale == 1:
        return
    asked, condition = f"--guidance {scale:g}", "source" if reads_source(model.codec) else "label"
    if condition == "label" and not model.codec.labels:
        raise UserError(f"{asked} needs a model with labels; this one has none: leave it at 1")
    share = f"{condition}_dropout"
    if not hasattr(model.cfg, share):
        raise UserError(f"{asked}: a {model.family} cannot be guided; leave it at 1")
    if not getattr(model.cfg, share):
        raise UserError(
            f"{asked} needs a model that was also trained without its {condition}: leave it at 1, "
            f"or train with --model.{share} 0.1"
        )


def writes_text(codec: Any) -> bool:
    """Whether samples are text; else they are files of their own."""
    return not hasattr(codec, "suffix")


def reads_source(codec: Any) -> bool:
    """Whether a model of this data is told a source."""
    return hasattr(codec, "encode_source")


def sources_of(codec: Any, request: Request) -> tuple[str, ...] | None:
    """The sources asked for, or else examples that the data keep; None for a model without.

    Raises UserError for a source where none is read, or an empty one.
    """
    if not reads_source(codec):
        if request.source:
            raise UserError("--source is for models of pairs; this one reads none: use --prompt")
        return None
    for number, source in enumerate(request.source, 1):
        if not source.strip():
            raise UserError(f"source {number} of {len(request.source)} is empty")
    return request.source or codec.examples


def _length(model: Model, request: Request, given: int) -> int:
    """Tokens to draw after a prompt of `given` tokens."""
    if request.length < 0:
        raise UserError(f"--length is {request.length}; choose 1 or more, or 0 for the default")
    if not reads_source(model.codec):
        return request.length or (model.length if model.codec.line else STREAM_LENGTH)
    room = model.length - given  # such a model knows no text longer than those it was trained on
    if room < 1:
        raise UserError(f"--prompt has {given} tokens; this model writes {model.length} in all")
    if request.length > room:
        raise UserError(f"--length is {request.length}; choose 1 to {room}, or 0 for the default")
    return request.length or room


def _rows(model: Model, plan: _Plan, source: np.ndarray, seeds: np.ndarray) -> _Rows:
    """The samples of these seeds, from the sources of these numbers, where sources are read."""
    labels, sources, encoded = _labels(model, plan.request, seeds), None, None
    if plan.sources is not None:
        sources = tuple(plan.sources[number] for number in source)
        encoded = np.stack([model.codec.encode_source(text) for text in sources])
    return _Rows(seeds, labels, sources, told(labels, encoded))


def told(label_B: Any, source_BS: Any) -> Any:
    """The condition that `init_carry` takes: of labels alone, or None, for a family that reads no
    source."""
    return label_B if source_BS is None else {"source": source_BS, "label": label_B}


def untold(condition: Any) -> Any:
    """The condition that withholds all that this one tells."""
    if isinstance(condition, dict):
        return told(untold(condition["label"]), jnp.full_like(condition["source"], END))
    return None if condition is None else jnp.full_like(condition, -1)


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


# --- decoding ------------------------------------------------------------------------------------


def _chunks(
    model: Model, plan: _Plan, rows: _Rows, guard, speed: Speed
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tokens [B, a few] and what the guard did to each, until the length is reached or every sample
    has ended."""
    size = min(max(plan.length // 4, 1), CHUNK)
    padded = -(-plan.length // size) * size  # chunks of one size, so that one is compiled
    how = _how(model, plan)
    prompts_BP = np.tile(plan.prompt, (len(rows.seeds), 1))
    given = prompts_BP, rows.condition, rows.seeds, guard, plan.avoided
    if plan.required:  # drawn several times over, so that nothing is known before the end
        found = _require(how, plan.length, model.params, *given, plan.required)
        tokens_BT, guarded_BT, lacking_BK = map(np.asarray, found)
        _check_found(plan.request, rows.seeds, lacking_BK)
        yield tokens_BT, guarded_BT
        return
    state = _start(how, model.params, padded, *given)
    for first in range(0, plan.length, size):
        began = time.perf_counter()
        state, tokens_BT = _advance(how, size, model.params, state, guard, plan.avoided)
        tokens_BT = np.asarray(tokens_BT)
        if first:  # the first chunk's time is that of compiling
            speed.tokens += tokens_BT.size
            speed.seconds += time.perf_counter() - began
        guarded_BT = np.zeros_like(tokens_BT)
        if guard:  # copied, because the next chunk takes the state over
            guarded_BT = np.array(state.guarded)[:, len(plan.prompt) + first :]
        kept = min(size, plan.length - first)
        yield tokens_BT[:, :kept], guarded_BT[:, :kept]
        if state.done.all():
            return


def _check_found(request: Request, seeds: np.ndarray, lacking_BK: np.ndarray) -> None:
    """Raises UserError if a required text has found no place in a sample."""
    for seed, lacking_K in zip(seeds, lacking_BK, strict=True):
        if lacking_K.any():
            avoiding_too = ", or none without a text to avoid" if request.avoid else ""
            raise UserError(
                f"--must {request.must[lacking_K.argmax()]!r} finds no place in the sample of seed "
                f"{seed}: the model gives it no chance{avoiding_too}; choose another text, a "
                "greater --length or another --seed"
            )


@dataclasses.dataclass(frozen=True)
class _How:
    """All that is static in decoding: hashable, so that each is compiled once."""

    family: str
    cfg: config.Model
    sampling: filters.Sampling
    forbidden: tuple[int, ...]
    grammar: Any = None

    def next_logits(self, params: Params):
        plain = partial(models.get(self.family).next_logits, params, self.cfg)
        guided = guidance.guided(plain, self.sampling.guidance)
        return grammar.lawful(guided, self.grammar.follows()) if self.grammar else guided

    def init_carry(self, params: Params, n: int, condition: Any):
        plain = partial(models.get(self.family).init_carry, params, self.cfg, n)
        return guidance.start(plain, condition, untold(condition), self.sampling.guidance)


def _how(model: Model, plan: _Plan) -> _How:
    codec, sampling = model.codec, plan.request.sampling
    return _How(model.family, model.cfg, sampling, codec.forbidden, getattr(codec, "grammar", None))


@partial(jax.jit, static_argnums=(0, 2))
def _start(how: _How, params, length, prompt_BP, condition, seeds_B, guard, avoided):
    return tokens.start(
        how.next_logits(params), how.init_carry(params, len(seeds_B), condition),
        prompt_BP, None, seeds_B,
        length=length, settings=how.sampling, end=END, guard=guard, avoided=avoided,
    )  # fmt: skip


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _advance(how: _How, steps, params, state, guard, avoided):
    return tokens.advance(
        how.next_logits(params), state, steps,
        settings=how.sampling, end=END, forbidden=how.forbidden, guard=guard, avoided=avoided,
    )  # fmt: skip


@partial(jax.jit, static_argnums=(0, 1))
def _require(how: _How, length, params, prompt_BP, condition, seeds_B, guard, avoided, required):
    return requiring.require(
        how.next_logits(params), how.init_carry(params, len(seeds_B), condition),
        prompt_BP, None, seeds_B, required,
        length=length, settings=how.sampling, end=END, forbidden=how.forbidden,
        guard=guard, avoided=avoided,
    )  # fmt: skip


def _search(model: Model, plan: _Plan, num: int, seed: int) -> list[Sample]:
    """The `num` best by beam search, from each source if sources are read."""
    beams, how, found = plan.request.sampling.beams, _how(model, plan), []
    if num > beams:
        raise UserError(f"--num {num} asks for more than the {beams} --beams hold")
    count = len(plan.sources or [""])
    size = min(count, max(BATCH // beams, 1))
    for first in range(0, count, size):
        number = np.minimum(first + np.arange(size), count - 1)
        rows = _rows(model, plan, number, np.full(size, seed))
        prompts_BP = np.tile(plan.prompt, (size, 1))
        best = _best(how, plan.length, model.params, prompts_BP, rows.condition, plan.avoided)
        tokens_BKT, scores_BK = map(np.asarray, best)
        if not np.isfinite(scores_BK[:, 0]).all():
            raise UserError("beam search finds no text without those to avoid; raise --beams")
        found += [
            dataclasses.replace(_sample(model, plan, rows, row, ids), score=float(score))
            for row in range(min(size, count - first))
            for ids, score in zip(tokens_BKT[row, :num], scores_BK[row, :num], strict=True)
            if np.isfinite(score)
        ]
    return found


@partial(jax.jit, static_argnums=(0, 1))
def _best(how: _How, length: int, params, prompt_BP, condition, avoided):
    """Tokens [B, beams, length] and their scores [B, beams], best first."""
    tokens_BKT, _, scores_BK = beam.beam_search(
        how.next_logits(params),
        how.init_carry(params, len(prompt_BP), condition),
        prompt_BP,
        None,
        beams=how.sampling.beams,
        length=length,
        length_penalty=how.sampling.length_penalty,
        end=END,
        forbidden=how.forbidden,
        avoided=avoided,
    )
    return tokens_BKT, scores_BK


def _sample(
    model: Model, plan: _Plan, rows: _Rows, row: int, ids, guard=None, guarded_T=None
) -> Sample:
    text = plan.text(model, ids)
    settings = {
        **dataclasses.asdict(plan.request.sampling),
        "prompt": plan.request.prompt,
        "length": plan.length,
        "avoid": list(plan.request.avoid),
        "must": list(plan.request.must),
        "max_copy": guard.longest if guard else 0,
        "checkpoint": model.step,
    }
    return Sample(
        text=text,
        given=len(plan.text(model, ids[:0])),
        seed=int(rows.seeds[row]),
        source=None if rows.sources is None else rows.sources[row],
        label=None if rows.labels is None else model.codec.labels[rows.labels[row]],
        settings=settings,
        new=model.codec.is_new(text),
        refused=int(np.count_nonzero(guarded_T)) if guard else None,
        cut=bool((guarded_T == tokens.CUT).any()) if guard else None,
    )
