#!/usr/bin/env bash
# Serializers that are not ours, for the tests, needing Python 3.10, a JDK 17 and Maven.
#
#   serializers.sh fetch                           download them (the other commands do it when needed)
#   serializers.sh confluent KAFKA REGISTRY RUN    write the records of cases.json with Confluent's
#   serializers.sh apicurio KAFKA REGISTRY RUN     the same with Apicurio's
#   serializers.sh python FILE ARGUMENTS…          run a program that uses Confluent's
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$here/.cache

say() { echo "serializers.sh: $*" >&2; }

# What is fetched is whole once it carries the mark of the list it was made from.
fetch_python() {
    cmp -s "$here/requirements.txt" "$cache/python/requirements.txt" && return
    say "fetching Confluent's serializers from PyPI"
    rm -rf "$cache/python"
    python3 -m venv "$cache/python"
    "$cache/python/bin/pip" install -q --only-binary :all: -r "$here/requirements.txt" >&2
    cp "$here/requirements.txt" "$cache/python/requirements.txt"
}

fetch_java() {
    cmp -s "$here/pom.xml" "$cache/java/pom.xml" && return
    say "fetching Apicurio's serializers from Maven Central"
    rm -rf "$cache/java"
    mkdir -p "$cache/java"
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$cache/java" >&2
    cp "$here/pom.xml" "$cache/java/pom.xml"
}

command=${1:-}
shift || true
case $command in
fetch)
    fetch_python
    fetch_java
    ;;
confluent)
    fetch_python
    exec "$cache/python/bin/python" "$here/confluent.py" "$@"
    ;;
apicurio)
    fetch_java
    exec java -XX:TieredStopAtLevel=1 -cp "$cache/java/*" "$here/Apicurio.java" "$here/cases.json" "$@"
    ;;
python)
    fetch_python
    exec "$cache/python/bin/python" "$@"
    ;;
*)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
