"""How live mounts are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmspellfs.cli.views import Column, View, iso, short_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llmspellfs.fuse.processes import Daemon


def options_text(options: Mapping[str, str]) -> str:
    """Return mount *options* as `-o` takes them."""
    return ",".join(f"{key}={text}" if text else key for key, text in options.items())


def mount_json(live: Daemon) -> dict[str, Any]:
    """Return everything that is known of one mount."""
    return {
        "mountpoint": live.mountpoint,
        "store": live.store,
        "pid": live.pid,
        "since": iso(live.since_ns),
        "options": dict(live.options),
    }


def mount_points(store: Path | None) -> list[str]:
    """Return where the store in the folder *store* is mounted now, oldest first; one in memory is nowhere."""
    from llmspellfs.fuse.mountpoint import live_mounts

    return [] if store is None else [live.mountpoint for live in live_mounts() if live.store == str(store.resolve())]


_COLUMNS: tuple[Column[Daemon], ...] = (
    Column("MOUNT", lambda live: live.mountpoint),
    Column("PID", lambda live: str(live.pid), is_number=True),
    Column("SINCE", lambda live: short_time(live.since_ns)),
    Column("OPTIONS", lambda live: options_text(live.options)),
)
_STORE: Column[Daemon] = Column("STORE", lambda live: live.store)

MOUNTS: View[Daemon] = View(_COLUMNS, mount_json)
MOUNTS_OF_ALL: View[Daemon] = View((_STORE, *_COLUMNS), mount_json)
