//! End to end: the server as a process, real sockets, and a Kafka: librdkafka's mock cluster, or the
//! real one that `TAILWATER_TEST_KAFKA` names (`tests/kafka/kafka.sh run cargo test --test e2e`).

mod access;
mod age;
mod cli;
mod examples;
mod faults;
mod guard;
mod guard_curl;
mod guard_example;
mod guard_h2;
mod guard_http1;
mod guard_keys;
mod guard_logs;
mod health;
mod hostile;
mod idle;
mod kafka_tls;
mod live;
mod logs;
mod many;
mod odd_records;
mod outage;
mod outputs;
mod real;
mod resume;
mod shutdown;
mod start;
mod support;
mod third_party;
mod tls;
mod tls_files;
mod tls_hostile;
mod upstream;
mod upstream_guarded;
mod upstream_server;
mod wire;
