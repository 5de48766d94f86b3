"""History at the command: `diff`, `rollback`, `fork` and `checkpoints`, hooked into `session` and `artifact`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from llmspellfs.cli import render
from llmspellfs.cli.app import App, Command, pass_app
from llmspellfs.model.shown import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmspellfs.cli.diffs import TextDiff
    from llmspellfs.model.diff import Change, SessionDiff

_POINTS = """POINT is a seq (12), a checkpoint (c3 is the third; `session checkpoints` lists them with their seqs), an
ISO time or a date, which means its end (2026-11-21T10:30, 2026-11-21), or an age (2h)."""


def _diff(command: Callable[..., Any]) -> click.Command:
    """Make *command* a `diff`, with what both kinds take."""
    for option in (
        pass_app,
        click.pass_context,
        click.option("--exit-code", is_flag=True, help="Exit with 1 where anything differs."),
        click.option("--name-only", is_flag=True, help="Names only, one a line."),
        click.option("--stat", is_flag=True, help="Names and sizes only: A added, D removed, R renamed, M changed, "
                     "m changed in metadata alone, T of another kind."),
        click.argument("new", metavar="[REF[@POINT]]", required=False),
        click.argument("old", metavar="REF[@POINT]"),
    ):  # fmt: skip
        command = option(command)
    return click.command("diff", cls=Command, epilog=_POINTS)(command)


@_diff
def diff_sessions(
    app: App, /, ctx: click.Context, old: str, new: str | None, stat: bool, name_only: bool, exit_code: bool
) -> None:
    """Show what changed in a session, or from one session to another, as a unified diff.

    With one REF from its POINT until now; without a POINT from its last checkpoint, else its beginning.
    """
    from llmspellfs.cli.diffs import fields_json

    _check(stat=stat, name_only=name_only)
    store = app.open()
    found = store.past.diff(old, new)
    if app.json:
        if found.fields:
            render.say_json({"kind": "session", "fields": fields_json(found.fields)})
        _say_changes(found.changes)
    elif name_only:
        _say_names(found.changes)
    else:
        _say_session(found, None if stat else store.past.text_diff)
    ctx.exit(render.FAILED if exit_code and (found.fields or found.changes) else 0)


def _check(*, stat: bool, name_only: bool) -> None:
    if stat and name_only:
        raise click.UsageError("--stat and --name-only exclude each other")


def _say_session(found: SessionDiff, text_diff: TextDiff | None) -> None:
    """Print *found*: with a *text_diff* line by line, else as a table."""
    from llmspellfs.cli.diffs import change_lines, session_lines

    render.patch(session_lines(found.fields))
    if text_diff is None:
        _say_table(found.changes)
        return
    for change in found.changes:
        render.patch(change_lines(change, text_diff))


def _say_changes(changes: Sequence[Change]) -> None:
    from llmspellfs.cli.diffs import change_json

    for change in changes:
        render.say_json(change_json(change))


def _say_names(changes: Sequence[Change]) -> None:
    for path in dict.fromkeys(change.path for change in changes):
        render.say(visible(path))


def _say_table(changes: Sequence[Change]) -> None:
    from llmspellfs.cli.diffs import STAT, stat_of, total

    if changes:
        lines = stat_of(changes)
        render.listing(STAT, lines, as_json=False)
        render.say(total(lines))


@_diff
def diff_artifacts(
    app: App, /, ctx: click.Context, old: str, new: str | None, stat: bool, name_only: bool, exit_code: bool
) -> None:
    """Show what changed in an artifact, or from one artifact to another, as a unified diff.

    With one REF from that version to the one that is there now; where it is that, from the version before.
    """
    from llmspellfs.cli.diffs import artifact_lines, change_json

    _check(stat=stat, name_only=name_only)
    store = app.open()
    found = store.past.diff_artifacts(old, new)
    change, labels = found.change, (found.old_label, found.new_label)
    if not change.has_other_content and not change.fields:
        return
    if app.json:
        render.say_json({**change_json(change), "old_ref": labels[0], "new_ref": labels[1]})
    elif name_only or stat:
        _say_names([change]) if name_only else _say_table([change])
    else:
        render.patch(artifact_lines(change, labels, store.past.text_diff))
    ctx.exit(render.FAILED if exit_code else 0)


@click.command("rollback", cls=Command, epilog=_POINTS)
@click.argument("ref", metavar="REF@POINT")
@pass_app
def rollback_session(app: App, ref: str) -> None:
    """Bring an active session back to what it was at POINT.

    Its artifacts, folders, symlinks, name, description, tags, metadata and parent. Nothing is lost: that is a change
    like others, and can be undone by a rollback to the seq before it.
    """
    from llmspellfs.cli.views import session_json

    store = app.open()
    session = store.past.rollback(ref)
    line = f"{session.dirname}: rolled back to {ref.rpartition('@')[2]}"
    render.outcome(line, session_json(session), as_json=app.json)


@click.command("rollback", cls=Command, epilog=_POINTS)
@click.argument("ref", metavar="SESSION:NAME@POINT")
@pass_app
def rollback_artifact(app: App, ref: str) -> None:
    """Bring an artifact of an active session back to what its name was at POINT, as a new version.

    Where it was deleted it is there again.
    """
    from llmspellfs.cli.views import artifact_json

    store = app.open()
    entry = store.past.rollback_artifact(ref)
    session = store.sessions.get(store.artifacts.place(ref)[0])
    made = store.artifacts.of_entry(session, entry)
    line = f"{made.name}: rolled back to {ref.rpartition('@')[2]}, version {made.version}"
    render.outcome(line, artifact_json(made, session.dirname), as_json=app.json)


@click.command(cls=Command, epilog=_POINTS)
@click.argument("ref", metavar="REF[@POINT]")
@click.argument("name")
@pass_app
def fork(app: App, ref: str, name: str) -> None:
    """Make a session called NAME with all that REF has, or had at POINT, and print its id.

    It is active, REF is its parent, and no content is copied.
    """
    from llmspellfs.cli.views import session_json

    made = app.open().past.fork(ref, name)
    render.outcome(made.id, session_json(made), as_json=app.json)


@click.command(cls=Command)
@click.argument("ref")
@pass_app
def checkpoints(app: App, ref: str) -> None:
    """List a session's checkpoints.

    The N-th is REF@cN for `diff`, `rollback` and `fork`, or REF@ with its seq.
    """
    from llmspellfs.cli.views import CHECKPOINTS

    render.listing(CHECKPOINTS, app.open().sessions.checkpoints(ref), as_json=app.json)


OF_SESSIONS = (diff_sessions, rollback_session, fork, checkpoints)
OF_ARTIFACTS = (diff_artifacts, rollback_artifact)
"""The commands that `session` and `artifact` take in."""
