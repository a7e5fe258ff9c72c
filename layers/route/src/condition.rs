use std::sync::Arc;

use http::HeaderName;

use crate::glob::Glob;
use crate::head::Head;
use crate::matched::Parameter;
use crate::{Error, Pattern, ValuePattern};

/// What must hold of a request for a route to match: its path, its headers, or nothing.
///
/// ```
/// use tailwater_route::{Condition, Error, Pattern, ValuePattern};
///
/// let condition = Condition::any()
///     .path(Pattern::new("/orders/{id}")?)?
///     .header(":method", ValuePattern::new("GET")?)?
///     .header("accept-language", ValuePattern::new("{language}-*")?)?;
/// assert_eq!(condition.names().collect::<Vec<_>>(), ["id", "language"]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Condition {
    paths: Vec<Path>,
    fields: Vec<(Field, Glob)>,
}

#[derive(Clone, Debug)]
struct Path {
    path: Glob,
    query: Option<Glob>,
    /// A path with an encoded `/` or NUL is none that this can be compared with.
    plain: bool,
}

#[derive(Clone, Debug)]
enum Field {
    Scheme,
    Authority,
    Method,
    Header(HeaderName),
}

impl Condition {
    /// Holds of any request, until more is asked.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// The path must match as well.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if the condition has a parameter of the same name.
    pub fn path(mut self, pattern: Pattern) -> Result<Self, Error> {
        self.check_names(&pattern.glob, &pattern.to_string())?;
        self.paths.push(pattern.into());
        Ok(self)
    }

    /// A value of this header must match as well; the name is compared without case.
    ///
    /// A pseudo header is asked of the request itself:
    /// - `:method`: with case.
    /// - `:scheme`: without case; see [`Scheme`](crate::Scheme).
    /// - `:authority`: that of the URI, else the `Host` header; without case, and the default port
    ///   of the scheme may be written or not on either side. A request with several `Host` headers
    ///   has none.
    /// - `:path`: a [`Pattern`], which an encoded `/` or NUL matches at a `*`. The query is ignored,
    ///   unless the pattern has a `?` and ends in `*`: then what stands between the two is asked of
    ///   the query, byte by byte.
    ///
    /// # Errors
    /// [`Error::Header`], [`Error::PseudoHeader`], [`Error::Duplicate`]; for `:path` those of
    /// [`Pattern::new`].
    pub fn header(mut self, name: &str, value: ValuePattern) -> Result<Self, Error> {
        self.check_names(&value.glob, &value.to_string())?;
        let (field, glob) = match name {
            ":path" => {
                let (path, query) = value.path_and_query()?;
                let plain = !path.names().is_empty();
                self.paths.push(Path { path, query, plain });
                return Ok(self);
            }
            ":scheme" => (Field::Scheme, value.lowercase()?),
            ":authority" => (Field::Authority, value.lowercase()?),
            ":method" => (Field::Method, value.glob),
            _ if name.starts_with(':') => return Err(Error::PseudoHeader(name.to_owned())),
            _ => {
                let parsed = name.parse().map_err(|_| Error::Header(name.to_owned()))?;
                (Field::Header(parsed), value.glob)
            }
        };
        self.fields.push((field, glob));
        Ok(self)
    }

    /// The names of the parameters that a request has whenever this condition holds.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.globs().flat_map(Glob::names).map(|name| &**name)
    }

    /// What a request that satisfies it captures, by name; none if the request does not.
    #[must_use]
    pub fn captures<B>(&self, request: &http::Request<B>) -> Option<Vec<Parameter>> {
        self.find(&Head::new(request))
    }

    fn globs(&self) -> impl Iterator<Item = &Glob> {
        self.paths.iter().map(|path| &path.path).chain(self.fields.iter().map(|(_, glob)| glob))
    }

    fn check_names(&self, new: &Glob, text: &str) -> Result<(), Error> {
        match new.names().iter().find(|new| self.names().any(|known| *known == ***new)) {
            Some(name) => {
                let at = text.find(&format!("{{{name}}}")).unwrap_or_default();
                Err(Error::Duplicate { name: name.to_string(), at })
            }
            None => Ok(()),
        }
    }

    /// The one path, decoded, that this condition can hold of.
    pub(crate) fn literal_path(&self) -> Option<&[u8]> {
        self.paths.iter().find_map(|path| path.path.literal())
    }

    /// Whether this condition cannot judge a path with an encoded `/` or NUL.
    pub(crate) fn wants_plain_path(&self) -> bool {
        self.paths.iter().any(|path| path.plain)
    }

    /// The parameters, if this condition holds.
    pub(crate) fn find(&self, head: &Head<'_>) -> Option<Vec<Parameter>> {
        let mut parameters = Vec::new();
        for Path { path, query, .. } in &self.paths {
            if let Some(query) = query {
                query.find(head.query()?)?;
            }
            collect(path, &head.path, &mut parameters)?;
        }
        for (field, glob) in &self.fields {
            let all = &mut parameters;
            match field {
                Field::Method => collect(glob, head.method.as_str().as_bytes(), all),
                Field::Scheme => collect(glob, head.scheme().to_ascii_lowercase().as_bytes(), all),
                Field::Authority => {
                    head.authority().iter().find_map(|value| collect(glob, value, all))
                }
                Field::Header(name) => {
                    let mut values = head.headers.get_all(name).iter();
                    values.find_map(|value| collect(glob, value.as_bytes(), all))
                }
            }?;
        }
        Some(parameters)
    }
}

impl From<Pattern> for Condition {
    /// The path must match, and nothing else is asked.
    fn from(pattern: Pattern) -> Self {
        Self { paths: vec![pattern.into()], fields: Vec::new() }
    }
}

impl From<Pattern> for Path {
    fn from(pattern: Pattern) -> Self {
        Self { path: pattern.glob, query: None, plain: true }
    }
}

fn collect(glob: &Glob, text: &[u8], parameters: &mut Vec<Parameter>) -> Option<()> {
    let found = glob.find(text)?;
    for (name, range) in glob.names().iter().zip(found) {
        parameters.push((Arc::clone(name), text.get(range)?.into()));
    }
    Some(())
}
