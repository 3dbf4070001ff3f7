"""The paper's experiments, each at a size of seconds; their data, training, and what a killed run leaves."""

from __future__ import annotations

import importlib
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray
from matplotlib import pyplot
from matplotlib.figure import Figure

import homolog as hl
from homolog.cli.app import run
from homolog.paper import checkpoints, data
from homolog.paper.checkpoints import Job
from homolog.paper.depth import longest_block
from homolog.paper.experiments import EXPERIMENTS, perform
from homolog.paper.indexes import described
from homolog.paper.networks import Architecture
from homolog.paper.scale import SCALES, scaled
from homolog.paper.study import Study
from homolog.paper.training import Recipe

FEW = {"width": 0.2, "n_train": 130, "epochs": 1, "deep_epochs": 1, "n_examples": 120, "seeds": 3, "n_probed": 60}
FEW |= {"translator_width": 8, "translator_epochs": 1, "n_tokens": 120}
SMALLEST = replace(SCALES["tiny"], **FEW, depths=(10, 18), residual_depth=8, widths=(2, 3))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(scale=SMALLEST, out=tmp_path_factory.mktemp("paper"), say=lambda line: None, progress=False)


def drawn_small(figure, path, **options):
    """Draw a picture in a tenth of the time: once, and in few pixels. One of the command line is drawn as it will be."""
    figure.canvas.print_figure(path, dpi=40)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_and_is_not_run_twice(study, name, monkeypatch):
    said = []
    monkeypatch.setattr(Figure, "savefig", drawn_small)
    result = perform(EXPERIMENTS[name], replace(study, say=said.append))
    data = EXPERIMENTS[name].data(study).name
    assert said[0].endswith(f"{data}, scale tiny")
    assert any("Written" in line for line in said)
    picture = study.out / f"{name}-{study.title(data)}.png"
    assert pyplot.imread(picture).std() > 0.05
    written = xarray.load_dataset(picture.with_suffix(".nc"))
    # Nothing is left to compute; drawing it again would show nothing new.
    monkeypatch.setattr(checkpoints, "_train", None)
    monkeypatch.setattr(hl, "compare", None)
    monkeypatch.setattr(Figure, "savefig", lambda *arguments, **options: None)
    xarray.testing.assert_identical(perform(EXPERIMENTS[name], replace(study)), written)
    assert written.attrs["costs"] == result.attrs["costs"] != "{}"
    pyplot.close("all")


def result_of(study, name):
    """What an experiment found; it runs once, whichever test asks first."""
    experiment = EXPERIMENTS[name]
    return study.recorded(name, lambda: experiment.run(study), **experiment.depends_on(study))


def test_table_2_is_layer_identification(study):
    found = result_of(study, "table2")
    assert found.sizes["measure"] == 11
    assert set(found.decisions.values) == {3 * 2 * 9}
    assert np.isfinite(found.accuracy_se.values).all()
    assert float(found.paper.sel(measure="cka")) == pytest.approx(0.993)
    assert float(found.z_regression.sel(measure="linear_regression")) == 0
    ahead = found.accuracy.sel(measure="cka") - found.accuracy.sel(measure="linear_regression")
    assert np.sign(found.z_regression.sel(measure="cka")) == np.sign(ahead)


