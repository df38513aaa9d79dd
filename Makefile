# Two commands on a fresh machine: `make demo` and `make test`. Each installs what is missing and says so.
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench instructions audio
SHELL := bash

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: ## build, place one simulated phone call, leave the voice page open (PATCHBAY_DEMO_EXIT=1 ends it)
	@bash tests/setup.sh demo
	@cargo build --release --locked --package patchbay
	@cargo run --release --locked --package patchbay --quiet -- demo

test: ## format, lints, doc tests, all tests
	@bash tests/setup.sh test
	@bash tests/test.sh

lint: ## format and lints only
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- -D warnings

bench: ## what 500 calls cost here, beside a plain TCP relay in the same run (a minute or two)
	@bash tests/setup.sh demo
	@cargo build --release --locked --package patchbay
	@cargo run --release --locked --package patchbay --quiet -- bench --calls 500

instructions: ## how many instructions a frame costs on the core path (needs valgrind)
	@python3 tests/instructions.py

audio: ## make the speech fixtures and the prompts again (needs espeak-ng and sox)
	@bash fixtures/make-audio.sh
