#!/usr/bin/env bash
# Checks that vendor/h2 is the h2 of crates.io with vendor/h2.patch. The lock file of fuzz/ has the version.
set -euo pipefail
cd "$(dirname "$0")"

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' h2/Cargo.toml | head -n 1)
cargo fetch --quiet --locked --manifest-path ../fuzz/Cargo.toml
published=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/src" -maxdepth 2 -name "h2-$version" | head -n 1)
if [ -z "$published" ]; then
    echo "fuzz/Cargo.lock has another h2 than $version, the version in vendor/h2" >&2
    exit 1
fi
patched=$(mktemp -d)
trap 'rm -rf "$patched"' EXIT
cp -r "$published/src" "$patched/src"
patch --quiet --directory "$patched" -p1 <h2.patch
diff -r "$patched/src" h2/src
