"""`homolog check` from end to end: networks that were quantised or trained on, through files; and JUnit's XML."""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from conftest import command_line

import homolog as hl

ASKED = ("--at-least", "cka(estimator=debiased)=0.98")


def network():
    """A network that was trained a little on the signs of three sums."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        *(torch.nn.Linear(12, 24), torch.nn.ReLU(), torch.nn.Linear(24, 24), torch.nn.ReLU(), torch.nn.Linear(24, 3))
    )
    return train(model, 60)


def train(model, steps, turned=False):
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(12, 3, generator=generator)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        x = torch.randn(64, 12, generator=generator)
        target = ((x.flip(1) if turned else x) @ mixing > 0).float()
        optimiser.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(x), target).backward()
        optimiser.step()
    return model


def quantised(model):
    with warnings.catch_warnings():
        # PyTorch tells that this will move to another package.
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)


def extracted(model, path):
    x = torch.randn(400, 12, generator=torch.Generator().manual_seed(2))
    with warnings.catch_warnings():
        # Quantised layers round by the largest value of a batch: both see the same batches.
        warnings.simplefilter("ignore", hl.ExtractionWarning)
        layers = hl.extract(model, x, batch_size=100)
    hl.save(layers, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("check")
    extracted(network(), path / "before.zarr")
    extracted(quantised(network()), path / "int8.zarr")
    extracted(train(network(), 200, turned=True), path / "retrained.zarr")
    rng = np.random.default_rng(0)
    odd = {
        "<a & b>": rng.normal(size=(90, 3)),
        "c\x1b\x01\ufffe": rng.normal(size=(90, 3)),
        "gone": rng.normal(size=(90, 3)),
    }
    hl.save(odd, path / "odd.npz")
    hl.save({"0": rng.normal(size=(90, 3))}, path / "fewer.npz")
    hl.save({name: layer[::-1].copy() for name, layer in odd.items() if name != "gone"}, path / "turned.npz")
    return path


@pytest.fixture
def check(folder):
    def check(*arguments, status):
        ended, out, told = command_line(("check", *arguments), folder)
        assert ended == status, told
        return out.splitlines(), told

    return check


def test_a_quantised_network_is_as_it_was(check):
    for options in ((), ("--confidence", "0.95"), ("--pairs", "all"), ("--common-rows",)):
        out, _ = check("before.zarr", "int8.zarr", *ASKED, *options, status=0)
        assert out[0].startswith("All 5 layers hold")
        assert len(out) == 1


def test_a_retrained_network_is_not(check):
    out, _ = check("before.zarr", "retrained.zarr", *ASKED, status=1)
    assert out[0].split("\t") == ["layer", "measure", "value", "must be", "why"]
    fell = [line.split("\t")[0] for line in out[1:-1]]
    assert fell == sorted(fell)
    assert fell[-1] == "4"
    assert out[-1].startswith(
        f"{len(fell)} of 5 layers fell short, the first of them {fell[0]}: cka(estimator=debiased)"
    )


def test_layers_and_thresholds_are_chosen(check):
    for_some = [part for layer in "0123" for part in ("--at-least", f"cka(estimator=debiased)=0.05@{layer}")]
    out, _ = check("before.zarr", "retrained.zarr", *ASKED, *for_some, status=1)
    assert [line.split("\t")[0] for line in out[1:-1]] == ["4"]
    check("before.zarr", "retrained.zarr", "--at-most", "procrustes_distance=0.2@4", status=1)
    out, _ = check("before.zarr", "retrained.zarr", *ASKED, "--layers", "4", "--confidence", "0.9", status=1)
    assert "90 % interval" in out[0]
    assert out[-1].startswith("1 of 1 layers")


def test_a_measure_of_ones_own_and_one_with_options(check, folder):
    (folder / "own.py").write_text("def share(x, y):\n    return float((x * y).sum() / (x * x).sum())\n")
    check("before.zarr", "int8.zarr", "--at-least", "own.py:share=0.9", status=0)
    check("before.zarr", "int8.zarr", "--at-least", "cka(kernel=rbf,median_fraction=0.4)=0.9@2", status=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "pass --at-least 'cka(estimator=debiased)=0.98', or --at-most for a distance"),
        (("--at-least", "cka"), "a threshold must be written as measure=number"),
        (("--at-least", "procrustes_distance=0.1"), "use --at-most"),
        (("--at-least", "cka=0.9", "--at-least", "cka=0.8"), "got two of cka"),
        (("--at-least", "cka=0.9@9"), "unknown layer '9'"),
        (("--at-least", "cka=0.9", "--confidence", "95"), "confidence must be a number between 0 and 1"),
        (("--at-least", "cka=0.9", "--junit", "out.txt"), "--junit must end in .xml"),
        (("--at-least", "cka=0.9", "--pairs", "best"), "pairs must be"),
    ],
)
def test_wrong_use_is_one_sentence_and_status_2(check, arguments, message):
    out, told = check("before.zarr", "int8.zarr", *arguments, status=2)
    assert out == []
    assert message in told


def test_rows_that_do_not_match_are_wrong_use(check):
    _, told = check("before.zarr", "fewer.npz", *ASKED, status=2)
    assert "after must have as many rows as before (400), got 90" in told


# --- JUnit's XML


def written(check, folder, *arguments, status):
    check(*arguments, "--junit", "out.xml", status=status)
    return ElementTree.fromstring((folder / "out.xml").read_bytes())


def test_every_layer_and_measure_is_a_test_case(check, folder):
    measures = (*ASKED, "--at-least", "rsa=0.5")
    root = written(check, folder, "before.zarr", "retrained.zarr", *measures, status=1)
    (suite,) = root
    # What the schema of Ant demands, in its order; Jenkins takes less.
    assert {"name", "package", "id", "timestamp", "hostname", "time"} <= suite.attrib.keys()
    assert [child.tag for child in suite] == ["properties", *["testcase"] * 10, "system-out", "system-err"]
    cases, failures = suite.findall("testcase"), suite.findall("testcase/failure")
    assert (root.tag, suite.tag, len(cases)) == ("testsuites", "testsuite", 10)
    for element in (root, suite):
        counts = {key: element.get(key) for key in ("tests", "failures", "errors")}
        assert counts == {"tests": "10", "failures": str(len(failures)), "errors": "0"}
        assert float(element.get("time")) >= 0
    assert {(case.get("classname"), case.get("name")) for case in cases} == {
        (measure, layer) for measure in ("cka(estimator=debiased)", "rsa") for layer in "01234"
    }
    assert all(failure.get("message") == failure.text and failure.get("type") for failure in failures)
    assert "4: cka(estimator=debiased) is 0." in failures[-1].text or "rsa" in failures[-1].text


def test_a_check_that_holds_has_no_failure(check, folder):
    root = written(check, folder, "before.zarr", "int8.zarr", *ASKED, status=0)
    assert (root.get("tests"), root.get("failures")) == ("5", "0")
    assert root.findall(".//failure") == []
    assert root.find("testsuite/system-out").text.startswith("All 5 layers hold")


def test_names_are_data_in_the_file(check, folder):
    root = written(check, folder, "odd.npz", "turned.npz", "--at-least", "cka=0.9", status=1)
    assert [case.get("name") for case in root.iter("testcase")] == ["<a & b>", "c\\x1b\\x01\\ufffe", "gone"]
    gone = root.findall(".//failure")[-1].text
    assert gone == "gone: cka has no value, must be at least 0.9: the model after has no layer of this name."
