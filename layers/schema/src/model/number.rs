use crate::model::{Outcome, Range, Validate};
use crate::reject::Rejection;

/// How the bytes of a number are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NumberFormat {
    /// Digits. The default.
    #[default]
    Text,
    /// Big-endian, in exactly the bytes of the type.
    Binary,
}

macro_rules! number_model {
    ($model:ident, $type:ty, $doc:literal, $multiple:literal, $text:path, $integer:literal) => {
        #[doc = $doc]
        ///
        /// The bytes pass unchanged.
        #[derive(Clone, Debug, Default)]
        #[must_use]
        pub struct $model {
            format: NumberFormat,
            range: Range<$type>,
            multiple: Option<$type>,
            validate: Validate,
        }

        impl $model {
            /// Any number of the type, as text.
            pub fn new() -> Self {
                Self::default()
            }

            /// How the bytes are read. Default: text.
            pub fn format(mut self, format: NumberFormat) -> Self {
                self.format = format;
                self
            }

            /// The numbers that are accepted. Default: all of the type.
            pub fn range(mut self, range: Range<$type>) -> Self {
                self.range = range;
                self
            }

            #[doc = $multiple]
            pub fn multiple(mut self, multiple: $type) -> Self {
                self.multiple = Some(multiple);
                self
            }

            /// What happens to a number that violates `range` or `multiple`. Default: it is rejected.
            pub fn validate(mut self, validate: Validate) -> Self {
                self.validate = validate;
                self
            }

            pub(super) fn is_text(&self) -> bool {
                self.format == NumberFormat::Text
            }

            pub(super) fn convert<'a>(&self, bytes: &'a [u8]) -> Outcome<'a> {
                let number = match self.format {
                    NumberFormat::Text => $text(bytes),
                    NumberFormat::Binary => bytes.try_into().ok().map(<$type>::from_be_bytes),
                };
                let Some(number) = number else {
                    return Outcome::Rejected(Rejection::malformed(match self.format {
                        NumberFormat::Text => {
                            concat!("it is no number of the type ", stringify!($type), " in digits")
                        }
                        NumberFormat::Binary => {
                            concat!("it does not have the size of the type ", stringify!($type))
                        }
                    }));
                };
                self.validate.judge(bytes, self.judge(number))
            }

            fn judge(&self, number: $type) -> Result<(), Rejection> {
                if !self.range.contains(&number) {
                    return Err(Rejection::invalid(format!(
                        "it is not in the range {}",
                        self.range
                    )));
                }
                let zero = <$type>::default();
                match self.multiple {
                    // A remainder by -1 overflows for the least integer, which is a multiple of it.
                    Some(multiple)
                        if multiple != zero && $integer && multiple + (1 as $type) == zero =>
                    {
                        Ok(())
                    }
                    Some(multiple)
                        if multiple == zero && number != zero
                            || multiple != zero && number % multiple != zero =>
                    {
                        Err(Rejection::invalid(format!("it is not a multiple of {multiple}")))
                    }
                    _ => Ok(()),
                }
            }
        }
    };
}

number_model!(
    Int32Model,
    i32,
    "A 32-bit integer: an optional sign and digits, or 4 bytes.",
    "The number is a multiple of this one. Default: not checked.",
    integer,
    true
);
number_model!(
    Int64Model,
    i64,
    "A 64-bit integer: an optional sign and digits, or 8 bytes.",
    "The number is a multiple of this one. Default: not checked.",
    integer,
    true
);
number_model!(
    FloatModel,
    f32,
    "A number of single precision: digits with an optional sign, point and exponent, or 4 bytes. NaN is never accepted.",
    "The number is a multiple of this one. Default: not checked.",
    float,
    false
);
number_model!(
    DoubleModel,
    f64,
    "A number of double precision: digits with an optional sign, point and exponent, or 8 bytes. NaN is never accepted.",
    "The number is a multiple of this one. Default: not checked.",
    float,
    false
);

