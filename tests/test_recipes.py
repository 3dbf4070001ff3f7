"""Models of other libraries, as those who use them would extract from them: nnsight, timm, GGUF files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch

import homolog as hl


def code_of_page(word):
    """Run the block of the page that holds a word; those with prompts run as the others of the pages do."""
    page = Path(__file__).parent.parent / "docs" / "how_to" / "other_libraries.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (block,) = (block for block in blocks if word in block and not block.startswith(">>>"))
    names = {}
    exec(block, names)
    return names


def test_compiled_parts_have_names():
    parts = [torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)]
    model = torch.nn.Sequential(
        parts[0], torch.compile(torch.nn.Sequential(parts[1], torch.nn.ReLU()), backend="eager")
    )
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    found = hl.extract(model, x, layers=["0", "1", "1.0"])
    assert set(found) == {"0", "1", "1.0"}
    np.testing.assert_array_equal(found["1"], np.maximum(found["1.0"], 0))


@pytest.fixture(scope="module")
def nnsight():
    pytest.importorskip("nnsight", reason="models that are traced")
    return tiny_models.imported_nnsight()


def test_a_traced_module(nnsight):
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    traced = nnsight.NNsight(net)
    found, plain = hl.extract(traced, x), hl.extract(net, x)
    assert list(found) == list(plain)
    with traced.trace(x):
        saved = nnsight.save(traced[1].output)
    np.testing.assert_array_equal(found["1"], saved.detach().numpy())
    result = hl.compare_models(traced, net, x, exact=True, measures="cka(estimator=debiased)")
    np.testing.assert_allclose(np.diagonal(result["cka(estimator=debiased)"]), 1, atol=1e-6)


def test_a_traced_language_model_reads_texts(nnsight):
    model, tokenizer = tiny_models.gpt2(), tiny_models.word_tokenizer()
    traced = nnsight.TransformersModel(model, task="text-generation", tokenizer=tokenizer)
    found = hl.extract(traced, tiny_models.TEXTS, layers="transformer.h.*", reduce="mean", batch_size=5)
    for i, text in enumerate(tiny_models.TEXTS):  # by itself, without padding
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
        np.testing.assert_allclose(found["transformer.h.0"][i], states[1][0].mean(dim=0).numpy(), atol=1e-5)


def test_edits_of_a_traced_model_are_refused(nnsight):
    traced = nnsight.NNsight(torch.nn.Sequential(torch.nn.Linear(3, 5)))
    traced._edits.append(object())
    with pytest.raises(ValueError, match=r"got an nnsight model with edits.*clear_edits"):
        hl.extract(traced, torch.zeros(4, 3))


@pytest.fixture(scope="module")
def timm():
    pytest.importorskip("PIL", reason="timm reads images")
    try:
        return tiny_models.imported_timm()
    except ModuleNotFoundError:
        pytest.skip("timm is not installed")


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050"])
def test_feature_names_of_timm_are_layers(timm, name):
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    images = torch.randn(4, 3, 32, 32)
    names = [info["module"] for info in model.feature_info]
    found = hl.extract(model, images, layers=names)
    assert list(found) == names
    with torch.no_grad():
        maps = model.forward_intermediates(images, intermediates_only=True)
    for layer, expected in zip(names, maps, strict=True):
        np.testing.assert_allclose(found[layer], expected.flatten(1).numpy(), atol=1e-6)
    features = timm.create_model(name, pretrained=False, features_only=True).eval()
    asked = features.feature_info.module_name()
    assert list(hl.extract(features, images, layers=asked)) == asked == names


def test_the_code_of_the_page_about_timm(timm):
    torch.manual_seed(0)
    found = code_of_page("timm.create_model")
    assert {name: values.shape for name, values in found["features"].items()} == {
        "act1": (8, 64),
        "layer1": (8, 64),
        "layer2": (8, 128),
        "layer3": (8, 256),
        "layer4": (8, 512),
    }


def test_tokens_of_a_vision_transformer_of_timm(timm):
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32, depth=3).eval()
    images = torch.randn(4, 3, 32, 32)
    names = [info["module"] for info in model.feature_info]
    found = hl.extract(model, images, layers=names, reduce="positions")
    assert list(found) == ["blocks.0", "blocks.1", "blocks.2"]
    with torch.no_grad():
        maps = model.forward_intermediates(images, intermediates_only=True)
    patches = found["blocks.2"].reshape(4, 5, -1)[:, 1:]  # the class token comes first
    np.testing.assert_allclose(patches, maps[2].flatten(2).transpose(1, 2).numpy(), atol=1e-6)
    only = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32, depth=3, features_only=True)
    assert "blocks.2" in hl.extract(only, images, layers=only.feature_info.module_name(), reduce="mean")


def test_language_models_from_gguf_files(tmp_path, monkeypatch):
    pytest.importorskip("gguf", reason="files of llama.cpp")
    for name, eight_bits in (("float.gguf", False), ("int8.gguf", True)):
        tiny_models.write_gguf(tmp_path / name, eight_bits=eight_bits)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    found = code_of_page("gguf_file")
    assert found["profile"]["layer_a"].tolist() == ["model.layers.0", "model.layers.1"]
    assert found["profile"]["value"].between(0.99, 0.999999).all()  # rounded, and not the same weights


def test_a_store_of_a_language_model_is_continued_in_another_process(tmp_path):
    model, store = tiny_models.gpt2(), {"out": tmp_path / "a.zarr", "batch_size": 4, "layers": "transformer.h.*"}
    hl.extract(model, tiny_models.tokens(), reduce="mean", max_examples=4, **store)
    model.generation_config._original_object_hash += 1  # Python's hash of a text: another number in every process
    assert hl.extract(model, tiny_models.tokens(), reduce="mean", resume=True, **store).n == 12
    model.generation_config.num_beams = 3
    with pytest.raises(ValueError, match=r"begun, with GPT2LMHeadModel\.generation_config"):  # which counts otherwise
        hl.extract(model, tiny_models.tokens(), reduce="mean", resume=True, **store)
