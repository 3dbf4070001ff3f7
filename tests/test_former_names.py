"""Names of the release before: they work, under a warning in the caller's line, and give what the present ones give."""

from __future__ import annotations

import inspect
import typing

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray
from conftest import command_line

import homolog as hl
from homolog.renamed import renamed
from homolog.results import measure_names


def layers(seed=0, n=60):
    rng = np.random.default_rng(seed)
    first = {f"layer {i}": rng.normal(size=(n, 4)) for i in range(3)}
    return first, {name: x + rng.normal(size=x.shape) for name, x in first.items()}


PAIR = (layers()[0]["layer 0"], layers()[1]["layer 0"])


@pytest.fixture
def closed():
    yield
    plt.close("all")


def told(call, former, present):
    """What a call with a former name gives; the warning shows by default, and in the line of the caller."""
    with pytest.warns(FutureWarning) as caught:
        found = call()
    (warning,) = [each for each in caught if each.category is FutureWarning]
    assert str(warning.message) == f"{former} is now {present}: the former name goes with the next release."
    assert warning.filename == __file__
    return found


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU())


def test_extract_takes_limit(tmp_path):
    model, data = network(), torch.randn(9, 3)
    for out in (None, tmp_path / "a.zarr"):
        found = told(
            lambda out=out: hl.extract(model, data, limit=4, out=out), "extract(limit=4)", "extract(max_examples=4)"
        )
        assert found.n == 4
        np.testing.assert_array_equal(found["0"][:], hl.extract(model, data, max_examples=4)["0"])


def test_compare_models_takes_limit():
    model, data = network(), torch.randn(90, 3)
    call = lambda **options: hl.compare_models(model, model, data, batch_size=10, **options)  # noqa: E731
    found = told(lambda: call(limit=40), "compare_models(limit=40)", "compare_models(max_examples=40)")
    xarray.testing.assert_identical(found, call(max_examples=40))
    assert found.attrs["n_examples"] == 40


@pytest.mark.parametrize(
    ("former", "present", "words"),
    [
        ("jackknife", {"interval": True, "method": "jackknife"}, "interval=True, method='jackknife'"),
        ("subsample", {"interval": True, "method": "subsample"}, "interval=True, method='subsample'"),
        (None, {}, "interval=False"),
    ],
)
def test_intervals_take_the_name_of_a_method(former, present, words):
    sides, asked = layers(), f"compare(interval={former!r})"
    found = told(lambda: hl.compare(*sides, measures="cka", interval=former), asked, f"compare({words})")
    xarray.testing.assert_identical(found, hl.compare(*sides, measures="cka", **present))
    assert found.attrs.get("interval") == former
    plans = [told(lambda: hl.plan(*sides, interval=former), asked.replace("compare", "plan"), f"plan({words})")]
    assert str(plans[0]) == str(hl.plan(*sides, **present))


def test_without_an_interval_a_plan_counts_none():
    sides = layers(n=2000)
    assert hl.plan(*sides).bytes == hl.plan(*sides, interval=False).bytes < hl.plan(*sides, interval=True).bytes


def test_both_names_at_once_are_refused():
    with pytest.raises(
        TypeError, match=r"extract\(limit=4\) is now extract\(max_examples=4\), got max_examples besides"
    ):
        hl.extract(network(), torch.randn(9, 3), limit=4, max_examples=5)
    with pytest.raises(TypeError, match="got method besides: leave interval out"):
        hl.compare(*layers(), interval="jackknife", method="subsample")


def test_unknown_arguments_stay_unknown():
    with pytest.raises(TypeError, match="unexpected keyword argument 'limits'"):
        hl.extract(network(), torch.randn(9, 3), limits=4)


@pytest.mark.usefixtures("closed")
def test_a_shared_subspace_is_drawn_in_three_axes():
    _, axes = plt.subplots(2, 3)
    with pytest.warns(FutureWarning, match=r"^shared_subspace\(axes=.* is now shared_subspace\(figure="):
        found = hl.plot.shared_subspace(hl.shared_subspace(*PAIR), axes=axes[1])
    assert found is axes[0, 0].figure
    assert len(axes[1, 0].lines) == 2
    assert not axes[0, 0].lines


def test_the_level_of_a_permutation_test():
    found = hl.permutation_test(*PAIR, n_permutations=9)
    assert told(lambda: found.level, "PermutationTest.level", "PermutationTest.null_level") == found.null.mean()


def test_a_renamed_function_looks_like_itself():
    @renamed(old="new")
    def function(x: int, *, new: int = 3) -> int:
        """Say what it does."""
        return x + new

    assert function.__doc__ == "Say what it does."
    assert str(inspect.signature(function)) == "(x: 'int', *, new: 'int' = 3) -> 'int'"
    assert typing.get_type_hints(function) == {"x": int, "new": int, "return": int}
    assert function(1) == 4


