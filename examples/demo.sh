#!/usr/bin/env bash
# The main job, end to end, on real files: mount, copy in, look, script, query, freeze, check, unmount, compare.
# Each step is shown as the command that does it and what that prints. `make demo` runs this; any step that goes
# wrong ends it. Everything happens in a temporary folder, which is removed at the end.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
cd "$work"
export LLMSPELL_SESSION_PATH=$work/store LC_ALL=C.UTF-8 TIME_STYLE=+%F
unset LLMSPELL_CONFIG

finish() {
    status=$?
    cd /
    if mountpoint -q "$work/mnt"; then
        llmspellfs umount "$work/mnt" || fusermount -uz "$work/mnt" || true
    fi
    mountpoint -q "$work/mnt" || rm -rf "$work"
    [ $status = 0 ] || echo "The demo failed." >&2
    exit $status
}
trap finish EXIT

say() { printf '\n# %s\n' "$*"; }

run() {
    printf '$ %s\n' "$1"
    bash -euo pipefail -c "$1" 2>&1
}

refused() {
    printf '$ %s\n' "$1"
    if answer=$(bash -euo pipefail -c "$1" 2>&1); then
        echo "This should have been refused." >&2
        exit 1
    fi
    echo "$answer" | grep 'Read-only file system'
}

# What is copied in: a package of Python's standard library, all of that library as one tar, and a picture.
ln -s "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" stdlib
tar -C stdlib/. --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
    --exclude=site-packages --exclude=dist-packages --exclude=__pycache__ --exclude='config-*' -cf stdlib.tar .
cp "$here/lua/complete_workflow.lua" .
python3 - <<'PYTHON'
import struct, zlib

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

bars = b"".join(b"\0" + b"".join(b"\x20\x60\xc0" if y < 40 * (x // 8 + 1) else b"\xff" * 3 for x in range(32))
                for y in range(160, 0, -1))
header = struct.pack(">IIBBBBB", 32, 160, 8, 2, 0, 0, 0)
with open("chart.png", "wb") as file:
    file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bars)) + chunk(b"IEND", b""))
PYTHON

say "Mount the store on an empty folder, and make a session: it is a directory."
run 'mkdir mnt && llmspellfs mount mnt'
run 'ls mnt'
run 'mkdir mnt/sessions/demo'

say "Copy files in: each becomes an artifact, committed when cp closes it."
run 'cp -r stdlib/json mnt/sessions/demo/'
run 'cp stdlib.tar mnt/sessions/demo/'
run 'ls -l mnt/sessions/demo'
run 'ls mnt/sessions/demo/json'
run 'cat mnt/sessions/demo/json/tool.py | head -n 5'

say "Content is deduplicated and compressed: what it is, and what it takes."
run 'du -h --apparent-size mnt/sessions/demo/stdlib.tar'
run 'du -h mnt/sessions/demo/stdlib.tar'

say "Metadata are extended attributes, and JSON beside the files."
run 'setfattr -n user.reviewer -v jane mnt/sessions/demo/json/tool.py'
run 'getfattr -d mnt/sessions/demo/json/tool.py'
run 'getfattr --only-values -n user.llmspell.mime_type mnt/sessions/demo/json/tool.py; echo'
run "jq -c '{name, artifact_type, version, size, custom}' mnt/sessions/demo/.session/artifacts/json/tool.py.json"
if command -v b3sum >/dev/null; then
    run 'b3sum --no-names stdlib.tar; getfattr --only-values -n user.llmspell.hash mnt/sessions/demo/stdlib.tar; echo'
fi

say "Run a Lua script on the same store, while it is mounted: the guides' Complete Workflow."
run 'llmspellfs run complete_workflow.lua chart.png'
run 'ls "mnt/sessions/Data Analysis - Q4 2024"'
run 'jq -c "{quarter, orders, revenue}" "mnt/sessions/Data Analysis - Q4 2024/analysis_results.json"'

say "Ask for artifacts by what they are, in the shell or by a path."
run "llmspellfs find type:agent_output --json | jq -r '.session + \":\" + .name'"
run "ls 'mnt/search/name:t*.py size:>1k/demo/json'"
run 'ls mnt/by-tag/q4-2024/sessions'

say "Suspend the session: it is frozen, for everybody."
run 'llmspellfs session suspend demo'
refused 'echo more > mnt/sessions/demo/notes.txt'
run 'echo active > mnt/sessions/demo/.session/status'
run 'echo more > mnt/sessions/demo/notes.txt'
run 'llmspellfs session complete demo'
run 'cat mnt/sessions/demo/.session/status'

say "Every change is a line of the audit trail, chained by BLAKE3."
run "tail -n 1 mnt/sessions/demo/.session/events.jsonl | jq -r .kind"
run 'llmspellfs verify'
if command -v b3sum >/dev/null; then
    run 'prev=$(printf %064d 0)
while IFS= read -r line; do
    [ "$(jq -r .prev <<< "$line")" = "$prev" ]
    prev=$(printf %s "$line" | b3sum --no-names)
done < mnt/sessions/demo/.session/events.jsonl
[ "$prev" = "$(getfattr --only-values -n user.llmspell.head mnt/sessions/demo)" ] && echo the same, by hand'
fi

say "Unmount, mount again: everything is as it was copied in."
run 'llmspellfs umount mnt'
run 'llmspellfs mount mnt'
run 'diff -r stdlib/json mnt/sessions/demo/json && cmp stdlib.tar mnt/sessions/demo/stdlib.tar && echo no difference'

say "Check every chunk, every reference and every chain, while it is mounted."
run 'llmspellfs fsck'
run 'llmspellfs umount mnt'
