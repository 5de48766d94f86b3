"""How the reports on a store are said: what was checked, collected, purged, lost, and the configuration."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llmspellfs.cli.views import Column, View, human_size, iso, short_time
from llmspellfs.model.shown import count, visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmspellfs.config import Config
    from llmspellfs.service.chains import ChainReport
    from llmspellfs.service.check_findings import FsckReport
    from llmspellfs.service.collecting import GcReport
    from llmspellfs.service.purged import Past, PurgeReport
    from llmspellfs.service.scrub import ScrubReport
    from llmspellfs.service.upkeep import Stats
    from llmspellfs.storage.lost import LostItem

_MOST_PASTS = 20
"""Lines of a report that tell where content of what was purged stays."""


def purge_json(ref: str, report: PurgeReport) -> dict[str, Any]:
    """Return what the purge of *ref* did."""
    pasts = [{**asdict(past), "erase": _erasing(past)} for past in report.pasts]
    return {"purged": ref, **asdict(report), "pasts": pasts}


def _erasing(past: Past) -> str:
    """Return the command that erases *past*."""
    if past.is_deleted:
        return f"llmspellfs session purge {past.id.partition('/')[0]}"
    return f"llmspellfs artifact purge {past.id}"


def purge_line(ref: str, report: PurgeReport) -> str:
    """Return what the purge of *ref* did, as a line."""
    shared = f"; {count(report.shared, 'content')} that others have too stay there" if report.shared else ""
    renamed = f", with {count(report.renamed, 'artifact')} renamed over it" if report.renamed else ""
    return f"{ref}: purged{renamed}, {human_size(report.freed)} freed{shared}"


def purge_proof(report: PurgeReport) -> list[str]:
    """Return all that a purge took away, a line each, and then how much of what has no name of its own."""
    counts = (
        (report.rows, "row"), (report.labels, "label"), (report.words, "full-text entry"), (report.messages, "message"),
    )  # fmt: skip
    return [
        *(f"unlinked: blobs/{chunk[:2]}/{chunk}" for chunk in report.unlinked),
        *(f"content: {content}" for content in report.contents),
        *(f"lost+found: {item}" for item in report.lost),
        "erased: " + ", ".join(count(number, noun) for number, noun in counts),
    ]


def purge_notes(ref: str, report: PurgeReport) -> list[str]:
    """Return what is left of what was purged, and until when."""
    notes = [f"{ref}: another process has bytes for it in {file}, until it closes them" for file in report.open_files]
    notes += [f"{ref}: a repair has kept the index as it was in {folder}: see that it goes" for folder in report.copies]
    for past in report.pasts[:_MOST_PASTS]:
        name = f"{past.session}:{past.name}"
        notes.append(f"{ref}: {name}, which it was before, has content of it in its past: `{_erasing(past)}` erases it")
    if (more := len(report.pasts) - _MOST_PASTS) > 0:
        notes.append(f"{ref}: {count(more, 'other past')} with content of it: --json names them")
    if not report.is_ended:
        notes.append(f"{ref}: what was erased stands in the WAL yet: run `llmspellfs gc` when its readers have ended")
    if report.stale is not None:
        notes.append(f"{ref}: {stale_note(report.stale)}")
    return notes


def stale_note(why: str) -> str:
    """Return what it means that the index was not written anew after a purge, and *why* it was not."""
    return f"words of it may stand in unused bytes of the index ({why}): run `llmspellfs gc`, which writes it anew"


def stats_json(stats: Stats) -> dict[str, Any]:
    """Return the figures of a store."""
    began, ended = (None if at is None else iso(at) for at in (stats.scrub.began_ns, stats.scrub.ended_ns))
    scrub = {"percent": stats.scrub.percent, "began_at": began, "ended_at": ended, "harmed": stats.scrub.harmed}
    return {**asdict(stats), "scrub": scrub}


def stats_shown(stats: Stats) -> dict[str, Any]:
    """Return the figures of a store as people read them."""
    states = [f"{number} {status}" for status, number in stats.sessions.items() if number]
    return {
        "store": stats.path or "memory",
        "sessions": ", ".join(states) or "0",
        "artifacts": f"{stats.artifacts} ({count(stats.versions, 'version')})",
        "content": f"{human_size(stats.logical_bytes)} ({human_size(stats.unique_bytes)} without repeats)",
        "stored": within(stats.stored_bytes, stats.storage_quota),
        "index": human_size(stats.index_bytes),
        "events": stats.events,
        "lost": f"{count(stats.lost, 'item')} ({human_size(stats.lost_bytes)})" if stats.lost else 0,
        "scrubbed": _scrubbed(stats),
    }


def within(size: int, quota: int) -> str:
    """Return *size* bytes, and how much of *quota* they are where that is not 0."""
    if not quota:
        return human_size(size)
    return f"{human_size(size)} of {human_size(quota)} ({min(999, -(-100 * size // quota))}%)"


def _scrubbed(stats: Stats) -> str:
    """Return how far the scrub of a store is."""
    scrub, said = stats.scrub, list[str]()
    if scrub.ended_ns is not None:
        said.append(f"all of it by {short_time(scrub.ended_ns)}")
    if scrub.began_ns is not None and (scrub.percent or scrub.ended_ns is None):
        said.append(f"{scrub.percent} % since {short_time(scrub.began_ns)}")
    if scrub.harmed:
        said.append(f"harmed: {count(scrub.harmed, 'artifact')}")
    return ", ".join(said) or "never"


def scrub_json(report: ScrubReport) -> dict[str, Any]:
    """Return what a scrub found."""
    return {"ok": not report.harmed, **asdict(report), "harmed": list(report.harmed)}


def scrub_lines(report: ScrubReport) -> list[str]:
    """Return what a scrub found, as lines."""
    verdict = f"{count(len(report.harmed), 'version')} harmed" if report.harmed else "sound"
    read = f"{count(report.checked, 'piece')} of content read, {human_size(report.bytes)}: {verdict}"
    return [*(f"harmed: {visible(name)}" for name in report.harmed), read]


def gc_json(report: GcReport, *, dry_run: bool) -> dict[str, Any]:
    """Return what a collection did, or in a dry run would do."""
    return {**asdict(report), "dry_run": dry_run}


def gc_line(report: GcReport, *, dry_run: bool, grace_seconds: float) -> str:
    """Return what a collection with a grace of *grace_seconds* did, or in a dry run would do, as a line."""
    from llmspellfs.service.collecting import IN_FLIGHT_SECONDS

    without = report.orphans + report.loose
    orphans = f", {without} of them orphans" if without else ""
    removed = report.removed + without
    did = f"{report.pruned} pruned, {report.condemned} marked, {removed} removed{orphans}"
    expired = f", {count(report.expired, 'deleted session')} gone for good" if report.expired else ""
    index = f" ({human_size(report.index_freed)} of the index can be used again)" if report.index_freed else ""
    age = f"{max(grace_seconds, IN_FLIGHT_SECONDS):g} s"
    young = f"{count(report.young, 'orphan')} of {human_size(report.young_bytes)} not {age} old yet, or coming in"
    said = f"{did}{expired}, {human_size(report.freed)} freed{index}{f'; {young}' if report.young else ''}"
    return f"would be: {said}" if dry_run else said


def fsck_lines(report: FsckReport) -> list[str]:
    """Return what a check found: problems, what was mended, each harmed artifact, notes, and what was looked at."""
    checked = ", ".join(
        count(number, noun)
        for number, noun in (
            (report.sessions, "session"),
            (report.events, "event"),
            (report.contents, "content"),
            (report.chunks, "chunk"),
        )
    )
    if not any((report.sessions, report.events, report.contents, report.chunks)) and not report.ok:
        checked = "nothing more could be looked at"
    verdict = "clean" if report.ok else count(len(report.problems), "problem")
    mended = [f"repaired: {line}" for line in report.repaired] + [f"done: {line}" for line in report.done]
    harmed = [f"harmed: {harm}" for harm in report.harms]
    notes = [f"note: {line}" for line in report.notes]
    kept = [f"kept: {report.quarantine}"] if report.quarantine else []
    advice = [f"advice: {line}" for line in report.advice]
    return [*report.problems, *mended, *harmed, *notes, *kept, *advice, f"{verdict}: {checked}"]


def chain_json(report: ChainReport) -> dict[str, Any]:
    """Return how it stands with one session's audit trail."""
    return {"ok": report.problem is None, **asdict(report)}


