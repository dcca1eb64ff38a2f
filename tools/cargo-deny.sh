#!/bin/sh
# Runs cargo-deny, and builds it once where it is missing, under target/tools. Usage: tools/cargo-deny.sh ARGUMENTS
set -eu

version=0.20.2
root=$(cd "$(dirname "$0")/.." && pwd)
tools=${CARGO_TARGET_DIR:-$root/target}/tools

if command -v cargo-deny >/dev/null 2>&1; then
    deny=cargo-deny
else
    deny=$tools/bin/cargo-deny
    if [ ! -x "$deny" ]; then
        echo "Building cargo-deny $version, once (under three minutes on 2 cores) ..."
        cargo install --locked --version "$version" --root "$tools" --target-dir "$tools/build" cargo-deny
        rm -rf "$tools/build"
    fi
fi
cd "$root"
exec "$deny" "$@"
