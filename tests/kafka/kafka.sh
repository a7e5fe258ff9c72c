#!/usr/bin/env bash
# A real Apache Kafka for the tests: one broker on 127.0.0.1, needing Java 17 and Maven.
#
#   kafka.sh fetch            download the jars (the other commands do it when needed)
#   kafka.sh start            start the broker, with the data of an earlier start if there is any
#   kafka.sh stop             stop it and delete its data
#   kafka.sh restart-broker   stop it cleanly and start it with its data
#   kafka.sh kill             SIGKILL, the data stays: `start` brings it back
#   kafka.sh run CMD…         start it, run CMD, stop it whatever happens; the exit status is CMD's
#
# CMD finds in its environment
#   TAILWATER_TEST_KAFKA          host:port, no authentication
#   TAILWATER_TEST_KAFKA_SASL     host:port, SASL_PLAINTEXT: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512,
#                                 user `tailwater`, password `tailwater-secret`, who may do all; by PLAIN
#                                 also `guest`, `guest-secret`, who may do what an ACL allows
#   TAILWATER_TEST_KAFKA_SSL      host:port, TLS, no authentication; the certificate is for localhost
#                                 and 127.0.0.1
#   TAILWATER_TEST_KAFKA_SASL_SSL host:port, TLS, and SASL as above within it
#   TAILWATER_TEST_KAFKA_PROXIED  host:port of a listener without authentication that advertises
#                                 TAILWATER_TEST_KAFKA_PROXY, host:port where nobody listens: a proxy
#                                 of the test's own has a client's whole traffic there
#   TAILWATER_TEST_KAFKA_CA       the authority that signed the certificate, in PEM
#   TAILWATER_TEST_KAFKA_TRUST    the same as keytool's PKCS#12 store, alias `ca`, password
#                                 `tailwater-secret`
#   TAILWATER_TEST_KAFKA_CONTROL  this script: `$TAILWATER_TEST_KAFKA_CONTROL kill` acts on this broker
#
# Settings: TAILWATER_KAFKA_PORT (19092; SASL listens on the next port, the controller on the one
# after, TLS on the third, SASL within TLS on the fourth, the proxied one on the fifth and advertises
# the sixth), TAILWATER_KAFKA_DIR (data, certificates and log), TAILWATER_KAFKA_JARS,
# TAILWATER_KAFKA_JVM.
set -euo pipefail

name=kafka.sh
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
port=${TAILWATER_KAFKA_PORT:-19092}
sasl_port=$((port + 1))
controller_port=$((port + 2))
ssl_port=$((port + 3))
sasl_ssl_port=$((port + 4))
proxied_port=$((port + 5))
proxy_port=$((port + 6))
ports=("$port" "$sasl_port" "$controller_port" "$ssl_port" "$sasl_ssl_port" "$proxied_port")
dir=${TAILWATER_KAFKA_DIR:-${TMPDIR:-/tmp}/tailwater-kafka-$port}
jars=${TAILWATER_KAFKA_JARS:-$here/.cache/libs}
jvm=${TAILWATER_KAFKA_JVM:--Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}

# shellcheck source=tests/server.sh
source "$here/../server.sh"

fetch() {
    # The copy is whole once it carries the mark of the list it was made from.
    cmp -s "$here/pom.xml" "$jars/pom.xml" && return
    say "fetching Apache Kafka from Maven Central"
    mkdir -p "$jars"
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$jars" >&2
    cp "$here/pom.xml" "$jars/pom.xml"
}

# keytool on a store of its own. It comes with Java.
keys() {
    local store=$1
    shift
    keytool "$@" -keystore "$dir/tls/$store.p12" -storetype PKCS12 -storepass tailwater-secret
}

# An authority, and a certificate of it for the broker.
certify() {
    [[ -e $dir/tls/trust.p12 ]] && return
    rm -rf "$dir/tls"
    mkdir -p "$dir/tls"
    local valid=(-keyalg EC -groupname secp256r1 -validity 365)
    {
        keys ca -genkeypair -alias ca "${valid[@]}" -dname "CN=tailwater test authority" \
            -ext bc:critical=ca:true -ext ku:critical=keyCertSign,cRLSign &&
            keys ca -exportcert -alias ca -rfc -file "$dir/tls/ca.pem" &&
            keys broker -genkeypair -alias localhost "${valid[@]}" -dname "CN=localhost" &&
            keys broker -certreq -alias localhost -file "$dir/tls/broker.csr" &&
            keys ca -gencert -alias ca -rfc -infile "$dir/tls/broker.csr" -outfile "$dir/tls/broker.pem" \
                -validity 365 -ext san=dns:localhost,ip:127.0.0.1 -ext eku=serverAuth &&
            keys broker -importcert -noprompt -alias ca -file "$dir/tls/ca.pem" &&
            keys broker -importcert -alias localhost -file "$dir/tls/broker.pem" &&
            # Last: with it the folder is whole.
            keys trust -importcert -noprompt -alias ca -file "$dir/tls/ca.pem"
    } >"$dir/tls.log" 2>&1 || { cat "$dir/tls.log" >&2 && die "there are no certificates"; }
}

