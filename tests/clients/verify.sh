#!/bin/bash
# The snippets of docs/guides/verify.md, from its very text, verify a token of a running Signet and refuse one that is for somebody else.
# Called by run.sh: verify.sh PAGE ISSUER AUDIENCE ANSWER.json SIGNET-TREE FOLDER; prints one line a snippet. A language that this machine
# lacks is told and passed over.
set -euo pipefail

page=$1 answer=$4 tree=$5 folder=$6/verify
export ISSUER=$2 AUDIENCE=$3
TOKEN=$(/usr/bin/python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["access_token"])' "$answer")
export TOKEN
mkdir -p "$folder"

# snippet NAME FILE: the block that stands below `<!-- run: NAME -->`.
snippet() {
    mkdir -p "$(dirname "$2")"
    awk -v mark="<!-- run: $1 -->" '$0 == mark { found = 1; next } found && /^```/ { if (inside) exit; inside = 1; next } inside' "$page" > "$2"
    [ -s "$2" ] || { echo "FAIL $1: the page has no such snippet"; return 1; }
}

# judge NAME COMMAND...: it says whose the token is, and refuses it for another audience, another issuer and another signature.
judge() {
    local name=$1 said wrong
    shift
    if ! said=$("$@" 2> "$folder/$name.log"); then
        tail -n 5 "$folder/$name.log" >&2
        echo "FAIL $name does not accept the token"
        return
    fi
    local subject
    subject=$(/usr/bin/python3 -c 'import base64, json, os
payload = os.environ["TOKEN"].split(".")[1]
print(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])')
    [ "$(tail -n 1 <<< "$said")" = "$subject" ] || { echo "FAIL $name says $said, not $subject"; return; }
    local head=${TOKEN%.*} signature=${TOKEN##*.}
    local first=${signature:0:1} other=A
    if [ "$first" = A ]; then other=B; fi
    for wrong in "AUDIENCE=https://elsewhere.example" "ISSUER=${ISSUER/127.0.0.1/localhost}" "TOKEN=$head.$other${signature:1}"; do
        if env "$wrong" "$@" > /dev/null 2>&1; then
            echo "FAIL $name accepts ${wrong%%=*} of somebody else"
            return
        fi
    done
    echo "ok $name verifies by the page's text"
}

has() {
    command -v "$1" > /dev/null || { echo "skipped: $2, which this machine lacks"; return 1; }
}

snippet python "$folder/python/verify.py"
judge python /usr/bin/python3 "$folder/python/verify.py"

if has npm 'the snippet for Node'; then
    snippet node "$folder/node/verify.mjs"
    (cd "$folder/node" && npm install --silent --no-audit --no-fund --ignore-scripts jose@6.1.0 > npm.log 2>&1)
    judge node node "$folder/node/verify.mjs"
fi

if has go 'the snippet for Go'; then
    snippet go "$folder/go/main.go"
    (cd "$folder/go" && go mod init verify && go get github.com/coreos/go-oidc/v3/oidc@v3.17.0 && go build -o verify .) > "$folder/go.log" 2>&1
    judge go "$folder/go/verify"
fi

# maven NAME GROUP:ARTIFACT:VERSION...: compiles the page's snippet with these, and whatever they need.
maven() {
    local place=$folder/$1 dependencies='' group artifact version
    shift
    for dependency in "$@"; do
        IFS=: read -r group artifact version <<< "$dependency"
        dependencies+="<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
    done
    cat > "$place/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>verify</groupId><artifactId>verify</artifactId><version>1</version>
  <dependencies>$dependencies</dependencies>
</project>
POM
    (cd "$place" && mvn --batch-mode --quiet dependency:build-classpath -Dmdep.outputFile=classpath) > "$place/maven.log" 2>&1
    javac -cp "$(cat "$place/classpath")" -d "$place/classes" "$place/Verify.java"
}

if has mvn 'the snippets for Java' && has javac 'the snippets for Java'; then
    snippet nimbus "$folder/nimbus/Verify.java"
    maven nimbus com.nimbusds:nimbus-jose-jwt:10.5
    judge nimbus java -cp "$folder/nimbus/classes:$(cat "$folder/nimbus/classpath")" Verify
    # A web application has the reader of JSON that Spring reads the metadata with.
    for versions in 6.5.1=com.fasterxml.jackson.core:jackson-databind:2.19.1 7.0.0=tools.jackson.core:jackson-databind:3.0.2; do
        version=${versions%%=*}
        snippet spring "$folder/spring-$version/Verify.java"
        maven "spring-$version" "org.springframework.security:spring-security-oauth2-jose:$version" "${versions#*=}"
        judge "spring-$version" java -cp "$folder/spring-$version/classes:$(cat "$folder/spring-$version/classpath")" Verify
    done
fi

# The repository's own crate, whose example is the page's text.
snippet rust "$folder/rust/verify.rs"
if diff <(grep -v '^//!' "$tree/crates/verify/examples/verify.rs" | sed '/./,$!d') "$folder/rust/verify.rs" >&2; then
    (cd "$tree" && cargo build --locked --quiet --workspace --example verify)
    judge rust "${CARGO_TARGET_DIR:-$tree/target}/debug/examples/verify"
else
    echo "FAIL rust: crates/verify/examples/verify.rs is not what the page says"
fi
