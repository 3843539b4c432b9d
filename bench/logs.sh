#!/bin/sh
# The log row of docs/benchmarks.md: cafe's pump against s6-log with ISO stamps, in one run, ratios printed.
# Usage: bench/logs.sh [LINES [ROUNDS]]
set -eu
cd "$(dirname "$0")/.."

lines=${1:-5000000}
rounds=${2:-5}

if ! command -v s6-log >/dev/null; then
    echo "s6-log is not installed: apt-get install s6" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

run() {
    cargo bench --quiet --bench log_throughput -- "$@"
}

run compare "$lines" "$rounds" "$work"
run verify 2000000 "$work/all"
run paced 20 "$work/paced"