def test_table_2_of_ones_own_index(study, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def widths(x, y):\n    return 1.0 / (1 + abs(x.shape[1] - y.shape[1]))\n")
    options = ["--seeds", "3", "--epochs", "1", "--train-images", "130", "--examples", "120", "--width", "0.2"]
    assert run(["paper", "table2", "-m", "mine.py:widths", "-m", "cka", *options, "--out", "here"]) == 0
    assert "mine:widths" in capsys.readouterr().out
    (file,) = (tmp_path / "here").glob("table2-digits-tiny-*epochs-1*-by-mine-widths-cka.nc")
    found = xarray.load_dataset(file)
    assert found.measure.values.tolist() == ["mine:widths", "cka"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def index(x, y):\n    return float('nan')\n", "got NaN for random ones"),
        ("def index(x, y):\n    return x @ y\n", "got ValueError"),
        ("class index:\n    pass\n", "got TypeError"),
    ],
)
def test_an_index_that_fails_is_found_before_training(monkeypatch, tmp_path, capsys, code, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text(code)
    monkeypatch.setattr(checkpoints, "_train", None)
    assert run(["paper", "table2", "-m", "broken.py:index", "--out", "here"]) == 2
    assert words in capsys.readouterr().err


def test_a_changed_helper_of_ones_own_index_is_noticed(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a_helper.py").write_text("FACTOR = 1\n")
    (tmp_path / "an_index.py").write_text("import a_helper\ndef index(x, y):\n    return a_helper.FACTOR\n")
    measure = hl.measure(importlib.import_module("an_index").index)
    before = described(measure)
    assert described(measure) == before
    (tmp_path / "a_helper.py").write_text("FACTOR = 2\n")
    assert described(measure) != before


def layers_of(study, family, seed, images, source=None, width=0.2, batch_norm=True):
    """What an experiment compares, taken here from a network of its own training."""
    chosen = Architecture(family, 1, 8, (source or study.images).classes, width, batch_norm)
    network = study.networks({"": (chosen, seed)}, source)[""]
    return hl.extract(network.network, images, layers=chosen.layers(), batch_size=512, progress=False)


def test_figures_hold_the_values_of_their_layers(study):
    test = study.images.test[:120]
    first, second, third = (layers_of(study, "tiny-10", seed, test) for seed in (0, 1, 2))
    pairs = [(first, second), (first, third), (second, third)]
    fig7 = result_of(study, "fig7").sel(examples="digits", networks="digits and digits")
    for layer in ("conv1", "conv7", "pool"):
        mean = np.mean([float(hl.cka(x[layer], y[layer])) for x, y in pairs])
        assert float(fig7.cka.sel(layer=layer)) == pytest.approx(mean, abs=1e-5)
    fig8 = result_of(study, "fig8")
    assert float(fig8.cka.sel(layer="conv5")) == pytest.approx(float(hl.cka(first["conv5"], second["conv5"])), abs=1e-5)
    others = [layers_of(study, "tiny-10", seed, test, study.second_images) for seed in (0, 1, 2)]
    across = result_of(study, "fig7").sel(networks="digits and digits-5-9", layer="conv2")
    mean = np.mean([float(hl.cka(x["conv2"], y["conv2"])) for x in (first, second, third) for y in others])
    assert float(across.cka.sel(examples="digits")) == pytest.approx(mean, abs=1e-5)
    fig6 = result_of(study, "fig6")
    narrow = [layers_of(study, "width-2", seed, test, width=1.0)["conv3"] for seed in (0, 1, 2)]
    mean = np.mean([float(hl.cka(narrow[i], narrow[j])) for i, j in ((0, 1), (0, 2), (1, 2))])
    assert float(fig6.cka.sel(width=2, layer="conv3")[0]) == pytest.approx(mean, abs=1e-5)


def test_figures_across_architectures_hold_the_values_of_their_layers(study):
    scale, test, train = study.scale, study.images.test[:120], study.images.train[:120]
    residual = layers_of(study, "resnet-8", 0, test, width=scale.residual_width)
    own = result_of(study, "fig4").cka.sel(layer_a="block1.inside", layer_b="block2.sum")
    assert float(own) == pytest.approx(float(hl.cka(residual["block1.inside"], residual["block2.sum"])), abs=1e-5)
    plain = layers_of(study, "plain-10", 0, test, width=scale.deep_width)["conv4"]
    deeper = layers_of(study, "resnet-14", 0, test, width=scale.residual_width)["block3.sum"]
    across = hl.between(result_of(study, "fig5"), "Plain-10", "ResNet-14").cka
    assert float(across.sel(layer_a="conv4", layer_b="block3.sum")) == pytest.approx(
        float(hl.cka(plain, deeper)), abs=1e-5
    )
    tiny = layers_of(study, "tiny-10", 0, train)["conv4"]
    deeper = layers_of(study, "resnet-14", 0, train, width=scale.residual_width)["block3.sum"]
    across = result_of(study, "tiny-resnet").sel(layer_a="conv4", layer_b="block3.sum")
    for name in ("cka", "cka(kernel=rbf,median_fraction=0.4)"):
        assert float(across[name]) == pytest.approx(float(hl.measure(name)(tiny, deeper)), abs=1e-5)


def test_figure_1_draws_principal_components(study):
    layers = [layers_of(study, "tiny-10", seed, study.images.test[:120])["conv6"] for seed in (0, 1)]
    result = result_of(study, "fig1")
    assert result.attrs["cka"] == pytest.approx(float(hl.cka(*layers)), abs=1e-5)
    for layer, score in zip(layers, result.score.values, strict=True):
        values = np.linalg.svd(layer - layer.mean(axis=0, dtype=float), compute_uv=False)
        np.testing.assert_allclose(np.linalg.norm(score, axis=0), values[:2], rtol=1e-4)


def test_identification_of_the_appendix_is_that_of_its_networks(study):
    train = study.images.train[:120]
    architecture = study.architecture("tiny-10")
    raw = [checkpoints.untrained(architecture, study.images, seed) for seed in (0, 1, 2)]
    learned = {str(seed): layers_of(study, "tiny-10", seed, train) for seed in (0, 1, 2)}
    cases = [
        (
            {str(i): study.activations(network, train) for i, network in enumerate(raw)},
            "cka",
            "untrained",
            {"measure": "cka"},
        ),
        (learned, "svcca(threshold=0.9)", "svcca-thresholds", {"statistic": "R²", "threshold": 0.9}),
    ]
    for models, measure, name, at in cases:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", hl.HomologWarning)
            found = hl.layer_identification(hl.compare(models, measures=measure))
        assert float(result_of(study, name).accuracy.sel(at)) == pytest.approx(float(found.accuracy[0]))


def test_batch_norm_is_compared_with_none(study):
    train = study.images.train[:120]
    kinds = [
        [layers_of(study, "tiny-10", k, train, batch_norm=norm)["conv3"] for k in (0, 1, 2)] for norm in (True, False)
    ]
    mean = np.mean([float(hl.cka(x, y)) for x in kinds[0] for y in kinds[1]])
    result = result_of(study, "batchnorm").sel(networks="with and without", layer_a="conv3", layer_b="conv3")
    assert float(result.cka) == pytest.approx(mean, abs=1e-5)


def test_probes_belong_to_their_layers(study):
    width = study.scale.deep_width
    train, test = study.images.train[:60], study.images.test[:120]
    fitted, measured = (layers_of(study, "plain-18", 0, images, width=width) for images in (train, test))
    labels = study.images.train_labels[:60], study.images.test_labels[:120]
    own = hl.between(result_of(study, "fig3"), "Plain-18", "Plain-18")
    probed = hl.probe(fitted, labels[0], (measured, labels[1]))
    np.testing.assert_allclose(own.accuracy.sel(layer_a=probed.layer.values), probed.accuracy, atol=1e-12)


def test_more_than_the_memory_holds_is_refused_in_time(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("homolog.cli.paper_command.whole_memory", lambda: 2**20)
    options = ["--epochs", "1", "--train-images", "130", "--examples", "120", "--width", "0.2"]
    assert run(["paper", "tiny-resnet", *options, "--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert re.search(
        r"MiB of memory, got a machine with 1.0 MiB, a tenth of which is left to others: use fewer with --examples \d+",
        message,
    )


def test_the_longest_block_is_of_layers_that_are_all_alike():
    values = np.eye(5)
    values[1:4, 1:4] = 0.95
    values[3:, 3:] = 0.92
    own = xarray.Dataset({"cka": (("layer_a", "layer_b"), values)})
    assert longest_block(own) == 3
    assert longest_block(own, 0.99) == 1


def test_within_class_is_the_mean_over_classes(study):
    train, labels = study.images.train[:120], study.images.train_labels[:120]
    first, second = (layers_of(study, "tiny-10", seed, train) for seed in (0, 1))
    result = result_of(study, "within-class").sel(layer_a="conv2", layer_b="conv4")
    x, y = first["conv2"], second["conv4"]
    assert float(result.whole) == pytest.approx(float(hl.cka(x, y, estimator="debiased")), abs=1e-5)
    parts = [float(hl.cka(x[labels == k], y[labels == k], estimator="debiased")) for k in range(10)]
    assert float(result.within) == pytest.approx(np.mean(parts), abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fig3", "-m", "cka"], "is for table2, fig2, untrained"),
        (["fig9"], "must be one of table2, fig2"),
        (["tablef1"], "got 'tablef1', did you mean tableF1?"),
        (["withinclass"], "did you mean within-class?"),
        (["table2", "--scale", "huge"], "must be one of tiny, small, full"),
        (["table2", "--data", "imagenet"], "must be one of digits"),
        (["table2", "--data", "cifar10"], "--data-folder"),
        (["table2", "--image-size", "3"], "must divide 8"),
        (["table2", "-m", "ckaa"], "ckaa"),
        (["fig7", "--second-data", "digits"], "another than the first"),
        (["tableF1", "--data", "mnist"], "give a folder with --sentences"),
        (["fig8", "--sentences", "."], "is for tableF1, got it for fig8"),
    ],
)
def test_wrong_use_of_the_command(tmp_path, capsys, arguments, words):
    assert run(["paper", *arguments, "--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1


def job(seed=0, epochs=3, images=None, **architecture):
    source = images or data.load("digits").limited(140)
    return Job(Architecture("tiny-10", 1, 8, source.classes, 0.2, **architecture), source, Recipe(epochs), seed)


def test_a_killed_training_goes_on_to_the_same_network(tmp_path, monkeypatch):
    whole = checkpoints.trained(job(), tmp_path / "whole", lambda images: None)
    monkeypatch.setattr(checkpoints, "SAVED_EVERY", -1.0)
    steps = []

    def killed(images):
        steps.append(images)
        if len(steps) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.trained(job(), tmp_path / "killed", killed)
    (left,) = (tmp_path / "killed").iterdir()
    assert left.name.endswith(".unfinished.safetensors")
    done = []
    again = checkpoints.trained(job(), tmp_path / "killed", done.append)
    assert done[0] > 0
    for name, tensor in whole.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], tensor, rtol=0, atol=0)
    assert [path.suffix for path in (tmp_path / "killed").iterdir()] == [".safetensors"]


def test_checkpoints_are_kept_by_everything_that_determines_them():
    digits = data.load("digits").limited(140)
    darker = replace(digits, train=digits.train / 2)
    jobs = [
        job(),
        job(seed=1),
        job(epochs=2),
        job(batch_norm=False),
        job(images=darker),
        job(images=digits.limited(130)),
    ]
    assert len({each.key for each in jobs}) == len(jobs)
    assert job().key == job().key


def test_a_damaged_checkpoint_is_told(tmp_path):
    checkpoints.trained(job(epochs=1), tmp_path, lambda images: None)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="delete it"):
        checkpoints.trained(job(epochs=1), tmp_path, lambda images: None)


def test_training_is_learning(tmp_path):
    digits = data.load("digits")
    learned = checkpoints.trained(
        Job(Architecture("tiny-10", 1, 8, 10, 0.5), digits, Recipe(3, batch_size=32), 0), tmp_path, lambda images: None
    )
    assert learned.accuracy > 0.8
    assert checkpoints.untrained(learned.architecture, digits, 0).accuracy < 0.3


@pytest.mark.parametrize(
    ("family", "layers", "channels"),
    [
        ("tiny-10", 9, 64),
        ("plain-10", 9, 192),
        ("plain-66", 65, 192),
        ("width-5", 9, 5),
        ("resnet-14", 14, 64),
        ("resnet-62", 62, 64),
    ],
)
def test_architectures_have_the_papers_layers(family, layers, channels):
    architecture = Architecture(family, 3, 16, 7, 1.0)
    network = architecture.build()
    assert len(architecture.layers()) == layers
    taken = hl.extract(network, torch.zeros(2, 3, 16, 16), layers=architecture.layers(), progress=False)
    assert list(taken) == architecture.layers()
    assert taken["pool"].shape == (2, channels)
    assert network(torch.zeros(2, 3, 16, 16)).shape == (2, 7)


def test_tiny_10_is_table_e1():
    modules = Architecture("tiny-10", 3, 32, 10).build().modules()
    found = [(m.out_channels, m.kernel_size[0], m.stride[0]) for m in modules if isinstance(m, torch.nn.Conv2d)]
    first, second = [(16, 3, 1)] * 2, [(32, 3, 2), (32, 3, 1), (32, 3, 1)]
    assert found == first + second + [(64, 3, 2), (64, 3, 1), (64, 1, 1)]


@pytest.mark.parametrize("family", ["tiny-11", "plain-12", "resnet-15", "vgg-16", "width-0", "plain-2"])
def test_unknown_architectures(family):
    with pytest.raises(ValueError, match="plain-18 or resnet-14"):
        Architecture(family, 1, 8, 10).layers()


def test_figure_7_needs_images_of_one_shape(study):
    with pytest.raises(ValueError, match="--second-data"):
        perform(EXPERIMENTS["fig7"], replace(study, second_data="mnist"))


def test_scales_are_changed_by_name():
    assert scaled("small", epochs=2, width=None) == replace(SCALES["small"], epochs=2)
