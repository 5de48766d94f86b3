#!/usr/bin/env bash
# An audit: who changed what, when, and through which door; and whether what the trail says can be believed. The lines
# below are shown as they run.
. "$(dirname "$0")/stage.sh"
set -v

# What is to be looked at: a session that was written to through the mount, by command and by script.
mkdir mnt/sessions/ledger
cp "$examples/data/planets.csv" mnt/sessions/ledger/
echo 'Is Pluto missing?' | llmspellfs artifact put ledger - --name question.txt
printf 'Pluto,5906.4,90560,5\n' >> mnt/sessions/ledger/planets.csv
llmspellfs run --session ledger -e 'local text = Artifact.get("", "planets.csv").content
    Artifact.store("", "tool_result", "planets.csv", (text:gsub("Pluto[^\n]*\n", "")))'
llmspellfs session complete ledger

# Each change is one line: when, by whom, through which door, what.
trail=mnt/sessions/ledger/.session/events.jsonl
jq -r '[.seq, .at[:10], .actor, .door, .kind, .name // ""] | @tsv' $trail

# One artifact's life, and what each version was: the trail has the hash of each.
jq -c 'select(.name == "planets.csv") | {seq, door, size, hash: .hash[:16]}' $trail
llmspellfs artifact history ledger:planets.csv
diff mnt/sessions/ledger/.session/versions/planets.csv/2 mnt/sessions/ledger/planets.csv || true

# As it was when somebody relied on it: any seq or time of the trail is a directory.
seq=$(jq 'select(.name == "planets.csv" and .size == 238) | .seq' $trail)
tail -n 1 mnt/sessions/ledger/.session/at/$seq/planets.csv

# Each line holds the hash of the one before it; the last one's is the session's head. Kept elsewhere, on paper or in
# another system, it makes a rewritten trail evident too.
llmspellfs verify
getfattr --only-values -n user.llmspell.head mnt/sessions/ledger > anchor
llmspellfs session show ledger --json | jq -r .head | diff - <(cat anchor; echo)

# Somebody alters one line in the database itself, in a copy of the store: another name for who did it.
llmspellfs umount mnt
cp -a store altered
python3 -c 'import sqlite3
with sqlite3.connect("altered/index.db") as db:
    print(db.execute("update event set line = replace(line, char(34) || ?, char(34) || ?) where seq = 3",
        ("uid:", "UID:")).rowcount, "line altered")'
llmspellfs --store altered verify && exit 1 || echo 'found'
llmspellfs verify
