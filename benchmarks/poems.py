"""Poems from held-out first lines: are their lines as long as the first, and are they new?

python -m benchmarks.poems RUN --temperature 0.7
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from creagen_jax import cli, data, generation, pairing
from creagen_jax.sampling import filters
from creagen_jax.types import UserError


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--num", type=int, default=500, help="first lines")
    parser.add_argument("--shown", type=int, default=10, help="poems, at random")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    model, pairs = generation.load(args.run), data.get("pairs")
    if not generation.reads_source(model.codec):
        raise UserError(f"{args.run} reads no first lines; give a run of poem_seq2seq")
    dataset = generation.training_data(args.run)
    first = pairing.questions("pairs", dataset, args.num).sources
    known = [*pairs.sources(dataset, "train"), *pairs.texts(dataset, "train")]
    request = generation.Request(
        source=first, sampling=filters.Sampling(temperature=args.temperature)
    )
    samples = generation.draw(model, request, num=1, seed=args.seed)
    lines = [poem.text.split("\n") for poem in samples]
    seen = {_bare(line) for text in known for line in text.split("\n")}
    drawn = [line for poem in lines for line in poem]
    shaped = [_shaped(poem.source, each) for poem, each in zip(samples, lines, strict=True)]
    whole = "\n".join(known)
    spans = [_longest(poem.text, whole) for poem in samples]
    print(
        f"{len(samples)} poems: {sum(shaped) / len(samples):.3f} have three lines as long as the "
        f"first, {sum(_bare(line) in seen for line in drawn) / len(drawn):.4f} of the lines stand "
        f"in the training poems, longest copied span {sorted(spans)[len(spans) // 2]} characters "
        f"in the median poem, {max(spans)} in the worst"
    )
    for i in sorted(random.Random(args.seed).sample(range(len(samples)), args.shown)):
        print(f"{samples[i].source} {' '.join(lines[i])}   {spans[i]}")
    return 0


def _bare(line: str) -> str:
    return re.sub(r"\W+$", "", line)


def _shaped(first: str, lines: Sequence[str]) -> bool:
    return [len(_bare(line)) for line in lines] == [len(_bare(first))] * 3


def _longest(text: str, known: str) -> int:
    """Characters of the longest part of a text that the known one holds."""
    longest = 0
    for start in range(len(text)):
        while start + longest < len(text) and text[start : start + longest + 1] in known:
            longest += 1
    return longest


if __name__ == "__main__":
    sys.exit(cli.run(main))
