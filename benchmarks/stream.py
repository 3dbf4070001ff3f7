"""Two networks in one pass: python benchmarks/stream.py [--quick] [--cpu] [--network resnet18] [--batches 16] [--rounds 9]

`hl.compare_models` and pytorch-cka take the same batches, blocks and estimator of two networks with random weights: a small
convolutional network, networks of the size of ResNet-18 and ResNet-50 on images of 32 × 32, and a transformer like BERT; all
blocks flattened. In turn, in one process, with the bare forwards of both networks. Prints the median seconds, the medians of
ratios within a round, and the largest error of both beside the same estimator in float64. Blocks have offsets as ReLU makes them;
the last line adds one of 1,000 standard deviations.

--quick takes less than three minutes on two cores. --cpu counts time of the processor with one thread, for machines that do other
work meanwhile. homolog also tries part of the first, second, fourth … batch, to prove that rows are examples: of few batches
that is more of the time.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from cka import compute_cka
from torch import nn

import homolog as hl

DEBIASED = "cka(estimator=debiased)"


class Block(nn.Module):
    """Two convolutions, or three of which the middle one is narrow, and a shortcut."""

    def __init__(self, before: int, width: int, stride: int, *, narrow: bool) -> None:
        super().__init__()
        after = 4 * width if narrow else width
        sizes = (
            [(before, width, 1), (width, width, 3), (width, after, 1)]
            if narrow
            else [(before, width, 3), (width, width, 3)]
        )
        at = 1 if narrow else 0  # the convolution that strides
        parts: list[nn.Module] = []
        for number, (first, last, side) in enumerate(sizes):
            step = stride if number == at else 1
            parts += [nn.Conv2d(first, last, side, step, side // 2, bias=False), nn.BatchNorm2d(last), nn.ReLU()]
        self.body = nn.Sequential(*parts[:-1])
        plain = stride == 1 and before == after
        self.shortcut = nn.Identity() if plain else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        return torch.relu(self.body(x) + self.shortcut(x))


def residual(counts: tuple[int, ...], *, narrow: bool) -> nn.Module:
    """Return a residual network for images of 32 × 32."""
    layers: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())]
    before = 64
    for stage, count in enumerate(counts):
        width = 64 * 2**stage
        for number in range(count):
            layers.append(Block(before, width, 2 if stage and not number else 1, narrow=narrow))
            before = 4 * width if narrow else width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)).eval()


def convolutional() -> nn.Module:
    """Return four convolutions with halving maps."""
    parts: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 128), (128, 256)):
        parts.append(nn.Sequential(nn.Conv2d(before, after, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)))
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(1024, 10)).eval()


def transformer() -> nn.Module:
    """Return twelve blocks of BERT-base, of embedded tokens."""
    blocks = [nn.TransformerEncoderLayer(768, 12, 3072, 0.0, "gelu", batch_first=True) for _ in range(12)]
    return nn.Sequential(*blocks).eval()


class Case(NamedTuple):
    """What is compared."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    """Of one example."""
    blocks: int
    first: int
    """Number of the module that is the first block."""
    size: int
    """Examples of a batch."""
    quick: int
    """Batches, if that is to be short."""


CASES = {
    "convnet": Case(convolutional, (3, 32, 32), 4, 0, 128, 48),
    "resnet18": Case(lambda: residual((2, 2, 2, 2), narrow=False), (3, 32, 32), 8, 1, 128, 3),
    "resnet50": Case(lambda: residual((3, 4, 6, 3), narrow=True), (3, 32, 32), 16, 1, 64, 0),
    "transformer": Case(transformer, (64, 768), 12, 0, 32, 0),
}


class Batches:
    """Batches that can be read again, and are no list, which pytorch-cka takes for several data sets."""

    def __init__(self, count: int, case: Case) -> None:
        self._batches = [torch.randn(case.size, *case.shape) for _ in range(count)]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self._batches)


def bare(a: nn.Module, b: nn.Module, batches: Batches) -> None:
    """Run both networks and nothing else."""
    with torch.no_grad():
        for x in batches:
            a(x)
            b(x)


def in_float64(a: nn.Module, b: nn.Module, x: torch.Tensor, names: list[str]) -> np.ndarray:
    """Return debiased CKA of one batch by its definition, of the features that float32 gives."""

    def centred(model: nn.Module) -> torch.Tensor:
        found: dict[str, torch.Tensor] = {}
        hooks = [
            model.get_submodule(name).register_forward_hook(
                lambda _, __, out, name=name: found.__setitem__(name, out.flatten(1).double())
            )
            for name in names
        ]
        with torch.no_grad():
            model(x)
        for hook in hooks:
            hook.remove()
        grams = torch.stack([(y - y.mean(0)) @ (y - y.mean(0)).T for y in found.values()])
        n = len(x)
        grams = grams * (1 - torch.eye(n, dtype=torch.float64))
        sums = grams.sum(1)
        grams = grams - sums[:, None] / (n - 2) - sums[:, :, None] / (n - 2)
        grams = grams + (sums.sum(1) / ((n - 1) * (n - 2)))[:, None, None]
        return (grams * (1 - torch.eye(n, dtype=torch.float64))).flatten(1)

    first, second = centred(a), centred(b)
    return ((first @ second.T) / first.norm(dim=1)[:, None] / second.norm(dim=1)).numpy()


class Shifted(nn.Module):
    """A network all of whose features have an offset."""

    def __init__(self, network: nn.Module, offset: float) -> None:
        super().__init__()
        self.network, self.offset = network, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features far from 0."""
        return self.network(x) + self.offset


