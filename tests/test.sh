#!/usr/bin/env bash
# Every check of the house, one after the other; the first that fails ends it. `make test` runs this after setup.sh.
# One build profile (dev), so that each crate is built once; only the core path is built again as it is shipped, to
# count its instructions. Nothing here reads standard input.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -d "$HOME/.cargo/bin" ] && PATH="$PATH:$HOME/.cargo/bin"
export CARGO_TERM_PROGRESS_WHEN=${CARGO_TERM_PROGRESS_WHEN:-auto}

step() {
    local name=$1 began=$SECONDS; shift
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" </dev/null || { printf '\n== %s failed after %d s\n' "$name" "$((SECONDS - began))" >&2; exit 1; }
    printf '== %s passed in %d s\n' "$name" "$((SECONDS - began))"
}

profile=default
[ -n "${CI:-}" ] && profile=ci

step format cargo fmt --all --check
step lint cargo clippy --workspace --all-targets --locked -- -D warnings
step "doc tests" cargo test --doc --workspace --locked --quiet
step "mutants of the ledger" python3 tests/mutants.py
step "instructions of the core path" python3 tests/instructions.py
# The runner of the tests comes last: its closing line is the verdict.
if cargo nextest --version >/dev/null 2>&1; then
    step tests cargo nextest run --workspace --locked --profile "$profile"
else
    echo "cargo-nextest is not here: running cargo test, which cannot end a test that hangs"
    step tests cargo test --workspace --locked --lib --bins --examples --tests
fi
