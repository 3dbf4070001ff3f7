"""What is made of comparisons of sketches: errors over examples and sketches, similarities of models, warnings, pages."""

import shutil
import warnings

import numpy as np
import pytest
from browser import Browser

import homolog as hl
from homolog.operands.block_variance import BLOCKS, BlockTable, PairBlocks, bias_and_error, derivatives
from homolog.reporting.explorer_data import explorer_data
from homolog.sketching import Sketch, SketchedRows, projection

DEBIASED = {"cka": "cka(estimator=debiased)"}
CHROMIUM = shutil.which("chromium")


def sketched(x, columns, seed=0, name="x"):
    sketch = Sketch(name, x.shape[1], columns, seed)
    return SketchedRows(projection(sketch).of(x), sketch, name)


def two_layers(random, n, p=2500, noise=2.0):
    """Return two layers by the same directions every time, of other examples."""
    directions = np.random.default_rng(5).normal(size=(2, 8, p))
    shared = random.normal(size=(n, 8))
    return [shared @ side + noise * random.normal(size=(n, p)) for side in directions]


def test_derivatives_are_those_of_the_function():
    at = np.array([3.0, 1.0, 2.0, 4.0, 1.0, 5.0, 6.0, 1.0, 7.0])
    slope, curvature = derivatives(lambda t: t[..., 0] / np.sqrt(t[..., 3] * t[..., 6]), at)
    value = 3 / np.sqrt(24)
    np.testing.assert_allclose(slope[[0, 1, 3, 6]], [value / 3, 0, -value / 8, -value / 12], atol=1e-9)
    np.testing.assert_allclose(curvature[[0, 3, 3], [3, 3, 6]], [-value / 24, 0.75 * value / 16, value / 96], atol=1e-5)


@pytest.mark.parametrize("alike", [True, False])
def test_the_error_of_a_product_of_sums_over_blocks(alike):
    """A sum over pairs of blocks varies by what single blocks and pairs of blocks do, each counted once."""
    random, values, errors = np.random.default_rng(0), [], []
    slope, curvature = np.eye(9)[0], np.zeros((9, 9))
    for _ in range(600):
        blocks = [0.3 + random.normal(size=(2 * BLOCKS, 3)) for _ in range(1 if alike else 2)]
        cross = blocks[0] @ blocks[-1].T
        if alike:
            cross = cross * np.kron([[0, 1], [1, 0]], np.ones((BLOCKS, BLOCKS))) / 2
        table = np.stack([cross] * 3)
        pair = PairBlocks(table, np.zeros_like(table), np.zeros_like(table), alike)
        values.append(cross.sum())
        errors.append(bias_and_error(BlockTable.of(pair), slope, curvature)[1])
    assert np.mean(errors) / np.std(values) == pytest.approx(1.0, abs=0.1)


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_the_whole_error_is_that_over_examples_and_sketches():
    """Where layers are noise mostly, an error over examples of sketches as they are is twice too large."""
    values, errors, held = [], [], []
    directions = np.random.default_rng(5).normal(size=(2, 8, 2500))
    own = [np.sum((side @ side.T) ** 2) + 2 * 36 * np.sum(side**2) + 2500 * 36**2 for side in directions]
    truth = np.trace(directions[0] @ directions[0].T @ directions[1] @ directions[1].T) / np.sqrt(own[0] * own[1])
    for seed in range(60):
        x, y = two_layers(np.random.default_rng(seed), 80, noise=6.0)
        sides = {"x": sketched(x, 96, seed)}, {"y": sketched(y, 96, seed)}
        result = hl.compare(*sides, measures=DEBIASED, interval=True)
        values.append(result["cka"].item())
        errors.append(result["cka_se"].item())
        held.append(result["cka_low"].item() <= truth <= result["cka_high"].item())
        assert result["cka_se"].item() >= result["cka_se_sketch"].item()
    assert 0.8 < np.mean(errors) / np.std(values) < 1.25
    assert np.mean(held) > 0.88


def test_an_interval_of_a_biased_estimator_is_that_of_the_debiased_one():
    x, y = two_layers(np.random.default_rng(0), 60, noise=4.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)
        result = hl.compare(
            {"x": sketched(x, 96)}, {"y": sketched(y, 96)}, measures={**DEBIASED, "biased": "cka"}, interval=True
        )
    for end in ("low", "high"):
        assert result[f"biased_{end}"].item() == pytest.approx(result[f"cka_{end}"].item())


@pytest.fixture
def models():
    """Four models whose layers are nearly equal, so that some estimates lie above 1."""
    random = np.random.default_rng(1)
    layer = random.normal(size=(60, 6)) @ random.normal(size=(6, 3000))
    return {
        name: {"layer": sketched(layer + 0.1 * random.normal(size=layer.shape), 32, seed=seed)}
        for seed, name in enumerate("abcd")
    }


def test_similarities_above_one_count_as_one_where_layers_are_sketched(models):
    similar = hl.model_similarity(hl.compare(models, measures=DEBIASED))
    assert similar["cka"].max() > 1.001
    told = "similarities are estimates from sketches of layers, and some lie above 1, up to 1.* they count as 1"
    for ask in (hl.embed, hl.cluster):
        for given in (similar, similar["cka"]):
            with pytest.warns(hl.SketchNoiseWarning, match=told) as warned:
                ask(given)
            assert sum(issubclass(each.category, hl.SketchNoiseWarning) for each in warned) == 1
    with pytest.raises(ValueError, match="no similarity may be above 1"):
        hl.embed(similar["cka"].values, names=list("abcd"))


def test_where_halves_of_the_examples_are_noise_the_warning_names_the_sketches():
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 3000))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = hl.compare(
            {"x": sketched(x, 64)}, {"y": sketched(x, 64)}, measures=DEBIASED, interval=True, method="subsample"
        )
    assert np.isnan(result["cka_se"].item())
    words = [str(each.message) for each in told]
    assert any("two sketches of a layer have in common" in each and "method='jackknife'" in each for each in words)
    assert not any("carry the value" in each or "bias moves the value" in each for each in words)


@pytest.mark.filterwarnings("ignore::homolog.HomologWarning")
def test_the_page_of_a_result_has_the_error_of_sketches_of_every_pair(tmp_path):
    x, y = two_layers(np.random.default_rng(0), 60)
    result = hl.compare({"x": sketched(x, 96)}, {"y": sketched(y, 96), "z": x}, measures=DEBIASED)
    (measure,) = explorer_data(result)["whole"]["measures"]
    np.testing.assert_allclose(measure["companions"]["se_sketch"], result["cka_se_sketch"].values, rtol=1e-3)
    page = hl.report(result, tmp_path / "page.html")
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium")
    with Browser(CHROMIUM, str(tmp_path / "profile")) as browser:
        browser.show(390, "light", "")
        browser.open(page.as_uri())
        browser.wait("document.body.dataset.drawn === 'yes'")
        facts = browser.evaluate("place('chosen').textContent")
        assert "error of sketches" in facts
        assert "since only sketches of layers are kept" in facts
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
