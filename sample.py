"""Draw samples from a run: python sample.py RUN [--flags]."""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Annotated

import tyro

from creagen_jax import cli, config, generation
from creagen_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class Args:
    request: Annotated[generation.Request, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=generation.Request
    )
    num: int = 1
    """Samples to draw; one alone is shown while it is drawn."""
    seed: int = 0
    """Seed of the first sample; the next ones take the next seeds."""
    max_copy: int = 0
    """The most tokens in a row that may be copied from the training data; 0 is off."""
    checkpoint: str = "best"
    """best (by validation loss), last, or a step."""
    out: str = ""
    """File to write to: .jsonl holds all about each sample; others hold the text."""


def main(argv: list[str]) -> int:
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        raise UserError("no run given; usage: python sample.py RUN [--flags]; --help lists them")
    flags = argv if argv[0].startswith("-") else argv[1:]
    args = config.parse(Args(), flags, prog="sample.py RUN", description=__doc__)
    request = dataclasses.replace(args.request, prompt=cli.text_argument(args.request.prompt))
    model = generation.load(Path(argv[0]), args.checkpoint, report=cli.warn)
    guard = None
    if args.max_copy:
        guard = generation.load_guard(Path(argv[0]), args.max_copy, report=cli.warn)
    speed = generation.Speed()
    how = {"seed": args.seed, "guard": guard, "speed": speed}
    if args.num == 1 and not args.out and not request.sampling.beams:
        show = functools.partial(print, end="", flush=True)
        samples = [generation.stream(model, request, show=show, **how)]
        print()
    else:
        samples = generation.draw(model, request, num=args.num, **how)
        cli.write(generation.render(samples, args.out), args.out)
    cli.warn(generation.summary(samples, speed))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
