"""`llmspellfs mount` and `umount`: the store as a file system, and back."""

from __future__ import annotations

import click

from llmspellfs.cli import params
from llmspellfs.cli.app import App, Command, pass_app, refuse_memory


@click.command(cls=Command)
@click.argument("mountpoint", metavar="MNT")
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground until unmounted.")
@click.option(
    "-o", "--option", "options", multiple=True, metavar="NAME[=VALUE],...",
    help="Mount options, such as type=tool_result (of files copied in) or allow_other.",
)  # fmt: skip
@pass_app
def mount(app: App, mountpoint: str, foreground: bool, options: tuple[str, ...]) -> None:
    """Mount the store at the empty folder MNT.

    Returns when the mount answers.
    """
    config = app.load_config()
    if not foreground:
        refuse_memory(config)
    from llmspellfs.fuse import daemon

    daemon.start(
        app.store_path(config),
        mountpoint,
        config_path=app.config,
        options=params.parse_options(options),
        foreground=foreground,
    )


@click.command(cls=Command)
@click.argument("mountpoint", metavar="MNT")
@click.option("--timeout", type=click.FloatRange(0), default=60.0, show_default=True, metavar="SECONDS",
              help="How long to wait for what is still being committed.")  # fmt: skip
@pass_app
def umount(app: App, mountpoint: str, timeout: float) -> None:
    """Unmount MNT.

    Returns when all is committed and the mount's process is gone.
    """
    from llmspellfs.fuse import daemon

    daemon.stop(mountpoint, timeout)
