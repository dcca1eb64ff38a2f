#!/bin/sh
# Makes a throwaway SoftHSM2 token without root, and does nothing where it exists already.
#
#   provision.sh STATE_DIR [LABEL]      LABEL is "signet" where none is given
#
# In STATE_DIR: softhsm2.conf, tokens/, and pin (mode 0600, random). The last line on standard output is the path of
# the PKCS#11 module; what is done is said on standard error.
# SIGNET_SOFTHSM_MODULE names the module where it is in no usual place.
set -eu
umask 077

say() { printf 'softhsm: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ -z "$1" ]; then
    echo "usage: provision.sh STATE_DIR [LABEL]" >&2
    exit 2
fi
label=${2:-signet}

find_module() {
    if [ -n "${SIGNET_SOFTHSM_MODULE:-}" ]; then
        [ -f "$SIGNET_SOFTHSM_MODULE" ] && printf '%s\n' "$SIGNET_SOFTHSM_MODULE" && return 0
        fail "SIGNET_SOFTHSM_MODULE names $SIGNET_SOFTHSM_MODULE, which is not there"
    fi
    for candidate in \
        /usr/lib/softhsm/libsofthsm2.so \
        /usr/lib/*/softhsm/libsofthsm2.so \
        /usr/lib64/pkcs11/libsofthsm2.so \
        /usr/lib64/softhsm/libsofthsm2.so \
        /usr/lib/pkcs11/libsofthsm2.so \
        /usr/local/lib/softhsm/libsofthsm2.so \
        /opt/homebrew/lib/softhsm/libsofthsm2.so
    do
        [ -f "$candidate" ] && printf '%s\n' "$candidate" && return 0
    done
    fail "libsofthsm2.so is not found; install SoftHSM2 (Debian, Ubuntu: apt install softhsm2; Fedora: dnf install softhsm), or name it in SIGNET_SOFTHSM_MODULE"
}

random_pin() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

module=$(find_module)
command -v softhsm2-util >/dev/null 2>&1 || fail "softhsm2-util is not found; install SoftHSM2 (Debian: apt install softhsm2)"

mkdir -p "$1"
state=$(cd "$1" && pwd -P)
mkdir -p "$state/tokens"

if [ ! -f "$state/softhsm2.conf" ]; then
    template=$(dirname "$0")/softhsm2.conf.in
    [ -f "$template" ] || fail "the template $template is not there"
    sed "s|@TOKENDIR@|$state/tokens|" "$template" > "$state/softhsm2.conf.new"
    mv "$state/softhsm2.conf.new" "$state/softhsm2.conf"
    say "wrote $state/softhsm2.conf"
fi
SOFTHSM2_CONF=$state/softhsm2.conf
export SOFTHSM2_CONF

if softhsm2-util --module "$module" --show-slots | sed -n 's/^ *Label: *//p' | sed 's/ *$//' | grep -Fxq -- "$label"; then
    [ -f "$state/pin" ] || fail "the token \"$label\" exists, but its PIN is not in $state/pin; remove $state to start over"
    say "the token \"$label\" is in place"
else
    [ -f "$state/pin" ] || { random_pin > "$state/pin.new"; mv "$state/pin.new" "$state/pin"; }
    # softhsm2-util takes PINs on a terminal or as arguments only. For the moment of this call other users of the
    # machine can see them in the process list, unless /proc is mounted with hidepid; the token is empty then.
    # The security officer's PIN is kept nowhere: a token that is locked is made anew.
    softhsm2-util --module "$module" --init-token --free --label "$label" \
        --so-pin "$(random_pin)" --pin "$(cat "$state/pin")" >/dev/null
    say "made the token \"$label\"; its PIN is in $state/pin"
fi

printf '%s\n' "$module"
