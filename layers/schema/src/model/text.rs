use crate::model::{Outcome, Validate};
use crate::reject::Rejection;

/// How the bytes of a text are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// UTF-8. The default.
    #[default]
    Utf8,
    /// UTF-16, big-endian. The value becomes UTF-8.
    Utf16,
}

/// A text. Lengths count code points.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct StringModel {
    encoding: Encoding,
    min_length: usize,
    max_length: Option<usize>,
    pattern: Option<regex::Regex>,
    validate: Validate,
}

/// The pattern of a string model is not accepted.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the pattern is not a regular expression that can be matched in linear time")]
pub struct PatternError(#[source] regex::Error);

impl StringModel {
    /// Any text in UTF-8.
    pub fn new() -> Self {
        Self::default()
    }

    /// How the bytes are read. Default: UTF-8.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// The least number of code points. Default: 0.
    pub fn min_length(mut self, min_length: usize) -> Self {
        self.min_length = min_length;
        self
    }

    /// The greatest number of code points. Default: no limit.
    pub fn max_length(mut self, max_length: usize) -> Self {
        self.max_length = Some(max_length);
        self
    }

    /// A regular expression that the whole text has to match. Default: none.
    ///
    /// # Errors
    ///
    /// The text is no regular expression, it is too large, or it needs what cannot be matched in linear time, such as
    /// back-references.
    pub fn pattern(mut self, pattern: &str) -> Result<Self, PatternError> {
        // The pattern by itself first: `a)|(b` closes the group.
        regex::Regex::new(pattern).map_err(PatternError)?;
        self.pattern =
            Some(regex::Regex::new(&format!("\\A(?:{pattern})\\z")).map_err(PatternError)?);
        Ok(self)
    }

    /// What happens to a text that violates an option. Default: it is rejected.
    pub fn validate(mut self, validate: Validate) -> Self {
        self.validate = validate;
        self
    }

    pub(super) fn convert<'a>(&self, bytes: &'a [u8], out: &mut Vec<u8>) -> Outcome<'a> {
        match self.encoding {
            Encoding::Utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => self.validate.judge(bytes, self.judge(text)),
                Err(_) => Outcome::Rejected(Rejection::malformed("it is not UTF-8")),
            },
            Encoding::Utf16 => {
                let Some(text) = decode_utf16(bytes) else {
                    return Outcome::Rejected(Rejection::malformed("it is not UTF-16, big-endian"));
                };
                // A lenient model passes the text on, as UTF-8.
                out.extend_from_slice(text.as_bytes());
                match self.judge(&text) {
                    Ok(()) => Outcome::Converted,
                    Err(rejection) if self.validate == Validate::Lenient => {
                        Outcome::Tolerated(None, rejection)
                    }
                    Err(rejection) => Outcome::Rejected(rejection),
                }
            }
        }
    }

    fn judge(&self, text: &str) -> Result<(), Rejection> {
        if self.min_length > 0 || self.max_length.is_some() {
            let length = text.chars().count();
            if length < self.min_length {
                return Err(Rejection::invalid(format!(
                    "it has fewer than {} code points",
                    self.min_length
                )));
            }
            if let Some(max_length) = self.max_length.filter(|max_length| length > *max_length) {
                return Err(Rejection::invalid(format!(
                    "it has more than {max_length} code points"
                )));
            }
        }
        match &self.pattern {
            Some(pattern) if !pattern.is_match(text) => {
                Err(Rejection::invalid("it does not match the pattern"))
            }
            _ => Ok(()),
        }
    }
}

fn decode_utf16(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    char::decode_utf16(pairs.iter().map(|pair| u16::from_be_bytes(*pair)))
        .collect::<Result<_, _>>()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::Class;

    fn class(model: &StringModel, bytes: &[u8]) -> Option<Class> {
        match model.convert(bytes, &mut Vec::new()) {
            Outcome::Unchanged(_) | Outcome::Converted => None,
            Outcome::Rejected(rejection) | Outcome::Tolerated(_, rejection) => {
                Some(rejection.class())
            }
            Outcome::Pending(_) => panic!("no schema is needed"),
        }
    }

    #[test]
    fn text_is_utf8() {
        let model = StringModel::new();
        for bytes in [&b""[..], "é😀".as_bytes(), b"\0"] {
            assert_eq!(class(&model, bytes), None, "{bytes:02x?}");
        }
        for bytes in [
            &b"\xc0\xaf"[..],
            b"\xed\xa0\x80",
            b"\x80",
            b"\xf8\x88\x80\x80\x80",
            b"\xff\xfe",
            b"a\xc3",
        ] {
            assert_eq!(class(&model, bytes), Some(Class::Malformed), "{bytes:02x?}");
        }
    }

    #[test]
    fn utf16_is_big_endian_and_becomes_utf8() {
        let model = StringModel::new().encoding(Encoding::Utf16).max_length(2);
        let mut out = Vec::new();
        assert!(matches!(model.convert(b"\0a\xd8\x3d\xde\x00", &mut out), Outcome::Converted));
        assert_eq!(out, "a😀".as_bytes());
        assert_eq!(class(&model, b"\0a\0b\0c"), Some(Class::Invalid));
        for bytes in [&b"a"[..], b"\xd8\x3d", b"\xde\x00\0a"] {
            assert_eq!(class(&model, bytes), Some(Class::Malformed), "{bytes:02x?}");
        }
        out.clear();
        let model = model.validate(Validate::Lenient);
        assert!(matches!(model.convert(b"\0a\0b\0c", &mut out), Outcome::Tolerated(None, _)));
        assert_eq!(out, b"abc");
    }

    #[test]
    fn lengths_count_code_points() {
        let model = StringModel::new().min_length(2).max_length(3);
        for (text, fits) in [("é", false), ("éé", true), ("😀😀😀", true), ("abcd", false)]
        {
            assert_eq!(class(&model, text.as_bytes()).is_none(), fits, "{text}");
        }
    }

    #[test]
    fn a_pattern_matches_the_whole_text() {
        let model = StringModel::new().pattern("[a-z]+|0").expect("a pattern");
        for (text, fits) in [
            ("abc", true),
            ("0", true),
            ("ABC", false),
            ("", false),
            ("abc\n", false),
            ("a0", false),
        ] {
            assert_eq!(class(&model, text.as_bytes()).is_none(), fits, "{text:?}");
        }
        for pattern in ["(", "a)|(b", "(a)\\1", "(?=a)", "a{1000}{1000}{1000}"] {
            assert!(StringModel::new().pattern(pattern).is_err(), "{pattern}");
        }
    }
}
