"""`llmspellfs mount --print-systemd`: a unit that mounts a store at boot and unmounts it whole.

What a unit file takes is said in systemd.service(5), "COMMAND LINES", and systemd.syntax(7), "QUOTING".
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from llmspellfs.cli.mount import take_config
from llmspellfs.cli.mounts import options_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmspellfs.cli.app import App

_UMOUNT_SECONDS = 60
_STOP_SECONDS = 90  # then systemd kills: what is closed is safe, what is open and not synced is in `lost`

_UNIT = """\
[Unit]
Description={description}
RequiresMountsFor={needs}

[Service]
Type=notify{environment}
ExecStart={start}
ExecStop=-{stop}
TimeoutStopSec={seconds}
Restart=on-failure

[Install]
WantedBy=multi-user.target"""


def unit(app: App, mountpoint: str, words: dict[str, str]) -> str:
    """Return a unit that mounts the store that *app* means at *mountpoint*, with the mount options *words*.

    Raises InvalidValue for a bad option, ConfigError.
    """
    from llmspellfs.fuse.options import parse_options

    words = take_config(app, words)
    parse_options(words)
    config = app.load_config()
    store, place = os.path.realpath(app.store_path(config)), os.path.realpath(mountpoint)
    source = [] if config.source is None else ["--config", os.path.abspath(config.source)]
    options = ["-o", options_text(words)] if words else []
    return _UNIT.format(
        description=_text(f"llmspellfs store {store} at {place} as a file system"),
        needs=f"{quoted(store)} {quoted(os.path.dirname(place))}",
        environment=_environment(),
        start=_line([*_command(), "--store", store, *source, "mount", "-f", place, *options]),
        stop=_line([*_command(), "umount", f"--timeout={_UMOUNT_SECONDS}", place]),
        seconds=_STOP_SECONDS,
    )


def quoted(word: str, special: str = "") -> str:
    """Return *word* as one word of a unit's line; *special* characters besides `%` are doubled too."""
    text = "".join(char * 2 if char in "%" + special else _plain(char) for char in word)
    return f'"{text}"' if text != word or not word or set(word) & set(" ';#") else text


def _plain(char: str) -> str:
    """Return *char* as it stands between double quotes."""
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def _line(words: Sequence[str]) -> str:
    return " ".join(quoted(word, "$") for word in words)


def _text(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text).replace("%", "%%")


def _command() -> list[str]:
    """Return the words that run this command from anywhere."""
    script = os.path.abspath(sys.argv[0])
    if os.path.basename(script) == "llmspellfs" and os.access(script, os.X_OK):
        return [script]
    return [sys.executable, "-m", "llmspellfs"]


def _environment() -> str:
    """Return the line that lets Python find this package where only PYTHONPATH tells it."""
    path = os.environ.get("PYTHONPATH")
    if not path:
        return ""
    folders = os.pathsep.join(os.path.abspath(folder) for folder in path.split(os.pathsep) if folder)
    return f"\nEnvironment={quoted('PYTHONPATH=' + folders)}"
