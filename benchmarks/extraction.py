"""Extraction beside the bare forwards: python benchmarks/extraction.py [--quick] [--network resnet] [--batch-size 32] …

A network of the size of ResNet-50 and one of the size of BERT-base, with random weights. In turn, in one process: the forwards
alone, under `torch.inference_mode`; `hl.extract` of all blocks with reduce="mean"; `hl.extract` of all blocks flattened, into a
store; and the same bytes written to the same disk by one plain loop, for the floor of the disk. Prints medians, the ratios to the
forwards of the whole run, and of a batch that is not tried (the first batches are, to prove that rows are examples), from the
second half of the run. With --cpu it is time of the processor, of all threads, instead of the clock's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import homolog as hl

TOKENS, VOCABULARY = 128, 30_522


class Bottleneck(nn.Module):
    """Three convolutions and a shortcut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, after, 1, bias=False), nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class ResNet50(nn.Module):
    """Sixteen blocks, 25 million weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        blocks, before = [], 64
        for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for number in range(count):
                blocks.append(Bottleneck(before, width, stride if number == 0 else 1))
                before = 4 * width
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(before, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the network."""
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Attention(nn.Module):
    """Twelve heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Attend to what is no padding."""
        heads = (part(x).unflatten(2, (12, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        found = functional.scaled_dot_product_attention(*heads, attn_mask=kept)
        return self.output(found.transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    """One block of BERT."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention, self.norms = Attention(width), nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        x = self.norms[0](x + self.attention(x, kept))
        return self.norms[1](x + self.outer(functional.gelu(self.inner(x))))


class Bert(nn.Module):
    """Twelve blocks, 109 million weights."""

    def __init__(self, width: int = 768) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, width), nn.Embedding(512, width)
        self.norm, self.blocks = nn.LayerNorm(width), nn.ModuleList(Encoder(width) for _ in range(12))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Run the network."""
        places = self.places(torch.arange(input_ids.shape[1], device=input_ids.device))
        x, kept = self.norm(self.words(input_ids) + places), attention_mask[:, None, None, :].bool()
        for block in self.blocks:
            x = block(x, kept)
        return x


def images(size: int, count: int, pixels: int) -> list[torch.Tensor]:
    """Return batches of images."""
    return [torch.randn(size, 3, pixels, pixels, generator=torch.Generator().manual_seed(i)) for i in range(count)]


def texts(size: int, count: int, padded: bool) -> list[dict[str, torch.Tensor]]:
    """Return batches of token ids with their masks; of unequal lengths where they are padded."""
    found = []
    for number in range(count):
        drawn = torch.Generator().manual_seed(number)
        ids = torch.randint(1000, VOCABULARY, (size, TOKENS), generator=drawn)
        lengths = torch.randint(TOKENS // 2, TOKENS + 1, (size, 1), generator=drawn) if padded else TOKENS
        mask = (torch.arange(TOKENS)[None] < lengths).expand(size, -1).long()
        found.append({"input_ids": ids * mask, "attention_mask": mask})
    return found


class Run:
    """Times of one run: the whole, and each batch."""

    def __init__(self, data: list[Any], clock: Callable[[], float]) -> None:
        self._data, self._clock, self.stamps = data, clock, list[float]()

    def batches(self) -> Iterator[Any]:
        """Yield the batches, and note when each is asked for."""
        for batch in self._data:
            self.stamps.append(self._clock())
            yield batch
        self.stamps.append(self._clock())

    def time(self, work: Callable[[Iterator[Any]], None]) -> tuple[float, float]:
        """Return the time of the whole, and the median of the batches of the second half that are not tried."""
        begun = self._clock()
        work(self.batches())
        whole = self._clock() - begun
        count = len(self._data)
        plain = [i for i in range(count // 2, count) if (i + 1) & i] or [count - 1]
        return whole, statistics.median(self.stamps[i + 1] - self.stamps[i] for i in plain)


def forwards(model: nn.Module, data: Iterator[Any]) -> None:
    """Run the model, and nothing else."""
    with torch.inference_mode():
        for batch in data:
            model(**batch) if isinstance(batch, dict) else model(batch)


def written(path: Path, sizes: list[int], count: int) -> None:
    """Write as many bytes as the store has, batch by batch, one file for each layer."""
    rows = [np.ones(size, np.uint8) for size in sizes]
    path.mkdir()
    for number in range(count):
        for layer, row in enumerate(rows):
            with open(path / f"{layer}-{number}", "wb", buffering=0) as file:
                file.write(row)


def measure(name: str, size: int, chosen: argparse.Namespace, folder: Path) -> None:
    """Print the rows of one network and batch size."""
    torch.manual_seed(0)
    model = (ResNet50() if name == "resnet" else Bert()).eval()
    count, repeats = chosen.batches, chosen.repeats
    if chosen.quick:
        count, repeats = (10, 3) if name == "resnet" else (4, 2)
    data = images(size, count, chosen.pixels) if name == "resnet" else texts(size, count, chosen.padded)
    flat = data if name == "resnet" else texts(size, count, padded=False)  # flattened padding is refused
    clock = time.process_time if chosen.cpu else time.perf_counter
    store, plain = folder / "flat.zarr", folder / "plain"

    def extracted(batches: Iterator[Any], **kept: Any) -> None:
        hl.extract(model, batches, layers="blocks.*", progress=False, **kept)

    works: dict[str, tuple[list[Any], Callable[[Iterator[Any]], None]]] = {
        "forwards": (data, lambda batches: forwards(model, batches)),
        "mean": (data, lambda batches: extracted(batches, reduce="mean")),
        "store": (flat, lambda batches: extracted(batches, out=store)),
    }
    works = {kind: work for kind, work in works.items() if kind in ("forwards", *chosen.kinds)}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in [*works, "disk"]}
    for repeat in range(repeats + 1):
        for kind, (batches, work) in works.items():
            found[kind].append(Run(batches, clock).time(work))
            if kind == "store":
                sizes = [x.nbytes // count for x in hl.open(store).values()]
                shutil.rmtree(store)
                begun = clock()
                written(plain, sizes, count)
                found["disk"].append((clock() - begun, 0.0))
                shutil.rmtree(plain)
        if repeat == 0:  # warmed up
            found = {kind: [] for kind in found}
    shape = f"{chosen.pixels} px" if name == "resnet" else f"{TOKENS} tokens"
    print(f"\n{name}, {count} batches of {size}, {shape}: medians of {repeats}")
    for kind, times in found.items():
        if times:
            whole, batch = (
                statistics.median(one[i] / base[i] for one, base in zip(times, found["forwards"], strict=True))
                for i in (0, 1)
            )
            second = statistics.median(one[0] for one in times)
            print(f"  {kind:9} {second:8.2f} s   {whole:.3f} × forwards   a plain batch {batch:.3f} ×", flush=True)


def main() -> None:
    """Measure what is chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under three minutes: batches of 32, few of them")
    parser.add_argument("--cpu", action="store_true", help="time of the processor instead of the clock's")
    parser.add_argument("--network", nargs="+", default=["resnet", "bert"], choices=["resnet", "bert"])
    parser.add_argument("--batch-size", nargs="+", type=int, default=[32, 64])
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--pixels", type=int, default=112)
    parser.add_argument("--padded", action="store_true", help="texts of unequal lengths for mean")
    parser.add_argument("--kinds", nargs="+", default=["mean", "store"], choices=["mean", "store"])
    parser.add_argument("--folder", help="where the stores are written")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.batch_size = [32]
    warnings.simplefilter("ignore", hl.HomologWarning)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        for name in chosen.network:
            for size in chosen.batch_size:
                measure(name, size, chosen, Path(folder))


if __name__ == "__main__":
    main()
