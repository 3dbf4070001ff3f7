"""Write store-v1.zarr, the store of format version 1 that every later version must read. Not to be run again for that version."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import homolog as hl

HERE = Path(__file__).parent
LAYERS = {
    "early": np.zeros((40, 5), dtype="float16"),
    "blocks.0/attention": np.sqrt(np.arange(120, dtype="float32")).reshape(40, 3),
    "late": np.arange(80).reshape(40, 2) / 8,
}
activations = hl.Activations(
    LAYERS,
    example_ids=[f"image {i}" for i in range(40)],
    digests=np.arange(40, dtype=np.uint64) * np.uint64(2**58),
    provenance={"model": "golden", "reduce": "mean"},
)
hl.save(activations, HERE / "store-v1.zarr")
(HERE / "store-v1.zarr" / ".lock").unlink()
