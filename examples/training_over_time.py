"""When does each layer take its final form? Twelve checkpoints of a convolutional network on Fashion-MNIST.

    pip install "homolog[torch,plot]"
    apt-get install dataset-fashion-mnist
    python examples/training_over_time.py [folder for the picture]

About a minute and a half on two cores.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch
from torch import nn

import homolog as hl

DATA = Path("/usr/share/datasets/fashion-mnist")
STEPS, BATCH, COMPARED = 1024, 64, 500
MEASURE = "cka(estimator=debiased)"
WIDTHS = (16, 16, 32, 32, 64, 64)  # channels of the blocks; every other one halves the picture


def fashion(part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Read pictures of clothes and what they show: "train" or "t10k"."""
    if not DATA.exists():
        raise SystemExit(f"{DATA} is missing: apt-get install dataset-fashion-mnist")
    images, labels = (
        np.frombuffer(gzip.decompress((DATA / f"{part}-{name}-ubyte.gz").read_bytes()), np.uint8, offset=offset)
        for name, offset in (("images-idx3", 16), ("labels-idx1", 8))
    )
    return torch.tensor(images / 255, dtype=torch.float32).reshape(-1, 1, 28, 28), torch.tensor(
        labels, dtype=torch.long
    )


def build() -> nn.Module:
    """Return the network with random weights: six blocks of a convolution, and a linear layer."""
    model, channels = nn.Sequential(), 1
    for i, width in enumerate(WIDTHS, 1):
        convolution = nn.Conv2d(channels, width, 3, stride=1 + (i % 2 == 0), padding=1)
        model.add_module(f"block {i}", nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU()))
        channels = width
    model.add_module("pooled", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    model.add_module("head", nn.Linear(channels, 10))
    return model


def train(folder: Path) -> None:
    """Train, and keep the weights after step 0, 1, 2, 4, 8 … 1024; the rate falls to 0 along a cosine."""
    torch.manual_seed(0)
    model, (images, labels) = build(), fashion("train")
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for step in range(STEPS + 1):
        if step & (step - 1) == 0:
            torch.save(model.state_dict(), folder / f"step_{step:04}.pt")
        rows = torch.randint(len(images), (BATCH,))
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimiser.step()
        schedule.step()


@torch.no_grad()
def accuracy(path: Path, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return how many pictures a checkpoint names rightly."""
    model = build().eval()
    model.load_state_dict(torch.load(path, weights_only=True))
    return (model(images).argmax(1) == labels).float().mean().item()


def main(folder: Path) -> None:
    """Train, compare, print, draw."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = (part[:COMPARED] for part in fashion("t10k"))
    with TemporaryDirectory() as checkpoints:
        train(Path(checkpoints))
        result = hl.compare_checkpoints(build, checkpoints, images, layers=["block *", "head"], measures=MEASURE)
        right = [accuracy(path, images, labels) for path in sorted(Path(checkpoints).glob("*.pt"))]
    print(hl.summary(result))
    print(result[MEASURE].sel(against="last").to_pandas().round(3).to_string())
    print("accuracy:", *(f"{step:g}: {share:.1%}" for step, share in zip(result.step.values, right, strict=True)))

    ax = hl.plot.trajectory(result)
    ax.figure.savefig(folder / "training_over_time.png", dpi=80)
    print(f"written: {folder / 'training_over_time.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "homolog-examples"))
