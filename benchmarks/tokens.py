"""Millions of token rows: python benchmarks/tokens.py all FOLDER [--texts 10000] [--memory 1GiB]

Texts of 100 tokens go through an embedding and three residual blocks of 32 features. `extract` writes every token of the four
layers into a store, `compare` compares these layers from it, `moments` feeds the store to `homolog.Moments` in blocks of whole
texts with their ids as groups, for standard errors over texts. `redundancy` looks for redundant blocks of nine layers of 64
features, of as many rows. Each prints the seconds of the processor, its largest resident memory, and by how much of it memory
grew with the rows; one process per call, because a peak is never forgotten. What FOLDER holds from a run before is written again.
`all` does everything: the figures of docs/scaling.md come from it.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import homolog as hl
from homolog.store import Writer

WORDS, LENGTH, FEATURES, LAYERS = 5000, 100, 32, ["0", "1", "2", "3"]
BLOCK = 8192


class Block(nn.Module):
    """A residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(FEATURES, FEATURES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tanh(self.inner(x))


def anew(store: Path) -> Path:
    """Return a path at which no store is: that of a run before is taken away."""
    shutil.rmtree(store, ignore_errors=True)
    return store


def extract(folder: Path, texts: int, memory: str) -> None:
    """Write every token of four layers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(WORDS, FEATURES), Block(), Block(), Block())
    ids = torch.randint(WORDS, (texts, LENGTH))
    out = anew(folder / f"tokens-{texts}.zarr")
    hl.extract(model, ids, layers=LAYERS, reduce="positions", out=out, progress=False)


def compare(folder: Path, texts: int, memory: str) -> None:
    """Compare the layers from the store by the default measures."""
    hl.compare(folder / f"tokens-{texts}.zarr", memory=memory, progress=False)


def moments(folder: Path, texts: int, memory: str) -> None:
    """Sum blocks of whole texts, for standard errors over texts."""
    layers = hl.open(folder / f"tokens-{texts}.zarr")
    state, step = hl.Moments(), 100 * LENGTH
    for start in range(0, layers.n, step):
        rows = slice(start, start + step)
        state.update({name: layers[name][rows] for name in layers}, groups=layers.example_ids[rows])
    state.finalise()


def stream(folder: Path, texts: int) -> None:
    """Write a residual stream with a massive feature, and long rows at the first token, from its middle on."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((8, 64, 64)).astype(np.float32) / 8
    with Writer(anew(folder / f"stream-{texts}.zarr"), {}, resume=False) as writer:
        writer.start({f"block.{i}": (64, np.dtype("float32")) for i in range(9)}, {}, {})
        for start in range(0, texts * LENGTH, BLOCK):
            x = rng.standard_normal((min(BLOCK, texts * LENGTH - start), 64)).astype(np.float32)
            block = {"block.0": x}
            for i in range(8):
                x = x + np.tanh(x @ weights[i]) / 3
                if i == 4:
                    x[:, 5] += 40
                    x[-start % LENGTH :: LENGTH, 7] += 3000
                block[f"block.{i + 1}"] = x
            writer.append(block, {})
        writer.finish()


def redundancy(folder: Path, texts: int, memory: str) -> None:
    """Look for redundant blocks of nine layers: as they are, without the feature, without the rows, and without both."""
    hl.redundancy(folder / f"stream-{texts}.zarr", memory=memory, progress=False)


STEPS: dict[str, Callable[[Path, int, str], None]] = {
    "extract": extract,
    "compare": compare,
    "moments": moments,
    "redundancy": redundancy,
}


def measured(step: str, folder: Path, texts: int, memory: str) -> dict[str, Any]:
    """Run one step, which has run with few texts before, and return what it took."""
    run = STEPS[step]
    if step == "redundancy":
        stream(folder, 50)
        stream(folder, texts)
    elif step == "extract":
        folder.mkdir(parents=True, exist_ok=True)
    run(folder, 50, memory)  # libraries load
    before, start = largest(), time.process_time()
    run(folder, texts, memory)
    seconds, peak = time.process_time() - start, largest()
    return {
        "step": step,
        "rows": texts * LENGTH,
        "seconds": round(seconds, 1),
        "MiB": peak - before,
        "MiB in all": peak,
    }


def largest() -> int:
    """Return the largest resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=[*STEPS, "all"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--memory", default="1GiB")
    options = parser.parse_args()
    if options.what != "all":
        warnings.simplefilter("ignore")
        print(json.dumps(measured(options.what, options.folder, options.texts, options.memory)))
        return
    for step in STEPS:
        given = [step, str(options.folder), "--texts", str(options.texts), "--memory", options.memory]
        subprocess.run([sys.executable, __file__, *given], check=True)


if __name__ == "__main__":
    main()
