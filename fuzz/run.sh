#!/usr/bin/env bash
# Builds the fuzz targets and runs each (or the one named) for so many seconds, as many at once as there are cores.
#   fuzz/run.sh [TARGET|all] [SECONDS]
# Without a sanitizer: the code under test has no unsafe, and it is twice as fast so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${1:-all}
export seconds=${2:-60}
# On nightly where there is one; what cargo-fuzz asks for without a sanitizer, stable knows too.
export toolchain=
if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then toolchain=+nightly; fi

run_target() {
    local output
    mkdir -p "fuzz/corpus/$1"
    # shellcheck disable=SC2086 # no toolchain is no argument
    if ! output=$(cargo $toolchain fuzz run --sanitizer none "$1" "fuzz/corpus/$1" "fuzz/seeds/$1" -- \
        "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 2>&1); then
        echo "$output"
        echo "fuzz: $1 failed"
        return 1
    fi
    echo "fuzz: $1: $(awk '/number_of_executed_units/ { print $2 }' <<<"$output") inputs in $seconds s"
}
export -f run_target

# shellcheck disable=SC2086 # no toolchain is no argument
cargo $toolchain fuzz build --sanitizer none
targets=$target
if [[ $target == all ]]; then targets=$(cargo fuzz list); fi
xargs -r -n 1 -P "$(nproc)" bash -euo pipefail -c 'run_target "$1"' run_target <<<"$targets"
