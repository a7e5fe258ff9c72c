//! JSON by JSON Schema.

mod chain;
mod node;
mod patterns;
mod steps;
mod tape;

use std::borrow::Cow;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use jsonschema::{Draft, PatternOptions, Retrieve, Uri, Validator};
use serde_json::Value;

use crate::catalog::SchemaText;
use crate::extract::Fields;
use crate::limits::{MAX_COMPILED_BYTES, MAX_REFERENCES};
use crate::parse;
use crate::reject::Rejection;
use node::{JsonNode, Parsed};
use tape::{Document, Item, Tape};

/// How many subschemas may be entered within each other: the levels of a value times the subschemas that apply to
/// one level through each other. The validator recurs; this bounds its stack.
const MAX_NESTED_SUBSCHEMAS: usize = 2048;

/// How many subschemas the validator may enter one after the other without a look at the value.
const MAX_IDLE: usize = 10_000;

/// How often the validator may look at parts of a value: so often for the value, and so often for each part of it.
const BASE_STEPS: usize = 1 << 24;
const ITEM_STEPS: usize = 64;
/// How many subschemas it may enter for a value without a look at it, in all.
const MAX_IDLE_STEPS: usize = 1 << 30;

const TOO_LONG: &str = "it takes too long to validate the JSON";

/// A longer place in the schema is no help.
const MAX_PLACE_BYTES: usize = 300;

/// A schema, as values are validated with it.
pub(crate) struct Schema {
    validator: Validator<Parsed>,
    /// How many subschemas may apply to one value through each other.
    chain: usize,
    /// How many subschemas the validator may enter between two looks at the value.
    idle: usize,
    /// About how many states the automaton of its largest pattern has.
    states: usize,
    /// About how much memory it takes.
    bytes: usize,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema")
            .field("draft", &self.validator.draft())
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

/// Compiles a schema. What it refers to is what its references name, and nothing is fetched.
pub(crate) fn compile(schema: &SchemaText) -> Result<Schema, String> {
    let mut left = MAX_COMPILED_BYTES;
    let value = parse::json(schema.text(), &mut left)?;
    let mut references = References::default();
    references.add(schema, &mut left)?;
    let mut documents = vec![chain::Document { name: "", root: &value }];
    documents.extend(references.0.iter().map(|(name, root)| chain::Document { name, root }));
    let chain::Extent { longest: chain, idle, bytes } =
        chain::extent(&documents).ok_or("it has too many subschemas and references")?;
    if chain > MAX_NESTED_SUBSCHEMAS {
        return Err("its subschemas are nested too deeply".to_owned());
    }
    if idle > MAX_IDLE {
        return Err("too many of its subschemas apply to one value".to_owned());
    }
    let patterns = patterns::extent(documents.iter().map(|document| document.root));
    let bytes = bytes.saturating_add(patterns.bytes);
    if bytes > MAX_COMPILED_BYTES {
        return Err("its patterns are too large".to_owned());
    }
    let mut options = jsonschema::options_for::<Parsed>()
        .with_retriever(references)
        .should_validate_formats(false)
        // In linear time: the default engine backtracks.
        .with_pattern_options(PatternOptions::regex().dfa_size_limit(patterns.dfa_bytes));
    if value.get("$schema").is_none() {
        // What stands beside a `$ref` is ignored until draft 7. `prefixItems` came later, and who uses it knows.
        let later = has_keyword(&value, "prefixItems");
        options = options.with_draft(if later { Draft::Draft202012 } else { Draft::Draft7 });
    }
    let validator = options.build(&value).map_err(|error| {
        let place = error.instance_path().to_string();
        format!("{} at `{place}`", error.masked())
    })?;
    Ok(Schema { validator, chain, idle, states: patterns.largest, bytes })
}

/// Whether a schema, or one that stands within it, has a keyword.
fn has_keyword(schema: &Value, keyword: &str) -> bool {
    let Value::Object(members) = schema else { return false };
    let has = |schema: &Value| has_keyword(schema, keyword);
    members.iter().any(|(name, value)| {
        name == keyword
            || match (name.as_str(), value) {
                (
                    "properties" | "patternProperties" | "definitions" | "$defs" | "dependencies"
                    | "dependentSchemas",
                    Value::Object(schemas),
                ) => schemas.values().any(has),
                ("allOf" | "anyOf" | "oneOf" | "items", Value::Array(schemas)) => {
                    schemas.iter().any(has)
                }
                (
                    "not"
                    | "if"
                    | "then"
                    | "else"
                    | "items"
                    | "additionalItems"
                    | "contains"
                    | "additionalProperties"
                    | "propertyNames"
                    | "unevaluatedItems"
                    | "unevaluatedProperties",
                    schema,
                ) => has(schema),
                _ => false,
            }
    })
}

impl Schema {
    /// The memory that it takes, by an estimate that is seldom too low.
    #[cfg_attr(
        not(feature = "registry"),
        allow(dead_code, reason = "the cache of a registry asks")
    )]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says whether a text fits the schema.
    pub(crate) fn validate(&self, bytes: &[u8]) -> Result<(), Rejection> {
        with_document(bytes, |document| {
            let depth = document.tape.depth + 1;
            if depth.saturating_mul(self.chain) > MAX_NESTED_SUBSCHEMAS {
                return Err(Rejection::malformed(tape::TOO_DEEP));
            }
            let root = JsonNode::At(*document, 0);
            let steps = BASE_STEPS.saturating_add(document.tape.len().saturating_mul(ITEM_STEPS));
            let steps = steps.min(MAX_IDLE_STEPS / (self.idle + 1));
            let is_valid = steps::within(steps, self.states, || self.validator.is_valid(root));
            let left = match is_valid {
                Some((true, _)) => return Ok(()),
                Some((false, left)) => left,
                None => return Err(Rejection::malformed(TOO_LONG)),
            };
            // To find the place takes longer than to find that there is one: on the way to it, what lies below each
            // subschema is validated again.
            let most = MAX_IDLE_STEPS / (self.idle + 1) / self.chain.max(1);
            // It names the place in the schema: names in the value are the user's data.
            let place = steps::within(left.min(most), self.states, || {
                let error = self.validator.validate(root).err()?;
                Some(error.schema_path().to_string())
            });
            let reason = match place {
                Some((Some(place), _)) if place.len() <= MAX_PLACE_BYTES => {
                    format!("it violates the schema at `{place}`").into()
                }
                _ => Cow::Borrowed("it violates the schema"),
            };
            Err(Rejection::invalid(reason))
        })
    }
}

