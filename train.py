"""Train a model: python train.py CONFIG [--flags]. Without a CONFIG, lists them."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from creagen_jax import cli, config, parallel, training
from creagen_jax.types import UserError

CONFIGS = Path(__file__).parent / "configs"


@dataclasses.dataclass(frozen=True)
class Args:
    experiment: Annotated[config.Experiment, tyro.conf.arg(name="")]
    run: Path
    """Run directory; a run that is there goes on."""
    stop_at: int = 0
    """Save and stop behind this step, leaving the schedules as they are; 0: go to the end."""
    smoke: bool = False
    """The config's twin of seconds."""
    dry_run: bool = False
    """Only print the configuration, sizes, and a measured estimate of the time."""
    overwrite: bool = False
    """Remove the run that is there, and start anew."""
    distributed: str = ""
    """One of several processes: auto (Slurm, MPI, TPU pod), or ADDRESS:PORT,PROCESSES,INDEX."""


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python train.py CONFIG [--flags]; CONFIG --help lists its flags. Configs:")
        for name, line in config.available(CONFIGS).items():
            print(f"  {name:24s}{line}")
        return 0
    name, *flags = argv
    if name.startswith("-"):
        raise UserError(f"{name} comes before a config; usage: python train.py CONFIG [--flags]")
    experiment = config.load(name, CONFIGS, smoke="--smoke" in flags)
    default = Args(experiment, run=Path("runs") / Path(name).stem)
    args = config.parse(default, flags, prog=f"train.py {name}", description=__doc__)
    config.check(args.experiment)
    parallel.join(args.distributed)
    return training.train(
        args.experiment,
        args.run,
        stop_at=args.stop_at,
        overwrite=args.overwrite,
        dry_run=args.dry_run,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
