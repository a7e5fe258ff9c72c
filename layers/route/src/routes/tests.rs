use http::Request;
use proptest::prelude::*;

use super::*;
use crate::{Pattern, ValuePattern};

fn condition() -> impl Strategy<Value = Condition> {
    let pattern =
        prop::sample::select(vec!["/a", "/b", "/a/b", "/%61", "/{x}", "/a*", "/{x}/b", "*"]);
    (pattern, 0..4).prop_map(|(pattern, kind)| match kind {
        0 => Condition::any(),
        1 => Condition::any().header(":path", ValuePattern::new(pattern).unwrap()).unwrap(),
        2 => Condition::any().header("x", ValuePattern::new("1").unwrap()).unwrap(),
        _ => Condition::any().path(Pattern::new(pattern).unwrap()).unwrap(),
    })
}

fn routes() -> impl Strategy<Value = Routes<usize>> {
    let conditions = prop::collection::vec(condition(), 0..3);
    // The name of a guard decides: "0" grants access, the others deny it.
    let route = (conditions, prop::option::of(0..3_u8));
    (prop::collection::vec(route, 0..8), prop::option::of(Just(99))).prop_map(
        |(routes, fallback)| {
            let mut table = Routes::new().guard(guard);
            for (target, (conditions, guard)) in routes.into_iter().enumerate() {
                let requirement = guard.map(|guard| Requirement::new(guard.to_string(), [""; 0]));
                table = table.guarded_route(conditions, requirement, target);
            }
            fallback.into_iter().fold(table, Routes::fallback)
        },
    )
}

fn guard(_: &Extensions, requirements: &[Requirement]) -> Access {
    match requirements.first().map(Requirement::guard) {
        Some("0") => Access::Granted,
        Some("1") => Access::Forbidden,
        _ => Access::Unauthenticated,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn table_of_literal_paths_changes_nothing_but_the_time(
        routes in routes(),
        path in prop::sample::select(vec!["/a", "/b", "/a/b", "/%61", "/a%2Fb", "/c", "/", "/c/b?d"]),
        header: bool,
    ) {
        let mut request = Request::get(path);
        if header {
            request = request.header("x", "1");
        }
        let request = request.body(()).unwrap();
        let head = Head::new(&request);
        let one_by_one = routes.first(&head, 0..routes.conditions.len());
        prop_assert_eq!(routes.find(&head), one_by_one);
    }
}
