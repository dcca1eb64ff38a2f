#!/bin/sh
# Builds Kryoptic, a software token in Rust, for the tests that run on it (make test-modules). It takes some minutes and
# a C compiler, perl and libclang; the result stays in target/kryoptic.
set -eu
cd "$(dirname "$0")/.."
tools/ensure-packages.sh build kryoptic
exec cargo build --release --manifest-path tests/support/modules/kryoptic_module/Cargo.toml \
    --target-dir "${CARGO_TARGET_DIR:-target}/kryoptic"
