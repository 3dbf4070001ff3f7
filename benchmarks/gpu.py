"""Comparisons and extraction on a GPU: python benchmarks/gpu.py [--device cuda] [--small] [--out table.md]

All pairs of 2 × 18 layers, two networks of the size of ResNet-50 compared in one pass, and extraction, each beside what the
device does at best, measured in the same run, beside pytorch-cka where that is installed, and every value beside float64 on the
processor. Prints tables in Markdown with the name of the card. It takes less than eight minutes, no network, and nothing but
PyTorch, NumPy, SciPy, xarray and array-api-compat: from a checkout, PYTHONPATH=src python benchmarks/gpu.py.

With --device cpu tensors take the way of a GPU on the processor; --small takes less than a minute there.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import platform
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def stand_in_for_missing() -> None:
    """Let what only the processor's threads and progress bars need be missing."""
    parts = {
        "threadpoolctl": {"threadpool_limits": lambda *_, **__: contextlib.nullcontext()},
        **{key: {"tqdm": NoBar} for key in ("tqdm", "tqdm.std", "tqdm.auto")},
    }
    missing = [name for name in parts if importlib.util.find_spec(name.partition(".")[0]) is None]
    for name in missing:
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(parts[name])
        sys.modules[name] = module


class NoBar:
    """What is shown of no progress."""

    def __init__(self, items: Any = (), **_: Any) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __enter__(self) -> NoBar:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def update(self, count: float = 1) -> None:
        """Show nothing."""


stand_in_for_missing()

import homolog as hl  # noqa: E402
from homolog import devices  # noqa: E402
from homolog.blocks.budget import DEVICE_COLUMNS, DEVICE_ROWS  # noqa: E402
from homolog.blocks.device_tiles import products_of_tiles  # noqa: E402
from homolog.blocks.scan import Panels  # noqa: E402

DEBIASED = "cka(estimator=debiased)"


class Size(NamedTuple):
    """How much is measured."""

    n: int
    widths: tuple[int, ...]
    """Of the 18 layers of a model."""
    product: int
    """Side of the matrices whose product says what the device does at best."""
    channels: int
    image: int
    batch: int
    batches: int
    checked: int
    """Images of a batch of which values are computed in float64, too."""
    rounds: int


FULL = Size(4096, (1024, 2048, 4096) * 6, 8192, 64, 224, 128, 6, 32, 7)
SMALL = Size(1100, (16, 48, 96) * 6, 512, 4, 32, 16, 3, 8, 2)


class Clock:
    """Seconds that calls take, the device being done with all of them."""

    def __init__(self, device: torch.device, rounds: int) -> None:
        self.device, self.rounds = device, rounds

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def medians(self, calls: dict[str, Callable[[], Any]]) -> tuple[dict[str, float], dict[str, Any]]:
        """Return the median seconds of calls, in turn, after one round that warms up, and what the last ones returned."""
        times: dict[str, list[float]] = {name: [] for name in calls}
        found: dict[str, Any] = {}
        for number in range(self.rounds + 1):
            for name, call in calls.items():
                found.pop(name, None)  # its memory first
                self.wait()
                start = time.perf_counter()
                found[name] = call()
                self.wait()
                if number:
                    times[name].append(time.perf_counter() - start)
        return {name: float(np.median(some)) for name, some in times.items()}, found


def rate(clock: Clock, side: int) -> float:
    """Return the floating-point operations per second of a product of two float32 matrices, in float32."""
    x, y = (torch.randn(side, side, device=clock.device) for _ in range(2))
    with devices.exact_products():
        seconds, _ = clock.medians({"product": lambda: x @ y})
    return 2 * side**3 / seconds["product"]


def layers(size: Size, device: torch.device, seed: int) -> dict[str, torch.Tensor]:
    """Return layers that have much in common, and an offset."""
    shared = torch.randn(size.n, 64, generator=torch.Generator().manual_seed(0))
    own = torch.Generator().manual_seed(seed)
    found = {}
    for number, width in enumerate(size.widths):
        noise = torch.randn(size.n, width, generator=own) * (1 + number / 4)
        found[f"layer {number}"] = (shared @ torch.randn(64, width, generator=own) / 4 + noise + 0.5).to(device)
    return found


def u_centred(x: np.ndarray) -> np.ndarray:
    """Return the U-centred Gram matrix of a layer, in float64."""
    x = x.astype(float)
    x -= x.mean(axis=0)
    gram, n = x @ x.T, len(x)
    np.fill_diagonal(gram, 0.0)
    rows = gram.sum(axis=1)
    gram -= (rows[:, None] + rows[None, :]) / (n - 2) - rows.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(gram, 0.0)
    return gram


