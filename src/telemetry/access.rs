//! The form of the lines of the access log.

use std::fmt::{self, Debug};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::LogFormat;

/// Writes a line as `key=value` pairs, or as a JSON object without nested ones. The first key is `time`.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccessLines(pub(super) LogFormat);

impl<S, F> FormatEvent<S, F> for AccessLines
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    F: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, F>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(Vec::with_capacity(24));
        event.record(&mut fields);
        match self.0 {
            LogFormat::Json => {
                writer.write_str("{\"time\":\"")?;
                SystemTime.format_time(&mut writer)?;
                writer.write_char('"')?;
                for (name, value) in fields.0 {
                    write!(writer, ",\"{name}\":{value}")?;
                }
                writer.write_str("}\n")
            }
            LogFormat::Text => {
                SystemTime.format_time(&mut writer)?;
                for (name, value) in fields.0 {
                    match value {
                        Value::String(text) if is_plain(&text) => write!(writer, " {name}={text}"),
                        Value::String(text) => write!(writer, " {name}={text:?}"),
                        value => write!(writer, " {name}={value}"),
                    }?;
                }
                writer.write_char('\n')
            }
        }
    }
}

/// Whether a text needs no quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
}

/// The fields of a line, in order.
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.push((field.name(), value.into()));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing::info;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::telemetry::access_layer;
    use crate::telemetry::output::Output;

    fn line(format: LogFormat) -> String {
        let output = Output::without_writer();
        let layer = access_layer(&output, format);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            info!(
                event = "ended",
                id = None::<u64>,
                client = display("127.0.0.1"),
                path = "/a=b",
                user_agent = "a \"b\"\n\x1b[2J\u{202e} event=forged",
                seconds = 0.25,
                bytes = 7_u64,
            );
        });
        output.queued()
    }

    #[test]
    fn a_line_of_json_is_flat_and_has_no_control_byte() {
        let line = line(LogFormat::Json);
        assert!(!line.trim_end_matches('\n').contains(|byte: char| !(' '..='~').contains(&byte)));
        let object: serde_json::Map<String, Value> = serde_json::from_str(&line).unwrap();
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        assert_eq!(keys, ["bytes", "client", "event", "path", "seconds", "time", "user_agent"]);
        assert_eq!(object["user_agent"], "a \"b\"\n\x1b[2J\u{202e} event=forged");
        assert_eq!((&object["seconds"], &object["bytes"]), (&0.25.into(), &7.into()));
    }

    #[test]
    fn a_line_of_text_has_pairs_that_a_client_can_not_forge() {
        let line = line(LogFormat::Text);
        let (_, pairs) = line.trim_end_matches('\n').split_once(' ').unwrap();
        assert_eq!(
            pairs,
            r#"event=ended client=127.0.0.1 path=/a=b user_agent="a \"b\"\n\u{1b}[2J\u{202e} event=forged" seconds=0.25 bytes=7"#
        );
    }
}
