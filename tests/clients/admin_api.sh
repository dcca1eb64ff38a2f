#!/bin/bash
# Schemathesis, which knows the admin API by its OpenAPI document alone, asks it whatever the document allows and what it forbids:
# no answer may be a fault of the server or one that the document does not name. Called by run.sh:
# admin_api.sh SOCKET FOLDER; prints one line a check.
set -euo pipefail

socket=$1 folder=$2
cd "$(dirname "$0")"

# An environment of its own for what comes from PyPI.
/usr/bin/python3 -m venv --system-site-packages "$folder/schema"
python=$folder/schema/bin/python
"$python" -m pip --quiet --disable-pip-version-check install --no-deps --require-hashes --requirement schemathesis.txt

# It speaks to no Unix socket by itself.
"$python" socket_proxy.py "$socket" > "$folder/proxy" &
proxy=$!
trap 'kill "$proxy"' EXIT
for _ in $(seq 100); do [ -s "$folder/proxy" ] && break; sleep 0.05; done
address=$(cat "$folder/proxy")

checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance
checks=$checks,unsupported_method,missing_required_header
if "$folder/schema/bin/schemathesis" run "$address/api/openapi.json" --url "$address" --checks "$checks" --phases examples,coverage,fuzzing --max-examples 20 \
    --seed 1 --suppress-health-check all > "$folder/schema.log" 2>&1; then
    tested=$(sed -n 's/^ *Tested: *//p' "$folder/schema.log")
    echo "ok schemathesis finds no fault in $tested operations of the admin API"
else
    sed -n '/FAILURES/,$p' "$folder/schema.log" >&2
    echo 'FAIL schemathesis finds faults in the admin API'
fi
if grep -q 'Unresolvable' "$folder/schema.log"; then
    echo 'FAIL the document refers to what it does not describe'
else
    echo 'ok the document describes all that it refers to'
fi

# A generator that is not ours makes a client of the document, and that one is used.
/usr/bin/python3 -m venv --system-site-packages "$folder/generator"
"$folder/generator/bin/python" -m pip --quiet --disable-pip-version-check install --no-deps --require-hashes --requirement openapi_client.txt
clients=$PWD
curl --silent --show-error --fail "$address/api/openapi.json" > "$folder/openapi.json"
if ! (cd "$folder" && generator/bin/openapi-python-client generate --path openapi.json > generator.log 2>&1 &&
    generator/bin/python "$clients/openapi_client.py" signet-admin-api-client "$address") 2> "$folder/generated.log"; then
    cat "$folder/generator.log" "$folder/generated.log" >&2
    echo 'FAIL no client can be generated from the document, or it does not work'
fi
