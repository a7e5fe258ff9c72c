use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::glob::{Glob, Kind};

/// A pattern of paths: literals, `{name}` and `*`.
///
/// - `{name}` matches one segment, or a part of one if text stands beside it (`/{id}.json`). It never
///   matches the empty text. Its value is percent-decoded.
/// - `*` matches any text, the empty text included, within a segment and across `/`.
/// - All other text matches itself, percent-encoded or not: `/%65vents` and `/events` are the same
///   path and the same pattern. A literal `*`, `{` or `}` is written `%2A`, `%7B`, `%7D`.
///
/// If a path matches in several ways, each part takes as much as it can, from left to right. The
/// query is no part of a path. `.` and `..` are segments like any other. Matching takes at most time
/// in proportion to the length of the path times that of the pattern.
///
/// ```
/// use tailwater_route::{Error, Pattern};
///
/// let pattern = Pattern::new("/orders/{id}/*")?;
/// assert_eq!(pattern.names().collect::<Vec<_>>(), ["id"]);
/// assert_eq!(Pattern::new("/orders/{id"), Err(Error::Unclosed(8)));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    pub(crate) glob: Glob,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// All but [`Error::Header`] and [`Error::PseudoHeader`].
    pub fn new(text: &str) -> Result<Self, Error> {
        Self::of_kind(text, Kind::Path)
    }

    /// Parses a pattern whose `{name}` may match several segments: `/{path}` matches `/js/app.js`. It is
    /// for the routes of static files.
    ///
    /// # Errors
    /// Those of [`Pattern::new`].
    pub fn multi_segment(text: &str) -> Result<Self, Error> {
        Self::of_kind(text, Kind::MultiSegmentPath)
    }

    fn of_kind(text: &str, kind: Kind) -> Result<Self, Error> {
        check_start(text)?;
        Ok(Self { text: text.into(), glob: Glob::parse(text, 0, kind)? })
    }

    /// The names of the parameters, from left to right.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.glob.names().iter().map(|name| &**name)
    }

    /// Whether this pattern matches the path of a request, percent-encoded and without the query.
    ///
    /// A path with an encoded `/` or NUL matches no pattern.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        crate::path::separator(path.as_bytes()).is_none()
            && self.glob.find(&crate::path::decoded(path.as_bytes())).is_some()
    }
}

/// A pattern of header values: `*` matches any text, `{name}` any text that is not empty, and all
/// other text itself.
///
/// Pseudo headers have rules of their own, which [`Condition::header`](crate::Condition::header)
/// lists.
///
/// ```
/// let text = tailwater_route::ValuePattern::new("Bearer {token}")?;
/// assert_eq!(text.names().collect::<Vec<_>>(), ["token"]);
/// # Ok::<(), tailwater_route::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ValuePattern {
    text: Box<str>,
    pub(crate) glob: Glob,
}

impl ValuePattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`Error::Unclosed`], [`Error::Unopened`], [`Error::Nameless`], [`Error::Name`],
    /// [`Error::Duplicate`], [`Error::Adjacent`].
    pub fn new(text: &str) -> Result<Self, Error> {
        Ok(Self { text: text.into(), glob: Glob::parse(text, 0, Kind::Text)? })
    }

    /// The names of the parameters, from left to right.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.glob.names().iter().map(|name| &**name)
    }

    /// Whether the whole of `text` matches.
    ///
    /// ```
    /// let pattern = tailwater_route::ValuePattern::new("*.example.com")?;
    /// assert!(pattern.matches(b"a.example.com") && !pattern.matches(b"example.com"));
    /// # Ok::<_, tailwater_route::Error>(())
    /// ```
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        self.glob.find(text).is_some()
    }

    pub(crate) fn lowercase(&self) -> Result<Glob, Error> {
        Glob::parse(&self.text, 0, Kind::Lowercase)
    }

    /// This pattern as one of `:path`: the pattern of the path, and that of the query if it has one.
    pub(crate) fn path_and_query(&self) -> Result<(Glob, Option<Glob>), Error> {
        check_start(&self.text)?;
        let Some((path, query)) = self.text.split_once('?') else {
            return Ok((Glob::parse(&self.text, 0, Kind::Path)?, None));
        };
        let path_glob = Glob::parse(path, 0, Kind::Path)?;
        let query_glob = Glob::parse(query, path.len() + 1, Kind::Text)?;
        if query.ends_with('*') && query_glob.names().is_empty() {
            Ok((path_glob, Some(query_glob)))
        } else {
            Err(Error::Query(path.len()))
        }
    }
}

fn check_start(text: &str) -> Result<(), Error> {
    if text.starts_with(['/', '*']) { Ok(()) } else { Err(Error::Start(text.to_owned())) }
}

macro_rules! text_traits {
    ($($name:ident)*) => { $(
        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.text).finish()
            }
        }
    )* };
}

text_traits! { Pattern ValuePattern }
