"""Comparing without ever holding the activations: states that batches are added to, and both models in one pass."""

from homolog.states.minibatch import MinibatchHSIC
from homolog.states.models import compare_models
from homolog.states.moments import Moments

__all__ = ["MinibatchHSIC", "Moments", "compare_models"]
