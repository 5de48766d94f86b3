"""The index's schema: the authority on what each table and column means, by the migration that made it.

Rows of `session_row` and `entry` are valid from one `seq` of their session to before another; `seq_to` null is live.
An entry with `seq_from` null is a draft: live for every door, committed, and in no past yet, since the handle that
writes it is open; the live row it replaces has `seq_to` = SUPERSEDED until the draft is sealed with its event.
"""

from __future__ import annotations

SUPERSEDED = (1 << 63) - 1
"""The `seq_to` of a row that a draft stands in for: not live, and still the newest in every past."""
FIRST_INO = 1 << 10
"""Inode numbers below are the mount's own fixed nodes."""

FIRST = """
CREATE TABLE store (
    key TEXT PRIMARY KEY,               -- 'uuid', 'created_ns', 'next_ino', 'indexed_eid' (full text), 'synced_ns',
                                        -- 'listed_ns' (when a session's directory name last came, went or changed),
                                        -- 'retained_ns', 'collected_ns' (when rules of retention, gc last ran),
                                        -- 'given_up' (events that the index has lost, and gc no longer waits for),
                                        -- 'scrub' (how far the scrub is, as JSON), 'stale' (see storage/stale.py)
    value
) WITHOUT ROWID;

CREATE TABLE session (                  -- what a session has once; what changes with history is in session_row
    sid INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,            -- UUID version 4
    ino INTEGER NOT NULL UNIQUE,        -- of its top folder
    created_ns INTEGER NOT NULL,
    created_by TEXT,
    seq INTEGER NOT NULL,               -- of the last event
    head TEXT NOT NULL,                 -- BLAKE3 (hex) of the last event's line
    last_ns INTEGER NOT NULL,           -- the last event's time, `updated_at`; the next is never before it
    trail_size INTEGER NOT NULL,        -- bytes of all event lines with their newlines
    horizon_seq INTEGER NOT NULL,       -- nothing below is shown, except checkpoints
    next_sequence INTEGER NOT NULL,     -- for the next new artifact
    artifact_count INTEGER NOT NULL,    -- live files
    total_size INTEGER NOT NULL,        -- bytes of live files' content
    change INTEGER NOT NULL,            -- store-wide number of the last transaction that touched it
    deleted_ns INTEGER,                 -- when it was deleted; null: it is there
    purged_ns INTEGER                   -- when its content and metadata were erased
);
CREATE INDEX session_by_change ON session(change);
CREATE INDEX session_by_created ON session(created_ns);
CREATE INDEX session_by_updated ON session(last_ns);

CREATE TABLE session_row (
    rid INTEGER PRIMARY KEY,
    sid INTEGER NOT NULL,
    seq_from INTEGER NOT NULL,
    seq_to INTEGER,                     -- deletion ends the last row, so that live rows are live sessions
    name TEXT NOT NULL,
    dirname TEXT NOT NULL,              -- unique among live sessions
    description TEXT NOT NULL,
    status TEXT NOT NULL,               -- active, suspended, completed, failed
    tags TEXT NOT NULL,                 -- JSON array
    metadata TEXT NOT NULL,             -- JSON object
    parent TEXT,                        -- the parent session's id
    ended_ns INTEGER,
    failure_reason TEXT
);
CREATE UNIQUE INDEX session_row_by_dirname ON session_row(dirname) WHERE seq_to IS NULL;
CREATE UNIQUE INDEX session_row_live ON session_row(sid) WHERE seq_to IS NULL;
CREATE UNIQUE INDEX session_row_past ON session_row(sid, seq_from);
CREATE INDEX session_row_by_status ON session_row(status, sid) WHERE seq_to IS NULL;
CREATE INDEX session_row_by_parent ON session_row(parent) WHERE seq_to IS NULL AND parent IS NOT NULL;

CREATE TABLE session_label (            -- of live rows: tags, and scalar metadata for meta.KEY
    key TEXT NOT NULL,                  -- 'tag' or 'meta.KEY'
    value TEXT NOT NULL,                -- the tag, or the scalar: text as itself, else JSON; its first 256 characters
    sid INTEGER NOT NULL,
    PRIMARY KEY (key, value, sid)
) WITHOUT ROWID;
CREATE INDEX session_label_by_sid ON session_label(sid);

CREATE TABLE inode (                    -- POSIX attributes of a file object; not part of history
    ino INTEGER PRIMARY KEY,
    mode INTEGER NOT NULL,              -- permission bits, 0o7777
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    atime_ns INTEGER                    -- as set by utimens; null follows mtime
);

CREATE TABLE entry (
    eid INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice, as content.cid: both are held on to outside
    sid INTEGER NOT NULL,
    folder INTEGER NOT NULL,            -- ino of the folder it is in
    name TEXT NOT NULL,                 -- one component
    ino INTEGER NOT NULL,
    kind INTEGER NOT NULL,              -- 0 file, 1 folder, 2 symlink
    seq_from INTEGER,                   -- null: a draft
    seq_to INTEGER,                     -- null: live
    draft TEXT,                         -- the spool folder of the process whose handle writes the draft
    target TEXT,                        -- of a symlink
    sequence INTEGER,                   -- of a file, as all below
    version INTEGER,
    content INTEGER,                    -- content.cid
    size INTEGER,                       -- bytes, as content.size
    type TEXT,
    mime_type TEXT,
    description TEXT,
    tags TEXT,                          -- JSON array
    custom TEXT,                        -- JSON object
    created_ns INTEGER,                 -- of the artifact's first store
    updated_ns INTEGER                  -- of this row
);
CREATE UNIQUE INDEX entry_live ON entry(folder, name) WHERE seq_to IS NULL;
CREATE INDEX entry_past ON entry(folder, seq_to) WHERE seq_to IS NOT NULL;
CREATE INDEX entry_by_sequence ON entry(sid, sequence, version) WHERE kind = 0;
CREATE INDEX entry_by_folder ON entry(ino) WHERE kind = 1;
CREATE INDEX entry_folders ON entry(sid) WHERE kind = 1 AND seq_to IS NULL;
CREATE INDEX entry_drafts ON entry(sid) WHERE seq_from IS NULL;
CREATE INDEX entry_by_name ON entry(name) WHERE kind = 0 AND seq_to IS NULL;
CREATE INDEX entry_by_type ON entry(type, sid) WHERE kind = 0 AND seq_to IS NULL;
CREATE INDEX entry_by_size ON entry(size) WHERE kind = 0 AND seq_to IS NULL;
CREATE INDEX entry_by_created ON entry(created_ns) WHERE kind = 0 AND seq_to IS NULL;
CREATE INDEX entry_by_updated ON entry(updated_ns) WHERE kind = 0 AND seq_to IS NULL;
CREATE INDEX entry_by_mime ON entry(mime_type) WHERE kind = 0 AND seq_to IS NULL;
CREATE INDEX entry_subfolders ON entry(folder, name) WHERE kind = 1 AND seq_to IS NULL;

CREATE TABLE entry_label (              -- of live files: tags, and scalar custom metadata for meta.KEY
    key TEXT NOT NULL,                  -- 'tag' or 'meta.KEY'
    value TEXT NOT NULL,                -- as in session_label
    eid INTEGER NOT NULL,
    PRIMARY KEY (key, value, eid)
) WITHOUT ROWID;
CREATE INDEX entry_label_by_eid ON entry_label(eid);

-- The full text of files: rowid is entry.eid, and rows of the past may still be in it. It is brought up to
-- date when free words are asked for, up to the eid that `store` has as 'indexed_eid'. Columns: the entry's name
-- (one component), description, tags (one a line), and custom (the text of its top-level scalars, one a line).
CREATE VIRTUAL TABLE entry_text
    USING fts5(name, description, tags, custom, tokenize = 'unicode61 remove_diacritics 2');
CREATE TABLE entry_text_due (           -- indexed rows to look at again: drafts, until sealed, and deleted rows
    eid INTEGER PRIMARY KEY             -- a later entry may have been given a deleted one's eid
);
CREATE TRIGGER entry_text_gone AFTER DELETE ON entry WHEN old.kind = 0
    BEGIN INSERT OR IGNORE INTO entry_text_due VALUES (old.eid); END;

CREATE TABLE event (
    id INTEGER PRIMARY KEY,             -- orders events among all sessions; rows are never deleted
    sid INTEGER NOT NULL,
    seq INTEGER NOT NULL,               -- 1, 2, … without gaps
    kind TEXT NOT NULL,
    at_ns INTEGER NOT NULL,             -- never decreases within a session
    ends INTEGER NOT NULL,              -- where the line ends in events.jsonl, in bytes, its newline included
    line TEXT NOT NULL                  -- as written, without newline; never rewritten
);
CREATE UNIQUE INDEX event_by_seq ON event(sid, seq);

CREATE TABLE checkpoint (
    sid INTEGER NOT NULL,
    number INTEGER NOT NULL,            -- 1, 2, …
    seq INTEGER NOT NULL,               -- the session.saved event; the state shown is the one at it
    label TEXT,
    at_ns INTEGER NOT NULL,
    PRIMARY KEY (sid, number)
) WITHOUT ROWID;

CREATE TABLE content (                  -- whole contents, each once
    cid INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE,          -- BLAKE3 of the plain bytes, 32 bytes
    size INTEGER NOT NULL,              -- plain bytes
    stored_size INTEGER NOT NULL,       -- bytes it takes, chunks shared with others included
    condemned_ns INTEGER,               -- when gc found no row that refers to it; null: in use
    codec INTEGER,                      -- of data: 0 plain, 1 zstd
    data BLOB                           -- small content itself; null: see content_chunk
);

CREATE TABLE content_chunk (            -- the chunks of a large content, in order
    cid INTEGER NOT NULL,
    start INTEGER NOT NULL,             -- offset of the chunk's first byte in the content
    kid INTEGER NOT NULL,               -- chunk.kid
    PRIMARY KEY (cid, start)
) WITHOUT ROWID;
CREATE INDEX content_chunk_by_kid ON content_chunk(kid);

CREATE TABLE chunk (                    -- each chunk once
    kid INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,          -- BLAKE3 of its plain bytes, 32 bytes
    size INTEGER NOT NULL,              -- plain bytes
    stored_size INTEGER NOT NULL,       -- bytes as stored
    condemned_ns INTEGER,
    codec INTEGER NOT NULL,             -- 0 plain, 1 zstd
    data BLOB                           -- a chunk that is small as stored; null: the file blobs/ab/<hash>
);
"""

