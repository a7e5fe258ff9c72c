use std::sync::Arc;

use http::Extensions;

use crate::Requirement;

pub(crate) type Parameter = (Arc<str>, Box<[u8]>);

/// What the route of a request captured and demanded, in the extensions of the request.
///
/// Where one [`RouteLayer`](crate::RouteLayer) stands inside another, this is what the inner one
/// found, and the parameters and guards of the outer one are still there behind its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    parameters: Vec<Parameter>,
    requirements: Arc<[Requirement]>,
    outer: Option<Arc<Matched>>,
}

impl Matched {
    pub(crate) fn new(parameters: Vec<Parameter>, requirements: Arc<[Requirement]>) -> Self {
        Self { parameters, requirements, outer: None }
    }

    /// Puts it into the extensions of a request, before what an outer layer left there.
    pub(crate) fn insert_into(mut self, extensions: &mut Extensions) {
        // Only parameters and guards are read from it: a layer that has none is left out.
        self.outer = extensions.remove::<Self>().and_then(|outer| {
            let nothing = outer.parameters.is_empty() && outer.requirements.is_empty();
            if nothing { outer.outer } else { Some(Arc::new(outer)) }
        });
        extensions.insert(self);
    }

    /// The value of a parameter: any bytes, those of a path percent-decoded. Of several layers
    /// with a parameter of this name the innermost counts.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All parameters with their names, those of the innermost layer first.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.outwards()
            .flat_map(|matched| &matched.parameters)
            .map(|(name, value)| (&**name, &**value))
    }

    /// All guards that the request had to pass on its way here, those of the innermost layer first:
    /// what has to hold as long as its answer lasts.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.outwards().flat_map(|matched| &*matched.requirements)
    }

    fn outwards(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |matched| matched.outer.as_deref())
    }
}
