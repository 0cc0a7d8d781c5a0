# make run    everything from nothing: environment, database, demo document, server on 127.0.0.1:$PORT
# make test   everything the tests need, then the tests       (ARGS="-k text" goes to pytest; JOBS=1: one at a time)
# make test-lowest  the same on the lowest versions that pyproject.toml allows     (needs network and uv)
# make test-newest  the same, but for MongoDB, on Python 3.13 and the newest versions, Django 6 among them
# make fuzz   random and hostile histories against the oracle     (SEED=any MINUTES=10; docs/merge.md)
# make fuzz-frames  mutated frames against a live room in memory     (SEED=any MINUTES=10)
# make crash  processes killed at random for MINUTES=, everything acknowledged looked for after each
# make check  what .ci/run checks beside the tests

PYTHON ?= python3
PORT ?= 8000
VUER_RTC_DATA_DIR ?= $(CURDIR)/data
ARGS ?=
JOBS ?= 2
SEED ?= 1
MINUTES ?= 10

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
PUBLISHED := $(VENV)/published

.PHONY: run test test-lowest test-newest test-mongodb fuzz fuzz-frames check lint format types imports migrations wheel lock clean crash
.DELETE_ON_ERROR:

run: export PORT := $(PORT)
run: export VUER_RTC_DATA_DIR := $(VUER_RTC_DATA_DIR)
run: $(VENV)/runtime.stamp
	@exec $(BIN)/python -m vuer_rtc.serve

test: $(VENV)/development.stamp $(PUBLISHED)/.stamp
	@sh .ci/system-packages
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

LOWEST := $(VENV)/lowest
test-lowest: $(PUBLISHED)/.stamp
	uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	uv pip compile --quiet --resolution lowest-direct --no-annotate --no-header --python $(LOWEST) \
	  --extra postgres --extra mongodb pyproject.toml -o $(LOWEST)/versions.txt
	uv pip install --quiet --python $(LOWEST) -r $(LOWEST)/versions.txt --group dev
	VUER_RTC_PUBLISHED=$(abspath $(PUBLISHED)) $(LOWEST)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

# MongoDB's backend asks for Django 5.2.
NEWEST := $(VENV)/newest
NEWEST_PYTHON ?= 3.13
test-newest: $(PUBLISHED)/.stamp
	uv venv --quiet --clear --python $(NEWEST_PYTHON) $(NEWEST)
	uv pip compile --quiet --no-annotate --no-header --python $(NEWEST) --extra postgres --group dev pyproject.toml \
	  -o $(NEWEST)/versions.txt
	uv pip install --quiet --python $(NEWEST) -r $(NEWEST)/versions.txt
	VUER_RTC_PUBLISHED=$(abspath $(PUBLISHED)) $(NEWEST)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
	  -W error::DeprecationWarning -W error::PendingDeprecationWarning \
	  --ignore tests/test_mongodb.py --ignore tests/test_storage_mongodb.py $(ARGS)

# All tests of the journal on a stand-in for MongoDB; MONGO_URI=mongodb://… names a replica set to be used instead.
test-mongodb: $(VENV)/development.stamp
	VUER_RTC_TEST_DATABASE=mongodb $(BIN)/python -m pytest -m 'storage and not sql' tests/journal $(ARGS)

fuzz: $(VENV)/development.stamp
	$(BIN)/python -m tests.crdt.fuzz --seed $(SEED) --minutes $(MINUTES)

fuzz-frames: $(VENV)/development.stamp
	$(BIN)/python -m tests.protocol.fuzz --seed $(SEED) --minutes $(MINUTES)

# Kills real processes for MINUTES and checks after each death that nothing acknowledged is lost.
crash: $(VENV)/development.stamp
	$(BIN)/python -m tests.journal.crash --seed $(SEED) --minutes $(MINUTES)

check: lint types imports migrations wheel

lint: $(VENV)/development.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/development.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/development.stamp
	$(BIN)/mypy

imports: $(VENV)/development.stamp
	$(BIN)/lint-imports

migrations: $(VENV)/development.stamp
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check

wheel: $(VENV)/development.stamp
	rm -rf dist
	$(BIN)/hatchling build -t wheel
	$(BIN)/python .ci/check_wheel.py dist/*.whl

# The lock files: exact versions with hashes, for every platform. Needs network and uv (`pip install uv`).
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
lock:
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) pyproject.toml --extra postgres --extra mongodb --group dev -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed (make PYTHON=python3.11 …)' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo 'Python has no venv module: on Debian, apt-get install python3-venv' >&2; exit 1; }

$(VENV)/runtime.stamp: requirements.lock | $(BIN)/python
	@echo 'installing what the server needs into $(VENV)'
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@touch $@

$(VENV)/development.stamp: requirements-dev.lock | $(BIN)/python
	@echo 'installing what the tests need into $(VENV)'
	@$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

# The published client has our import name: it lives in a folder of its own, for subprocesses of the tests only.
$(PUBLISHED)/.stamp: .ci/published.lock | $(BIN)/python
	rm -rf $(PUBLISHED)
	$(PIP) install --quiet --require-hashes --no-deps --target $(PUBLISHED) -r .ci/published.lock
	@touch $@
