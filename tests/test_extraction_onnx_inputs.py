"""What an ONNX model takes as inputs, and the sentences where a file, a batch or a device is not what it needs."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import command_line
from onnx import helper
from onnx_texts import model, values, weights

import homolog as hl
from homolog import HomologWarning
from homolog.extraction.frameworks.onnx_models import adapt

X = weights(5, 4, seed=1)
TWO = "two (float[n,4] a, float[n,4] b) => (float[n,4] y) { y = Sub(a, b) }"
TEXT = """text (int64[n,s] input_ids, int64[n,s] attention_mask, int64[n,s] token_type_ids) => (float[n,s,4] y) {
    e = Gather(w, input_ids)  k = Gather(t, token_type_ids)  m = Cast<to=1>(attention_mask)  u = Unsqueeze(m, axes)
    z = Add(e, k)  y = Mul(z, u) }"""
TEXT_WEIGHTS = {"w": weights(9, 4), "t": weights(2, 4), "axes": np.array([2])}
IDS = np.arange(6).reshape(2, 3)


def one(kind: str = "float", shape: str = "n,4") -> onnx.ModelProto:
    return model(f"one ({kind}[{shape}] x) => (float[n,4] y) {{ y = Cast<to=1>(x) }}")


def test_inputs_by_name_and_by_position():
    a, b = X, weights(5, 4, seed=2)
    for batch in ({"b": b, "a": a}, (a, b), [a, b], (a, b, np.arange(5))):
        np.testing.assert_array_equal(values(model(TWO), batch)["y"], a - b)
    np.testing.assert_array_equal(values(one(), (X, np.arange(5)))["y"], X)


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        ({"a": X}, "must get its inputs 'a' (float32 (n, 4)), 'b' (float32 (n, 4)), got none for 'b': give each batch"),
        (X, "got none for 'b'"),
        (
            {"a": X, "b": X, "c": X},
            "must hold its inputs 'a' (float32 (n, 4)), 'b' (float32 (n, 4)), got 'c' too: leave it out",
        ),
        ((), "got an empty tuple"),
        ((X, X[:, :3]), "input 'b' of onnx.ModelProto must have shape (n, 4), got (5, 3)"),
        ((X, X[0]), "input 'b' of onnx.ModelProto must have 2 axes, (n, 4), got shape (4,)"),
    ],
)
def test_batches_that_do_not_fit(batch, told):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as raised:
        values(model(TWO), batch)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("float", X.astype(np.float64)),
        ("float16", X),
        ("double", X),
        ("float", np.arange(8, dtype=np.uint8).reshape(2, 4)),
        ("int64", np.arange(8, dtype=np.int32).reshape(2, 4)),
        ("int32", np.arange(8).reshape(2, 4)),
        ("int64", np.ones((2, 4), bool)),
        ("bool", np.ones((2, 4), int)),
    ],
)
def test_types_are_cast_where_no_number_is_lost(kind, given):
    np.testing.assert_allclose(values(one(kind), given)["y"], given.astype(np.float64), atol=2e-3)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("int64", X),
        ("int32", np.full((2, 4), 2**40)),
        ("uint8", np.full((2, 4), -1)),
        ("float", np.full((2, 4), 2**24 + 1)),
        ("float16", np.full((2, 4), 1e6, np.float32)),
        ("bool", np.full((2, 4), 2)),
    ],
)
def test_types_are_not_cast_where_numbers_would_change(kind, given):
    with pytest.raises(
        TypeError, match=r"input 'x' of onnx.ModelProto must be .* got .* with numbers that .* does not hold: check"
    ):
        values(one(kind), given)


def test_text_is_taken_as_text():
    text = "t (string[n] x) => (float[n,2] y) { e = Equal(x, word)  f = Cast<to=1>(e)  u = Unsqueeze(f, axes)  y = MatMul(u, w) }"
    given = model(text, opset=19, w=weights(1, 2), axes=np.array([1]))
    given.graph.initializer.append(helper.make_tensor("word", onnx.TensorProto.STRING, [1], [b"cat"]))
    found = values(given, np.array(["cat", "dog"]))["y"]
    assert found[0].any()
    assert not found[1].any()


def test_what_hugging_face_takes_for_granted():
    given = model(TEXT, **TEXT_WEIGHTS)
    whole = {"input_ids": IDS, "attention_mask": np.ones_like(IDS), "token_type_ids": np.zeros_like(IDS)}
    expected = values(given, whole)["y"]
    np.testing.assert_array_equal(values(given, {"input_ids": IDS})["y"], expected)
    np.testing.assert_array_equal(values(given, IDS)["y"], expected)
    beside = {"id": np.arange(2), "labels": np.arange(2), "text": ["a", "b"], "special_tokens_mask": IDS * 0}
    np.testing.assert_array_equal(values(given, whole | beside)["y"], expected)
    masked = whole | {"attention_mask": np.array([[1, 1, 0], [1, 1, 1]])}
    assert not values(given, masked)["y"][0, 2].any()


def test_keys_that_the_model_has_no_input_for():
    given = model("t (int64[n,s] input_ids) => (float[n,s,4] y) { y = Gather(w, input_ids) }", w=TEXT_WEIGHTS["w"])
    mask, kinds = np.ones_like(IDS), np.zeros_like(IDS)
    expected = values(given, IDS)["y"]
    found = values(given, {"input_ids": IDS, "attention_mask": mask, "token_type_ids": kinds})["y"]
    np.testing.assert_array_equal(found, expected)
    adapted = adapt(given)
    mask[0, 2] = 0
    batch = {"input_ids": IDS, "attention_mask": mask}
    with pytest.warns(HomologWarning, match=r"has no input 'attention_mask': padding counts"):
        dict(adapted.run(batch, None))
    dict(adapted.run(batch, None))  # told once: a second warning would be an error
    with pytest.raises(ValueError, match=r"must hold its inputs 'input_ids' .* got 'token_type_ids' too"):
        values(given, {"input_ids": IDS, "token_type_ids": kinds + 1})


def test_inputs_that_may_be_left_out():
    given = model("g (float[n,4] x, float[4] w) => (float[n,4] y) { y = Mul(x, w) }", w=np.full(4, 2, np.float32))
    np.testing.assert_array_equal(values(given, X)["y"], 2 * X)
    np.testing.assert_array_equal(values(given, {"x": X, "w": np.full(4, 3, np.float32)})["y"], 3 * X)


def test_a_model_of_fixed_batch_size_says_so():
    given = one(shape="8,4")
    assert values(given, weights(8, 4))["y"].shape == (8, 4)
    with pytest.raises(
        ValueError, match=r"takes batches of 8 examples, as its file says, got 5: extract with batch_size=8"
    ):
        values(given, X)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "must be an ONNX model with a graph of nodes, got none"),
        (b"not a model at all", "must be an ONNX model, got bytes that are none"),
        (one().SerializeToString()[:60], "must be an ONNX model, got bytes that are none, or only a part of one"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "got the pointer that Git LFS keeps in its place: run `git lfs pull`",
        ),
        (b"    ORTM    ", "got one of onnxruntime's own format: hand over the .onnx file"),
    ],
)
def test_damaged_files(tmp_path, content, told):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as raised:
        adapt(path)
    assert told in str(raised.value)
    assert "m.onnx" in str(raised.value)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file '.*m\.onnx': check the name"):
        adapt(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(ValueError, match=r"got a folder"):
        adapt(tmp_path / "m.onnx")


def test_weights_that_are_not_there(tmp_path):
    path = tmp_path / "m.onnx"
    given = model("g (float[n,4] x) => (float[n,3] y) { y = MatMul(x, w) }", w=weights(4, 3))
    onnx.save(given, path, save_as_external_data=True, location="m.data", size_threshold=0)
    with pytest.raises(ValueError, match=r"got a reference to 'm.data' in no folder: hand over the path"):
        adapt(onnx.load(path, load_external_data=False))
    (tmp_path / "m.data").unlink()
    with pytest.raises(FileNotFoundError, match=r"m\.onnx needs the file 'm\.data' beside it, which is missing"):
        adapt(path)


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "..\\secret", "C:\\secret"])
def test_weights_are_read_from_the_folder_of_the_model_only(tmp_path, location):
    (tmp_path / "secret").write_bytes(bytes(64))
    path = tmp_path / "inner" / "m.onnx"
    path.parent.mkdir()
    given = model("g (float[n,4] x) => (float[n,3] y) { y = MatMul(x, w) }", w=weights(4, 3))
    onnx.external_data_helper.set_external_data(given.graph.initializer[0], location)
    given.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(given.SerializeToString())
    with pytest.raises(ValueError, match=r"must have its weights beside it, got a reference to .*, which is not read"):
        adapt(path)


def test_operators_that_the_runtime_does_not_have():
    given = model("g (float[n,4] x) => (float[n,4] y) { y = own.Twist(x) }")
    given.opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(
        ValueError,
        match=r"^onnx\.ModelProto must be a model that onnxruntime can run, got: [^\n]*Twist[^\n]* never loads\.$",
    ):
        adapt(given)
    with pytest.raises(
        ValueError, match=r"must be a model that onnxruntime can run, got: .*install a newer onnxruntime"
    ):
        adapt(model("g (float[n,4] x) => (float[n,4] y) { y = Relu(x) }", opset=99))


def test_graphs_that_cannot_be():
    with pytest.raises(ValueError, match=r"must have an input, got a graph that needs none"):
        adapt(model("g () => (float[4] y) { y = Relu(w) }", w=weights(4)))
    with pytest.raises(
        ValueError, match=r"must be a model that onnxruntime can run, got: .*check the file with onnx.checker"
    ):
        adapt(model("g (float[n,4] x) => (float[n,4] y) { y = MatMul(x, w) }", w=weights(3, 4)))


def test_a_batch_that_the_model_cannot_run():
    given = model("g (float[n,4] a, float[m,4] b) => (float[n,4] y) { y = Add(a, b) }")
    with pytest.raises(ValueError, match=r"^onnx.ModelProto could not run this batch: [^\n]*Add[^\n]*$"):
        values(given, (weights(5, 4), weights(3, 4)))


def test_a_session_that_has_forgotten_its_file(monkeypatch):
    session = onnxruntime.InferenceSession(one().SerializeToString())
    monkeypatch.setattr(session, "_model_bytes", None)
    with pytest.raises(ValueError, match=r"a session must know the file or the bytes that it was made from"):
        adapt(session)


def test_devices():
    assert adapt(one(), device="cpu").run.__self__.running.providers == ["CPUExecutionProvider"]
    for device, told in (
        ("cuda", "needs an onnxruntime that runs on CUDA, got one for"),
        ("tpu", "device must be 'cpu', 'cuda'"),
    ):
        if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            continue
        with pytest.raises(ValueError, match=told):
            adapt(one(), device=device)


def test_values_that_are_no_layers():
    text = "g (float[n,4] x) => (float[n,2] y) { i = ArgMax<axis=1>(x)  t = Transpose(w)  y = MatMul(x, t) }"
    given = model(text, w=weights(2, 4))
    for name, reason in (
        ("i", "it holds tensor(int64), and no floating numbers"),
        ("t", "it is the same for every input"),
    ):
        with pytest.raises(
            ValueError, match=rf"^layer '{name}' of onnx.ModelProto must be floating .* but {re.escape(reason)}"
        ):
            hl.extract(given, X, layers=["y", name])
    with pytest.raises(KeyError, match=r"unknown layer 'z'"):
        hl.extract(given, X, layers="z")
    with pytest.raises(KeyError, match=r"unknown layer 'z': the layers are y; unknown, too, are 'v', 'w\.\*'\."):
        hl.extract(given, X, layers=["z", "y", "v", "w.*", "z"])


def test_a_command_lists_the_layers_of_a_file_without_running_it(tmp_path):
    text = "g (float[n,4] x) => (float[n,2] y) { h = Relu(x)  s = Reshape(h, like)  y = MatMul(s, w) }"
    onnx.save(model(text, w=weights(4, 2), like=np.array([-1, 4])), tmp_path / "NET.onnx")
    status, out, told = command_line(["info", "NET.onnx"], tmp_path)
    assert status == 0, told
    rows = [line.split("\t") for line in out.splitlines()]
    assert rows[:4] == [
        ["layer", "type", "by default"],
        ["h", "Relu", "yes"],
        ["s", "Reshape", ""],
        ["y", "MatMul", "yes"],
    ]
    assert ["layers", "3, of which 2 are taken by default"] in rows
    assert "there is no file 'absent.onnx'" in command_line(["info", "absent.onnx"], tmp_path)[2]
