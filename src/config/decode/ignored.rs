//! The parts of the grammar without effect: models of `http` requests, and the like.
//!
//! Each is one warning, by its [`Ignored`], and no value of it is kept. The shapes below are its grammar: a mistake
//! in it is an error, so that the file stays valid when the feature works one day.

use std::ops::RangeInclusive;

use http::Method;

use crate::config::check::support::Ignored;
use crate::config::decode::pattern;
use crate::config::decode::{Map, Section, Value};
use crate::config::sections::models::Model;

/// Warns that a value has no effect, and reports the mistakes in it.
pub(crate) fn ignore(value: &Value<'_>, feature: Ignored, shape: &Shape) {
    value.ignored(feature);
    shape.check(value);
}

/// The values that are accepted in a place.
pub(crate) enum Shape {
    Text,
    /// A number within a range, and the name of such a number in errors.
    Number(&'static str, RangeInclusive<u32>),
    List(&'static Shape),
    /// One value, or a list of values.
    OneOrMore(&'static Shape),
    /// A mapping with any names.
    Names(&'static Shape),
    /// A mapping with names of `catalogs`.
    Catalogs(&'static Shape),
    /// A mapping with these keys and no others.
    Fields(&'static [Field]),
    /// A value that a function checks.
    By(fn(&Value<'_>)),
}

/// A key of a mapping.
pub(crate) struct Field {
    key: &'static str,
    kind: FieldKind,
}

enum FieldKind {
    Optional(Shape),
    Required(Shape),
}

const fn optional(key: &'static str, shape: Shape) -> Field {
    Field { key, kind: FieldKind::Optional(shape) }
}

const fn required(key: &'static str, shape: Shape) -> Field {
    Field { key, kind: FieldKind::Required(shape) }
}

use Shape::{By, Catalogs, Fields, List, Names, Number, OneOrMore, Text};

impl Shape {
    pub(crate) fn check(&self, value: &Value<'_>) {
        match self {
            Text => {
                value.text();
            }
            Number(what, range) => {
                value.number(what, range.clone());
            }
            OneOrMore(shape) if !value.is_list() => shape.check(value),
            List(shape) | OneOrMore(shape) => {
                value.list().iter().flatten().for_each(|item| shape.check(item));
            }
            Names(shape) => {
                let map = value.map();
                map.iter().flat_map(Map::entries).for_each(|(_, value)| shape.check(&value));
            }
            Catalogs(shape) => {
                for (name, value) in value.map().iter().flat_map(Map::entries) {
                    value.reference(Section::Catalogs, name);
                    shape.check(&value);
                }
            }
            Fields(fields) => {
                if let Some(map) = value.map() {
                    check_all(&map, fields);
                }
            }
            By(check) => check(value),
        }
    }
}

/// Checks a mapping that has these keys and no others.
fn check_all(map: &Map<'_>, fields: &[Field]) {
    check_fields(map, fields);
    map.deny_unknown();
}

fn check_fields(map: &Map<'_>, fields: &[Field]) {
    for Field { key, kind } in fields {
        match kind {
            FieldKind::Optional(shape) => map.get(key).iter().for_each(|value| shape.check(value)),
            FieldKind::Required(shape) => {
                map.require(key).iter().for_each(|value| shape.check(value));
            }
        }
    }
}

// Options of bindings

/// `requests` of `http` bindings.
pub(crate) const HTTP_REQUESTS: Shape = List(&Fields(&[
    required("path", PATH),
    optional("method", By(method)),
    optional(
        "params",
        Fields(&[optional("path", MODELS_BY_NAME), optional("query", MODELS_BY_NAME)]),
    ),
    optional("content-type", List(&Text)),
    optional("headers", MODELS_BY_NAME),
    optional("content", MODEL),
    optional(
        "responses",
        List(&Fields(&[
            optional("status", OneOrMore(&Number("a status (100 to 599)", 100..=599))),
            optional("content-type", List(&Text)),
            optional("headers", MODELS_BY_NAME),
            optional("content", MODEL),
        ])),
    ),
]));

/// `overrides` of `http` servers.
pub(crate) const OVERRIDES: Shape = Names(&Text);

/// `catalog` of bindings.
pub(crate) const BINDING_CATALOG: Shape = Catalogs(&By(|_| ()));

const PATH: Shape = By(|value| {
    pattern::path(value);
});
const MODEL: Shape = By(|value| {
    Model::decode(value);
});
const MODELS_BY_NAME: Shape = Names(&MODEL);

fn method(value: &Value<'_>) {
    value.parsed("a method, as `GET`", |text| text.parse::<Method>().ok());
}

/// `vault` of an entry that needs none.
pub(crate) const VAULT: Shape = By(|value| {
    if let Some(name) = value.text_as("the name of a vault") {
        value.reference(Section::Vaults, &name);
    }
});
