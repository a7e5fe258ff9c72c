/// Why a pattern or a condition is not accepted.
///
/// Positions are bytes from the start of the pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path pattern that does not begin with `/` or `*` matches no path.
    #[error("path pattern `{0}` does not begin with `/` or `*`")]
    Start(String),
    /// A `{` without its `}`.
    #[error("unclosed `{{` at byte {0} of the pattern")]
    Unclosed(usize),
    /// A `}` without its `{`.
    #[error("`}}` without `{{` at byte {0} of the pattern")]
    Unopened(usize),
    /// `{}`.
    #[error("parameter without a name at byte {0} of the pattern")]
    Nameless(usize),
    /// A name is a letter or `_`, then letters, digits, `_` and `-`.
    #[error("`{name}` at byte {at} of the pattern is no name of a parameter")]
    Name {
        /// What stands between the braces.
        name: String,
        /// Where its `{` stands.
        at: usize,
    },
    /// A second parameter of the same name in the pattern, or in another part of the condition.
    #[error("second parameter `{name}` at byte {at} of the pattern")]
    Duplicate {
        /// The name.
        name: String,
        /// Where the `{` of the second one stands.
        at: usize,
    },
    /// `{a}{b}`: nothing says where the one ends and the other begins.
    #[error("no text between two parameters at byte {0} of the pattern")]
    Adjacent(usize),
    /// A `?` in a path pattern; in `:path` one that does not end in `*`, or a parameter behind it.
    #[error(
        "`?` at byte {0} of the path pattern: a query takes part only in `:path`, before a final `*`"
    )]
    Query(usize),
    /// `%2F` or `%00` in a path pattern: no segment of a path that matches holds `/` or NUL.
    #[error("encoded `/` or NUL at byte {0} of the path pattern")]
    Separator(usize),
    /// A header name that HTTP does not allow.
    #[error("`{0}` is no name of a header")]
    Header(String),
    /// Another pseudo header than `:scheme`, `:authority`, `:path` and `:method`.
    #[error(
        "unknown pseudo header `{0}`: `:scheme`, `:authority`, `:path` and `:method` are known"
    )]
    PseudoHeader(String),
}
