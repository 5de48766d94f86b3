"""The type that a name suggests, which only what follows the first dot of its last component decides."""

from __future__ import annotations

import mimetypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspellfs.model.mime import DEFAULT, guess_mime

PIECES = st.sampled_from(
    [".", "..", "a", "tar", ".gz", ".tgz", ".png", ".PNG", ":", "data:", "/", "d.", ".Z", ".svgz", ",", "é"]
)


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("a.json", "application/json"),
        ("d.png/a", DEFAULT),
        ("d.png/a.tar.gz", "application/gzip"),
        (".png", DEFAULT),
        ("..a.png", "image/png"),
        ("a.MD", "text/markdown"),
        ("data:text/html,x.json", "application/json"),
        ("a.", DEFAULT),
        ("", DEFAULT),
    ],
)
def test_a_name_suggests_a_type(name: str, mime: str) -> None:
    assert guess_mime(name) == mime


@given(st.lists(PIECES, max_size=6).map("".join))
def test_it_is_what_the_whole_name_suggests(name: str) -> None:
    table = mimetypes.MimeTypes()
    kind, encoding = table.guess_type(name[name.rfind("/") + 1 :].replace(":", "_"))
    if encoding is None:
        assert guess_mime(name) == (kind or DEFAULT)
    else:
        assert guess_mime(name) in {"application/gzip", "application/x-compress"}
