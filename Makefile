# make demo                the whole system on a generated catalogue, in an embedded store; results in demo/
# make demo STORE=neo4j    the same in the server of `make neo4j`; results in demo/neo4j/
# make test                every test, a real Neo4j included     make check        format, lint, types, unit tests
# make neo4j               start a Neo4j server (neo4j-stop)     make format       rewrite the layout
# make clean               remove demo/ and caches; .venv and .neo4j stay

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo demo-steps test check format neo4j neo4j-stop chromium clean

PYTHON ?= python3
PY := $(CURDIR)/.venv/bin/python
READY := .venv/.installed
SERVER := $(PY) tools/neo4j/server.py

DEMO_ITEMS ?= 8000
DEMO_SEED ?= 1
# The floors see the category, so the model does. Small batches: the steps count, not the items.
DEMO_TRAIN ?= --set visible.fields=category data.batch_size=32 train.epochs=10
ifeq ($(STORE),neo4j)
DEMO := demo/neo4j
DEMO_STORE = $(K3M_TEST_NEO4J_URI)
else
DEMO := demo
DEMO_STORE := store.lbdb
endif
IN_DEMO = cd $(DEMO) && $(PY) -m

help:
	@sed -n 's/^# \(make\)/\1/p' Makefile

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.X")'
	@echo "Installing k3m and the libraries of constraints.txt into .venv (PyTorch is large: some minutes)"
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' || \
		{ echo "The installation failed; if it was interrupted before, remove .venv and try again"; exit 1; }
	@touch $@

ifeq ($(STORE),neo4j)
demo: $(READY)
	$(SERVER) run --kept --empty -- $(MAKE) --no-print-directory demo-steps STORE=neo4j
else
demo: demo-steps
endif

# Inside demo/, so that the images and set-aside rows of a server's catalogue lie there too. Always from an empty folder.
demo-steps: $(READY)
	@mkdir -p $(DEMO)
	@rm -rf $(addprefix $(DEMO)/,catalogue store.lbdb store.lbdb.* run report k3m-data quarantine.tsv)
	$(IN_DEMO) loaders.demo catalogue --items $(DEMO_ITEMS) --seed $(DEMO_SEED)
	$(IN_DEMO) loaders.ingest demo catalogue --store $(DEMO_STORE)
	$(IN_DEMO) k3m.train --store $(DEMO_STORE) --run run $(DEMO_TRAIN)
	$(IN_DEMO) analysis.conflicts --run run --store $(DEMO_STORE) --out run/conflicts --folds 2 --epochs 1
	$(IN_DEMO) analysis.complete --run run --store $(DEMO_STORE) --report report
	@$(PY) tools/headline.py $(DEMO)/report

# Two processes of one thread each: torch would start as many threads as there are cores in both.
test: $(READY) chromium
	OMP_NUM_THREADS=1 $(SERVER) run -- $(PY) -m pytest -n 2 --dist loadgroup

check: $(READY)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 -m "not neo4j and not slow and not browser and not data"

format: $(READY)
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

neo4j: $(READY)
	@$(SERVER) start

neo4j-stop: $(READY)
	@$(SERVER) stop

chromium:
	@if command -v chromium >/dev/null; then exit 0; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing chromium for the browser tests"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	else echo "No chromium here, and no root with apt-get to install it: the browser tests are skipped"; fi

clean:
	rm -rf demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
