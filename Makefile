# `make demo` and `make test` do all their set-up themselves, in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STOCK = .venv-stock-cli
AXE = .venv-browser/axe.min.js
DOCS = .venv-docs

.PHONY: demo test test-postgres simulate simulate-postgres crash crash-postgres defects fuzz lint docs oldest newest package \
	release site man clean

demo: $(VENV)/installed
	$(BIN)/ctstate demo

test: $(VENV)/installed $(STOCK)/installed $(AXE)
	$(BIN)/python -m pytest -n 4 --dist worksteal

# What of the tests is about the ledger, on PostgreSQL: a server of their own, on loopback, in a temporary folder.
test-postgres: $(VENV)/installed
	CTSTATE_TEST_LEDGER=postgres $(BIN)/python -m pytest -n 4 --dist worksteal tests/ledger tests/library tests/batch \
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

# What of the docs is made from the code.
docs: $(VENV)/installed
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_json.py
	$(BIN)/python docs/make_states.py

# The documentation site in build/site; a warning is an error, and so is a link that leads nowhere.
site: $(DOCS)/installed
	rm -rf build/site
	$(DOCS)/bin/python -m sphinx -W --keep-going -q -b html docs build/site
	$(DOCS)/bin/python .ci/check_site.py build/site

# A man page for each verb in build/man, from the same help.
man: $(DOCS)/installed
	rm -rf build/man
	$(DOCS)/bin/python -m sphinx -W --keep-going -q -b man docs build/man

# The same tests on the oldest Python and SQLite that are supported, with the oldest packages.
oldest:
	.ci/oldest

# The tests on the newest Python that is here, with the newest packages.
newest:
	.ci/newest

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[fast,test]"
	touch $@

# Wheel and source archive in dist/: built, checked, and the wheel tried in an empty environment.
package:
	.ci/package dist

# All of a release of the tag at this commit, but the publishing.
release:
	.ci/release

# The stock command line of Zooniverse, which the sandbox must satisfy: it holds click back, so it lives by itself.
$(STOCK)/installed:
	$(PYTHON) -m venv $(STOCK)
	$(STOCK)/bin/pip install --quiet --disable-pip-version-check "panoptescli>=1.2"
	touch $@

# What looks at pages with the eyes of those who see little or nothing (axe-core), for the tests in a browser. Without npm
# they are skipped, and fail in CI.
$(AXE):
	@mkdir -p $(@D)
	if command -v npm >/dev/null; then cd $(@D) && npm pack --silent axe-core@4 >/dev/null \
		&& tar -xzf axe-core-*.tgz --strip-components=1 package/axe.min.js && touch axe.min.js && rm axe-core-*.tgz; fi

$(DOCS)/installed: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --disable-pip-version-check --editable ".[docs]"
	touch $@

$(VENV)/linters: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[lint]"
	touch $@

clean:
	rm -rf $(VENV) $(STOCK) $(DOCS) $(dir $(AXE)) demo build dist
