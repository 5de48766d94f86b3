"""uuid-generator: UUIDs of the versions 4 (random), 5 (of a name) and 7 (ordered by time), and what one says."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from llmspellfs.errors import InvalidValue
from llmspellfs.tools.tool import Parameter, Tool

MAX_COUNT = 10_000
_NAMESPACES = {
    "dns": uuid.NAMESPACE_DNS,
    "url": uuid.NAMESPACE_URL,
    "oid": uuid.NAMESPACE_OID,
    "x500": uuid.NAMESPACE_X500,
}


def run(
    *, operation: str, version: int, namespace: str | None, name: str | None, count: int | None, input: str | None
) -> object:
    """Return a UUID, a list of *count* of them, or what the one in *input* says."""
    if operation == "inspect":
        return _inspected(_parsed(input, "input"))
    make = _maker(version, namespace, name)
    return make() if count is None else [make() for _ in range(count)]


def _maker(version: int, namespace: str | None, name: str | None) -> Callable[[], str]:
    if version == 4:
        return lambda: str(uuid.uuid4())
    if version == 7:
        from uuid6 import uuid7

        return lambda: str(uuid7())
    if version != 5:
        raise InvalidValue("version", f"expected 4, 5 or 7, not {version}")
    if name is None:
        raise InvalidValue("name", "version 5 needs one")
    named = uuid.uuid5(_NAMESPACES.get(namespace or "") or _parsed(namespace, "namespace"), name)
    return lambda: str(named)


def _parsed(text: str | None, where: str) -> uuid.UUID:
    expected = "expected a UUID" + (f", or one of {', '.join(_NAMESPACES)}" if where == "namespace" else "")
    if text is None:
        raise InvalidValue(where, f"{expected}, not nothing")
    try:
        return uuid.UUID(text)
    except ValueError:
        raise InvalidValue(where, f"{expected}, not {text[:80]!r}") from None


def _inspected(found: uuid.UUID) -> dict[str, object]:
    said: dict[str, object] = {"uuid": str(found), "variant": found.variant, "version": found.version}
    if found.version == 7:
        milliseconds = found.int >> 80
        said["time"] = _time(milliseconds)
    return {key: value for key, value in said.items() if value is not None}


def _time(milliseconds: int) -> str | None:
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


TOOL = Tool(
    "make UUIDs of version 4, 5 or 7, and read them",
    run,
    (
        Parameter("operation", "string", "what to do", default="generate", choices=("generate", "inspect")),
        Parameter("version", "integer", "generate: 4, 5 or 7", default=4),
        Parameter("namespace", "string", "version 5: a UUID, or dns, url, oid, x500"),
        Parameter("name", "string", "version 5: the name"),
        Parameter("count", "integer", "generate: a list of so many", minimum=0, maximum=MAX_COUNT),
        Parameter("input", "string", "inspect: the UUID"),
    ),
)
