//! The generator against the servers that it brings along, on librdkafka's mock cluster.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn each_server_that_comes_along_delivers_every_event_once() {
    let plot = Path::new(env!("CARGO_TARGET_TMPDIR")).join("growth.svg");
    let output = Command::new(env!("CARGO_BIN_EXE_tailwater-load"))
        .args([
            "--quick",
            "--servers",
            "axum,raw,raw-tls,consumer",
            "--clients",
            "20",
            "--events",
            "300",
            "burst",
            "paced",
            "crowd",
            "keyed",
            "history",
            "history-log",
            "stampede",
            "idle",
            "start",
            "tls-burst",
            "burst-h2",
            "paced-tls",
            "paced-h2",
            "idle-tls",
            "idle-h2",
            "growth",
        ])
        .arg("--plot")
        .arg(&plot)
        .env_remove("TAILWATER_TEST_KAFKA")
        .output()
        .expect("it is built with this test");
    let report = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    for line in [
        "| axum | ",
        "| raw | ",
        "| raw-tls | ",
        "| consumer | ",
        "## burst",
        "## paced",
        "## crowd",
        "## keyed",
        "## history",
        "## stampede",
        "## idle",
        "## start",
        "## tls-burst",
        "## burst-h2",
        "## paced-tls",
        "## paced-h2",
        "## idle-tls",
        "## idle-h2",
        "## growth",
        "mock cluster",
    ] {
        assert!(report.contains(line), "{line} is missing in\n{report}\n{errors}");
    }
    let svg = fs::read_to_string(plot).expect("it was written");
    assert!(svg.contains("axum") && svg.ends_with("</svg>\n"), "{svg}");
}

/// `cargo test` needs no program that Rust and a C compiler do not bring along.
#[test]
fn a_figure_that_takes_ss_is_left_out_where_there_is_none() {
    let output = Command::new(env!("CARGO_BIN_EXE_tailwater-load"))
        .args(["--quick", "--servers", "consumer", "--events", "300", "stampede"])
        .env("PATH", "/nonexistent")
        .env_remove("TAILWATER_TEST_KAFKA")
        .output()
        .expect("it is built with this test");
    let report = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(report.contains("| consumer | | | "), "{report}");
    assert!(errors.contains("no ss (of iproute2)"), "{errors}");
}

#[test]
fn an_unknown_scenario_is_an_error_that_names_the_known_ones() {
    let output = Command::new(env!("CARGO_BIN_EXE_tailwater-load"))
        .arg("brust")
        .output()
        .expect("it is built with this test");
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("no scenario `brust`") && errors.contains("burst"), "{errors}");
}