def measure(name: str, count: int, rounds: int, *, cpu: bool) -> None:
    """Print the figures of one pair of networks."""
    case, clock = CASES[name], time.process_time if cpu else time.perf_counter
    torch.manual_seed(0)
    a, b, batches = case.make(), case.make(), Batches(count, case)
    names = [str(number) for number in range(case.first, case.first + case.blocks)]

    def ours(data: Batches) -> np.ndarray:
        return hl.compare_models(a, b, data, layers_a=names, layers_b=names, progress=False)[DEBIASED].values

    def theirs(data: Batches) -> np.ndarray:
        return compute_cka(a, b, data, layers=names, progress=False)[0].numpy()

    calls = {
        "forwards": lambda: bare(a, b, batches),
        "homolog": lambda: ours(batches),
        "pytorch-cka": lambda: theirs(batches),
    }
    times: dict[str, list[float]] = {key: [] for key in calls}
    order = np.random.default_rng(0)
    for number in range(rounds + 1):
        for key in order.permutation(list(calls)):
            start = clock()
            calls[key]()
            if number:  # the first round warms up
                times[key].append(clock() - start)
    one = Batches(1, case)
    exact = in_float64(a, b, next(iter(one)), names)
    print(f"\n{name}: two networks, {case.blocks} blocks each, {count} batches of {case.size}")
    for key, some in times.items():
        ratios = np.array(some) / np.array(times["forwards"])
        print(
            f"{key}: {np.median(some):.2f} s, {np.median(ratios):.3f} × the forwards ({ratios.min():.3f} to {ratios.max():.3f})"
        )
    ratios = np.array(times["homolog"]) / np.array(times["pytorch-cka"])
    print(f"homolog / pytorch-cka: {np.median(ratios):.3f} ({ratios.min():.3f} to {ratios.max():.3f})")
    # pytorch-cka cuts values off at 0 and 1.
    errors = [np.abs(ours(one) - exact).max(), np.abs(theirs(one) - exact.clip(0, 1)).max()]
    print(f"largest error beside float64: homolog {errors[0]:.0e}, pytorch-cka {errors[1]:.0e}", flush=True)


def offset_errors() -> str:
    """Return the errors at a mean offset of 1,000 standard deviations."""
    torch.manual_seed(0)
    a, b = (nn.Sequential(Shifted(nn.Linear(64, 100), 600.0)) for _ in range(2))
    data = Batches(1, CASES["convnet"]._replace(shape=(64,)))
    exact = in_float64(a, b, next(iter(data)), ["0"])
    ours = hl.compare_models(a, b, data, layers_a="0", layers_b="0", progress=False)[DEBIASED].values
    theirs = compute_cka(a, b, data, layers=["0"], progress=False)[0].numpy()
    return f"homolog {np.abs(ours - exact).max():.0e}, pytorch-cka {np.abs(theirs - exact.clip(0, 1)).max():.0e}"


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description="Two networks in one pass.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="time of the processor, with one thread")
    parser.add_argument("--network", choices=CASES)
    parser.add_argument("--batches", type=int)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    if given.cpu:
        torch.set_num_threads(1)
    for name, case in CASES.items():
        count = given.batches or (case.quick if given.quick else 16)
        if count and given.network in (None, name):
            measure(name, count, given.rounds, cpu=given.cpu)
    print(f"\nerror at an offset of 1,000: {offset_errors()}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
