use std::sync::Arc;

use http::HeaderName;

use crate::glob::Glob;
use crate::head::Head;
use crate::matched::Parameter;
use crate::{Error, Pattern, ValuePattern};

/// A test of a request's path and headers. A route matches if one of its conditions holds.
///
/// A condition holds if each of its parts does: every path and every header that was added.
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
#[must_use]
pub struct Condition {
    paths: Vec<Path>,
    fields: Vec<(Field, Glob)>,
}

#[derive(Clone, Debug)]
struct Path {
    path: Glob,
    query: Option<Glob>,
    /// Whether the pattern cannot be compared with a path that has an encoded `/` or NUL.
    needs_plain: bool,
}

#[derive(Clone, Debug)]
enum Field {
    Scheme,
    Authority,
    Method,
    Header(HeaderName),
}

impl Condition {
    /// A condition that holds for any request. [`path`](Self::path) and [`header`](Self::header) add
    /// to it.
    pub fn any() -> Self {
        Self::default()
    }

    /// Requires the path to match, too.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if the condition has a parameter of the same name already.
    pub fn path(mut self, pattern: Pattern) -> Result<Self, Error> {
        self.check_names(&pattern.glob, &pattern.to_string())?;
        self.paths.push(pattern.into());
        Ok(self)
    }

    /// Requires one value of this header to match, too. The case of the name has no meaning.
    ///
    /// A pseudo header tests the request line:
    /// - `:method` is compared with case.
    /// - `:scheme` is compared without case; see [`Scheme`](crate::Scheme).
    /// - `:authority` is the authority of the URI, or else the `Host` header. It is compared without
    ///   case. The default port of the scheme may be written or left out, in the pattern and in the
    ///   request. A request with several `Host` headers has no authority.
    /// - `:path` takes a [`Pattern`], whose `*` matches an encoded `/` or NUL as well. The query is
    ///   ignored, unless the pattern has a `?` and ends in `*`. The text between the two must then
    ///   stand at the beginning of the query, byte by byte.
    ///
    /// # Errors
    /// [`Error::Header`], [`Error::PseudoHeader`], [`Error::Duplicate`]; for `:path` those of
    /// [`Pattern::new`].
    pub fn header(mut self, name: &str, value: ValuePattern) -> Result<Self, Error> {
        self.check_names(&value.glob, &value.to_string())?;
        let (field, glob) = match name {
            ":path" => {
                let (path, query) = value.path_and_query()?;
                let needs_plain = !path.names().is_empty();
                self.paths.push(Path { path, query, needs_plain });
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

    /// The names of the parameters that this condition captures.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.globs().flat_map(Glob::names).map(|name| &**name)
    }

    /// The parameters of a request with their names, or `None` if the condition does not hold.
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

    /// The only path, percent-decoded, for which this condition can hold, if there is only one.
    pub(crate) fn literal_path(&self) -> Option<&[u8]> {
        self.paths.iter().find_map(|path| path.path.literal())
    }

    /// Whether a path with an encoded `/` or NUL cannot be compared with this condition.
    pub(crate) fn needs_plain_path(&self) -> bool {
        self.paths.iter().any(|path| path.needs_plain)
    }

    /// The parameters, if this condition holds.
    pub(crate) fn find(&self, head: &Head<'_>) -> Option<Vec<Parameter>> {
        let mut parameters = Vec::new();
        for Path { path, query, .. } in &self.paths {
            if let Some(query) = query {
                query.find(head.query()?)?;
            }
            capture(path, &head.path, &mut parameters)?;
        }
        for (field, glob) in &self.fields {
            let all = &mut parameters;
            match field {
                Field::Method => capture(glob, head.method.as_str().as_bytes(), all),
                Field::Scheme => capture(glob, head.scheme().to_ascii_lowercase().as_bytes(), all),
                Field::Authority => {
                    head.authority().iter().find_map(|value| capture(glob, value, all))
                }
                Field::Header(name) => {
                    let mut values = head.headers.get_all(name).iter();
                    values.find_map(|value| capture(glob, value.as_bytes(), all))
                }
            }?;
        }
        Some(parameters)
    }
}

impl From<Pattern> for Condition {
    /// Requires the path to match, and nothing else.
    fn from(pattern: Pattern) -> Self {
        Self { paths: vec![pattern.into()], fields: Vec::new() }
    }
}

impl From<Pattern> for Path {
    fn from(pattern: Pattern) -> Self {
        Self { path: pattern.glob, query: None, needs_plain: true }
    }
}

fn capture(glob: &Glob, text: &[u8], parameters: &mut Vec<Parameter>) -> Option<()> {
    let found = glob.find(text)?;
    for (name, range) in glob.names().iter().zip(found) {
        parameters.push((Arc::clone(name), text.get(range)?.into()));
    }
    Some(())
}
