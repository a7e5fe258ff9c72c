//! Models of the configuration at work: on the records of topics, and on the data of events.

mod content;
#[cfg(feature = "kafka")]
mod records;

pub(crate) use self::content::{ContentLayer, ContentOptions, Contents};
#[cfg(feature = "kafka")]
pub(crate) use self::records::RecordModels;
