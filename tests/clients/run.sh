#!/bin/bash
# Clients that nobody here wrote use a running Signet: curl, PyJWT and Authlib check tokens of three algorithms,
# the snippets of docs/guides/verify.md verify one, Yubico's clients have OTPs verified, and Schemathesis goes through the admin API.
# Builds nothing but the program itself, keeps everything in a folder of its own, and stops what it started.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
tools/ensure-packages.sh test
cargo build --locked --quiet
signet=${CARGO_TARGET_DIR:-$root/target}/debug/signet
# Debian's interpreter, which sees Debian's packages; another one may come first on the PATH.
python=/usr/bin/python3
export no_proxy='*'
unset "${!SIGNET_@}"

folder=$(mktemp -d)
server=
stop() {
    [ -n "$server" ] || return 0
    kill "$server" 2>/dev/null || true
    wait "$server" || { echo "FAIL the server ended with $?" >> "$folder/results"; }
    server=
}
trap 'stop; rm -rf "$folder"' EXIT

# start COMMAND...: serves in the background, and waits until it says so.
start() {
    : > "$folder/log"
    "$@" > "$folder/printed" 2> "$folder/log" &
    server=$!
    for _ in $(seq 600); do
        if grep -q '^serving ' "$folder/log"; then return; fi
        if ! kill -0 "$server" 2>/dev/null; then break; fi
        sleep 0.05
    done
    cat "$folder/log" >&2
    echo "the server did not start: $*" >&2
    exit 1
}

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
issuer=http://127.0.0.1:$port
config=$folder/state/signet.toml
: > "$folder/results"

start "$signet" dev --state-dir "$folder/state" --listen "127.0.0.1:$port"
# What the printed commands hold: credentials, password, and how to get the current code.
for _ in $(seq 100); do grep -q 'Operate it' "$folder/printed" && break; sleep 0.05; done
credentials=$(sed -n "s/.*-u '\([^']*\)'.*/\1/p" "$folder/printed")
password=$(sed -n "s/.*'password=\([^']*\)'.*/\1/p" "$folder/printed")
seed=$(sed -n 's/^ *oathtool --totp -b \([A-Z2-7]*\)$/\1/p' "$folder/printed")
export SIGNET_TEST_PASSWORD=$password SIGNET_TEST_SEED=$seed SIGNET_TEST_CREDENTIALS=$credentials

# check ALGORITHM: a token by curl, then everything that the libraries can do.
check() {
    echo "== $1"
    curl --silent --show-error --fail-with-body "$issuer/oauth2/token" --user "$credentials" \
        --data grant_type=client_credentials --data scope=read > "$folder/answer.json"
    "$python" tests/clients/check.py "$1" "$issuer" "$folder/answer.json" | tee -a "$folder/results" ||
        echo "FAIL check.py for $1 did not end well" | tee -a "$folder/results"
}

check ES256
echo '== the snippets of docs/guides/verify.md'
tests/clients/verify.sh docs/guides/verify.md "$issuer" https://api.demo.example "$folder/answer.json" "$root" "$folder" |
    tee -a "$folder/results" || echo 'FAIL verify.sh did not end well' | tee -a "$folder/results"
echo '== Yubico validation'
tests/clients/validation.sh "$signet" "$config" "$issuer" "$folder" | tee -a "$folder/results" ||
    echo 'FAIL validation.sh did not end well' | tee -a "$folder/results"
stop
state() {
    printf '%s\n' "$@" | "$signet" --config "$config" apply -f - >/dev/null 2>&1
}
# Nobody keeps the keys for long here, so that a new one signs at once.
state '[keys]' 'jwks_max_age = "1s"' 'clock_skew = "0s"'
for algorithm in RS256 EdDSA; do
    "$signet" --config "$config" key generate --algorithm "$algorithm" --bits 2048 2>/dev/null
    sleep 1
    state '[tokens]' "algorithm = \"$algorithm\""
    start "$signet" --config "$config" serve
    check "$algorithm"
    stop
done
# The last one: it may change and remove whatever it finds.
echo '== the admin API'
start "$signet" --config "$config" serve
tests/clients/admin_api.sh "$folder/state/admin.sock" "$folder" | tee -a "$folder/results" ||
    echo 'FAIL admin_api.sh did not end well' | tee -a "$folder/results"
stop

passed=$(grep -c '^ok ' "$folder/results" || true)
failed=$(grep -c '^FAIL ' "$folder/results" || true)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
