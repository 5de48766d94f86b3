"""Replay, timelines, lineage: hooked into `session` and `artifact`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from llmspellfs.cli import params, render
from llmspellfs.cli.app import App, Command, pass_app
from llmspellfs.model.replay import MAX_SECONDS
from llmspellfs.model.shown import visible

if TYPE_CHECKING:
    from llmspellfs.cli.views import View
    from llmspellfs.model.replay import Replayed, Step
    from llmspellfs.service.timeline import Happening

_MODES = ("exact", "simulate", "debug", "rerun")


@click.command(cls=Command)
@click.argument("ref")
@click.option("--mode", type=click.Choice(_MODES), default="exact", help="How; exact unless told otherwise.")
@click.option("--from", "first", type=params.IntRange(1), metavar="SEQ", help="The first event.")
@click.option("--to", "last", type=params.IntRange(1), metavar="SEQ", help="The last event.")
@click.option("--checkpoint", type=params.IntRange(1), metavar="N", help="What came after this checkpoint.")
@click.option("--name", help="What the new session is called.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=params.FloatRange(min=0, min_open=True, max=MAX_SECONDS),
    metavar="SECONDS",
    help="End after this long.",
)
@click.option("--stop-on-error", is_flag=True, help="End at the first thing that is not as recorded.")
@click.option("--no-compare", is_flag=True, help="Rebuild only, compare nothing.")
@click.pass_context
@pass_app
def replay(app: App, ctx: click.Context, /, ref: str, mode: str, no_compare: bool, **how: Any) -> None:
    """Replay a session, and hold each step against what is recorded.

    exact rebuilds it from its events in a new session; simulate does so without storing anything; debug shows the
    state at each event too; rerun runs the scripts that `run` recorded again, on a copy, with their modules and
    the State that they read, and tells for each artifact whether it is the same. Exits with 1 where anything is not as
    recorded, or time was up.
    """
    from llmspellfs.lua.replaying import run_in_child
    from llmspellfs.model.replay import Mode, Wanted

    wanted = Wanted(Mode(mode), compare=not no_compare, **how)
    with render.Bar(ref) as bar:

        def on_progress(step: Step) -> None:
            bar.update(step.number, step.total)
            if wanted.mode is Mode.DEBUG:
                _say_step(step, as_json=app.json)

        found = app.open().replays.replay(ref, wanted, on_progress=on_progress, runner=run_in_child)
    _say(found, as_json=app.json)
    ctx.exit(0 if found.ok else render.FAILED)


def _say_step(step: Step, *, as_json: bool) -> None:
    if as_json:
        render.say_json(step.document())
        return
    from llmspellfs.cli.views import short_time

    render.say(visible(f"{step.seq} {short_time(step.at_ns)} {step.kind} {step.name or ''}".rstrip()))
    for entry in (step.state or {}).get("entries", ()):
        version = f" v{entry['version']} {entry['hash'][:12]}" if "version" in entry else ""
        render.say(visible(f"    {entry['name']}{version}"))


def _say(found: Replayed, *, as_json: bool) -> None:
    if as_json:
        render.say_json(found.document())
        return
    for outcome in found.outcomes:
        render.say(visible(f"{'same' if outcome.is_same else 'different'}  {outcome.session}:{outcome.name}"))
    for mismatch in found.mismatches:
        render.say(visible(str(mismatch)))
    for what in found.left_out:
        render.say(visible(f"partial: left out {what}"))
    render.say(visible(_summary(found)))


def _summary(found: Replayed) -> str:
    what = f"{found.runs} runs" if found.mode == "rerun" else f"{found.events} events, {found.contents} contents"
    parts = [f"{found.mode}: {what}", f"{len(found.mismatches)} mismatches", f"{found.duration_ns / 1e9:.3f} s"]
    parts += [f"ended early ({found.stopped})"] if found.stopped else []
    parts += ["partial"] if found.left_out else []
    parts += [f"new session {found.new_session_id}"] if found.new_session_id else []
    return ", ".join(parts)


@click.command(cls=Command)
@click.argument("ref")
@pass_app
def timeline(app: App, ref: str) -> None:
    """Show what happened in a session and when, with the time since the event before and since the first."""
    from llmspellfs.service.timeline import timeline as to_timeline

    render.listing(_view(), to_timeline(app.open().sessions.events(ref)), as_json=app.json)


def _view() -> View[Happening]:
    from llmspellfs.cli.views import Column, View, short_time

    return View(
        (
            Column("SEQ", lambda one: str(one.event.seq), is_number=True),
            Column("AT", lambda one: short_time(one.event.at_ns)),
            Column("SINCE", lambda one: human_duration(one.since_ns), is_number=True),
            Column("ELAPSED", lambda one: human_duration(one.elapsed_ns), is_number=True),
            Column("KIND", lambda one: one.event.kind),
            Column("NAME", lambda one: f"{one.name} (unfinished)" if one.is_unfinished else one.name),
        ),
        lambda one: one.document(),
    )


def human_duration(ns: int) -> str:
    """Return *ns* nanoseconds as people say it: `350 ms`, `12.5 s`, `3 m 20 s`, `5 h 2 m`, `4 d 3 h`."""
    if ns < 1_000_000_000:
        return f"{ns / 1e6:.0f} ms"
    seconds = ns / 1e9
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, unit, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {small}"
    return f"{whole // 60} m {whole % 60} s"


@click.command(cls=Command)
@click.argument("ref", metavar="SESSION:NAME")
@click.option("--dot", is_flag=True, help="As a graph for Graphviz.")
@pass_app
def lineage(app: App, ref: str, dot: bool) -> None:
    """Show what an artifact was made from and what was made of it, over all sessions.

    By what `run` has recorded, and by forks and moves. An artifact that stands elsewhere in the tree already ends in …
    """
    if dot and app.json:
        raise click.UsageError("--dot and --json exclude each other")
    found = app.open().runs.lineage(ref)
    if app.json:
        render.say_json(found.document())
        return
    for line in found.dot() if dot else found.lines():
        render.say(visible(line))


OF_SESSIONS = (replay, timeline)
OF_ARTIFACTS = (lineage,)
"""The commands that `session` and `artifact` take in."""
