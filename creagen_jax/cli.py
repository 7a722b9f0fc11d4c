"""What the commands at the top level share: how they begin and end."""

import contextlib
import ctypes
import itertools
import os
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from creagen_jax import usercache
from creagen_jax.types import UserError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8  # of glibc's malloc.h


def run(main: Callable[[list[str]], int]) -> int:
    """main(argv) as a command. Exit codes: 0 done, 2 a user's mistake in one line, 130 Ctrl-C;
    a bug keeps its traceback."""
    try:
        keep_memory()
        usercache.keep_programs()
        return main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `sample.py ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def keep_memory() -> None:
    """Memory that was freed stays with the process, where that is glibc's to decide.

    It gives large pieces back at once, and XLA frees the room of a program behind each call: the
    next call would touch new pages only, which takes up to a quarter of its time on a CPU. Where
    there may be an accelerator nothing is done: compiling for a GPU, by many threads at once, all
    but stands still with one arena.
    """
    if not only_cpu():
        return
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another system, another libc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 2**26)
        mallopt(M_ARENA_MAX, 1)


def only_cpu() -> bool:
    """True if JAX cannot or shall not find an accelerator; no device is touched to tell."""
    asked = os.environ.get("JAX_PLATFORMS")
    return (
        asked == "cpu" if asked else not (entry_points(group="jax_plugins") or find_spec("libtpu"))
    )


def warn(text: str) -> None:
    """A line beside the output proper: standard output stays clean for a pipe."""
    print(text, file=sys.stderr)


def write(text: str, out: str) -> None:
    """Text to a file, or to standard output if none is named. Raises UserError."""
    if not out:
        sys.stdout.write(text)
        return
    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from None


def text_argument(value: str) -> str:
    """The text of a flag; @FILE stands for the text in a file, without the newline that closes it.

    Raises UserError.
    """
    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8").removesuffix("\n")
    except OSError as error:
        raise UserError(f"cannot read {value[1:]}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{value[1:]} is not UTF-8: byte {error.start}") from None


def lines_argument(values: tuple[str, ...]) -> tuple[str, ...]:
    """The texts of a flag that takes several; @FILE stands for those in a file, one a line, without
    empty lines at its end.

    Raises UserError.
    """

    def lines(value: str) -> list[str]:
        return text_argument(value).rstrip("\n").split("\n") if value[:1] == "@" else [value]

    return tuple(itertools.chain.from_iterable(map(lines, values)))
