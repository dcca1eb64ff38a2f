#!/bin/sh
# Says what is wrong where Rust is missing or older than `rust-version` in Cargo.toml. It installs nothing: a tool chain
# is the user's choice. Usage: tools/require-rust.sh [fmt clippy ...]
set -eu

wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")

advise() {
    cat >&2 <<TEXT
$1
Install Rust with rustup (Debian's cargo package is older than this):
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
    . "\$HOME/.cargo/env"
or, where rustup is there already:  rustup update stable
TEXT
    exit 1
}

command -v cargo >/dev/null 2>&1 || advise "Signet needs Rust $wanted or newer, and there is no cargo on the PATH."
found=$(cargo --version | cut -d ' ' -f 2)
oldest=$(printf '%s\n%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)
[ "$oldest" = "$wanted" ] || advise "Signet needs Rust $wanted or newer; $(command -v cargo) is $found."

for component in "$@"; do
    if ! cargo "$component" --version >/dev/null 2>&1; then
        echo "cargo $component is missing. Install it:  rustup component add rustfmt clippy" >&2
        exit 1
    fi
done
