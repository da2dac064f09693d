# Everything a person types here. `make up` and `make test` set themselves up on a bare machine.

PORT ?= 8000
PY := .venv/bin/python
ERP := .venv/bin/erp
STAMP := .venv/.installed
CODE := $(wildcard domain commands projections sagas api eventstore erp tests bench deploy)

# Python 3.11 where it is to be had under that name, else whatever python3 is (checked below).
PYTHON ?= $(shell command -v python3.11 >/dev/null 2>&1 && python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)

.DEFAULT_GOAL := help
.PHONY: help up test test-slow test-kafka coverage check fmt demo lock bench-commands bench-stream bench-orders clean .venv

help:
	@echo 'make up [PORT=8000]    start everything here: embedded Postgres, a demo company, the API'
	@echo 'make demo              a scripted tour over HTTP'
	@echo 'make test              the tests (make test ARGS="tests/house -k settings" for some)'
	@echo 'make test-kafka        the stream tests once more, on a real Apache Kafka (needs Java 17 and Maven)'
	@echo 'make test-slow         what takes minutes: kill -9 of every part and at every step of an order, generated requests'
	@echo 'make coverage          that tests take every branch of domain/ and commands/'
	@echo 'make check             format, lint, types, layers'
	@echo 'make fmt               put format and imports in order'
	@echo 'make bench-commands    how fast commands are, beside what bounds them'
	@echo 'make bench-stream      how fast the read side is: visible, sustained, rebuilt, asked'
	@echo 'make bench-orders      how fast orders are: placed to confirmed, sustained, one hot item'
	@echo 'make lock              compile requirements.lock from pyproject.toml'
	@echo 'make clean             remove environment and caches; .erp/ (your data) stays'

.venv: $(STAMP)

# The stamp is written last: an install that broke off is made again from the start.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed: $(PYTHON) is older. Try: make PYTHON=/path/to/python3.11' >&2; exit 2; }
	@echo 'Setting up .venv from requirements.lock (once, about a minute)'
	@test -x $(PY) || $(PYTHON) -m venv --clear .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

up: $(STAMP)
	@exec $(ERP) up --port $(PORT)

demo: $(STAMP)
	@exec $(ERP) demo

# Most tests wait for servers: two at a time, file by file.
TWO := -n 2 --dist loadfile

test: $(STAMP)
	@$(PY) -m pytest -q $(TWO) $(ARGS)

# Parts are killed and waited for, and requests generated at every route: minutes, so they have a target of their own.
test-slow: $(STAMP)
	@$(PY) -m pytest -q -m "slow and not kafka" $(ARGS)

test-kafka: $(STAMP)
	@$(PY) -m tests.kafka.distribution
	@$(PY) -m pytest -q -m kafka $(ARGS)

# Every branch of the rules and of what carries them out is there for a reason, so a test takes it.
coverage: $(STAMP)
	@$(PY) -m pytest -q $(TWO) tests/finance tests/payments tests/commands tests/api tests/inventory tests/eventstore/test_codec.py tests/sales \
	  --cov=domain --cov=commands --cov-report=term-missing:skip-covered --cov-fail-under=100

check: $(STAMP)
	@$(PY) -m ruff format --check --quiet $(CODE)
	@$(PY) -m ruff check --quiet $(CODE)
	@$(PY) -m mypy $(CODE)
	@.venv/bin/lint-imports

fmt: $(STAMP)
	@$(PY) -m ruff check --quiet --fix-only $(CODE)
	@$(PY) -m ruff format --quiet $(CODE)

bench-commands: $(STAMP)
	@$(PY) -m bench.commands

bench-stream: $(STAMP)
	@$(PY) -m bench.stream

bench-orders: $(STAMP)
	@$(PY) -m bench.orders

# No index address and no path of this machine may get into the lock: hence --no-config and the flags.
lock: $(STAMP)
	@$(PY) -m uv --no-config pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage dist
	find . -name __pycache__ -not -path './.erp/*' -prune -exec rm -rf {} +
