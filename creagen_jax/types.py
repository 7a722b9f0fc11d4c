"""The vocabulary of the house: what data, models, samplers and the loop say to one another."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import optax

Params = Any  # a pytree of arrays
Batch = dict[str, jax.Array]  # see `Spec` for the entries


ENTRIES = {"x", "mask", "condition", "reset", "source", "augment"}  # of a batch, to a model


class UserError(Exception):
    """A user's mistake: one line that names the thing, the reason and the choices. Exit code 2."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a model must know of the data, and nothing else. Static and hashable.

    A batch of token data holds
        x          [B, T+1] int32   tokens; the model predicts x[:, 1:] from what precedes each
        mask       [B, T] float32   1 where the prediction of x[:, t+1] counts, 0 at padding
        condition  [B] int32        the class label, if `classes` > 0
        reset      [B] bool         True where row b does not continue row b of the step before,
                                    if `streams` > 0
        source     [B, S] int32     the tokens to generate from, if `source` > 0: s1 .. sn END, then
                                    END up to S; those up to the first END count, and if there are
                                    none before it there is no source
    A batch of array data (pictures, say) holds
        x          [B, *shape] float32   values in -1 .. 1
        condition  [B] int32             the class label, if `classes` > 0
        augment    [B, A] float32        what augmentation did to each row, if `augment` > 0: zeros
                                         mean nothing, and stand for it when samples are drawn
        mask       [B] float32           in evaluation: 0 for the rows that only pad the batch
    """

    vocab: int = 0  # V: token ids are 0 .. V-1; 0 for data that is not tokens
    length: int = 0  # T: predictions in one window
    classes: int = 0  # C: labels are 0 .. C-1; 0 means unconditional
    streams: int = 0  # B, if row b of each batch continues row b of the batch before; else 0
    shape: tuple[int, ...] = ()  # of one example, for data that is arrays
    augment: int = 0  # A: numbers that say how an example was augmented
    source: int = 0  # S: tokens of a source, its END included; 0: no source
    source_vocab: int = 0  # token ids of sources are 0 .. source_vocab-1


@flax.struct.dataclass
class TrainState:
    """All that training carries from one step to the next. A pytree.

    A family makes `params`, `opt_state` and `carry`; the loop keeps the other entries.
    """

    params: Params  # what prediction needs
    opt_state: Any  # what only training needs: the optimizer's moments, a Markov chain's counts
    carry: Any = None  # recurrent state handed to the next window, if Spec.streams > 0
    ema: Params = None  # exponential moving average of params; None if not kept
    step: jax.Array | int = 0  # [] int32: batches seen
    skipped: jax.Array | int = 0  # [] int32: updates left out because they were not finite
    skipped_in_row: jax.Array | int = 0  # [] int32: those since the last sound one

    @classmethod
    def create(cls, params: Params, tx: optax.GradientTransformation, carry=None) -> TrainState:
        """The state of a family trained by gradients, before its first step."""
        return cls(params=params, opt_state=tx.init(params), carry=carry)

    @property
    def eval_params(self) -> Params:
        """The parameters to evaluate and sample with: the average where one is kept."""
        return self.params if self.ema is None else self.ema
