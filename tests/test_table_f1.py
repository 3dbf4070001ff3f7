"""Table F.1: message catalogues and aligned texts as sentences, the Transformers, and the places where they are compared."""

from __future__ import annotations

import gettext
import os
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

import homolog as hl
from homolog.cli.app import run
from homolog.paper import catalogues, checkpoints, sentences
from homolog.paper.scale import SCALES
from homolog.paper.side_by_side import all_trained
from homolog.paper.study import Study
from homolog.paper.table_f1 import TABLE_F1, activations, contrasts, untrained
from homolog.paper.translation import Translation, TranslationRecipe, batches, predicted
from homolog.paper.translator import BEGIN, END, PADDING, PLACES, Translator

HEADER = "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=(n != 1);\n"
MESSAGES = {
    "Open the file": "Die Datei öffnen",
    "menu\x04Save the picture now": "Das Bild jetzt speichern",
    "one layer of it\0many layers of it": "eine Ebene davon\0viele Ebenen davon",
}


def mo(messages, header=HEADER, order="<"):
    """The bytes of a message catalogue."""
    pairs = sorted((key.encode(), value.encode()) for key, value in ({"": header} | messages).items())
    content, tables = b"", [[], []]
    start = 28 + 16 * len(pairs)
    for side in (0, 1):
        for pair in pairs:
            tables[side] += [len(pair[side]), start + len(content)]
            content += pair[side] + b"\0"
    numbers = [0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0, *tables[0], *tables[1]]
    return struct.pack(f"{order}{len(numbers)}I", *numbers) + content


@pytest.mark.parametrize("order", ["<", ">"])
def test_catalogues_are_read_as_gettext_reads_them(tmp_path, order):
    path = tmp_path / "x.mo"
    path.write_bytes(mo(MESSAGES, order=order))
    with path.open("rb") as file:
        known = gettext.GNUTranslations(file)
    expected = {
        ("Open the file", known.gettext("Open the file")),
        ("Save the picture now", known.pgettext("menu", "Save the picture now")),
        ("one layer of it", known.ngettext("one layer of it", "many layers of it", 1)),
        ("many layers of it", known.ngettext("one layer of it", "many layers of it", 2)),
    }
    assert set(catalogues.catalogue(path)) == expected


def test_the_rule_for_plurals_is_not_evaluated(tmp_path):
    path = tmp_path / "x.mo"
    path.write_bytes(mo(MESSAGES, HEADER.replace("(n != 1)", "__import__('os').abort()")))
    assert len(catalogues.catalogue(path)) == 4


def test_another_charset(tmp_path):
    path = tmp_path / "x.mo"
    header = HEADER.replace("UTF-8", "ISO-8859-1")
    path.write_bytes(mo({}, header)[:-1] + b"\0")
    content = mo({"Open the file": "Die Datei öffnen"}, header).replace("ö".encode(), b"\xf6 ")
    path.write_bytes(content)
    assert catalogues.catalogue(path) == [("Open the file", "Die Datei \xf6 ffnen")]
    path.write_bytes(mo({}, HEADER.replace("UTF-8", "no-such")))
    with pytest.raises(ValueError, match="text in no-such, got other bytes"):
        catalogues.catalogue(path)


@pytest.mark.parametrize(
    "damage", [lambda whole: b"", lambda whole: b"PK" + whole, lambda whole: whole[:40], lambda whole: whole[:-30]]
)
def test_damaged_catalogues(tmp_path, damage):
    path = tmp_path / "x.mo"
    path.write_bytes(damage(mo(MESSAGES)))
    with pytest.raises(ValueError, match="must be a message catalogue of gettext, got"):
        catalogues.catalogue(path)


