"""The lines of many stored files at once: the same bytes as `model.event.compose_line` gives, for a third of the time.

What all of them share is JSON already when the first is composed; a test holds the two against each other. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from llmspellfs.model.event import KINDS, Origin
from llmspellfs.model.times import iso

_TEXT = json.encoder.encode_basestring

Compose = Callable[[int, str, int, int, str, int, str, str], str]
"""From seq, name, sequence, version, hash, size, state and prev to a line without its newline."""


def file_lines(at_ns: int, kind: str, origin: Origin) -> Compose:
    """Return what composes the lines of events of *kind* at *at_ns* by *origin* that leave a file's row behind."""
    assert kind in KINDS, kind
    common = f',"at":"{iso(at_ns)}","kind":"{kind}","actor":{_TEXT(origin.actor)},"door":{_TEXT(origin.door)},"name":'

    def compose(
        seq: int, name: str, sequence: int, version: int, content_hash: str, size: int, state: str, prev: str
    ) -> str:
        return (
            f'{{"v":1,"seq":{seq}{common}{_TEXT(name)},"sequence":{sequence},"version":{version},'
            f'"hash":"{content_hash}","size":{size},"state":"{state}","prev":"{prev}"}}'
        )

    return compose
