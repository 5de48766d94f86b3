"""Everyday tools in a session do what they do in a local folder: the same words, the same files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.mount.alike import SOURCES, assert_alike, run
from tests.mount.live import Mounted

COPYING = r"""
== cp -a
cp -a src copy; diff -r src copy; stat -c '%n %a %F' copy/* copy/sub/*; stat -c '%n %s %y' copy/words
== cp over
cp src/words w; cp src/numbers w; cp -b src/words w; cp -u src/words w; cp --sparse=always w s; ls
== install
install -m 750 src/words i; install -D src/words deep/er/i; install -d -m 700 dir; ls -R; stat -c %a i
== mv
mkdir d; mv src/words d/; mv d e; mv -n e/words src/numbers || true; mv src/sub e/; ls -R
== mv over
cp src/words a; cp src/numbers b; mv a b; cat b; mv -b src/words b; mv -T src e; ls; ls e
== ln -s
ln -s src/words l; cat l; ln -sfn src/numbers l; readlink l; ln -sfn src dir; ls dir/; rm dir l; ls
== rm -r
cp -a src x; rm -rf x; ls; cp -a src y; find y -type f -delete; find y -depth -type d -empty -delete; ls
== shred
cp src/numbers n; shred -u n; ls; cp src/words w; shred -n 1 -z w; tr -d '\000' < w | wc -c; rm w
== tar
tar -cf a.tar src; mkdir out; tar -xpf a.tar -C out; diff -r src out/src; tar -df a.tar; rm a.tar
== cpio of find
find src -type f | sort | tar -czf - -T - | tar -tzf -
== zip
zip -qr a.zip src; unzip -q a.zip -d out; diff -r src/sub out/src/sub; unzip -tq a.zip; rm a.zip
== gzip
gzip -kn src/numbers; gunzip -c src/numbers.gz | cmp - src/numbers; gzip -n src/words; gunzip src/words.gz
== split
split -b 100k src/numbers p.; ls p.*; cat p.* | cmp - src/numbers; csplit -s src/words 2; ls
"""
CHANGING = r"""
== dd notrunc
cp src/numbers n; printf XYZ | dd of=n bs=1 seek=1000 conv=notrunc status=none; cksum n
dd if=/dev/zero of=n bs=4k seek=100 count=2 conv=notrunc status=none; cksum n; stat -c %s n
== dd sync
dd if=src/numbers of=n bs=1k conv=fsync oflag=append,sync status=none; cmp n src/numbers
== truncate
cp src/numbers n; truncate -s 100 n; cksum n; truncate -s +1M n; cksum n; truncate -s '<10' n; cat n
truncate -s 0 n; truncate -s 5 new; od -c new; fallocate -l 1 n 2>/dev/null || true; rm n
== append
echo a >> n; echo b >> n; (echo c; echo d) | tee -a n; for i in 1 2 3; do echo $i >> n; done; cat n
== together
for i in 1 2 3 4; do seq 500 | sed s/^/$i:/ >> n & done; wait; sort -u n | wc -l; sort n -o n; cksum n
== sed -i
sed -i s/beta/BETA/ src/words; cat src/words; sed -i.bak 1d src/words; ls src; stat -c %a src/words
== perl -pi
perl -pi -e 's/a$/A/' src/words; cat src/words; perl -i.orig -ne 'print if /m/' src/words; ls src
== sort -o
sort -rn src/numbers -o src/numbers; head -2 src/numbers; sort -c src/words
== jq
chmod 600 src/sub/data.json; jq -S '.c = 3' src/sub/data.json > t; mv t src/sub/data.json; cat src/sub/*.json
jq .a src/sub/data.json | sponge src/sub/data.json; cat src/sub/data.json
== patch
cp src/words n; sed s/beta/BETA/ n > m; diff -u --label a --label b n m > p || true; patch -s n p; cmp n m
patch -sR n p; cmp n src/words; patch -sb n p; ls; rm p
== ed
printf 'g/a/s//A/g\n$a\nlast\n.\nw\nq\n' | ed -s src/words; cat src/words
== vim in place
vim -Nu NONE -i NONE -es -c 'set backupskip= backupcopy=yes' -c '%s/a/A/g' -c wq src/words; cat src/words
ls -A src
== vim by rename
vim -Nu NONE -i NONE -es -c 'set backupskip= backupcopy=no' -c '%s/a/A/g' -c wq src/words; cat src/words
ls -A src
== vim with a backup
vim -Nu NONE -i NONE -es -c 'set backup backupskip= backupcopy=no' -c '%s/a/A/g' -c wq src/words; ls -A src
stat -c %a src/words*
== chmod
chmod -R go-rwx src; chmod u+x src/words; chmod 1777 src/sub; find src -printf '%m %p\n' | sort
== touch
touch -d 2001-02-03T04:05:06.5 n; stat -c %y n; touch -r n m; touch -a -d 2005-01-01 m; stat -c '%x %y' m
"""
READING = r"""
== find
touch -d 2019-01-01 old; touch -d 2021-01-01 ref; find . -newer ref | sort; find . ! -newer old | sort
find . -size +100k; find . -size -2c -type f | sort; find . -perm 640; find . -perm /111 -type f
find . -empty | sort; find . -type l -printf '%p %l\n'; find -L . -type f | sort
find . -name '*.json' -execdir cat {} +
== grep -r
grep -rn beta src; grep -rlI 4999 src | sort; grep -c 7 src/numbers; grep -rZl alpha src | xargs -0 wc -l
== cmp and diff
cp -a src b; echo delta >> b/words; rm b/sub/deep/empty; diff -r src b || echo $?
cmp src/words b/words || echo $?; comm --nocheck-order -13 src/words b/words
== head and tail
tail -n 3 src/numbers; head -c 20 src/numbers; tail -c 5 src/numbers; tac src/words; wc src/words src/numbers
== sums
sha256sum src/numbers src/words; sha256sum src/* 2>/dev/null > sums || true; sha256sum -c sums
file -b src/numbers src/sub/data.json
== du
du --apparent-size -b src/numbers src/words; ls -1sk /dev/null; stat -c '%F %s %h' src/words src/sub/link
== awk
awk '{s += $1} END {print s}' src/numbers; awk 'NR==FNR{a[$1];next} $1 in a' src/words src/words
== python
python3 -c 'import mmap; f = open("src/words", "r+b"); m = mmap.mmap(f.fileno(), 0); m[:5] = b"ALPHA"
m.flush(); m.close()'; cat src/words; printf 'x = 1\n' > mod.py; python3 -m compileall -q mod.py
python3 -c 'import mod; print(mod.x)'; rm -r __pycache__
== flock
flock lock echo held; (flock 9; flock -n lock true || echo busy) 9> lock; flock -n lock echo free; rm lock
"""


SCRIPTS = dict(part.split("\n", 1) for part in (COPYING + CHANGING + READING).split("== ")[1:])


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_tool_does_what_it_does_elsewhere(live: Mounted, s: Path, tmp_path: Path, name: str) -> None:
    assert_alike(live, s, tmp_path, SCRIPTS[name])


def test_rsync_sends_nothing_a_second_time(live: Mounted, s: Path, tmp_path: Path) -> None:
    run(live, tmp_path, SOURCES)
    live.shell("setfattr -n user.author -v jane src/words 2>&1 || true", tmp_path)
    command = f"rsync -aXi --stats {tmp_path}/src/ copy/"
    assert "words" in run(live, s, command)
    again = run(live, s, command)
    assert "files transferred: 0\n" in again
    assert not [line for line in again.splitlines() if line[:1] in {"<", ">", "c", "h", ".", "*"}]
    for option in ("--checksum", "--inplace", "--delete --whole-file"):
        run(live, s, f"echo more >> copy/words; rsync -aX {option} {tmp_path}/src/ copy/; diff -r {tmp_path}/src copy")


def test_rsync_between_sessions_is_quiet(live: Mounted, s: Path) -> None:
    other = live.session(s.name + "-other")
    run(live, s, SOURCES)
    for name, value in {"n": "5", "v": "1.10", "xdg.tags": "a,b", "llmspell.type": "tool_result"}.items():
        run(live, s, f"setfattr -n user.{name} -v {value} src/words; setfattr -n user.budget -v 7 .")
    command = f"rsync -aXi --stats {s}/ {other}/"
    assert "src/words" in run(live, s, command)
    again = run(live, s, command)
    assert "files transferred: 0\n" in again
    assert not [line for line in again.splitlines() if line[:1] in {"<", ">", "c", "h", ".", "*"}]
    dump = "getfattr -R -d . | sort"
    assert run(live, s, dump) == run(live, other, dump)
    assert run(live, s, f"diff -r . {other}") == ""


def test_tar_carries_attributes_out_and_in(live: Mounted, s: Path, tmp_path: Path) -> None:
    run(live, s, SOURCES + "setfattr -n user.author -v jane src/words; setfattr -n user.n -v 5 src/numbers")
    run(live, s, f"tar --xattrs -cf {tmp_path}/a.tar src; mkdir back; tar --xattrs -xpf {tmp_path}/a.tar -C back")
    dump = "getfattr -R -d src | sort; find src -printf '%m %s %T@ %p %l\\n' | sort"
    assert run(live, s, dump) == run(live, s / "back", dump)
    assert run(live, s, "diff -r src back/src") == ""


def test_tail_follows_the_trail(live: Mounted, s: Path) -> None:
    command = ["tail", "-n", "+1", "-s", "0.1", "-f", str(s / ".session/events.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
        try:
            assert tail.stdout is not None
            assert '"session.created"' in tail.stdout.readline()
            for number in range(3):
                (s / f"f{number}").write_text("x")
            lines = [tail.stdout.readline() for _ in range(3)]
        finally:
            tail.kill()
    assert [f'"name":"f{number}"' in line for number, line in enumerate(lines)] == [True] * 3


def test_files_leave_by_mv_and_come_back(live: Mounted, s: Path, tmp_path: Path) -> None:
    other = live.session(s.name + "-other")
    run(live, s, f"{SOURCES} setfattr -n user.n -v 5 src/words; cp -a src {tmp_path}/kept; mv src {tmp_path}/out")
    assert run(live, s, f"ls; diff -r {tmp_path}/kept {tmp_path}/out") == ""
    run(live, s, f"mv {tmp_path}/out back; mv back {other}/; mv {other}/back/words {s}/; mv {other}/back/sub {s}/")
    assert run(live, s, f"diff -r sub {tmp_path}/kept/sub; cmp words {tmp_path}/kept/words; ls; ls {other}/back") == (
        "sub\nwords\nnumbers\nwith space\n"
    )
