"""Tables in Markdown files that grow row by row, over several runs of a command."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

from purejax_simba.config import ConfigError
from purejax_simba.files import check_output, read_bytes, reading, write_text


class Table:
    """A Markdown file with a row per name. Rows and cells of earlier runs stay as they are."""

    def __init__(
        self,
        path: Path | None,
        title: str,
        made_by: str,
        notes: Sequence[str],
        columns: Mapping[str, str],
        name: str = "task",
    ):
        """Reads what is there.

        Args:
          path: the file; None writes nothing.
          title: the heading.
          made_by: one line that says which command made it, with which versions.
          notes: further lines above the table.
          columns: title -> what the column shows.
          name: title of the first column.

        Raises:
          ConfigError: if something else made the file, or the same with other versions.
        """
        self._path = path
        self._titles = (*columns, "date")
        self._head = [f"# {title}", "", made_by, *notes, ""]
        self._legend = [f"- **{column}**: {meaning}" for column, meaning in columns.items()]
        self._name = name
        self._cells: dict[str, dict[str, str]] = {}
        if path is not None:
            check_output(path)
        if path is not None and path.exists():
            with reading(path):
                lines = read_bytes(path).decode().splitlines()
            if made_by not in lines:
                raise ConfigError(
                    f"the rows of {path} were not made like this, or with other versions, and would"
                    " be lost: give another file, or remove this one"
                )
            # The columns of that time: there may be more of them now.
            header, _, *rows = (
                [*map(str.strip, line.split("|"))][1:-1] for line in lines if line.startswith("|")
            )
            for row, *cells in rows:
                self._cells[row.strip("`")] = dict(zip(header[1:], cells, strict=True))

    def add(self, row: str, cells: Mapping[str, str]) -> None:
        """Enters cells of a row and writes the file."""
        if self._path is None:
            return
        today = datetime.date.today().isoformat()
        self._cells.setdefault(row, {}).update(cells, date=today)
        write_text(self._path, self._text())

    def _text(self) -> str:
        rows = [[self._name, *self._titles], ["---"] * (len(self._titles) + 1)]
        for row, cells in sorted(self._cells.items()):
            rows.append([f"`{row}`", *(cells.get(title, "") for title in self._titles)])
        table = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([*self._head, *table, "", *self._legend, ""])
