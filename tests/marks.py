"""Marks for some of a test's parameters: what a quick look can do without."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def slow(*parameters: Any) -> list[Any]:
    """Leave these to the slow tests; a parameter of several values is a tuple of them."""
    return _marked(parameters, pytest.mark.slow)


def long(*parameters: Any) -> list[Any]:
    """Leave these to `python -m tests long`: more of the same."""
    return _marked(parameters, pytest.mark.long)


def _marked(parameters: Iterable[Any], mark: pytest.MarkDecorator) -> list[Any]:
    return [
        pytest.param(*(each if isinstance(each, tuple) else (each,)), marks=mark)
        for each in parameters
    ]