def test_warnings_of_renamed_functions_name_the_line_of_the_caller():
    x = np.random.default_rng(0).normal(size=(20, 40))
    with pytest.warns(hl.NullLevelWarning) as caught:
        hl.compare(x, x + 1)
    assert {warning.filename for warning in caught} == {__file__}

    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.line = torch.nn.Linear(3, 4)

        def forward(self, x):
            return self.line(x) + torch.randn(())

    with pytest.warns(hl.ExtractionWarning) as caught:
        hl.extract(Noisy(), torch.randn(8, 3), layers=["line", "output"])
    assert {warning.filename for warning in caught} == {__file__}


# --- Results of earlier versions


@pytest.fixture(scope="module")
def tested():
    first, second = layers()
    return hl.compare(first, second, measures="cka(estimator=debiased)", null="permutation", n_permutations=99)


def earlier(result):
    """A result with the names that the version before gave its variables."""
    now = {"p_fwer": "p_familywise", "p_fdr": "p_discovery"}
    return result.rename({f"{m}_{new}": f"{m}_{old}" for m in measure_names(result) for new, old in now.items()})


@pytest.mark.usefixtures("closed")
def test_earlier_results_are_read_drawn_and_reported(tested, tmp_path):
    old = earlier(tested)
    assert "cka(estimator=debiased)_p_discovery" in old
    xarray.testing.assert_identical(hl.correspondence(old), hl.correspondence(tested))
    crosses = [hl.plot.heatmap(result).collections[0].get_offsets() for result in (old, tested)]
    assert len(crosses[0])
    np.testing.assert_array_equal(*crosses)
    printed = []
    for name, result in (("old", old), ("new", tested)):
        result.to_netcdf(tmp_path / f"{name}.nc")
        for arguments in (["report", f"{name}.nc", "--out", f"{name}.html"], ["info", f"{name}.nc"]):
            status, out, said = command_line(arguments, tmp_path)
            assert status == 0, said
        printed.append((out, (tmp_path / f"{name}.html").read_text(encoding="utf-8")))
    assert printed[0] == printed[1]


def test_variables_have_the_names_of_the_field(tested):
    name = "cka(estimator=debiased)"
    assert {f"{name}_{end}" for end in ("p", "p_fwer", "p_fdr", "null")} < set(tested.data_vars)
    for former in ("p_familywise", "p_discovery"):
        assert f"{name}_{former}" not in tested
        with pytest.raises(ValueError, match="companion of another measure"):
            hl.compare(*layers(), measures={"cka": "cka", f"cka_{former}": "cca"})


# --- The command line


def test_options_of_the_command_line_by_former_names(tmp_path):
    first, second = layers()
    hl.save(first, tmp_path / "a.npz")
    hl.save(second, tmp_path / "b.npz")
    compared = ["compare", "a.npz", "b.npz", "-m", "cka", "--out", "r.nc"]
    for options, present in (
        (["--interval", "jackknife"], ["--interval"]),
        (["--interval=subsample"], ["--interval", "--method", "subsample"]),
    ):
        status, out, said = command_line([*compared, *options], tmp_path)
        found = xarray.load_dataset(tmp_path / "r.nc")
        assert status == 0, said
        assert f"note: --interval {found.attrs['interval']} is now --interval --method" in said
        assert (0, out) == command_line([*compared, *present], tmp_path)[:2]
        xarray.testing.assert_identical(found, xarray.load_dataset(tmp_path / "r.nc"))
    status, _, said = command_line([*compared, "--method", "subsample"], tmp_path)
    assert (status, "pass it too" in said) == (2, True)
    status, _, said = command_line([*compared, "--interval", "--method", "bootstrap"], tmp_path)
    assert (status, "jackknife or subsample, got 'bootstrap'" in said) == (2, True)


def test_the_command_line_takes_limit(tmp_path):
    (tmp_path / "former_nets.py").write_text(
        "import torch\nmodel = lambda: torch.nn.Linear(3, 2)\ndata = lambda: torch.ones(9, 3)\n"
    )
    for options in (["--limit", "4"], ["--limit=4"], ["--max-examples", "4"]):
        line = ["extract", "former_nets.py:model", "--data", "former_nets.py:data", "--out", "a.npz", *options]
        status, _, said = command_line(line, tmp_path)
        assert status == 0, said
        assert hl.open(tmp_path / "a.npz").n == 4
        assert ("note: --limit is now --max-examples" in said) == options[0].startswith("--limit")
    assert "limit" not in command_line(["extract", "--help"], tmp_path)[1]
