"""Which cases of a long test `.ci/run` includes; the others are `exhaustive`."""

from collections.abc import Collection, Iterable

import pytest


def slow_if_in(examples: Collection[str], cases: Iterable[str]) -> list:
    """The cases as parameters: examples are `slow`, the others `exhaustive`."""
    return [
        pytest.param(case, marks=pytest.mark.slow if case in examples else pytest.mark.exhaustive)
        for case in cases
    ]


def mark_others(mark: pytest.MarkDecorator, examples: Collection, cases: Iterable) -> list:
    """The cases as parameters: examples are always run, the others have the mark."""
    return [case if case in examples else pytest.param(case, marks=mark) for case in cases]
