use std::sync::Arc;

pub(crate) type Parameter = (Arc<str>, Box<[u8]>);

/// The route that a request takes; stands in its extensions.
///
/// Where one [`RouteLayer`](crate::RouteLayer) stands inside another, this is what the inner one
/// found, and the parameters of the outer one are still there behind its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    target: usize,
    parameters: Vec<Parameter>,
    outer: Option<Arc<Matched>>,
}

impl Matched {
    pub(crate) fn new(target: usize, parameters: Vec<Parameter>) -> Self {
        Self { target, parameters, outer: None }
    }

    pub(crate) fn within(self, outer: Option<Self>) -> Self {
        // Only parameters are asked of it: a layer that has none is left out.
        let outer = outer.and_then(|outer| {
            if outer.parameters.is_empty() { outer.outer } else { Some(Arc::new(outer)) }
        });
        Self { outer, ..self }
    }

    /// The number that the route was made with, or that of the default.
    #[must_use]
    pub fn target(&self) -> usize {
        self.target
    }

    /// The value of a parameter: any bytes, those of a path percent-decoded. Of several layers
    /// with a parameter of this name the innermost counts.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All parameters with their names, those of the innermost layer first.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &[u8])> {
        std::iter::successors(Some(self), |matched| matched.outer.as_deref())
            .flat_map(|matched| &matched.parameters)
            .map(|(name, value)| (&**name, &**value))
    }
}
