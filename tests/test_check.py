"""`hl.check` and `hl.testing.assert_alike`: what holds, what falls short and why, and what is refused."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from conftest import command_line

import homolog as hl
from homolog.analysis.check_result import written

DEBIASED = "cka(estimator=debiased)"


def noisy(array, share, seed=9):
    return array + share * np.random.default_rng(seed).normal(size=array.shape)


@pytest.fixture
def before(rng):
    return {name: rng.normal(size=(120, 6)) for name in ("encoder.0", "encoder.1", "head")}


@pytest.fixture
def after(before):
    """The same but for the second layer, which changed, and the third, which is another one."""
    return {
        "encoder.0": noisy(before["encoder.0"], 0.01),
        "encoder.1": noisy(before["encoder.1"], 0.3),
        "head": np.random.default_rng(3).normal(size=(120, 6)),
    }


def short(found):
    return [layer.before for layer in found.short]


# --- What holds and what falls short


def test_layers_that_fell_short_are_told_in_the_order_of_the_network(before, after):
    found = hl.check(before, dict(reversed(after.items())), f"{DEBIASED}=0.98")
    assert not found
    assert short(found) == ["encoder.1", "head"]
    lines = str(found).splitlines()
    assert lines[0].startswith("2 of 3 layers fell short, the first of them encoder.1: cka(estimator=debiased) is 0.9")
    assert [line.split()[0] for line in lines[1:4]] == ["layer", "encoder.1", "head"]


def test_values_are_those_of_compare(before, after):
    found = hl.check(before, after, f"{DEBIASED}=0.98")
    values = np.diag(hl.compare(before, after, measures=DEBIASED)[DEBIASED])
    np.testing.assert_allclose([layer.value for layer in found.layers], values, rtol=1e-9)
    assert [layer.holds for layer in found.layers] == list(values >= 0.98)


def test_a_check_holds_where_every_layer_does(before):
    same = {name: 3 * layer + 1 for name, layer in before.items()}
    found = hl.check(before, same, "cka(estimator=debiased)=1", at_most="procrustes_distance=1e-6")
    assert found
    assert found.short == ()
    assert str(found).startswith("All 3 layers hold. Nearest to its threshold is encoder.")


def test_a_distance_must_stay_below(before, after):
    found = hl.check(before, after, at_most="procrustes_distance=0.1")
    assert short(found) == ["encoder.1", "head"]
    assert {layer.reason for layer in found.short} == {"the value is too high"}
    assert "at most 0.1" in str(found)


@pytest.mark.parametrize(
    ("thresholds", "fell"),
    [
        ("cka=0.9", ["head"]),
        (["cka=0.9", "cka=0.99@encoder.*"], ["encoder.1", "head"]),
        (["cka=0.99@encoder.*", "cka=0.9"], ["encoder.1", "head"]),
        ({"cka": {"encoder.1": 0.5, "encoder.*": 0.99}}, []),
        ({hl.measure("cka"): {"head": 0.5}, "rsa": 0.99}, ["encoder.1", "head", "head"]),
        ({hl.cka: np.float64(0.9)}, ["head"]),
    ],
)
def test_thresholds_may_differ_between_layers(before, after, thresholds, fell):
    assert short(hl.check(before, after, thresholds)) == fell


def test_layers_without_a_threshold_are_told(before, after):
    found = hl.check(before, after, "cka=0.9@encoder.0")
    assert found
    assert "Note: encoder.1, head: there is no threshold for it, and it was not checked." in str(found)


def test_layers_are_chosen_by_glob(before, after):
    assert hl.check(before, after, "cka=0.98", layers="encoder.0")
    assert short(hl.check(before, after, "cka=0.98", layers=["head", "encoder.*"])) == ["encoder.1", "head"]


def test_a_value_that_rounding_keeps_from_its_threshold_reaches_it(before):
    turned = {name: layer @ np.linalg.qr(layer[:6])[0] for name, layer in before.items()}
    assert hl.check(before, turned, f"{DEBIASED}=1")


@pytest.mark.filterwarnings("ignore::homolog.MissingInputsWarning")
@pytest.mark.parametrize("name", hl.measures())
def test_every_measure_tells_a_small_change_from_another_layer(rng, name):
    x, other = rng.normal(size=(2, 150, 6))
    record, near = hl.measure(name), noisy(x, 0.001)
    halfway = {name: (float(record(x, near)) + float(record(x, other))) / 2}
    asked = {"at_least" if record.kind == "similarity" else "at_most": halfway}
    assert hl.check(x, near, **asked)
    assert not hl.check(x, other, **asked)


# --- Which layers are compared


def test_a_layer_that_is_gone_falls_short_and_a_new_one_is_told(before, after):
    del after["encoder.0"]
    found = hl.check(before, after | {"extra": after["head"]}, "cka=0.98", layers="encoder.*")
    assert short(found) == ["encoder.0", "encoder.1"]
    assert "encoder.0: cka has no value, must be at least 0.98: the model after has no layer of this name" in str(found)
    assert "extra: only the model after has it" in str(found)


def test_with_all_pairs_the_most_alike_layer_must_hold(before, after):
    renamed = {"x": after["encoder.1"], "y": after["encoder.0"]}
    found = hl.check(before, renamed, ["cka=0.98@encoder.0", "cka=0.9@encoder.1"], pairs="all")
    assert found
    assert [(layer.before, layer.after) for layer in found.layers] == [("encoder.0", "y"), ("encoder.1", "x")]
    assert "encoder.1 → x" in str(hl.check(before, renamed, f"{DEBIASED}=0.98", pairs="all", confidence=0.9))


def test_every_pair_of_a_list_must_hold(before, after):
    pairs = [("head", "encoder.0"), ("encoder.0", "encoder.0"), ("encoder.0", "head")]
    found = hl.check(before, after, "cka=0.98", pairs=pairs)
    assert [(layer.before, layer.after, layer.holds) for layer in found.layers] == [
        ("encoder.0", "encoder.0", True),
        ("encoder.0", "head", False),
        ("head", "encoder.0", False),
    ]


def test_two_arrays_are_one_layer(before, after):
    assert hl.check(before["encoder.0"], after["encoder.0"], "cka=0.98")


def test_two_files_of_one_array_are_one_layer(before, after, tmp_path):
    for name, layers in (("before.npy", before), ("after.npy", after)):
        np.save(tmp_path / name, layers["encoder.0"])
    assert hl.check(tmp_path / "before.npy", str(tmp_path / "after.npy"), "cka=0.98")
    found = command_line(("check", "before.npy", "after.npy", "--at-least", "cka=0.98"), tmp_path)
    assert found[:2] == (0, "1 layer holds. Nearest to its threshold is layer: cka is 0.9999, must be at least 0.98.\n")


def test_files_are_checked_as_arrays_are(before, after, tmp_path):
    for name, layers in (("before.zarr", before), ("after.npz", after)):
        hl.save(hl.Activations(layers, example_ids=np.arange(120)), tmp_path / name)
    found = hl.check(tmp_path / "before.zarr", tmp_path / "after.npz", "cka=0.98", at_most="procrustes_distance=0.1")
    assert short(found) == ["encoder.1", "encoder.1", "head", "head"]
    assert found.notes == ()


# --- With confidence


def test_with_confidence_the_low_end_must_hold(before, after):
    value = float(hl.cka(before["encoder.1"], after["encoder.1"], estimator="debiased"))
    interval = hl.confidence_interval(before["encoder.1"], after["encoder.1"], DEBIASED, level=0.9)
    between = {DEBIASED: (value + interval.low) / 2}
    assert hl.check(before, after, between, layers="encoder.1")
    found = hl.check(before, after, between, layers="encoder.1", confidence=0.9)
    assert not found
    assert (found.layers[0].low, found.layers[0].high) == pytest.approx((interval.low, interval.high))
    assert found.short[0].reason.startswith("the interval reaches to 0.")
    assert "90 % interval" in str(found)
    assert hl.check(before, after, {DEBIASED: interval.low - 1e-6}, layers="encoder.1", confidence=0.9)


def test_of_a_distance_the_high_end_must_hold(before, after):
    pair = before["encoder.1"], after["encoder.1"]
    interval = hl.confidence_interval(*pair, "procrustes_distance", level=0.9)
    between = {"procrustes_distance": (float(hl.procrustes_distance(*pair)) + interval.high) / 2}
    assert hl.check(before, after, at_most=between, layers="encoder.1")
    assert not hl.check(before, after, at_most=between, layers="encoder.1", confidence=0.9)


def test_a_warning_names_every_pair_once(before, after):
    with pytest.warns(hl.BiasWarning) as told:
        hl.check(before, after, "cka=0.01", layers="head", confidence=0.9)
    assert str(told[0].message).count("before: head") == 1


@pytest.mark.filterwarnings("ignore::homolog.UndefinedValueWarning")
def test_a_layer_without_an_interval_falls_short():
    x = np.zeros((30, 2))
    x[0] = 1  # without this example nothing varies
    found = hl.check(x, x, "cka=0.9", confidence=0.95)
    assert found.short[0].reason in ("it has no interval", "it is no more alike than by chance")


# --- Never a silent pass


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
@pytest.mark.parametrize("threshold", ["cka=0.8", "cca=0.9", "pwcca=0.9", "bures_similarity=0.5", "mutual_knn=0.1"])
def test_a_threshold_that_independent_data_reach_does_not_hold(rng, threshold):
    x = rng.normal(size=(50, 300))
    found = hl.check(x, noisy(x, 0.01), threshold)
    assert found.short[0].value > 0.9
    assert found.short[0].reason.startswith(("independent data would reach", "it is no more alike than by chance"))


def test_measures_that_ask_for_no_order_hold_by_their_value(rng):
    x = rng.normal(size=(50, 30))
    assert hl.check(x, noisy(x, 0.01), at_most="magnitude_difference=0.1")

    def product(x, y):
        return float(np.sum(x * y) / np.sum(x * x))

    assert hl.check(x, noisy(x, 0.01), {product: 0.9})


@pytest.mark.filterwarnings("ignore::homolog.ConstantLayerWarning")
@pytest.mark.parametrize("pairs", ["same_name", "all"])
def test_a_constant_layer_does_not_hold(before, pairs):
    dead = before | {"encoder.1": np.ones((120, 3))}
    for first, second in ((before, dead), (dead, before), (dead, dead)):
        found = hl.check(first, second, "cka=0.1", pairs=pairs)
        if pairs == "same_name" or first is dead:
            assert short(found) == ["encoder.1"]
            assert math.isnan(found.short[0].value) or pairs == "all"


def test_rows_that_nobody_identifies_are_told(before):
    ids = np.arange(120)
    known = [hl.Activations(before, example_ids=ids), hl.Activations(before, example_ids=ids)]
    assert hl.check(*known, "cka=0.98").notes == ()
    assert "Nothing shows that the rows" in str(hl.check(before, before, "cka=0.98"))
    with pytest.raises(ValueError, match="before and after must hold the same examples in the same order"):
        hl.check(known[0], hl.Activations(before, example_ids=ids[::-1]), "cka=0.98")


def test_layers_beyond_the_memory_are_told_where_no_formula_helps(tmp_path, rng):
    x = rng.normal(size=(40_000, 60))
    for name in ("a.zarr", "b.zarr"):
        hl.save(hl.Activations({"layer": x}, example_ids=np.arange(40_000)), tmp_path / name)
    options = {"at_least": "pwcca=0.9", "memory": "16MiB"}
    assert "larger than memory" in str(hl.check(tmp_path / "a.zarr", tmp_path / "b.zarr", **options))


REFUSED = {
    "nothing to reach": ({}, ValueError, "must have a threshold"),
    "no number": ({"at_least": "cka"}, ValueError, "must be written as measure=number"),
    "another sign": ({"at_least": "cka>=0.9"}, ValueError, "must be written as measure=number"),
    "percent": ({"at_least": "cka=98%"}, ValueError, "must be written as measure=number"),
    "a number alone": ({"at_least": 0.98}, TypeError, "must be text such as 'cka=0.98'"),
    "never": ({"at_least": "cka=98"}, ValueError, "which never holds"),
    "always": ({"at_least": "cka=0"}, ValueError, "which always holds"),
    "infinite": ({"at_least": {"hsic": math.inf}}, ValueError, "which never holds"),
    "not a number": ({"at_least": {"cka": math.nan}}, ValueError, "may hold or not"),
    "true": ({"at_least": {"cka": True}}, TypeError, "must be a number"),
    "twice": ({"at_least": ["cka=0.9", "cka=0.8"]}, ValueError, "got two of cka"),
    "twice by another name": ({"at_least": {"cka": 0.9, hl.measure("cka"): 0.8}}, ValueError, "cka twice"),
    "a distance at least": ({"at_least": "procrustes_distance=0.1"}, ValueError, "use at_most"),
    "a similarity at most": ({"at_most": "cka=0.1"}, ValueError, "use at_least"),
    "a layer as a measure": ({"at_least": {"encoder.*": 0.9}}, ValueError, "which is no measure"),
    "an unknown measure": ({"at_least": "ckaa=0.9"}, KeyError, "did you mean cka"),
    "no such layer": ({"at_least": "cka=0.9@tail"}, KeyError, "unknown layer 'tail'"),
    "no such layers": ({"at_least": "cka=0.9", "layers": "tail"}, KeyError, "unknown layer 'tail'"),
    "no layers": ({"at_least": "cka=0.9", "layers": []}, ValueError, "layers must be a name"),
    "no pairs": ({"at_least": "cka=0.9", "pairs": []}, ValueError, "at least one pair"),
    "other pairs": ({"at_least": "cka=0.9", "pairs": "best"}, ValueError, "pairs must be 'all'"),
    "layers twice": ({"at_least": "cka=0.9", "pairs": [("head", "head")], "layers": "head"}, ValueError, "got both"),
    "a hidden threshold": (
        {"at_least": {"cka": {"**": 0.9, "head": 0.5}}},
        ValueError,
        "leave it out, or put it first",
    ),
    "a method for no interval": ({"at_least": "cka=0.9", "method": "subsample"}, ValueError, "got no confidence"),
    "confidence of 95": ({"at_least": "cka=0.9", "confidence": 95}, ValueError, "between 0 and 1"),
}


@pytest.mark.parametrize(("options", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused(before, options, error, message):
    with pytest.raises(error, match=message):
        hl.check(before, before, **options)


def test_data_that_cannot_be_compared_are_refused(before):
    with pytest.raises(ValueError, match="none in common"):
        hl.check(before, {"other": before["head"]}, "cka=0.9")
    with pytest.raises(ValueError, match="layer 'head' of after"):
        hl.check(before, before | {"head": np.full((120, 2), np.nan)}, "cka=0.9")
    with pytest.raises(ValueError, match="examples"):
        hl.check(before["head"][:3], before["head"][:3], f"{DEBIASED}=0.9")


# --- How it is told


def test_names_are_data(before):
    evil = "<b>\x1b[31m&"
    found = hl.check({evil: before["head"]}, {evil: np.roll(before["head"], 1, axis=0)}, "cka=0.9")
    assert "\x1b" not in str(found)
    page = found._repr_html_()
    assert "\x1b" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


def test_a_check_is_equal_to_the_same_and_short_as_an_object(before, after):
    first, second = (hl.check(before, after, "cka=0.98") for _ in range(2))
    assert first == second
    assert len({first, second}) == 1
    assert repr(first) == f"<Check: {first.verdict}>"


def test_all_layers_are_in_the_table(before, after):
    table = hl.check(before, after, [f"{DEBIASED}=0.98", "rsa=0.9"], confidence=0.9).to_dataframe()
    assert list(table.before) == ["encoder.0"] * 2 + ["encoder.1"] * 2 + ["head"] * 2
    assert list(table.columns) == [
        *("before", "after", "measure", "value", "low", "high", "threshold", "holds", "reason")
    ]
    assert (table.low <= table.value).all()


@pytest.mark.parametrize(
    ("value", "threshold", "text"),
    [
        (0.98, 0.98, "0.9800"),
        (1 - 1e-15, 1, "1.0000"),
        (0.9999985, 0.999999, "0.9999985"),
        (1.2e-8, 0.0, "0.00000001"),
        (math.nan, 1, "none"),
    ],
)
def test_a_value_is_written_on_its_side_of_the_threshold(value, threshold, text):
    assert written(value, threshold) == text


def test_an_assertion_tells_the_table(before, after):
    hl.testing.assert_alike(before, after, f"{DEBIASED}=0.98", layers="encoder.0", confidence=0.9)
    with pytest.raises(AssertionError, match=r"2 of 3 layers fell short, the first of them encoder\.1"):
        hl.testing.assert_alike(before, after, at_least=f"{DEBIASED}=0.98")
    with pytest.raises(AssertionError, match="the value is too high"):
        hl.testing.assert_alike(before, after, at_most={"procrustes_distance": 0.1})


def test_the_assertion_imports_nothing_heavy():
    code = "import sys, homolog.testing; print(sorted({'torch', 'pandas', 'xarray', 'pytest'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
