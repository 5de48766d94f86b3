"""Ids of artifacts."""

from __future__ import annotations

import pytest

from llmspellfs.errors import InvalidValue
from llmspellfs.model.artifact import ArtifactId

SESSION, HASH = "0a1b2c3d-0000-4000-8000-000000000000", "a" * 64


def test_an_id_reads_back() -> None:
    text = f"{SESSION}/12/{HASH}"
    assert ArtifactId.is_id(text)
    assert ArtifactId.parse(text) == ArtifactId(SESSION, 12, HASH)
    assert str(ArtifactId.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "report.txt", f"{SESSION}/x/{HASH}", f"{SESSION}/1/{HASH[1:]}", f"{SESSION}/1/{HASH}\n",
             f"{SESSION.upper()}/1/{HASH}", f"{SESSION}/{'9' * 30}/{HASH}", f" {SESSION}/1/{HASH}"],
)  # fmt: skip
def test_what_is_no_id(text: str) -> None:
    assert not ArtifactId.is_id(text)
    with pytest.raises(InvalidValue, match="artifact id"):
        ArtifactId.parse(text)
