"""ONNX files that PyTorch wrote: their layers under the names of modules have the numbers of these modules."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import small_conv_network
import torch
from onnx_exports import (
    Wrapped,
    dynamically_quantised,
    exported,
    nested,
    quietly,
    sentence_encoder,
    sentences,
    statically_quantised,
)

import homolog as hl
from homolog.extraction.frameworks.onnx_models import adapt

EXPORTERS = ("older", "present")
CKA = "cka(estimator=debiased)"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A function that returns an exported network, each exported once."""
    folder = tmp_path_factory.mktemp("onnx")

    @functools.cache
    def file(name: str, exporter: str) -> Path:
        path = folder / f"{name}_{exporter}.onnx"
        if name == "conv":
            images = {"images": torch.tensor(small_conv_network.images(2))}
            return exported(small_conv_network.network(), images, path, exporter=exporter)
        if name == "nested":
            return exported(nested(), {"x": torch.zeros(2, 3, 8, 8)}, path, exporter=exporter)
        batch = {key: torch.tensor(array[:2]) for key, array in sentences().items()}
        net = sentence_encoder() if exporter == "present" else Wrapped(sentence_encoder())
        return exported(net, batch, path, exporter=exporter, axes=2)

    return file


def modules_of(path: Path, net: torch.nn.Module) -> list[str]:
    """The modules of a network that are layers of its file, too."""
    names = adapt(path).types
    return [name for name, _ in net.named_modules() if name in names]


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_small_convolutional_network(files, exporter):
    images = small_conv_network.images(60)
    original = hl.extract(small_conv_network.network(), images, layers=list(small_conv_network.LAYERS))
    found = hl.extract(files("conv", exporter), images, layers=list(small_conv_network.LAYERS))
    assert list(found) == list(original)
    for name in original:
        np.testing.assert_allclose(found[name], original[name], atol=1e-5)
    result = hl.compare({"torch": original, "onnx": found}, measures=CKA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)  # two networks are few
        assert float(hl.layer_identification(result)["accuracy"].item()) == 1
    by_default = hl.extract(files("conv", exporter), images)
    assert len(by_default) == len(original)
    for mine, other in zip(by_default.values(), found.values(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert by_default.modules["/conv1/Conv_output_0" if exporter == "older" else "conv2d"][:2] == (
        "Conv",
        "8 × 16 × 16",
    )


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_names_of_modules_stand_for_their_outputs(files, exporter):
    net, path = nested(), files("nested", exporter)
    names = modules_of(path, net)
    assert {
        "stem",
        "blocks.0",
        "blocks.1",
        "blocks.0.body.3",
        "blocks.0.body",
        "blocks.0.more.1",
        "head.2",
        "head",
    } <= set(names)
    assert not {"blocks.0.body.0", "blocks.1.body.0"} & set(names)  # holds the normalisation
    assert ("twice" in names) == (exporter == "older")
    assert "shared" not in names  # it ran twice, and what comes out at last is its second output
    images = torch.randn(5, 3, 8, 8)
    original, found = hl.extract(net, images, layers=names), hl.extract(path, images, layers=names)
    for name in names:  # of a module that runs again: its first call
        np.testing.assert_allclose(found[name], original[name], atol=1e-5)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_sentence_encoder(files, exporter):
    net, path = sentence_encoder(), files("bert", exporter)
    prefix = "inner." if exporter == "older" else ""
    layers = ["embeddings", "encoder.layer.*", "encoder.layer.*.output.dense", "encoder.layer.*.attention.self.query"]
    original = hl.extract(
        net, {key: torch.tensor(array) for key, array in sentences().items()}, layers=layers, reduce="mean"
    )
    found = hl.extract(path, sentences(), layers=[prefix + layer for layer in layers], reduce="mean")
    found = found.rename(lambda name: name.removeprefix(prefix))
    assert sorted(found) == sorted(original)
    assert len(found) == 7
    for name in original:
        np.testing.assert_allclose(found[name], original[name], atol=1e-5)
    hl.compare(original, found, pairs="same_name", measures=CKA)  # the rows are the same examples
    by_default = hl.extract(path, sentences(), reduce="mean")
    assert len(by_default) == 26 if exporter == "older" else len(by_default) >= 26


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_sentence_encoder_in_8_bits(files, exporter):
    path = files("bert", exporter)
    prefix = "inner." if exporter == "older" else ""
    layers = [f"{prefix}encoder.layer.0", f"{prefix}encoder.layer.1", f"{prefix}encoder.layer.0.attention.self.query"]
    before = hl.extract(path, sentences(), layers=layers, reduce="mean")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)  # values depend on the other examples of a batch
        after = hl.extract(dynamically_quantised(path), sentences(), layers=layers, reduce="mean")
    result = hl.compare(before, after, pairs="same_name", measures=CKA)
    values = np.diag(result[CKA])
    assert (values > 0.97).all()
    assert (values < 0.99999).all()


def test_names_of_weights_tell_modules_where_nothing_else_does(files):
    path = files("bert", "present")
    bare = onnx.load(path)
    for node in bare.graph.node:
        del node.metadata_props[:]
    names = modules_of(bare, sentence_encoder())
    assert {"embeddings.LayerNorm", "encoder.layer.0.attention.self.query", "encoder.layer.1.output.LayerNorm"} <= set(
        names
    )
    assert not {"encoder", "encoder.layer.0"} & set(names)
    names = [name for name in modules_of(path, sentence_encoder()) if name in names]
    expected = hl.extract(path, sentences(), layers=names, reduce="first")
    found = hl.extract(bare, sentences(), layers=names, reduce="first")
    for name in names:
        np.testing.assert_array_equal(found[name], expected[name])
    folded = onnx.load(files("nested", "present"))
    for node in folded.graph.node:
        del node.metadata_props[:]
    assert not modules_of(folded, nested())  # who knows what is folded into a convolution


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_a_small_convolutional_network_in_8_bits(files, exporter, form):
    images = small_conv_network.images(60)
    path = statically_quantised(files("conv", exporter), {"images": images}, form)
    original = hl.extract(small_conv_network.network(), images, layers=list(small_conv_network.LAYERS))
    names = [name for name in small_conv_network.LAYERS if name in adapt(path).types]
    assert {"pool", "norm"} <= set(names)
    # Rounding to a range of positive numbers replaces the activations: what convolutions put out is no longer theirs.
    assert not {"conv1", "conv2"} & set(names)
    found = hl.extract(path, images, layers=names)
    for name in names:
        step = np.abs(original[name]).max() / 255
        assert np.abs(found[name] - original[name]).mean() < 2 * step, name
    assert len(hl.extract(path, images)) >= 6


def test_a_value_that_has_the_name_of_another_module(files):
    given = onnx.load(files("conv", "present"))
    for node in given.graph.node:
        node.output[0] = {"relu": "relu2", "relu_1": "other"}.get(node.output[0], node.output[0])
        for k, name in enumerate(node.input):
            node.input[k] = {"relu": "relu2", "relu_1": "other"}.get(name, name)
    with pytest.warns(
        hl.HomologWarning, match="layer 'relu2' of onnx.ModelProto is the value of this name, .* value 'other'"
    ):
        found = hl.extract(given, small_conv_network.images(4), layers="relu2")
    expected = hl.extract(small_conv_network.network(), small_conv_network.images(4), layers="relu1")
    np.testing.assert_allclose(found["relu2"], expected["relu1"], atol=1e-5)


def test_a_normalisation_stays_folded_in_8_bits(files):
    path = dynamically_quantised(files("nested", "older"))
    names = modules_of(path, nested())
    assert "blocks.0.body" in names
    assert "blocks.0.body.0" not in names
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    original = hl.extract(nested(), images, layers=["stem", "blocks.0.body"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hl.HomologWarning)  # values depend on the other examples of a batch
        found = hl.extract(path, images, layers=["stem", "blocks.0.body"])
    for name in original:
        assert np.linalg.norm(found[name] - original[name]) < 0.05 * np.linalg.norm(original[name])


def test_operators_that_onnxruntime_fused_have_no_name_of_a_module_that_lost_its_bias(files):
    from onnxruntime.transformers import optimizer

    path = files("bert", "older").with_name("fused.onnx")
    with quietly():
        made = optimizer.optimize_model(str(files("bert", "older")), "bert", num_heads=2, hidden_size=16, opt_level=0)
        made.save_model_to_file(str(path))
    net = Wrapped(sentence_encoder())
    names = modules_of(path, net)
    kinds = adapt(path).types
    assert {"SkipLayerNormalization", "BiasGelu"} <= {kinds[name] for name in names}
    assert "inner.encoder.layer.0.intermediate.dense" not in names
    original = hl.extract(
        net, {key: torch.tensor(array) for key, array in sentences().items()}, layers=names, reduce="mean"
    )
    found = hl.extract(path, sentences(), layers=names, reduce="mean")
    for name in original:
        np.testing.assert_allclose(found[name], original[name], atol=1e-4)


@pytest.mark.filterwarnings("ignore:no standard errors:homolog.UndefinedValueWarning")
def test_a_model_and_its_file_in_one_pass(files):
    images, layers = small_conv_network.images(40), ["conv1", "fc2"]
    result = hl.compare_models(
        small_conv_network.network(), files("conv", "older"), images, layers=layers, measures=CKA
    )
    np.testing.assert_allclose(np.diag(result[CKA]), 1, atol=1e-6)
    assert result.attrs["model_b"] == "conv_older.onnx"
