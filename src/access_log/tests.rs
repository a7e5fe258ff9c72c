use ::http::HeaderValue;

use super::*;

fn headers(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_str(value).expect("a value"));
    headers
}

#[test]
fn the_trace_id_is_that_of_a_valid_traceparent() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (value, expected) in [
        (&*format!("00-{id}-00f067aa0ba902b7-01"), Some(id)),
        (&*format!("cc-{id}-00f067aa0ba902b7-01-more"), Some(id)),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
        (&*format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()), None),
        ("00-4bf92f-00f067aa0ba902b7-01", None),
        (id, None),
        ("", None),
    ] {
        assert_eq!(trace_id(&headers("traceparent", value)).as_deref(), expected, "{value}");
    }
}

#[test]
fn texts_of_a_client_are_cut_between_characters() {
    let log = AccessLog { binding: "web".into(), subject: LoggedSubject::Off };
    let request = Request::get(format!("/{}?secret", "x".repeat(5000)))
        .header("user-agent", HeaderValue::from_bytes(&"ä".repeat(5000).into_bytes()).unwrap())
        .body(())
        .unwrap();
    let requested = Requested::new(&log, &request);
    assert_eq!(requested.path.len(), MOST_BYTES);
    let user_agent = requested.user_agent.unwrap();
    assert_eq!((user_agent.len(), user_agent.chars().count()), (MOST_BYTES, MOST_BYTES / 2));
}

#[test]
fn seconds_have_three_decimals() {
    for (milliseconds, expected) in [(0, "0.0"), (1, "0.001"), (1234, "1.234"), (60_000, "60.0")] {
        let text = serde_json::json!(seconds(Duration::from_millis(milliseconds))).to_string();
        assert_eq!(text, expected);
    }
    assert_eq!(seconds(Duration::from_micros(1_999)), 0.001);
    let days = Duration::from_millis(100 * 86_400_000 + 7);
    assert_eq!(seconds(days), 8_640_000.0);
}
