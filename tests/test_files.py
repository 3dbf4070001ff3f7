"""Files: whatever lies under a name is read as it was written, or refused in one sentence, and never waited for."""

from __future__ import annotations

import json
import os
import random
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import command_line
from numpy.testing import assert_allclose, assert_array_equal

import homolog as hl
from homolog.cli.output import print_contents
from homolog.reporting.page_data import data_for_page
from homolog.results import check_result, measure_names

pytestmark = pytest.mark.filterwarnings(
    "ignore::homolog.NullLevelWarning", "ignore::homolog.TiesWarning", "ignore::homolog.BiasWarning"
)
ENDINGS = (".npz", ".safetensors", ".zarr", ".parquet", ".nc")


@pytest.fixture
def layers(rng):
    return {"early": rng.normal(size=(30, 4)), "late": rng.normal(size=(30, 3)).astype("float32")}


@pytest.mark.filterwarnings("ignore:no standard errors and no intervals:homolog.UndefinedValueWarning")
@pytest.mark.filterwarnings("ignore::homolog.NoDirectionWarning")  # of so few different numbers whole rows are equal
@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float6_e2m3fn", "int4"])
def test_small_floats_are_compared_and_kept_as_float32(dtype, rng, tmp_path):
    small = {name: (2 * rng.normal(size=(30, p))).astype(getattr(ml_dtypes, dtype)) for name, p in (("x", 4), ("y", 3))}
    wide = {name: array.astype("float32") for name, array in small.items()}
    measures = ("cka", "cca", "rsa", "bipartite_match", "mutual_knn")
    expected = hl.compare(wide, measures=measures)
    for ending in ENDINGS:
        hl.save(small, tmp_path / f"a{ending}")
        opened = hl.open(tmp_path / f"a{ending}")
        for name, array in wide.items():
            assert opened[name].dtype == np.float32
            assert_array_equal(np.asarray(opened[name]), array)
    for source in (small, tmp_path / "a.safetensors"):
        found = hl.compare(source, measures=measures)
        for name in measures:
            assert_array_equal(found[name], expected[name], err_msg=name)
    assert hl.cka(small["x"], small["y"]) == hl.cka(wide["x"].astype(float), wide["y"].astype(float))
    states = [hl.MinibatchHSIC() for _ in range(2)]
    for state, source in zip(states, (small, wide), strict=True):
        state.update(source)
    assert states[0].finalise().identical(states[1].finalise())


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.float64]
)
def test_small_floats_of_other_libraries_are_read(dtype, tmp_path):
    tensor = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    other = torch.arange(40.0).reshape(20, 2)
    wide = tensor.double().numpy()
    safetensors.torch.save_file({"z": other, "x": tensor, "y": other + 1}, tmp_path / "a.safetensors")
    torch.save({"x": tensor}, tmp_path / "a.pt")
    torch.save(tensor, tmp_path / "b.pth")
    for name, layer in (("a.safetensors", "x"), ("a.pt", "x"), ("b.pth", "b")):
        opened = hl.open(tmp_path / name)[layer]
        assert isinstance(opened, np.ndarray)
        assert_array_equal(opened, wide)
    assert_array_equal(hl.open(tmp_path / "a.safetensors")["y"], other + 1)


def test_files_of_different_libraries_are_compared(layers, tmp_path):
    x, y = layers["early"], layers["late"]
    np.save(tmp_path / "e1.npy", x)
    torch.save(torch.tensor(y), tmp_path / "e2.pt")
    found = hl.compare(tmp_path / "e1.npy", tmp_path / "e2.pt", measures="cka")
    assert_allclose(found.cka.item(), hl.cka(x, y.astype(float)), rtol=1e-6)
    status, _out, told = command_line(["compare", "e1.npy", "e2.pt", "-m", "cka"], tmp_path)
    assert status == 0, told


def test_bfloat16_that_numpy_saved_says_how_it_is_read(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 2), ml_dtypes.bfloat16))
    with pytest.raises(TypeError, match=r"got \|V2: .* if it was that, \.view\('bfloat16'\) after import ml_dtypes"):
        hl.open(tmp_path / "a.npy")
    assert hl.save({"a": np.load(tmp_path / "a.npy").view("bfloat16")}, tmp_path / "a.npz") is None


