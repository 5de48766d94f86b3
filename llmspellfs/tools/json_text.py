"""JSON text, both ways: compact or indented, keys in order, UTF-8. Pure; any thread."""

from __future__ import annotations

import json

from llmspellfs.errors import InvalidValue
from llmspellfs.model.values import Json, is_text, parse_json


def read(text: str | bytes, where: str) -> Json:
    """Return what the JSON *text* says; raise InvalidValue naming *where*, the line and the column.

    Half of a surrogate pair is no text. Only an escape can bring one in.
    """
    value = parse_json(text, where)
    has_escape = "\\ud" in text.lower() if isinstance(text, str) else b"\\ud" in text.lower()
    if has_escape and not is_text(json.dumps(value, ensure_ascii=False)):
        raise InvalidValue(where, "bad JSON: half of a surrogate pair")
    return value


def write(value: object, *, pretty: bool) -> bytes:
    """Return *value* as JSON text in UTF-8; raise InvalidValue for text that UTF-8 cannot say."""
    separators = None if pretty else (",", ":")
    text = json.dumps(
        value,
        ensure_ascii=False,
        allow_nan=False,
        sort_keys=True,
        indent=2 if pretty else None,
        separators=separators,
    )
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidValue("JSON", "a string that is not UTF-8 cannot be said in JSON") from None
