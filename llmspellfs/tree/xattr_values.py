"""How metadata values go in and out of extended attributes, so that both sides survive being written back.

Text is itself; other JSON is JSON; a text that would be taken for JSON is in quotes; bytes that are not UTF-8 are
kept. A number, `true`, `false` and `null` are ones in the spelling that they are written back in only: `1.10`, `1e5`
and `-0` are text, since a version is not to become another.
"""

from __future__ import annotations

import json
from typing import Any

from llmspellfs.errors import InvalidValue
from llmspellfs.model.values import check_tags, check_text, is_text, parse_json

MAX_VALUE = 1 << 16
"""Bytes of an attribute's value (XATTR_SIZE_MAX): larger ones can neither be read nor set."""


def encode(value: object) -> bytes:
    """Return a metadata *value* as an attribute's bytes."""
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogateescape")
        if decode(raw) == value:
            return raw
    return _json(value).encode()


def decode(value: bytes) -> object:
    """Return the metadata value that an attribute's bytes say."""
    text = value.decode("utf-8", "surrogateescape")
    if not is_text(text):
        return text
    try:
        parsed = parse_json(text, "xattr")
    except InvalidValue:
        return text
    is_plain = not isinstance(parsed, str | list | dict)
    return text if is_plain and _json(parsed) != text else parsed


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if is_text(text) else json.dumps(value, allow_nan=False)


def encode_tags(tags: tuple[str, ...]) -> bytes:
    """Return *tags* with commas between them, or as JSON where one of them would not come back."""
    plain = ",".join(tags)
    if any("," in tag or tag != tag.strip() for tag in tags) or plain.startswith("["):
        return json.dumps(list(tags), ensure_ascii=False).encode()
    return plain.encode()


def decode_tags(value: bytes) -> tuple[str, ...]:
    """Return the tags that *value* says: a JSON array, or text with commas or line ends between them."""
    text = decode_text(value, "tags")
    if text.startswith("["):
        parsed: Any = parse_json(text, "tags")
        return check_tags(parsed)
    return check_tags(part for part in (piece.strip() for piece in text.replace("\n", ",").split(",")) if part)


def decode_text(value: bytes, where: str) -> str:
    """Return *value* as text; raise InvalidValue where it is not UTF-8."""
    try:
        return check_text(value.decode("utf-8"), where)
    except UnicodeDecodeError:
        raise InvalidValue(where, "expected UTF-8 text") from None
