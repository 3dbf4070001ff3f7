"""Comparing without ever holding the activations: states that batches are added to, and both models in one pass."""

from homolog.streaming.minibatch import MinibatchHSIC
from homolog.streaming.models import compare_models
from homolog.streaming.moments import Moments

__all__ = ["MinibatchHSIC", "Moments", "compare_models"]
