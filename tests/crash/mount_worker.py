"""A process that changes files below a folder without end, and notes in a ledger what was acknowledged.

`python -m tests.crash.mount_worker FOLDER LEDGER SEED`. Each change is a line before it and the line `ok` once the last
call of it has returned; a change that failed is noted with its error, and is the last one. Bytes follow from the seed
in the line. `Ledger` replays such a file: the `state` that was acknowledged, and the change that is `pending`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

State = dict[str, bytes | None]
"""What there is, by path: bytes of files, None for folders."""
_FILES = 12
_LARGE, _SMALL = 3 << 19, 9000
_PIECE = 1 << 16


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def tree(folder: Path) -> State:
    """Return what is below *folder*."""
    found: State = {}
    for place, folders, files in os.walk(folder, onerror=_raise):
        found |= {os.path.relpath(os.path.join(place, name), folder): None for name in folders}
        for name in files:
            path = os.path.join(place, name)
            found[os.path.relpath(path, folder)] = Path(path).read_bytes()
    return found


def _raise(error: OSError) -> None:
    raise error


def applied(state: State, change: dict[str, Any]) -> State:
    """Return the *state* after *change*."""
    new, path = dict(state), change["path"]
    if change["op"] in {"write", "cp"}:
        new[path] = content(change["seed"], change["size"])
    elif change["op"] == "append":
        new[path] = (new[path] or b"") + content(change["seed"], change["size"])
    elif change["op"] == "mkdir":
        new[path] = None
    elif change["op"] in {"unlink", "rmdir"}:
        del new[path]
    else:
        moved = [name for name in new if name == path or name.startswith(f"{path}/")]
        for name in moved:
            new[change["to"] + name[len(path) :]] = new.pop(name)
    return new


class Ledger:
    """What a worker has noted in the file *path*, on top of the *state* before it."""

    def __init__(self, path: Path, state: State) -> None:
        self.state, self.pending, self.error = dict(state), None, None
        self.acked = 0
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                said = json.loads(line)
            except ValueError:
                break  # the worker was killed while it wrote its last line
            if "op" in said:
                self.pending = said
            elif "error" in said:
                self.error = said["error"]
            elif self.pending is not None:
                self.state, self.pending = applied(self.state, self.pending), None
                self.acked += 1

    pending: dict[str, Any] | None
    error: list[Any] | None

    def under_way(self) -> dict[str, bytes]:
        """Return the bytes that a file was to have, by its path, where the change under way gives it new ones."""
        if self.pending is None or "seed" not in self.pending:
            return {}
        path = self.pending["path"]
        return {path: applied(self.state, self.pending)[path] or b""}

    def explains(self, actual: State, *, partly: bool) -> bool:
        """Tell whether *actual* is what was acknowledged, with the change under way done wholly or not at all.

        *partly*: the worker, or an orderly end of the mount, has closed its file before all was written.
        """
        if actual == self.state:
            return True
        if self.pending is None:
            return False
        after = applied(self.state, self.pending)
        if actual == after:
            return True
        path = self.pending["path"]
        wanted, got = after.get(path), actual.get(path)
        is_part = partly and wanted is not None and got is not None and wanted.startswith(got)
        return is_part and {**actual, path: None} == {**after, path: None}

    def difference(self, actual: State) -> str:
        """Say how *actual* differs from what was acknowledged."""
        names = [name for name in {**actual, **self.state} if actual.get(name, 0) != self.state.get(name, 0)]
        told = [f"{name}: {_brief(self.state, name)} acknowledged, {_brief(actual, name)} found" for name in names]
        return "; ".join([*sorted(told), f"under way: {self.pending}", f"error: {self.error}"])


def _brief(state: State, name: str) -> str:
    if name not in state:
        return "nothing"
    data = state[name]
    return "a folder" if data is None else f"{len(data)} bytes ({data[:4].hex()}…)"


class Worker:
    """Changes what is below *folder*, as chance (*seed*) will have it."""

    def __init__(self, folder: str, ledger: str, seed: int) -> None:
        self.folder, self.chance = folder, random.Random(seed)
        self.ledger = os.open(ledger, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def run(self) -> None:
        while True:
            change = self._next()
            self._note(change)
            try:
                getattr(self, change["op"])(change)
            except OSError as error:
                self._note({"error": [error.errno, str(error)]})
                return
            except subprocess.CalledProcessError as error:
                self._note({"error": [0, error.stderr.decode()]})
                return
            self._note({"ok": 1})

    def _note(self, said: dict[str, Any]) -> None:
        os.write(self.ledger, json.dumps(said).encode() + b"\n")

    def _next(self) -> dict[str, Any]:
        files, folders = [], []
        for place, inner, names in os.walk(self.folder, onerror=_raise):
            here = os.path.relpath(place, self.folder)
            files += [os.path.normpath(os.path.join(here, name)) for name in names]
            folders += [os.path.normpath(os.path.join(here, name)) for name in inner]
        new = os.path.normpath(os.path.join(self.chance.choice([".", *folders]), f"n{self.chance.randrange(10**6)}"))
        old = self.chance.choice(files) if files else None
        ops = ["write", "write", "cp", "mkdir"]
        if old is not None:
            ops += ["rewrite", "rewrite", "append", "append", "rename", "replace", "recopy"]
            ops += ["unlink"] * (8 if len(files) > _FILES else 1)
        if folders:
            ops += ["rmdir"] * (3 if len(folders) > 3 else 1) + ["rename_folder"]
        return self._change(self.chance.choice(ops), new, old, files, folders)

    def _change(self, op: str, new: str, old: str | None, files: list[str], folders: list[str]) -> dict[str, Any]:
        size = self.chance.randrange(_LARGE if self.chance.random() < 0.15 else _SMALL)
        made = {"seed": self.chance.randrange(10**9), "size": size}
        if op in {"write", "cp"}:
            return {"op": op, "path": new, **made}
        if op in {"rewrite", "recopy"}:
            return {"op": "write" if op == "rewrite" else "cp", "path": old, **made}
        if op == "append":
            return {"op": op, "path": old, **made}
        if op == "replace":
            return {
                "op": "rename",
                "path": old,
                "to": self.chance.choice([name for name in files if name != old] or [new]),
            }
        if op == "rename":
            return {"op": op, "path": old, "to": new}
        if op in {"rmdir", "rename_folder"}:
            folder = self.chance.choice(folders)
            empty = not any(name.startswith(f"{folder}/") for name in [*files, *folders])
            if op == "rmdir" and empty:
                return {"op": "rmdir", "path": folder}
            return {"op": "rename", "path": folder, "to": f"n{self.chance.randrange(10**6)}"}
        return {"op": op, "path": old if op == "unlink" else new}

    def _at(self, path: str) -> str:
        return os.path.join(self.folder, path)

    def write(self, change: dict[str, Any]) -> None:
        self._write(change, os.O_CREAT | os.O_TRUNC)

    def append(self, change: dict[str, Any]) -> None:
        self._write(change, os.O_APPEND)

    def _write(self, change: dict[str, Any], flags: int) -> None:
        data, step = memoryview(content(change["seed"], change["size"])), self.chance.choice([999, _PIECE, _LARGE])
        descriptor = os.open(self._at(change["path"]), os.O_WRONLY | flags)
        try:
            for start in range(0, len(data), max(step, len(data) // 20 + 1)):
                piece = data[start : start + max(step, len(data) // 20 + 1)]
                while piece:
                    piece = piece[os.write(descriptor, piece) :]
            if self.chance.random() < 0.2:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def cp(self, change: dict[str, Any]) -> None:
        with tempfile.NamedTemporaryFile() as source:
            source.write(content(change["seed"], change["size"]))
            source.flush()
            subprocess.run(["cp", source.name, self._at(change["path"])], check=True, capture_output=True)

    def rename(self, change: dict[str, Any]) -> None:
        os.rename(self._at(change["path"]), self._at(change["to"]))

    def unlink(self, change: dict[str, Any]) -> None:
        os.unlink(self._at(change["path"]))

    def mkdir(self, change: dict[str, Any]) -> None:
        os.mkdir(self._at(change["path"]))

    def rmdir(self, change: dict[str, Any]) -> None:
        os.rmdir(self._at(change["path"]))


if __name__ == "__main__":
    try:
        Worker(sys.argv[1], sys.argv[2], int(sys.argv[3])).run()
    except OSError as error:  # looking around met the end of the mount: nothing was under way
        print(error)
