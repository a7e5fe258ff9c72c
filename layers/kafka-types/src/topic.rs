/// The error of an invalid topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicNameError {
    /// The name is empty.
    #[error("is empty")]
    Empty,
    /// The name is `.` or `..`.
    #[error("is no name of a topic")]
    Dots,
    /// The name has more than 249 characters.
    #[error("is longer than 249 characters")]
    TooLong,
    /// The name has a character that Kafka does not allow.
    #[error("has characters other than a-z, A-Z, 0-9, `.`, `_` and `-`")]
    Character,
}

/// Checks a topic name by Kafka's own rule: 1 to 249 characters of `a-z`, `A-Z`, `0-9`, `.`, `_` and `-`,
/// and neither `.` nor `..`.
///
/// # Errors
/// The rule that the name breaks.
///
/// ```
/// use tailwater_kafka_types::{TopicNameError, check_topic_name};
///
/// assert_eq!(check_topic_name("orders-2.eu"), Ok(()));
/// assert_eq!(check_topic_name("orders/eu"), Err(TopicNameError::Character));
/// ```
pub fn check_topic_name(name: &str) -> Result<(), TopicNameError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match name {
        "" => Err(TopicNameError::Empty),
        "." | ".." => Err(TopicNameError::Dots),
        name if name.len() > 249 => Err(TopicNameError::TooLong),
        name if !name.bytes().all(is_allowed) => Err(TopicNameError::Character),
        _ => Ok(()),
    }
}
