#!/usr/bin/env bash
# Programs that are not ours judge what operators get: Prometheus, and the protocol buffers of OpenTelemetry. Needs
# prometheus and promtool (Debian's package `prometheus`) and Python 3.10.
#
#   observability.sh fetch        download what Python needs (the other commands do it when needed)
#   observability.sh check        the rules and the dashboard of deploy/, and the names that the documentation has
#   observability.sh write        make deploy/prometheus/prometheus-rule.yaml of the rules
#   observability.sh scrape ADDRESS SECONDS EXPRESSION…
#                                 scrape a program by Prometheus; see scrape.py
#   observability.sh collector    take pushes of OTLP; see otlp.py
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$here/.cache
deploy=$here/../../deploy/prometheus

say() { echo "observability.sh: $*" >&2; }

# What is fetched is whole once it carries the mark of the list it was made from. Tests may ask for it at once.
fetch_python() {
    mkdir -p "$cache"
    exec {lock}>"$cache/lock"
    flock "$lock"
    cmp -s "$here/requirements.txt" "$cache/python/requirements.txt" || install_python
    exec {lock}>&-
}

install_python() {
    say "fetching the protocol buffers of OpenTelemetry from PyPI"
    rm -rf "$cache/python"
    python3 -m venv "$cache/python"
    "$cache/python/bin/pip" install -q --only-binary :all: -r "$here/requirements.txt" >&2
    cp "$here/requirements.txt" "$cache/python/requirements.txt"
}

prometheus_rule() {
    cat <<END
# Made of tailwater.rules.yml by \`tests/observability/observability.sh write\`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tailwater
  labels: { app.kubernetes.io/name: tailwater }
spec:
END
    sed -n '/^groups:/,$ s/^/  /p' "$deploy/tailwater.rules.yml"
}

command=${1:-}
shift || true
case $command in
fetch)
    fetch_python
    ;;
check)
    fetch_python
    diff <(prometheus_rule) "$deploy/prometheus-rule.yaml" ||
        { say "the PrometheusRule is not that of the rules: observability.sh write" && exit 1; }
    promtool check rules "$deploy/tailwater.rules.yml"
    promtool test rules "$here/rules.test.yml"
    "$cache/python/bin/python" "$here/check.py" >"$cache/dashboard.rules.yml"
    promtool check rules "$cache/dashboard.rules.yml"
    ;;
write)
    prometheus_rule >"$deploy/prometheus-rule.yaml"
    ;;
scrape)
    exec python3 "$here/scrape.py" "$@"
    ;;
collector)
    fetch_python
    exec "$cache/python/bin/python" "$here/otlp.py" "$@"
    ;;
*)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
