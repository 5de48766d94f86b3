"""Text as it can be shown to people: nothing in it moves a terminal's cursor."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return *text* with every character that is not printable as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