def inner_products(xs: Sequence[np.ndarray], ys: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ⟨K, L⟩, ⟨K, K⟩ and ⟨L, L⟩ of all layers, in float64 and by the definition."""
    others = [u_centred(y) for y in ys]
    cross, own = np.empty((len(xs), len(ys))), np.empty(len(xs))
    for i, x in enumerate(xs):
        gram = u_centred(x)
        own[i] = np.vdot(gram, gram)
        cross[i] = [np.vdot(gram, other) for other in others]
    return cross, own, np.array([np.vdot(other, other) for other in others])


def plain(xs: Sequence[torch.Tensor], ys: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return debiased CKA as a few plain lines have it: whole Gram matrices of all layers, side by side in float32."""
    grams = torch.stack([x @ x.T for x in (*xs, *ys)])
    n = grams.shape[1]
    grams.diagonal(dim1=1, dim2=2).zero_()
    rows = grams.sum(2)
    grams -= (rows[:, :, None] + rows[:, None, :]) / (n - 2)
    grams += (rows.sum(1) / ((n - 1) * (n - 2)))[:, None, None]
    grams.diagonal(dim1=1, dim2=2).zero_()
    flat = grams.flatten(1)
    inner = flat @ flat.T
    own = inner.diagonal().sqrt()
    return (inner / own[:, None] / own[None, :])[: len(xs), len(xs) :]


def all_pairs(size: Size, clock: Clock, best: float) -> list[tuple[str, ...]]:
    """Compare all pairs of 2 × 18 layers."""
    a, b = layers(size, clock.device, 1), layers(size, clock.device, 2)
    both, n = [*a.values(), *b.values()], size.n
    panels = Panels(n, n, min(n, DEVICE_ROWS), min(n, DEVICE_COLUMNS))
    calls: dict[str, Callable[[], Any]] = {
        "homolog, the tiles alone": lambda: _walked(both, panels),
        "homolog, hl.compare": lambda: hl.compare(a, b, measures=DEBIASED, progress=False)[DEBIASED].values,
        "plain lines": lambda: plain(list(a.values()), list(b.values())),
    }
    if (peer := pytorch_cka()) is not None:
        calls["pytorch-cka"] = lambda: peer.cka_from_features(list(a.values()), list(b.values()))
    seconds, found = clock.medians(calls)
    cross, own, other = inner_products(*([x.cpu().numpy() for x in side.values()] for side in (a, b)))
    exact = cross / np.sqrt(own[:, None] * other[None, :])
    floor = n**2 * sum(x.shape[1] for x in both) / best
    rows = [("floor", f"{1e3 * floor:.1f}", "1.00", "", "")]
    for name, taken in seconds.items():
        values = None if "tiles" in name else np.asarray(torch.as_tensor(found[name]).cpu())
        error = "" if values is None else f"{np.abs(values - exact).max():.0e}"
        beside = f"{seconds['pytorch-cka'] / taken:.2f}" if "pytorch-cka" in seconds else ""
        rows.append((name, f"{1e3 * taken:.1f}", f"{taken / floor:.2f}", beside, error))
    return rows


def _walked(features: Sequence[torch.Tensor], panels: Panels) -> np.ndarray:
    with devices.exact_products():
        return products_of_tiles(features, panels, lambda share: None)


def pytorch_cka() -> Any:
    """Return pytorch-cka, where it is installed."""
    try:
        import cka
    except ImportError:
        return None
    return cka if hasattr(cka, "compute_cka") else None


class Bottleneck(nn.Module):
    """Three convolutions and a shortcut."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.path = nn.Sequential(
            *_convolution(before, width, 1, 1), nn.ReLU(), *_convolution(width, width, 3, stride), nn.ReLU()
        )
        self.last = nn.Sequential(*_convolution(width, after, 1, 1))
        plain_shortcut = stride == 1 and before == after
        self.shortcut = nn.Identity() if plain_shortcut else nn.Sequential(*_convolution(before, after, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block."""
        return torch.relu(self.last(self.path(x)) + self.shortcut(x))


def _convolution(before: int, after: int, kernel: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after)]


def network(channels: int, seed: int) -> tuple[nn.Module, list[str]]:
    """Return a network, of 64 channels one of the size of ResNet-50, and the names of its stem, its 16 blocks and its head."""
    torch.manual_seed(seed)
    stem = nn.Sequential(*_convolution(3, channels, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    blocks, before = [], channels
    for stage, count in enumerate((3, 4, 6, 3)):
        width = channels * 2**stage
        for number in range(count):
            blocks.append(Bottleneck(before, width, 2 if stage and not number else 1))
            before = 4 * width
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 1000))
    model = nn.Sequential(stem, *blocks, head).eval()
    return model, [str(number) for number in range(len(model))]


def two_models(size: Size, clock: Clock, images: torch.Tensor) -> list[tuple[str, ...]]:
    """Compare two networks while they run."""
    (a, names), (b, _) = (network(size.channels, seed) for seed in (1, 2))
    a, b = a.to(clock.device), b.to(clock.device)
    batches = DataLoader(TensorDataset(images), batch_size=size.batch)

    def forwards() -> None:
        with torch.no_grad():
            for (x,) in batches:
                there = x.to(clock.device)
                a(there), b(there)

    calls: dict[str, Callable[[], Any]] = {
        "both forwards": forwards,
        "homolog, hl.compare_models": lambda: _compared(a, b, batches, names),
    }
    if (peer := pytorch_cka()) is not None:
        calls["pytorch-cka"] = lambda: peer.compute_cka(
            a, b, batches, layers=names, device=clock.device, progress=False
        )
    seconds, _ = clock.medians(calls)
    error = checked_models(size, a, b, names, images)
    rows = []
    for name, taken in seconds.items():
        beside = f"{seconds['pytorch-cka'] / taken:.2f}" if "pytorch-cka" in seconds else ""
        ours = f"{error:.0e}" if name.startswith("homolog") else ""
        rows.append((name, f"{1e3 * taken:.0f}", f"{taken / seconds['both forwards']:.2f}", beside, ours))
    return rows