configure() {
    mkdir -p "$dir"
    local module=org.apache.kafka.common.security
    local listeners=PLAINTEXT://127.0.0.1:$port,SASL_PLAINTEXT://127.0.0.1:$sasl_port
    listeners+=,SSL://127.0.0.1:$ssl_port,SASL_SSL://127.0.0.1:$sasl_ssl_port
    cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
controller.listener.names=CONTROLLER
listeners=CONTROLLER://127.0.0.1:$controller_port,$listeners,PROXIED://127.0.0.1:$proxied_port
advertised.listeners=$listeners,PROXIED://127.0.0.1:$proxy_port
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data

sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_plaintext.plain.sasl.jaas.config=$module.plain.PlainLoginModule required user_tailwater="tailwater-secret" user_guest="guest-secret";
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=$module.plain.PlainLoginModule required user_tailwater="tailwater-secret";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;

authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:tailwater

ssl.keystore.type=PKCS12
ssl.keystore.location=$dir/tls/broker.p12
ssl.keystore.password=tailwater-secret

auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0

# Compaction and retention at the pace of a test.
log.initial.task.delay.ms=100
log.retention.check.interval.ms=200
log.segment.delete.delay.ms=0
log.cleaner.backoff.ms=200
log.cleaner.min.cleanable.ratio=0.0001
log.cleaner.dedupe.buffer.size=8388608
message.max.bytes=4194304
replica.fetch.max.bytes=4194304

# A broker that comes back after a kill waits until its former self has timed out.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=250
PROPERTIES
}

java_class() {
    local options=$1
    shift
    # shellcheck disable=SC2086 # a list of options
    exec java $options -cp "$jars/*" "$@"
}

format() {
    local scram="name=tailwater,password=tailwater-secret" id
    id=$(java_class "-XX:TieredStopAtLevel=1" kafka.tools.StorageTool random-uuid 2>/dev/null)
    (java_class "-XX:TieredStopAtLevel=1" kafka.tools.StorageTool format \
        --config "$dir/server.properties" --cluster-id "$id" \
        --add-scram "SCRAM-SHA-256=[$scram]" --add-scram "SCRAM-SHA-512=[$scram]") >"$dir/format.log" 2>&1 ||
        { cat "$dir/format.log" >&2 && die "the storage could not be formatted"; }
}

up() {
    alive || return 0 # no use in waiting for it: start looks why
    grep -q 'Kafka Server started' "$dir/broker.log" || return
    local each
    for each in "${ports[@]}"; do listening "$each" || return; done
}

start() {
    alive && die "a broker runs already in $dir"
    local busy
    for busy in "${ports[@]}"; do
        ! listening "$busy" || die "port $busy is taken (TAILWATER_KAFKA_PORT chooses others)"
    done
    fetch
    configure
    certify
    [[ -e $dir/data/meta.properties ]] || format
    : >"$dir/broker.log"
    # A session of its own: Ctrl-C is for CMD, the broker is stopped after it.
    # shellcheck disable=SC2086 # a list of options
    setsid java $jvm -Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS \
        -cp "$jars/*" kafka.Kafka "$dir/server.properties" >"$dir/broker.log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    disown # the shell has no word to say when it is killed
    if ! within 600 up || ! alive; then
        tail -n 30 "$dir/broker.log" >&2
        halt KILL
        die "the broker did not start: $dir/broker.log"
    fi
    say "Apache Kafka listens on 127.0.0.1:$port, with SASL on $sasl_port, with TLS on $ssl_port, with both on $sasl_ssl_port"
}

halt() {
    if alive; then
        kill "-$1" "$(<"$dir/pid")"
        within 300 gone || { kill -KILL "$(<"$dir/pid")" && within 100 gone; }
    fi
    rm -f "$dir/pid"
}

stop() {
    halt KILL # the data goes too: nothing to flush
    rm -rf "$dir"
}

free() {
    local each
    for each in {0..6}; do ! listening $(($1 + each)) || return; done
}

run() {
    [[ $# -gt 0 ]] || die "run: which command?"
    if [[ -z ${TAILWATER_KAFKA_PORT:-} ]]; then
        # Nobody asked for a port: the first free ones, beside whatever else runs here.
        while ! free "$port"; do port=$((port + 7)); done
        TAILWATER_KAFKA_PORT=$port exec "${BASH_SOURCE[0]}" run "$@"
    fi
    export TAILWATER_KAFKA_PORT TAILWATER_KAFKA_DIR=$dir
    export TAILWATER_TEST_KAFKA=127.0.0.1:$port
    export TAILWATER_TEST_KAFKA_SASL=127.0.0.1:$sasl_port
    export TAILWATER_TEST_KAFKA_SSL=127.0.0.1:$ssl_port
    export TAILWATER_TEST_KAFKA_SASL_SSL=127.0.0.1:$sasl_ssl_port
    export TAILWATER_TEST_KAFKA_PROXIED=127.0.0.1:$proxied_port
    export TAILWATER_TEST_KAFKA_PROXY=127.0.0.1:$proxy_port
    export TAILWATER_TEST_KAFKA_CA=$dir/tls/ca.pem
    export TAILWATER_TEST_KAFKA_TRUST=$dir/tls/trust.p12
    export TAILWATER_TEST_KAFKA_CONTROL=$here/kafka.sh
    beside "$@"
}

command=${1:-}
shift || true
case $command in
fetch) fetch ;;
start) start ;;
stop) stop ;;
restart-broker)
    alive || die "no broker runs in $dir"
    halt TERM
    start
    ;;
kill) halt KILL ;;
run) run "$@" ;;
*) usage ;;
esac
