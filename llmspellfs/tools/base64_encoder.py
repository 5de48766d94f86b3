"""base64-encoder: any string as base64 text and back (RFC 4648)."""

from __future__ import annotations

import base64
import binascii
import re

from llmspellfs.errors import InvalidValue
from llmspellfs.tools.tool import Parameter, Tool

_SPACE = re.compile(rb"[ \t\r\n]+")
_FORMS = {False: re.compile(rb"[A-Za-z0-9+/]*={0,2}"), True: re.compile(rb"[A-Za-z0-9_-]*={0,2}")}
"""Base64 text, by whether it is URL-safe: Python's decoder takes + and / for both."""


def run(*, operation: str, input: bytes, urlsafe: bool, padding: bool) -> bytes:
    """Return *input* encoded or decoded; raise InvalidValue where it is no base64 of the alphabet asked for.

    Decoding takes data with line ends and with or without padding.
    """
    if operation == "encode":
        text = base64.urlsafe_b64encode(input) if urlsafe else base64.b64encode(input)
        return text if padding else text.rstrip(b"=")
    data = _SPACE.sub(b"", input)
    whole = data if b"=" in data else data + b"=" * (-len(data) % 4)
    kind = "URL-safe base64" if urlsafe else "base64"
    if not _FORMS[urlsafe].fullmatch(whole):
        raise InvalidValue("input", f"not {kind}: a character of another alphabet")
    try:
        return base64.b64decode(whole, b"-_" if urlsafe else None, validate=True)
    except binascii.Error as error:
        raise InvalidValue("input", f"not {kind}: {error}") from None


TOOL = Tool(
    "encode any string as base64, and decode it",
    run,
    (
        Parameter("operation", "string", "what to do", required=True, choices=("encode", "decode")),
        Parameter("input", "bytes", "the string, or the base64 text", required=True),
        Parameter("urlsafe", "boolean", "with - and _ in place of + and /", default=False),
        Parameter("padding", "boolean", "encode: end with = where the length asks for it", default=True),
    ),
)
