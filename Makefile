# `make demo` and `make test` do all their set-up themselves, in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-postgres simulate simulate-postgres crash crash-postgres defects fuzz lint docs oldest clean

demo: $(VENV)/installed
	$(BIN)/ctstate demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 3 --dist loadgroup

# What of the tests is about the ledger, on PostgreSQL: a server of their own, on loopback, in a temporary folder.
test-postgres: $(VENV)/installed
	CTSTATE_TEST_LEDGER=postgres $(BIN)/python -m pytest -n 3 --dist loadgroup tests/ledger tests/library tests/batch \
		tests/manifest tests/manifests tests/predictions tests/exclusion tests/reports tests/reconcile \
		tests/upload/test_upload.py tests/upload/test_workers.py tests/upload/test_postgres_uploads.py \
		tests/simulation tests/crash/test_database_network.py

# Whole seasons under kills and faults on a virtual clock, for two minutes; the seed is random, and printed.
simulate: $(VENV)/installed
	$(BIN)/python -m tests.simulation --minutes 2

# The same seasons with the ledger on PostgreSQL, for a minute; besides, its server is started anew and COMMITs are lost.
simulate-postgres: $(VENV)/installed
	$(BIN)/python -m tests.simulation --minutes 1 --postgres

# Real processes on a real server behind a proxy, killed and hindered for a minute; the seed is random, and printed.
crash: $(VENV)/installed
	$(BIN)/python -m tests.crash.harness --minutes 1

# The same with the ledger on PostgreSQL.
crash-postgres: $(VENV)/installed
	$(BIN)/python -m tests.crash.harness --minutes 1 --postgres

# Seasons with deliberate defects of the protocol: each must be found (about seven minutes on two cores).
defects: $(VENV)/installed
	$(BIN)/python -m tests.simulation --defects

# Damaged files for every parser, for two minutes; the seed is random, and printed.
fuzz: $(VENV)/installed
	$(BIN)/python -m tests.fuzz --minutes 2

lint: $(VENV)/linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed
	$(BIN)/python docs/make_cli.py

# The same tests on the oldest Python and SQLite that are supported, with the oldest packages.
oldest:
	.ci/oldest

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[fast,test]"
	touch $@

$(VENV)/linters: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[lint]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist
