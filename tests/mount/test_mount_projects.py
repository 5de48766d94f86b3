"""Projects in a session: git repositories, builds and databases."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.mount.alike import assert_alike, run
from tests.mount.live import Mounted

GIT = 'export GIT_AUTHOR_DATE="2026-11-01T12:00:00Z" GIT_COMMITTER_DATE="2026-11-01T12:00:00Z"\n' + "".join(
    f"git config --global {key}\n"
    for key in (
        "user.name n",
        "user.email n@example.org",
        "init.defaultBranch main",
        "gc.auto 0",
        "advice.detachedHead 0",
    )
)
HISTORY = """
git init -q repo; cd repo
mkdir -p a/b; for i in 1 2 3 4 5 6 7 8 9; do seq $i 300 > a/b/f$i; git add -A; git commit -qm "number $i"; done
chmod +x a/b/f1; ln -s a/b/f2 link; git add -A; git commit -qm modes
"""
WORK = """
git clone -q origin clone; cd clone; git log --oneline | wc -l
git status --porcelain
echo more >> a/b/f3; git mv a/b/f4 a/moved; git rm -q a/b/f5; echo new > new; git add -A
git commit -qm 'several things'
git show --stat --format=%s | cat; git status --porcelain
echo stashed >> new; git stash -q; git status --porcelain; git stash pop -q; git diff --stat | cat
git checkout -q -- new
git checkout -q HEAD~5; ls a/b; git switch -qc side; echo side > side; git add side; git commit -qm side
git switch -q main; git merge -qm merged side; git rebase -q HEAD~2 || true; git tag -a -m t v1; git branch
git worktree add -q ../tree v1; git -C ../tree status --porcelain; git worktree remove ../tree
git gc -q --prune=now; git fsck --strict 2>&1; git count-objects -v | grep -E 'garbage|count'; git push -q origin side
git archive HEAD | tar -tf - | sort; git grep -c 299 | sort; git clean -xdn
git reset -q --hard HEAD~1; git status --porcelain
git ls-files -s; git rev-parse HEAD; rm -rf .git/hooks .git/logs
"""


def test_git_works_as_it_does_elsewhere(live: Mounted, s: Path, tmp_path: Path) -> None:
    words = []
    for folder in (s, tmp_path):
        run(live, folder, GIT + HISTORY.replace("repo", "origin"))
        words.append(run(live, folder, GIT.partition("\n")[0] + "\n" + WORK))
    assert words[0] == words[1]
    assert "several things" in words[0]
    assert run(live, s, f"cd clone; diff -r --exclude=.git . {tmp_path}/clone") == ""


def test_a_repository_comes_in_from_a_local_folder_and_goes_out_again(live: Mounted, s: Path, tmp_path: Path) -> None:
    run(live, tmp_path, GIT + HISTORY)
    run(live, s, f'git clone -q {tmp_path}/repo .; git fsck; test -z "$(git status --porcelain)"; git gc -q')
    run(live, tmp_path, f"git clone -q {s} out; cd out; git fsck; diff -r --exclude=.git . ../repo")
    run(live, s, f"cp -a . {tmp_path}/whole; git -C {tmp_path}/whole fsck; git -C {tmp_path}/whole diff --exit-code")


def test_a_repository_is_clean_after_a_remount(own: Mounted) -> None:
    own.mount()
    s = own.session("s")
    run(own, s, GIT + HISTORY + "git gc -q; touch -d 2020-01-01 a/b/f1; git status --porcelain")
    own.umount()
    own.mount()
    listing = "cd repo; git -c core.trustctime=true -c core.checkStat=default diff-files --name-only"
    assert run(own, s, listing) == ""
    assert run(own, s, "cd repo; git status --porcelain; git fsck") == ""


PROGRAM = r"""
mkdir -p lib; printf 'int twice(int);\n' > lib/twice.h
printf '#include "twice.h"\nint twice(int x) { return 2 * x; }\n' > lib/twice.c
for i in 1 2 3 4 5; do printf '#include "twice.h"\nint part%d(void) { return twice(%d); }\n' $i $i > lib/part$i.c; done
printf '#include <stdio.h>\nint part3(void);\nint main(void) { printf("%%d\\n", part3()); return 0; }\n' > main.c
printf 'PARTS := $(patsubst %%.c,%%.o,$(wildcard lib/*.c))\nprogram: main.o $(PARTS)\n\tgcc -o $@ $^\n' > Makefile
printf '%%.o: %%.c lib/twice.h\n\tgcc -c -O1 -o $@ $<\nlib.a: $(PARTS)\n\tar rcsD $@ $^\n' >> Makefile
"""


def test_make_builds_once(live: Mounted, s: Path, tmp_path: Path) -> None:
    script = PROGRAM + "make -sj4 program lib.a; ./program; make -j4 program; make -q lib.a; ls -R; nm lib.a | wc -l"
    assert "'program' is up to date" in assert_alike(live, s, tmp_path, script)
    again = run(live, s, "touch lib/part2.c; make -n program | sort; make -s program; ./program; make -q program")
    assert "part2.c" in again
    assert "part1.c" not in again


ROWS = "create table t (k integer primary key, v text); " + "".join(
    f"insert into t values ({n}, hex(zeroblob({n})));" for n in range(1, 60)
)


@pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "memory", "wal"])
def test_sqlite_keeps_a_database(live: Mounted, s: Path, mode: str) -> None:
    words = run(live, s, f"sqlite3 data.db 'pragma journal_mode={mode}; {ROWS}'; ls; "
                         "sqlite3 data.db 'pragma integrity_check; select count(*), sum(length(v)) from t'; "
                         "sqlite3 data.db 'delete from t where k > 50; vacuum; pragma integrity_check'")  # fmt: skip
    assert words.splitlines()[0] == mode
    assert "ok\n59|3540\nok\n" in words
    assert run(live, s, "sqlite3 data.db 'select count(*) from t'") == "50\n"


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_sqlite_in_several_processes_loses_nothing(live: Mounted, s: Path, mode: str) -> None:
    run(live, s, f"sqlite3 data.db 'pragma journal_mode={mode}; create table t (n)'")
    adding = "for i in 1 2 3 4 5; do sqlite3 -cmd '.timeout 20000' data.db 'insert into t values (1)'; done"
    run(live, s, f"({adding}) & ({adding}) & ({adding}) & wait")
    with sqlite3.connect(s / "data.db") as database:
        assert database.execute("select count(*) from t").fetchone() == (15,)
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()


def test_a_rollback_brings_the_database_back(live: Mounted, s: Path) -> None:
    run(live, s, f"sqlite3 data.db '{ROWS}'; sqlite3 data.db 'begin; delete from t; rollback; select count(*) from t'")
    run(live, s, "sqlite3 data.db .dump | sqlite3 copy.db; sqlite3 data.db '.backup backup.db'; cp data.db c.db")
    run(live, s, "for db in copy backup c; do sqlite3 $db.db .dump | cmp - <(sqlite3 data.db .dump); done")
    assert run(live, s, "sqlite3 c.db 'select count(*) from t'; ls") == "59\nbackup.db\nc.db\ncopy.db\ndata.db\n"
