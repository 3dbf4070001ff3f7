"""Layers whose rows take something from other examples of the batch are never recorded, whatever they take and from where."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import homolog as hl
from homolog.extraction.trial_examples import ORDER_OF_TWO, reordered, repeated_examples, trial_orders, tried_examples


def halves(x):
    return torch.cat([*reversed(x.chunk(2))])


def interleaved(x):
    return x.reshape(2, len(x) // 2, -1).transpose(0, 1).reshape(len(x), -1)


def neighbours(x):
    even = len(x) - len(x) % 2
    return torch.cat([x[:even].reshape(-1, 2, x.shape[1]).flip(1).reshape(even, -1), x[even:]])


MIXERS = {
    "flip": lambda x: x.flip(0),
    "roll": lambda x: x.roll(1, 0),
    "roll back": lambda x: x.roll(-1, 0),
    "roll by half": lambda x: x.roll(len(x) // 2, 0),
    "neighbours": neighbours,
    "pairs": lambda x: x.reshape(-1, 2, x.shape[1]).flip(1).reshape(x.shape),
    "halves": halves,
    "interleaved": interleaved,
    "sum": lambda x: x.cumsum(0),
    "mean": lambda x: x - x.mean(0),
    "sort": lambda x: x.sort(0).values,
    "first": lambda x: x - x[:1],
    "last": lambda x: x - x[-1:],
    "mixed with the reverse": lambda x: 0.7 * x + 0.3 * x.flip(0),
}
EVEN = ("pairs", "interleaved")


class Mixer(nn.Module):
    def __init__(self, how, size=None):
        super().__init__()
        self.how, self.size = how, size

    def forward(self, x):
        assert self.size in (None, len(x)), "batches of one size only"
        return self.how(x)


def model(how, size=None):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 5), Mixer(how, size))


def takes(how, size, fixed=False, batches=1):
    """Whether a default extraction holds the mixer; the layer before it is always there."""
    data = torch.randn(batches, size, 3, generator=torch.Generator().manual_seed(size))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = hl.extract(model(how, size if fixed else None), list(data), layers=["0", "*"])
    assert "0" in found
    assert ("1" in found) or "left out" in str(caught[0].message)
    return "1" in found


@pytest.mark.parametrize("fixed", [False, True], ids=["any size", "one size"])
@pytest.mark.parametrize("name", MIXERS)
def test_what_mixes_examples_is_left_out(name, fixed):
    for size in range(2, 10):
        if (name in EVEN and size % 2) or (name == "interleaved" and size == 2):  # which is no mixing
            continue
        assert not takes(MIXERS[name], size, fixed=fixed), size
    assert not takes(MIXERS[name], 4, fixed=fixed, batches=3)


@pytest.mark.parametrize("name", MIXERS)
def test_what_mixes_examples_is_refused_by_name(name):
    with pytest.raises(ValueError, match="layer '1' must have the examples along its first axis"):
        hl.extract(model(MIXERS[name]), torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), layers="1")


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        x = x.reshape(len(x), 3, 4)
        return self.attention(x, x, x, need_weights=False)[0]


PLAIN = {
    "dense": lambda: nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2)),
    "batch norm": lambda: nn.Sequential(nn.Linear(12, 5), nn.BatchNorm1d(5)),
    "attention": Attends,
}


@pytest.mark.parametrize("fixed", [False, True], ids=["any size", "one size"])
@pytest.mark.parametrize("name", PLAIN)
def test_what_follows_the_examples_is_taken(name, fixed):
    torch.manual_seed(0)
    for size in range(1, 10):
        plain = PLAIN[name]()
        held = nn.Sequential(Mixer(lambda x: x, size if fixed and size > 1 else None), plain) if fixed else plain
        data = torch.randn(4 * size, 12, generator=torch.Generator().manual_seed(size))
        found = hl.extract(held, list(data.split(size)))
        assert found.n == 4 * size


def test_orders_hold_what_is_looked_at():
    for size in range(2, 40):
        for order in trial_orders(size):
            assert len(order) != size
            assert set(order) <= set(range(size))
        assert set(tried_examples(size)) <= set(trial_orders(size)[0])
        assert sorted(reordered(size)) == list(range(size))
        assert len(repeated_examples(size)) == size
    assert set(ORDER_OF_TWO) == set(tried_examples(2))


class Patches(nn.Module):
    """A layer that runs once for every example, or every few of them, on its patches."""

    def __init__(self, step=1):
        super().__init__()
        self.layer, self.step = nn.Linear(48, 2), step

    def forward(self, x):
        def patches(images):
            return nn.functional.unfold(images, 4, stride=4).transpose(1, 2).reshape(-1, 48)

        parts = [self.layer(patches(some)).reshape(len(some), -1, 2).mean(1) for some in x.split(self.step)]
        return torch.cat(parts)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("size", range(1, 10))
def test_what_runs_more_often_with_more_examples_is_left_out(size, step):
    if size <= step:
        step = 1
    # Patches as many as the batch has examples.
    x = torch.randn(size, 3, 4, 4 * size, generator=torch.Generator().manual_seed(0))
    if step == 2:
        x = x[..., : 4 * -(-size // 2)]
    with pytest.warns(hl.ExtractionWarning, match="left out"):
        found = hl.extract(Patches(step), [x, x + 1], layers=["layer*", "output"])
    assert list(found) == ["output"]


def test_what_runs_more_often_is_refused_by_name():
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with pytest.warns(hl.ExtractionWarning, match="layer#4 .it runs 4 times with 4 examples and 3 times with 3"):
        assert list(hl.extract(Patches(), [x], layers=["layer*", "output"])) == ["output"]
    with pytest.raises(
        ValueError, match=r"layer 'layer#4' must have the examples along its first axis.* it runs 4 times"
    ):
        hl.extract(Patches(), [x], layers=["layer#4"])


class Steps(nn.Module):
    """Runs a cell as often as the longest sequence of the batch is long; zeros are padding."""

    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(3, 3)

    def forward(self, x):
        length = int((x != 0).any(2).sum(1).max())
        state = torch.zeros(len(x), 3)
        for step in range(length):
            state = self.cell(state + x[:, step])
        return state


def test_steps_as_many_as_the_longest_sequence_are_taken():
    x = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0))
    for i, length in enumerate([3, 2, 5, 1, 2, 2]):
        x[i, length:] = 0
    found = hl.extract(Steps(), [x], layers="cell*", reduce="flatten")
    assert list(found) == ["cell", "cell#2", "cell#3", "cell#4", "cell#5"]


class Mapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.layer = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return torch.vmap(self.layer)(self.first(x)) + torch.func.vmap(lambda row: self.layer(row))(self.first(x))


def test_layers_inside_vmap_are_left_out():
    x = torch.randn(6, 3)
    with pytest.warns(hl.ExtractionWarning, match=r"left out.*layer \(it runs inside torch.func or torch.vmap"):
        found = hl.extract(Mapped(), x, layers=["first", "layer*", "output"])
    assert list(found) == ["first", "first#2", "output"]
    with pytest.raises(ValueError, match="layer 'layer' must put out one tensor for all examples"):
        hl.extract(Mapped(), x, layers=["layer"])
