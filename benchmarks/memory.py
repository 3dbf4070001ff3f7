"""Most memory beyond the data that one call takes: python benchmarks/memory.py homolog-numpy|homolog-torch|pytorch-cka

Prints MiB. One process per call, because a peak is never forgotten.
"""

from __future__ import annotations

import resource
import sys
import warnings

import numpy as np
import torch
from cka.cka import cka_from_features

import homolog as hl

WIDTHS = [256, 512, 1024, 2048] * 3
rng = np.random.default_rng(0)
models = [[rng.normal(size=(2048, width)).astype(np.float32) for width in WIDTHS] for _ in range(2)]
tensors = [[torch.from_numpy(layer) for layer in model] for model in models]
small = [[layer[:64, :8] for layer in model] for model in models]


def ours(sides):
    a, b = ({str(i): layer for i, layer in enumerate(side)} for side in sides)
    return hl.compare(a, b, measures="cka(estimator=debiased)")


calls = {
    "homolog-numpy": (lambda: ours(small), lambda: ours(models)),
    "homolog-torch": (lambda: ours(small), lambda: ours(tensors)),
    "pytorch-cka": (
        lambda: cka_from_features(*[[t[:64] for t in side] for side in tensors]),
        lambda: cka_from_features(*tensors),
    ),
}
warnings.simplefilter("ignore")
warm, call = calls[sys.argv[1]]
warm()  # libraries load before the measurement
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
call()
print(round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))
