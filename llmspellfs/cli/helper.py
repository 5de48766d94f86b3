"""`mount.fuse.llmspellfs STORE MNT [-sfnvrw] [-N NS] [-t TYPE] [-o OPTIONS]`: what mount(8) and fstab run.

mount(8) runs `/sbin/mount.fuse.llmspellfs` where there is such a file. Where only Debian's `/sbin/mount.fuse` is,
that runs `llmspellfs STORE MNT -o OPTIONS` by the shell; the top of the command takes this for the same.
The exit status is one of mount(8)'s.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from llmspellfs.cli import params, render
from llmspellfs.cli.app import App, pass_app

if TYPE_CHECKING:
    from collections.abc import Sequence

_STATUS = {render.FAILED: 32, render.BAD_USAGE: 1}
"""What mount(8) exits with where the command exits with these: "mount failure", "incorrect invocation"."""

_INTERRUPTED = 8


@click.command()
@click.argument("store", metavar="STORE")
@click.argument("mountpoint", metavar="MNT")
@click.option("-o", "options", multiple=True, metavar="OPTIONS", help="Mount options, with commas between them.")
@click.option("-f", "fake", is_flag=True, help="Check the options and mount nothing.")
@click.option("-s", "sloppy", is_flag=True, help="Overlook options that are not known.")
@click.option("-r", "read_only", is_flag=True, help="Mount read-only: as -o ro.")
@click.option("-w", "writable", is_flag=True, help="Mount writable, as is usual.")
@click.option("-N", "namespace", metavar="NS", help="Mount in the name space NS, a path.")
@click.option("-t", "kind", metavar="TYPE", help="Without a meaning here, as are the next two.")
@click.option("-n", "no_table", is_flag=True)
@click.option("-v", "verbose", is_flag=True)
@pass_app
def _mount(
    app: App, /, store: str, mountpoint: str, options: tuple[str, ...], fake: bool, sloppy: bool, read_only: bool,
    namespace: str | None, **_: object,
) -> None:  # fmt: skip
    """Mount STORE at MNT for mount(8)."""
    from llmspellfs.cli import mount
    from llmspellfs.fuse.options import is_known, parse_options

    words = params.parse_options([*options, *(["ro"] if read_only else [])])
    if sloppy:
        words = {key: text for key, text in words.items() if key == "config" or is_known(key)}
    app.store = store
    if fake:
        parse_options(mount.take_config(app, words))
        return
    if namespace:
        from llmspellfs.fuse.mountpoint import enter_name_space

        enter_name_space(namespace)
    mount.start(app, mountpoint, words)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line *args* (the process's own when None) and exit with one of mount(8)'s statuses."""
    render.prepare()
    try:
        _mount.main(args, "mount.fuse.llmspellfs", standalone_mode=False, obj=App())
    except click.Abort:
        sys.exit(_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last handler: whatever it is becomes one line
        sys.exit(_STATUS[render.failure(error)])
    sys.exit(0)


def is_meant(args: Sequence[str]) -> bool:
    """Say whether *args* are those of mount.fuse: two paths, and then only options.

    A mistyped command is no path: it has no slash, and no folder of its name is here.
    """
    if len(args) < 2 or "-" in (args[0][:1], args[1][:1]) or "/" not in args[1]:
        return False
    return ("/" in args[0] or os.path.isdir(args[0])) and all(word.startswith("-") for word in args[2:3])
