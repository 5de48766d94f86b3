"""csv-analyzer: the columns of CSV text with their types and statistics, and its rows as values."""

from __future__ import annotations

import csv
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from llmspellfs.errors import InvalidValue
from llmspellfs.tools.tool import Parameter, Tool

MAX_CELLS = 5_000_000
"""Rows times columns."""
MAX_COLUMNS = 10_000
_DELIMITERS = ",;\t|"
_SAMPLE = 20
"""Lines from which the delimiter is guessed."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "false": False}


def run(*, operation: str, input: str, delimiter: str | None, header: bool, limit: int | None, typed: bool) -> object:
    """Return what *input* holds (analyze), or its rows (parse); raise InvalidValue where it is no CSV."""
    names, rows = _table(input.removeprefix("\ufeff"), delimiter, header)
    if operation == "parse":
        chosen = rows if limit is None else rows[:limit]
        return [dict(zip(names, _cells(row, typed), strict=False)) for row in chosen]
    columns = zip(names, _columns(rows, len(names)), strict=True)
    return {"rows": len(rows), "columns": [_column(name, cells) for name, cells in columns]}


def _table(text: str, delimiter: str | None, header: bool) -> tuple[list[str], list[list[str]]]:
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise InvalidValue("delimiter", f"expected one character, not {delimiter[:20]!r}")
    rows = list(_rows(text, delimiter or _guessed(text)))
    width = max(map(len, rows), default=0)
    if width > MAX_COLUMNS or len(rows) * width > MAX_CELLS:
        raise InvalidValue("input", f"more than {MAX_COLUMNS} columns or {MAX_CELLS} cells")
    first = rows.pop(0) if header and rows else []
    return _names(first, width), rows


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(_lines(text), delimiter=delimiter, strict=True)
    try:
        yield from (row for row in reader if row)
    except csv.Error as error:
        raise InvalidValue("input", f"line {reader.line_num}: {error}") from None


def _lines(text: str) -> list[str]:
    # Not splitlines: other characters than line ends may stand in a cell.
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _guessed(text: str) -> str:
    """Return the delimiter that stands equally often in each of the first lines, or most often at all."""
    lines = [re.sub(r'"[^"]*"', "", line) for line in _lines(text[:100_000])[:_SAMPLE] if line.strip()]
    found = {char: [line.count(char) for line in lines] for char in _DELIMITERS}
    return max(_DELIMITERS, key=lambda char: (bool(lines) and min(found[char]) > 0, min(found[char], default=0)))


def _names(first: Sequence[str], width: int) -> list[str]:
    """Return *width* names, no two the same: the *first* row's, and column_3 where it has none."""
    names: dict[str, None] = {}
    again: dict[str, int] = {}
    for index in range(width):
        name = plain = (first[index].strip() if index < len(first) else "") or f"column_{index + 1}"
        while name in names:
            again[plain] = again.get(plain, 1) + 1
            name = f"{plain}_{again[plain]}"
        names[name] = None
    return list(names)


def _columns(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    return [[row[index].strip() if index < len(row) else "" for row in rows] for index in range(width)]


def _cells(row: Sequence[str], typed: bool) -> list[object]:
    return [_value(cell.strip()) for cell in row] if typed else list(row)


def _value(cell: str) -> object:
    if _INTEGER.fullmatch(cell):
        return int(cell)
    if _NUMBER.fullmatch(cell) and math.isfinite(float(cell)):
        return float(cell)
    return _BOOLEANS.get(cell.lower(), cell or None)


def _column(name: str, cells: Sequence[str]) -> dict[str, object]:
    present = [cell for cell in cells if cell]
    kind = next((kind for kind, fits in _KINDS.items() if present and all(map(fits, present))), "string")
    about = {"name": name, "type": kind, "count": len(present), "missing": len(cells) - len(present)}
    counts = Counter(present)
    more = _of_numbers([float(cell) for cell in present]) if kind in {"integer", "number"} else _of_text(counts)
    return {**about, "unique": len(counts), **more}


def _of_numbers(numbers: Sequence[float]) -> dict[str, object]:
    found = {
        "min": min(numbers), "max": max(numbers), "sum": math.fsum(numbers), "mean": statistics.fmean(numbers),
        "median": statistics.median(numbers), "stdev": _deviation(numbers),
    }  # fmt: skip
    return {key: int(value) if value.is_integer() and abs(value) < 2**53 else value for key, value in found.items()}


def _deviation(numbers: Sequence[float]) -> float:
    mean = statistics.fmean(numbers)
    return math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / max(len(numbers) - 1, 1))


def _of_text(counts: Counter[str]) -> dict[str, object]:
    if not counts:
        return {}
    top = [{"value": value, "count": count} for value, count in counts.most_common(5)]
    return {"min": min(counts), "max": max(counts), "longest": max(map(len, counts)), "top": top}


def _is_number(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell)) and math.isfinite(float(cell))


def _is_time(cell: str) -> bool:
    try:
        datetime.fromisoformat(cell)
    except ValueError:
        return False
    return True


_KINDS: dict[str, Callable[[str], bool]] = {
    "integer": lambda cell: bool(_INTEGER.fullmatch(cell)),
    "number": _is_number,
    "boolean": lambda cell: cell.lower() in _BOOLEANS,
    "datetime": _is_time,
}

TOOL = Tool(
    "read CSV: types and statistics of its columns, or its rows as tables",
    run,
    (
        Parameter("operation", "string", "what to do", default="analyze", choices=("analyze", "parse")),
        Parameter("input", "string", "the CSV text", required=True),
        Parameter("delimiter", "string", "what stands between cells; else it is guessed: comma, semicolon, tab, bar"),
        Parameter("header", "boolean", "the first row holds names", default=True),
        Parameter("limit", "integer", "parse: rows at most", minimum=0),
        Parameter("typed", "boolean", "parse: numbers and true, false as such, no text as null", default=True),
    ),
)