def chain_line(report: ChainReport) -> str:
    """Return how it stands with one session's audit trail, as a line."""
    if report.problem:
        return f"{report.dirname}: BROKEN: {report.problem}"
    return f"{report.dirname}: {count(report.events, 'event')}, unbroken"


def lost_json(lost: LostItem, dirname: str | None) -> dict[str, Any]:
    """Return what is known of one lost item, which was meant for the session *dirname* if there is one."""
    return {
        "id": lost.id,
        "session": lost.session,
        "dirname": dirname,
        "name": lost.name,
        "size": lost.size,
        "at": iso(lost.at_ns),
        "why": lost.why,
        "part": lost.is_part,
    }


def lost_view(dirname: Callable[[LostItem], str | None]) -> View[LostItem]:
    """Return how lost items are listed; *dirname* gives the session that one was meant for."""
    return View(
        (
            Column("ID", lambda lost: lost.id),
            Column("SESSION", lambda lost: dirname(lost) or lost.session or ""),
            Column("NAME", lambda lost: lost.name or ""),
            Column("SIZE", lambda lost: human_size(lost.size), is_number=True),
            Column("AT", lambda lost: short_time(lost.at_ns)),
            Column("WHY", lambda lost: lost.why),
        ),
        lambda lost: lost_json(lost, dirname(lost)),
    )


def config_json(config: Config, path: Path) -> dict[str, Any]:
    """Return the configuration, the file it came from and where the store is."""
    return {**asdict(config), "store": str(path)}


def config_toml(config: Config, path: Path) -> str:
    """Return the configuration as a `llmspell.toml` that says the same."""
    settings = asdict(config)
    source, rules = settings.pop("source"), settings.pop("retention")
    lines = [f"# from {source or 'the defaults'}", f"# store: {path}", "[runtime.sessions]"]
    # TOML writes true, numbers and ASCII strings as JSON does.
    lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    for rule in rules:
        rule["older_than"] = f"{rule.pop('older_than_seconds')}s"
        kept = {key: value for key, value in rule.items() if (key, value) != ("older_than", "0s")}
        lines += ["", "[[runtime.sessions.retention.rules]]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in kept.items() if value != ()]
    return "\n".join(lines)
