"""What each function of `Session` and `Artifact` takes: the one declaration that arguments are read and tested by."""

from __future__ import annotations

from functools import partial
from typing import Final

from llmspellfs.lua.kinds import Argument, Kind

_optional = partial(Argument, required=False)
_SESSION: Final = Argument("session", Kind.SESSION)
_ARTIFACT: Final = Argument("artifact", Kind.ARTIFACT)
_ITEMS: Final = Argument("items", Kind.LIST)


def _text(*names: str) -> Argument:
    return _optional(names[0], Kind.TEXT, aliases=names[1:])


def _table(name: str, *fields: Argument, required: bool = False, is_open: bool = False) -> Argument:
    return Argument(name, Kind.TABLE, required, fields=fields, is_open=is_open)


_POINT_FIELDS: Final = (
    _optional("checkpoint", Kind.COUNT), _optional("seq", Kind.COUNT), _optional("time", Kind.TIME),
)  # fmt: skip
_TAGS: Final = _optional("tags", Kind.TEXTS)
_TAG: Final = Argument("tag", Kind.TAGS, aliases=("tags",))
_TIMES: Final = tuple(
    _optional(f"{what}_{side}", Kind.TIME) for what in ("created", "updated") for side in ("after", "before")
)
_PAGE: Final = (_optional("limit", Kind.COUNT), _optional("offset", Kind.COUNT))
_ORDER: Final = (_text("sort_by"), _text("order"))
_PARENT: Final = _optional("parent_session_id", Kind.PARENT, aliases=("parent",))
_FACTS: Final = (_text("name"), _text("description"), _TAGS)
_METADATA: Final = _optional("metadata", Kind.OBJECT, aliases=("custom_metadata",))
_LIFTED: Final = (_text("mime_type"), _text("description"), _TAGS, _optional("custom", Kind.JSON))
_ABOUT: Final = _table("metadata", *_LIFTED, is_open=True)


def _point(name: str, *, required: bool = False) -> Argument:
    return Argument(name, Kind.POINT, required, fields=_POINT_FIELDS)


SIGNATURES: Final[dict[str, tuple[Argument, ...]]] = {
    "Session.create": (_table("fields", *_FACTS, _METADATA, _PARENT, _text("created_by")),),
    "Session.create_many": (_ITEMS,),
    "Session.get": (_SESSION,),
    "Session.list": (
        _optional("filter", Kind.FILTER, fields=(
            _text("query"), _text("status"), _TAGS, _text("name_pattern"), _text("search"),
            _text("parent_session_id", "parent"), *_TIMES, *_PAGE, *_ORDER, _optional("deleted", Kind.FLAG),
        )),
    ),
    "Session.update": (_SESSION, _table("changes", *_FACTS, _METADATA, _PARENT, required=True)),
    "Session.suspend": (_SESSION,),
    "Session.resume": (_SESSION,),
    "Session.complete": (_SESSION,),
    "Session.fail": (_SESSION, _text("reason")),
    "Session.save": (_SESSION, _text("label")),
    "Session.load": (_SESSION,),
    "Session.delete": (_SESSION,),
    "Session.restore": (_SESSION,),
    "Session.set_current": (Argument("session", Kind.ANY_SESSION),),
    "Session.get_current": (),
    "Session.get_tags": (_SESSION,),
    "Session.set_tags": (_SESSION, Argument("tags", Kind.TEXTS)),
    "Session.add_tag": (_SESSION, _TAG),
    "Session.remove_tag": (_SESSION, _TAG),
    "Session.builder": (),
    "Session.children": (_SESSION,),
    "Session.path": (_SESSION,),
    "Session.events": (
        _SESSION,
        _table(
            "options", _optional("kinds", Kind.TEXTS), *(_optional(name, Kind.COUNT) for name in (
                "after", "before", "from", "to", "limit",
            )), *_TIMES[:2],
        ),
    ),
    "Session.checkpoints": (_SESSION,),
    "Session.diff": (
        _SESSION,
        _table(
            "options", _point("from"), _point("to"), _optional("other", Kind.SESSION), _optional("text", Kind.FLAG)
        ),
    ),
    "Session.fork": (
        _SESSION, Argument("name", Kind.TEXT), _table("options", _point("at"), _text("created_by")),
    ),
    "Session.rollback": (_SESSION, _point("to", required=True)),
    "Artifact.store": (
        _SESSION, _text("type"), Argument("name", Kind.TEXT), Argument("content", Kind.CONTENT), _ABOUT,
    ),
    "Artifact.store_file": (_SESSION, Argument("path", Kind.PATH), _text("type"), _ABOUT),
    "Artifact.store_many": (_SESSION, _ITEMS),
    "Artifact.get": (_SESSION, _ARTIFACT),
    "Artifact.get_content": (_SESSION, _ARTIFACT, _optional("offset", Kind.COUNT), _optional("length", Kind.COUNT)),
    "Artifact.list": (Argument("session", Kind.ANY_SESSION), _table("options", *_PAGE)),
    "Artifact.query": (
        _optional("filter", Kind.FILTER, fields=(
            _text("query"), _optional("session_id", Kind.SESSION, aliases=("session",)),
            _text("type", "artifact_type"), _TAGS, _text("name_pattern"), *_TIMES, _optional("min_size", Kind.COUNT),
            _optional("max_size", Kind.COUNT), *_PAGE, *_ORDER,
        )),
    ),
    "Artifact.search": (
        Argument("query", Kind.TEXT),
        _table("options", _optional("session_id", Kind.SESSION, aliases=("session",)), *_PAGE, *_ORDER),
    ),
    "Artifact.delete": (_SESSION, _ARTIFACT),
    "Artifact.restore": (_SESSION, _ARTIFACT, _table("options", _text("name"))),
    "Artifact.update": (
        _SESSION, _ARTIFACT,
        _table(
            "changes", _text("name"), _text("artifact_type", "type"), *_LIFTED, _ABOUT, required=True, is_open=True
        ),
    ),
    "Artifact.exists": (_SESSION, _ARTIFACT),
    "Artifact.versions": (_SESSION, _ARTIFACT),
    "Artifact.save_to_file": (_SESSION, _ARTIFACT, Argument("path", Kind.PATH)),
}  # fmt: skip
"""By the names of the functions as words with underscores."""

