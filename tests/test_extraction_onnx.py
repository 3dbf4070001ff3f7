"""ONNX models: which values are layers, what numbers they have, and in how many passes they come."""

from __future__ import annotations

import subprocess
import sys
import weakref

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import command_line
from onnx import TensorProto, helper
from onnx_texts import model, values, weights

import homolog as hl
from homolog.extraction.frameworks.onnx_models import adapt, is_model

X = weights(5, 4, seed=1)
MLP = "mlp (float[n,4] x) => (float[n,2] y) { a = MatMul(x, w)  b = Add(a, c)  h = Relu(b)  y = MatMul(h, v) }"
MLP_WEIGHTS = {"w": weights(4, 3), "c": weights(3, seed=2), "v": weights(3, 2, seed=3)}


def mlp(**options) -> onnx.ModelProto:
    return model(MLP, **options, **MLP_WEIGHTS)


def test_layers_are_values_and_linear_layers_end_with_their_bias():
    adapted = adapt(mlp())
    assert dict(adapted.types) == {"a": "MatMul", "b": "Add", "h": "Relu", "y": "MatMul"}
    assert adapted.default == ["b", "h", "y"]
    found = values(mlp(), X, "a", "b", "h", "y")
    a = X @ MLP_WEIGHTS["w"]
    b = a + MLP_WEIGHTS["c"]
    expected = {"a": a, "b": b, "h": np.maximum(b, 0), "y": np.maximum(b, 0) @ MLP_WEIGHTS["v"]}
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18, 21])
def test_old_and_new_operator_sets(opset):
    found = values(mlp(opset=opset, ir=3 if opset < 9 else 8), X)
    assert list(found) == ["b", "h", "y"]


