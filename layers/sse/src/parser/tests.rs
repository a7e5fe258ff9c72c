use super::*;

fn items(parser: &mut Parser, stream: &[u8]) -> Vec<Item> {
    parser.push(stream);
    std::iter::from_fn(|| parser.pull().expect("within the limits")).collect()
}

/// Type, data and last event id of each message, as a page sees them.
fn messages(stream: &[u8]) -> Vec<(String, String, String)> {
    let mut parser = Parser::new();
    parser.push(stream);
    let mut messages = Vec::new();
    while let Some(item) = parser.pull().expect("within the limits") {
        if let Item::Message(message) = item {
            let event = message.event.as_deref().unwrap_or(b"message");
            let id = String::from_utf8_lossy(parser.last_event_id()).into_owned();
            messages.push((
                String::from_utf8_lossy(event).into_owned(),
                message.data_lossy().into_owned(),
                id,
            ));
        }
    }
    messages
}

/// The streams of web-platform-tests, `eventsource/format-*`, as its message.py writes them.
#[test]
fn streams_of_web_platform_tests_are_read_as_browsers_do() {
    let long = "x".repeat(2 * 1024);
    let comments =
        format!("data:1\r:\0\n:\r\ndata:2\n:{long}\rdata:3\n:data:fail\r:{long}\ndata:4\n\n");
    let fields = "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n";
    let unknown =
        "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n";
    let persists = "id: 1\ndata: 1\n\ndata: 2\n\nid: 2\ndata:3\n\ndata:4\n\n";
    for (name, stream, expected) in [
        (
            "bom",
            "\u{feff}data:1\n\n\u{feff}data:2\n\ndata:3\n\n",
            &[("message", "1", ""), ("message", "3", "")][..],
        ),
        (
            "bom-2",
            "\u{feff}\u{feff}data:1\n\ndata:2\n\ndata:3\n\n",
            &[("message", "2", ""), ("message", "3", "")],
        ),
        ("comments", &comments, &[("message", "1\n2\n3\n4", "")]),
        (
            "data-before-final-empty-line",
            "retry:1000\ndata:test1\n\nid:test\ndata:test2\n",
            &[("message", "test1", "")],
        ),
        (
            "field-data",
            "data:\n\ndata\ndata\n\ndata:test\n\n",
            &[("message", "", ""), ("message", "\n", ""), ("message", "test", "")],
        ),
        (
            "field-event",
            "event:test\ndata:x\n\ndata:x\n\n",
            &[("test", "x", ""), ("message", "x", "")],
        ),
        ("field-event-empty", "event: \ndata:data\n\n", &[("message", "data", "")]),
        ("field-id", "id:…\ndata:hello\n\n", &[("message", "hello", "…")]),
        (
            "field-id-2",
            "id:…\ndata:hello\n\ndata:a\n\ndata:b\n\n",
            &[("message", "hello", "…"), ("message", "a", "…"), ("message", "b", "…")],
        ),
        (
            "field-id-3 persists",
            persists,
            &[
                ("message", "1", "1"),
                ("message", "2", "1"),
                ("message", "3", "2"),
                ("message", "4", "2"),
            ],
        ),
        (
            "field-id-3 resets",
            "id: 1\ndata: 1\n\nid:\ndata:2\n\ndata:3\n\n",
            &[("message", "1", "1"), ("message", "2", ""), ("message", "3", "")],
        ),
        (
            "field-id-3 resets without a colon",
            "id: 1\ndata: 1\n\nid\ndata:2\n\n",
            &[("message", "1", "1"), ("message", "2", "")],
        ),
        ("field-id-null 1", "id:\0\0\ndata:hello\n\n", &[("message", "hello", "")]),
        ("field-id-null 2", "id:x\0\ndata:hello\n\n", &[("message", "hello", "")]),
        ("field-id-null 3", "id:\0x\ndata:hello\n\n", &[("message", "hello", "")]),
        ("field-id-null 4", "id:x\0x\ndata:hello\n\n", &[("message", "hello", "")]),
        ("field-id-null 5", "id: \0\ndata:hello\n\n", &[("message", "hello", "")]),
        ("field-parsing", fields, &[("message", "\0\n 2\n1\n3\n\n4", "")]),
        ("field-unknown", unknown, &[("message", "test\n\ntest", "")]),
        (
            "leading-space",
            "data:\ttest\rdata: \ndata:test\n\n",
            &[("message", "\ttest\n\ntest", "")],
        ),
        ("newlines", "data:test\r\ndata\ndata:test\r\n\r\n", &[("message", "test\n\ntest", "")]),
        ("null-character", "data:\0\n\n\n\n", &[("message", "\0", "")]),
        ("utf-8", "data:ok…\n\n", &[("message", "ok…", "")]),
    ] {
        let expected: Vec<_> =
            expected.iter().map(|&(a, b, c)| (a.into(), b.into(), c.into())).collect();
        assert_eq!(messages(stream.as_bytes()), expected, "format-{name}");
    }
}

/// The streams that HTML 9.2.6 itself gives as examples.
#[test]
fn examples_of_the_standard_are_read_as_it_says() {
    let message = |data: &str, id: &str| ("message".to_owned(), data.to_owned(), id.to_owned());
    assert_eq!(messages(b"data: YHOO\ndata: +2\ndata: 10\n\n"), [message("YHOO\n+2\n10", "")]);
    let four = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
    assert_eq!(
        messages(four),
        [message("first event", "1"), message("second event", ""), message(" third event", "")]
    );
    assert_eq!(messages(b"data\n\ndata\ndata\n\ndata:"), [message("", ""), message("\n", "")]);
    assert_eq!(
        messages(b"data:test\n\ndata: test\n\n"),
        [message("test", ""), message("test", "")]
    );
}

