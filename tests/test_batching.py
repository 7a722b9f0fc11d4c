import itertools
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creagen_jax.data import batching

SMALL = st.integers(1, 40)


@given(count=SMALL, size=SMALL, seed=st.integers(0, 5))
def test_shuffled_epochs_hold_each_example_once(count, size, seed):
    steps = -(-3 * count // size)
    order = np.concatenate(
        [batching.shuffled(count, seed=seed, step=step, size=size) for step in range(steps)]
    )
    for epoch in order[: 3 * count].reshape(3, count):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(count))


def test_epochs_and_seeds_differ():
    orders = [batching.shuffled(50, seed=s, step=t, size=50) for s in (0, 1) for t in (0, 1)]
    assert all((a != b).any() for a, b in itertools.combinations(orders, 2))


@given(count=SMALL, size=SMALL)
def test_in_order_passes_hold_each_example_once(count, size):
    steps = -(-count // size)
    rounds = [batching.in_order(count, step=step, size=size) for step in range(2 * steps)]
    for part in (rounds[:steps], rounds[steps:]):
        np.testing.assert_array_equal(np.concatenate(part), np.arange(count))


@given(count=SMALL, limit=st.none() | st.integers(1, 60))
def test_spaced_is_a_rising_subset(count, limit):
    index = batching.spaced(count, limit)
    assert len(index) == (count if limit is None else min(limit, count))
    assert (np.diff(index) > 0).all() and index.min() == 0 and index.max() < count


@given(
    length=st.integers(1, 8),
    size=st.integers(2, 5),
    spare=st.integers(0, 200),
    seed=st.integers(0, 3),
)
def test_cursors_walk_on_inside_their_own_part(length, size, spare, seed):
    predictions = length * size + spare
    part = predictions // size
    before = None
    for step in range(60):
        start_B, reset = batching.cursor_starts(
            predictions, length, seed=seed, step=step, size=size
        )
        low = np.arange(size) * part
        assert (low <= start_B).all() and (start_B + length <= low + part).all()
        assert reset or (start_B == before + length).all()
        assert reset == (step == 0) or step > 0
        before = start_B


def test_padding_adds_rows_of_zeros():
    batch = batching.pad({"x": np.ones((2, 3)), "label": np.ones(2, np.int32)}, 4)
    np.testing.assert_array_equal(batch["x"].sum(1), [3, 3, 0, 0])
    np.testing.assert_array_equal(batch["label"], [1, 1, 0, 0])
    assert batch["label"].dtype == np.int32


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_prefetch_keeps_the_order_and_ends_its_thread():
    items = batching.prefetch(lambda step: step**2, start=3)
    assert list(itertools.islice(items, 5)) == [9, 16, 25, 36, 49]
    items.close()
    assert not prefetch_threads()


def test_prefetch_works_ahead_but_only_depth():
    made = []
    items = batching.prefetch(made.append, start=0, depth=3)
    next(items)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3]
    items.close()


def test_prefetch_raises_in_turn_and_ends_its_thread():
    items = batching.prefetch(lambda step: 1 / (2 - step), start=0, depth=5)
    assert [next(items), next(items)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(items)
    assert not prefetch_threads()
