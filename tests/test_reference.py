"""Values frozen from packages nobody here wrote; reference/make.py says how each was made."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import homolog as hl

FOLDER = Path(__file__).parent / "reference"
VALUES = json.loads((FOLDER / "values.json").read_text())


def minus_distance(x):
    return -np.sqrt(np.maximum(((x[:, None] - x[None]) ** 2).sum(-1), 0))


# The package calls these by a name of their own; here they are CKA with a kernel.
BY_KERNEL = {
    "distance correlation": hl.measure("cka", kernel=minus_distance),
    "debiased distance correlation": hl.measure("cka", kernel=minus_distance, estimator="debiased"),
}
ALL = [(form, case) for form, frozen in VALUES.items() for case in frozen["values"]]


@pytest.fixture(scope="module")
def data():
    with np.load(FOLDER / "data.npz", allow_pickle=False) as archive:
        return dict(archive)


@pytest.mark.parametrize(("form", "case"), ALL, ids=[f"{form}-{case}" for form, case in ALL])
def test_value_of_an_independent_package(form, case, data):
    measure = BY_KERNEL.get(form) or hl.measure(form)
    if measure.name == "deconfounded_cka":
        n = len(data[f"{case} x"])
        measure = measure.bind(inputs=np.random.default_rng(99).normal(size=(n, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        value = float(measure(data[f"{case} x"], data[f"{case} y"]))
    assert value == pytest.approx(VALUES[form]["values"][case], rel=1e-8, abs=1e-8), VALUES[form]["oracle"]


def test_every_measure_has_an_oracle():
    covered = {hl.measure(form).name for form in VALUES if form not in BY_KERNEL}
    assert covered == set(hl.measures())
