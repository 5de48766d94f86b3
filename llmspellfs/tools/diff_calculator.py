"""diff-calculator: what differs between two texts (a unified diff) or two values (a JSON Patch, RFC 6902)."""

from __future__ import annotations

from collections.abc import Iterator

from llmspellfs.errors import InvalidValue
from llmspellfs.model.linediff import unified
from llmspellfs.model.values import Json, is_same
from llmspellfs.tools.tool import Parameter, Tool


def run(*, operation: str, old: Json, new: Json, old_label: str, new_label: str) -> object:
    """Return the unified diff of two texts ("" where they are equal), or the operations from *old* to *new*."""
    if operation == "json":
        return list(_operations(old, new, ""))
    lines = (_lines(old, "old"), _lines(new, "new"))
    return "".join(f"{line}\n" for line in unified(*lines, old_label, new_label))


def _lines(text: Json, where: str) -> list[str]:
    if not isinstance(text, str):
        raise InvalidValue(where, "expected a string for a diff of text; operation = json compares other values")
    # Not splitlines: it cuts at form feeds and at line separators too.
    lines = text.split("\n")
    whole = [f"{line}\n" for line in lines[:-1]]
    return [*whole, lines[-1]] if lines[-1] else whole


def _operations(old: Json, new: Json, path: str) -> Iterator[dict[str, Json]]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _of_objects(old, new, path)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _of_lists(old, new, path)
    elif not is_same(old, new):
        yield {"op": "replace", "path": path, "value": new}


def _of_objects(old: dict[str, Json], new: dict[str, Json], path: str) -> Iterator[dict[str, Json]]:
    for key in sorted({*old, *new}):
        at = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
        if key not in new:
            yield {"op": "remove", "path": at}
        elif key not in old:
            yield {"op": "add", "path": at, "value": new[key]}
        else:
            yield from _operations(old[key], new[key], at)


def _of_lists(old: list[Json], new: list[Json], path: str) -> Iterator[dict[str, Json]]:
    """Compare place by place; what the longer one has more is added, or removed from its end."""
    for index, (one, other) in enumerate(zip(old, new, strict=False)):
        yield from _operations(one, other, f"{path}/{index}")
    for index in range(len(old) - 1, len(new) - 1, -1):
        yield {"op": "remove", "path": f"{path}/{index}"}
    for item in new[len(old) :]:
        yield {"op": "add", "path": f"{path}/-", "value": item}


TOOL = Tool(
    "compare two texts (unified diff) or two values (JSON Patch)",
    run,
    (
        Parameter("operation", "string", "what to compare", default="unified", choices=("unified", "json")),
        Parameter("old", "any", "what was: text, for json any value", required=True),
        Parameter("new", "any", "what is", required=True),
        Parameter("old_label", "string", "unified: what the first heading calls the old text", default="old"),
        Parameter("new_label", "string", "unified: what the second heading calls the new text", default="new"),
    ),
)
