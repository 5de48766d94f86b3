"""The lines of many files at once, held against those composed one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmspellfs.model.event import Origin, compose_line
from llmspellfs.model.event_lines import file_lines

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
COUNTS = st.integers(1, 2**63)


@given(TEXT, TEXT, TEXT, COUNTS, COUNTS, st.integers(0, 2**62))
def test_a_line_of_a_batch_is_byte_for_byte_the_line_composed_alone(
    name: str, actor: str, door: str, seq: int, sequence: int, at_ns: int
) -> None:
    origin, digest, state, prev = Origin(actor, door), "a" * 64, "b" * 64, "c" * 64
    told = {"name": name, "sequence": sequence, "version": 2, "hash": digest, "size": 7}
    alone = compose_line(seq, at_ns, "artifact.stored", origin, prev, state, told)
    assert file_lines(at_ns, "artifact.stored", origin)(seq, name, sequence, 2, digest, 7, state, prev) == alone
