use std::borrow::Cow;
use std::fmt;

/// Why a value does not fit its model. The text never holds the value or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    class: Class,
    reason: Cow<'static, str>,
}

/// The kinds of [`Rejection`], for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Class {
    /// The value cannot be read: not UTF-8, truncated, of the wrong wire type. Lenient models reject it, too.
    Malformed,
    /// The value can be read and violates the schema or an option of the model. Lenient models pass it on.
    Invalid,
    /// The catalog has no schema for the value. Lenient models reject it, too.
    SchemaMissing,
    /// The schema cannot be used: its text does not parse, or it lacks the message. Lenient models reject it, too.
    SchemaUnusable,
}

impl Class {
    /// A short name: `malformed`, `invalid`, `schema_missing` or `schema_unusable`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::SchemaMissing => "schema_missing",
            Self::SchemaUnusable => "schema_unusable",
        }
    }
}

impl Rejection {
    pub(crate) fn malformed(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { class: Class::Malformed, reason: reason.into() }
    }

    pub(crate) fn invalid(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { class: Class::Invalid, reason: reason.into() }
    }

    pub(crate) fn missing(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { class: Class::SchemaMissing, reason: reason.into() }
    }

    pub(crate) fn unusable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { class: Class::SchemaUnusable, reason: reason.into() }
    }

    /// The kind of the rejection.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The reason, in words.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Rejection {}
