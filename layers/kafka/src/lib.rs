//! Kafka topics as a source of Server-Sent Events: one reading for everybody, resumable event ids.
