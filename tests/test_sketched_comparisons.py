"""Comparisons of layers of which sketches are kept: without bias, with errors that hold, and with a word where they are noise."""

import warnings

import numpy as np
import pytest

import homolog as hl
from homolog.sketching import Sketch, SketchedRows, projection

MEASURES = {
    "debiased": "cka(estimator=debiased)",
    "biased": "cka",
    "product": "hsic",
    "product_debiased": "hsic(estimator=debiased)",
}


def sketched(x, columns, seed, name="x"):
    sketch = Sketch(name, x.shape[1], columns, seed)
    return SketchedRows(projection(sketch).of(x), sketch, name)


def two_layers(n=120, p=2500, noise=2.0, apart=0.0):
    rng = np.random.default_rng(5)
    shared = rng.normal(size=(n, 8))
    return [
        shared @ rng.normal(size=(8, p))
        + noise * rng.normal(size=(n, p))
        + apart * rng.normal(size=(n, 2)) @ rng.normal(size=(2, p))
        for _ in range(2)
    ]


@pytest.mark.filterwarnings("ignore::homolog.NullLevelWarning")
@pytest.mark.parametrize("apart", [0.0, 2.0])
@pytest.mark.parametrize("kind", ["same random numbers", "other random numbers", "one side whole"])
def test_values_have_no_bias_and_errors_hold(kind, apart):
    """Near 1 nearly all that CKA is off by depends on two blocks together, which a jackknife would count twice."""
    x, y = two_layers(apart=apart)
    exact = hl.compare({"x": x}, {"y": y}, measures=MEASURES)
    values, errors = {name: [] for name in MEASURES}, {name: [] for name in MEASURES}
    for seed in range(120):
        b = y if kind == "one side whole" else sketched(y, 96, seed, "x" if kind.startswith("same") else "y")
        result = hl.compare({"x": sketched(x, 96, seed)}, {"y": b}, measures=MEASURES)
        for name in MEASURES:
            values[name].append(result[name].item())
            errors[name].append(result[f"{name}_se_sketch"].item())
    for name in MEASURES:
        found, error = np.array(values[name]), np.array(errors[name])
        assert abs(found.mean() - exact[name].item()) < 3.5 * found.std() / np.sqrt(len(found)), name
        assert np.mean(np.abs(found - exact[name].item()) <= 1.96 * error) > 0.88, name
        assert 0.85 < np.mean(error) / found.std() < 1.25, name


def test_what_is_not_sketched_is_exact_and_a_layer_with_itself_is_one():
    x, y = two_layers()
    layers = {"wide": sketched(x, 96, 0), "narrow": x[:, :40], "other": y[:, :30]}
    result = hl.compare(layers, measures=MEASURES["debiased"])
    plain = hl.compare({"narrow": x[:, :40], "other": y[:, :30]}, measures=MEASURES["debiased"])
    (name,) = [str(each) for each in result.data_vars if "companion_of" not in result[each].attrs]
    some = ["narrow", "other"]
    np.testing.assert_allclose(result[name].sel(layer_a=some, layer_b=some), plain[name], rtol=1e-12)
    assert result[f"{name}_se_sketch"].sel(layer_a=some, layer_b=some).values.tolist() == [[0, 0], [0, 0]]
    assert result[name].sel(layer_a="wide", layer_b="wide").item() == pytest.approx(1, abs=1e-12)
    assert f"{name}_p" not in result  # known of structures, not of estimates of them


def test_calibrated_scores_and_similarities_of_models_are_of_the_value_that_is_returned():
    x, y = two_layers()
    models = {
        "a": {"0": sketched(x, 96, 0), "1": sketched(y, 96, 0)},
        "b": {"0": sketched(y, 96, 1), "1": sketched(x + y, 96, 1)},
    }
    result = hl.compare(
        models, measures={"cka": MEASURES["debiased"]}, interval=True, calibrate=True, n_permutations=99
    )
    value, threshold = result["cka"].values, result["cka_threshold"].values
    expected = np.clip((value - threshold) / (1 - threshold), 0, 1)
    np.testing.assert_allclose(result["cka_calibrated"].values, expected, atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        similar = hl.model_similarity(result)
    apart = similar.sel(model_a="a", model_b="b")
    assert apart["cka_p"].item() == pytest.approx(0.01)
    assert np.isfinite([apart[f"cka_{what}"].item() for what in ("se", "calibrated", "threshold")]).all()


def test_the_error_of_sketching_is_part_of_the_whole_error():
    x, y = two_layers()
    result = hl.compare(
        {"x": sketched(x, 96, 0)}, {"y": sketched(y, 96, 0)}, measures={"cka": MEASURES["debiased"]}, interval=True
    )
    assert result["cka_se"].item() > result["cka_se_sketch"].item() > 0
    assert result["cka_low"].item() < result["cka"].item() < result["cka_high"].item()


def test_noise_is_told_and_a_constant_layer_is_only_constant():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4000))
    with pytest.warns(hl.HomologWarning, match=r"two sketches of 64 columns have in common .* extract with sketch=256"):
        hl.compare({"x": sketched(x, 64, 0)}, {"y": sketched(np.tanh(x), 64, 0)}, measures=MEASURES["debiased"])
    with pytest.warns(hl.ConstantLayerWarning) as told:
        hl.compare({"x": sketched(np.ones((50, 4000)), 64, 0), "narrow": x[:, :9]}, measures=MEASURES["debiased"])
    assert len(told) == 1


@pytest.mark.parametrize("measure", ["cca", "rsa", "cka(kernel=rbf)", "procrustes_distance", "distance_correlation"])
def test_other_measures_are_refused(measure):
    x, _ = two_layers(n=20)
    with pytest.raises(
        ValueError, match="from which compare estimates cka and hsic with kernel='linear' and nothing else"
    ):
        hl.compare({"x": sketched(x, 64, 0)}, measures=measure)
