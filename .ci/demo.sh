#!/usr/bin/env bash
# Uses the demo cluster as a person would: start it, write, read on every node, kill the leader, go on, stop, start again.
set -euo pipefail
cd "$(dirname "$0")/.."

# The tests have built it just before, where this is a stage of theirs.
[ -n "${BUILT_BY_TESTS-}" ] || cargo build --locked -q -p raft-kv
kv="${CARGO_TARGET_DIR:-target}/debug/raft-kv"
dir=$(mktemp -d)
base=$((20000 + RANDOM % 10000))
endpoints=127.0.0.1:$base,127.0.0.1:$((base + 1)),127.0.0.1:$((base + 2))
demo=
cleanup() {
    local code=$?
    [ -n "$demo" ] && kill -TERM "$demo" 2>/dev/null && wait "$demo" 2>/dev/null || true
    if [ "$code" -ne 0 ]; then
        echo "demo: failed; what it printed:"
        cat "$dir"/demo.log 2>/dev/null || true
        tail -n 30 "$dir"/data/*.log "$dir"/data/*/*.log 2>/dev/null || true
    fi
    rm -rf "$dir"
    exit "$code"
}
trap cleanup EXIT

# Waits at most $1 seconds until the rest succeeds.
until_ok() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { echo "demo: gave up waiting for: $*"; return 1; }
        sleep 0.1
    done
}
start() {
    "$kv" demo --dir "$dir/data" --base-port "$base" </dev/null >>"$dir/demo.log" 2>&1 &
    demo=$!
    for n in 0 1 2; do until_ok 30 curl -fsS "http://127.0.0.1:$((base + n))/readyz"; done
}
expect() {
    [ "$2" = "$3" ] || { echo "demo: $1: expected '$3', got '$2'"; return 1; }
    echo "demo: $1: ok"
}

start
"$kv" put --endpoints "$endpoints" city Oslo
expect "get by the client" "$("$kv" get --endpoints "$endpoints" city)" Oslo
for n in 0 1 2; do
    expect "get by curl on node $((n + 1))" "$(curl -fsS "http://127.0.0.1:$((base + n))/v1/kv/city")" Oslo
    curl -fsS -X PUT --data "from node $((n + 1))" "http://127.0.0.1:$((base + n))/v1/kv/via-$n" >/dev/null
done
"$kv" status --endpoints "$endpoints"

field() { curl -fsS "http://127.0.0.1:$1/v1/status" | sed -E "s/.*\"$2\": ?\"?([0-9]+).*/\1/"; }
leader=$(field "$base" leader)
kill -KILL "$(field $((base + leader - 1)) pid)"
echo "demo: killed node $leader, which led"
"$kv" put --endpoints "$endpoints" --timeout-ms 20000 country Norway
expect "get after the leader was killed" "$("$kv" get --endpoints "$endpoints" country)" Norway

kill -INT "$demo"
wait "$demo" || true
demo=
echo "demo: stopped; starting again on the same directory"
start
expect "what was written before the restart" "$("$kv" get --endpoints "$endpoints" country)" Norway
expect "what was written through node 3" "$("$kv" get --endpoints "$endpoints" via-2)" "from node 3"
echo "demo: all ok"
