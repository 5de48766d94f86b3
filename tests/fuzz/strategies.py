"""Examples that are odd in the ways in which input is: the right words in the wrong places, and any bytes at all."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

CONTROL = (
    "sessions", "desk", "f", "d", "README", ".session", "status", "tags", "name", "description", "parent", "id",
    "session.json", "events.jsonl", "artifacts", "f.json", "children", "checkpoints", "1", "at", "versions", "search",
    "by-id", "by-status", "by-tag", "by-type", "active", "user_input", ".fuse_hidden0000000100000001", "..", ".", "",
    "2026-11-21", "2026-11-21T00:00:00Z", "0", "-1", "1e9", "9" * 30, "%2F", "%", "%zz",
    "type:tool_result", "size:>10k",
)  # fmt: skip
"""Components that mean something somewhere."""

text = st.text(st.characters(codec=None), max_size=40)
"""Any text, lone surrogates included: names that are not UTF-8 come so."""
component = st.one_of(
    st.sampled_from(CONTROL), text.map(lambda t: t.replace("/", "").replace("\0", "")),
    st.integers(200, 300).map(lambda n: "x" * n),
    st.tuples(st.sampled_from(CONTROL), text).map(lambda pair: pair[0] + pair[1].replace("/", "")),
)  # fmt: skip
path = st.lists(component, max_size=8).map(lambda parts: "/" + "/".join(parts))
inside = st.lists(component, max_size=5).map(lambda parts: "/sessions/desk/" + "/".join(parts))

json_value: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text, st.sampled_from([2**63, -(2**70), 1e308])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
    max_leaves=12,
)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def mutated(base: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Return what *base* gives, cut, doubled, or with some bytes changed."""

    def change(data: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
        for at, length, put in cuts:
            where = at % (len(data) + 1)
            data = data[:where] + put + data[where + length :]
        return data

    cut = st.tuples(st.integers(0, 1 << 20), st.integers(0, 8), st.binary(max_size=6))
    return st.builds(change, base, st.lists(cut, max_size=4))
