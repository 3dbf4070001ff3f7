"""How sure one may be: permutation tests, null levels, standard errors and intervals."""

from homolog.inference.two_representations import (
    ConfidenceInterval,
    PairedTest,
    PermutationTest,
    confidence_interval,
    null_level,
    paired_test,
    permutation_test,
)

__all__ = [
    "ConfidenceInterval",
    "PairedTest",
    "PermutationTest",
    "confidence_interval",
    "null_level",
    "paired_test",
    "permutation_test",
]
