"""`llmspellfs retention`: the rules of the configuration, applied or only told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from llmspellfs.cli import render
from llmspellfs.cli.app import App, Command, pass_app

if TYPE_CHECKING:
    from llmspellfs.model.session import Session
    from llmspellfs.service.retention import Deed, RetentionReport

_PAST = {"suspend": "suspended", "complete": "completed", "delete": "deleted", "purge": "purged"}


@click.command(cls=Command)
@click.option("--dry-run", is_flag=True, help="Only say what the rules would do.")
@click.option("--force", is_flag=True, help="Even if the clock seems to have jumped ahead.")
@pass_app
def retention(app: App, dry_run: bool, force: bool) -> None:
    """Suspend, complete, delete or purge sessions as the rules of the configuration say.

    The rules are those of [runtime.sessions.retention]; sessions with the tag `hold` are exempt.
    """
    store = app.open(dry_run=dry_run)
    report = store.retention.apply(dry_run=dry_run, force=force)
    told(report, store.timed_out, as_json=app.json)
    if report.stale is not None:
        from llmspellfs.cli.reports import stale_note

        render.note(f"what was purged: {stale_note(report.stale)}")


def told(report: RetentionReport, timed_out: list[Session], *, as_json: bool) -> None:
    """Print what the rules did, a line a session, and which sessions were suspended since nothing happened in them."""
    for session in timed_out:
        event = {"rule": "session_timeout_seconds", "action": "suspend", "session": session.dirname, "id": session.id}
        line = f"{session.dirname}: {'would be ' if report.dry_run else ''}suspended by session_timeout_seconds"
        render.outcome(line, {**event, "done": not report.dry_run, "left": None}, as_json=as_json)
    for deed in report.deeds:
        render.outcome(_line(deed, dry_run=report.dry_run), deed_json(deed, dry_run=report.dry_run), as_json=as_json)
    if not as_json:
        render.say(_summary(report))


def _summary(report: RetentionReport) -> str:
    from llmspellfs.model.shown import count

    done = count(sum(deed.left is None for deed in report.deeds), "session")
    held = f", {report.held} held" if report.held else ""
    return f"{done} {'would be ' if report.dry_run else ''}dealt with{held}"


def _line(deed: Deed, *, dry_run: bool) -> str:
    from llmspellfs.cli.views import short_time

    if deed.left is not None:
        return f"{deed.session}: not {_PAST[deed.action]} by {deed.rule}: {deed.left}"
    done = f"{'would be ' if dry_run else ''}{_PAST[deed.action]}"
    return f"{deed.session}: {done} by {deed.rule} ({deed.status} since {short_time(deed.since_ns)})"


def deed_json(deed: Deed, *, dry_run: bool) -> dict[str, Any]:
    """Return what a rule did to one session, or would do."""
    from llmspellfs.cli.views import iso

    return {
        "rule": deed.rule, "action": deed.action, "session": deed.session, "id": deed.id, "status": deed.status,
        "since": iso(deed.since_ns), "done": deed.left is None and not dry_run, "left": deed.left, "freed": deed.freed,
    }  # fmt: skip
