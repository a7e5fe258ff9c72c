//! The words that logs, metrics and lists have for streams.

use ::http::Version;
use tailwater_sse::End;

/// An enum whose variants have names, in the order of their declaration.
macro_rules! named {
    ($(#[$attribute:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($(#[$of])* $variant,)* }

        impl $name {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

named! {
    /// Where a stream began.
    Start {
        Live = "live",
        /// After the id that the client brought.
        Id = "id",
        From = "from",
        Since = "since",
        Beginning = "beginning",
    }
}

named! {
    /// Why a stream has ended.
    Reason {
        /// The client has left.
        Client = "client",
        /// It ended by itself while the process stops.
        Drain = "drain",
        /// It was still open at the end of the drain.
        Cut = "cut",
        MaxAge = "max_age",
        /// The token has expired.
        Expired = "expired",
        /// A fresh token does not allow it, and the one before has expired.
        Revoked = "revoked",
        /// An operator has ended it.
        Kicked = "kicked",
        /// The configuration has changed.
        Reload = "reload",
        /// The client took no byte in time.
        Stalled = "stalled",
        /// There are no more events, or the source has failed.
        Source = "source",
        Panicked = "panicked",
    }
}

/// The version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http10,
    Http11,
    H2,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::H2 => "h2",
        }
    }
}

impl From<Version> for Protocol {
    fn from(version: Version) -> Self {
        match version {
            Version::HTTP_2 => Self::H2,
            Version::HTTP_11 => Self::Http11,
            _ => Self::Http10,
        }
    }
}

impl Reason {
    /// The reason of a stream that has ended by itself. `kicked` is why it was asked to end, if it was.
    pub(super) fn of(end: End, kicked: Option<Self>) -> Self {
        match end {
            End::Drain => Self::Drain,
            End::MaxAge => Self::MaxAge,
            End::Lease => Self::Expired,
            End::Revoked => Self::Revoked,
            End::Requested => kicked.unwrap_or(Self::Kicked),
            _ => Self::Source,
        }
    }
}