#[test]
fn a_reconnection_time_is_ascii_digits() {
    for (value, expected) in [
        ("3000", Some(3000)),
        (" 3000", Some(3000)),
        ("0", Some(0)),
        ("007", Some(7)),
        ("99999999999999999999999", Some(u64::MAX)),
        ("", None),
        ("1000x", None),
        ("+1", None),
        ("-1", None),
        ("1.5", None),
        ("  1", None),
        ("٣", None),
    ] {
        let items = items(&mut Parser::new(), format!("retry:{value}\n").as_bytes());
        let expected: Vec<_> =
            expected.map(Duration::from_millis).map(Item::Retry).into_iter().collect();
        assert_eq!(items, expected, "{value:?}");
    }
}

#[test]
fn a_timestamp_is_hexadecimal() {
    for (value, expected) in [
        ("0x18bcfe56800", Some(1_700_000_000_000)),
        ("0xffffffffffffffff", Some(-1)),
        ("0x", None),
        ("0x+1", None),
        ("18bcfe56800", None),
        ("0x10000000000000000", None),
    ] {
        let items = items(&mut Parser::new(), format!("timestamp:{value}\ndata:x\n\n").as_bytes());
        let message = Message { data: "x".into(), timestamp: expected, ..Message::default() };
        assert_eq!(items, [Item::Message(message)], "{value:?}");
    }
}

#[test]
fn comments_and_ids_without_data_are_items() {
    let mut parser = Parser::new();
    let items = items(&mut parser, b": a\n:\r\nid:5\n\nevent:x\n\ndata:y\n\n");
    assert_eq!(
        items,
        [
            Item::Comment(" a".into()),
            Item::Comment("".into()),
            Item::Id("5".into()),
            Item::Message(Message { data: "y".into(), ..Message::default() }),
        ]
    );
    assert_eq!(parser.last_event_id(), b"5");
}

#[test]
fn an_id_counts_only_when_its_block_has_ended() {
    let mut parser = Parser::new();
    assert_eq!(items(&mut parser, b"data:x\nid:5\n"), []);
    assert_eq!(parser.last_event_id(), b"");
    assert_eq!(items(&mut parser, b"\n").len(), 1);
    assert_eq!(parser.last_event_id(), b"5");
}

#[test]
fn a_cr_ends_a_line_before_the_next_byte_is_there() {
    let mut parser = Parser::new();
    assert_eq!(items(&mut parser, b"data:x\r\n\r").len(), 1);
    assert_eq!(items(&mut parser, b"\ndata:y\r\r").len(), 1);
}

#[test]
fn invalid_utf8_is_passed_on_and_can_be_shown() {
    let items = items(&mut Parser::new(), b"data:\xff\xe2\x80\n\n");
    let [Item::Message(message)] = &items[..] else { panic!("one message, not {items:?}") };
    assert_eq!(message.data, &b"\xff\xe2\x80"[..]);
    assert_eq!(message.data_lossy(), "\u{fffd}\u{fffd}");
}

#[test]
fn a_line_over_the_limit_is_an_error_however_it_is_cut() {
    let expected = Error::LineTooLong { line: 2, limit: 8 };
    for cut in 0..=13 {
        let stream = b":\ndata:1234\n\n";
        let mut parser = Parser::new().max_line_bytes(8);
        let mut error = None;
        for piece in [&stream[..cut], &stream[cut..]] {
            parser.push(piece);
            error = error
                .or_else(|| std::iter::from_fn(|| parser.pull().transpose()).find_map(Result::err));
        }
        assert_eq!(error.as_ref(), Some(&expected), "cut at {cut}");
        assert_eq!(parser.pull(), Err(expected.clone()), "cut at {cut}");
    }
    assert_eq!(items(&mut Parser::new().max_line_bytes(8), b"data:123\n\n").len(), 1);
    assert_eq!(expected.to_string(), "line 2 of the event stream is longer than 8 bytes");
}

#[test]
fn a_line_without_an_end_is_not_collected_beyond_the_limit() {
    let mut parser = Parser::new().max_line_bytes(100);
    for _ in 0..1000 {
        parser.push(&[b'x'; 64]);
        let _ = parser.pull();
    }
    assert_eq!(parser.input.capacity(), 0);
}

#[test]
fn an_event_over_the_limit_is_an_error() {
    let mut parser = Parser::new().max_event_bytes(6);
    assert_eq!(items(&mut parser, b"data:12\ndata:345\n\n").len(), 1);
    parser.push(b"data:12\ndata:3456\n\n");
    let expected = Error::EventTooLong { line: 5, limit: 6 };
    assert_eq!(parser.pull(), Err(expected.clone()));
    assert_eq!(
        expected.to_string(),
        "the event that reaches line 5 of the event stream is longer than 6 bytes"
    );
}

#[test]
fn a_new_connection_keeps_nothing_but_the_last_event_id() {
    let mut parser = Parser::new();
    assert_eq!(items(&mut parser, b"id:1\ndata:a\n\nid:2\nevent:x\ndata:lost\r").len(), 1);
    parser.reconnect();
    assert_eq!(parser.last_event_id(), b"1");
    let message = Message { data: "b".into(), ..Message::default() };
    assert_eq!(items(&mut parser, b"\xEF\xBB\xBFdata:b\n\n"), [Item::Message(message)]);
}
