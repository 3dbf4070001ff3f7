"""Sentences and their translations as tokens, some held out."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from homolog.machine import optional
from homolog.paper import catalogues
from homolog.paper.translator import BEGIN, END, PADDING, UNKNOWN

HELD_OUT = 20
"""One sentence in so many is held out."""
MOST_TOKENS = 48
"""In a sentence, with the mark of its end; the rest is cut off."""


@dataclass(frozen=True)
class Sentences:
    """English sentences and their German translations as tokens (sentences, positions), filled up with padding."""

    name: str
    train: np.ndarray
    train_german: np.ndarray
    test: np.ndarray
    test_german: np.ndarray
    vocabulary: int

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Training sentences and translations, held-out ones."""
        return self.train, self.train_german, self.test, self.test_german

    def held_out(self, tokens: int) -> np.ndarray:
        """Return the first held-out English sentences that together have so many tokens at most."""
        lengths = (self.test != PADDING).sum(axis=1)
        return self.test[: np.searchsorted(lengths.cumsum(), tokens, side="right")]


def load(folder: Path | None, vocabulary: int, most_words: int, most: int | None = None) -> Sentences:
    """Return the sentences of a folder, or invented ones, in tokens of a vocabulary that is learned from those of training.

    Held out are the sentences whose English text has a digest of a certain kind, so that the choice depends neither on their
    order nor on the other sentences; in the order of the digests neighbours are of different programs. `most_words` limits the
    words of a sentence, `most` the sentences of training.
    """
    found = catalogues.cleaned(catalogues.invented() if folder is None else catalogues.pairs(folder), most_words)
    digests = {_digest(english): (english, german) for english, german in found}
    train, held_out = ([digests[k] for k in sorted(digests) if (k % HELD_OUT == 0) is held] for held in (False, True))
    if len(held_out) < 10:
        raise ValueError(
            f"{str(folder)!r} must hold a few hundred sentences in English and German at least, of "
            f"{catalogues.FEWEST_WORDS} to {most_words} words, got {len(digests)}: add catalogues or lines."
        )
    train = train[:most]
    tokens = _Tokens([text for pair in train for text in pair], vocabulary)
    learned, test = ([tokens(pair[side] for pair in part) for side in (0, 1)] for part in (train, held_out))
    name = "invented-sentences" if folder is None else "sentences"
    return Sentences(name, learned[0], learned[1], test[0], test[1], tokens.size)


def _digest(english: str) -> int:
    return int.from_bytes(hashlib.sha256(catalogues.same_text(english).encode()).digest()[:8], "big")


class _Tokens:
    """A vocabulary of byte pairs that both languages share, learned from texts."""

    def __init__(self, texts: Sequence[str], size: int) -> None:
        sentencepiece = optional("sentencepiece", "paper", "homolog paper tableF1")
        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=written,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,
            num_threads=1,
            minloglevel=2,
            **{"pad_id": PADDING, "unk_id": UNKNOWN, "bos_id": BEGIN, "eos_id": END},
        )
        self.pieces = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
        self.size = int(self.pieces.vocab_size())

    def __call__(self, texts: Iterable[str]) -> np.ndarray:
        """Return texts as rows of tokens, each with a mark at its end, then padding."""
        rows = [[*self.pieces.encode(text)[: MOST_TOKENS - 1], END] for text in texts]
        filled = np.full((len(rows), max(map(len, rows))), PADDING, np.int64)
        for row, tokens in zip(filled, rows, strict=True):
            row[: len(tokens)] = tokens
        return filled
