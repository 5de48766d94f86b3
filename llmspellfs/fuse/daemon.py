"""The process that serves one mount: how it is started, what it does, how it is ended.

It is a new process, never a fork of a live interpreter: it opens the store itself. It reports "ready", or its
reason not to be, over a pipe; from then on it writes to the store's `mount.log`. It ends when the mount is
taken away or on SIGTERM, SIGINT or SIGHUP, after everything is committed. `python -m llmspellfs.fuse.daemon`
is its command line, of which the mount point is the first word and the store the second: so it is found, by `stop`
and by `mountpoint.live_mounts`. In the foreground it tells systemd when it is ready and when it begins to end.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import resource
import select
import signal
import sys
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING

from llmspellfs.config import load_config
from llmspellfs.errors import InvalidValue, MountFailed, SpellError
from llmspellfs.fuse import mountpoint as places
from llmspellfs.fuse.log import log_to_nowhere, log_to_stderr, log_to_store
from llmspellfs.fuse.notify import SOCKET, notify
from llmspellfs.fuse.options import is_meaningless, parse_options
from llmspellfs.fuse.processes import DAEMON_MODULE
from llmspellfs.model.event import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from llmspellfs import Store

_READY = "ready"
_REPORT_FD = 3
_OPEN_FILES = 65536
_log = logging.getLogger(__name__)


def start(
    store: str | os.PathLike[str],
    mountpoint: str | os.PathLike[str],
    *,
    config_path: str | os.PathLike[str] | None = None,
    options: Mapping[str, str] | None = None,
    foreground: bool = False,
) -> str | None:
    """Mount *store* at *mountpoint*, and return when the mount answers: with what is to be said of it, if anything is.

    *options* are what `-o` says, by name. With *foreground* this process becomes the daemon, and start does
    not return. Raises MountFailed with the reason, InvalidValue for an option, ConfigError. A read-only mount
    does not make a store where none is; a store that cannot be written to has a read-only mount.
    """
    options = {key: text for key, text in (options or {}).items() if not is_meaningless(key, text)}
    parse_options(options)
    place, kept = os.path.realpath(mountpoint), os.path.realpath(store)
    places.check(place, kept)
    words = [place, kept, *(f"-o{key}={value}" for key, value in options.items())]
    config = config_path or load_config().source  # found from here: the daemon works elsewhere
    if config is not None:
        words.append(f"--config={os.path.abspath(config)}")
    if foreground:
        _become([*words, "--foreground"])
    return _spawn(place, words)


def stop(mountpoint: str | os.PathLike[str], timeout: float = 60) -> None:
    """Unmount *mountpoint*, and return when everything is committed and its daemon is gone.

    Raises MountFailed when nothing of ours is mounted there, when it is in use (nothing has happened then),
    and when the daemon is still committing after *timeout* seconds.
    """
    place = os.path.realpath(mountpoint)
    if places.mounted_kind(place) != places.KIND:
        raise MountFailed(place, "not mounted")
    daemon = places.daemon_of(place)
    if daemon is None:
        places.take_away(place, lazy=places.is_dead(place))
        return
    with _end_of(daemon) as ended:
        places.take_away_when_idle(place)
        if not ended(timeout):
            raise MountFailed(place, f"unmounted, but process {daemon} is still committing after {timeout:g} s")


def main(argv: Sequence[str] | None = None) -> int:
    """Be the daemon; return the exit status."""
    arguments = _parser().parse_args(argv)
    report = _tell_manager if arguments.foreground else _starters_ear()
    try:
        _run(arguments, report)
    except SpellError as error:
        _log.error("%s", error.message)
        report(error.why if isinstance(error, MountFailed) else error.message)
        return 1
    except Exception as error:  # noqa: BLE001 - the starter waits for a reason
        _log.exception("unforeseen")
        report(f"{type(error).__name__}: {error}")
        return 1
    return 0


def _run(arguments: argparse.Namespace, report: Callable[[str], None]) -> None:
    from llmspellfs import open_store
    from llmspellfs.fuse.mount import Mount, hold_signals
    from llmspellfs.tree import Tree

    hold_signals()
    _settle()
    config = load_config(arguments.config)
    if config.storage_backend == "memory" and not arguments.foreground:
        raise InvalidValue("storage_backend", '"memory" is for a mount in the foreground (-f)')
    options, words = parse_options(dict(text.split("=", 1) for text in arguments.option))
    origin = Origin(f"uid:{os.getuid()}", "mount")
    with open_store(arguments.store, config=config, origin=origin, create=not options.is_read_only) as store:
        note = ""
        if store.read_only is not None:
            options = replace(options, flags=(*options.flags, "ro"))
            note = f"\n{arguments.mountpoint} is read-only: the store cannot be written to ({store.read_only})"
        elif not arguments.foreground and store.path is not None:
            log_to_store(store.path)
        mount = Mount(Tree(store, words), arguments.mountpoint, options, str(store.path or "memory"))
        gc.freeze()  # what is there now stays: the collector need not look at it again
        mount.start()
        _log.info("serving %s at %s", store.path or "memory", arguments.mountpoint)
        report(_READY + note)
        if store.read_only is not None and not arguments.foreground:
            log_to_nowhere()
        with _scrubbing(store, is_off=options.is_read_only):
            mount.serve()
        _log.info("everything is committed; %s is gone", arguments.mountpoint)


@contextlib.contextmanager
def _scrubbing(store: Store, *, is_off: bool) -> Iterator[None]:
    """Have the content of *store* read again behind the mount, little by little."""
    if is_off:
        yield
        return
    with contextlib.closing(store.upkeep.scrubber()):
        yield


def _settle() -> None:
    """Let go of what the starter had: its folder, its umask, its bound on open files."""
    os.chdir("/")
    os.umask(0o077)
    log_to_stderr()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _spawn(place: str, words: Sequence[str]) -> str | None:
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as complaints, os.fdopen(reading, encoding="utf-8") as report:
        try:
            daemon = os.posix_spawn(
                sys.executable,
                _command(words),
                {key: text for key, text in _environment().items() if key != SOCKET},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, complaints.fileno(), 2),
                    (os.POSIX_SPAWN_DUP2, writing, _REPORT_FD),
                ],
                setsid=True,
            )
        finally:
            os.close(writing)
        try:
            said = report.read().strip()
        except BaseException:
            os.kill(daemon, signal.SIGTERM)
            raise
        ready, _, note = said.partition("\n")
        if ready != _READY:
            os.waitpid(daemon, 0)
            complaints.seek(0)
            raise MountFailed(place, said or _last_line(complaints.read()))
    if places.is_dead(place):
        raise MountFailed(place, "the mount's process ended at once; its log says why")
    return note or None


def _become(words: Sequence[str]) -> None:
    os.execve(sys.executable, _command(words), _environment())  # noqa: S606 - no shell is wanted


def _command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-P", "-m", DAEMON_MODULE, *words]


def _environment() -> dict[str, str]:
    """Return the environment in which the daemon finds the modules that this process has found."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)}


def _last_line(complaints: bytes) -> str:
    lines = complaints.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "its process ended without giving a reason"


def _starters_ear() -> Callable[[str], None]:
    """Return what tells the starter one thing and nothing more: the descriptor is soon another file's."""
    os.set_inheritable(_REPORT_FD, False)
    pipe = os.fdopen(_REPORT_FD, "w", encoding="utf-8", errors="replace")

    def tell(text: str) -> None:
        with contextlib.suppress(OSError):  # the starter may be gone
            if not pipe.closed:
                pipe.write(text)
                pipe.close()

    return tell


def _tell_manager(text: str) -> None:
    ready, _, note = text.partition("\n")
    if ready == _READY:
        notify("READY=1")
    if ready != _READY or note:
        sys.stderr.write(f"llmspellfs: {note or text}\n")


@contextlib.contextmanager
def _end_of(process: int) -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits so many seconds for the end of *process*, and says whether it has come."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        yield lambda _: True
        return
    try:
        yield lambda seconds: bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, os.WNOHANG)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {DAEMON_MODULE}")
    parser.add_argument("mountpoint")
    parser.add_argument("store")
    parser.add_argument("--config")
    parser.add_argument("-o", dest="option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--foreground", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
