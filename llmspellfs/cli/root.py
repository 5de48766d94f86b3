"""The top of the command: its subcommands by name, and what becomes of every error."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

from llmspellfs.cli import helper, render
from llmspellfs.cli.app import App, Group

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
"""Exit status as a shell gives it for a process that SIGINT ended."""

COMMANDS = {
    "init": "store:init",
    "mount": "mount:mount",
    "umount": "mount:umount",
    "mounts": "mount:mounts",
    "run": "script:run",
    "repl": "repl:repl",
    "find": "query:find",
    "session": "session:session",
    "artifact": "artifact:artifact",
    "stats": "store:stats",
    "verify": "verify:verify",
    "fsck": "fsck:fsck",
    "gc": "gc:gc",
    "scrub": "scrub:scrub",
    "retention": "retention:retention",
    "backup": "backup:backup",
    "restore-store": "backup:restore_store",
    "export": "archive:export",
    "import": "archive:import_",
    "lost": "lost:lost",
    "config": "store:config",
}
"""Each command, as `module:object` of this package, in the order of `--help`."""


class Main(Group):
    """The group `llmspellfs`; its commands' modules are imported when they are asked for."""

    is_top = True

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command *cmd_name*, or None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"llmspellfs.cli.{module}"), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command of *ctx*; end quietly when the reader of the output has gone, or at Control-C."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                render.flush()
        except BrokenPipeError:
            raise SystemExit(render.silence()) from None
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:
        """Run the command line *args* (the process's own when None) and exit with its status.

        Two paths without a command are how mount(8) has a store mounted; see `helper`.
        """
        words = list(sys.argv[1:] if args is None else args)
        if words and words[0] not in COMMANDS and helper.is_meant(words):
            helper.main(words)
        app = App()
        render.prepare()
        try:
            status = super().main(words, "llmspellfs", standalone_mode=False, obj=app)
        except click.Abort as error:
            sys.exit(INTERRUPTED if isinstance(error.__cause__, KeyboardInterrupt) else 1)
        except Exception as error:  # noqa: BLE001 - the last handler: whatever it is becomes one line
            sys.exit(render.failure(error, debug=app.debug))
        sys.exit(status if isinstance(status, int) else 0)


@click.group(cls=Main)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, help="Show the version and exit.",
              callback=lambda ctx, _, wanted: _show_version(ctx) if wanted else None)  # fmt: skip
def main() -> None:
    """Agent sessions as directories, their artifacts as files: mount them, script them, query them."""


def _show_version(ctx: click.Context) -> None:
    from llmspellfs import __version__

    render.say(f"llmspellfs {__version__}")
    ctx.exit()
