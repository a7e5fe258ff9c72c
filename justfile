# Each recipe is a plain command that works without just. `.ci/run` runs them all.

# List the recipes
default:
    @just --list

# Format
fmt:
    cargo fmt --all
    cargo fmt --manifest-path fuzz/Cargo.toml
    cargo fmt --manifest-path api/Cargo.toml
    cargo fmt --manifest-path benches/load/Cargo.toml

# Lints, warnings are errors
lint:
    cargo fmt --all --check
    cargo clippy --all-targets -- -D warnings
    cargo clippy --manifest-path benches/load/Cargo.toml --target-dir target --all-targets -- -D warnings

# Units, properties, end to end with the embedded Kafka
test:
    cargo test

# End to end against a real Apache Kafka and a real Apicurio Registry (JDK 17, Maven, curl, Python)
e2e *ARGS:
    cargo build --example todo
    tests/registry/registry.sh run tests/kafka/kafka.sh run cargo test --test e2e {{ARGS}}

# Alert rules, dashboard and the chapters on metrics (Prometheus, Python)
observability:
    tests/observability/observability.sh check

# The npm package, and pages in Chromium (Node.js, Chromium, and what `e2e` needs)
browser:
    cargo build --release
    cargo build --example todo
    npm --prefix clients/browser ci --ignore-scripts
    npm --prefix clients/browser test
    npm --prefix tests/browser ci --ignore-scripts
    tests/registry/registry.sh run tests/kafka/kafka.sh run npm --prefix tests/browser test

# The threads of the hub, in the orders in which they can run
interleavings:
    RUSTFLAGS="--cfg loom" cargo test -p tailwater-hub --lib --target-dir target/loom interleavings

# Run one fuzz target, or each in turn (cargo install cargo-fuzz)
fuzz TARGET="all" SECONDS="60":
    fuzz/run.sh {{TARGET}} {{SECONDS}}

# Benchmarks
bench *ARGS:
    cargo bench --bench '*' {{ARGS}}

# The load generator against a real Kafka (JDK 17, Maven): the table of benches/README.md, or some scenarios
load *ARGS="table --plot benches/growth.svg":
    cargo build --release
    cargo build --release --manifest-path benches/load/Cargo.toml --target-dir target
    tests/kafka/kafka.sh run target/release/tailwater-load {{ARGS}}

# Licences, sources, duplicates, advisories (cargo install cargo-deny)
deny:
    cargo deny --workspace check
    # vendor/h2 is of no registry, and has no advisories there. fuzz/ has the same version.
    cargo deny --manifest-path fuzz/Cargo.toml check --config deny.toml advisories
    vendor/check.sh

# Each package with each of its features alone, none and all (cargo install cargo-hack)
features:
    cargo hack clippy --each-feature --workspace -- -D warnings

# The public API as text: `check` compares, `write` writes api/*.txt
api MODE="check":
    api/run.sh {{MODE}}

# What would be published, built by itself
package:
    cargo package --workspace

# The book, into target/book (cargo install mdbook)
book:
    mdbook build docs

# Documentation, broken links are errors
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
