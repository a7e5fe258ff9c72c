//! The generator against the servers that it brings along, on librdkafka's mock cluster.

use std::process::Command;

#[test]
fn axum_raw_sockets_and_raw_tls_deliver_every_event_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_tailwater-load"))
        .args([
            "--quick",
            "--servers",
            "axum,raw,raw-tls",
            "--clients",
            "20",
            "--events",
            "300",
            "burst",
            "paced",
            "idle",
            "start",
            "tls-burst",
            "idle-tls",
        ])
        .env_remove("TAILWATER_TEST_KAFKA")
        .output()
        .expect("it is built with this test");
    let (report, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    for line in [
        "| axum | ",
        "| raw | ",
        "| raw-tls | ",
        "## burst",
        "## paced",
        "## idle",
        "## start",
        "## tls-burst",
        "## idle-tls",
        "mock cluster",
    ] {
        assert!(report.contains(line), "{line} is missing in\n{report}\n{errors}");
    }
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
