"""The names of the steps to the disk, and the calls that would go round them, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "llmspellfs"
ROOMS = ("storage", "service", "tree", "fuse")
ELSEWHERE = {
    "service/outgoing.py": "writes where the user asked it to",
    "fuse/log.py": "the log, of which nothing is promised",
    "storage/image.py": "copies the index of a store that cannot be written to a folder of its own",
    "storage/read_only.py": "commits to that copy alone",
    "storage/disk.py": "the place itself",
    "storage/faults.py": "the trace of a test",
}
_OS = {
    "rename", "replace", "renames", "unlink", "remove", "removedirs", "write", "pwrite", "writev", "pwritev", "fsync",
    "fdatasync", "link", "symlink", "rmdir", "mkdir", "makedirs", "ftruncate", "truncate", "fchmod", "chmod", "utime",
    "copy_file_range", "sendfile", "posix_fallocate", "mkfifo", "mknod", "setxattr", "chown", "fchown",
}  # fmt: skip
_PATH = {"write_bytes": 1, "write_text": 1, "touch": 0, "unlink": 0, "rmdir": 0, "mkdir": 0, "symlink_to": 1}
"""Methods of a path, and how many arguments they take by place: others of these names take more."""
_PRAGMAS = ("wal_checkpoint", "journal_mode = WAL", "user_version =")
_SQL = ("COMMIT", "BEGIN IMMEDIATE", "VACUUM", *(f"PRAGMA {name}" for name in _PRAGMAS))
_PARTS = {"write_file": (".create", ".write", ".fsync", ".undo")}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield the name and the syntax of each module that may touch a store's folder."""
    for room in ROOMS:
        for path in sorted((PACKAGE / room).glob("*.py")):
            yield f"{room}/{path.name}", ast.parse(path.read_text())


def _calls(module: ast.Module) -> Iterator[tuple[str, str, ast.Call]]:
    """Yield each call of an attribute: of what (a name, or nothing), which, and the call."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            yield owner.id if isinstance(owner, ast.Name) else "", node.func.attr, node


def registry() -> dict[str, str]:
    """Return the name of each step, and the module that takes it."""
    found: dict[str, str] = {}
    for name, module in modules():
        for owner, call, node in _calls(module):
            if owner != "disk" or not node.args:
                continue
            for step in _constants(node.args[0]):
                found |= {step + part: name for part in _PARTS.get(call, ("",))}
    return found


def _constants(node: ast.expr) -> list[str]:
    branches = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
    return [one.value for one in branches if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def strays(name: str, module: ast.Module) -> list[str]:
    """Return the calls of *module* that go to the disk by themselves."""
    if name in ELSEWHERE:
        return []
    found = [(node, f"{owner}.{call}") for owner, call, node in _calls(module) if _strays(owner, call, node)]
    found += [(node, "open") for node in ast.walk(module) if isinstance(node, ast.Call) and _writes(node)]
    return [f"{name}:{node.lineno} {what}" for node, what in found]


def _strays(owner: str, call: str, node: ast.Call) -> bool:
    if owner == "disk":
        return False
    if owner == "os":
        return call in _OS or (call == "open" and any("O_CREAT" in ast.dump(one) for one in node.args))
    if owner == "shutil":
        return call != "rmtree"  # of what has never had its name
    if call in _PATH:
        return len(node.args) <= _PATH[call]
    return call in {"execute", "executescript"} and bool(node.args) and _goes_to_disk(node.args[0])


def _goes_to_disk(text: ast.expr) -> bool:
    first = text.values[0] if isinstance(text, ast.JoinedStr) else text
    return isinstance(first, ast.Constant) and str(first.value).lstrip().startswith(_SQL)


def _writes(node: ast.Call) -> bool:
    """Say whether *node* is `open(…, "wb")` or the like."""
    if not isinstance(node.func, ast.Name) or node.func.id != "open":
        return False
    modes = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "mode")]
    return any(isinstance(mode, ast.Constant) and set(str(mode.value)) & set("wax+") for mode in modes)
