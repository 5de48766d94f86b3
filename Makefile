# What a developer or a newcomer runs. Each target installs what it lacks: system packages through apt-get where that
# is permitted, and everything else into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

export LLMSPELLFS_SOAK_SECONDS ?= 60

.PHONY: demo test soak check clean system

demo: $(VENV)/.installed
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

test: $(VENV)/.installed
	@PYTHON=$(PYTHON) bash .ci/system b3sum ed file gcc git mkfs.ext4=e2fsprogs patch perl rsync sponge=moreutils sqlite3 unzip vim zip
	$(BIN)/pytest -n 3 --dist loadfile --max-worker-restart=0

# Hours of it: each test that is marked `soak` goes on for LLMSPELLFS_SOAK_SECONDS, and some for as long as they need.
soak: $(VENV)/.installed
	@PYTHON=$(PYTHON) bash .ci/system b3sum ed file gcc git mkfs.ext4=e2fsprogs patch perl rsync sponge=moreutils sqlite3 unzip vim zip
	$(BIN)/pytest -m soak -s --timeout=14400

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml | system
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

system:
	@PYTHON=$(PYTHON) bash .ci/system
