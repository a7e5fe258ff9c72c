//! All faults of a registry in any order.

use super::*;

/// What a registry may do with a request before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    NoSchema,
    NotASchema,
    /// Final if the registry answers another request at this time.
    Page,
    Unavailable,
    RetryAfter,
    Broken,
    Never,
}

impl Fault {
    fn is_final(self) -> bool {
        matches!(self, Self::NoSchema | Self::NotASchema | Self::Page)
    }

    fn reply(self) -> Reply {
        match self {
            Self::NoSchema => no_schema(),
            Self::NotASchema => Json(200, "{}".to_owned()),
            Self::Page => Reply::Page,
            Self::Unavailable => Json(503, String::new()),
            Self::RetryAfter => Reply::RetryAfter(429, 7),
            Self::Broken => Reply::Broken,
            Self::Never => Reply::Never,
        }
    }
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    use Fault::*;
    let all = vec![NoSchema, NotASchema, Page, Unavailable, RetryAfter, Broken, Never];
    let fault = prop::sample::select(all);
    prop::collection::vec(fault, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// A schema is missing only if three answers say so. Whatever else a registry does, each look-up gets the schema
    /// in the end, and no request is left.
    #[test]
    fn no_fault_of_a_registry_costs_a_schema(
        scripts in prop::collection::vec(faults(), 1..20),
        waits in prop::collection::vec((0..20_usize, 0..60_000_u64, any::<bool>()), 0..60),
    ) {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let expected: Vec<bool> = scripts
                .iter()
                .map(|faults| faults.iter().filter(|fault| fault.is_final()).count() < 3)
                .collect();
            let count = scripts.len();
            let (registry, _) = confluent(move |path, before| {
                let Ok(number) = path.rsplit('/').next().unwrap().parse::<usize>() else {
                    return Reply::Page;
                };
                scripts[number].get(before).map_or_else(|| schema(path), |fault| fault.reply())
            });
            let awaited = (0..count).map(|number| (number, 0, true));
            let waits = waits.into_iter().map(|(number, pause, stays)| (number % count, pause, stays));
            let tasks: Vec<_> = awaited.chain(waits).map(|(number, pause, stays)| {
                let registry = registry.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    let schema = id(u32::try_from(number).unwrap());
                    if !stays {
                        drop(look_up(&registry, &schema));
                        return None;
                    }
                    let found = result(&registry, &schema).await;
                    Some((number, found.map(|found| found.text().to_owned())))
                })
            }).collect();
            for task in tasks {
                let Some((number, found)) = task.await.unwrap() else { continue };
                match found {
                    Some(text) => assert_eq!(text, format!("/schemas/ids/{number}")),
                    // A later look-up asks a missing one again, and may find it.
                    None => assert!(!expected[number], "{number} is missing"),
                }
            }
            tokio::time::sleep(Duration::from_secs(100)).await;
            let status = registry.status();
            assert_eq!((status.pending, status.error), (0, None));
        });
    }
}
