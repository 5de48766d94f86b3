"""How words of the command line become the service's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from llmspellfs.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

F = TypeVar("F", bound="Callable[..., Any]")


class IntRange(click.IntRange):
    """Whole numbers within bounds, called so where something else is given."""

    name = "whole number"


class FloatRange(click.FloatRange):
    """Numbers within bounds, called so where something else is given."""

    name = "number"


def bound(text: str) -> str | float:
    """Return the time *text*: epoch seconds as a number, anything else as it is for the service to read."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def size(text: str) -> int:
    """Return the bytes that *text* says as the query language does: `300`, `10k`, `1.5M`, `2G`."""
    from llmspellfs.model.query_values import read_size

    try:
        return read_size("=", text).low or 0
    except InvalidValue as error:
        raise click.BadParameter(error.message) from None


def age(text: str) -> int:
    """Return the nanoseconds of an age such as `30m`, `2h` or `7d`."""
    from llmspellfs.model.times import parse_age

    found = parse_age(text)
    if found is None:
        raise click.BadParameter(f"expected an age such as 2h or 7d, not {text!r}")
    return found


def parse_metadata(pairs: Iterable[str]) -> dict[str, Any] | None:
    """Return the object that `KEY=VALUE` words say, or None where there are none.

    A value that is JSON is taken as such, anything else as text. Raises click.BadParameter at a word
    without `=`.
    """
    from llmspellfs.model.values import parse_json

    metadata: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"expected KEY=VALUE, not {pair!r}", param_hint="'--meta'")
        try:
            metadata[key] = parse_json(text, key)
        except InvalidValue:
            metadata[key] = text
    return metadata or None


def parse_options(words: Iterable[str]) -> dict[str, str]:
    """Return the mount options that `-o a=b,c` words say, in the order in which each was said last.

    One without a value has the empty text.
    """
    options: dict[str, str] = {}
    for word in ",".join(words).split(","):
        if word:
            key, _, value = word.partition("=")
            options.pop(key, None)
            options[key] = value
    return options


def page_options(command: F) -> F:
    """Add `--limit`, `--offset`, `--sort` and `--desc`."""
    for option in (
        click.option("--desc", is_flag=True, help="The other way round."),
        click.option("--sort", metavar="FIELD", help="Order by this field."),
        click.option("--offset", type=IntRange(0), default=0, metavar="N", help="Leave out the first N."),
        click.option("--limit", type=IntRange(0), metavar="N", help="At most N."),
    ):
        command = option(command)
    return command


def time_options(command: F) -> F:
    """Add `--created-after` and its three kin."""
    for field in ("updated", "created"):
        for side in ("before", "after"):
            option = click.option(f"--{field}-{side}", type=bound, metavar="TIME", help=f"{field.title()} {side}.")
            command = option(command)
    return command


def order(sort: str | None, desc: bool) -> dict[str, Any]:
    """Return the service's words for `--sort` and `--desc`; its own order where no field is named."""
    words = {"order": "desc" if desc else "asc"}
    return {"sort_by": sort, **words} if sort else words
