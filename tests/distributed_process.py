"""One of several processes of torch.distributed, each of which holds a part of the rows."""

from __future__ import annotations

import numpy as np
import torch.distributed as dist
import xarray  # noqa: F401  before the processes part, so that it is imported once

import homolog as hl

FORMS = ("cka", "cka(estimator=debiased)", "cca")


def data() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Two layers, and the rows of each batch."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)) + 1e3
    return x, x @ rng.normal(size=(4, 3)) + rng.normal(size=(200, 3)), np.split(np.arange(200), 8)


def states() -> tuple[hl.Moments, hl.MinibatchHSIC]:
    """Empty states."""
    return hl.Moments(), hl.MinibatchHSIC()


states()  # imports what they need


def process(rank: int, folder: str) -> None:
    """Reduce what three processes hold, and write what each of them has then."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=3)
    x, y, batches = data()
    moments, products = states()
    # The third process has no rows, as at the end of a stream that does not divide.
    for rows in batches[rank::2] if rank < 2 else []:
        moments.update(x[rows], y[rows])
        products.update(x[rows], y[rows])
    moments.all_reduce()
    products.all_reduce()
    moments.finalise(FORMS).to_netcdf(f"{folder}/moments-{rank}.nc")
    products.finalise().to_netcdf(f"{folder}/batches-{rank}.nc")
    dist.destroy_process_group()
