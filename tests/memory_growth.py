"""A process of its own that compares layers in memory, call by call, and prints by how much its resident memory grew.

One JSON line a call: the measure, what the plan says, what was used, and the sum of the values.
"""

from __future__ import annotations

import ctypes
import json
import sys
import warnings
from pathlib import Path

import numpy as np

import homolog as hl

CALL = ("measures", "rows", "width", "layers", "memory", "dtype")
STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def status(name: str) -> int:
    """Bytes that the kernel tells of this process."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def grown(call: dict) -> dict:
    rng = np.random.default_rng(0)
    shape = (call["rows"], call["width"])
    layers = {f"layer {i}": rng.standard_normal(shape).astype(call["dtype"]) for i in range(call["layers"])}
    options = {"measures": call["measures"], "memory": call["memory"]}
    hl.compare({name: layer[:40] for name, layer in layers.items()}, measures=call["measures"])  # libraries load
    planned = hl.plan(layers, **options)
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is not there to be used unseen
    FORGET.write_text("5")  # the peak so far
    before = status("VmRSS")
    result = hl.compare(layers, **options)
    values = [float(result[name].sum()) for name in planned.measures]
    return {"planned": planned.bytes, "used": status("VmHWM") - before, "values": values, "told": str(planned)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for each in json.load(sys.stdin):
        print(json.dumps(grown(each)), flush=True)
