"""text-manipulator: what is often done to text, by its characters and not its bytes; patterns run in the child."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from llmspellfs.errors import InvalidValue
from llmspellfs.tools.tool import Parameter, Tool

MAX_RESULT = 1 << 26
"""Characters of a result at most."""
MAX_MATCHES = 100_000


@dataclass(frozen=True, slots=True)
class _Given:
    """The parameters of a call."""

    text: str
    find: str | None
    replacement: str
    separator: str | None
    times: int | None
    width: int | None
    fill: str
    ignore_case: bool

    def needs_find(self) -> str:
        """Return what is looked for; raise InvalidValue where it is not given."""
        if not self.find:
            raise InvalidValue("find", "expected a string that is not empty")
        return self.find

    def needs_width(self) -> int:
        """Return the width; raise InvalidValue where it is not given."""
        if self.width is None:
            raise InvalidValue("width", "expected a number of characters, not nothing")
        return self.width

    def pattern(self) -> re.Pattern[str]:
        """Return the regular expression that is looked for; raise InvalidValue where it is none."""
        try:
            return re.compile(self.needs_find(), re.IGNORECASE if self.ignore_case else 0)
        except (re.error, OverflowError, RecursionError) as error:
            raise InvalidValue("find", f"not a regular expression: {error}") from None


def run(*, operation: str, input: str, **options: object) -> object:
    """Return what *operation* makes of *input*; raise InvalidValue where an option is missing or too large."""
    return _OPERATIONS[operation](_Given(input, **options))  # type: ignore[arg-type]  # held against the parameters


def _bounded(size: int) -> None:
    if size > MAX_RESULT:
        raise InvalidValue("input", f"the result would have more than {MAX_RESULT} characters")


def _replaced(given: _Given) -> str:
    find = given.needs_find()
    found = given.text.count(find)
    _bounded(len(given.text) + found * (len(given.replacement) - len(find)))
    return given.text.replace(find, given.replacement)


def _pattern_replaced(given: _Given) -> str:
    parts, size, end = [], 0, 0
    try:
        for match in given.pattern().finditer(given.text):
            parts += [given.text[end : match.start()], match.expand(given.replacement)]
            size, end = size + len(parts[-2]) + len(parts[-1]), match.end()
            _bounded(size)
    except (re.error, IndexError) as error:
        raise InvalidValue("replacement", str(error)) from None
    return "".join((*parts, given.text[end:]))


def _matches(given: _Given) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for match in given.pattern().finditer(given.text):
        if len(found) == MAX_MATCHES:
            raise InvalidValue("input", f"more than {MAX_MATCHES} matches")
        groups = [group or "" for group in match.groups()]
        found.append({"text": match.group(), "start": match.start() + 1, "stop": match.end(), "groups": groups})
    return found


def _repeated(given: _Given) -> str:
    if given.times is None:
        raise InvalidValue("times", "expected a whole number, not nothing")
    separator = given.separator or ""
    _bounded((len(given.text) + len(separator)) * given.times)
    return separator.join([given.text] * given.times)


def _split(given: _Given) -> list[str]:
    if given.separator == "":
        raise InvalidValue("separator", "expected a string that is not empty")
    return given.text.split(given.separator)


def _padded(given: _Given, side: str) -> str:
    width = given.needs_width()
    _bounded(width)
    if len(given.fill) != 1:
        raise InvalidValue("fill", f"expected one character, not {given.fill[:20]!r}")
    return given.text.ljust(width, given.fill) if side == "right" else given.text.rjust(width, given.fill)


def _truncated(given: _Given) -> str:
    width = given.needs_width()
    if len(given.text) <= width:
        return given.text
    return f"{given.text[: width - 1]}…" if width else ""


def _wrapped(given: _Given) -> str:
    width = given.needs_width()
    if width < 1:
        raise InvalidValue("width", f"expected 1 or more, not {width}")
    return "\n".join("\n".join(textwrap.wrap(line, width)) for line in given.text.split("\n"))


def _slug(given: _Given) -> str:
    plain = unicodedata.normalize("NFKD", given.text).encode("ascii", "ignore").decode().lower()
    return "-".join(re.findall(r"[a-z0-9]+", plain))


def _counted(given: _Given) -> dict[str, int]:
    text = given.text
    lines = text.count("\n") + (not text.endswith("\n") and text != "")
    return {
        "characters": len(text), "bytes": len(text.encode("utf-8", "surrogateescape")),
        "words": len(text.split()), "lines": lines,
    }  # fmt: skip


_OPERATIONS: dict[str, Callable[[_Given], object]] = {
    "upper": lambda given: given.text.upper(),
    "lower": lambda given: given.text.lower(),
    "title": lambda given: given.text.title(),
    "capitalize": lambda given: given.text.capitalize(),
    "trim": lambda given: given.text.strip(),
    "reverse": lambda given: given.text[::-1],
    "slug": _slug,
    "dedent": lambda given: textwrap.dedent(given.text),
    "count": _counted,
    "lines": lambda given: given.text.removesuffix("\n").split("\n") if given.text else [],
    "split": _split,
    "replace": _replaced,
    "repeat": _repeated,
    "pad_left": lambda given: _padded(given, "left"),
    "pad_right": lambda given: _padded(given, "right"),
    "truncate": _truncated,
    "wrap": _wrapped,
    "match": _matches,
    "replace_pattern": _pattern_replaced,
}

TOOL = Tool(
    "change, cut, count and search text; patterns are Python's regular expressions",
    run,
    (
        Parameter("operation", "string", "what to do", required=True, choices=tuple(_OPERATIONS)),
        Parameter("input", "string", "the text", required=True),
        Parameter("find", "string", "replace: the text, match and replace_pattern: the pattern, to look for"),
        Parameter("replacement", "string", "replace, replace_pattern: what comes in its place", default=""),
        Parameter("separator", "string", "split: cut here, else at white space; repeat: put between"),
        Parameter("times", "integer", "repeat: how often", minimum=0, maximum=MAX_RESULT),
        Parameter("width", "integer", "pad, truncate, wrap: characters", minimum=0),
        Parameter("fill", "string", "pad: with this character", default=" "),
        Parameter("ignore_case", "boolean", "match, replace_pattern: upper case is lower case", default=False),
    ),
    isolated=frozenset({"match", "replace_pattern"}),
)
