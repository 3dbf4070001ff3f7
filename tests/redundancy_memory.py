"""A process of its own that looks for redundant blocks in a store, and prints by how much its resident memory grew, as JSON.

Also what it cost in seconds of the processor, and whether the comparison came from sums of one pass over the rows.
"""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from memory_growth import FORGET, status

import homolog as hl
from homolog.store import Writer

BLOCK = 8192


def write(path: Path, rows: int, width: int, layers: int) -> None:
    """Write a residual stream of examples of 100 tokens, with a massive feature and long rows from its middle on."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((layers, width, width)).astype(np.float32) / np.float32(width**0.5)
    with Writer(path, {}, resume=False) as writer:
        writer.start({f"block.{i}": (width, np.dtype("float32")) for i in range(layers)}, {}, {})
        for start in range(0, rows, BLOCK):
            x = rng.standard_normal((min(BLOCK, rows - start), width)).astype(np.float32)
            block = {}
            for i in range(layers):
                x = x + np.tanh(x @ weights[i]) / 3
                if i == layers // 2:
                    x[:, 5] += 40
                    x[-start % 100 :: 100, 7] += 3000
                block[f"block.{i}"] = x
            writer.append(block, {})
        writer.finish()


def grown(rows: int, width: int, layers: int, memory: str) -> dict:
    """Look for redundant blocks, and return what was used."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few.zarr", Path(folder) / "many.zarr"
        write(few, 1000, 8, 3)
        write(many, rows, width, layers)
        hl.redundancy(few, progress=False)  # libraries load
        ctypes.CDLL(None).malloc_trim(0)
        FORGET.write_text("5")
        before, start = status("VmRSS"), time.process_time()
        found = hl.redundancy(many, memory=memory, progress=False)
        seconds, used = time.process_time() - start, status("VmHWM") - before
    forms = [name for name in found if name.startswith("cka")]
    summed = 8 * 6 * (width * layers) ** 2 <= hl.machine.parse_bytes(memory) // 4
    return {"used": used, "processor_seconds": round(seconds, 1), "forms": forms, "summed": summed}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(grown(*map(int, sys.argv[1:4]), sys.argv[4])))
