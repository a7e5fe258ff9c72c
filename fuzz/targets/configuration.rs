//! Any bytes are a configuration or are refused with the places of what is wrong.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater::config::{describe, parse};

fuzz_target!(|bytes: &[u8]| {
    // A value that would be several tokens if it were put in before the file is read.
    let env = |name: &str| (name != "UNSET").then(|| format!("{name}: [\"\n}}"));
    let parsed = parse("f", bytes, &env);
    let report = match &parsed {
        Ok(parsed) => {
            assert!(!parsed.report.has_errors());
            assert!(!describe(parsed).is_empty());
            &parsed.report
        }
        Err(report) => {
            assert!(report.has_errors());
            report
        }
    };
    for diagnostic in report.diagnostics() {
        assert!(diagnostic.span.start <= diagnostic.span.end && diagnostic.span.end <= bytes.len());
        let (line, column) = report.position(diagnostic.span);
        assert!(line <= bytes.len() + 1 && column <= bytes.len() + 1);
    }
    let text = report.to_string();
    assert!(
        !text.contains(|character: char| character.is_control() && character != '\n'),
        "{text:?}"
    );
    let _ = report.graphical(false);

    let again = parse("f", bytes, &env);
    let again = again.as_ref().map_or_else(|report| report, |parsed| &parsed.report);
    assert_eq!(again.to_string(), text);
});
