"""What may be a name: of an entry, of an artifact (a path in its session), of a session's directory, in a view."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import count

from llmspellfs.errors import InvalidName, NameNotText, NameTooLong

MAX_COMPONENT = 255
"""Bytes of one component, Linux's NAME_MAX."""
MAX_PATH = 4095
"""Bytes of a whole path, Linux's PATH_MAX without the terminating NUL."""
CONTROL = ".session"
"""The control directory at the top of each session; nobody else may have the name there."""

_VIEW_ESCAPES = re.compile(r"%(2F|25)")
_MUST_ESCAPE = re.compile(r"%(?=2F|25)")


def check_component(name: str) -> str:
    """Return *name* if it can be one component of a path; raise InvalidName, NameTooLong or NameNotText."""
    if not name or name in {".", ".."}:
        raise InvalidName(name, "expected a name")
    if "/" in name or "\0" in name:
        raise InvalidName(name, "a component holds no slash and no NUL")
    if len(_utf8(name)) > MAX_COMPONENT:
        raise NameTooLong(name[:40] + "…", f"more than {MAX_COMPONENT} bytes")
    return name


def is_component(name: str) -> bool:
    """Tell whether *name* can be one component of a path."""
    try:
        check_component(name)
    except InvalidName:
        return False
    return True


def split_path(path: str) -> tuple[str, ...]:
    """Return the components of an artifact's name; raise InvalidName where it is no path inside a session."""
    if not isinstance(path, str):
        raise InvalidName(path, "expected text")
    size = len(_utf8(path))
    if size > MAX_PATH:
        raise NameTooLong(path[:40] + "…", f"more than {MAX_PATH} bytes")
    parts = tuple(path.split("/"))
    if "" in parts or "." in parts or ".." in parts:
        raise InvalidName(path, "expected a path without empty, '.' or '..' parts")
    if size > MAX_COMPONENT or "\0" in path:
        for part in parts:
            check_component(part)
    if parts[0] == CONTROL:
        raise InvalidName(path, f"{CONTROL} is reserved")
    return parts


def view_name(text: str) -> str:
    """Return *text* (a tag, a query, a session's name) as one path component, reversibly: "/" becomes `%2F`."""
    return _MUST_ESCAPE.sub("%25", text).replace("/", "%2F")


def from_view_name(component: str) -> str:
    """Return the text that `view_name` made *component* of."""
    return _VIEW_ESCAPES.sub(lambda match: "/" if match[1] == "2F" else "%", component)


def dirname_for(name: str, is_taken: Callable[[str], bool]) -> str:
    """Return the directory name of a session called *name*: the first of its candidates that is not taken."""
    return next(candidate for candidate in dirnames(name) if not is_taken(candidate))


def dirnames(name: str) -> Iterator[str]:
    """Yield what a session called *name* may have for a directory name, best first; raise InvalidName.

    That is the name itself, then with `~2`, `~3`… behind it.
    """
    base = view_name(name)
    if base in {".", ".."}:
        base = base.replace(".", "%2E")
    if "\0" in base or not base:
        raise InvalidName(name, "expected a name" if not base else "a name holds no NUL")
    yield _cut(base, "")
    for number in count(2):
        yield _cut(base, f"~{number}")


def _cut(base: str, suffix: str) -> str:
    room = MAX_COMPONENT - len(suffix)
    raw = _utf8(base)
    return (base if len(raw) <= room else raw[:room].decode("utf-8", "ignore")) + suffix


def _utf8(name: str) -> bytes:
    try:
        return name.encode("utf-8")
    except UnicodeEncodeError:
        raise NameNotText(ascii(name), "not UTF-8") from None
