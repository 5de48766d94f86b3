"""What every command shares: the options that stand before or after it, and how the store is opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from llmspellfs.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from llmspellfs.config import Config
    from llmspellfs.service.store import Store


@dataclass(slots=True)
class App:
    """One run of the command: what its shared options say."""

    store: str | None = None
    config: str | None = None
    json: bool = False
    debug: bool = False

    def load_config(self) -> Config:
        """Return the configuration that `--config`, the environment or the usual places give."""
        from llmspellfs.config import load_config

        return load_config(self.config)

    def store_path(self, config: Config) -> Path:
        """Return where the store is that this run means."""
        from llmspellfs.config import store_path

        return store_path(config, self.store)

    def open(self, *, memory: bool = False, create: bool = False, dry_run: bool = False) -> Store:
        """Open the store until the command ends.

        *memory* says that a store in memory makes sense here, *create* that it is made where it is missing, *dry_run*
        that no session is suspended since nothing has happened in it for long.
        """
        from llmspellfs.model.event import Origin
        from llmspellfs.service.store import open_store

        config = self.load_config()
        if not memory:
            refuse_memory(config)
        origin = Origin(f"uid:{os.getuid()}", "cli")
        store = open_store(self.store, config=config, origin=origin, create=create, dry_run=dry_run)
        return click.get_current_context().with_resource(store)


def refuse_memory(config: Config) -> None:
    """Raise ConfigError where *config* keeps the store in memory: it would be gone when the command ends."""
    if config.storage_backend == "memory":
        why = "memory would be gone when this command ends; it serves `run` and `mount -f`"
        raise ConfigError(config.source, "runtime.sessions.storage_backend", why)


pass_app = click.make_pass_decorator(App)


MAY_BE_EMPTY = frozenset({"args", "code", "description", "label", "mime_type", "options", "query", "reason", "words"})
"""Parameters, by their names in Python, of which an empty text can be meant."""


def refuse_empty(ctx: click.Context, param: click.Parameter, value: object) -> None:
    """Raise BadParameter where *value* is, or has in it, an empty text: a shell's unset variable most often."""
    given = value if isinstance(value, tuple) else (value,)
    if "" in given and param.name not in MAY_BE_EMPTY:
        raise click.BadParameter("it is empty", ctx, param)


def _remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    refuse_empty(ctx, param, value)
    app = ctx.find_object(App)
    if value and app is not None and param.name is not None:
        setattr(app, param.name, value)


def shared_options(*, hidden: bool) -> list[click.Parameter]:
    """Return the options that go with every command; *hidden* leaves only `--json` in its help."""

    def option(flag: str, text: str, **kind: Any) -> click.Option:
        return click.Option([flag], help=text, expose_value=False, callback=_remember, is_eager=True, **kind)

    return [
        option("--store", "Where the store is.", metavar="DIR", hidden=hidden),
        option("--config", "The configuration file.", metavar="FILE", hidden=hidden),
        option("--json", "For programs: one JSON object, or one a line.", is_flag=True),
        option("--debug", "Show a traceback when something goes wrong.", is_flag=True, hidden=hidden),
    ]


class Command(click.Command):
    """A command that also takes the shared options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Add the shared options to the command's own."""
        super().__init__(*args, **kwargs)
        self.params.extend(shared_options(hidden=True))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read *args* as click does, and refuse empty ones where none can be meant."""
        rest = super().parse_args(ctx, args)
        for param in self.params:
            refuse_empty(ctx, param, ctx.params.get(param.name or ""))
        return rest


class Group(click.Group):
    """A noun: its verbs and itself take the shared options."""

    command_class = Command
    is_top = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Add the shared options; without a verb it is bad usage."""
        kwargs.setdefault("no_args_is_help", False)
        super().__init__(*args, **kwargs)
        self.params.extend(shared_options(hidden=not self.is_top))
