"""What sketches cost beside the forward passes: python benchmarks/sketched_extraction.py [--images 192] [--runs 3] [--size 224]

A network of the size of a ResNet-18 with random weights is run on random images, bare and with `homolog.extract(..., sketch=512)`
of its stem and its eight blocks, in turn. Printed are, for batches of 16, 32 and 64, the medians of wall time and of processor
time, and what the extraction takes above the bare forwards: everything that it does, which includes the runs of a few examples
that prove that rows are examples. The figures of docs/sketching.md come from it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

import homolog as hl

WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.convolutions = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.shortcut = nn.Identity() if before == after else shortcut
        self.end = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output of the block."""
        return self.end(self.convolutions(x) + self.shortcut(x))


def network() -> nn.Sequential:
    """Return a stem, eight blocks and a head."""
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
    parts: list[tuple[str, nn.Module]] = [("stem", stem), ("pool", nn.MaxPool2d(3, 2, 1))]
    widths = [64, *[width for width in WIDTHS for _ in range(2)]]
    parts += [(f"block{i}", Block(*widths[i : i + 2])) for i in range(8)]
    parts.append(("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))))
    model = nn.Sequential()
    for name, part in parts:
        model.add_module(name, part)
    return model.eval()


LAYERS = ["stem", *[f"block{i}" for i in range(8)]]


def taken(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and processor time, in seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Print one line for every size of the batches."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 32, 16])
    asked = parser.parse_args()
    model, images = network(), torch.randn(asked.images, 3, asked.size, asked.size)

    def bare(size: int) -> None:
        with torch.inference_mode():
            for batch in images.split(size):
                model(batch)

    def sketched(size: int, columns: int | None) -> None:
        reduce = "mean" if columns is None else "flatten"
        hl.extract(model, images, layers=LAYERS, reduce=reduce, sketch=columns, batch_size=size, progress=False)

    bare(16)  # what is made once is made before anything is measured
    sketched(16, 512)
    print("| batches of | forwards, s | with sketches: wall | processor | with reduce=mean: processor |")
    print("|---|---|---|---|---|")
    for size in asked.batches:
        ratios = []
        for _ in range(asked.runs):
            floor, with_sketches, with_means = (
                taken(lambda: bare(size)),  # noqa: B023  called at once
                taken(lambda: sketched(size, 512)),  # noqa: B023
                taken(lambda: sketched(size, None)),  # noqa: B023
            )
            ratios.append(
                (floor[0], with_sketches[0] / floor[0], with_sketches[1] / floor[1], with_means[1] / floor[1])
            )
        wall, *above = (median(column) for column in zip(*ratios, strict=True))
        print(
            f"| {size} | {wall:.1f} | " + " | ".join(f"{100 * (ratio - 1):+.1f} %" for ratio in above) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
