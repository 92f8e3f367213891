"""The README and the pages of `docs/`: their blocks of code, commands and links."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w-]+\.\w+)\n")


@dataclass(frozen=True)
class Block:
    """What stands between two fences.

    Attributes:
      language: `bash`, `python` and so on.
      text: of it, with a newline at the end.
    """

    language: str
    text: str

    @property
    def file(self) -> str:
        """The name of the file that it is, which its first line says; empty if it is none."""
        named = _FILE.match(self.text)
        return named.group(1) if named else ""

    @property
    def commands(self) -> list[str]:
        """Its command lines; of a shell's block."""
        joined = re.sub(r" *\\\n *", " ", self.text)
        return [line for line in joined.splitlines() if line and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """The blocks of code of a page."""
    return [Block(*match) for match in _FENCED.findall(page.read_text())]


def file_block(name: str) -> str:
    """The text of the one block that is the file of this name."""
    (text,) = [block.text for page in PAGES for block in blocks(page) if block.file == name]
    return text


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCED.sub("", page.read_text())


def spans(page: Path) -> list[str]:
    """What stands between single backticks in the prose of a page."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def commands(page: Path) -> list[str]:
    """Every command line of a page, those in its prose too, in the order of their places."""
    shells = [block for block in blocks(page) if block.language == "bash"]
    inline = [span for span in spans(page) if re.match(r"(python3?|pip|tensorboard) ", span)]
    return [command for block in shells for command in block.commands] + inline


def words(command: str) -> list[list[str]]:
    """The words of the programs that a command line runs one after the other.

    A variable of the shell counts as 1, and so does what it computes.
    """
    command = re.sub(r"\$\(\(.*?\)\)|\$\w+", "1", command)
    programs: list[list[str]] = [[]]
    for word in shlex.split(command, comments=True):
        if word == "&&":
            programs.append([])
        else:
            programs[-1].append(word)
    return programs
