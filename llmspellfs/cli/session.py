"""`llmspellfs session`: sessions made, listed, shown, and moved through their lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from llmspellfs.cli import history, params, render, replay
from llmspellfs.cli.app import App, Group, pass_app
from llmspellfs.model.shown import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmspellfs.model.session import Session


@click.group(cls=Group)
def session() -> None:
    """Make, list, show and change sessions. REF is a directory name, an id or the start of one."""


for _command in (*history.OF_SESSIONS, *replay.OF_SESSIONS):
    session.add_command(_command)


@session.command()
@click.argument("name", required=False)
@click.option("--description", default="", help="What it is for.")
@click.option("--tag", "tags", multiple=True, help="A tag; may be given again.")
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="Metadata; a VALUE that is JSON is taken as such.")
@click.option("--parent", metavar="REF", help="The session it belongs to.")
@pass_app
def create(
    app: App,
    name: str | None,
    description: str,
    tags: tuple[str, ...],
    meta: tuple[str, ...],
    parent: str | None,
) -> None:
    """Make a session and print its id."""
    from llmspellfs.cli.views import session_json

    metadata = params.parse_metadata(meta)
    sessions = app.open(create=True).sessions
    made = sessions.create(name, description=description, tags=tags, metadata=metadata, parent=parent)
    render.outcome(made.id, session_json(made), as_json=app.json)


@session.command("list")
@click.argument("query", nargs=-1)
@click.option("--status", help="active, suspended, completed or failed.")
@click.option("--tag", "tags", multiple=True, help="A tag they must have; may be given again.")
@click.option("--name", "name_pattern", metavar="GLOB", help="A pattern of the name.")
@click.option("--parent", metavar="REF", help="Only children of this session.")
@click.option("--deleted", is_flag=True, help="Those deleted, which can still be restored.")
@params.time_options
@params.page_options
@pass_app
def list_sessions(app: App, /, query: tuple[str, ...], sort: str | None, desc: bool, **filters: Any) -> None:
    """List sessions, all of them or those that QUERY and the options leave."""
    from llmspellfs.cli.views import SESSIONS

    found = app.open().sessions.list(" ".join(query) or None, **filters, **params.order(sort, desc))
    render.listing(SESSIONS, found, as_json=app.json)


@session.command()
@click.argument("ref")
@pass_app
def show(app: App, ref: str) -> None:
    """Show everything that is known of one session."""
    from llmspellfs.cli.reports import within
    from llmspellfs.cli.views import checkpoint_json, session_json

    store = app.open()
    sessions, quota = store.sessions, store.config.session_quota
    shown = session_json(sessions.get(ref))
    size = sessions.stored_bytes(ref)
    shown |= {"stored_size": size, "session_quota": quota} if app.json else {"stored": within(size, quota)}
    shown["checkpoints"] = [checkpoint_json(each) for each in sessions.checkpoints(ref)]
    shown["children"] = [child.dirname for child in sessions.children(ref)]
    render.details(shown, as_json=app.json)


def _report(app: App, change: Callable[[str], Session], refs: tuple[str, ...], verb: str | None = None) -> None:
    """Apply *change* to each of *refs* in turn and say what has become of it: *verb*, else its status."""
    from llmspellfs.cli.views import session_json

    for ref in refs:
        changed = change(ref)
        line = f"{changed.dirname}: {verb or changed.status}"
        render.outcome(line, session_json(changed), as_json=app.json)


@session.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@pass_app
def suspend(app: App, refs: tuple[str, ...]) -> None:
    """Freeze sessions until they are resumed."""
    _report(app, app.open().sessions.suspend, refs)


@session.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@pass_app
def resume(app: App, refs: tuple[str, ...]) -> None:
    """Let suspended sessions go on."""
    _report(app, app.open().sessions.resume, refs)


@session.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@pass_app
def complete(app: App, refs: tuple[str, ...]) -> None:
    """End sessions well; they stay as they are."""
    _report(app, app.open().sessions.complete, refs)


@session.command()
@click.argument("ref")
@click.argument("reason", default="")
@pass_app
def fail(app: App, ref: str, reason: str) -> None:
    """End a session as failed, for a REASON."""
    sessions = app.open().sessions
    _report(app, lambda name: sessions.fail(name, reason), (ref,))


@session.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@pass_app
def load(app: App, refs: tuple[str, ...]) -> None:
    """Take sessions up again: a suspended one becomes active, any other stays as it is."""
    _report(app, app.open().sessions.load, refs)


@session.command()
@click.argument("ref")
@click.option("--label", help="What to call the checkpoint.")
@pass_app
def save(app: App, ref: str, label: str | None) -> None:
    """Set a checkpoint, and return when the session so far survives power loss."""
    from llmspellfs.cli.views import checkpoint_json

    made = app.open().sessions.save(ref, label)
    render.outcome(f"checkpoint {made.number}", checkpoint_json(made), as_json=app.json)


@session.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@pass_app
def delete(app: App, refs: tuple[str, ...]) -> None:
    """Delete sessions; `restore` brings them back while history keeps them."""
    _report(app, app.open().sessions.delete, refs, "deleted")


@session.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@pass_app
def restore(app: App, refs: tuple[str, ...]) -> None:
    """Bring deleted sessions back, with what was in them."""
    _report(app, app.open().sessions.restore, refs, "restored")


@session.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--prove", is_flag=True, help="List what was unlinked and erased.")
@pass_app
def purge(app: App, refs: tuple[str, ...], yes: bool, prove: bool) -> None:
    """Erase sessions for good: content, metadata and history, all but the audit trail.

    The trail stays so that it verifies; the names of sessions and artifacts stand in its lines, and so do the hashes of
    contents. No other word is left, and of the content no byte that nothing else uses; backups and exports are yours.
    """
    from llmspellfs.cli.purging import report_purge

    sessions = app.open().sessions
    for ref in refs:
        if not yes:
            render.confirm(f"Erase session {ref} for good?")
        report = sessions.purge(ref)
        report_purge(ref, report, prove=prove, as_json=app.json)


@session.command()
@click.argument("ref")
@click.argument("tags", metavar="[TAG]...", nargs=-1)
@click.option("-r", "--remove", multiple=True, metavar="TAG", help="A tag to take away; may be given again.")
@pass_app
def tag(app: App, ref: str, tags: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Add tags to a session or take some away, and print those it has, one a line."""
    sessions = app.open().sessions
    tagged = sessions.tag(ref, add=tags, remove=remove) if tags or remove else sessions.get(ref)
    if app.json:
        render.say_json({"id": tagged.id, "dirname": tagged.dirname, "tags": list(tagged.tags)})
        return
    for each in tagged.tags:
        render.say(visible(each))


@session.command()
@click.argument("ref")
@click.option("--after", type=params.IntRange(0), default=0, metavar="SEQ", help="Only those after this one.")
@click.option("--limit", type=params.IntRange(0), metavar="N", help="At most N.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind, such as artifact.stored; may be given again.")
@pass_app
def events(app: App, ref: str, after: int, limit: int | None, kinds: tuple[str, ...]) -> None:
    """Show a session's audit trail; with --json its lines as they are stored and hashed."""
    from llmspellfs.cli.views import EVENTS

    found = app.open().sessions.events(ref, after=after, limit=limit, kinds=kinds)
    if not app.json:
        render.listing(EVENTS, found, as_json=False)
        return
    for event in found:
        render.say(event.line)