/// Reads the text of an object's members.
pub(crate) fn extract(bytes: &[u8], fields: &mut Fields<'_>) -> Result<(), Rejection> {
    with_document(bytes, |document| {
        for (name, at) in document.members(0) {
            if fields.wants(name) {
                let item = document.item(at);
                fields.set(
                    name,
                    match item {
                        Item::Boolean(true) => Some(b"true"),
                        Item::Boolean(false) => Some(b"false"),
                        Item::Number(_) | Item::String(_) | Item::Unescaped(_) => {
                            Some(document.text(item).as_bytes())
                        }
                        Item::Null | Item::Replaced | Item::Array { .. } | Item::Object { .. } => {
                            None
                        }
                    },
                );
            }
        }
        Ok(())
    })
}

fn with_document<T>(
    bytes: &[u8],
    read: impl FnOnce(&Document<'_>) -> Result<T, Rejection>,
) -> Result<T, Rejection> {
    thread_local! {
        // Its memory serves one value after the other.
        static TAPE: Cell<Option<Box<Tape>>> = const { Cell::new(None) };
    }
    let mut tape = TAPE.take().unwrap_or_default();
    let result = match tape.parse(bytes) {
        Ok(document) => read(&document),
        Err(reason) => Err(Rejection::malformed(reason)),
    };
    tape.shrink();
    TAPE.set(Some(tape));
    result
}

/// The schemas that another refers to, directly and through others.
#[derive(Debug, Default)]
struct References(Vec<(Arc<str>, Value)>);

impl References {
    fn add(&mut self, schema: &SchemaText, left: &mut usize) -> Result<(), String> {
        for reference in schema.references() {
            if self.0.iter().any(|(name, _)| &**name == reference.name()) {
                continue;
            }
            if self.0.len() == MAX_REFERENCES {
                return Err(format!("it refers to more than {MAX_REFERENCES} schemas"));
            }
            let value = parse::json(reference.schema().text(), left).map_err(|error| {
                format!("reference `{}`: {error}", reference.name().escape_debug())
            })?;
            self.0.push((reference.name().into(), value));
            self.add(reference.schema(), left)?;
        }
        Ok(())
    }
}

impl Retrieve for References {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        // A name that is relative has been resolved against the schema's `$id`.
        let named = |name: &str| {
            uri.as_str()
                .strip_suffix(name)
                .is_some_and(|base| base.is_empty() || base.ends_with('/'))
        };
        let identified = |value: &Value| {
            let id = value.get("$id").or_else(|| value.get("id")).and_then(Value::as_str);
            id.is_some_and(|id| id.trim_end_matches('#') == uri.as_str())
        };
        let found = self.0.iter().find(|(name, value)| named(name) || identified(value));
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| "no reference of the schema has this name".into())
    }
}
