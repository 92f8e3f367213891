"""The whole rows of a result file, and a note on those that are not."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from purejax_simba.runs.result_files import METRICS_FILE

_INTEGERS = ("seed", "env_step", "seeds")
_NUMBERS = (*_INTEGERS, "value", "mean", "std")
# How a row says that a value was not finite, and that a single seed has no standard deviation.
_UNKNOWN = {"value": ["nan", "inf", "-inf"], "std": ["", "nan"]}


class LeftOut(NamedTuple):
    """Something that is not in the report.

    Attributes:
      path: of the file or directory.
      reason: one line.
    """

    path: Path
    reason: str


def read_rows(file: Path, columns: Sequence[str], left_out: list[LeftOut]) -> pd.DataFrame | None:
    """The whole rows of a file; None if there are none."""
    try:
        with file.open(newline="", errors="replace") as text:
            header, *lines = list(csv.reader(text)) or [[]]
            text.seek(0)
            is_cut = file.name == METRICS_FILE and not text.read().endswith("\n")
    except (OSError, csv.Error) as error:
        left_out.append(LeftOut(file, f"cannot be read: {first_line(error)}"))
        return None
    missing = [name for name in columns if name not in header]
    if missing:
        left_out.append(LeftOut(file, f"is no result file: it has no column {missing[0]}"))
        return None
    if len(set(header)) < len(header):
        left_out.append(LeftOut(file, "is no result file: two of its columns have the same name"))
        return None
    kept = lines[:-1] if is_cut else lines  # what is written last may lack its last digits
    rows = pd.DataFrame([line for line in kept if len(line) == len(header)], columns=header)
    rows = rows[list(columns)]
    unknown = sum(rows[name].isin(_UNKNOWN[name]) for name in set(columns) & set(_UNKNOWN))
    for name in set(columns) & set(_NUMBERS):
        rows = rows.assign(**{name: pd.to_numeric(rows[name], errors="coerce")})
    rows = rows.replace([np.inf, -np.inf], np.nan)
    whole = rows[rows.isna().sum(axis=1) == unknown]
    damaged = len(lines) - len(whole)
    if damaged:
        left_out.append(LeftOut(file, f"{damaged} of its lines are damaged"))
    if not len(whole):
        left_out.append(LeftOut(file, "has no results"))
        return None
    return whole.astype({name: int for name in set(columns) & set(_INTEGERS)})


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]