def test_german_catalogues_are_found_among_others(tmp_path):
    for place in ("usr/share/locale/de/LC_MESSAGES/a.mo", "locale/fr/LC_MESSAGES/a.mo", "po/de.mo", "po/fr.mo"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(mo({f"The text of {place}": "Der Text"}))
    found = [english for english, _ in catalogues.pairs(tmp_path)]
    assert found == ["The text of po/de.mo", "The text of usr/share/locale/de/LC_MESSAGES/a.mo"]
    assert len(catalogues.pairs(tmp_path / "usr/share/locale/de/LC_MESSAGES")) == 1
    with pytest.raises(FileNotFoundError, match="got neither"):
        catalogues.pairs(tmp_path / "locale")


@pytest.mark.parametrize(
    ("english", "german"), [("en.txt", "de.txt"), ("train.en", "train.de"), ("a.en.txt", "a.de.txt")]
)
def test_aligned_files(tmp_path, english, german):
    (tmp_path / english).write_text("one two three\n\nfour\x0bfive six\n", encoding="utf-8")
    (tmp_path / german).write_text("\ufeffeins zwei drei\r\n\r\nvier fünf sechs\r\n", encoding="utf-8")
    assert catalogues.cleaned(catalogues.pairs(tmp_path), 10) == [
        ("one two three", "eins zwei drei"),
        ("four five six", "vier fünf sechs"),
    ]
    (tmp_path / german).write_text("eins\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"as many lines, got 3 and 1"):
        catalogues.pairs(tmp_path)
    (tmp_path / german).write_bytes(b"\xff\xfe\n\n\n")
    with pytest.raises(ValueError, match="convert it to UTF-8"):
        catalogues.pairs(tmp_path)
    (tmp_path / german).unlink()
    with pytest.raises(FileNotFoundError, match=german):
        catalogues.pairs(tmp_path)


def test_what_is_kept_as_a_sentence():
    good = [
        ("The _old file & its name", "Die _alte Datei & ihr Name"),
        ("A&dd a new   layer", "Eine neue Ebene hinzufügen"),
    ]
    bad = [
        ("Open", "Öffnen"),
        ("Add a new layer.", "Noch eine Ebene"),  # again, but for the point
        ("The same old text", "The same old text"),
        ("Add %d new layers", "%d neue Ebenen hinzufügen"),
        ("Add <b>new</b> layers here", "Hier neue Ebenen"),
        ("Add &lt;b&gt; new layers", "Hier neue Ebenen"),
        ("See http://example.org for more", "Mehr unter http://example.org"),
        ("Save as picture.png at once", "Sofort speichern"),
        ("A text of its own here", "Kurz"),
        ("1 2 3 4 5 + 6", "1 2 3 4 5 + 7"),
        (" ".join(["word"] * 11), " ".join(["Wort"] * 11)),
    ]
    assert catalogues.cleaned(good + bad, 10) == [
        ("The old file & its name", "Die alte Datei & ihr Name"),
        ("Add a new layer", "Eine neue Ebene hinzufügen"),
    ]


@pytest.fixture(scope="module")
def invented():
    return sentences.load(None, 300, 10)


def test_sentences_as_tokens(invented):
    for tokens in invented.arrays:
        real = tokens != PADDING
        lengths = real.sum(axis=1)
        assert (tokens[np.arange(len(tokens)), lengths - 1] == END).all()
        assert (real == (np.arange(tokens.shape[1]) < lengths[:, None])).all()
        assert tokens.max() < invented.vocabulary
    kept = [english for english, _ in catalogues.invented() if len(english.split()) <= 10]
    assert len(invented.train) + len(invented.test) == len(kept) > 600
    assert not {row.tobytes() for row in invented.test} & {
        row[: invented.test.shape[1]].tobytes() for row in invented.train
    }
    held = invented.held_out(100)
    assert 100 - invented.test.shape[1] < (held != PADDING).sum() <= 100


def test_the_choice_of_what_is_held_out_depends_on_nothing_else(tmp_path, invented):
    pairs = list(catalogues.invented())[::-1]
    for name, side in (("en.txt", 0), ("de.txt", 1)):
        (tmp_path / name).write_text("\n".join(pair[side] for pair in pairs[:100] + pairs))
    again = sentences.load(tmp_path, 300, 10)
    assert again.name == "sentences"
    for one, other in zip(again.arrays, invented.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


def test_too_few_sentences(tmp_path):
    (tmp_path / "en.txt").write_text("only one sentence in it\n")
    (tmp_path / "de.txt").write_text("nur ein Satz darin\n")
    with pytest.raises(
        ValueError, match="a few hundred sentences in English and German at least, of 3 to 10 words, got 1"
    ):
        sentences.load(tmp_path, 300, 10)


def test_the_four_places_of_a_sublayer(invented):
    torch.manual_seed(0)
    form = Translator(invented.vocabulary, 16)
    network = checkpoints.Trained(form.build().eval(), form, 0.0, 0.0)
    with torch.no_grad():
        for name, parameter in network.network.named_parameters():
            if name.endswith((".scaled.weight", ".scaled.bias")):
                parameter.normal_()
    tokens = invented.test[:7]
    taken = {place: activations(network, tokens, place) for place in PLACES}
    names = list(taken["total"])
    assert names[:3] == ["attention1", "feed-forward1", "attention2"]
    assert len(names) == 12
    assert taken["inside"].n == (tokens != PADDING).sum()
    scale = network.network.encoder.feed_forward3.scaled
    before = torch.from_numpy(taken["total"]["attention3"])
    normalised = torch.nn.functional.layer_norm(before, (16,))
    torch.testing.assert_close(torch.from_numpy(taken["normalised"]["feed-forward3"]), normalised, rtol=1e-4, atol=1e-5)
    scaled = normalised * scale.weight + scale.bias
    torch.testing.assert_close(
        torch.from_numpy(taken["scaled"]["feed-forward3"]), scaled.detach(), rtol=1e-4, atol=1e-5
    )
    after = before.numpy() + taken["inside"]["feed-forward3"]
    np.testing.assert_allclose(taken["total"]["feed-forward3"], after, rtol=1e-4, atol=1e-5)


def test_neither_padding_nor_later_tokens_are_seen(invented):
    torch.manual_seed(0)
    network = Translator(invented.vocabulary, 16).build().eval()
    source, german = torch.from_numpy(invented.test[:4]), torch.from_numpy(invented.test_german[:4])
    begun = torch.cat([torch.full_like(german[:, :1], BEGIN), german[:, :-1]], dim=1)
    logits = network(source, begun)
    wider = torch.nn.functional.pad(source, (0, 5), value=PADDING)
    torch.testing.assert_close(network(wider, begun), logits, rtol=1e-4, atol=1e-5)
    changed = begun.clone()
    changed[:, 6:] = 7
    torch.testing.assert_close(network(source, changed)[:, :6], logits[:, :6], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(network(source.flip(0), begun), logits)


def test_batches_hold_every_sentence_once():
    lengths = np.random.default_rng(0).integers(3, 30, size=1003)
    found = batches(lengths, 16, torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(1003))
    assert max(map(len, found)) < 32
    assert np.mean([np.ptp(lengths[rows]) for rows in found]) < 2


def work(invented, seed=0, epochs=3):
    few = replace(invented, train=invented.train[:96], train_german=invented.train_german[:96])
    return Translation(Translator(invented.vocabulary, 16, blocks=1), few, TranslationRecipe(epochs), seed)


def test_a_killed_training_goes_on_to_the_same_network(tmp_path, monkeypatch, invented):
    whole = checkpoints.trained(work(invented), tmp_path / "whole", lambda n: None)
    assert len(whole.course) == 3
    assert whole.accuracy == whole.course[-1]["accuracy"]
    monkeypatch.setattr(checkpoints, "SAVED_EVERY", -1.0)
    steps = []

    def killed(n):
        steps.append(n)
        if len(steps) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.trained(work(invented), tmp_path / "killed", killed)
    done = []
    again = checkpoints.trained(work(invented), tmp_path / "killed", done.append)
    assert done[0] == 96
    assert again.course == whole.course
    for name, tensor in whole.network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], tensor, rtol=0, atol=0)


def test_networks_side_by_side_are_those_of_one_after_the_other(tmp_path, invented):
    works = {f"seed {seed}": work(invented, seed, epochs=2) for seed in range(3)}
    kept = checkpoints.trained(works["seed 1"], tmp_path, lambda n: None)
    steps = []
    apart = dict(all_trained(works, tmp_path, steps.append, 2))
    assert sum(steps) == sum(each.size for each in works.values())
    assert {name: network.from_checkpoint for name, network in apart.items()} == {
        name: name == "seed 1" for name in works
    }
    assert apart["seed 1"].seconds == kept.seconds
    alone = dict(all_trained(works, tmp_path / "alone", lambda n: None, 1))
    for name, network in alone.items():
        assert not network.from_checkpoint
        assert apart[name].course == network.course
        for key, tensor in network.network.state_dict().items():
            torch.testing.assert_close(apart[name].network.state_dict()[key], tensor, rtol=0, atol=0)


class Refused(Translation):
    """A network whose training ends otherwise."""

    def passes(self, network, optimiser, first, step):
        if self.seed:
            os._exit(3)
        raise ValueError("no such sentences.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "said"),
    [((0, 0), "no such sentences"), ((1, 1), "must live until it is finished, got its end")],
)
def test_what_goes_wrong_beside_is_said(tmp_path, invented, seeds, said):
    plain = work(invented)
    works = {
        f"network {k}": Refused(plain.architecture, plain.sentences, replace(plain.recipe, epochs=k + 1), seed)
        for k, seed in enumerate(seeds)
    }
    with pytest.raises((ValueError, RuntimeError), match=said):
        dict(all_trained(works, tmp_path, lambda n: None, 2))
    assert not list(tmp_path.iterdir())


def test_translators_learn(tmp_path, invented):
    form = Translator(invented.vocabulary, 32, blocks=2)
    learned = checkpoints.trained(Translation(form, invented, TranslationRecipe(5), 0), tmp_path, lambda n: None)
    assert learned.course[-1]["bits"] < 0.7 * learned.course[0]["bits"]
    assert learned.accuracy > 0.5


def test_the_checkerboard_is_measured():
    kind = np.arange(12) % 2
    apart = np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    board = 0.3 * (kind[:, None] == kind) + 0.2
    assert contrasts(board) == pytest.approx((0.3, 0.3))
    # A steady fall with distance is none, although it moves the first number.
    fall = 1 - apart / 20
    assert contrasts(fall)[0] < -0.01
    assert contrasts(fall)[1] == pytest.approx(0)


def test_the_table_is_that_of_its_networks(tmp_path):
    scale = replace(SCALES["tiny"], n_train=128, translator_width=16, translator_epochs=1, n_tokens=120, seeds=3)
    measures = {name: hl.measure(name) for name in ("cka", "hsic")}
    study = Study(scale=scale, out=tmp_path, measures=measures, say=lambda line: None, progress=False)
    result = TABLE_F1.run(study)
    networks = study.translators()
    tokens = study.sentences.held_out(120)
    layers = {name: activations(network, tokens, "scaled") for name, network in networks.items()}
    compared = hl.compare(layers, measures="cka", progress=False)
    expected = hl.layer_identification(compared)
    at = result.sel(place="scale")
    assert float(at.accuracy.sel(measure="cka")) == pytest.approx(float(expected.accuracy[0]))
    np.testing.assert_allclose(at.cka, hl.mean_over_models(compared).cka, atol=1e-6)
    pairs = [contrasts(hl.between(compared, a, b).cka.values)[0] for a in layers for b in layers if a != b]
    assert float(at.contrast) == pytest.approx(np.mean(pairs))
    # The control: drawn as those that were trained, and not trained.
    torch.manual_seed(1)
    drawn = networks["seed 1"].architecture.build().eval()
    raw = {
        "seed 1": activations(checkpoints.Trained(drawn, networks["seed 1"].architecture, 0.0, 0.0), tokens, "scaled")
    }
    control = untrained(networks)
    raw |= {name: activations(control[name], tokens, "scaled") for name in ("seed 0", "seed 2")}
    drawn_only = hl.compare(raw, measures="cka", progress=False)
    pairs = [contrasts(hl.between(drawn_only, a, b).cka.values)[0] for a in raw for b in raw if a != b]
    assert float(at.untrained_contrast) == pytest.approx(np.mean(pairs))
    assert float(at.paper.sel(measure="cka")) == pytest.approx(0.956)
    assert np.isnan(at.paper.sel(measure="hsic"))
    identified = hl.layer_identification(drawn_only).accuracy[0]
    assert float(at.untrained_accuracy) == pytest.approx(float(identified))
    # The brackets of a measure that the paper has not are empty, and those of untrained networks.
    rows = [line for line in TABLE_F1.tell(result) if line.startswith(("  CKA (linear)", "  HSIC"))]
    assert [row.count("(") for row in rows] == [5, 1, 1]
    assert list(result.part.values) == [*(f"block {k}" for k in range(1, 7)), "blocks 4 to 6"]
    lost = [bits_without_block_2(network, study.sentences) for network in networks.values()]
    assert float(result.bits_lost.sel(part="block 2")) == pytest.approx(np.mean(lost), abs=1e-6)
    assert float(result.bits_lost_se.sel(part="block 2")) == pytest.approx(np.std(lost, ddof=1) / 3**0.5, abs=1e-6)


def bits_without_block_2(trained, data):
    """What a token costs more when nothing comes out of the block's sublayers."""
    network = trained.network
    whole = predicted(network, data)["bits"]
    for last in (network.encoder.attention2.inside.heads.out_proj, network.encoder.feed_forward2.inside[2]):
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
    return predicted(network, data)["bits"] - whole


def test_a_folder_without_sentences(tmp_path, capsys):
    assert run(["paper", "tableF1", "--sentences", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "must hold German message catalogues" in message
    assert message.count("\n") == 1
    with pytest.raises(FileNotFoundError, match="must be a folder, got no such folder"):
        catalogues.pairs(tmp_path / "nowhere")
