"""What the classes of a model compute: the code of those that are the user's own; those of libraries are known by their names."""

from __future__ import annotations

from collections.abc import Iterable

from homolog.extraction.code_digests import CodeDigest
from homolog.extraction.code_reading import NamesRead
from homolog.extraction.digests import hashed, written_digest


def code_of_classes(kinds: Iterable[type]) -> str:
    """Digest the code of classes, or say why there is none."""
    several = list(dict.fromkeys(kinds))
    digest = CodeDigest(NamesRead(several))
    return written_digest(lambda: hashed(*(digest.of(kind, made=False) for kind in several)))
