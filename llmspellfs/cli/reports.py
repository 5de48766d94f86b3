"""How the reports on a store are said: what was checked, collected, purged, lost, and the configuration."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llmspellfs.cli.views import Column, View, human_size, iso, short_time

if TYPE_CHECKING:
    from pathlib import Path

    from llmspellfs.config import Config
    from llmspellfs.service.checking import ChainReport, FsckReport
    from llmspellfs.service.erasure import PurgeReport
    from llmspellfs.service.upkeep import GcReport, Stats
    from llmspellfs.storage.lost import LostItem


def count(number: int, noun: str) -> str:
    """Return *number* with *noun* in the singular or the plural: `1 event`, `2 events`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def purge_json(ref: str, report: PurgeReport) -> dict[str, Any]:
    """Return what the purge of *ref* did."""
    return {"purged": ref, "unlinked": list(report.unlinked), "freed": report.freed}


def purge_line(ref: str, report: PurgeReport) -> str:
    """Return what the purge of *ref* did, as a line."""
    return f"{ref}: purged, {human_size(report.freed)} freed"


def stats_json(stats: Stats) -> dict[str, Any]:
    """Return the figures of a store."""
    return asdict(stats)


def stats_shown(stats: Stats) -> dict[str, Any]:
    """Return the figures of a store as people read them."""
    states = [f"{number} {status}" for status, number in stats.sessions.items() if number]
    return {
        "store": stats.path or "memory",
        "sessions": ", ".join(states) or "0",
        "artifacts": f"{stats.artifacts} ({count(stats.versions, 'version')})",
        "content": f"{human_size(stats.logical_bytes)} ({human_size(stats.unique_bytes)} without repeats)",
        "stored": human_size(stats.stored_bytes),
        "index": human_size(stats.index_bytes),
        "events": stats.events,
        "lost": stats.lost,
    }


def gc_json(report: GcReport, *, dry_run: bool) -> dict[str, Any]:
    """Return what a collection did, or in a dry run would do."""
    return {**asdict(report), "dry_run": dry_run}


def gc_line(report: GcReport, *, dry_run: bool) -> str:
    """Return what a collection did, or in a dry run would do, as a line."""
    freed = human_size(report.freed)
    if dry_run:
        return f"{report.removed} would be removed, {freed} would be freed"
    orphans = f", {report.orphans} of them orphans" if report.orphans else ""
    removed = report.removed + report.orphans
    return f"{report.pruned} pruned, {report.condemned} marked, {removed} removed{orphans}, {freed} freed"


def fsck_json(report: FsckReport) -> dict[str, Any]:
    """Return what a check found."""
    return {"ok": report.ok, **asdict(report)}


def fsck_lines(report: FsckReport) -> list[str]:
    """Return what a check found: each problem, each harmed artifact, and what was looked at."""
    checked = ", ".join(
        count(number, noun)
        for number, noun in (
            (report.sessions, "session"),
            (report.events, "event"),
            (report.contents, "content"),
            (report.chunks, "chunk"),
        )
    )
    verdict = "clean" if report.ok else count(len(report.problems), "problem")
    harmed = [f"harmed: {name}" for name in report.harmed]
    return [*report.problems, *harmed, f"{verdict}: {checked}"]


def chain_json(report: ChainReport) -> dict[str, Any]:
    """Return how it stands with one session's audit trail."""
    return {"ok": report.problem is None, **asdict(report)}


def chain_line(report: ChainReport) -> str:
    """Return how it stands with one session's audit trail, as a line."""
    if report.problem:
        return f"{report.dirname}: BROKEN: {report.problem}"
    return f"{report.dirname}: {count(report.events, 'event')}, unbroken"


def lost_json(lost: LostItem) -> dict[str, Any]:
    """Return what is known of one lost item."""
    return {
        "id": lost.id,
        "session": lost.session,
        "name": lost.name,
        "size": lost.size,
        "at": iso(lost.at_ns),
        "why": lost.why,
    }


LOST: View[LostItem] = View(
    (
        Column("ID", lambda lost: lost.id),
        Column("SESSION", lambda lost: lost.session or ""),
        Column("NAME", lambda lost: lost.name or ""),
        Column("SIZE", lambda lost: human_size(lost.size), is_number=True),
        Column("AT", lambda lost: short_time(lost.at_ns)),
        Column("WHY", lambda lost: lost.why),
    ),
    lost_json,
)


def config_json(config: Config, path: Path) -> dict[str, Any]:
    """Return the configuration, the file it came from and where the store is."""
    return {**asdict(config), "store": str(path)}


def config_toml(config: Config, path: Path) -> str:
    """Return the configuration as a `llmspell.toml` that says the same."""
    settings = asdict(config)
    source = settings.pop("source")
    lines = [f"# from {source or 'the defaults'}", f"# store: {path}", "[runtime.sessions]"]
    # TOML writes true, numbers and ASCII strings as JSON does.
    lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    return "\n".join(lines)
