//! The size limit of Kafka's responses, which contain batches as they are on disk.

use rdkafka::ClientConfig;

/// The largest response, and the largest decompressed batch of zstd.
const RECEIVE: &str = "receive.message.max.bytes";

const FETCH: &str = "fetch.max.bytes";

/// librdkafka's default.
const LEAST: usize = 100_000_000;

/// The bytes of a response beside its batches: a name for each topic, and some numbers for each partition.
const FRAMES: usize = 1024 * 1024;

/// If a batch of zstd does not contain its size, librdkafka tries sizes of which each is three times the one
/// before.
const STEP: usize = 3;

/// Makes room for a record of this size in a response, unless the limit was set.
pub(super) fn fit_record(config: &mut ClientConfig, max_record_bytes: usize) {
    if config.get(RECEIVE).is_some() {
        return;
    }
    let fetch: usize = config.get(FETCH).and_then(|value| value.parse().ok()).unwrap_or_default();
    let record = max_record_bytes.saturating_mul(STEP);
    // A broker sends the first batch whole, whatever its size.
    let bytes = fetch.saturating_add(record).saturating_add(FRAMES).max(LEAST);
    config.set(RECEIVE, i32::try_from(bytes).unwrap_or(i32::MAX).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_room_for_the_largest_record_and_librdkafka_takes_the_size() {
        const MIB: usize = 1024 * 1024;
        let receive = |properties: &[(&str, &str)], max_record_bytes| {
            let mut config = ClientConfig::new();
            for (name, value) in properties {
                config.set(*name, *value);
            }
            fit_record(&mut config, max_record_bytes);
            config.set("group.id", "x").create_native_config().expect("librdkafka takes it");
            config.get(RECEIVE).and_then(|value| value.parse().ok())
        };
        let fetch = [(FETCH, "4194304")];
        assert_eq!(receive(&fetch, 16 * MIB), Some(LEAST));
        assert_eq!(receive(&fetch, 400 * MIB), Some((4 + 3 * 400 + 1) * MIB));
        assert_eq!(receive(&fetch, 1024 * MIB), Some(2_147_483_647));
        assert_eq!(receive(&fetch, usize::MAX), Some(2_147_483_647));
        assert_eq!(receive(&[(FETCH, "1000000000")], 16 * MIB), Some(1_000_000_000 + 49 * MIB));
        assert_eq!(receive(&[(RECEIVE, "200000000")], 400 * MIB), Some(200_000_000), "chosen");
    }
}
