# lungnode. Research use only, not for diagnosis. `make help` says what there is.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
FILM   ?=
DATA   ?= ../shared/data
.DEFAULT_GOAL := help

.PHONY: viewer help install demo run test test-postgres check bench bench-models bench-scale faults fuzz soak lock peers

help:  ## this list
	@echo "lungnode: a DICOM-native AI node for chest imaging. Research use only, not for diagnosis."
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  make demo FILM=path   the same with your own film (DICOM, PNG or JPEG)"

install: $(VENV)/.installed  ## make .venv with all pinned dependencies

$(VENV)/.installed: pyproject.toml constraints.txt
	@sh tests/install_venv.sh "$(PYTHON)" "$(VENV)"
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24' -c constraints.txt
	$(BIN)/python -m pip install --quiet torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install --quiet --editable '.[dev]' -c constraints.txt
	@touch $@

demo: install  ## send a film by DICOM through a node to a stand-in PACS and show what comes back
	$(BIN)/lungnode demo $(if $(FILM),"$(FILM)")

run: install  ## a node that stays up: DICOM port 11112, HTTP port 8080, data in run-data/; no login on this machine
	@echo "The pages are at http://127.0.0.1:8080/ once the node has started; Ctrl+C ends it."
	LUNGNODE_WEB_LOOPBACK_NEEDS_NO_LOGIN=true $(BIN)/lungnode serve --data run-data

peers:
	@sh tests/install_peers.sh

test: install peers  ## install what the tests need and run all of them
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-postgres: install peers  ## the suites of the pipeline with their rows in PostgreSQL
	$(BIN)/python -m pytest -p tests.on_postgres tests/pipeline -k "not backup_is_whole and not killed_at_any_moment"

check: install  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check node models tests
	$(BIN)/ruff format --check node models tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install peers  ## ingest against storescp and Orthanc, and the whole path beside the bare models
	$(BIN)/python -m tests.bench

bench-models: install  ## milliseconds of each model, and against single images
	$(BIN)/python -m tests.bench.models

bench-scale: install peers  ## more workers with models of a fixed cost, and a backlog of 10,000 jobs over a kill
	$(BIN)/python -m tests.bench scale backlog

faults: install peers  ## 1,000 kills of the node's processes under load
	$(BIN)/python -m pytest tests/faults -m slow

viewer:  ## fetch the OHIF viewer, which the node then serves under /viewer
	@sh viewer/install.sh

fuzz: install peers  ## 200,000 faults in associations, commands and data sets (FUZZ="--first SEED" goes on from a seed)
	$(BIN)/python -m tests.fuzz $(FUZZ)

soak: install peers  ## 10,000 studies while processes and database are killed, then the slow tests (SOAK="--studies N": without them)
	$(BIN)/python -m tests.faults.soak $(SOAK)
	$(if $(SOAK),,$(BIN)/python -m pytest -m slow --timeout 3600)

$(BIN)/pip-compile:
	$(MAKE) install

lock: $(BIN)/pip-compile  ## write constraints.txt anew from pyproject.toml
	$(BIN)/pip-compile --quiet --strip-extras --extra dev --unsafe-package torch --no-emit-find-links \
	  --no-emit-index-url --no-emit-trusted-host --output-file constraints.txt pyproject.toml
