"""The experiments of Kornblith et al. (2019) as functions: networks, data, one training loop, results and pictures.

The demonstration is the smallest of them. They are written with homolog's public names only, so that each is an example of how
to use them.
"""

from importlib.util import find_spec

for _module, _package in (("torch", "torch"), ("sklearn", "scikit-learn")):
    if find_spec(_module) is None:
        raise ImportError(
            f'the experiments of the paper need {_package}, which is not installed: pip install "homolog[paper]"'
        )
