"""Which cases of a long test `.ci/run` includes; the others are `exhaustive`."""

from collections.abc import Collection, Iterable

import pytest


def slow_if_in(examples: Collection[str], cases: Iterable[str]) -> list:
    """The cases as parameters: examples are `slow`, the others `exhaustive`."""
    return [
        pytest.param(case, marks=pytest.mark.slow if case in examples else pytest.mark.exhaustive)
        for case in cases
    ]