def test_a_path_a_message_and_a_session_give_the_same(tmp_path):
    path = tmp_path / "mlp.onnx"
    onnx.save(mlp(), path)
    before = path.read_bytes()
    session = onnxruntime.InferenceSession(path)
    level = session.get_session_options().graph_optimization_level
    of_bytes = onnxruntime.InferenceSession(before)
    expected = values(path, X)
    for given in (str(path), mlp(), session, of_bytes):
        assert is_model(given)
        found = values(given, X)
        assert list(found) == list(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
    assert path.read_bytes() == before
    assert session.get_session_options().graph_optimization_level == level
    np.testing.assert_allclose(session.run(None, {"x": X})[0], expected["y"], atol=1e-6)
    titles = [adapt(each).title for each in (path, mlp(), session, of_bytes)]
    assert titles == ["mlp.onnx", "onnx.ModelProto", "mlp.onnx", "onnxruntime.InferenceSession"]
    assert not is_model("mlp.npz")
    assert not is_model(3)


def test_nodes_may_stand_in_any_order():
    given = mlp()
    nodes = list(given.graph.node)
    del given.graph.node[:]
    given.graph.node.extend(nodes[::-1])
    assert list(values(given, X)) == ["b", "h", "y"]


def test_a_message_is_left_as_it_was():
    given = mlp()
    before = given.SerializeToString()
    values(given, X)
    assert given.SerializeToString() == before


def test_digests_tell_other_weights_and_structures():
    other = model(MLP, **MLP_WEIGHTS | {"c": weights(3, seed=9)})
    longer = model(MLP.replace("h = Relu(b)", "h = Sigmoid(b)"), **MLP_WEIGHTS)
    digests = {adapt(each).digest() for each in (mlp(), other, longer)}
    assert len(digests) == 3
    assert adapt(mlp()).digest() == adapt(mlp()).digest()


def test_weights_and_shapes_are_no_layers():
    text = """g (float[n,s,4] x) => (float[n,s,4] y) {
        t = Transpose<perm=[1,0]>(w)  a = MatMul(x, t)  shape = Shape(x)  one = Constant<value_int=1>()
        s = Gather(shape, one)  f = Cast<to=1>(s)  zero = Constant<value_float=0.0>()  step = Constant<value_float=1.0>()
        p = Range(zero, f, step)  q = Unsqueeze(p, axes)  y = Add(a, q) }"""
    given = model(text, w=weights(4, 4), axes=np.array([0, 2]))
    adapted = adapt(given)
    assert "t" not in adapted.types
    assert adapted.types["p"] == "Range"  # depends on the shape of the input: may be named
    assert adapted.default == ["a", "y"]
    assert "shape" not in adapted.types


def test_passes_fit_into_the_memory_and_change_no_number():
    text = "g (float[n,64] x) => (float[n,64] v7) {" + " ".join(
        f"u{k} = MatMul({f'v{k - 1}' if k else 'x'}, w)  v{k} = Tanh(u{k})" for k in range(8)
    )
    given = model(text + "}", w=weights(64, 64) / 8)
    x = weights(32, 64)
    whole = values(given, x)
    layer = 32 * 64 * 4
    runs: list[int] = []
    for memory in (4 * 3 * layer, 4, 4 * 100 * layer):
        adapted = adapt(given, memory=memory)
        running = adapted.run.__self__.running
        feed = {"x": x}
        runs.append(len(running.passes(list(whole), feed)))
        found = dict(adapted.run(x, None))
        assert list(found) == list(whole)
        for name, array in whole.items():
            np.testing.assert_array_equal(found[name], array)
    assert runs == [6, 16, 1]


def test_sizes_are_measured_again_for_larger_batches_only():
    adapted = adapt(mlp(), memory=4 * 5 * 4 * 5)
    running = adapted.run.__self__.running
    for n in (3, 2, 5, 4):
        dict(adapted.run(X[:n], None))
    assert [shapes["x"] for shapes, _ in running.sizes] == [(3, 4), (5, 4)]


def test_values_are_released_one_after_the_other():
    stream = adapt(mlp()).run(X, None)
    _, first = next(stream)
    watched = weakref.ref(first)
    del first
    next(stream)
    assert watched() is None


def test_activations_that_a_graph_spells_out():
    text = """g (float[n,4] x) => (float[n,4] y) {
        s = Sigmoid(x)  silu = Mul(x, s)
        d = Div(silu, root)  e = Erf(d)  p = Add(e, one)  m = Mul(silu, p)  gelu = Mul(m, half)
        y = Add(gelu, x) }"""
    given = model(text, root=np.float32(2**0.5), one=np.float32(1), half=np.float32(0.5))
    adapted = adapt(given)
    assert adapted.default == ["silu", "gelu", "y"]


def test_activations_by_polynomials_and_by_clipping():
    text = """g (float[n,4] x) => (float[n,4] y) {
        x2 = Mul(x, x)  x3 = Mul(x2, x)  c = Mul(x3, small)  i = Add(x, c)  r = Mul(i, root)  t = Tanh(r)  p = Add(t, one)
        quarter = Constant<value_float=0.25>()  two = Constant<value_floats=[4.0]>()  k = Mul(quarter, two)  l = Sqrt(k)
        h0 = Mul(p, half)  h = Mul(h0, l)  gelu = Mul(x, h)
        a = Add(gelu, three)  clip = Clip(a, zero, six)  m = Mul(gelu, clip)  swish = Div(m, six)  six6 = Clip(swish, zero, six)
        floor = Clip(six6, zero)  y = Neg(floor) }"""
    numbers = {"small": 0.044715, "root": 0.8, "one": 1, "half": 0.5, "three": 3, "zero": 0, "six": 6}
    given = model(text, **{name: np.float32(number) for name, number in numbers.items()})
    assert adapt(given).default == ["gelu", "swish", "six6", "y"]


def test_normalisations_that_a_graph_spells_out():
    text = """g (float[n,s,4] x) => (float[n,s,4] y) {
        mean = ReduceMean<axes=[-1]>(x)  d = Sub(x, mean)  two = Constant<value_float=2.0>()  q = Pow(d, two)
        var = ReduceMean<axes=[-1]>(q)  v = Add(var, eps)  r = Sqrt(v)  u = Div(d, r)  m = Mul(u, gain)  l = Add(m, shift)
        h = MatMul(l, w)  y = Relu(h) }"""
    given = model(text, eps=np.float32(1e-5), gain=weights(4), shift=weights(4), w=weights(4, 4))
    assert adapt(given).default == ["l", "h", "y"]


def test_scores_of_attention_are_not_taken_by_default():
    text = """g (float[n,s,4] x, float[n,1,s] mask) => (float[n,s,4] y) {
        q = MatMul(x, w)  t = Transpose<perm=[0,2,1]>(x)  s = MatMul(q, t)  m = Add(s, mask)  p = Softmax<axis=-1>(m)
        c = MatMul(p, x)  y = Add(c, x) }"""
    adapted = adapt(model(text, w=weights(4, 4)))
    assert adapted.default == ["q", "y"]
    assert {"s", "m", "p", "c"} <= set(adapted.types)


def test_only_values_whose_first_axis_may_be_the_examples_are_taken():
    text = """g (float[n,s,4] x) => (float[n,4] y) {
        t = Transpose<perm=[1,0,2]>(x)  a = Relu(t)  h = MatMul(x, w)  y = ReduceMean<axes=[1], keepdims=0>(h) }"""
    adapted = adapt(model(text, w=weights(4, 4)))
    assert adapted.default == ["h", "y"]
    assert "a" in adapted.types


def test_branches_are_run_and_their_insides_are_no_layers():
    text = """g (float[n,4] x) => (float[n,3] y) {
        m = ReduceMax<keepdims=0>(x)  big = Greater(m, limit)
        c = If (big) <then_branch = one () => (float[n,4] p) { p = Relu(x) },
                      else_branch = two () => (float[n,4] r) { r = Tanh(x) }>
        y = MatMul(c, w) }"""
    given = model(text, limit=np.float32(1e9), w=weights(4, 3))
    adapted = adapt(given)
    assert not {"p", "r"} & set(adapted.types)
    assert {"c", "y"} <= set(adapted.types)
    np.testing.assert_allclose(values(given, X, "c")["c"], np.tanh(X), rtol=1e-5)


def test_functions_of_the_model_are_written_out():
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        g (float[n,4] x) => (float[n,3] y) { h = own.Dense(x, w)  y = Relu(h) }
        <domain: "own", opset_import: ["" : 17]> Dense (a, b) => (c) { d = MatMul(a, b)  c = Tanh(d) }"""
    given = onnx.parser.parse_model(text)
    given.graph.initializer.append(onnx.numpy_helper.from_array(MLP_WEIGHTS["w"], "w"))
    found = values(given, X)
    np.testing.assert_allclose(found["h"], np.tanh(X @ MLP_WEIGHTS["w"]), atol=1e-6)
    assert len(found) == 3  # the product inside the function, too


def test_half_precision_comes_as_float32():
    text = "g (float16[n,4] x) => (float16[n,3] y) { h = MatMul(x, w)  b = Cast<to=16>(h)  y = Relu(h) }"
    given = model(text, w=MLP_WEIGHTS["w"].astype(np.float16))
    found = values(given, X.astype(np.float16), "h", "b", "y")
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}
    half = found["h"]
    np.testing.assert_array_equal(half, half.astype(np.float16))
    np.testing.assert_allclose(found["b"], half, rtol=2**-8)


def test_double_precision_stays():
    text = "g (double[n,4] x) => (double[n,3] y) { y = MatMul(x, w) }"
    found = values(model(text, w=weights(4, 3).astype(np.float64)), X.astype(np.float64))
    assert found["y"].dtype == np.float64


def test_recurrent_layers_are_taken_where_the_examples_come_first():
    node = helper.make_node("LSTM", ["time", "w", "r"], ["rows"], hidden_size=3)
    text = """g (float[n,s,4] x) => (float[n,s,3] y) {
        time = Transpose<perm=[1,0,2]>(x)  flat = Squeeze(rows, axes)  y = Transpose<perm=[1,0,2]>(flat) }"""
    given = model(text, w=weights(1, 12, 4), r=weights(1, 12, 3), axes=np.array([1]))
    given.graph.node.insert(1, node)
    adapted = adapt(given)
    assert adapted.default == ["y"]
    assert values(given, weights(2, 6, 4))["y"].shape == (2, 6, 3)


def test_weights_in_files_of_their_own(tmp_path):
    path = tmp_path / "mlp.onnx"
    onnx.save(mlp(), path, save_as_external_data=True, location="mlp.data", size_threshold=0)
    first = adapt(path).digest()
    np.testing.assert_array_equal(values(path, X)["y"], values(mlp(), X)["y"])
    session = onnxruntime.InferenceSession(path)
    np.testing.assert_array_equal(values(session, X)["y"], values(mlp(), X)["y"])
    data = tmp_path / "mlp.data"
    data.write_bytes(bytes(4) + data.read_bytes()[4:])
    assert adapt(path).digest() != first


def test_initialisers_that_are_inputs_too():
    given = mlp(ir=3, opset=9)
    shapes = {name: array.shape for name, array in MLP_WEIGHTS.items()}
    given.graph.input.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()
    )
    assert list(values(given, X)) == ["b", "h", "y"]


def test_any_value_may_be_named_or_matched():
    renamed = mlp()
    for node in renamed.graph.node:  # as exporters call values: paths, and numbers alone
        names = {"a": "/net/layer.0/MatMul_output_0", "b": "/net/layer.0/Add_output_0", "h": "12"}
        node.output[0] = names.get(node.output[0], node.output[0])
        for k, name in enumerate(node.input):
            node.input[k] = names.get(name, name)
        node.name = ""
    for layers, expected in (
        ("**", ["/net/layer.0/MatMul_output_0", "/net/layer.0/Add_output_0", "12", "y"]),
        ("**/Add_output_0", ["/net/layer.0/Add_output_0"]),
        ("/net/layer.*/Add*", ["/net/layer.0/Add_output_0"]),
        (["12", "y"], ["12", "y"]),
        (lambda name, kind: kind == "MatMul", ["/net/layer.0/MatMul_output_0", "y"]),
    ):
        found = hl.extract(renamed, X, layers=layers)
        assert list(found) == expected


def test_a_store_is_continued_with_the_same_model_only(tmp_path):
    path, out = tmp_path / "mlp.onnx", tmp_path / "a.zarr"
    onnx.save(mlp(), path)
    x = weights(20, 4)
    hl.extract(path, x, out=out, max_examples=8, batch_size=4)
    assert hl.extract(path, x, out=out, batch_size=4, resume=True).n == 20
    assert hl.open(out).provenance["model"] == "mlp.onnx"
    onnx.save(model(MLP, **MLP_WEIGHTS | {"c": weights(3, seed=9)}), path)
    with pytest.raises(ValueError, match=r"model"):
        hl.extract(path, weights(30, 4), out=out, batch_size=4, resume=True)


def test_no_torch_is_needed(tmp_path):
    path = tmp_path / "mlp.onnx"
    onnx.save(mlp(), path)
    script = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("no torch here")
sys.meta_path.insert(0, Blocked())
import homolog as hl, numpy as np
assert "onnx" not in sys.modules and "onnxruntime" not in sys.modules
a = hl.extract({str(path)!r}, np.ones((6, 4), np.float32) * np.arange(6)[:, None])
print(list(a), "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "['b', 'h', 'y'] False\n", done.stderr


def test_masks_of_a_batch_are_honoured():
    text = """g (int64[n,s] input_ids, int64[n,s] attention_mask) => (float[n,s,4] y) {
        y = Gather(w, input_ids)  m = Identity(attention_mask) }"""
    given = model(text, w=weights(9, 4))
    ids, mask = np.array([[1, 2, 0], [3, 4, 5]]), np.array([[1, 1, 0], [1, 1, 1]])
    found = hl.extract(given, {"input_ids": ids, "attention_mask": mask}, reduce="mean")["y"]
    np.testing.assert_allclose(found, [weights(9, 4)[[1, 2]].mean(0), weights(9, 4)[[3, 4, 5]].mean(0)], rtol=1e-5)


def test_a_file_at_the_command_line(tmp_path):
    onnx.save(mlp(), tmp_path / "mlp.onnx")
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", x=X)
    for data in ("x.npy", "x.npz"):
        out = f"{data[-3:]}.npz"
        status, _, told = command_line(["extract", "mlp.onnx", "--data", data, "--out", out, "-l", "h"], tmp_path)
        assert (status, told) == (0, f"written: {out}\n")
        np.testing.assert_array_equal(hl.open(tmp_path / out)["h"], values(mlp(), X)["h"])
    (tmp_path / "bad.npy").write_bytes(b"no array")
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    for model_file, data, sentence in (
        ("none.onnx", "x.npy", "there is no file 'none.onnx'"),
        ("mlp.onnx", "none.npy", "there is no file 'none.npy'"),
        ("mlp.onnx", "bad.npy", "'bad.npy' must hold arrays of numbers"),
        ("mlp.onnx", "objects.npy", "'objects.npy' must hold arrays of numbers"),
    ):
        status, _, told = command_line(["extract", model_file, "--data", data, "--out", "b.npz"], tmp_path)
        assert status == 2
        assert sentence in " ".join(told.split())
