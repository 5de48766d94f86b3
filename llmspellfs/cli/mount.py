"""`llmspellfs mount`, `umount` and `mounts`: the store as a file system, and back."""

from __future__ import annotations

import click

from llmspellfs.cli import params, render
from llmspellfs.cli.app import App, Command, pass_app, refuse_memory
from llmspellfs.errors import StoreUnusable


@click.command(cls=Command)
@click.argument("mountpoint", metavar="MNT")
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground until unmounted.")
@click.option("--print-systemd", is_flag=True, help="Only print a unit that has systemd mount it.")
@click.option(
    "-o", "--option", "options", multiple=True, metavar="NAME[=VALUE],...",
    help="Mount options, such as ro, allow_other, or type=tool_result (of files copied in).",
)  # fmt: skip
@pass_app
def mount(app: App, mountpoint: str, foreground: bool, print_systemd: bool, options: tuple[str, ...]) -> None:
    """Mount the store at the empty folder MNT.

    Returns when the mount answers. Options are type, show_session, allow_other, ro, uid, gid, umask, attr_timeout,
    entry_timeout, threads, config=FILE, and those of mount(8) that any file system takes.
    """
    words = params.parse_options(options)
    if print_systemd:
        from llmspellfs.cli.systemd import unit

        render.say(unit(app, mountpoint, words))
    else:
        start(app, mountpoint, words, foreground=foreground)


def start(app: App, mountpoint: str, words: dict[str, str], *, foreground: bool = False) -> None:
    """Mount the store that *app* means at *mountpoint*, with the mount options *words*."""
    words = take_config(app, words)
    config = app.load_config()
    if not foreground:
        refuse_memory(config)
    from llmspellfs.fuse import daemon

    note = daemon.start(
        app.store_path(config), mountpoint, config_path=app.config, options=words, foreground=foreground
    )  # fmt: skip
    if note:
        render.note(note)


def take_config(app: App, words: dict[str, str]) -> dict[str, str]:
    """Have *app* use the configuration file that *words* name, if they do; return the other words."""
    app.config = words.get("config") or app.config
    return {key: text for key, text in words.items() if key != "config"}


@click.command(cls=Command)
@click.argument("mountpoint", metavar="MNT")
@click.option("--timeout", type=params.FloatRange(0), default=60.0, show_default=True, metavar="SECONDS",
              help="How long to wait for what is still being committed.")  # fmt: skip
@pass_app
def umount(app: App, mountpoint: str, timeout: float) -> None:
    """Unmount MNT.

    Returns when all is committed and the mount's process is gone.
    """
    from llmspellfs.fuse import daemon

    daemon.stop(mountpoint, timeout)


@click.command(cls=Command)
@click.option("--all", "of_all", is_flag=True, help="Those of every store.")
@pass_app
def mounts(app: App, of_all: bool) -> None:
    """List where the store is mounted now, by which process and since when.

    Mounts whose process is gone, of whatever store, are notes on stderr.
    """
    from llmspellfs.cli.mounts import MOUNTS, MOUNTS_OF_ALL
    from llmspellfs.fuse.mountpoint import dead_mounts, live_mounts

    store = app.store_path(app.load_config())
    found = [live for live in live_mounts() if of_all or live.store == str(store.resolve())]
    if not found and not of_all and not store.exists():
        raise StoreUnusable.missing(store)
    render.listing(MOUNTS_OF_ALL if of_all else MOUNTS, found, as_json=app.json)
    for place in dead_mounts():
        render.note(f"{place}: the process of this mount is gone: mount it again, or `llmspellfs umount` it")