@pytest.mark.parametrize("ending", ENDINGS)
def test_names_that_look_like_endings_stay_apart(ending, rng, tmp_path):
    layers = {name: rng.normal(size=(5, 2)) for name in ("a", "a.npy", "a.npy.npy", "file", ".npy", "a.zarr")}
    hl.save(layers, tmp_path / f"x{ending}")
    opened = hl.open(tmp_path / f"x{ending}")
    assert list(opened) == list(layers)
    for name, array in layers.items():
        assert_array_equal(np.asarray(opened[name]), array)


def test_two_members_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name in ("a", "a.npy"):
            with archive.open(name, "w") as member:
                np.lib.format.write_array(member, np.eye(3))
    with pytest.raises(ValueError, match="two arrays of one name"):
        hl.open(tmp_path / "a.npz")


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_longest_names_can_be_saved(ending, layers, tmp_path):
    path = tmp_path / ("é" * ((255 - len(ending)) // 2) + ending)
    for _ in range(2):
        hl.save(layers, path)
    assert_array_equal(np.asarray(hl.open(path)["early"]), layers["early"])
    assert [child.name for child in tmp_path.iterdir()] == [path.name]
    for call in (lambda path: hl.save(layers, path), hl.open):
        with pytest.raises(OSError, match="a name must not be longer than its folder allows, got 'aaa"):
            call(tmp_path / ("a" * 256 + ending))


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.safetensors", "a.pt", "a.zarr"])
def test_a_pipe_is_not_waited_for(name, layers, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match="must be a file, got a pipe or a device"):
        hl.open(tmp_path / name)


@pytest.mark.parametrize("place", ["zarr.json", "layers/0/zarr.json", "layers/0/c/0/0", "rows/digests/zarr.json"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "absent"])
def test_what_a_store_is_made_of_must_lie_in_it(place, kind, layers, tmp_path):
    store = tmp_path / "a.zarr"
    hl.save(hl.Activations(layers, digests=np.arange(30, dtype=np.uint64)), store)
    (store / place).rename(tmp_path / "elsewhere")
    if kind == "pipe":
        os.mkfifo(store / place)
    elif kind == "folder":
        (store / place).mkdir()
    elif kind == "link":
        (store / place).symlink_to(tmp_path / "elsewhere")
        if place == "zarr.json":
            return  # says what lies where; reading it by another name is no harm
    with pytest.raises(ValueError, match=r"must be|must hold"):
        np.asarray(hl.open(store)["early"])


def test_a_layer_that_is_a_link_out_of_the_store_is_not_read(layers, tmp_path):
    hl.save(layers, tmp_path / "secret.zarr")
    hl.save(layers, tmp_path / "a.zarr")
    (tmp_path / "b.zarr").symlink_to(tmp_path / "secret.zarr")  # a store as a whole may lie where it likes
    assert_array_equal(np.asarray(hl.open(tmp_path / "b.zarr")["early"]), layers["early"])
    for part in ("c", "c/0"):
        hl.save(layers, tmp_path / "c.zarr")
        (tmp_path / "c.zarr/layers/0" / part).rename(tmp_path / f"moved-{part[-1]}")
        (tmp_path / "c.zarr/layers/0" / part).symlink_to(tmp_path / "secret.zarr/layers/0" / part)
        with pytest.raises(ValueError, match="their file is a link to another place"):
            np.asarray(hl.open(tmp_path / "c.zarr")["early"])
    (tmp_path / "a.zarr/layers/0").rename(tmp_path / "before")
    (tmp_path / "a.zarr/layers/0").symlink_to(tmp_path / "secret.zarr/layers/0")
    with pytest.raises(ValueError, match="must be an array of zarr as homolog writes it, got a link to another place"):
        hl.open(tmp_path / "a.zarr")


ATTRIBUTES = {
    "key . ": {"layers": [{"name": "x", "key": "layers/./0"}]},
    "key //": {"layers": [{"name": "x", "key": "layers//0"}]},
    "key ..": {"layers": [{"name": "x", "key": "layers/../layers/0"}]},
    "key rows": {"layers": [{"name": "x", "key": "rows/digests"}]},
    "key nested": {"layers": [{"name": "x", "key": "layers/0/c"}]},
    "key absolute": {"layers": [{"name": "x", "key": "/layers/0"}]},
    "key null": {"layers": [{"name": "x", "key": None}]},
    "name null": {"layers": [{"name": None, "key": "layers/0"}]},
    "name list": {"layers": [{"name": [], "key": "layers/0"}]},
    "layers mapping": {"layers": {"x": "layers/0"}},
    "layers null": {"layers": None},
    "layers number": {"layers": 3},
    "layers texts": {"layers": ["x"]},
    "layers none": {"layers": []},
    "rows infinite": {"rows": float("inf")},
    "rows negative": {"rows": -1},
    "rows huge": {"rows": 10**30},
    "rows true": {"rows": True},
    "complete number": {"complete": 1},
    "provenance list": {"provenance": [1]},
    "provenance numbers": {"provenance": {"model": 3}},
    "request null": {"request": None},
    "version infinite": {"format_version": float("inf")},
}
ARRAYS = {
    "configuration null": lambda c: c["codecs"][0].update(configuration=None),
    "configuration list": lambda c: c["codecs"][0].update(configuration=[]),
    "codec null": lambda c: c.update(codecs=[None]),
    "codecs null": lambda c: c.update(codecs=None),
    "codecs text": lambda c: c.update(codecs="bytes"),
    "no codecs": lambda c: c.update(codecs=[]),
    "shape null": lambda c: c.update(shape=None),
    "shape infinite": lambda c: c.update(shape=[float("inf"), 4]),
    "shape negative": lambda c: c.update(shape=[30, -4]),
    "shape three": lambda c: c.update(shape=[30, 4, 1]),
    "type": lambda c: c.update(data_type="complex64"),
    "type null": lambda c: c.update(data_type=None),
    "type mapping": lambda c: c.update(data_type={"name": "numpy.datetime64"}),
    "grid null": lambda c: c.update(chunk_grid=None),
    "chunks null": lambda c: c["chunk_grid"]["configuration"].update(chunk_shape=None),
    "chunks huge": lambda c: c["chunk_grid"]["configuration"].update(chunk_shape=[10**30, 4]),
    "chunks zero": lambda c: c["chunk_grid"]["configuration"].update(chunk_shape=[0, 4]),
    "chunks text": lambda c: c["chunk_grid"]["configuration"].update(chunk_shape=["a", "b"]),
    "fill null": lambda c: c.update(fill_value=[]),
    "keys null": lambda c: c.update(chunk_key_encoding=None),
    "a group": lambda c: c.update(node_type="group"),
    "version": lambda c: c.update(zarr_format=float("inf")),
}
TEXTS = {
    "brackets": "[" * 10**6,
    "braces": '{"a":' * 10**5,
    "empty": "",
    "number": "3",
    "list": "[]",
    "null": "null",
    "no text": b"\xff\xfe\x00",
    "attributes null": '{"attributes": null}',
    "attributes list": '{"attributes": []}',
}


@pytest.mark.parametrize("place", ["zarr.json", "layers/0/zarr.json", "rows/digests/zarr.json"])
def test_altered_metadata_are_one_sentence(place, layers, tmp_path):
    store = tmp_path / "a.zarr"
    hl.save(hl.Activations(layers, digests=np.arange(30, dtype=np.uint64)), store)
    whole = json.loads((store / place).read_text())
    cases = dict(TEXTS)
    if place == "zarr.json":
        for name, changes in ATTRIBUTES.items():
            cases[name] = json.dumps(whole | {"attributes": whole["attributes"] | changes})
    else:
        for name, change in ARRAYS.items():
            altered = json.loads(json.dumps(whole))
            change(altered)
            cases[name] = json.dumps(altered)
    for name, text in cases.items():
        (store / place).write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ValueError, match=r"must (be|hold)") as caught:  # noqa: PT012  # opening or reading, either tells
            opened = hl.open(store)
            for layer in opened.values():
                np.asarray(layer)
        assert len(str(caught.value)) < 800, name
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".npz", ".npy", ".safetensors", ".pt", ".parquet", ".nc"])
def test_random_damage_is_one_sentence_or_harmless(ending, layers, tmp_path):
    """Bytes changed, cut out or put in, at places drawn from a fixed seed."""
    path = tmp_path / f"a{ending}"
    if ending == ".npy":
        np.save(path, layers["early"])
    elif ending == ".pt":
        torch.save({name: torch.tensor(array) for name, array in layers.items()}, path)
    elif ending == ".nc":
        hl.compare(layers).to_netcdf(path)
    else:
        hl.save(hl.Activations(layers, example_ids=list(range(30))), path)
    whole, rng, told = path.read_bytes(), random.Random(0), 0
    for _ in range(30 if ending == ".nc" else 60):
        content = bytearray(whole)
        at = rng.randrange(min(len(content), 600))
        kind = rng.choice(["change", "cut", "put", "end"])
        if kind == "change":
            content[at] = rng.randrange(256)
        elif kind == "cut":
            del content[at : at + rng.randrange(1, 9)]
        elif kind == "put":
            content[at:at] = rng.randbytes(4)
        else:
            del content[at:]
        path.write_bytes(content)
        if ending == ".nc":
            status, _, said = command_line(["info", path.name], tmp_path)
            assert status in (0, 2), said
            told += status == 2
            assert status == 0 or len(said.strip().splitlines()) == 1, said
            continue
        said = ""
        try:
            hl.open(path)
        except (ValueError, TypeError) as error:
            said = str(error)
        told += bool(said)
        assert "\n" not in said
    assert told > 5
    path.write_bytes(whole)


