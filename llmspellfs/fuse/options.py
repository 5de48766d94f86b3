"""What `-o` may say: the mount's own settings, parsed and checked; what goes on to libfuse; the rest is the tree's."""

from __future__ import annotations

import grp
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmspellfs.errors import InvalidValue
from llmspellfs.model.values import check_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FLAGS = frozenset(
    {"rw", "ro", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "atime", "noatime", "sync", "async", "dirsync"}
)
"""Words that libfuse 2.9 takes as mount(2)'s flags (its `lib/mount.c`); the last one said wins."""

_MEANINGLESS = frozenset(
    {"defaults", "auto", "noauto", "user", "nouser", "users", "owner", "noowner", "group", "nogroup"}
    | {"_netdev", "nofail", "comment", "default_permissions"}
    | {"relatime", "norelatime", "strictatime", "nostrictatime", "diratime", "nodiratime", "lazytime", "nolazytime"}
)
"""Words of mount(8) and fstab that change nothing here, as do `x-…` and `dev=…`."""

_MOST_THREADS = 64
_NO_ID = 0xFFFFFFFF  # chown's "leave it as it is"


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How one mount behaves towards the kernel."""

    allow_other: bool = False
    """Other users than the mount's owner may use it, as far as modes permit."""
    attr_timeout: float = 1.0
    """Seconds for which the kernel keeps attributes."""
    entry_timeout: float = 1.0
    """Seconds for which the kernel keeps names."""
    threads: int = 8
    """How many requests are served at the same time."""
    uid: int | None = None
    """The owner that everything is shown with, whatever the store says."""
    gid: int | None = None
    """The group that everything is shown with."""
    umask: int | None = None
    """What is taken from 0777 for the mode that everything is shown with."""
    flags: tuple[str, ...] = ()
    """Those of FLAGS that were said, in their order."""

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be changed through this mount."""
        return [flag for flag in ("rw", *self.flags) if flag in {"rw", "ro"}][-1] == "ro"


def parse_options(words: Mapping[str, str]) -> tuple[MountOptions, dict[str, str]]:
    """Return what *words* say to the mount, and the words that are for the tree.

    A word without a value has the empty text. Raises InvalidValue naming the option and what it takes.
    """
    said = {key: text for key, text in words.items() if not is_meaningless(key, text)}
    for key in said:
        if not is_known(key):
            known = ", ".join([*_OURS, *_TREES, "config", *sorted(FLAGS)])
            raise InvalidValue(f"-o {key}", f"unknown option; expected one of {known}")
    ours: dict[str, Any] = {key: read(f"-o {key}", said[key]) for key, read in _OURS.items() if key in said}
    for key in said.keys() & FLAGS:
        _nothing(f"-o {key}", said[key])
    flags = tuple(key for key in said if key in FLAGS)
    trees = {key: read(f"-o {key}", said[key]) for key, read in _TREES.items() if key in said}
    return MountOptions(**ours, flags=flags), trees


def is_known(key: str) -> bool:
    """Say whether a mount takes the word *key*, or leaves it without a meaning."""
    return key in FLAGS or key in _OURS or key in _TREES or is_meaningless(key, "")


def is_meaningless(key: str, text: str) -> bool:
    """Say whether the word *key* with the value *text* is for mount(8) or fstab alone."""
    if key == "dev":
        return bool(text)
    return key in _MEANINGLESS or key.lower().startswith("x-")


def _nothing(where: str, text: str) -> bool:
    if text:
        raise InvalidValue(where, "takes no value")
    return True


def _threads(where: str, text: str) -> int:
    if not _is_number(text) or not 1 <= int(text) <= _MOST_THREADS:
        raise InvalidValue(where, f"expected 1 to {_MOST_THREADS}, not {text!r}")
    return int(text)


def _seconds(where: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise InvalidValue(where, f"expected seconds, not {text!r}")
    return seconds


def _user(where: str, text: str) -> int:
    return _id(where, text, "user", lambda name: pwd.getpwnam(name).pw_uid)


def _group(where: str, text: str) -> int:
    return _id(where, text, "group", lambda name: grp.getgrnam(name).gr_gid)


def _id(where: str, text: str, what: str, look_up: Callable[[str], int]) -> int:
    if _is_number(text) and int(text) < _NO_ID:
        return int(text)
    try:
        return look_up(text)
    except (KeyError, ValueError):
        raise InvalidValue(where, f"expected a {what}'s number or name, not {text!r}") from None


def _mask(where: str, text: str) -> int:
    if not text or set(text) - set("01234567") or int(text, 8) > 0o777:
        raise InvalidValue(where, f"expected an octal number up to 777, not {text!r}")
    return int(text, 8)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _kind(where: str, text: str) -> str:
    try:
        return check_type(text)
    except InvalidValue as error:
        raise InvalidValue(where, error.expected) from None


def _empty(where: str, text: str) -> str:
    _nothing(where, text)
    return text


_OURS: dict[str, Callable[[str, str], object]] = {
    "allow_other": _nothing,
    "attr_timeout": _seconds,
    "entry_timeout": _seconds,
    "threads": _threads,
    "uid": _user,
    "gid": _group,
    "umask": _mask,
}
_TREES: dict[str, Callable[[str, str], str]] = {"type": _kind, "show_session": _empty}
"""Words that the tree understands: the type of files that are copied in; whether `.session` is listed."""

TREE_OPTIONS = frozenset(_TREES)
