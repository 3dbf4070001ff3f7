"""For the documentation site: functions of measures, whose docstrings and signatures are made when they are registered."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe

KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: griffe.ParameterKind.positional_only,
    inspect.Parameter.KEYWORD_ONLY: griffe.ParameterKind.keyword_only,
}


class Measures(griffe.Extension):
    """Show what `homolog.register` made of a formula, not the formula."""

    def on_function_instance(self, *, func: griffe.Function, **_: Any) -> None:
        """Take docstring and signature of the imported function."""
        module, _, name = func.path.rpartition(".")
        if not module.startswith("homolog.measures.") or not any("register(" in str(d.value) for d in func.decorators):
            return
        public = getattr(importlib.import_module(module), name)
        func.docstring = griffe.Docstring(public.__doc__, parent=func)
        parameters = inspect.signature(public).parameters.values()
        func.parameters = griffe.Parameters(*map(_parameter, parameters))


def _parameter(parameter: inspect.Parameter) -> griffe.Parameter:
    default = None if parameter.default is parameter.empty else repr(parameter.default)
    return griffe.Parameter(parameter.name, kind=KINDS[parameter.kind], default=default)