def _altered_results(result):
    """Results with one attribute after the other gone, or of another kind."""
    odd = [float("inf"), float("nan"), -1, 2.5, "", "[" * 10_000, "null", "3", "[3]", '{"a": 1}', [1, 2]]
    for name in result.attrs:
        for value in (None, *odd):
            attributes = {key: kept for key, kept in result.attrs.items() if key != name}
            altered = result.copy()
            altered.attrs = attributes if value is None else attributes | {name: value}
            yield f"{name}={value!r:.20}", altered
    measure = next(iter(result.data_vars))
    for name in result[measure].attrs:
        for value in (None, *odd):
            altered = result.copy()
            altered[measure] = result[measure].copy()
            attributes = {key: kept for key, kept in result[measure].attrs.items() if key != name}
            altered[measure].attrs = attributes if value is None else attributes | {name: value}
            yield f"{measure}.{name}={value!r:.20}", altered
    for name in [*result.coords, *result.data_vars]:
        yield f"without {name}", result.drop_vars(name)
    yield "integers", result.astype(int)
    yield "transposed names", result.rename({dimension: f"{dimension}x" for dimension in result.dims})
    yield "flat", result.isel({next(iter(result.dims)): 0})


@pytest.mark.parametrize("many", [False, True])
def test_altered_results_are_one_sentence_or_harmless(many, rng, tmp_path):
    models = {name: {layer: rng.normal(size=(99, 3)) for layer in "xy"} for name in "ab"}
    sides = (models,) if many else models.values()
    result = hl.compare(*sides, measures=("cka", "cca"), null="permutation", n_permutations=9, interval=True)
    told = 0

    def loaded(altered):  # what the command line does with a file
        measure_names(altered)
        check_result(altered)
        print_contents(altered)

    for case, altered in _altered_results(result):
        said = []
        for use in (lambda r: data_for_page(r, None), loaded):
            try:
                use(altered)
            except (ValueError, KeyError) as error:
                said.append(str(error))
        assert not any("\n" in text for text in said)
        # What passes the check is fit for everything but a selection that dropped a side.
        assert not said or "a result must" in said[0] or "keep its dimensions" in said[0], (case, said)
        told += bool(said)
    assert told > 80
    altered.to_netcdf(tmp_path / "r.nc")
    status, _, said = command_line(["report", "r.nc"], tmp_path)
    assert status == 2
    assert len(said.strip().splitlines()) == 1


