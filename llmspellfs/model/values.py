"""The values that metadata may hold, tags, and artifact types: checked once, here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from llmspellfs.errors import InvalidValue

TYPE_PATTERN = re.compile(r"[a-z0-9_.-]{1,64}")
ARTIFACT_TYPES = ("user_input", "tool_result", "agent_output", "system_generated")
MAX_DEPTH = 64
MAX_METADATA = 1 << 20
"""Bytes of one metadata object as JSON."""
MAX_TAG = 255
"""Bytes of one tag: a tag is a directory's name in `by-tag/`."""
MAX_TEXT = 1 << 16
"""Bytes of a description."""

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical(value: object) -> str:
    """Return *value* as canonical JSON: ASCII, keys sorted, no spaces; the text that hashes cover."""
    return _CANONICAL(value)


def is_same(one: object, other: object) -> bool:
    """Tell whether two values say the same in JSON: to Python 1, 1.0 and true are equal."""
    return one == other and canonical(one) == canonical(other)


def check_metadata(value: object, where: str = "metadata") -> dict[str, Json]:
    """Return *value* as a JSON object of its own; raise InvalidValue at what JSON cannot say.

    Keys are text; numbers are finite; the depth is at most 64 and the whole at most 1 MiB.
    """
    if not isinstance(value, Mapping):
        raise InvalidValue(where, f"expected an object, not {_kind(value)}")
    checked = {_key(key, where): _check(item, f"{where}.{key}", 1) for key, item in value.items()}
    if len(canonical(checked)) > MAX_METADATA:
        raise InvalidValue(where, f"more than {MAX_METADATA} bytes of JSON")
    return checked


def parse_json(text: str | bytes, where: str) -> Json:
    """Return what the JSON *text* says; raise InvalidValue naming *where*, the line and the column."""
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        return _check(json.loads(decoded, parse_constant=_no_constant), where, 0)
    except UnicodeDecodeError:
        raise InvalidValue(where, "expected UTF-8 text") from None
    except json.JSONDecodeError as error:
        why = f"bad JSON at line {error.lineno} column {error.colno}: {error.msg}"
        raise InvalidValue(where, why) from None
    except RecursionError:
        raise InvalidValue(where, f"JSON nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:
        raise InvalidValue(where, f"bad JSON: {error}") from None


def check_tags(tags: Iterable[str] | None, where: str = "tags") -> tuple[str, ...]:
    """Return *tags* without repeats, in their order; raise InvalidValue at what cannot be a tag."""
    if tags is None:
        return ()
    if isinstance(tags, str | bytes | Mapping) or not isinstance(tags, Iterable):
        raise InvalidValue(where, f"expected a list of tags, not {_kind(tags)}")
    return tuple(dict.fromkeys(_check_tag(tag, where) for tag in tags))


def check_text(value: object, where: str) -> str:
    """Return *value* if it is text of at most 64 KiB; raise InvalidValue otherwise."""
    if not isinstance(value, str):
        raise InvalidValue(where, f"expected text, not {_kind(value)}")
    if _size(value, where) > MAX_TEXT:
        raise InvalidValue(where, f"more than {MAX_TEXT} bytes")
    return value


def is_text(text: str) -> bool:
    """Tell whether *text* can be said in UTF-8; bytes that could not be decoded leave text that cannot."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def check_type(value: object) -> str:
    """Return *value* if it can be an artifact's type; raise InvalidValue otherwise."""
    if not isinstance(value, str) or not TYPE_PATTERN.fullmatch(value):
        expected = f"expected one of {', '.join(ARTIFACT_TYPES)}, or [a-z0-9_.-]{{1,64}}, not {value!r}"
        raise InvalidValue("type", expected)
    return value


def _size(text: str, where: str) -> int:
    """Return the bytes of *text*; raise InvalidValue where it is not text that UTF-8 can say."""
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise InvalidValue(where, "expected UTF-8 text") from None


def _check_tag(tag: object, where: str) -> str:
    if not isinstance(tag, str):
        raise InvalidValue(where, f"expected a list of tags, not one of {_kind(tag)}")
    if not tag or tag in {".", ".."} or "\0" in tag or "\n" in tag:
        raise InvalidValue(where, f"{tag!r} cannot be a tag")
    if _size(tag, where) > MAX_TAG or not tag.isprintable():
        raise InvalidValue(where, f"{tag[:40]!r} cannot be a tag: more than {MAX_TAG} bytes, or not printable")
    return tag


def _check(value: object, where: str, depth: int) -> Json:
    if depth > MAX_DEPTH:
        raise InvalidValue(where[:200], f"nested more than {MAX_DEPTH} deep")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, int):
        return _integer(value, where)
    if isinstance(value, float):
        return _finite(value, where)
    if isinstance(value, Mapping):
        return {_key(key, where): _check(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_check(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise InvalidValue(where, f"{_kind(value)} cannot be said in JSON")


def _integer(value: int, where: str) -> int:
    if value.bit_length() > 1024:
        raise InvalidValue(where, "an integer of more than 1024 bits")
    return value


def _finite(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise InvalidValue(where, f"{value} cannot be said in JSON")
    return value


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise InvalidValue(where, f"keys are text, not {_kind(key)}")
    return _text(key, where)


def _text(text: str, where: str) -> str:
    """Return *text* if it is text, or bytes that were not, kept as lone U+DC80 to U+DCFF (surrogateescape)."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidValue(where, "expected text without unpaired surrogates") from None
    return text


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _no_constant(word: str) -> Json:
    raise ValueError(f"{word} is not JSON")
