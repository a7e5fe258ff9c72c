//! Texts and numbers are those of the standard library, and what stands before a value is cut off and nothing else.
//! Input: a line with a range and a pattern, the last header, and a value.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use tailwater_schema::catalog::{
    Catalog, Framing, IdEncoding, Lookup, SchemaId, SchemaKind, SchemaRef, SchemaText, UseId,
};
use tailwater_schema::model::{
    AvroModel, DoubleModel, Encoding, FloatModel, Int32Model, Int64Model, NumberFormat,
    SchemaSource, StringModel, Validate,
};
use tailwater_schema::{Class, Input, Model, Outcome, Range};

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let (Some(option), Some(header), Some(value)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    if let Ok(option) = std::str::from_utf8(option) {
        range::<i32>(option);
        range::<i64>(option);
        range::<f32>(option);
        range::<f64>(option);
        if let Ok(range) = option.parse::<Range<i32>>() {
            let model = Int32Model::new().range(range.clone());
            let strict = class(&model.clone().into(), value);
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            let expected = match number {
                Some(number) if range.contains(&number) => None,
                Some(_) => Some(Class::Invalid),
                None => Some(Class::Malformed),
            };
            assert_eq!(strict, expected);
            let lenient = class(&model.validate(Validate::Lenient).into(), value);
            assert_eq!(lenient, expected.filter(|class| *class != Class::Invalid));
        }
        if let Ok(model) = StringModel::new().pattern(option) {
            class(&model.into(), value);
        }
    }
    texts(value);
    numbers(value);
    framings(header, value);
});

fn range<T: FromStr + Display + Debug + PartialOrd>(text: &str) {
    if let Ok(range) = text.parse::<Range<T>>() {
        assert_eq!(range.to_string().parse::<Range<T>>().as_ref(), Ok(&range), "{range}");
    }
}

fn texts(value: &[u8]) {
    let text = std::str::from_utf8(value);
    assert_eq!(class(&StringModel::new().into(), value).is_none(), text.is_ok());
    let some = StringModel::new().min_length(2).max_length(5);
    let fits = text.is_ok_and(|text| (2..=5).contains(&text.chars().count()));
    assert_eq!(class(&some.into(), value).is_none(), fits);
    let utf16 = Model::from(StringModel::new().encoding(Encoding::Utf16));
    let units: Vec<_> = value
        .chunks(2)
        .filter_map(|unit| Some(u16::from_be_bytes(unit.try_into().ok()?)))
        .collect();
    let text = String::from_utf16(&units).ok().filter(|_| value.len() % 2 == 0);
    let mut out = Vec::new();
    let converted = matches!(utf16.convert(&Input::value(value), &mut out), Outcome::Converted);
    assert_eq!(converted.then_some(out), text.map(String::into_bytes));
}

fn numbers(value: &[u8]) {
    let text = std::str::from_utf8(value).unwrap_or("none");
    let passes = |model: Model| class(&model, value).is_none();
    assert_eq!(passes(Int32Model::new().into()), text.parse::<i32>().is_ok());
    assert_eq!(passes(Int64Model::new().into()), text.parse::<i64>().is_ok());
    assert_eq!(passes(FloatModel::new().into()), text.parse::<f32>().is_ok_and(f32::is_finite));
    assert_eq!(passes(DoubleModel::new().into()), text.parse::<f64>().is_ok_and(f64::is_finite));
    assert_eq!(passes(Int32Model::new().format(NumberFormat::Binary).into()), value.len() == 4);
    let multiple = Int64Model::new().format(NumberFormat::Binary).multiple(-1);
    assert_eq!(passes(multiple.into()), value.len() == 8);
    let double = value.try_into().map(f64::from_be_bytes);
    let model = DoubleModel::new().format(NumberFormat::Binary);
    assert_eq!(passes(model.into()), double.is_ok_and(|number| !number.is_nan()));
}

fn framings(header: &[u8], value: &[u8]) {
    let headers = [("__value_schema_id", header), ("apicurio.value.globalId", header)];
    for (framing, prefix) in [
        (Framing::None, 0),
        (Framing::Confluent, 5),
        (Framing::Apicurio { use_id: UseId::GlobalId, encoding: IdEncoding::Default }, 9),
        (Framing::Apicurio { use_id: UseId::ContentId, encoding: IdEncoding::Legacy }, 5),
    ] {
        let source = SchemaSource::new(Arc::new(Any(framing)), SchemaRef::subject("s", "latest"));
        let model = Model::from(AvroModel::new(source));
        let payload = match value {
            [0, ..] => value.get(prefix..),
            _ => Some(value),
        };
        assert_eq!(passed(&model, &Input::value(value)), payload.filter(|rest| is_avro(rest)));
        let framed = passed(&model, &Input::value(value).headers(&headers));
        if framed.is_some() && framing != Framing::None {
            assert_eq!(framed, Some(value), "the id is in the header");
        }
    }
}

/// Whether the bytes are an array of bytes, as Avro has them.
fn is_avro(bytes: &[u8]) -> bool {
    let source = SchemaSource::new(Arc::new(Any(Framing::None)), SchemaRef::subject("s", "latest"));
    passed(&AvroModel::new(source).into(), &Input::value(bytes)).is_some()
}

fn passed<'a>(model: &Model, input: &Input<'a>) -> Option<&'a [u8]> {
    match model.convert(input, &mut Vec::new()) {
        Outcome::Unchanged(bytes) => Some(bytes),
        Outcome::Rejected(_) => None,
        other => panic!("{other:?}"),
    }
}

fn class(model: &Model, value: &[u8]) -> Option<Class> {
    match model.convert(&Input::value(value), &mut Vec::new()) {
        Outcome::Unchanged(bytes) | Outcome::Tolerated(Some(bytes), _) => {
            assert_eq!(bytes, value);
            None
        }
        Outcome::Rejected(rejection) => Some(rejection.class()),
        other => panic!("{other:?}"),
    }
}

static SCHEMA: LazyLock<Arc<SchemaText>> = LazyLock::new(|| {
    let text = r#"{"type":"array","items":"bytes"}"#;
    Arc::new(SchemaText::new(SchemaId::Confluent(1), text))
});

/// A registry that has one schema under each id.
#[derive(Debug)]
struct Any(Framing);

impl Catalog for Any {
    fn look_up(&self, _: &SchemaRef, _: SchemaKind) -> Lookup {
        Lookup::Known(Arc::clone(&SCHEMA))
    }

    fn framing(&self) -> Framing {
        self.0
    }
}
