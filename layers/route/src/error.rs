/// Why a pattern or a condition is not accepted.
///
/// Positions are bytes from the start of the pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path pattern does not begin with `/` or `*`, so that it would match no path.
    #[error("path pattern `{0}` does not begin with `/` or `*`")]
    Start(String),
    /// A `{` without a `}`.
    #[error("unclosed `{{` at byte {0} of the pattern")]
    Unclosed(usize),
    /// A `}` without a `{` before it.
    #[error("`}}` without `{{` at byte {0} of the pattern")]
    Unopened(usize),
    /// `{}`: a parameter without a name.
    #[error("parameter without a name at byte {0} of the pattern")]
    Nameless(usize),
    /// A name that is not allowed. A name is a letter or `_`, followed by letters, digits, `_` and `-`.
    #[error("`{name}` at byte {at} of the pattern is no name of a parameter")]
    Name {
        /// The text between the braces.
        name: String,
        /// The position of the `{`.
        at: usize,
    },
    /// A second parameter of the same name in the pattern, or in another part of the condition.
    #[error("second parameter `{name}` at byte {at} of the pattern")]
    Duplicate {
        /// The name.
        name: String,
        /// The position of the second `{`.
        at: usize,
    },
    /// `{a}{b}`: two parameters without text between them. Where the first ends would be undefined.
    #[error("no text between two parameters at byte {0} of the pattern")]
    Adjacent(usize),
    /// A `?` in a path pattern. Only a pattern of `:path` may have one, if it ends in `*` and has no
    /// parameter behind the `?`.
    #[error(
        "`?` at byte {0} of the path pattern: a query takes part only in `:path`, before a final `*`"
    )]
    Query(usize),
    /// `%2F` or `%00` in a path pattern. Such a pattern would match no path, since a segment with an
    /// encoded `/` or NUL never matches.
    #[error("encoded `/` or NUL at byte {0} of the path pattern")]
    Separator(usize),
    /// A header name that HTTP does not allow.
    #[error("`{0}` is no name of a header")]
    Header(String),
    /// A pseudo header other than `:scheme`, `:authority`, `:path` and `:method`.
    #[error(
        "unknown pseudo header `{0}`: `:scheme`, `:authority`, `:path` and `:method` are known"
    )]
    PseudoHeader(String),
}
