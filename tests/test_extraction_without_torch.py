"""What looks at batches works where PyTorch is not installed."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

MODULES = [
    "axis_sizes",
    "batch_contents",
    "digests",
    "input_checks",
    "input_dependence",
    "mask_recognition",
    "masked_positions",
    "masks",
    "objections",
    "row_digests",
    "suspected_padding",
    "tensors",
]


def said_without_torch(code):
    """Run code in a process in which PyTorch cannot be imported, and return what it prints."""
    blocked = "import sys; sys.modules['torch'] = None\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocked + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_is_imported():
    code = f"""
    import importlib
    for name in {MODULES}:
        importlib.import_module("homolog.extraction." + name)
    print("done")
    """
    assert said_without_torch(code) == "done\n"


def test_batches_are_laid_out_digested_and_cut():
    code = """
    import numpy as np
    from homolog.extraction.batch_contents import joined, layout_of, part_of
    from homolog.extraction.row_digests import digests_of, form_of
    x = np.arange(24).reshape(4, 3, 2) / 7 - 1
    batch = {"x": x, "weights": x[:1, 0], "level": np.array(0.5), "name": "a", "kept": None}
    layout = layout_of(batch)
    print(layout.size, layout.kind, digests_of(batch, layout)[[0, -1]].tolist(), form_of(x, layout))
    part = part_of(batch, layout, [3, 1])
    print(part["x"].shape, joined({"x": x[:1]}, {"x": x[1:2]})["x"].shape)
    """
    assert said_without_torch(code).splitlines() == [
        "4 rows [16505864391144722698, 822148610533649390] float64 of shape (n, 3, 2)",
        "(2, 3, 2) (2, 3, 2)",
    ]


def test_masks_and_padding_are_found():
    code = """
    import numpy as np
    from homolog.extraction.masks import Masks
    from homolog.extraction.sequences import input_sequences
    from homolog.extraction.suspected_padding import suspected_padding_in
    keep = np.arange(5) < np.array([5, 3, 2])[:, None]
    batch = {"input_ids": np.where(keep, np.arange(15).reshape(3, 5), 0), "attention_mask": keep.astype(int)}
    sequences = input_sequences(batch, 3)
    print(*sequences)
    print((Masks(batch, 3, None, sequences).of("layer", 5) == keep).all())
    print((Masks(batch, 3, lambda batch: (batch["input_ids"] != 0).tolist(), sequences).of("layer", 5)).sum())
    print(suspected_padding_in({"x": batch["input_ids"]}, 3)[0].reason)
    """
    assert said_without_torch(code).splitlines() == [
        "InputSequence(inputs=('input_ids',), mask='attention_mask')",
        "True",
        "9",
        "rows of batch['x'] end in runs of 0 of unequal lengths",
    ]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("np.ma.array([[1.0, 2]], mask=[[0, 1]])", "a masked array with gaps in rows 0"),
        ("np.array(['a'])", "data must hold numbers"),
    ],
)
def test_what_is_no_data_is_told(data, told):
    code = f"""
    import numpy as np
    from homolog.extraction.input_checks import check_converted, check_data, odd_kind
    check_data(np.ones((2, 3)))
    assert odd_kind(np.ones((2, 3))) is None
    try:
        check_data({data})
    except TypeError as error:
        print(error)
    try:
        check_converted({{"x": [[1, 2]]}})
    except TypeError as error:
        assert "torch" not in str(error), error
    """
    assert told in said_without_torch(code)
