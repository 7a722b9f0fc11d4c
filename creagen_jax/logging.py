"""What a run says and writes down: the screen, metrics.jsonl, TensorBoard events, samples/."""

from __future__ import annotations

import functools
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from creagen_jax import rundir

# tensorboardX imports PyTorch where it is installed, which takes seconds; nothing here needs it.
_hidden = sys.modules.setdefault("torch", None) is None
from tensorboardX.event_file_writer import EventsWriter  # noqa: E402
from tensorboardX.proto.event_pb2 import Event, SessionLog  # noqa: E402
from tensorboardX.proto.summary_pb2 import Summary  # noqa: E402

if _hidden:
    del sys.modules["torch"]


class Log:
    """The voice of a run; a context manager. Only the lead process speaks.

    Opened again after a crash, it first drops the lines of metrics.jsonl behind `step`, the step
    resumed from.
    """

    def __init__(
        self,
        run: Path,
        *,
        step: int,
        steps: int,
        size: int,
        unit: str,
        reference: Callable[[], dict[str, Any]],
        shortest: float,
        lead: bool,
    ):
        self.run, self.lead = run, lead
        self.reference = functools.cache(reference)  # asked for when it is first printed
        self.size, self.unit = size, unit  # what a batch holds, for the speed
        self.shortest = shortest  # seconds of a step at the peak of the devices; 0: not known
        self.logged = (step, 0.0)  # the step and the seconds of the last call of `train`
        # Without a terminal there is no bar, only the lines.
        self.bar = tqdm(
            total=steps, initial=step, unit="step", disable=None if lead else True, leave=False
        )
        if lead:
            path, part = run / "metrics.jsonl", run / "metrics.part"
            kept = [line for line in read(run) if line["step"] <= step]
            with rundir.writing(run):
                part.write_text("".join(json.dumps(line) + "\n" for line in kept))
                part.rename(path)
                self.file = path.open("a", buffering=1)
                (run / "tensorboard").mkdir(exist_ok=True)
                # Not tensorboardX's SummaryWriter: its thread dies of a full disk, and then the
                # run waits for it forever.
                self.events = EventsWriter(str(run / "tensorboard" / "events"))
                restart = SessionLog(status=SessionLog.START)
                self.events.write_event(Event(step=step + 1, session_log=restart))

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        if self.lead:
            with rundir.writing(self.run):
                self.file.close()
                self.events.close()

    def say(self, text: str) -> None:
        """A line on the screen, above the progress bar."""
        if self.lead:
            tqdm.write(text)
            sys.stdout.flush()  # a log file shows it at once

    def write(self, **line: Any) -> None:
        """A line of metrics.jsonl: `step`, `split`, and whatever numbers belong to them."""
        if self.lead:
            line = {key: _or_null(value) for key, value in line.items()}
            with rundir.writing(self.run):
                self.file.write(json.dumps(line) + "\n")
                self.events.write_event(_event(line))

    def train(self, step: int, loss: float, seconds: float, **metrics: float) -> None:
        """The mean training loss since the last call, and other metrics. Where the peak of the
        devices is known, their utilisation since then too, with all that came between (see
        `flops`); not of the first steps, which were compiled."""
        rate = self.size * step / seconds
        shown = f"loss {loss:.4f}, {rate:,.0f} {self.unit}/s"
        if self.shortest and self.logged[1]:
            steps, passed = step - self.logged[0], seconds - self.logged[1]
            metrics["mfu"] = self.shortest * steps / passed
            shown += f", MFU {metrics['mfu']:.0%}"
        self.logged = (step, seconds)
        self.bar.set_postfix_str(shown, refresh=False)
        self.bar.update(step - self.bar.n)
        self.write(step=step, split="train", loss=loss, **metrics, seconds=seconds)

    def scores(
        self, step: int, split: str, scores: dict[str, float], seconds: float, windows: str
    ) -> None:
        """Scores of a split over "some" of its windows, "all", or "sliding" ones."""
        if self.lead:
            line = f"step {step:6d}  {seconds:6.0f} s  {split}, {windows} windows: {units(scores)}"
            if split in (reference := self.reference()):
                line += f"   [{reference['name']}: {units(reference[split])}]"
            self.say(line)
        self.write(step=step, split=split, **scores, windows=windows, seconds=seconds)
        if self.lead:
            with rundir.writing(self.run):
                self.events.flush()

    def samples(self, step: int, suffix: str, content: bytes, shown: str) -> None:
        """Samples in RUN/samples/step_001000.SUFFIX, and those that can be shown on the screen."""
        if self.lead:
            folder = rundir.samples(self.run)
            with rundir.writing(self.run):
                folder.mkdir(exist_ok=True)
                (folder / f"step_{step:06d}{suffix}").write_bytes(content)
            if shown:
                self.say("\n".join(f"    {line}" for line in shown.splitlines()))


def units(scores: dict[str, float]) -> str:
    """The score to compare with others, and its unit."""
    if "nats_per_char" in scores:
        return f"{scores['nats_per_char']:.4f} nats/char"
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())


def read(run: Path) -> list[dict[str, Any]]:
    """The lines of RUN/metrics.jsonl; a last line cut short by a crash is left out."""
    path = run / "metrics.jsonl"
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def _event(line: dict[str, Any]) -> Event:
    """The numbers of a line, for TensorBoard."""
    values = [
        Summary.Value(tag=f"{line['split']}/{key}", simple_value=value)
        for key, value in line.items()
        if key != "step" and isinstance(value, (int, float))
    ]
    return Event(wall_time=time.time(), step=line["step"], summary=Summary(value=values))


def _or_null(value: Any) -> Any:
    """The value; None for the floats that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
