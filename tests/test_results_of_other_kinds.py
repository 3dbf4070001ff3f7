"""What draws or reads a finding says in one sentence that it was given a result of another kind, and what takes that one."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray
from matplotlib import pyplot

import homolog as hl

READERS = {
    "explanation": hl.plot.explanation,
    "identification": hl.plot.identification,
    "subspace": hl.plot.shared_subspace,
}
WANTED = {
    "explanation": "homolog.explain_cka",
    "identification": "homolog.layer_identification",
    "subspace": "homolog.shared_subspace",
}


@pytest.fixture(scope="module")
def results():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(2, 60, 5))
    models = {
        seed: {name: x + 0.5 * rng.normal(size=x.shape) for name, x in zip("pq", base, strict=True)} for seed in "abc"
    }
    comparison = hl.compare(models, measures="cka")
    x, y = base
    return {
        "comparison": comparison,
        "similarity": hl.model_similarity(comparison),
        "trajectory": comparison.assign_attrs(title="homolog trajectory"),
        "identification": hl.layer_identification(comparison),
        "explanation": hl.explain_cka(x, x + y),
        "subspace": hl.shared_subspace(x, x + y),
    }


@pytest.mark.parametrize("reader", READERS)
def test_pictures_of_findings_take_their_own_kind_and_name_the_others(results, reader):
    for kind, result in results.items():
        if kind == reader:
            READERS[reader](result)
            pyplot.close("all")
            continue
        with pytest.raises(ValueError, match=f"^this needs a result of {WANTED[reader]}, got one of homolog") as told:
            READERS[reader](result)
        assert re.search(r"homolog\.plot\.\w+ takes? that one\.$", str(told.value))
        assert str(told.value).count(". ") == 0  # one sentence
    with pytest.raises(ValueError, match=f"of {WANTED[reader]}, got a Dataset of x"):
        READERS[reader](xarray.Dataset({"x": 1}))
    with pytest.raises(ValueError, match=f"the Dataset that {WANTED[reader]} returned, got None"):
        READERS[reader](None)


@pytest.mark.parametrize("kind", ["similarity", "trajectory", "identification", "explanation", "subspace"])
def test_layer_identification_reads_comparisons_only(results, kind):
    for given in (results[kind], [results["comparison"], results[kind]]):
        with pytest.raises(ValueError, match=r"^this needs a result of homolog\.compare, got one of homolog\.\w+: "):
            hl.layer_identification(given)
    with pytest.raises(ValueError, match="without its measures attribute"):
        hl.layer_identification(xarray.Dataset({"x": 1}))
