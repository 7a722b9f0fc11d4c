"""Judge creativity: python evaluate.py RUN [RUN ...] [--flags]."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from creagen_jax import cli, config, evaluation


@dataclasses.dataclass(frozen=True)
class Args:
    request: Annotated[config.Request, tyro.conf.arg(name="")]
    how: Annotated[evaluation.Config, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=evaluation.Config
    )


def main(argv: list[str]) -> int:
    count = next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))
    runs, flags = [Path(word) for word in argv[:count]], argv[count:]
    default = Args(evaluation.request_of(runs))
    args = config.parse(default, flags, prog="evaluate.py RUN", description=__doc__)
    for line in evaluation.run(runs, args.request, args.how, say=cli.warn):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
