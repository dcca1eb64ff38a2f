#!/bin/bash
# Yubico's own clients ask a running Signet: ykclient, pam_yubico through pamtester, and PyPI's yubico-client. Each must
# accept a good OTP, refuse it the second time, and notice an answer that was changed on its way. The OTPs are made by
# ykgenerate. Called by run.sh: validation.sh SIGNET CONFIG ISSUER FOLDER; prints one line a check.
set -euo pipefail

signet=$1 config=$2 issuer=$3 folder=$4
cd "$(dirname "$0")"
python=/usr/bin/python3
url=$issuer/wsapi/2.0/verify
public_id=ccccccbteudd
private_id=010203040506
secret=000102030405060708090a0b0c0d0e0f
counter=0

meddler=
trap '[ -z "$meddler" ] || kill "$meddler" 2>/dev/null || true' EXIT

# An environment of its own for what comes from PyPI; what that needs is Debian's.
"$python" -m venv --system-site-packages "$folder/venv"
python=$folder/venv/bin/python
"$python" -m pip --quiet --disable-pip-version-check install --no-deps --require-hashes --requirement yubico-client.txt

client=$("$signet" --config "$config" otp-client add clients --json)
id=$("$python" -c 'import json, sys; print(json.load(sys.stdin)["id"])' <<< "$client")
key=$("$python" -c 'import json, sys; print(json.load(sys.stdin)["api_key"])' <<< "$client")
printf '1,%s,%s,%s,,,\n' "$public_id" "$private_id" "$secret" |
    "$signet" --config "$config" otp-key import - > /dev/null

# A server in between that turns every status to OK.
"$python" meddler.py "$issuer" > "$folder/meddler" 2> "$folder/meddler.log" &
meddler=$!
for _ in $(seq 100); do [ -s "$folder/meddler" ] && break; sleep 0.05; done
tampered=$(cat "$folder/meddler")/wsapi/2.0/verify

# press: the next OTP of the key, in $otp.
press() {
    counter=$((counter + 1))
    otp=$public_id$(ykgenerate "$secret" "$private_id" "$(printf %04x "$counter")" c0a8 00 10)
}

# expect WHAT WANTED COMMAND...: whether the command ends well (yes) or not (no).
expect() {
    local what=$1 wanted=$2 got
    shift 2
    if "$@" > "$folder/said" 2>&1; then got=yes; else got=no; fi
    if [ "$got" = "$wanted" ]; then
        echo "ok $what"
    else
        echo "FAIL $what: $(tr '\n' ' ' < "$folder/said")"
    fi
}

# says TEXT: whether the last command said so.
says() {
    if grep -q -- "$1" "$folder/said"; then echo "ok ... and says $1"; else
        echo "FAIL it does not say $1: $(tr '\n' ' ' < "$folder/said")"
    fi
}

press
expect 'ykclient accepts a good OTP' yes ykclient --debug --url "$url" --apikey "$key" "$id" "$otp"
expect 'ykclient refuses it the second time' no ykclient --debug --url "$url" --apikey "$key" "$id" "$otp"
says 'replayed'
press
expect 'ykclient accepts a good OTP without a key of its own' yes ykclient --debug --url "$url" "$id" "$otp"
expect 'ykclient notices a changed answer' no ykclient --debug --url "$tampered" --apikey "$key" "$id" "$otp"
says 'Signature\|signature'
expect 'ykclient is told of an unknown client' no ykclient --debug --url "$url" 4711 "$otp"

# pam_yubico finds the user's public id in a file and asks; pamtester needs a service and a user of the system.
user=$(id -un)
service=signet-test-$$
printf '%s:%s\n' "$user" "$public_id" > "$folder/mapping"
pam() {
    printf 'auth required pam_yubico.so mode=client id=%s key=%s urllist=%s authfile=%s\naccount required pam_permit.so\n' \
        "$id" "$key" "$1" "$folder/mapping" > "/etc/pam.d/$service"
    printf '%s\n' "$otp" | pamtester "$service" "$user" authenticate
}
if [ "$(id -u)" -eq 0 ]; then
    trap 'rm -f "/etc/pam.d/$service"; [ -z "$meddler" ] || kill "$meddler" 2>/dev/null || true' EXIT
    press
    expect 'pam_yubico accepts a good OTP' yes pam "$url"
    expect 'pam_yubico refuses it the second time' no pam "$url"
    press
    expect 'pam_yubico accepts the next one' yes pam "$url"
    expect 'pam_yubico notices a changed answer' no pam "$tampered"
else
    echo 'FAIL pam_yubico was not asked: a PAM service can be written by root only'
fi

py() { "$python" yubico_client_check.py "$id" "$key" "$1" "$otp"; }
press
expect "PyPI's yubico-client accepts a good OTP" yes py "$url"
expect "PyPI's yubico-client refuses it the second time" no py "$url"
says REPLAYED
expect "PyPI's yubico-client notices a changed answer" no py "$tampered"
says SignatureVerificationError
