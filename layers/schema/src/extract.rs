//! Fields of keys and values, for transforms.

use crate::catalog::Waiter;
use crate::reject::Rejection;

/// What [`Model::extract`](crate::Model::extract) found.
#[derive(Debug)]
#[non_exhaustive]
pub enum Extracted {
    /// The text of each field, in the order of the names. A field that is absent, null or composite has none.
    Fields(Vec<Option<Vec<u8>>>),
    /// The key or the value cannot be read.
    Rejected(Rejection),
    /// The catalog does not know the schema yet.
    Pending(Waiter),
}

/// Collects the text of fields by their names.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    names: &'n [&'n str],
    texts: Vec<Option<Vec<u8>>>,
}

impl<'n> Fields<'n> {
    pub(crate) fn new(names: &'n [&'n str]) -> Self {
        Self { names, texts: vec![None; names.len()] }
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// Sets the field's text. The last one of a name counts.
    pub(crate) fn set(&mut self, name: &str, text: Option<&[u8]>) {
        for (at, _) in self.names.iter().enumerate().filter(|(_, wanted)| **wanted == name) {
            if let Some(slot) = self.texts.get_mut(at) {
                *slot = text.map(<[u8]>::to_vec);
            }
        }
    }

    pub(crate) fn finish(self) -> Extracted {
        Extracted::Fields(self.texts)
    }
}
