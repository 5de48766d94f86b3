"""Text as it can be shown to people: nothing in it moves a terminal's cursor."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return *text* with every character that is not printable as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def count(number: int, noun: str) -> str:
    """Return *number* with *noun* in the singular or the plural: `1 event`, `2 events`, `2 entries`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("ry") else f"{number} {noun}s"
