use std::sync::Arc;

use http::Extensions;

use crate::Requirement;

pub(crate) type Parameter = (Arc<str>, Box<[u8]>);

/// The captured parameters and the requirements of a request's route, in the extensions of the request.
///
/// If routes are nested, as a [`Router`](crate::Router) within another, the inner one adds its
/// parameters and requirements before those of the outer one.
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

    /// Puts it into the extensions of a request, before the `Matched` of an outer layer.
    pub(crate) fn insert_into(mut self, extensions: &mut Extensions) {
        // A layer without parameters and requirements has nothing to read, and is left out.
        self.outer = extensions.remove::<Self>().and_then(|outer| {
            let nothing = outer.parameters.is_empty() && outer.requirements.is_empty();
            if nothing { outer.outer } else { Some(Arc::new(outer)) }
        });
        extensions.insert(self);
    }

    /// The value of a parameter, any bytes. The value of a path parameter is percent-decoded. If
    /// several layers have a parameter of this name, the innermost one counts.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All parameters with their names, those of the innermost layer first.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.innermost_first()
            .flat_map(|matched| &matched.parameters)
            .map(|(name, value)| (&**name, &**value))
    }

    /// All requirements that the request met, those of the innermost layer first. A response that
    /// lasts, as a stream does, has to end when one of them is not met any more.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.innermost_first().flat_map(|matched| &*matched.requirements)
    }

    fn innermost_first(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |matched| matched.outer.as_deref())
    }
}
