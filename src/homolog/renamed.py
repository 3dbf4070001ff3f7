"""Names of the release before: they still work, under a warning that says the present one.

It is a FutureWarning, which Python shows wherever the former name is used. A DeprecationWarning it shows in a script or notebook
alone, and hides in the modules beside it; these names have one release left, and whoever uses them should see that.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from homolog.names import quoted

Function = TypeVar("Function", bound=Callable[..., Any])


def sentence(former: str, present: str) -> str:
    """Say that something has another name."""
    return f"{former} is now {present}: the former name goes with the next release."


def tell(former: str, present: str) -> None:
    """Warn of a former name, in the line that called the function which calls this."""
    warnings.warn(sentence(former, present), FutureWarning, stacklevel=3)


def renamed(**former: str | Callable[[Any], Mapping[str, Any] | None]) -> Callable[[Function], Function]:
    """Let a function take arguments by their former names too; its signature and docstring show the present ones.

    A former name goes with the present one. An argument whose values changed goes with a function of the value, which returns
    the arguments that say the same today, or None where the value is of today.

    >>> @renamed(limit="most", order=lambda order: {"reverse": True} if order == "descending" else None)
    ... def taken(items, *, most=None, order=None, reverse=False):
    ...     return sorted(items, reverse=reverse)[:most]
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     taken("cab", limit=2, order="descending")
    ['c', 'b']
    >>> print(*(warning.message for warning in told), sep="\\n")
    taken(limit=2) is now taken(most=2): the former name goes with the next release.
    taken(order='descending') is now taken(reverse=True): the former name goes with the next release.
    """

    def accepting(function: Function) -> Function:
        @functools.wraps(function)
        def accepted(*args: Any, **given: Any) -> Any:
            for name, present in former.items():
                if name not in given:
                    continue
                value = given.pop(name)
                meant = {present: value} if isinstance(present, str) else present(value)
                if meant is None:
                    given[name] = value
                    continue
                forms = [f"{function.__name__}({_written(arguments)})" for arguments in ({name: value}, meant)]
                twice = sorted(set(meant) & set(given))
                if twice:
                    raise TypeError(f"{forms[0]} is now {forms[1]}, got {twice[0]} besides: leave {name} out.")
                tell(forms[0], forms[1])
                given |= meant
            return function(*args, **given)

        return accepted  # type: ignore[return-value]  # it takes what the function takes, and more

    return accepting


def _written(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={quoted(value)}" for name, value in arguments.items())
