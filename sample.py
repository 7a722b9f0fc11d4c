"""Draw samples from a run: python sample.py RUN [--flags]."""

import sys
from pathlib import Path

from creagen_jax import cli, config, generation, output
from creagen_jax.types import UserError


def main(argv: list[str]) -> int:
    if not argv or argv[0].startswith("-"):
        if argv[:1] not in (["-h"], ["--help"]):
            raise UserError("no run given; usage: python sample.py RUN [--flags]")
        print("usage: python sample.py RUN [--flags]; RUN --help lists the flags of its family")
        return 0
    run = Path(argv[0])
    command = output.COMMANDS[generation.kind(run)]
    args = config.parse(command.Args(), argv[1:], prog="sample.py RUN", description=__doc__)
    model = generation.load(run, args.checkpoint, report=cli.warn)
    for line in command.run(run, model, args):
        cli.warn(line)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
