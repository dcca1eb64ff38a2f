#!/bin/sh
# A PostgreSQL server of a test process's own, in a folder that goes with it. It runs until standard input ends, which it
# does with the test process, however that ends. Usage: postgres.sh FOLDER PORT [PRIMARY_PORT]: with a third argument it is
# a standby of the server at that port.
set -eu
folder=$1 port=$2 primary=${3:-}
bin=$(dirname "$(readlink -f "$(command -v postgres || ls -d /usr/lib/postgresql/*/bin/postgres | tail -1)")")
as=''
# PostgreSQL does not run as root.
if [ "$(id -u)" -eq 0 ]; then
    chown postgres "$folder"
    as='setpriv --reuid=postgres --regid=postgres --clear-groups'
fi
trap 'rm -rf "$folder"' EXIT
cd /
if [ -n "$primary" ]; then
    $as "$bin/pg_basebackup" -h 127.0.0.1 -p "$primary" -U signet -D "$folder/data" -R -X stream -c fast >"$folder/log" 2>&1
else
    $as "$bin/initdb" --pgdata="$folder/data" --username=signet --auth=trust --encoding=UTF8 --locale=C.UTF-8 \
        >"$folder/log" 2>&1
fi
$as "$bin/postgres" -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c max_connections=500 -c shared_buffers=64MB -c max_wal_size=256MB -c "shared_preload_libraries=${POSTGRES_PRELOAD:-}" </dev/null >>"$folder/log" 2>&1 &
server=$!
cat >/dev/null
# At once, as a machine that fails: nothing is written any more.
kill -QUIT "$server"
wait "$server" || true
