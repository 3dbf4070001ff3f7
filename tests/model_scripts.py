"""Scripts that make a model, for what is recorded of the code of a user's own."""

from __future__ import annotations

import textwrap

HEAD = """
import argparse, dataclasses, enum, functools, io, itertools, logging, os, random, threading, time, types, uuid, weakref
import numpy as np, torch
from torch import nn

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.line = nn.Linear(6, 4)
"""
NET = """
class Net(Base):
    def __init__(self):
        super().__init__()
{init}
    def forward(self, x):
{forward}
"""


def script_of(init="", forward="return self.line(x)", more="", after=""):
    net = NET.format(init=textwrap.indent(init or "pass", " " * 8), forward=textwrap.indent(forward, " " * 8))
    return f"{HEAD}{more}{net}\nmodel = Net()\n{after}"


def model_of_script(by=1, **case):
    """Make a model as a script would, in a module of its own; `BY` stands in it as a value, not as text."""
    there = {"__name__": "__main__", "BY": by}
    exec(compile(script_of(**case), "a_script.py", "exec", dont_inherit=True), there)
    return there["model"], there.get("given")
