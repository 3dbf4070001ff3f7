"""Models that read texts: sentence-transformers, TransformerLens, pipelines of transformers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tiny_models
import torch
import transformers
from tiny_models import TEXTS, VOCABULARY

import homolog as hl

LAYERS = ["0", "0.model.encoder.layer.1", "1", "2", "3", "output"]


@pytest.fixture(scope="module")
def sentence_transformers():
    return pytest.importorskip("sentence_transformers", reason="sentence encoders")


@pytest.fixture(scope="module")
def encoders(sentence_transformers, tmp_path_factory):
    """Two encoders of other widths, whose tokenizers give other numbers to the words."""
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    made = []
    for seed, width, words in ((0, 16, VOCABULARY), (1, 24, VOCABULARY[:5] + VOCABULARY[:4:-1])):
        folder = tmp_path_factory.mktemp("encoder")
        tiny_models.bert("BertModel", seed=seed, width=width).save_pretrained(folder)
        tiny_models.word_tokenizer(words).save_pretrained(folder)
        torch.manual_seed(seed)
        parts = [modules.Transformer(str(folder)), modules.Pooling(width), modules.Dense(width, 8), modules.Normalize()]
        made.append(sentence_transformers.SentenceTransformer(modules=parts, device="cpu"))
    return made


@pytest.fixture(scope="module")
def encoder(encoders):
    return encoders[0]


def extracted(model, data=TEXTS, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "left out, because nobody named them", hl.ExtractionWarning)
        return hl.extract(model, data, **{"reduce": "mean", "batch_size": 5} | options)


def test_each_module_of_a_sentence_encoder_gives_what_it_makes(encoder):
    found = extracted(encoder, layers=LAYERS)
    expected = encoder.encode(TEXTS)
    for layer in ("3", "output"):
        np.testing.assert_allclose(found[layer], expected, atol=1e-6)
    by_token = encoder.encode(TEXTS, output_value="token_embeddings")
    np.testing.assert_allclose(found["0"], np.stack([x.mean(dim=0).numpy() for x in by_token]), atol=1e-6)
    np.testing.assert_allclose(found["1"], found["0"], atol=1e-6)  # which the model pools in the same way
    np.testing.assert_array_equal(found["0"], found["0.model.encoder.layer.1"])
    assert [found[layer].shape[1] for layer in LAYERS] == [16, 16, 16, 8, 8, 8]
    np.testing.assert_allclose(found["2"] / np.linalg.norm(found["2"], axis=1, keepdims=True), found["3"], atol=1e-6)


def test_tokens_are_rows_without_padding(encoder):
    found = extracted(encoder, layers="0", reduce="positions")
    assert found.n == sum(len(text.split()) + 1 for text in TEXTS)
    with pytest.raises(ValueError, match=r"holds padding.*use reduce="):
        extracted(encoder, layers="0", reduce="flatten")


def test_a_mask_of_ones_own_for_one_layer_leaves_the_others_theirs(encoder):
    layers = ["0", "0.model.encoder.layer.0"]
    found = extracted(encoder, layers=layers, mask={"0.model.encoder.layer.0": None})
    expected = extracted(encoder, layers=layers)
    np.testing.assert_array_equal(found["0"], expected["0"])
    assert np.abs(found[layers[1]] - expected[layers[1]]).max() > 1e-3  # with the padding of each batch


FORMS = {
    "an array": np.array(TEXTS),
    "an array of objects": np.array(TEXTS, dtype=object),
    "a tuple": tuple(TEXTS),
    "batches": [TEXTS[:5], TEXTS[5:6], TEXTS[6:]],
    "a loader": torch.utils.data.DataLoader(TEXTS, batch_size=5),
}


@pytest.mark.parametrize("form", FORMS)
def test_texts_come_in_many_forms(encoder, form):
    found = extracted(encoder, FORMS[form], layers=["0", "output"])
    expected = extracted(encoder, layers=["0", "output"])
    for layer in expected:
        np.testing.assert_allclose(found[layer], expected[layer], atol=1e-6)
    hl.compare(found, expected, measures="cka(estimator=debiased)")  # the same rows, or this raises


def test_texts_from_generators_tables_and_one_by_one(encoder):
    import pandas as pd

    expected = extracted(encoder, layers="0")["0"]
    forms = [(TEXTS[i : i + 4] for i in range(0, 12, 4)), pd.Series(TEXTS), [encoder.preprocess(TEXTS)]]
    for data in forms:
        np.testing.assert_allclose(extracted(encoder, data, layers="0")["0"], expected, atol=1e-6)
    np.testing.assert_allclose(extracted(encoder, layers="0", batch_size=1)["0"], expected, atol=1e-6)


def test_rows_are_the_texts_whatever_the_tokenizer(encoders):
    first, second = (extracted(encoder, layers=["0", "output"]) for encoder in encoders)
    result = hl.compare(first, second, measures="cka(estimator=debiased)")
    assert result.attrs["row_identity"] == "digests of inputs"
    with pytest.raises(ValueError, match="the same inputs in another order"):
        hl.compare(first, extracted(encoders[1], TEXTS[::-1], layers=["0", "output"]))
    one_pass = hl.compare_models(
        *encoders,
        TEXTS,
        layers=["0", "output"],
        reduce="mean",
        batch_size=5,
        exact=True,
        measures="cka(estimator=debiased)",
    )
    name = "cka(estimator=debiased)"
    np.testing.assert_allclose(one_pass[name].values, result[name].values, atol=1e-5)


def test_an_encoder_beside_itself_runs_once(encoder):
    result = hl.compare_models(encoder, encoder, TEXTS, layers=["0", "output"], reduce="mean", batch_size=6)
    assert result.attrs["same_model"]
    name = "cka(estimator=debiased)"
    np.testing.assert_allclose(np.diagonal(result[name].values), 1, atol=1e-5)


def test_prompts_are_put_before_texts(encoder):
    encoder.prompts, encoder.default_prompt_name = {"query": "the long "}, "query"
    try:
        found = extracted(encoder, layers="output")["output"]
        expected = encoder.encode(TEXTS)
    finally:
        encoder.prompts, encoder.default_prompt_name = {}, None
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found - encoder.encode(TEXTS)).max() > 1e-3


def test_a_store_is_continued_with_the_same_tokenizer_only(encoders, tmp_path):
    encoder = encoders[0]
    store = {"out": tmp_path / "a.zarr", "layers": ["0", "output"], "batch_size": 4}
    extracted(encoder, max_examples=4, **store)
    own = encoder[0].processor
    encoder[0].processor = encoders[1][0].processor
    try:
        with pytest.raises(ValueError, match="must be continued as it was begun"):
            extracted(encoder, resume=True, **store)
    finally:
        encoder[0].processor = own
    finished = extracted(encoder, resume=True, **store)
    np.testing.assert_allclose(finished["0"][:], extracted(encoder, layers="0")["0"], atol=1e-6)


def test_pairs_of_texts(sentence_transformers, tmp_path):
    tiny_models.bert(labels=1).save_pretrained(tmp_path)
    tiny_models.word_tokenizer().save_pretrained(tmp_path)
    model = sentence_transformers.CrossEncoder(str(tmp_path), device="cpu")
    pairs = list(zip(TEXTS, TEXTS[3:] + TEXTS[:3], strict=True))
    scores = model.predict(pairs, activation_fn=torch.nn.Identity())
    for data in (pairs, [list(pair) for pair in pairs]):
        np.testing.assert_allclose(extracted(model, data, layers="output")["output"][:, 0], scores, atol=1e-6)


def test_static_embeddings_have_no_positions(sentence_transformers):
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    torch.manual_seed(0)
    part = modules.StaticEmbedding(tiny_models.word_tokenizer(), embedding_dim=8)
    model = sentence_transformers.SentenceTransformer(modules=[part], device="cpu")
    np.testing.assert_allclose(extracted(model, layers="output")["output"], model.encode(TEXTS), atol=1e-6)


def test_a_pipeline_brings_its_tokenizer():
    model, tokenizer = tiny_models.bert(), tiny_models.word_tokenizer()
    pipeline = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
    layers = ["bert.encoder.layer.1", "output"]
    found, expected = extracted(pipeline, layers=layers), extracted(model, tokens, layers=layers)
    for layer in layers:
        np.testing.assert_allclose(found[layer], expected[layer], atol=1e-6)


def test_a_model_without_a_tokenizer_says_what_it_needs():
    with pytest.raises(TypeError, match=r"got texts: let a tokenizer make tensors of them"):
        extracted(tiny_models.bert())


@pytest.mark.parametrize("gap", [None, float("nan")])
def test_gaps_between_texts_are_refused(encoder, gap):
    with pytest.raises(TypeError, match=r"must be texts throughout, got .* in row 2: leave out"):
        extracted(encoder, ["a sea", "the river", gap])


def test_texts_for_a_forward_of_ones_own(encoder):
    lengths: list[int] = []

    def forward(model, texts):
        lengths.append(len(texts))
        return model(model.preprocess([text.upper() for text in texts]))

    found = extracted(encoder, layers="output", forward=forward)
    np.testing.assert_allclose(found["output"], encoder.encode([text.upper() for text in TEXTS]), atol=1e-6)
    assert {5, 2} <= set(lengths)


@pytest.fixture(scope="module")
def hooked(tmp_path_factory):
    """A bridge of TransformerLens around a small GPT-2."""
    lens = pytest.importorskip("transformer_lens.model_bridge", reason="models with hook points")
    folder = tmp_path_factory.mktemp("gpt2")
    tiny_models.gpt2().save_pretrained(folder)
    tiny_models.word_tokenizer().save_pretrained(folder)
    return lens.TransformerBridge.boot_transformers(str(folder), device="cpu")


def test_every_hook_point_is_a_layer_by_each_of_its_names(hooked):
    tokens = torch.randint(5, 18, (6, 5), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, cache = hooked.run_with_cache(tokens)
    asked = [name for name, values in cache.items() if values.is_floating_point()]
    assert {"blocks.0.hook_resid_post", "blocks.1.attn.hook_z", "blocks.1.ln1.hook_normalized"} < set(asked)
    found = hl.extract(hooked, tokens, layers=asked)  # each by the first of its names
    assert len(found) > len(asked) / 2
    for name in found:
        np.testing.assert_allclose(found[name], cache[name].numpy().reshape(6, -1), atol=1e-6, err_msg=name)
    for name in ("hook_embed", "blocks.1.hook_resid_post", "blocks.0.attn.hook_q", "blocks.1.hook_mlp_out"):
        values = hl.extract(hooked, tokens, layers=name)[name]
        np.testing.assert_allclose(values, cache[name].numpy().reshape(6, -1), atol=1e-6)
    default = extracted(hooked, tokens)
    assert set(default) < set(asked)
    assert "blocks.0.hook_out" in default
    assert not any("_original_component" in name for name in default)


def test_heads_are_features_of_positions(hooked):
    tokens = torch.randint(5, 18, (6, 5), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, cache = hooked.run_with_cache(tokens)
    found = extracted(hooked, tokens, layers=["blocks.*.attn.hook_z", "blocks.*.attn.hook_pattern"])
    heads = cache["blocks.1.attn.hook_z"]
    assert heads.ndim == 4
    np.testing.assert_allclose(found["blocks.1.attn.hook_z"], heads.mean(dim=1).flatten(1).numpy(), atol=1e-6)
    assert found["blocks.1.attn.hook_pattern"].shape == (6, 2)  # of each head


@pytest.mark.parametrize("side", ["right", "left"])
def test_texts_for_hook_points(hooked, side):
    hooked.tokenizer.padding_side = side
    found = extracted(hooked, layers="blocks.*.hook_resid_post")
    hooked.tokenizer.padding_side = "right"
    with torch.no_grad():
        alone = [hooked.run_with_cache(text)[1]["blocks.1.hook_resid_post"][0].mean(dim=0).numpy() for text in TEXTS]
    np.testing.assert_allclose(found["blocks.1.hook_resid_post"], np.stack(alone), atol=1e-5)
