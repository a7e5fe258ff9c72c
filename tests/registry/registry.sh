#!/usr/bin/env bash
# A real Apicurio Registry for the tests, on 127.0.0.1, needing Java 17 and Maven.
#
#   registry.sh fetch      download the registry (the other commands do it when needed)
#   registry.sh start      start it, with the data of an earlier start if there is any
#   registry.sh stop       stop it and delete its data
#   registry.sh kill       SIGKILL, the data stays: `start` brings it back
#   registry.sh run CMD…   start it, run CMD, stop it whatever happens; the exit status is CMD's
#
# CMD finds in its environment
#   TAILWATER_TEST_APICURIO           its URL. Under it are Apicurio's API, /apis/registry/v2, and
#                                     Confluent's, /apis/ccompat/v7
#   TAILWATER_TEST_APICURIO_CONTROL   this script: `$TAILWATER_TEST_APICURIO_CONTROL kill` acts on
#                                     this registry
#
# Settings: TAILWATER_REGISTRY_PORT (19290), TAILWATER_REGISTRY_DIR (data and log),
# TAILWATER_REGISTRY_APP, TAILWATER_REGISTRY_JVM.
set -euo pipefail

name=registry.sh
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port=${TAILWATER_REGISTRY_PORT:-19290}
dir=${TAILWATER_REGISTRY_DIR:-${TMPDIR:-/tmp}/tailwater-registry-$port}
app=${TAILWATER_REGISTRY_APP:-$here/.cache/app}
jvm=${TAILWATER_REGISTRY_JVM:--Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}
url=http://127.0.0.1:$port

# shellcheck source=tests/server.sh
source "$here/../server.sh"

fetch() {
    # The copy is whole once it carries the mark of the list it was made from.
    cmp -s "$here/pom.xml" "$app/pom.xml" && return
    say "fetching Apicurio Registry from Maven Central"
    rm -rf "$app"
    mkdir -p "$app"
    mvn -q -B -f "$here/pom.xml" dependency:unpack-dependencies "-DoutputDirectory=$app" \
        "-DmarkersDirectory=$app/markers" >&2
    cp "$here/pom.xml" "$app/pom.xml"
}

up() {
    alive || return 0 # no use in waiting for it: start looks why
    curl -sf -o "$dir/info" "$url/apis/registry/v2/system/info"
}

start() {
    alive && die "a registry runs already in $dir"
    ! listening "$port" || die "port $port is taken (TAILWATER_REGISTRY_PORT chooses another)"
    fetch
    mkdir -p "$dir"
    : >"$dir/registry.log"
    # What is answered is on the disk: a kill loses nothing.
    local data="jdbc:h2:file:$dir/data/registry;WRITE_DELAY=0"
    # A session of its own: Ctrl-C is for CMD, the registry is stopped after it.
    # shellcheck disable=SC2086 # a list of options
    REGISTRY_DATASOURCE_URL=$data setsid java $jvm -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$port" \
        -jar "$app"/apicurio-registry-app-*-runner.jar >"$dir/registry.log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    disown # the shell has no word to say when it is killed
    if ! within 600 up || ! alive; then
        tail -n 30 "$dir/registry.log" >&2
        halt
        die "the registry did not start: $dir/registry.log"
    fi
    say "Apicurio Registry listens on $url"
}

halt() {
    if alive; then
        kill -KILL "$(<"$dir/pid")"
        within 100 gone
    fi
    rm -f "$dir/pid"
}

stop() {
    halt
    rm -rf "$dir"
}

run() {
    [[ $# -gt 0 ]] || die "run: which command?"
    if [[ -z ${TAILWATER_REGISTRY_PORT:-} ]]; then
        # Nobody asked for a port: the first free one, beside whatever else runs here.
        while listening "$port"; do port=$((port + 1)); done
        TAILWATER_REGISTRY_PORT=$port exec "${BASH_SOURCE[0]}" run "$@"
    fi
    export TAILWATER_REGISTRY_PORT TAILWATER_REGISTRY_DIR=$dir
    export TAILWATER_TEST_APICURIO=$url
    export TAILWATER_TEST_APICURIO_CONTROL=$here/registry.sh
    beside "$@"
}

command=${1:-}
shift || true
case $command in
fetch) fetch ;;
start) start ;;
stop) stop ;;
kill) halt ;;
run) run "$@" ;;
*) usage ;;
esac
