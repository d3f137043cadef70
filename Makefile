# Everything a person does here is one of these commands; each sets up what it needs in .venv.
# GNU make and a POSIX shell are enough. `make PYTHON=python3.13 test` picks another Python.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# rustup's directory may not be on PATH yet; the interpreter is fixed so that cargo does not rebuild PyO3.
export PATH        := $(PATH):$(HOME)/.cargo/bin
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
IN_VENV := PATH="$(CURDIR)/$(BIN):$$PATH"

# What the extension is made of. python/ is live: the install is editable.
SOURCES    := pyproject.toml Cargo.toml Cargo.lock $(shell find rust -name '*.rs')
RUST_MINOR := $(shell sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' Cargo.toml)

.PHONY: help demo test test-lab test-frameworks run-frameworks test-isas prove check bench bench-sampling bench-dense bench-orthogonal bench-gemm bench-models run-bench-models battery docs wheel clean
.PHONY: has-rust has-python has-batteries
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help:   ## Show this list
	@awk -F ': .*## ' '/^[a-z-]+: .*## / { printf "  make %-16s  %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/with-demo  ## Train MNIST from several initializations; the pictures are in demo/
	$(BIN)/initcore compare --data mnist --out demo

test: $(VENV)/with-test  ## Run the Rust and the Python tests
	cargo test
	$(BIN)/python -m pytest

test-lab: $(VENV)/with-test-lab  ## Try the laboratory in a browser; it takes a chromium
	$(BIN)/python -m pytest tests/browser

# In an environment of its own: PyTorch alone takes gigabytes.
test-frameworks:  ## Try the adapters with the real PyTorch, JAX, Keras, Dask, MPI and Ray
	$(MAKE) VENV=.venv-frameworks run-frameworks

run-frameworks: $(VENV)/with-frameworks
	$(BIN)/python -m pytest tests/frameworks

# The instruction sets that test-isas demands of the machine. One with fewer: make test-isas ISAS='baseline avx2'.
ISAS ?= $(if $(filter x86_64 amd64,$(shell uname -m)),baseline avx2 avx512,neon)

test-isas: $(VENV)/with-test  ## Run all tests once on every instruction set
	@$(if $(strip $(ISAS)),,$(error ISAS names no instruction set))
	@for isa in $(ISAS); do \
	  INITCORE_ISA=$$isa $(BIN)/python -c 'import initcore; initcore.show_config()' || exit; done
	@for isa in $(ISAS); do echo "=== INITCORE_ISA=$$isa"; export INITCORE_ISA=$$isa; \
	  cargo test && $(BIN)/python -m pytest || exit; done

# Not part of .ci/run: it takes minutes on all cores.
prove: | has-rust  ## Try all 2^32 words on every float32 map; the results go to docs/proof.md
	PROOF=docs/proof.md cargo test --release --test prove -- --ignored --nocapture

check: $(VENV)/with-dev  ## Format, lints, types and stubs; warnings are errors
	cargo fmt --check
	cargo fmt --check --manifest-path benches/gemm/Cargo.toml
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --features python -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --document-private-items
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict
	$(BIN)/stubtest --mypy-config-file pyproject.toml --allowlist tools/stubtest.allowlist --ignore-unused-allowlist initcore

bench: $(VENV)/with-bench  ## Run the Rust and the Python benchmarks
	cargo bench
	$(BIN)/python -m pytest benches

# Peers are measured where they are installed: .venv/bin/pip install -e '.[bench,peers]' (gigabytes).
bench-sampling: $(VENV)/with-bench  ## Measure sampling beside the peers; writes docs/benchmarks-sampling.md
	$(BIN)/python benches/sampling_table.py

bench-dense: $(VENV)/with-bench  ## Measure the dense core beside the peers; writes docs/benchmarks-dense.md
	$(BIN)/python benches/dense_table.py

bench-orthogonal: $(VENV)/with-bench  ## Measure orthogonal matrices beside the peers; writes docs/benchmarks-orthogonal.md
	$(BIN)/python benches/orthogonal_table.py

bench-models:  ## Measure a whole language model beside the peers; writes docs/benchmarks-models.md
	$(MAKE) VENV=.venv-frameworks run-bench-models

run-bench-models: $(VENV)/with-frameworks
	$(BIN)/python benches/model_table.py

# A program of its own, so that the package does not depend on what it was not built with.
bench-gemm: | has-rust  ## Measure the crates that multiply matrices; writes docs/benchmarks-gemm.md
	cargo build --release --locked --manifest-path benches/gemm/Cargo.toml
	cargo run --release --locked --quiet --manifest-path benches/gemm/Cargo.toml docs/benchmarks-gemm.md

# BATTERY=--full takes hours; BATTERY='--jobs 1' leaves the other processors alone.
TARGET := $(or $(CARGO_TARGET_DIR),target)
battery: has-rust has-python has-batteries  ## Put the raw words through dieharder and TestU01; results in docs/battery.md
	cargo build --release --example words
	cc -O2 -o $(TARGET)/testu01 tools/testu01.c -ltestu01 -ltestu01probdist -ltestu01mylib -lm
	$(PYTHON) tools/battery.py $(BATTERY) $(TARGET)/release/examples/words $(TARGET)/testu01

# zig links against an old glibc, so the wheel runs on every Linux that Rust's own library runs on.
ifeq ($(shell uname -s),Linux)
PORTABLE := --zig --compatibility manylinux2014
endif

docs: $(VENV)/with-docs  ## Write the documentation to docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

wheel: $(VENV)/maturin  ## Build a portable wheel in dist/ and check it in a clean environment
	$(BIN)/python -m pip install --quiet 'maturin[zig]'
	rm -rf dist
	$(IN_VENV) maturin build --release --strip --locked $(PORTABLE) --out dist
	$(BIN)/python tools/check_wheel.py dist/*.whl

clean:  ## Remove everything that was built, .venv too
	rm -rf $(VENV) .venv-frameworks dist demo target benches/gemm/target docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find python tests benches \( -name __pycache__ -o -name '_core.*.so' \) -prune -exec rm -rf {} +

# Stamp: the extension, built with optimisations, and the package with its extra of that name.
$(VENV)/with-%: $(SOURCES) | $(VENV)/maturin
	@echo 'Building the extension; the first time takes a few minutes ...'
	$(IN_VENV) pip install --quiet --no-build-isolation --editable '.[$*]'
	@touch $@

# Stamp: the environment and its build tool.
$(VENV)/maturin: | has-rust has-python
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet 'maturin>=1.14,<2'
	@touch $@

# Say what is missing and how to get it, before anything else fails with less clear words.
missing = { printf '%s\n' "make: $(1)" >&2; exit 1; }

has-rust:
	@command -v cc >/dev/null || $(call missing,no C linker (cc). Debian or Ubuntu: apt install gcc libc6-dev; macOS: xcode-select --install)
	@command -v cargo >/dev/null || $(call missing,no cargo: the core is Rust. Install it from https://rustup.rs)
	@rustc --version | awk -F'[ .]' '$$3 >= $(RUST_MINOR) { ok = 1 } END { exit !ok }' \
	  || $(call missing,Rust 1.$(RUST_MINOR) or newer is needed. Run: rustup update stable && rustup default stable)

has-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || $(call missing,$(PYTHON) is not a Python 3.11 or newer. Name one: make PYTHON=python3.12 ...)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || $(call missing,$(PYTHON) cannot make virtual environments. Debian or Ubuntu: apt install python3-venv)

has-batteries:
	@command -v dieharder >/dev/null || $(call missing,no dieharder. Debian or Ubuntu: apt install dieharder)
	@printf '#include <testu01/bbattery.h>' | cc -E -x c -o /dev/null - 2>/dev/null \
	  || $(call missing,no TestU01. apt install libtestu01-0-dev (Debian: section non-free; Ubuntu: multiverse))
