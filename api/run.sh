#!/usr/bin/env bash
# The public API of each package, one item a line, in api/PACKAGE.txt: what a change adds, removes or renames is
# seen in its diff.
#   api/run.sh check    fails where a file differs from the code
#   api/run.sh write    writes the files
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A warning of rustdoc is an error here: no other run of it is needed.
target=${CARGO_TARGET_DIR:-target}
RUSTDOC=$PWD/api/rustdoc RUSTDOCFLAGS="-D warnings -Z unstable-options --output-format json" \
    cargo doc --quiet --workspace --no-deps
packages=(tailwater)
for folder in layers/*/; do packages+=("tailwater-$(basename "$folder")"); done
cargo run --quiet --manifest-path api/Cargo.toml --target-dir "$target/api" -- \
    "${1:-check}" "$target/doc" api "${packages[@]}"
