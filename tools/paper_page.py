"""Write docs/paper.md from the results in docs/paper: every figure on the page comes from a file beside it.

python tools/paper_page.py                       # after copying <experiment>-<data>-<scale>.nc and .png there
"""

from __future__ import annotations

from pathlib import Path

import xarray

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "paper"
PAIRS = "36,078"
"""Sentences in the catalogues that the page names."""

INTRODUCTION = """# The paper, reproduced

Every table and figure of *Similarity of Neural Network Representations Revisited* (Kornblith, Norouzi, Lee & Hinton, ICML 2019) is a
command:

```sh
pip install "homolog[paper]"
homolog paper table2                                           # on digits, 46 s on two cores
homolog paper table2 --data fashion-mnist --scale small        # Debian: apt install dataset-fashion-mnist
homolog paper table2 -m cka -m mymodule:my_measure             # the same test for a measure of your own, beside CKA
homolog paper tableF1                                          # Transformers, on invented sentences
homolog paper tableF1 --sentences catalogues --scale small     # on message catalogues; the last section says how to get them
homolog paper table2 --data fashion-mnist --scale full --epochs 12 --examples 10000 --sketch      # full width, in 6 GiB
homolog paper all --data cifar10 --data-folder cifar-10-batches-bin --scale full
```

The paper's numbers are from CIFAR-10 (ten Tiny-10 networks on 32 × 32 colour images). Ours are from other, smaller data and often narrower
networks; each section names its data. So compare only the order of the measures and the shape of the pictures. If they differ from the
paper, we give the reason if we tested it, and leave it open if we did not. Nothing was chosen after looking at the results, but for Table F.1, where it is said: the last
checkpoint counts, and test images are used for no choice.

## Networks, data, training

The networks are Tiny-10, Plain-(8n+2), Width-n and ResNet-(6n+2) of the paper's appendix E. Every convolution is followed by batch norm and
ReLU, and the output of the ReLU is what is compared, flattened. Shortcuts of the residual networks have no parameters. `--scale`
multiplies the channels and averages images down to a smaller size:

| scale | image | Tiny-10's channels | plain / residual channels | training images, epochs | examples compared |
|---|---|---|---|---|---|
{scales}

The paper states no training recipe. Ours, for everything: {recipe}
Where the last 3 × 3 convolution would meet a map smaller than itself (8 × 8 images), it is padded.
`cifar10` and `cifar100` are read in the binary layout; the Python layout is a pickle, which can run code when read, and is refused.

Networks and results are kept in the folder `homolog-paper` (`--out`), under a key that is made of everything they depend on. So an
interrupted run goes on where it stopped, and experiments share networks.

Table 2, Figure 2 and the untrained networks say before training what comparing will take, and refuse what does not fit. The features of ten
full-width Tiny-10 networks over 10,000 images of 28 × 28 are 18.7 GiB, and comparing takes up to 4 GiB beside them. With `--sketch` only
[two random projections](sketching.md) of 512 columns are kept of each layer of more than 1,024 features. They lie on disk (3.1 GiB) until
they are compared, in up to 4 GiB of memory. `--sketch 256` keeps fewer columns, `--seed` takes others. Sketches tell linear HSIC and CKA, biased and debiased;
the other indexes are left out. `--test-images` compares over test images; the paper, and the default, take those of training.

The times at scale small: Table 2 with eleven measures ran alone on two cores. The other experiments ran two at a time with one core each,
so their times are upper bounds.

"""

