"""The MIME type that a name suggests, the same on every machine."""

from __future__ import annotations

import mimetypes
from functools import lru_cache

DEFAULT = "application/octet-stream"

_TABLE = mimetypes.MimeTypes()
_MORE = {
    ".md": "text/markdown",
    ".jsonl": "application/x-ndjson",
    ".toml": "application/toml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".lua": "text/x-lua",
    ".log": "text/plain",
    ".parquet": "application/vnd.apache.parquet",
    ".webp": "image/webp",
}
_ENCODED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/x-brotli",
}


def guess_mime(name: str) -> str:
    """Return the MIME type for a file called *name*, `application/octet-stream` where nothing suggests one."""
    dot = name.rfind(".")
    if dot < 0:
        return DEFAULT
    known = _MORE.get(name[dot:].lower())
    if known is not None:
        return known
    base = name[name.rfind("/") + 1 :].lstrip(".")
    return _of_suffix(base[base.find(".") :]) if "." in base else DEFAULT


@lru_cache(maxsize=1024)
def _of_suffix(suffix: str) -> str:
    """Return what everything from a name's first dot on suggests; `mimetypes` looks at no more of a name."""
    kind, encoding = _TABLE.guess_type("name" + suffix.replace(":", "_"), strict=True)
    if encoding is not None:
        return _ENCODED.get(encoding, DEFAULT)
    return kind or DEFAULT
