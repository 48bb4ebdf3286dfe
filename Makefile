# What people and CI type. Every target says what it is for in the comment behind it; `make` alone lists them.
.DEFAULT_GOAL := help
.SUFFIXES:

# The first Python that is new enough. Only set-up runs on it; all else runs in .venv.
PYTHON ?= $(firstword $(foreach python,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(python) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(python))))
BIN := .venv/bin
# What needs the Docker Engine runs through this: it lends a user the docker group that set-up has just given them.
WITH_ENGINE = $(PYTHON) -m infra.setup exec
PYTEST_ARGS ?=
BENCH_ARGS ?=
# Most tests wait for servers and containers more than they compute: three files at a time keep two cores busy (88 % of a whole run; with two, 70 %).
TEST_WORKERS ?= 3
SIDE_BY_SIDE = -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder
FAST_TESTS = $(wildcard tests/unit tests/contract)
TYPED = $(wildcard lattice services agent cli standalone dashboards infra tests bench)

.PHONY: help demo setup dev-setup test check bench soak down reset lock images image python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: setup ## from nothing to a database that answers a query on this machine
	@$(WITH_ENGINE) $(BIN)/python -m standalone.demo

setup: python ## what demo and test need: packages, .venv with the lattice CLI, Docker Engine, template images
	@$(PYTHON) -m infra.setup run

dev-setup: python
	@$(PYTHON) -m infra.setup dev

test: dev-setup ## set up everything the tests need and run all of them (PYTEST_ARGS="-k name" for some)
	@$(WITH_ENGINE) $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

check: dev-setup ## format, lint, types, import contracts, drift of generated documents, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(TYPED)
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m lattice.contracts.asyncapi --check
	$(BIN)/python -m lattice.metrics --check
	$(BIN)/python -m dashboards --check
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) $(FAST_TESTS)

bench: dev-setup ## the benchmarks, each against its floor or peer in the same run (BENCH_ARGS=--full-size for the sizes of the goals)
	@$(PYTHON) -m infra.setup peers
	@$(WITH_ENGINE) $(BIN)/python -m bench $(BENCH_ARGS)

soak: dev-setup ## the long proofs at full size; writes docs/reliability.md
	@$(WITH_ENGINE) $(BIN)/python -m pytest -m soak --full-size --timeout 0 $(PYTEST_ARGS)

down: ## stop the platform and the workloads it runs here
	@$(WITH_ENGINE) $(BIN)/lattice down --workloads

reset: ## remove everything Lattice made on this machine, nothing else
	@$(WITH_ENGINE) $(BIN)/lattice reset --yes

lock: python ## write requirements/*.lock anew from pyproject.toml
	@$(PYTHON) -m infra.setup lock

images: python ## build the template images that were built here anew, with today's packages of the distribution
	@$(WITH_ENGINE) $(PYTHON) -m infra.setup images

image: setup ## build lattice.local/lattice:<version>, the image of Lattice itself
	@$(WITH_ENGINE) $(PYTHON) -m infra.setup image

python:
	@test -n "$(PYTHON)" || { echo "Lattice needs Python 3.11 or newer and found none. On Debian or Ubuntu: apt-get install python3 python3-venv" >&2; exit 1; }