SLIPS = """## Slips of the paper

- Equation 12 relates linear regression to CKA with a factor sqrt(p1). It must be **sqrt(p2)**, the number of predictors, because
  ‖Q_Y Q_Yᵀ‖_F = sqrt(p2). With p1 = 8 and p2 = 12 random features, sqrt(p2) gives R² exactly and sqrt(p1) does not
  (`tests/test_paper.py`).
- Table 1 says that PWCCA is invariant to neither orthogonal nor invertible maps; this holds for the side whose canonical variables give the
  weights. Any invertible map of the other side leaves it unchanged.
- The appendix's identity between PWCCA and regression (squared projections and squared correlations) needs p1 ≤ p2.
- The authors' notebook computes CCA without centring the columns; Table 1 needs centred ones. Their example gives 0.5431 as printed
  and 0.5454 centred, which is what `hl.cca` returns.
"""

TEXTS = {
    "table2": (
        "Table 2: the sanity check",
        "Take a layer of one network, and find the layer of another network, trained from another seed, that is most alike. Is it the "
        "one in the same place? The paper: linear CKA 99.3 %, regression 45.4 %, CCA, SVCCA and PWCCA at or near the 11.1 % of chance.",
    ),
    "fig2": (
        "Figure 2: Tiny-10 networks by six measures",
        "The paper: CCA and SVCCA show no diagonal, regression a weak one, CKA a clear one.",
    ),
    "fig3": (
        "Figure 3: depth",
        "The paper: in Plain-10 and Plain-18 all layers differ and the probe improves to the end; at four and eight times the depth "
        "more than half of the layers look like the last one, and the probe's accuracy stops rising before half depth.",
    ),
    "fig4": (
        "Figure 4: a residual network",
        "The paper: a grid, because layers after a residual sum are alike, and unlike those inside blocks.",
    ),
    "fig5": (
        "Figure 5: architectures",
        "The paper: layers of networks of different depth correspond at the same relative depth; new layers are inserted between.",
    ),
    "fig6": ("Figure 6: widths", "The paper: similarity rises with width, in early layers first."),
    "fig7": (
        "Figure 7: data sets",
        "The paper: networks trained on CIFAR-10 and on CIFAR-100 are alike in their early layers, and more like each other than like untrained ones.",
    ),
    "fig8": (
        "Figure 8: the shared subspace",
        "The paper: the large eigenvectors of one network's layer matter to the other's, the small ones do not; the shared subspace "
        "has far fewer dimensions than the layer.",
    ),
    "fig1": (
        "Figure 1: principal components",
        "The paper: images keep their neighbours from the plane of one network's principal components to that of another.",
    ),
    "svcca-thresholds": ("Appendix: SVCCA's threshold", "The paper: no threshold makes SVCCA find the layers."),
    "untrained": (
        "Appendix: untrained networks",
        "The control: what the architecture alone makes alike, over four networks that were never trained.",
    ),
    "batchnorm": ("Appendix: batch norm", "The paper: the correspondence does not come from batch norm."),
    "within-class": (
        "Appendix: within a class",
        "The paper: CKA within a class is close to CKA over all examples: it does not merely see that networks know the classes.",
    ),
    "tiny-resnet": (
        "Appendix: Tiny-10 and ResNet-14",
        "The paper: CKA alone shows the order of the layers across architectures.",
    ),
}


