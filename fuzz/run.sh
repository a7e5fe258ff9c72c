#!/usr/bin/env bash
# Builds the fuzz targets and runs each (or the one named) for so many seconds.
#   fuzz/run.sh [TARGET|all] [SECONDS]
# Without a sanitizer: the code under test has no unsafe, and it is twice as fast so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${1:-all}
seconds=${2:-60}
# On nightly where there is one; what cargo-fuzz asks for without a sanitizer, stable knows too.
toolchain=()
if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then toolchain=(+nightly); fi

cargo "${toolchain[@]}" fuzz build --sanitizer none
targets=$target
if [[ $target == all ]]; then targets=$(cargo fuzz list); fi
for target in $targets; do
    mkdir -p "fuzz/corpus/$target"
    if ! output=$(cargo "${toolchain[@]}" fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 2>&1); then
        echo "$output"
        echo "fuzz: $target failed"
        exit 1
    fi
    echo "fuzz: $target: $(awk '/number_of_executed_units/ { print $2 }' <<<"$output") inputs in $seconds s"
done