def _compared(a: nn.Module, b: nn.Module, batches: Any, names: list[str]) -> np.ndarray:
    found = hl.compare_models(a, b, batches, layers_a=names, layers_b=names, progress=False)
    values: np.ndarray = found[DEBIASED].values
    return values


def checked_models(size: Size, a: nn.Module, b: nn.Module, names: list[str], images: torch.Tensor) -> float:
    """Return the largest difference of a value from that of float64, the networks running without TF32."""
    batches = [images[start : start + size.checked] for start in (0, size.checked)]
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        with devices.exact_products():
            values = _compared(a, b, batches, names)
    finally:
        torch.backends.cudnn.allow_tf32 = before
    total: list[Any] = [0.0, 0.0, 0.0]
    for batch in batches:
        sides = [outputs(model.cpu().double(), batch.double()) for model in (a, b)]
        total = [sum_ + new for sum_, new in zip(total, inner_products(*sides), strict=True)]
    cross, own, other = total
    return float(np.abs(values - cross / np.sqrt(own[:, None] * other[None, :])).max())


def outputs(model: nn.Module, x: torch.Tensor) -> list[np.ndarray]:
    """Return what the parts of a network put out for a batch, one after the other, flattened."""
    found = []
    with torch.no_grad():
        for part in model:  # type: ignore[attr-defined]
            x = part(x)
            found.append(x.flatten(1).numpy())
    return found


def extraction(size: Size, clock: Clock, images: torch.Tensor) -> list[tuple[str, ...]]:
    """Extract all blocks of one network."""
    model, names = network(size.channels, 1)
    model.to(clock.device)

    def forwards() -> None:
        with torch.no_grad():
            for start in range(0, len(images), size.batch):
                model(images[start : start + size.batch].to(clock.device))

    def extracted(**options: Any) -> Callable[[], Any]:
        return lambda: hl.extract(model, images, layers=names, batch_size=size.batch, progress=False, **options)

    calls: dict[str, Callable[[], Any]] = {
        "forwards": forwards,
        "mean, on the host": extracted(reduce="mean"),
        "mean, on the device": extracted(reduce="mean", keep="device"),
        "flattened, on the host": extracted(memory="1TB"),
        "flattened, on the device": extracted(keep="device"),
    }
    seconds, found = clock.medians(calls)
    for host, device in (("mean, on the host", "mean, on the device"),):
        for name, x in found[host].items():
            np.testing.assert_allclose(found[device][name].cpu().numpy(), x, rtol=1e-3, atol=1e-3)
    return [
        (name, f"{len(images) / taken:.0f}", f"{taken / seconds['forwards']:.2f}") for name, taken in seconds.items()
    ]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def name_of(device: torch.device) -> str:
    """Return what a device is called."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"the processor ({platform.machine()}), which takes the way of a GPU"


def measured(size: Size, device: torch.device) -> Iterator[str]:
    """Yield the parts of the page, as they are measured."""
    clock = Clock(device, size.rounds)
    best = rate(clock, size.product)
    yield (
        f"Measured on {name_of(device)}, PyTorch {torch.__version__}. A product of two float32 matrices of {size.product} × "
        f"{size.product}, without TF32: {best / 1e12:.3g} TFLOP/s. Medians of {size.rounds} rounds."
    )
    peer = "speed beside pytorch-cka"
    yield (
        f"All pairs of debiased CKA, 2 × {len(size.widths)} layers, n = {size.n}, widths {min(size.widths)} to "
        f"{max(size.widths)}, float32. The floor is n²·Σp operations at the rate above.\n\n"
        + table(("", "ms", "× floor", peer, "largest error"), all_pairs(size, clock, best))
    )
    count = size.batch * size.batches
    images = torch.randn(count, 3, size.image, size.image, generator=torch.Generator().manual_seed(0))
    yield (
        f"Two networks of the shape of ResNet-50, {count} images of {size.image} × {size.image} on the host in batches of "
        f"{size.batch}, 18 layers each.\n\n"
        + table(("", "ms", "× the forwards", peer, "largest error"), two_models(size, clock, images))
    )
    yield (
        "Extraction of all 18 layers of one of them.\n\n"
        + table(("", "images a second", "× the forwards"), extraction(size, clock, images))
    )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    device, start, parts = torch.device(asked.device), time.perf_counter(), []
    if device.type == "cpu":
        devices.HOST.discard("cpu")
    for part in measured(SMALL if asked.small else FULL, device):
        print(part, end="\n\n", flush=True)
        parts.append(part)
    print(f"in all {time.perf_counter() - start:.0f} s")
    if asked.out is not None:
        asked.out.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
