"""Array libraries, and data of every awkward kind."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot

matplotlib.use("Agg")

import array_api_strict
import jax
import numpy as np
import pytest
import torch
from hypothesis import settings

jax.config.update("jax_enable_x64", True)
# The same examples on every run.
settings.register_profile("homolog", derandomize=True, database=None)
settings.load_profile("homolog")

# Runs by hand, with packages of its own.
collect_ignore = [
    "reference/make.py",
    "reference/oracles.py",
    "reference/make_store.py",
    "reference/make_model_groups.py",
]


@pytest.fixture(autouse=True)
def _no_open_figures():
    """Close what a test drew: matplotlib warns of more than 20 figures in one process."""
    yield
    matplotlib.pyplot.close("all")


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


LIBRARIES = {
    "numpy": np.asarray,
    "read-only": read_only,
    "strict": array_api_strict.asarray,
    "torch": lambda array: torch.tensor(array),
    "jax": jax.numpy.asarray,
}


@pytest.fixture(params=LIBRARIES)
def put(request: pytest.FixtureRequest):
    """A function that puts a NumPy array on a library."""
    return LIBRARIES[request.param]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20190515)


@pytest.fixture(scope="session")
def golden() -> tuple[np.ndarray, np.ndarray]:
    """The data of the authors' notebook."""
    state = np.random.RandomState(1337)
    x = state.randn(100, 10)
    return x, state.randn(100, 10) + x


def command_line(arguments: Sequence[str], folder: Path) -> tuple[int, str, str]:
    """Run the command line in a folder, in this process: status, what it printed, and what it said."""
    from homolog.cli.app import run

    out, told = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        status = run(list(arguments))
    return status, out.getvalue(), told.getvalue()