TABLE_F1 = """Ten Transformers learn to translate English into German from different seeds. Each of the 6 blocks of the encoder has two
sublayers, attention and feed-forward, and each of these 12 sublayers is compared in four places: after its layer norm, after the scale
and shift that layer norm learns, after attention or feed-forward itself, and after the residual sum. Rows are the tokens of held-out English
sentences, without padding. The paper's networks are base Transformers of 512 features, trained on WMT's English–German; its tokens are those
of newstest2013. It has no HSIC here.

Ours read **message catalogues**: what programs say, in English and in German. Debian's packages bring them as `.mo` files. These fifteen
(120 MB) hold {pairs} sentences:

```sh
mkdir catalogues; cd catalogues
apt-get download audacity-data darktable digikam-data evolution-common freeciv-data gcc-12-locales gimp-data gnucash-common \\
    gnumeric-common gramps inkscape kmymoney-common krita-l10n libreoffice-l10n-de lyx-common
for package in *.deb; do dpkg -x $package .; done; rm *.deb; cd ..
homolog paper tableF1 --sentences catalogues --scale small
```

(of Debian 12; later releases have a later `gcc-14-locales`). `--sentences` takes any folder with German catalogues somewhere in it, or with
two text files of which line k of one translates line k of the other: `en.txt` and `de.txt`, or `name.en` and `name.de`. Catalogues are read
as data; the rule for plurals in their header, which gettext evaluates, is not looked at. Kept are pairs of {shortest} or more English words
without markup, format codes, names of files and addresses; accelerators (`_File`, `&File`) are removed; texts that differ in case and
punctuation alone count as one. One sentence in {held_out} is held out, chosen by the digest of its English text. Both languages share a
vocabulary of byte pairs, learned from the sentences of training by SentencePiece. Without `--sentences` there are 660 sentences of an
invented grammar, which show that everything runs, and nothing of language.

| scale | features | vocabulary | sentences, passes | words, at most | tokens compared |
|---|---|---|---|---|---|
{scales}

The networks have layer norm before every sublayer, ReLU, 4 heads, feed-forward of 4 times the width, sines and cosines as positions, one embedding
for both languages and the output, {encoder} blocks in the encoder and {decoder} in the decoder. Training: {recipe}"""


def about_transformers() -> str:
    """Return what Table F.1 is, its data, sizes and training."""
    from homolog.paper import catalogues, sentences, translation
    from homolog.paper.scale import SCALES
    from homolog.paper.translator import Translator

    rows = [
        f"| {scale.name} | {scale.translator_width} | {scale.vocabulary} | {scale.n_train or 'all'}, {scale.translator_epochs} | "
        f"{scale.n_words} | {scale.n_tokens} |"
        for scale in SCALES.values()
    ]
    return TABLE_F1.format(
        pairs=PAIRS,
        shortest=catalogues.FEWEST_WORDS,
        held_out=sentences.HELD_OUT,
        scales="\n".join(rows),
        encoder=Translator.blocks,
        decoder=Translator.decoder_blocks,
        recipe=translation.RECIPE,
    )


def page() -> str:
    """Return the page."""
    from homolog.paper.experiment import time_spent
    from homolog.paper.experiments import EXPERIMENTS
    from homolog.paper.scale import SCALES
    from homolog.paper.training import RECIPE

    rows = [
        f"| {scale.name} | {scale.image_size or 'as it is'} | × {scale.width:.2g} | × {scale.deep_width:.2g} / × "
        f"{scale.residual_width:.2g} | {scale.n_train or 'all'}, {scale.epochs} (deep and wide networks {scale.deep_epochs}) | {scale.n_examples} |"
        for scale in SCALES.values()
    ]
    parts = [INTRODUCTION.format(scales="\n".join(rows), recipe=RECIPE)]
    for name, experiment in EXPERIMENTS.items():
        files = sorted(FOLDER.glob(f"{name}-*.nc"), key=lambda file: ("-sketch-" in file.stem, file.stem))
        if not files:
            continue
        heading, claim = TEXTS[name] if name in TEXTS else ("Table F.1: Transformers", about_transformers())
        parts.append(f"## {heading}\n\n{claim}\n\n")
        for file in files:
            result = xarray.load_dataset(file)
            spent = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in time_spent(result).items())
            text = "\n".join(experiment.tell(result))
            parts.append(
                f"![{heading}](paper/{file.stem}.png)\n\n`{result.attrs['command']}` ({spent})\n\n```text\n{text}\n```\n\n"
            )
            note = FOLDER / f"{file.stem}.txt"
            if note.is_file():
                parts.append(note.read_text(encoding="utf-8") + "\n")
    return "".join(parts) + SLIPS


if __name__ == "__main__":
    (ROOT / "docs" / "paper.md").write_text(page(), encoding="utf-8")
