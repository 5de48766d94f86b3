"""date-time-handler: times read (python-dateutil), written, moved and compared, in the zones of the IANA database.

A time without a zone is in `zone`, else in UTC. Days, weeks, months and years move the date that a calendar there
shows; hours, minutes and seconds are time that passes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from llmspellfs.errors import InvalidValue
from llmspellfs.model.values import Json
from llmspellfs.tools.tool import Parameter, Tool

MAX_FORMAT = 1024
"""Characters of a format."""
MAX_TEXT = 100
"""Characters of a time."""
_DEFAULTS = (datetime(2000, 1, 1), datetime(2004, 2, 2))  # noqa: DTZ001  the zone is added later
_CALENDAR = ("years", "months", "weeks", "days")
_PASSING = ("hours", "minutes", "seconds")
_OPERATIONS = ("now", "parse", "format", "convert", "add", "diff")


def run(
    *, operation: str, input: Json, other: Json, zone: str | None, format: str | None, day_first: bool, **amounts: float
) -> object:
    """Do *operation*; times come as ISO 8601, other usual text or epoch seconds, and go as ISO 8601."""
    place = _zone(zone)
    if operation == "now":
        return _written(datetime.now(place or UTC), format)
    moment = _moment(input, "input", place, day_first)
    if operation == "parse":
        return _parts(moment)
    if operation == "diff":
        return _difference(moment, _moment(other, "other", place, day_first))
    if operation == "add":
        moment = _moved(moment, amounts)
    if operation == "format" and format is None:
        raise InvalidValue("format", "expected one of strftime, such as %d.%m.%Y, not nothing")
    return _written(moment, format)


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    if name.upper() in {"UTC", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidValue("zone", f"expected one such as Europe/Berlin or UTC, not {name[:80]!r}") from None


def _moment(value: Json, where: str, place: tzinfo | None, day_first: bool) -> datetime:
    """Return the time *value* in *place*, or in its own zone where that is None."""
    try:
        found = _read(value, where, day_first)
        zoned = found if found.tzinfo else found.replace(tzinfo=place or UTC)
        return zoned.astimezone(place or zoned.tzinfo)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidValue(where, f"not a time: {error}"[:200]) from None


def _read(value: Json, where: str, day_first: bool) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    if not isinstance(value, str):
        raise InvalidValue(where, "expected a time as text, or epoch seconds")
    text = value.strip()
    if len(text) > MAX_TEXT or (text.isdigit() and len(text) != len("20261121")):
        raise InvalidValue(where, f"not a time: {text[:40]!r} (epoch seconds are a number)")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return _guessed(text, day_first)


def _guessed(text: str, day_first: bool) -> datetime:
    """Return the time that *text* means; raise ValueError where it leaves out a part of the date."""
    from dateutil import parser

    # What is left out is taken from the default: then two defaults give two dates.
    found: list[datetime] = [
        parser.parse(text, dayfirst=day_first, default=default, tzinfos=_named_zone) for default in _DEFAULTS
    ]
    if found[0] != found[1]:
        raise ValueError(f"{text!r} has no whole date")
    return found[0]


def _named_zone(name: str | None, offset: int | None) -> tzinfo | int | None:
    """Return the zone that a text names after its time; letters such as EST stand for several, or for none."""
    if offset is not None or name is None:
        return offset
    if name in {"UTC", "GMT", "Z"}:
        return UTC
    raise ValueError(f"unknown zone {name!r}; write an offset such as +01:00, or give zone")


def _parts(moment: datetime) -> dict[str, object]:
    offset = moment.utcoffset() or timedelta()
    year, week, weekday = moment.isocalendar()
    return {
        "iso": _written(moment, None), "utc": _written(moment.astimezone(UTC), None), "epoch": _epoch(moment),
        "year": moment.year, "month": moment.month, "day": moment.day, "hour": moment.hour, "minute": moment.minute,
        "second": moment.second, "microsecond": moment.microsecond, "weekday": weekday, "week": week,
        "week_year": year, "day_of_year": moment.timetuple().tm_yday, "offset_seconds": int(offset.total_seconds()),
        "zone": moment.tzname(),
    }  # fmt: skip


def _epoch(moment: datetime) -> float:
    seconds = moment.timestamp()
    return int(seconds) if seconds.is_integer() else seconds


def _moved(moment: datetime, amounts: dict[str, float]) -> datetime:
    from dateutil.relativedelta import relativedelta

    try:
        passing = timedelta(**{name: amounts[name] for name in _PASSING})
        calendar = relativedelta(**{name: int(amounts[name]) for name in _CALENDAR})
        there: datetime = moment + calendar
        return (there.astimezone(UTC) + passing).astimezone(moment.tzinfo)
    except (OverflowError, ValueError) as error:
        raise InvalidValue("input", f"beyond the years 1 to 9999: {error}") from None


def _difference(moment: datetime, other: datetime) -> dict[str, object]:
    """Return the time from *moment* to *other*, whole and in parts; negative where *other* is before."""
    between = other.astimezone(UTC) - moment.astimezone(UTC)
    seconds = between.total_seconds()
    rest = abs(between)
    hours, minutes = divmod(rest.seconds // 60, 60)
    return {
        "seconds": int(seconds) if seconds.is_integer() else seconds, "negative": seconds < 0, "days": rest.days,
        "hours": hours, "minutes": minutes, "remaining_seconds": rest.seconds % 60 + rest.microseconds / 1e6,
    }  # fmt: skip


def _written(moment: datetime, format: str | None) -> str:
    if format is None:
        text = moment.isoformat()
        return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
    if len(format) > MAX_FORMAT:
        raise InvalidValue("format", f"expected {MAX_FORMAT} characters at most")
    try:
        return moment.strftime(format)
    except ValueError as error:
        raise InvalidValue("format", str(error)) from None


def _amount(name: str) -> Parameter:
    kind = "number" if name in _PASSING else "integer"
    return Parameter(name, kind, f"add: so many {name}; negative is back", default=0)  # type: ignore[arg-type]


TOOL = Tool(
    "read, write, convert, add to and compare dates and times, in any zone",
    run,
    (
        Parameter("operation", "string", "what to do", required=True, choices=_OPERATIONS),
        Parameter("input", "any", "the time: ISO 8601, other usual text, or epoch seconds"),
        Parameter("other", "any", "diff: the time to which it is"),
        Parameter("zone", "string", "an IANA zone: of times that name none, and of the result"),
        Parameter("format", "string", "the result as of strftime; else ISO 8601"),
        Parameter("day_first", "boolean", "01/02/2026 is the first of February", default=False),
        *(_amount(name) for name in (*_CALENDAR, *_PASSING)),
    ),
)