def test_the_report_says_where_it_fails(rng, monkeypatch):
    """Layers without namesakes are no failure, and nothing else is taken for them."""
    x, y = ({name: rng.normal(size=(99, 3)) for name in names} for names in ("pq", "rs"))
    assert data_for_page(hl.compare(x, y), None)["identification"] == []
    assert data_for_page(hl.compare(x), None)["identification"] == []
    assert len(data_for_page(hl.compare(x, x | y), None)["identification"]) == 2
    assert len(data_for_page(hl.compare({"1": x, "2": x, "3": y}), None)["identification"]) == 2

    def broken(*_):
        raise ValueError("of another kind")

    monkeypatch.setitem(data_for_page.__globals__, "layer_identification", broken)
    with pytest.raises(ValueError, match="of another kind"):
        data_for_page(hl.compare(x, x | y), None)


def test_what_could_not_be_read_is_not_called_missing(layers, tmp_path, monkeypatch):
    hl.save(layers, tmp_path / "a.zarr")
    real = Path.read_text

    def denied(self, *arguments, **options):
        if self.name == "zarr.json":
            raise PermissionError(13, "Permission denied")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", denied)
    for call in (hl.open, lambda path: hl.save(layers, path)):
        with pytest.raises(PermissionError, match=r"zarr\.json' must be readable, got: Permission denied"):
            call(tmp_path / "a.zarr")
