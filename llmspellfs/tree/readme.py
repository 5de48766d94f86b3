"""The mount's own README."""

TEXT = """\
llmspellfs: agent sessions as directories, artifacts as files

sessions/NAME/            a session; mkdir creates one, mv renames it, rmdir deletes it
sessions/NAME/FILE        an artifact: cp, cat, >>, vim, mv, rm, ln -s, folders
sessions/NAME/.session/   never listed, always there:
    status                echo suspended|active|completed > status; echo 'failed: why' > status
    name description tags parent id          one value each (tags: one a line)
    session.json          the session as JSON; write it back to change name, description, tags, metadata, parent
    artifacts/FILE.json   an artifact's metadata as JSON; write it back to change type, tags, custom, ...
    events.jsonl          the audit trail; each line has the BLAKE3 of the line before
by-id/ID  by-status/STATUS/NAME  by-tag/TAG/...  by-type/TYPE/NAME/FILE     symlinks into sessions/
search/QUERY/NAME/FILE    any query, for example: ls 'search/type:tool_result size:>10k created:>2026-01-01'

A session that is suspended, completed or failed is frozen: its files are read-only (EROFS); its tags are not.
Metadata are extended attributes too: getfattr -d FILE; setfattr -n user.author -v jane FILE;
user.llmspell.type, .mime_type, .description, .tags can be set; .id, .hash, .version, .size, ... are read by name.
close() returns when what was written is committed; fsync() when it survives power loss.
"""
