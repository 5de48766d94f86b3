# Sets the stage for the walkthroughs, which source it: a new folder with a store mounted at `mnt`, and `$examples`.
# With a folder as its argument a walkthrough leaves it there, unmounted; else all of it is gone at the end.
set -euo pipefail

if [ $# -gt 1 ] || { [ $# = 1 ] && { [ -e "$1/mnt" ] || [ -e "$1/store" ]; }; }; then
    echo "usage: $(basename "$0") [FOLDER], which is new, or has no mnt and no store in it" >&2
    exit 2
fi
examples=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$(mktemp -d)}
keep=${1:+yes}
mkdir -p "$folder"
cd "$folder"
folder=$PWD
export LLMSPELL_SESSION_PATH=$folder/store LC_ALL=C.UTF-8 TIME_STYLE=+%F
unset LLMSPELL_CONFIG

the_end() {
    status=$?
    set +v
    cd /
    if mountpoint -q "$folder/mnt"; then
        llmspellfs umount "$folder/mnt" || fusermount -uz "$folder/mnt" || true
    fi
    [ -n "$keep" ] || mountpoint -q "$folder/mnt" || rm -rf "$folder"
    [ $status = 0 ] || echo "The walkthrough failed." >&2
    exit $status
}
trap the_end EXIT

mkdir mnt
llmspellfs mount mnt
exec 2>&1
