"""The engine: what to compute (plan), and computing it (run)."""

from homolog.engine.run import compare

__all__ = ["compare"]
