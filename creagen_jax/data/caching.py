"""What is made once from the user's data: kept in a folder that is complete or absent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from creagen_jax import rundir, usercache


def folder(cache: str | os.PathLike | None) -> Path:
    """The `cache` folder; $XDG_CACHE_HOME/creagen_jax or ~/.cache/creagen_jax unless given."""
    return Path(cache).expanduser() if cache else usercache.folder()


def make(place: Path, fill: Callable[[Path], None]) -> None:
    """Lets `fill` write into a folder that then becomes `place`, unless that is there already.

    Raises UserError if the disk refuses.
    """
    if place.is_dir():
        return
    with rundir.writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix="partial-") as parent:
            partial = Path(parent) / place.name
            partial.mkdir()
            fill(partial)
            try:
                partial.rename(place)
            except OSError:
                if not place.is_dir():  # else another process was faster
                    raise
