use std::collections::HashMap;
use std::sync::Arc;

use crate::{Condition, Matched, Refused, Route, Verdict, guard::Guarded, head::Head};

/// Routes in order, the first that matches wins, and the target of what no route matches.
///
/// Conditions with a literal path are found by a look at a table, so that a request takes as long
/// with ten thousand of them as with one. The others are tried one by one.
#[derive(Clone, Debug)]
pub struct Routes {
    routes: Vec<Route>,
    otherwise: Option<usize>,
    /// Each condition of each route in order, with the place of its route.
    conditions: Vec<(usize, Condition)>,
    /// Places in `conditions` by literal path, ascending.
    literal: HashMap<Box<[u8]>, Vec<usize>>,
    /// Places in `conditions` of all others, ascending.
    others: Vec<usize>,
    plain_path: bool,
}

impl Routes {
    /// `otherwise` is the target of a request that takes none of the routes; without it such a
    /// request is refused.
    #[must_use]
    pub fn new(routes: Vec<Route>, otherwise: Option<usize>) -> Self {
        let mut conditions = Vec::new();
        for (place, route) in routes.iter().enumerate() {
            if route.conditions.is_empty() {
                conditions.push((place, Condition::any()));
            }
            conditions.extend(route.conditions.iter().map(|condition| (place, condition.clone())));
        }
        let mut literal: HashMap<Box<[u8]>, Vec<usize>> = HashMap::new();
        let mut others = Vec::new();
        for (place, (_, condition)) in conditions.iter().enumerate() {
            match condition.literal_path() {
                Some(path) => literal.entry(path.into()).or_default().push(place),
                None => others.push(place),
            }
        }
        let plain_path = conditions.iter().any(|(_, condition)| condition.wants_plain_path());
        Self { routes, otherwise, conditions, literal, others, plain_path }
    }

    /// The highest target that a request can get.
    pub(crate) fn highest_target(&self) -> Option<usize> {
        self.routes.iter().map(|route| route.target).chain(self.otherwise).max()
    }

    pub(crate) fn find(
        &self,
        head: &Head<'_>,
        guard: impl Fn(&[Guarded]) -> Verdict,
    ) -> Result<Matched, Refused> {
        self.first(head, self.candidates(&head.path), guard)
    }

    fn first(
        &self,
        head: &Head<'_>,
        candidates: impl Iterator<Item = usize>,
        guard: impl Fn(&[Guarded]) -> Verdict,
    ) -> Result<Matched, Refused> {
        // Not "does not match": such a path would slip past a guarded route to a wider one.
        if self.plain_path && head.has_separator() {
            return Err(Refused::NotFound);
        }
        let mut refused = Refused::NotFound;
        for candidate in candidates {
            let Some((place, condition)) = self.conditions.get(candidate) else { continue };
            let Some(route) = self.routes.get(*place) else { continue };
            let Some(parameters) = condition.find(head) else { continue };
            let verdict =
                if route.guarded.is_empty() { Verdict::Open } else { guard(&route.guarded) };
            match verdict {
                Verdict::Open => {
                    return Ok(Matched::new(route.target, parameters, Arc::clone(&route.guarded)));
                }
                Verdict::Forbidden => refused = refused.max(Refused::Forbidden),
                Verdict::Unauthenticated => refused = refused.max(Refused::Unauthenticated),
                Verdict::Unavailable => refused = refused.max(Refused::Unavailable),
            }
        }
        self.otherwise.map(|target| Matched::new(target, Vec::new(), Arc::default())).ok_or(refused)
    }

    /// The conditions that can hold of this path, in order.
    fn candidates(&self, path: &[u8]) -> impl Iterator<Item = usize> {
        let literal = self.literal.get(path).map_or(&[][..], Vec::as_slice);
        let mut literal = literal.iter().copied().peekable();
        let mut others = self.others.iter().copied().peekable();
        std::iter::from_fn(move || match (literal.peek(), others.peek()) {
            (Some(first), Some(second)) if first > second => others.next(),
            (Some(_), _) => literal.next(),
            (None, _) => others.next(),
        })
    }
}

#[cfg(test)]
mod tests;
