"""The engine: what to compute (plan), computing it (run), and the shape of what comes out (result)."""

from homolog.engine.comparing import compare, plan
from homolog.engine.planning import Plan

__all__ = ["Plan", "compare", "plan"]