PAST = """
DROP INDEX entry_past;
CREATE INDEX entry_past ON entry(folder, name, seq_to, seq_from) WHERE seq_to IS NOT NULL;
"""

SCRIPTS = """
CREATE TABLE state (                    -- values that scripts keep; in no history
    scope TEXT NOT NULL,                -- 'global', any text, or 'session:' and the id of the session it belongs to
    key TEXT NOT NULL,
    value TEXT NOT NULL,                -- canonical JSON
    updated_ns INTEGER NOT NULL
);
CREATE UNIQUE INDEX state_by_key ON state(scope, key);

CREATE TABLE message (                  -- what was published of late; older messages are pruned
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never given twice, without gaps: so a reader knows what it missed
    after_event INTEGER NOT NULL,       -- id of the last event committed before; 0: none
    name TEXT NOT NULL,
    payload TEXT NOT NULL,              -- canonical JSON
    at_ns INTEGER NOT NULL,
    actor TEXT NOT NULL,
    door TEXT NOT NULL
);
CREATE INDEX message_by_time ON message(at_ns);
"""

KEEPING = """
CREATE TABLE numbering (                -- of sessions that came with their whole past out of an archive
    sid INTEGER NOT NULL,
    until INTEGER NOT NULL,             -- events to this seq (after the row before it) hashed inodes by other numbers
    shift INTEGER NOT NULL,             -- what is to be added to a number here to get the one in their `state`
    PRIMARY KEY (sid, until)
) WITHOUT ROWID;

CREATE TABLE doomed (                   -- chunks whose rows are gone, and whose files are still to be unlinked
    hash BLOB PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE purge (                    -- purges that have not ended: whoever finds one cut short goes on with it
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sid INTEGER NOT NULL,
    sequence INTEGER,                   -- of the artifact; null: the whole session
    keeps_content INTEGER NOT NULL,     -- 1: what only it referred to is left to gc, as where a session expires
    known TEXT                          -- JSON: the names and inodes by which lost bytes of what is purged are found
);

CREATE TABLE former (                   -- contents that artifacts had in rows that are gone, or in drafts before
    cid INTEGER NOT NULL,
    sid INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (cid, sid, sequence)
) WITHOUT ROWID;
CREATE TRIGGER former_amended AFTER UPDATE OF content ON entry
    WHEN old.content IS NOT NULL AND old.content IS NOT new.content
    BEGIN INSERT OR IGNORE INTO former VALUES (old.content, old.sid, old.sequence); END;
CREATE TRIGGER former_pruned AFTER DELETE ON entry WHEN old.content IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM purge p WHERE p.sid = old.sid AND old.sequence = ifnull(p.sequence, old.sequence))
    BEGIN INSERT OR IGNORE INTO former VALUES (old.content, old.sid, old.sequence); END;
CREATE TRIGGER former_gone AFTER DELETE ON content
    BEGIN DELETE FROM former WHERE cid = old.cid; END;

CREATE TABLE harm (                     -- chunks and whole small contents that a scrub found harmed
    hash BLOB PRIMARY KEY,
    found_ns INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX entry_by_content ON entry(content) WHERE content IS NOT NULL;
CREATE INDEX entry_by_ino ON entry(ino);
CREATE INDEX content_condemned ON content(condemned_ns) WHERE condemned_ns IS NOT NULL;
CREATE INDEX content_in_chunks          -- has all that asking for the sizes of those in chunks needs
    ON content(data, size) WHERE data IS NULL;

CREATE TABLE counted (                  -- what quotas have counted so far; empty where none was ever set
    what TEXT PRIMARY KEY,              -- 'content' and 'chunk': bytes of the store's; 'entry': rows, for session_use
    until INTEGER NOT NULL,             -- the highest cid, kid or eid that is counted
    bytes INTEGER NOT NULL              -- stored bytes up to there; 0 of 'entry'
) WITHOUT ROWID;
CREATE TRIGGER counted_content_gone AFTER DELETE ON content WHEN old.codec IS NOT NULL
    BEGIN UPDATE counted SET bytes = bytes - old.stored_size WHERE what = 'content' AND until >= old.cid; END;
CREATE TRIGGER counted_chunk_gone AFTER DELETE ON chunk
    BEGIN UPDATE counted
    SET bytes = bytes - old.stored_size, until = min(until, (SELECT ifnull(max(kid), 0) FROM chunk))
    WHERE what = 'chunk' AND until >= old.kid; END;
CREATE TRIGGER counted_content_changed AFTER UPDATE OF stored_size, codec ON content
    WHEN ifnull(old.codec, new.codec) IS NOT NULL
    BEGIN DELETE FROM counted WHERE what = 'content'; DELETE FROM session_use; END;
CREATE TRIGGER counted_chunk_changed AFTER UPDATE OF stored_size ON chunk
    BEGIN DELETE FROM counted WHERE what = 'chunk'; DELETE FROM session_use; END;

CREATE TABLE session_use (              -- sessions whose sealed rows are counted, up to the eid of counted's 'entry'
    sid INTEGER PRIMARY KEY,
    bytes INTEGER NOT NULL              -- stored bytes of its distinct contents and chunks
);
CREATE TABLE session_part (             -- what these bytes are of
    sid INTEGER NOT NULL,
    part INTEGER NOT NULL,              -- a chunk's kid, or a content's cid, negative
    PRIMARY KEY (sid, part)
) WITHOUT ROWID;
CREATE TABLE session_use_due (          -- rows up to that eid that were drafts when they were passed, and are sealed
    eid INTEGER PRIMARY KEY
);
CREATE TRIGGER session_use_gone AFTER DELETE ON session_use
    BEGIN DELETE FROM session_part WHERE sid = old.sid; END;
CREATE TRIGGER session_use_erased AFTER DELETE ON entry WHEN old.content IS NOT NULL
    BEGIN DELETE FROM session_use WHERE sid = old.sid; END;
CREATE TRIGGER session_use_changed AFTER UPDATE OF content ON entry WHEN old.seq_from IS NOT NULL
    BEGIN DELETE FROM session_use WHERE sid = old.sid; END;
CREATE TRIGGER session_use_sealed AFTER UPDATE OF seq_from ON entry
    WHEN old.seq_from IS NULL AND new.eid <= (SELECT until FROM counted WHERE what = 'entry')
    BEGIN INSERT OR IGNORE INTO session_use_due VALUES (new.eid); END;

-- What has an event is as late as the event, also where the clock went back before it
UPDATE checkpoint SET at_ns = v.at_ns FROM event v
    WHERE v.sid = checkpoint.sid AND v.seq = checkpoint.seq AND v.at_ns > checkpoint.at_ns;
UPDATE session SET purged_ns = v.at_ns, deleted_ns = iif(deleted_ns = purged_ns, v.at_ns, deleted_ns) FROM event v
    WHERE v.sid = session.sid AND v.kind = 'session.purged' AND v.at_ns > session.purged_ns;
UPDATE session SET deleted_ns = max(deleted_ns, coalesce((SELECT max(at_ns) FROM event v WHERE v.sid = session.sid
    AND v.kind = 'session.deleted'), deleted_ns)) WHERE deleted_ns IS NOT NULL;
"""
