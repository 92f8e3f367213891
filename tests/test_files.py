"""Files are read as what they should hold, or refused in one line; written whole or not at all."""

from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import pytest

from purejax_simba.config import ConfigError
from purejax_simba.errors import WriteError
from purejax_simba.files import check_output, checked, read_json, replacing, write_json, write_text
from tests.helpers import damage


class Named(NamedTuple):
    number: int
    word: str = "none"


class Written(TypedDict):
    number: int
    words: list[str]


FITTING: list[tuple[Any, Any, Any]] = [
    (3, int, 3),
    (3, float, 3.0),
    (True, bool, True),
    ("", str, ""),
    (None, int | None, None),
    (4, int | None, 4),
    ([1, [2]], Any, [1, [2]]),
    ([[1, "a"]], list[tuple[int, str]], [(1, "a")]),
    ({"3": 5}, dict[int, int], {3: 5}),
    ({"a": {"b": 1}}, dict[str, dict[str, int]], {"a": {"b": 1}}),
    ({"number": 1}, Named, Named(1)),
    ({"number": 1, "more": 2}, Named, Named(1)),
    ({"number": 1, "words": [], "more": 2}, Written, {"number": 1, "words": [], "more": 2}),
]
# A value, the type that it should have, and the end of the line.
OTHERS: list[tuple[Any, Any, str]] = [
    (True, int, "it is True: a whole number is needed"),
    (1.0, int, "it is 1.0: a whole number is needed"),
    (2**63, int, "it is 9223372036854775808: a whole number is needed"),
    ("3", float, "it is '3': a number is needed"),
    (None, str, "it is None: a word is needed"),
    ("two", int | None, "it is 'two': a whole number is needed"),
    ({}, list[int], "it is {}: a list is needed"),
    ([1], dict[str, int], "it is [1]: names with values is needed"),
    ([1, 2], tuple[int, int, int], "it is [1, 2]: a list is needed"),
    ({"a": [1, None]}, dict[str, list[int]], "a[1] is None: a whole number is needed"),
    ({"two": 1}, dict[int, int], "'two'"),
    ({}, Named, "it has no number"),
    ({"a": {"number": "x"}}, dict[str, Named], "a.number is 'x': a whole number is needed"),
    ({"number": 1}, Written, "it has no words"),
    (["x" * 1000], list[int], "xxx ...: a whole number is needed"),
]


@pytest.mark.parametrize(("value", "kind", "expected"), FITTING)
def test_a_value_of_a_type_is_taken(value, kind, expected):
    found = checked(value, kind)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(("value", "kind", "line"), OTHERS)
def test_a_value_of_another_type_is_refused(value, kind, line):
    with pytest.raises((ConfigError, ValueError)) as refused:
        checked(value, kind)
    assert line in str(refused.value) and len(str(refused.value)) < 200


@pytest.mark.parametrize("kind", damage.JSON)
def test_whatever_is_wrong_with_a_file_is_one_line_that_names_it(tmp_path, kind):
    path = tmp_path / "values.json"
    path.write_text('{"number": 1, "words": ["a"]}')
    assert read_json(path, Written) == {"number": 1, "words": ["a"]}
    damage.JSON[kind](path)
    with pytest.raises(ConfigError) as refused:
        read_json(path, Written, {"number": 0, "words": []})
    line = str(refused.value)
    assert line.startswith(f"{path} cannot be read (") and line.endswith("or remove it")
    assert "\n" not in line and len(line) < 400


def test_where_there_is_no_file_there_may_be_a_default(tmp_path):
    assert read_json(tmp_path / "none", dict[str, int], {}) == {}
    with pytest.raises(ConfigError, match="No such file"):
        read_json(tmp_path / "none", dict[str, int])


def test_a_file_stays_as_it_was_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    write_text(path, "before")
    with pytest.raises(ZeroDivisionError), replacing(path) as unfinished:
        unfinished.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["a directory", "a pipe", "a device"])
def test_what_is_no_file_is_not_replaced(tmp_path, kind):
    path = tmp_path / "file"
    damage.ANY[kind](path)
    before = path.lstat()
    with pytest.raises(ConfigError, match="no file: give another --output"):
        check_output(path)
    with pytest.raises(WriteError, match="something else than a file"):
        write_json(path, {})
    assert path.lstat() == before and list(tmp_path.iterdir()) == [path]


def test_a_directory_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="cannot write to /dev/null/here"):
        check_output(Path("/dev/null/here/file"))
