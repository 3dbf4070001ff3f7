"""Pairs of English and German texts: message catalogues of programs, or two aligned text files. Nothing in them is run."""

from __future__ import annotations

import html
import itertools
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

Pairs = list[tuple[str, str]]
"""English and German."""

_CODE = re.compile(r"[<>%{}\\|@#$=*^]|://|--|\w\.[a-z]{2,}")
"""Markup, format codes, addresses, options, names of files."""
_ACCELERATOR = re.compile(r"[_&~](?=\w)")
"""The mark before a letter that chooses an entry of a menu."""
FEWEST_WORDS = 3
"""In an English sentence that is kept."""


def pairs(folder: Path) -> Pairs:
    """Return the pairs that a folder holds: of German .mo files anywhere under it, else of text files beside each other.

    Raises
    ------
    FileNotFoundError
        If there is neither, or no such folder.
    ValueError
        For damaged catalogues, and text files that are not aligned.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{str(folder)!r} must be a folder, got no such folder: give one that holds sentences.")
    catalogues = [path for path in sorted(folder.rglob("*.mo")) if path.is_file() and _german(path, folder)]
    if catalogues:
        return [pair for path in catalogues for pair in catalogue(path)]
    texts = sorted(path for path in folder.glob("*") if path.is_file() and _in_german(path) != path.name)
    if not texts:
        raise FileNotFoundError(
            f"{str(folder)!r} must hold German message catalogues (de/LC_MESSAGES/*.mo, anywhere under it) or two text files "
            f"with one sentence a line (en.txt and de.txt, or name.en and name.de), got neither: docs/paper.md says how to "
            f"get catalogues."
        )
    return [pair for english in texts for pair in aligned(english, folder / _in_german(english))]


def _german(path: Path, folder: Path) -> bool:
    """Return whether a catalogue lies in a folder of German ones, which may be the one that was given, or is called so."""
    parts = (*folder.resolve().parts[-2:], *path.relative_to(folder).parent.parts, path.stem)
    return any(re.fullmatch(r"de(_[A-Z]{2})?", part) for part in parts)


def _in_german(path: Path) -> str:
    """Return the name that the German file beside an English one has; its own if it is not an English one."""
    return re.sub(r"(^|\.)en(?=$|\.txt$)", r"\1de", path.name)


def aligned(english: Path, german: Path) -> Pairs:
    """Return the lines of two text files as pairs."""
    if not german.is_file():
        raise FileNotFoundError(f"beside {str(english)!r} must lie its translation, {german.name!r}, got no such file.")
    sides = [
        _decoded(path.read_bytes(), "utf-8", path).removeprefix("\ufeff").split("\n") for path in (english, german)
    ]
    sides = [lines[:-1] if lines[-1] == "" else lines for lines in sides]
    if len(sides[0]) != len(sides[1]):
        raise ValueError(
            f"{str(english)!r} and {german.name!r} must have as many lines, got {len(sides[0])} and {len(sides[1])}: line k of "
            f"one is the translation of line k of the other."
        )
    return list(zip(*sides, strict=True))


def catalogue(path: Path) -> Pairs:
    """Return the messages of a gettext .mo file and their translations, plural forms as messages of their own.

    The header's rule for plurals is code, and is not read.
    """
    content = path.read_bytes()
    order = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}.get(content[:4])
    try:
        if order is None:
            raise ValueError("another beginning")
        count, *tables = struct.unpack(f"{order}3I", content[8:20])
        originals, translations = (_strings(content, order, count, table) for table in tables)
    except (struct.error, ValueError) as error:
        raise ValueError(f"{str(path)!r} must be a message catalogue of gettext, got {error}: get it again.") from None
    header = dict(zip(originals, translations, strict=True)).get(b"", b"")
    declared = re.search(rb"charset=([\w-]+)", header)
    charset = declared[1].decode() if declared else "utf-8"
    found: Pairs = []
    for original, translation in zip(originals, translations, strict=True):
        message, translated = (_decoded(text, charset, path) for text in (original, translation))
        # A context may stand before the message; the singular stands before the plural.
        found += zip(message.rpartition("\x04")[2].split("\0"), translated.split("\0"), strict=False)
    return [pair for pair in found if pair[0]]


def _strings(content: bytes, order: str, count: int, table: int) -> list[bytes]:
    """Read a table of lengths and places of strings."""
    numbers = struct.unpack_from(f"{order}{2 * count}I", content, table)
    parts = list(zip(numbers[::2], numbers[1::2], strict=True))
    if any(start + length > len(content) for length, start in parts):
        raise ValueError("a part of one")
    return [content[start : start + length] for length, start in parts]


def _decoded(text: bytes, charset: str, path: Path) -> str:
    try:
        return text.decode(charset)
    except (UnicodeError, LookupError):
        raise ValueError(f"{str(path)!r} must be text in {charset}, got other bytes: convert it to UTF-8.") from None


def cleaned(found: Iterable[tuple[str, str]], most_words: int) -> Pairs:
    """Return the pairs that are sentences, each English text once, with its first translation."""
    kept: dict[str, tuple[str, str]] = {}
    for english, german in found:
        pair = (plain_text(english), plain_text(german))
        if FEWEST_WORDS <= len(pair[0].split()) <= most_words and _is_clean(*pair):
            kept.setdefault(same_text(pair[0]), pair)
    return list(kept.values())


def plain_text(text: str) -> str:
    """Return a text without accelerators and entities, its white space single blanks."""
    return " ".join(_ACCELERATOR.sub("", html.unescape(text)).split())


def same_text(text: str) -> str:
    """Return what two texts have in common that differ in case, blanks and punctuation alone."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _is_clean(english: str, german: str) -> bool:
    letters = len(same_text(english))
    return (
        english != german
        and 0.4 < len(english) / max(len(german), 1) < 2.5
        and letters >= 0.6 * len(english)
        and not _CODE.search(english + " " + german)
    )


def invented() -> Iterator[tuple[str, str]]:
    """Make pairs of a small invented grammar, in which German puts the verb elsewhere, for runs without any data."""
    who = [("the old man", "der alte Mann"), ("my sister", "meine Schwester"), ("a small dog", "ein kleiner Hund")]
    who += [
        ("the new teacher", "der neue Lehrer"),
        ("our neighbour", "unser Nachbar"),
        ("a red cat", "eine rote Katze"),
    ]
    did = [
        ("seen", "gesehen"),
        ("found", "gefunden"),
        ("bought", "gekauft"),
        ("lost", "verloren"),
        ("sold", "verkauft"),
    ]
    what = [("a house", "ein Haus"), ("the green book", "das grüne Buch"), ("bread and milk", "Brot und Milch")]
    what += [("two apples", "zwei Äpfel"), ("the blue car", "das blaue Auto"), ("a letter", "einen Brief")]
    when = [
        ("today", "heute"),
        ("yesterday", "gestern"),
        ("in the morning", "am Morgen"),
        ("last year", "voriges Jahr"),
    ]
    for subject, verb, thing, time in itertools.product(who, did, what, when):
        # English: subject, auxiliary, verb, object, time. German: time, auxiliary, subject, object, verb.
        yield (
            f"{subject[0]} has {verb[0]} {thing[0]} {time[0]}",
            f"{time[1]} hat {subject[1]} {thing[1]} {verb[1]}",
        )
