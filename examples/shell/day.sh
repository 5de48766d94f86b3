#!/usr/bin/env bash
# A day with the mount: a session is a directory, its artifacts are files, and every Unix tool is at home there. The
# lines below are shown as they run.
. "$(dirname "$0")/stage.sh"
set -v

# Morning. A new directory is a new session; what is copied in is stored when cp is done.
mkdir mnt/sessions/planets
cd mnt/sessions/planets
cp "$examples/data/planets.csv" .
echo 'Which planets have the most moons?' > .session/description

# Work as anywhere else: pipes, redirections, folders, sed -i.
mkdir results
tail -n +2 planets.csv | sort -t, -k4,4nr | cut -d, -f1,4 > results/moons.csv
head -n 3 results/moons.csv

# Metadata are extended attributes; tags make it findable, by anybody who looks.
setfattr -n user.llmspell.tags -v final results/moons.csv
setfattr -n user.source -v 'planetary fact sheet' planets.csv
ls ../../by-tag/final/artifacts/planets/results
ls '../../search/name:*.csv meta.source:"planetary fact sheet"/planets'

# Noon. A checkpoint, and nothing changes until somebody says so.
llmspellfs session save planets --label noon
echo suspended > .session/status
echo 'a thought' >> results/notes.txt || echo 'not now'
test ! -e results/notes.txt
echo active > .session/status

# Afternoon. A slip of the hand, seen, and undone with cp: each version is kept.
sed -i 's/,.*//' results/moons.csv
diff -r .session/checkpoints/1 . || true
cp .session/versions/results/moons.csv/1 results/moons.csv
diff -r .session/checkpoints/1 . && echo 'as at noon'

# A worse one: a folder is gone. It is still in the past.
rm -r results
cp -a .session/checkpoints/1/results .
wc -l < results/moons.csv

# Evening. What is finished is frozen for good, and what happened can be read.
echo completed > .session/status
rm results/moons.csv || echo 'it stays'
tail -n 4 .session/events.jsonl | jq -r '[.seq, .kind, .name // ""] | @tsv'
ls ../../by-status/completed
