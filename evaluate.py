"""Judge creativity: python evaluate.py RUN [RUN ...] [--flags]."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from creagen_jax import cli, config, evaluation, generation


@dataclasses.dataclass(frozen=True)
class Args:
    request: Annotated[generation.Request, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=generation.Request
    )
    how: Annotated[evaluation.Config, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=evaluation.Config
    )


def main(argv: list[str]) -> int:
    count = next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))
    runs, flags = [Path(word) for word in argv[:count]], argv[count:]
    args = config.parse(Args(), flags, prog="evaluate.py RUN", description=__doc__)
    prompt = cli.text_argument(args.request.prompt)
    request = dataclasses.replace(args.request, prompt=prompt)
    for line in evaluation.run(runs, request, args.how, say=cli.warn):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
