#!/usr/bin/env bash
# Installs what is missing, says what it installs, and is quick when nothing is missing.
#   bash tests/setup.sh demo    what `make demo` needs: Rust, a C compiler, cmake, and Node to build the voice page
#   bash tests/setup.sh test    that, and what `make test` needs: cargo-nextest, Python, Twilio's own libraries, PostgreSQL, browsers
# Debian packages need root or sudo. npm and pip packages go into gateway/web, tests/interop and tests/browser, nowhere else.
set -euo pipefail
cd "$(dirname "$0")/.."
for_what=${1:-test}
interop=tests/interop
[ -d "$HOME/.cargo/bin" ] && PATH="$PATH:$HOME/.cargo/bin"

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

apt_lists_fresh=no
# install_packages WHAT_FOR PACKAGE…
install_packages() {
    local what_for=$1; shift
    have apt-get || fail "$what_for is missing and there is no apt-get here: install the like of '$*' and run this again"
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        have sudo || fail "$what_for is missing: run 'apt-get install $*' as root, then this again"
        as_root=(sudo)
    fi
    say "installing $* with apt-get ($what_for)"
    if [ "$apt_lists_fresh" = no ]; then
        "${as_root[@]}" apt-get -qq update
        apt_lists_fresh=yes
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >/dev/null
}

need_rust() {
    have cargo || fail "Rust is missing: install it with rustup (https://rustup.rs), then run this again"
    have cc || install_packages "a C compiler, for the ring crate" gcc libc6-dev
    have cmake || install_packages "cmake, for libopus and aws-lc" cmake make
    if [ "$for_what" = test ]; then
        cargo fmt --version >/dev/null 2>&1 || fail "rustfmt is missing: run 'rustup component add rustfmt'"
        cargo clippy --version >/dev/null 2>&1 || fail "clippy is missing: run 'rustup component add clippy'"
    fi
}

# A test runner that ends a test that hangs. Without it, tests/test.sh falls back to `cargo test`.
need_nextest() {
    cargo nextest --version >/dev/null 2>&1 && return
    say "installing cargo-nextest with cargo (the test runner; several minutes, once)"
    cargo install cargo-nextest --locked --quiet || say "cargo-nextest did not install: cargo test will do instead"
}

need_node() {
    have node || install_packages "Node, for the voice page and Twilio's npm package" nodejs npm
    have npm || install_packages "npm" npm
    node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' \
        || fail "Node $(node --version) is too old to build the voice page: 20.19 or newer is needed"
}

# npm_packages FOLDER WHAT_FOR: exactly what its lock file says, once.
npm_packages() {
    local lock=$1/package-lock.json installed=$1/node_modules/.installed-lock.json
    cmp -s "$lock" "$installed" && return
    say "installing npm packages into $1/node_modules ($2)"
    npm ci --prefix "$1" --silent --no-audit --no-fund
    cp "$lock" "$installed"
}

# The voice page is part of the binary: it is built before it, and again when its sources are others.
need_web() {
    local web=gateway/web built_from
    npm_packages "$web" "Svelte, Vite and TypeScript, which build the voice page"
    built_from=$(find "$web" -type f -not -path '*/node_modules/*' -not -path "$web/dist/*" -print0 | sort -z | xargs -0 sha256sum | sha256sum)
    [ "$built_from" = "$(cat "$web/node_modules/.built-from" 2>/dev/null)" ] && [ -f "$web/dist/index.html" ] && return
    say "building the voice page into $web/dist"
    npm run --prefix "$web" --silent build
    printf '%s\n' "$built_from" >"$web/node_modules/.built-from"
}

need_python() {
    have python3 || install_packages "Python, for Twilio's and OpenAI's PyPI packages" python3 python3-venv
    local wanted=$interop/requirements.txt venv=$interop/.venv
    if cmp -s "$wanted" "$venv/installed-requirements.txt" && "$venv/bin/python" -c '' 2>/dev/null; then return; fi
    python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages "Python's venv module" python3-venv
    say "installing pip packages into $venv (Twilio's validator, OpenAI's client, hadolint, Go)"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$wanted"
    cp "$wanted" "$venv/installed-requirements.txt"
}

# The bot SDK for Go is compiled once here: Go builds its standard library on the way, which may take a minute.
need_go() {
    local go=$PWD/$interop/.venv/bin/go
    (cd gateway/clients/go && "$go" test -run '^$' ./... >/dev/null) || fail "the bot SDK for Go does not build"
}

# Counts instructions (tests/instructions.py).
need_valgrind() { have valgrind || install_packages "valgrind, for counting instructions" valgrind libc6-dbg; }

# The stores are tried over a real server, which the tests start for themselves on a free port and in a folder of theirs.
need_postgresql() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && return
    install_packages "PostgreSQL, for the tests of the stores" postgresql
}

# Browsers as Debian ships them: nothing is downloaded by their drivers.
need_browsers() {
    have chromium || install_packages "Chromium, which talks to the gateway in the tests" chromium
    have firefox-esr || install_packages "Firefox, which does too" firefox-esr
    npm_packages tests/browser "drivers of the browsers, and the SDKs that run in them"
}

# Stands before the gateway in the tests of bots. Only the program is used, each time with a folder and a port of its own.
need_nginx() {
    [ -x /usr/sbin/nginx ] && return
    install_packages "nginx, which stands before the gateway in a test" nginx-light
}

# Only the program is used: nothing of systemd is started, and it does not become this machine's init.
need_systemd_analyze() {
    have systemd-analyze || install_packages "systemd-analyze, which reads deploy/systemd" systemd
}

case $for_what in
    demo) need_rust; need_node; need_web ;;
    test) need_rust; need_nextest; need_node; need_web; npm_packages "$interop" "Twilio's validator, and OpenAI's SDKs with the Node that they need"; need_browsers; need_python; need_go; need_valgrind; need_postgresql; need_nginx ;;
    *) fail "what for? demo or test, not '$for_what'" ;;
esac
