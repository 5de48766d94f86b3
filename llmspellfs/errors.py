"""Every error that leaves a room, as data.

    SpellError
    ├── NotFound            a session, artifact, checkpoint or other thing that is not there
    ├── AlreadyExists       a name that is taken
    ├── NotAFolder
    ├── IsAFolder
    ├── NotEmpty
    ├── InvalidName         what a name may not be (NameTooLong and NameNotText say it closer)
    │   ├── NameTooLong
    │   └── NameNotText
    ├── InvalidValue        metadata, types, queries, sidecars: what was expected, and where
    ├── InvalidTransition   the lifecycle table does not have it
    ├── SessionNotActive    a frozen session does not change
    ├── ReadOnly            the past and the views
    ├── SessionBusy         a session with handles that hold bytes not yet committed
    ├── NotAllowed          isolation and permissions
    ├── NotSupported        hard links, devices, misplaced directories
    ├── LimitExceeded       a limit of the configuration, by its key
    ├── TooLarge
    ├── NoSpace
    ├── StoreBusy           the index stayed locked beyond the bound
    ├── StoreUnusable       the store cannot be opened
    ├── ConfigError         llmspell.toml: file, key, what was expected
    ├── MountFailed         a mount or unmount that did not come about
    ├── ScriptFailed        a Lua script's own error
    ├── Vanished            content that was taken away while it was being stored again
    └── Corrupt             stored bytes that do not read back

Each door has one table from these classes to its own errors (`fuse.errno`, `cli.render`, `lua.errors`); a test holds
that every class stands in each. A message is one line and names what was asked for.
"""

from __future__ import annotations

from typing import Self


class SpellError(Exception):
    """The base of all errors a caller may expect; *message* is one line for people."""

    def __init__(self, message: str) -> None:
        """Keep *message*, with line ends made visible so that it stays one line."""
        super().__init__(message.replace("\n", "\\n"))

    @property
    def message(self) -> str:
        """The line for people."""
        return str(self.args[0])


class NotFound(SpellError):
    """There is no *what* called *name*."""

    def __init__(self, what: str, name: object) -> None:
        """Say which kind of thing (*what*) was not found under which *name*."""
        super().__init__(f"{what} not found: {name}")
        self.what, self.name = what, name


class AlreadyExists(SpellError):
    """There already is a *what* called *name*."""

    def __init__(self, what: str, name: object) -> None:
        """Say which kind of thing (*what*) has taken which *name*."""
        super().__init__(f"{what} already exists: {name}")
        self.what, self.name = what, name


class NotAFolder(SpellError):
    """*name* was used as a folder and is none."""

    def __init__(self, name: object) -> None:
        """Name the entry that is not a folder."""
        super().__init__(f"not a folder: {name}")
        self.name = name


class IsAFolder(SpellError):
    """*name* was used as a file and is a folder."""

    def __init__(self, name: object) -> None:
        """Name the entry that is a folder."""
        super().__init__(f"is a folder: {name}")
        self.name = name


class NotEmpty(SpellError):
    """*name* is a folder that still holds something."""

    def __init__(self, name: object) -> None:
        """Name the folder."""
        super().__init__(f"not empty: {name}")
        self.name = name


class InvalidName(SpellError):
    """*name* may not be a name; *why* says what is wrong with it."""

    def __init__(self, name: object, why: str) -> None:
        """Keep the offending *name* and the reason *why*."""
        super().__init__(f"invalid name {name!r}: {why}")
        self.name, self.why = name, why


class NameTooLong(InvalidName):
    """A name of more than 255 bytes, or a path of more than 4095."""


class NameNotText(InvalidName):
    """A name that is not UTF-8."""


class InvalidValue(SpellError):
    """A value that *where* does not take; *expected* says what it takes."""

    def __init__(self, where: str, expected: str) -> None:
        """Say *where* the value stood and what was *expected* there."""
        super().__init__(f"{where}: {expected}")
        self.where, self.expected = where, expected


class InvalidTransition(SpellError):
    """The lifecycle has no *action* from *status*."""

    def __init__(self, session: str, status: str, action: str) -> None:
        """Name the *session*, its *status* and the *action* that was refused."""
        super().__init__(f"session {session} is {status}: cannot {action}")
        self.session, self.status, self.action = session, status, action


class SessionNotActive(SpellError):
    """A change inside *session* while it is frozen."""

    def __init__(self, session: str, status: str) -> None:
        """Name the *session* and its *status*."""
        hint = ": resume it first" if status == "suspended" else ""
        super().__init__(f"session {session} is {status}{hint}")
        self.session, self.status = session, status


