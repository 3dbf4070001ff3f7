"""What extraction costs beside the forwards: trials of few examples, no copy of what is written, nothing loaded for nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import homolog as hl
from homolog.extraction import masked_positions
from homolog.store import layout


class Counting(nn.Module):
    """Counts examples, or tokens, and how often it runs."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 8), nn.Linear(8, 4)
        self.forward_sizes = []

    def forward(self, x):
        SIZES.append(len(x))
        return self.outer(self.inner(x).relu())


SIZES: list[int] = []
"""A list outside of the model, which trials do not put back."""


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    SIZES.clear()


@pytest.mark.parametrize("size", [32, 64])
def test_trials_of_a_long_run_are_of_few_examples(size):
    hl.extract(Counting(), torch.randn(16 * size, 6), batch_size=size)
    trials = [run for run in SIZES if run != size]
    assert len(SIZES) - len(trials) == 16
    assert sorted(trials) == [2, 2, 3, 3, 3, 3, 3]  # the first batch; then the second, fourth, eighth and sixteenth


def test_what_mixes_in_the_second_batch_alone_is_found_by_its_one_trial():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.line, self.other = nn.Linear(6, 4), nn.Identity()

        def forward(self, x):
            self.other(x - x.mean(0) if bool((x[:, 0] == 1).any()) else x)
            return self.line(x)

    x = torch.randn(30, 6)
    x[10:20, 0] = 1
    with pytest.warns(hl.ExtractionWarning, match="left out.*other"):
        assert list(hl.extract(Odd(), x, batch_size=10)) == ["line"]


# --- Masks of long sequences


class Texts(nn.Module):
    """Tokens in, tokens out; `latents` are as many vectors as there are positions, which are none of them."""

    def __init__(self, latents=0):
        super().__init__()
        self.words, self.mix, self.latents = nn.Embedding(50, 4), nn.Linear(4, 4), nn.Identity()
        self.count = latents
        self.queries = nn.Parameter(torch.randn(max(latents, 1), 4))

    def forward(self, input_ids, attention_mask):
        SIZES.append(tuple(input_ids.shape))
        x = self.mix(self.words(input_ids))
        if self.count:
            scores = (self.queries @ x.transpose(1, 2)).masked_fill(attention_mask[:, None] == 0, -1e9).softmax(-1)
            self.latents(scores @ x)
        return x


def padded(length, side, rows=8):
    counts = torch.arange(rows)[:, None] * (length // 2) // rows + length // 2
    counts[0] = length
    places = torch.arange(length)[None]
    mask = (places < counts if side == "right" else places >= length - counts).long()
    return {"input_ids": torch.randint(1, 50, (rows, length)) * mask, "attention_mask": mask}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("length", [128, 127, 40])
def test_masks_of_long_sequences_are_tried_on_short_pieces(length, side):
    data, model = padded(length, side), Texts()
    found = hl.extract(model, data, layers="mix", reduce="mean")["mix"]
    with torch.no_grad():
        x, keep = model.mix(model.words(data["input_ids"])), data["attention_mask"][:, :, None]
        np.testing.assert_allclose(found, ((x * keep).sum(1) / keep.sum(1)).numpy(), atol=1e-6)
    of_masks = [shape for shape in SIZES if shape[0] == masked_positions.PLACES + 1]
    longest = max(shape[1] for shape in of_masks)
    assert longest == (length if length == 40 else 32 + length % 32)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("latents", [128, 32, 31])
def test_latents_of_long_sequences_have_not_their_mask(latents, side):
    model = Texts(latents)
    if latents == 128:
        with pytest.raises(ValueError, match="latents"):
            hl.extract(model, padded(128, side), layers="latents", reduce="mean")
    else:  # other numbers than the mask has
        with pytest.raises(ValueError, match=r"latents.*positions"):
            hl.extract(model, padded(128, side), layers="latents", reduce="mean")
    assert any(shape[1] == 128 and shape[0] == masked_positions.PLACES + 1 for shape in SIZES)


def test_a_model_of_one_length_is_tried_whole():
    class Fixed(Texts):
        def forward(self, input_ids, attention_mask):
            assert input_ids.shape[1] == 128
            return super().forward(input_ids, attention_mask)

    assert hl.extract(Fixed(), padded(128, "right"), layers="mix", reduce="mean").n == 8


# --- Stores


class InPlace(nn.Module):
    """Changes what its first layer put out, after it was heard."""

    def __init__(self):
        super().__init__()
        self.first, self.then, self.last = nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 4)

    def forward(self, x):
        return self.last(self.then(self.first(x)).mul_(3))


@pytest.mark.parametrize("rows", [1, 4, 16])
@pytest.mark.parametrize("limit", [None, 33])
def test_a_store_holds_what_layers_put_out_at_that_moment(rows, limit, tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK_ROWS", rows)
    x, model = torch.randn(41, 6), InPlace()
    kept = hl.extract(model, x, batch_size=7, max_examples=limit)
    stored = hl.extract(model, x, batch_size=7, max_examples=limit, out=tmp_path / "a.zarr")
    with torch.no_grad():
        first = model.first(x[:limit])
    np.testing.assert_allclose(kept["first"], first, atol=1e-6)
    assert list(stored) == list(kept)
    for name in kept:
        np.testing.assert_array_equal(np.asarray(stored[name]), kept[name])


def test_chunks_are_those_that_zarr_writes(tmp_path):
    zarr = pytest.importorskip("zarr")
    x = torch.randn(11, 6, dtype=torch.float64)
    hl.extract(nn.Sequential(nn.Identity()), x, batch_size=4, out=tmp_path / "a.zarr")
    written = zarr.open_array(tmp_path / "a.zarr" / "layers" / "0", mode="r")
    again = zarr.create_array(
        tmp_path / "b.zarr", shape=written.shape, chunks=written.chunks, dtype=written.dtype, filters=None,
        serializer=zarr.codecs.BytesCodec(endian="little"), compressors=[zarr.codecs.Crc32cCodec()],
    )  # fmt: skip
    again[:] = written[:]
    np.testing.assert_array_equal(written[:], x)
    assert (tmp_path / "a.zarr/layers/0/c/0/0").read_bytes() == (tmp_path / "b.zarr/c/0/0").read_bytes()
    assert not list(tmp_path.rglob("*.partial"))


# --- What is loaded

LAZY = """
import sys, warnings
import numpy as np
import torch
from torch import nn
import homolog as hl

warnings.simplefilter("error", UserWarning)
plain = nn.Sequential(nn.Linear(4, 5), nn.ReLU())
hl.extract(plain, torch.randn(20, 4), batch_size=5)
print("torch._dynamo" in sys.modules)

class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.part, self.compiled = plain, []

    def forward(self, x):
        if not self.compiled:
            self.compiled.append(torch.compile(self.part, backend="eager"))
        return self.compiled[0](x)

before, x = torch.compile, torch.randn(20, 4)
found = hl.extract(Lazy(), x, batch_size=5)
print("torch._dynamo" in sys.modules, torch.compile is before, list(found))
with torch.no_grad():
    np.testing.assert_allclose(found["part.1"], plain(x).numpy(), atol=1e-6)
print(torch._dynamo.eval_frame._stance.stance)
"""


def test_the_compiler_is_loaded_only_by_models_that_compile():
    done = subprocess.run([sys.executable, "-P", "-c", LAZY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["False", "True True ['part.0', 'part.1']", "default"]
