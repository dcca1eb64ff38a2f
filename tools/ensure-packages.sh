#!/bin/sh
# Installs the Debian packages that a task needs and that are not there yet. Where nothing is missing it asks nobody
# and takes no time. Usage: tools/ensure-packages.sh build|run|test|kryoptic|lint ...
set -eu

# package, what proves that it is there without the package (a command or a file; - for nothing), what it is for
table() {
    case $1 in
    build) cat <<'TABLE'
gcc cc compiles SQLite and the cryptographic library, which are built in
libc6-dev /usr/include/stdio.h the C library's headers, for the same
pkg-config pkg-config tells build scripts where libraries are
make make runs the Makefile
TABLE
        ;;
    run) cat <<'TABLE'
softhsm2 /usr/lib/softhsm/libsofthsm2.so the PKCS#11 module of the throwaway token
oathtool oathtool prints the demo user's current code
curl curl asks for the token
TABLE
        ;;
    test) cat <<'TABLE'
softhsm2 - the PKCS#11 module that the tests run on
libnss3 - NSS softokn, another PKCS#11 module
libnss3-tools certutil makes its database
swtpm swtpm a TPM in software
tpm2-abrmd tpm2-abrmd its resource manager
libtss2-tcti-tabrmd0 - the way to it
libtpm2-pkcs11-1 - the PKCS#11 module of a TPM
dbus-daemon dbus-daemon the bus between the two
dbus-bin dbus-send asks whether they are up, and what a keyring holds
gnome-keyring gnome-keyring-daemon the keyring for signet login --keyring
p11-kit p11-kit puts a PKCS#11 module behind a socket
p11-kit-modules - the PKCS#11 module in front of it
opensc pkcs11-tool a PKCS#11 client that is not ours looks at the keys
oathtool oathtool one-time codes from an implementation that is not ours
libpcsclite-dev /usr/include/PCSC/winscard.h the way to a smart card, for signet login --piv
pcscd /usr/sbin/pcscd the smart card daemon
vsmartcard-vpcd /usr/lib/pcsc/drivers/serial/libifdvpcd.so its virtual reader
pskctool pskctool reads the token containers that the tests import
curl curl a client of the HTTP surface
sqlite3 sqlite3 looks into the database file
python3-jwt - verifies tokens in another language
python3-cryptography - the same: its ECDSA, EdDSA and RSA
python3-authlib - an OAuth client that is not ours
python3-requests - its HTTP
libykclient-dev ykclient Yubico's own client asks the validation server
libyubikey-dev ykgenerate makes Yubico OTPs
libpam-yubico - the PAM module that asks the validation server
pamtester pamtester signs in through PAM
python3-venv - a place for a client that comes from PyPI
chromium chromium a real browser uses the pages, with a security key of its own
chromium-driver chromedriver drives it
procps kill ends processes of a test
openssl openssl makes keys outside of an HSM, which must be refused
strace strace sees which files a command opens
systemd systemd-socket-activate starts a worker of its own user behind a socket
util-linux prlimit sets the limits that a full disk is made of
postgresql postgres the database that many nodes share, a server of the tests' own
TABLE
        ;;
    kryoptic) cat <<'TABLE'
libclang-dev - reads OpenSSL's headers for Kryoptic
perl perl configures OpenSSL
TABLE
        ;;
    lint) cat <<'TABLE'
shellcheck shellcheck checks the shell scripts
libpcsclite-dev /usr/include/PCSC/winscard.h the way to a smart card, which the client alone is checked with
TABLE
        ;;
    *)
        echo "ensure-packages: unknown set '$1'; expected build, run, test, kryoptic or lint" >&2
        exit 2
        ;;
    esac
}

is_there() {
    case $2 in
    -) ;;
    /*) [ -e "$2" ] && return 0 ;;
    *) command -v "$2" >/dev/null 2>&1 && return 0 ;;
    esac
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]
}

wanted=$(for set in "$@"; do table "$set"; done)
missing=''
reasons=''
while read -r package proof reason; do
    [ -n "$package" ] || continue
    case " $missing " in *" $package "*) continue ;; esac
    if ! is_there "$package" "$proof"; then
        missing="$missing $package"
        reasons="$reasons  $package: $reason
"
    fi
done <<LIST
$wanted
LIST
[ -n "$missing" ] || exit 0

echo 'Missing system packages:'
printf '%s' "$reasons"
if ! command -v apt-get >/dev/null 2>&1; then
    echo 'There is no apt-get here: install their equivalents with your package manager, then try again.' >&2
    exit 1
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=''
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root='sudo -n'
elif command -v sudo >/dev/null 2>&1 && [ -z "${CI:-}" ] && [ -t 0 ]; then
    as_root='sudo'
else
    echo "They need root, and sudo can't be used here. As root, run:  apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

# shellcheck disable=SC2086  # as_root and the package names are meant to fall apart into words
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" </dev/null
}

echo "Installing with ${as_root:+sudo }apt-get:$missing"
# shellcheck disable=SC2086
if ! apt install --simulate --no-install-recommends $missing >/dev/null 2>&1; then
    apt update # the package lists are empty or old
fi
# shellcheck disable=SC2086
if ! apt install --yes --no-install-recommends $missing; then
    apt update
    apt install --yes --no-install-recommends $missing
fi
