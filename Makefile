# `make help` lists the targets. Each installs what it needs and finds missing (Debian packages; never Rust itself).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test test-modules lint advisories soak growth bench dist clean-state

# rustup's folder, for shells that have not read its env file.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

TARGET := $(or $(CARGO_TARGET_DIR),target)
STATE := .signet
# More than the machine has cores: a test of processes waits for half of its time.
TEST_THREADS = $(shell echo $$(($$(nproc) + 1)))
# What could not be tested here: written by the tests, told at the end.
SKIPPED := $(abspath $(TARGET))/skipped-tests
SCRIPTS := $(wildcard tools/*.sh softhsm/*.sh tests/clients/*.sh) .ci/run

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-20s %s\n' "$$name" "$$text"; done

run: ## build Signet and run it on a throwaway SoftHSM2 token, with a demo user; prints the commands for a token
	@tools/ensure-packages.sh build run
	@tools/require-rust.sh
	@[ -x $(TARGET)/release/signet ] || echo 'Building Signet; the first build takes some minutes ...'
	cargo build --locked --release
	@exec $(TARGET)/release/signet dev --state-dir $(STATE)

test: ## every suite: unit, integration and documentation tests, then the clients in other languages
	@tools/ensure-packages.sh build test
	@tools/require-rust.sh
	@rm -f '$(SKIPPED)'
	SKIPPED_TESTS='$(SKIPPED)' RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$(TEST_THREADS)} cargo test --locked --workspace --features piv,keyring || { tools/skipped.sh '$(SKIPPED)'; exit 1; }
	@echo 'The endpoints once more, with the store in PostgreSQL:'
	SIGNET_TEST_STORE=postgres SKIPPED_TESTS='$(SKIPPED)' RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$(TEST_THREADS)} cargo test --locked --workspace --features piv,keyring --test suite http:: || { tools/skipped.sh '$(SKIPPED)'; exit 1; }
	@[ ! -e tests/clients/run.sh ] || { echo bash tests/clients/run.sh; bash tests/clients/run.sh; }
	@tools/skipped.sh '$(SKIPPED)'

test-modules: ## the HSM suite on every PKCS#11 module there is, Kryoptic with it, which is built first (some minutes)
	@tools/ensure-packages.sh build test
	@tools/require-rust.sh
	tools/build-kryoptic.sh
	cargo test --locked --test suite hsm::modules:: -- --include-ignored

lint: ## formatting, clippy and rustdoc with warnings denied, verifier and client alone, shell scripts, dependencies
	@tools/ensure-packages.sh build lint
	@tools/require-rust.sh fmt clippy
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p signet-jose -p signet-verify --no-default-features -- -D warnings
	cargo clippy --locked --no-default-features --features piv,keyring -- -D warnings
	cargo package --locked --quiet --no-verify --allow-dirty -p signet-jose -p signet-verify
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --workspace --lib --exclude signet-fault-module
	shellcheck $(SCRIPTS)
	tools/cargo-deny.sh --locked check --hide-inclusion-graph bans licenses sources

advisories: ## known vulnerabilities in the dependencies (asks the RustSec database over the network)
	@tools/require-rust.sh
	tools/cargo-deny.sh --locked check --hide-inclusion-graph advisories

soak: ## races by the ten thousand, on both engines and over three nodes; SIGNET_SOAK_ROUNDS=1000 for ten times as many
	@tools/ensure-packages.sh build test
	@tools/require-rust.sh
	cargo test --locked --test suite races:: -- --ignored --nocapture --test-threads 4

growth: ## what tokens, refreshes and sign-ins cost the store with many rows, on both engines; GROWTH_USERS=1000000 for more
	@tools/ensure-packages.sh build test
	@tools/require-rust.sh
	cargo bench --locked --bench figures -- growth $(or $(GROWTH_USERS),10000) docs/evidence/growth.svg

bench: ## tokens a second over HTTP beside the bare module, verifications a second beside the bare library
	@tools/ensure-packages.sh build run
	@tools/require-rust.sh
	cargo bench --locked --bench throughput

dist: ## the optimized binary to ship, in target/dist
	@tools/ensure-packages.sh build
	@tools/require-rust.sh
	cargo build --locked --profile dist

clean-state: ## forget the throwaway token, the demo user and the database of `make run`
	rm -rf .signet
