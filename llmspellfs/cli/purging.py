"""What `session purge` and `artifact purge` say of a purge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmspellfs.cli import render
from llmspellfs.cli.reports import purge_json, purge_line, purge_notes, purge_proof
from llmspellfs.model.shown import visible

if TYPE_CHECKING:
    from llmspellfs.service.purged import PurgeReport


def report_purge(ref: str, report: PurgeReport, *, prove: bool, as_json: bool) -> None:
    """Print what the purge of *ref* did, with *prove* all of it; and on stderr what is left, where anything is."""
    if prove and not as_json:
        for line in purge_proof(report):
            render.say(visible(line))
    render.outcome(purge_line(ref, report), purge_json(ref, report), as_json=as_json)
    for note in purge_notes(ref, report):
        render.note(note)