fn integer<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn float<T: std::str::FromStr + Into<f64> + Copy>(bytes: &[u8]) -> Option<T> {
    // `FromStr` takes words, too.
    if !bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')) {
        return None;
    }
    let number: T = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    Into::<f64>::into(number).is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::Class;

    fn class(outcome: &Outcome<'_>) -> Option<Class> {
        match outcome {
            Outcome::Unchanged(_) => None,
            Outcome::Rejected(rejection) | Outcome::Tolerated(_, rejection) => {
                Some(rejection.class())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn integers_are_a_sign_and_digits() {
        let model = Int32Model::new();
        for text in ["0", "-1", "+7", "007", "2147483647", "-2147483648"] {
            assert_eq!(class(&model.convert(text.as_bytes())), None, "{text}");
        }
        for text in ["", "-", "+", " 1", "1 ", "1.0", "1\n", "2147483648", "a", "--1", "\u{661}"] {
            assert_eq!(class(&model.convert(text.as_bytes())), Some(Class::Malformed), "{text}");
        }
        let model = Int64Model::new();
        assert_eq!(class(&model.convert(b"-9223372036854775808")), None);
        assert_eq!(class(&model.convert(b"9223372036854775808")), Some(Class::Malformed));
    }

    #[test]
    fn binary_integers_have_the_size_of_their_type() {
        let model = Int32Model::new()
            .format(NumberFormat::Binary)
            .range("[0,10)".parse().expect("a range"));
        assert_eq!(class(&model.convert(&[0, 0, 0, 9])), None);
        assert_eq!(class(&model.convert(&[0, 0, 0, 10])), Some(Class::Invalid));
        assert_eq!(class(&model.convert(&[255, 255, 255, 255])), Some(Class::Invalid));
        for bytes in [&b""[..], b"\0\0\0", b"\0\0\0\0\0"] {
            assert_eq!(class(&model.convert(bytes)), Some(Class::Malformed));
        }
        let model = Int64Model::new().format(NumberFormat::Binary);
        assert_eq!(class(&model.convert(&[0; 8])), None);
        assert_eq!(class(&model.convert(&[0; 4])), Some(Class::Malformed));
    }

    #[test]
    fn floats_are_digits_with_a_point_or_an_exponent() {
        let model = DoubleModel::new();
        for text in ["1.5", "-1.5", ".5", "5.", "1e5", "1", "+1.5"] {
            assert_eq!(class(&model.convert(text.as_bytes())), None, "{text}");
        }
        for text in ["", ".", "-", "-.", "NaN", "Infinity", "inf", "1,5", " 1", "1e", "1e999"] {
            assert_eq!(class(&model.convert(text.as_bytes())), Some(Class::Malformed), "{text}");
        }
        assert_eq!(class(&FloatModel::new().convert(b"1e39")), Some(Class::Malformed));
        let model = FloatModel::new().format(NumberFormat::Binary);
        assert_eq!(class(&model.convert(&1.5f32.to_be_bytes())), None);
        assert_eq!(class(&model.convert(&f32::NAN.to_be_bytes())), Some(Class::Invalid));
        assert_eq!(class(&model.convert(&1.5f64.to_be_bytes())), Some(Class::Malformed));
    }

    #[test]
    fn multiples_are_exact_and_never_overflow() {
        let model = Int32Model::new().multiple(5);
        assert_eq!(class(&model.convert(b"-10")), None);
        assert_eq!(class(&model.convert(b"11")), Some(Class::Invalid));
        assert_eq!(class(&Int32Model::new().multiple(-1).convert(b"-2147483648")), None);
        assert_eq!(class(&Int64Model::new().multiple(0).convert(b"1")), Some(Class::Invalid));
        let model = DoubleModel::new().multiple(0.5);
        assert_eq!(class(&model.convert(b"1.5")), None);
        assert_eq!(class(&model.convert(b"1.6")), Some(Class::Invalid));
    }

    #[test]
    fn lenient_models_pass_what_is_invalid_only() {
        let model =
            Int32Model::new().range("[0,10)".parse().expect("a range")).validate(Validate::Lenient);
        assert!(matches!(model.convert(b"11"), Outcome::Tolerated(Some(b"11"), _)));
        assert!(matches!(model.convert(b"x"), Outcome::Rejected(_)));
    }
}