class ReadOnly(SpellError):
    """A change to something that only shows: the past, a view, a computed file."""

    def __init__(self, name: object) -> None:
        """Name what cannot be changed."""
        super().__init__(f"read-only: {name}")
        self.name = name


class SessionBusy(SpellError):
    """A change of *session*'s state while files in it hold bytes not yet committed."""

    def __init__(self, session: str) -> None:
        """Name the *session*."""
        super().__init__(f"session {session} has files open for writing")
        self.session = session


class NotAllowed(SpellError):
    """Isolation or permissions forbid it."""


class NotSupported(SpellError):
    """The file system has no such thing: hard links, devices, sessions inside sessions."""


class LimitExceeded(SpellError):
    """The configuration's *key* allows at most *limit*."""

    def __init__(self, key: str, limit: int) -> None:
        """Name the configuration's *key* and its *limit*."""
        super().__init__(f"limit exceeded: {key} = {limit}")
        self.key, self.limit = key, limit


class TooLarge(SpellError):
    """Content of more bytes than the configuration's *key* allows."""

    def __init__(self, key: str, limit: int) -> None:
        """Name the configuration's *key* and its *limit* in bytes."""
        super().__init__(f"too large: {key} = {limit} bytes")
        self.key, self.limit = key, limit


class NoSpace(SpellError):
    """The disk, or its quota, is full."""

    def __init__(self, where: object) -> None:
        """Name the path that could not be written."""
        super().__init__(f"no space left: {where}")
        self.where = where


class StoreBusy(SpellError):
    """Another process held the index locked for longer than the bound."""

    def __init__(self, seconds: float) -> None:
        """Say how many *seconds* were waited."""
        super().__init__(f"store busy: another process has held it locked for {seconds:g} s")
        self.seconds = seconds


class StoreUnusable(SpellError):
    """The store at *path* cannot be opened; *why* says the reason."""

    def __init__(self, path: object, why: str) -> None:
        """Name the *path* and *why* it is of no use."""
        super().__init__(f"cannot use the store {path}: {why}")
        self.path, self.why = path, why

    @classmethod
    def foreign(cls, path: object, name: str) -> Self:
        """Return the error for a folder *path* that is no store, as it holds *name*, which stores have not."""
        return cls(path, f"not empty, and no store: it has {name!r}")

    @classmethod
    def missing(cls, path: object, *, what: str = "store") -> Self:
        """Return the error for a *path* where no store is, or no other thing (*what*) that is one."""
        error = cls(path, "there is none")
        hint = " (llmspellfs init makes one)" if what == "store" else ""
        error.args = (f"no {what} at {path}{hint}".replace("\n", "\\n"),)
        return error


class ConfigError(SpellError):
    """*file* holds under *key* something other than what was *expected*."""

    def __init__(self, file: object, key: str, expected: str) -> None:
        """Name the *file* and the *key*, none where it is all of the file, and say what was *expected*."""
        super().__init__(": ".join(str(part) for part in (file, key, expected) if part != ""))
        self.file, self.key, self.expected = file, key, expected


class MountFailed(SpellError):
    """A mount or an unmount at *mountpoint* did not come about; *why* says the reason."""

    def __init__(self, mountpoint: object, why: str) -> None:
        """Name the *mountpoint* and the reason *why*."""
        super().__init__(f"{mountpoint}: {why}")
        self.mountpoint, self.why = mountpoint, why


class ScriptFailed(SpellError):
    """A Lua script ended with an error of its own; the message is Lua's, with the script's line."""

    def __init__(self, message: str) -> None:
        """Keep *message* as Lua gave it; that of a module that is not found has a line for each place."""
        Exception.__init__(self, message)

    traceback: str = ""
    """Where in the script it happened, as Lua tells it, a line a call."""


class Vanished(SpellError):
    """A chunk that the store was known to have was taken away while content that needs it was being stored."""

    def __init__(self, chunk: str) -> None:
        """Name the *chunk* by its hash."""
        super().__init__(f"chunk {chunk}, which the store had, was taken away meanwhile; store it once more")
        self.chunk = chunk


class Corrupt(SpellError):
    """Stored bytes that are not what was stored: *what* names them, *harmed* the artifacts that need them."""

    def __init__(self, what: str, harmed: tuple[str, ...] = ()) -> None:
        """Name the damaged thing and the artifacts that it harms."""
        tail = f" (harms {', '.join(harmed)})" if harmed else ""
        super().__init__(f"corrupt: {what}{tail}")
        self.what, self.harmed = what, harmed
