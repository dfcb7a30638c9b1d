"""Rows of cells as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from bench.results import Row


def shown(title: str, rows: Sequence[Row]) -> Table:
    """Return the rows below each other; the first one names the columns."""
    table = Table(title=title, title_justify="left")
    for column in rows[0] if rows else ():
        table.add_column(column)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    return table