_SCOPE: Final = _text("scope")
_KEY: Final = Argument("key", Kind.TEXT)
STATE: Final[dict[str, tuple[Argument, ...]]] = {
    "get": (_SCOPE, _KEY),
    "set": (_SCOPE, _KEY, Argument("value", Kind.VALUE)),
    "delete": (_SCOPE, _KEY),
    "update": (_SCOPE, _KEY),
    "list_keys": (_SCOPE,),
}
"""What the functions of `State` take with a scope; without one all but the last are called with an argument less."""

EVENT: Final[dict[str, tuple[Argument, ...]]] = {
    "publish": (Argument("name", Kind.TEXT), _optional("payload", Kind.JSON)),
    "subscribe": (Argument("pattern", Kind.TEXT),),
}
"""What the functions of `Event` take, those that take one thing at one place only."""

REPLAY: Final[dict[str, tuple[Argument, ...]]] = {
    "Session.replay": (
        _SESSION,
        _table(
            "options", _text("mode"), _optional("from", Kind.COUNT), _optional("to", Kind.COUNT),
            _optional("checkpoint", Kind.COUNT), _optional("compare_results", Kind.FLAG),
            _optional("timeout_seconds", Kind.SECONDS), _optional("stop_on_error", Kind.FLAG), _text("name"),
            _optional("on_progress", Kind.FUNCTION),
        ),
    ),
    "Session.can_replay": (_SESSION,),
    "Session.get_replay_metadata": (_SESSION,),
    "Session.list_replayable": (),
    "Session.get_timeline": (_SESSION, _table("options", _optional("kinds", Kind.TEXTS))),
    "Artifact.lineage": (_SESSION, _ARTIFACT),
}  # fmt: skip
"""What the functions of replay and of lineage take."""

BUILDER: Final[dict[str, tuple[Argument, ...]]] = {
    "name": (Argument("name", Kind.TEXT),),
    "description": (Argument("description", Kind.TEXT),),
    "tag": (Argument("tag", Kind.TEXT),),
    "tags": (Argument("tags", Kind.TEXTS),),
    "metadata": (Argument("metadata", Kind.OBJECT),),
    "parent": (_SESSION,),
}
"""What the methods of `Session.builder()` take."""
