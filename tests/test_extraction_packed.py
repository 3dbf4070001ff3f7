"""Packed sequences: padded with their own mask, and known by what they hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import homolog as hl


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Packed(nn.Module):
    """A recurrent network on packed sequences."""

    def __init__(self, rnn, *, sort=False):
        super().__init__()
        self.rnn, self.sort = rnn, sort

    def forward(self, x, lengths):
        return self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=self.sort))[0].data.sum()


LENGTHS = torch.tensor([3, 7, 2, 5, 4, 1, 6])


@pytest.mark.parametrize("order", [LENGTHS, LENGTHS.sort(descending=True).values])
def test_packed_sequences_are_padded_with_their_own_mask(order):
    model, x = Packed(nn.LSTM(4, 5, batch_first=True), sort=bool((order.diff() <= 0).all())), torch.randn(7, 7, 4)
    data = [{"x": x, "lengths": order}]
    with torch.no_grad():
        alone = [model.rnn(x[i : i + 1, : order[i]])[0][0] for i in range(7)]
    mean = hl.extract(model, data, layers="rnn", reduce="mean")["rnn"]
    np.testing.assert_allclose(mean, torch.stack([states.mean(0) for states in alone]).numpy(), atol=1e-6)
    last = hl.extract(model, data, layers="rnn", reduce="last")["rnn"]
    np.testing.assert_allclose(last, torch.stack([states[-1] for states in alone]).numpy(), atol=1e-6)
    places = hl.extract(model, data, layers="rnn", reduce="positions")
    np.testing.assert_allclose(places["rnn"], torch.cat(alone).numpy(), atol=1e-6)
    assert places.positions.tolist() == [place for length in order for place in range(length)]
    with pytest.raises(ValueError, match="'rnn' holds padding, which flatten would count"):
        hl.extract(model, data)


def test_two_recurrent_networks_are_not_equal_because_both_store_their_order():
    data = [{"x": torch.randn(7, 7, 4), "lengths": LENGTHS}]
    a, b = (hl.extract(Packed(nn.LSTM(4, 5, batch_first=True)), data, reduce="mean") for _ in range(2))
    assert float(hl.cka(a["rnn"], b["rnn"])) < 0.99


def test_packed_sequences_as_the_data():
    rnn, x = nn.GRU(4, 5, batch_first=True), torch.randn(7, 7, 4)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    for data in ([packed], packed):
        taken = hl.extract(nn.ModuleDict({"rnn": rnn})["rnn"], data, layers="output", reduce="last")
        with torch.no_grad():
            expected = torch.stack([rnn(x[i : i + 1, : LENGTHS[i]])[0][0, -1] for i in range(7)])
        np.testing.assert_allclose(taken["output"], expected.numpy(), atol=1e-6)
        assert len(set(taken.digests.tolist())) == 7


def test_sequences_padded_to_the_longest_of_the_batch():
    class Unpadded(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.same = nn.GRU(4, 5, batch_first=True), nn.Identity()

        def forward(self, x, lengths):
            packed = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[0]
            return self.same(pad_packed_sequence(packed, batch_first=True)[0])

    order = torch.tensor([3, 9, 2, 5, 4, 1, 6, 8, 7])
    data = [{"x": torch.randn(9, 9, 4), "lengths": order}]
    for longest in (1, 0, 8):  # wherever it is
        lengths = order.roll(longest - 1)
        with pytest.raises(
            ValueError, match="'same' has another number of positions for other examples of the same shape"
        ):
            hl.extract(Unpadded(), [{**data[0], "lengths": lengths}], layers="same", reduce="mean")
    # Part of the batch is shorter, all of it turned around is not.
    assert hl.extract(Unpadded(), data, layers="same", mask={"same": None})["same"].shape == (9, 45)
    model = Unpadded()
    keep = {"same": lambda batch: torch.arange(int(batch["lengths"].max()))[None] < batch["lengths"][:, None]}
    taken = hl.extract(model, data, layers=["same", "rnn"], reduce="mean", mask=keep)
    np.testing.assert_allclose(taken["same"], taken["rnn"], atol=1e-6)
    even = {"x": torch.randn(9, 9, 4), "lengths": torch.full((9,), 5)}
    with pytest.raises(ValueError, match="'same' has another number of positions"):
        hl.extract(model, [even, *data], layers="same", reduce="mean")


def test_digests_of_packed_sequences_know_no_padding():
    rnn, x = nn.GRU(4, 5, batch_first=True), torch.randn(3, 7, 4)

    def digests(lengths):
        packed = pack_padded_sequence(x[: len(lengths)], torch.tensor(lengths), batch_first=True, enforce_sorted=False)
        return hl.extract(rnn, packed, layers="output", reduce="last").digests.tolist()

    assert digests([3, 2, 7])[:2] == digests([3, 2])
    assert digests([3, 2])[0] != digests([4, 2])[0]
