//! A registry that is away, or slow.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_away_is_asked_until_it_is_back_and_is_logged_twice() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let (registry, asked) = confluent(|path, before| match (path, before) {
        ("/schemas/ids/9", 0..=9) => Reply::Broken,
        ("/schemas/ids/8", 0..=4) => Json(503, String::new()),
        _ => schema("x"),
    });
    let (nine, eight) = (id(9), id(8));
    tokio::join!(text(&registry, &nine), text(&registry, &eight));
    let times = asked.times("/schemas/ids/9");
    assert_eq!(times.len(), 11);
    for (number, pair) in times.windows(2).enumerate() {
        let most = f32::powi(2.0, i32::try_from(number).unwrap()).min(10.0);
        let pause = pair[1] - pair[0];
        // Shorter where the registry has answered another request.
        assert!((0.49..most + 0.1).contains(&pause), "pause {number} of {times:?}");
    }
    let seconds = times[10] as u64;
    let registry = r#"registry="http://registry""#;
    assert_eq!(
        log.lines(),
        [
            format!(
                "WARN tailwater_schema::catalog::registry::health: schemas cannot be fetched, trying again {registry} error=no answer: connection refused schema=id 9"
            ),
            format!(
                "INFO tailwater_schema::catalog::registry::health: schemas are fetched again {registry} seconds={seconds}"
            ),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn when_one_request_is_answered_the_others_follow_soon() {
    let (registry, asked) = confluent(|path, before| match path {
        "/schemas/ids/1" if before < 20 => Reply::Broken,
        // Away until some time.
        "/schemas/ids/2" if before < 6 => Reply::Broken,
        _ => schema("x"),
    });
    let (one, two) = (id(1), id(2));
    let outcome = timeout(Duration::from_secs(200), text(&registry, &two)).await;
    assert!(outcome.is_ok());
    let slow = async { result(&registry, &one).await };
    let other = async {
        tokio::time::sleep(Duration::from_millis(37_500)).await;
        text(&registry, &id(3)).await;
    };
    tokio::join!(slow, other);
    let begin = asked.times("/schemas/ids/3")[0];
    let next = asked.times("/schemas/ids/1").into_iter().find(|time| *time >= begin).unwrap();
    assert!(next - begin < 1.1, "{begin} {next}");
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_about_a_schema_is_no_answer() {
    for status in [401, 403, 407, 408, 425, 429, 500, 502, 503, 504, 404, 400, 405, 410] {
        let (registry, asked) = confluent(move |_, before| match before {
            // A proxy's page, or the code of another status.
            0..=5 => Json(status, r#"{"error_code":50001}"#.to_owned()),
            _ => schema("x"),
        });
        assert_eq!(text(&registry, &id(9)).await, "x", "{status}");
        assert_eq!(asked.times("/schemas/ids/9").len(), 7, "{status}");
    }
    // A registry's own code is none of an outage where the status says that the client is wrong.
    for (status, code) in [(401, 40101), (403, 40301), (429, 42901), (503, 50301)] {
        let (registry, _) = confluent(move |_, before| match before {
            0..=5 => Json(status, format!(r#"{{"error_code":{code}}}"#)),
            _ => schema("x"),
        });
        assert_eq!(text(&registry, &id(9)).await, "x", "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_is_asked_no_earlier_than_it_says() {
    let (registry, asked) = confluent(|_, before| match before {
        0 => Reply::RetryAfter(429, 30),
        1 => Reply::RetryAfter(503, 1_000_000),
        _ => schema("x"),
    });
    text(&registry, &id(9)).await;
    let times = asked.times("/schemas/ids/9");
    let pauses: Vec<f32> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((30.0..31.0).contains(&pauses[0]) && (60.0..61.0).contains(&pauses[1]), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_after_the_timeout_and_holds_up_no_other() {
    let (registry, asked) = confluent(|path, before| match path {
        "/schemas/ids/9" if before < 2 => Reply::Never,
        _ => schema("x"),
    });
    let nine = id(9);
    let slow = text(&registry, &nine);
    let quick = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        timeout(Duration::from_millis(10), text(&registry, &id(8))).await.expect("at once")
    };
    tokio::join!(slow, quick);
    let times = asked.times("/schemas/ids/9");
    assert!((5.5..6.1).contains(&times[1]), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn what_nothing_waits_for_is_not_asked_for_again() {
    let (registry, asked) = confluent(|_, _| Reply::Broken);
    drop(look_up(&registry, &id(9)));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(asked.paths().len(), 1);
    assert_eq!(registry.status().pending, 0);
    // The next look-up asks again.
    drop(look_up(&registry, &id(9)));
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(asked.paths().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_nothing_waited_for_ends_with_the_next_answer() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let (registry, _) = confluent(|path, _| match path {
        "/schemas/ids/9" => Reply::Broken,
        _ => schema("x"),
    });
    drop(look_up(&registry, &id(9)));
    tokio::time::sleep(Duration::from_secs(100)).await;
    let status = registry.status();
    assert!(status.error.is_some() && status.outage >= Some(Duration::from_secs(99)));
    text(&registry, &id(8)).await;
    assert!(registry.status().error.is_none());
    assert_eq!(log.lines().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_woken_when_the_registry_is_dropped() {
    let (registry, _) = confluent(|_, _| Reply::Broken);
    let Lookup::Pending(waiter) = look_up(&registry, &id(9)) else { panic!("unknown") };
    let clone = registry.clone();
    drop(registry);
    let Lookup::Pending(other) = look_up(&clone, &id(8)) else { panic!("unknown") };
    drop(clone);
    timeout(Duration::from_secs(1), async { (waiter.await, other.await) }).await.expect("woken");
}

#[test]
fn without_its_runtime_a_registry_stays_pending() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (registry, _) = runtime.block_on(async { confluent(|_, _| schema("x")) });
    drop(runtime);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Lookup::Pending(waiter) = look_up(&registry, &id(9)) else { panic!("unknown") };
        timeout(Duration::from_millis(50), waiter).await.expect_err("nothing comes");
        let error = registry.fetch(&id(9)).await.expect_err("no runtime");
        assert_eq!(error, FetchError::Stopped);
    });
}

/// One that makes progress is not asked for again from the beginning, up to a limit.
#[tokio::test(start_paused = true)]
async fn an_answer_has_five_seconds_for_each_part_and_a_minute_in_all() {
    let (registry, asked) = confluent(|path, before| match (path, before) {
        ("/schemas/ids/1", _) => Reply::Slow(13, 4),
        ("/schemas/ids/2", 0) => Reply::Slow(16, 4),
        ("/schemas/ids/3", 0) => Reply::Slow(2, 6),
        ("/schemas/ids/4", 0) => Reply::Never,
        _ => schema("x"),
    });
    let start = Instant::now();
    assert_eq!(text(&registry, &id(1)).await, "x");
    assert_eq!(start.elapsed().as_secs(), 14 * 4);
    assert_eq!(asked.times("/schemas/ids/1").len(), 1);
    for (number, seconds) in [(2, 60), (3, 5), (4, 5)] {
        let start = Instant::now();
        let error = registry.fetch(&id(number)).await.expect_err("too slow");
        assert_eq!(error, FetchError::Timeout(Duration::from_secs(seconds)), "{number}");
        assert_eq!(start.elapsed().as_secs(), seconds, "{number}");
    }
}
