"""The mount's own README."""

TEXT = """\
llmspellfs: agent sessions as directories, artifacts as files

sessions/NAME/            a session; mkdir creates one, mv renames it, rmdir deletes it
sessions/NAME/FILE        an artifact: cp, cat, >>, vim, mv, rm, ln -s, folders
sessions/NAME/.session/   listed only with -o show_session, always there:
    status                echo suspended|active|completed > status; echo 'failed: why' > status
    name description tags parent id        one value each (tags: one a line; parent: a session's name or id)
    session.json          the session as JSON; write it back to change name, description, tags, metadata, parent
    artifacts/FILE.json   an artifact's metadata as JSON; write it back to change type, tags, custom, ...
    events.jsonl          the audit trail; each line has the BLAKE3 of the line before
    children/NAME         symlinks to child sessions; mkdir here creates one
    checkpoints/N/...     the session as it was at its Nth save (llmspellfs session save NAME), read-only
    at/SEQ/... at/TIME/...  the session as it was then: ls at; ls at/12 at/2h at/2026-11-21 at/2026-11-21T19:26Z
    versions/FILE/N       each content that FILE has had, oldest 1
by-id/ID  by-status/STATUS/NAME  by-tag/TAG/{sessions,artifacts}/NAME  by-type/TYPE/NAME/FILE   symlinks
search/QUERY/NAME/FILE    any query, for example: ls 'search/type:tool_result size:>10k created:>2026-01-01'
                          A "/" in a tag, a query or a session's name is %2F.

A session that is suspended, completed or failed is frozen: its files are read-only (EROFS); its tags are not.
Metadata are extended attributes too: getfattr -d FILE; setfattr -n user.author -v jane FILE;
user.llmspell.type, .mime_type, .description, .tags can be set; .id, .hash, .version, .size, ... are read by name.
close() returns when what was written is committed; fsync() when it survives power loss. What could not be
committed is in `llmspellfs lost`. There are no hard links, devices or FIFOs.
"""
