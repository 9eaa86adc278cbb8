# Everything here sets itself up: Python 3.11 or later, a C compiler and make are all that it needs.
# `make help` lists the targets; PYTHON= and VENV= choose another interpreter and environment.

VENV ?= .venv
# The first that can make an environment, or none. Looked for only when one is made.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14 /usr/bin/python3.11 /usr/bin/python3; do \
	if "$$python" tools/environment.py --check >/dev/null 2>&1; then echo "$$python"; break; fi; done)
BIN := $(VENV)/bin
TIERS ?= unit flow
PYTEST_ARGS ?=
# What a test is repeated in is taken in turn, and the longest are left to `make full`; `make test QUICK=` runs all.
QUICK ?= --quick
# Processes that share the tests; 0 runs them in pytest's own, as --pdb needs.
JOBS ?= 2
# Of `make bench`: --rounds, --seconds, --depth; see `python -m bench --help`.
BENCH_ARGS ?=
# Of `make soak`: --seconds, --seed, --loop; see `python -m tools.soak --help`.
SOAK_ARGS ?=
# Of `make wheel`: --all.
WHEEL_ARGS ?=
EXAMPLES := $(wildcard examples)
SOURCES := $(shell find aionvme \( -name '*.pyx' -o -name '*.pxd' -o -name '*.h' \) -print)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test stateful docs test-vm smoke-vm test-interop smoke-interop lint build bench soak wheel aarch64 full \
	python-freethreaded clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

demo: build ## run the driver against the mock device: no root, no drive
	$(BIN)/aionvme hello mock:
	$(BIN)/python examples/hello_world.py mock:

test: build ## run the unit and flow tests, but for the longest: no root, no drive
	@for tier in $(TIERS); do \
		echo "== $$tier tests, $$($(BIN)/python --version)"; \
		$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(QUICK) aionvme/tests/$$tier $(PYTEST_ARGS) || exit 1; \
	done

stateful: build ## run 2,000 random programs of commands, cancellations, resets and faults
	$(BIN)/python -m pytest -n $(JOBS) aionvme/tests/stateful $(PYTEST_ARGS)

docs: build ## build the documentation into build/docs, and execute every block of code in it
	@$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/python -m sphinx -q -W --keep-going -j auto -b html docs build/docs
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal aionvme/tests/docs $(PYTEST_ARGS)

test-vm: build ## run the tests in a virtual machine with NVMe controllers (Debian; as root it installs QEMU)
	$(BIN)/python -m tools.vm test

smoke-vm: build ## each of these tests once, with one kernel interface, drive and format, in turn
	$(BIN)/python -m tools.vm test --quick

test-interop: build ## run the mock under the Linux kernel's own NVMe driver, in a guest of QEMU 11 (Debian, as test-vm)
	$(BIN)/python -m tools.interop test

smoke-interop: build ## these tests by one way to the controller, the one that users get
	$(BIN)/python -m tools.interop test --quick

lint: build ## check style, types and stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict aionvme tools bench $(EXAMPLES)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/cython-lint aionvme bench
	$(BIN)/python -m tools.stubs

build: $(VENV)/.built ## compile the extension modules in place, in an environment of their own

bench: build ## measure the driver beside others, on a machine that does nothing else: bench/results, docs/*.svg
	@$(BIN)/python -m pip install --quiet liburing || echo "no liburing for this Python: its row will be missing"
	$(BIN)/python -m bench $(BENCH_ARGS)
	$(BIN)/python -m bench.overhead --depths 1,32,256,1023 --json bench/results/overhead-depths.json
	$(BIN)/python -m bench.overhead --queue-pairs 1,8,64 --json bench/results/overhead-queue-pairs.json
	$(BIN)/python -m bench.footprint
	$(BIN)/python -m bench.bandwidth
	-$(BIN)/python -m bench.vfio_user
	-$(BIN)/python -m bench.adaptive

soak: build ## ten minutes of load, faults and resets, and a look at every block; SOAK_ARGS="--seconds 14400" for more
	$(BIN)/python -m tools.soak $(SOAK_ARGS)

wheel: build ## sdist and manylinux wheel in dist/, built in isolation, installed where nothing else is, and tested
	$(BIN)/python -m tools.wheel $(WHEEL_ARGS)

aarch64: build ## compile barriers and register accesses for aarch64, look at their instructions, run their test (Debian)
	$(BIN)/python -m tools.aarch64

full: build ## what is too long for every change: all tests, all Pythons, both guests, sanitizers, wheel, aarch64, repeated runs
	$(BIN)/python -m tools.full

python-freethreaded: ## build a Python without a GIL from Debian's source, for `make full` and bench.threads (Debian)
	$(PYTHON) -m tools.freethreaded

clean: ## delete all that was built; .vm/, the virtual machines' cache, and the Python without a GIL stay
	rm -rf build dist *.egg-info .venv .venvs .cache/full .cache/bench .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find aionvme \( -name '*.so' -o -name '*.c' -o -name '*.html' \) -delete
	find . -name .vm -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml tools/environment.py
	@python="$(PYTHON)"; if [ -z "$$python" ]; then \
		echo "No Python here will do: it takes 3.11 or later with its venv module and C headers." >&2; \
		echo "On Debian: apt-get install python3 python3-venv python3-dev gcc; or say make PYTHON=..." >&2; exit 1; fi; \
	"$$python" tools/environment.py "$(VENV)"
	@touch $@

$(VENV)/.built: $(VENV)/.installed setup.py $(SOURCES)
	$(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@
