"""States of processes that know each other through torch.distributed: each of them ends with the whole."""

from __future__ import annotations

import json
import warnings

import distributed_process
import forked_processes
import pytest
import xarray
from streamed_results import assert_results_agree

import homolog as hl


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        yield


def test_processes_of_torch_distributed_hold_the_whole(tmp_path):
    forked_processes.run("distributed_process:process", 3, tmp_path)
    x, y, parts = distributed_process.data()
    expected = hl.compare(x, y, measures=distributed_process.FORMS)
    state = hl.MinibatchHSIC()
    for rows in parts:
        state.update(x[rows], y[rows])
    for rank in range(3):
        moments, batches = (xarray.load_dataset(tmp_path / f"{kind}-{rank}.nc") for kind in ("moments", "batches"))
        assert_results_agree(moments, expected)
        assert_results_agree(batches, state.finalise())
        assert json.loads(moments.attrs["measures"]) == list(distributed_process.FORMS)


def test_all_reduce_alone_says_what_is_missing(rng):
    for state in (hl.Moments(), hl.MinibatchHSIC()):
        state.update(rng.normal(size=(8, 3)))
        with pytest.raises(RuntimeError, match="all_reduce needs processes that know each other, got none"):
            state.all_reduce()
