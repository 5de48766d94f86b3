"""hash-calculator: the hash of a string as hex, and whether a string has a given one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from hmac import compare_digest

from blake3 import blake3

from llmspellfs.errors import InvalidValue
from llmspellfs.tools.tool import Parameter, Tool

_HASHES: dict[str, Callable[[bytes], str]] = {
    "blake3": lambda data: blake3(data).hexdigest(),
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
    "sha512": lambda data: hashlib.sha512(data).hexdigest(),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).hexdigest(),
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
}


def run(*, operation: str, input: bytes, algorithm: str, expected: str | None) -> str | bool:
    """Return the hash of *input* in lower-case hex, or whether it is *expected* (in either case)."""
    found = _HASHES[algorithm](input)
    if operation == "hash":
        return found
    if expected is None:
        raise InvalidValue("expected", f"expected {len(found)} hex digits, not nothing")
    wanted = expected.strip().lower()
    if len(wanted) != len(found) or set(wanted) - set("0123456789abcdef"):
        raise InvalidValue("expected", f"expected {len(found)} hex digits for {algorithm}, not {expected[:80]!r}")
    return compare_digest(found, wanted)


TOOL = Tool(
    "hash a string, or verify its hash: blake3 (as artifacts have it), sha256, sha512, sha1, md5",
    run,
    (
        Parameter("operation", "string", "what to do", default="hash", choices=("hash", "verify")),
        Parameter("input", "bytes", "the string", required=True),
        Parameter("algorithm", "string", "the hash", default="blake3", choices=tuple(_HASHES)),
        Parameter("expected", "string", "verify: the hash in hex"),
    ),
)
