//! Schemas in Avro's JSON. Written here and not taken from apache-avro, which brings some thirty crates, and
//! against which the tests compare.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{Branch, Field, Logical, Node, NodeId, Schema, Symbol};
use crate::catalog::SchemaText;
use crate::limits::{MAX_COMPILED_BYTES, MAX_NAME_BYTES, MAX_REFERENCES};
use crate::parse;
use crate::write;

/// Compiles a schema and all that it refers to.
pub(crate) fn compile(schema: &SchemaText) -> Result<Schema, String> {
    let mut parser = Parser { left: MAX_COMPILED_BYTES, ..Parser::default() };
    let mut seen = HashSet::new();
    // References first, the deepest first: the text uses their names.
    parser.references(schema, &mut seen)?;
    let value = parse::json(schema.text(), &mut parser.left)?;
    let root = parser.parse(&value, "")?;
    Ok(Schema { nodes: parser.nodes.into_boxed_slice(), root })
}

/// The most digits of a decimal: one with more stays bytes.
const MAX_PRECISION: u64 = 1000;

#[derive(Default)]
struct Parser {
    nodes: Vec<Node>,
    /// By full name.
    named: HashMap<String, NodeId>,
    /// The full names of the named types.
    names: HashMap<NodeId, String>,
    /// The memory that the schema may still take.
    left: usize,
}

impl Parser {
    fn references(
        &mut self,
        schema: &SchemaText,
        seen: &mut HashSet<*const SchemaText>,
    ) -> Result<(), String> {
        for reference in schema.references() {
            let target = reference.schema();
            if !seen.insert(std::sync::Arc::as_ptr(target)) {
                continue;
            }
            if seen.len() > MAX_REFERENCES {
                return Err(format!("it refers to more than {MAX_REFERENCES} schemas"));
            }
            self.references(target, seen)?;
            let parsed = parse::json(target.text(), &mut self.left);
            let parsed = parsed.and_then(|value| {
                // One subject can be fetched under two versions with the same text.
                if self.is_defined(&value) { Ok(()) } else { self.parse(&value, "").map(drop) }
            });
            parsed.map_err(|error| {
                format!("reference `{}`: {error}", reference.name().escape_debug())
            })?;
        }
        Ok(())
    }

    /// Whether the type that a text defines has been defined by an equal text.
    fn is_defined(&self, value: &Value) -> bool {
        let Value::Object(object) = value else { return false };
        full_name(object, "").is_ok_and(|(name, _)| self.named.contains_key(&name))
    }

    fn push(&mut self, node: Node) -> Result<NodeId, String> {
        let id =
            NodeId::try_from(self.nodes.len()).map_err(|_| "it has too many types".to_owned())?;
        self.nodes.push(node);
        Ok(id)
    }

    fn parse(&mut self, value: &Value, namespace: &str) -> Result<NodeId, String> {
        match value {
            Value::String(name) => self.by_name(name, namespace, None),
            Value::Array(branches) => self.union(branches, namespace),
            Value::Object(object) => self.object(object, namespace),
            _ => Err("a type is neither a name nor an object nor an array".to_owned()),
        }
    }

    fn by_name(
        &mut self,
        name: &str,
        namespace: &str,
        object: Option<&Map<String, Value>>,
    ) -> Result<NodeId, String> {
        let logical = object.and_then(|object| object.get("logicalType")).and_then(Value::as_str);
        let node = match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" => Node::Int(match logical {
                Some("date") => Some(Logical::Date),
                Some("time-millis") => Some(Logical::Time(3)),
                _ => None,
            }),
            "long" => Node::Long(match logical {
                Some("time-micros") => Some(Logical::Time(6)),
                Some("timestamp-millis") => Some(Logical::Timestamp(3)),
                Some("timestamp-micros") => Some(Logical::Timestamp(6)),
                Some("timestamp-nanos") => Some(Logical::Timestamp(9)),
                Some("local-timestamp-millis") => Some(Logical::LocalTimestamp(3)),
                Some("local-timestamp-micros") => Some(Logical::LocalTimestamp(6)),
                Some("local-timestamp-nanos") => Some(Logical::LocalTimestamp(9)),
                _ => None,
            }),
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes(object.and_then(decimal)),
            "string" => Node::String,
            _ => {
                let qualified = qualify(name, namespace);
                // A name without a namespace is one of the enclosing namespace, or else of none.
                let found = self.named.get(&qualified).or_else(|| self.named.get(name));
                return found
                    .copied()
                    .ok_or_else(|| format!("type `{}` is not defined", qualified.escape_debug()));
            }
        };
        self.push(node)
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<NodeId, String> {
        let kind = match object.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(nested) => return self.parse(nested, namespace),
            None => return Err("a type has no `type`".to_owned()),
        };
        match kind {
            "record" | "error" => self.record(object, namespace),
            "enum" => {
                let (name, _) = full_name(object, namespace)?;
                let symbols = strings(object, "symbols")
                    .ok_or_else(|| format!("enum `{name}` has no symbols"))?;
                let mut seen = HashSet::new();
                if let Some(symbol) = symbols.iter().find(|symbol| !seen.insert(**symbol)) {
                    return Err(format!(
                        "enum `{name}` has symbol `{}` twice",
                        symbol.escape_debug()
                    ));
                }
                let symbols = symbols
                    .into_iter()
                    .map(|symbol| Symbol { name: symbol.into(), json: quoted(symbol, b"") })
                    .collect();
                let id = self.push(Node::Enum(symbols))?;
                self.define(name, id)
            }
            "fixed" => {
                let (name, _) = full_name(object, namespace)?;
                let size = object
                    .get("size")
                    .and_then(Value::as_u64)
                    .and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| format!("fixed `{name}` has no size"))?;
                let id = self.push(Node::Fixed(size, decimal(object)))?;
                self.define(name, id)
            }
            "array" => {
                let items = object.get("items").ok_or("an array has no `items`")?;
                let items = self.parse(items, namespace)?;
                self.push(Node::Array(items))
            }
            "map" => {
                let values = object.get("values").ok_or("a map has no `values`")?;
                let values = self.parse(values, namespace)?;
                self.push(Node::Map(values))
            }
            _ => self.by_name(kind, namespace, Some(object)),
        }
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<NodeId, String> {
        let (name, namespace) = full_name(object, namespace)?;
        let Some(Value::Array(fields)) = object.get("fields") else {
            return Err(format!("record `{name}` has no fields"));
        };
        // Defined before its fields, which may refer to it.
        let id = self.push(Node::Null)?;
        self.define(name.clone(), id)?;
        let mut seen = HashSet::new();
        let mut compiled = Vec::with_capacity(fields.len());
        for field in fields {
            let field_name = field.get("name").and_then(Value::as_str);
            let field_name =
                field_name.ok_or_else(|| format!("a field of record `{name}` has no name"))?;
            let place = || format!("field `{}` of record `{name}`", field_name.escape_debug());
            if !seen.insert(field_name) {
                return Err(format!("{} is defined twice", place()));
            }
            let field_type = field.get("type").ok_or_else(|| format!("{} has no type", place()))?;
            // The attributes of a logical type can stand in the field itself in no version of the specification.
            let node = self
                .parse(field_type, &namespace)
                .map_err(|error| format!("{}: {error}", place()))?;
            let opening: &[u8] = if compiled.is_empty() { b"{" } else { b"," };
            let prefix = [opening, &quoted(field_name, b":")].concat().into_boxed_slice();
            compiled.push(Field { name: field_name.into(), prefix, node });
        }
        if let Some(slot) = self.nodes.get_mut(id as usize) {
            *slot = Node::Record(compiled.into_boxed_slice());
        }
        Ok(id)
    }

    fn define(&mut self, name: String, id: NodeId) -> Result<NodeId, String> {
        if matches!(
            name.as_str(),
            "null" | "boolean" | "int" | "long" | "float" | "double" | "bytes" | "string"
        ) {
            return Err(format!("`{name}` is the name of a primitive type"));
        }
        // A long namespace is part of each name in it.
        parse::take(&mut self.left, 2 * name.len())?;
        if self.named.insert(name.clone(), id).is_some() {
            return Err(format!("type `{}` is defined twice", name.escape_debug()));
        }
        self.names.insert(id, name);
        Ok(id)
    }

    fn union(&mut self, branches: &[Value], namespace: &str) -> Result<NodeId, String> {
        let mut nodes = Vec::with_capacity(branches.len());
        for branch in branches {
            if branch.is_array() {
                return Err("a union contains a union".to_owned());
            }
            nodes.push(self.parse(branch, namespace)?);
        }
        let names: Vec<(&str, &str)> = nodes.iter().map(|node| self.branch_name(*node)).collect();
        let mut full = HashSet::new();
        if let Some((_, name)) = names.iter().find(|(_, name)| !full.insert(*name)) {
            return Err(format!("a union contains `{}` twice", name.escape_debug()));
        }
        let mut short = HashMap::new();
        for (name, _) in &names {
            *short.entry(*name).or_insert(0) += 1;
        }
        // A union of null and one other type needs no name.
        let nullable = nodes.len() == 2 && nodes.iter().any(|node| self.is_null(*node));
        let mut left = self.left;
        let mut branches = Vec::with_capacity(nodes.len());
        for (node, (name, full)) in nodes.iter().zip(&names) {
            let mut prefix = None;
            if !nullable && !self.is_null(*node) {
                let name = if short.get(name) == Some(&1) { name } else { full };
                parse::take(&mut left, name.len())?;
                prefix = Some([b"{", &*quoted(name, b":")].concat().into_boxed_slice());
            }
            branches.push(Branch { prefix, node: *node });
        }
        self.left = left;
        self.push(Node::Union(branches.into_boxed_slice()))
    }

    fn is_null(&self, node: NodeId) -> bool {
        // A record whose fields are being read stands as null: it has a name.
        matches!(self.nodes.get(node as usize), Some(Node::Null)) && !self.names.contains_key(&node)
    }

    /// The short and the full name.
    fn branch_name(&self, node: NodeId) -> (&str, &str) {
        if let Some(name) = self.names.get(&node) {
            let short = name.rsplit_once('.').map_or(name.as_str(), |(_, short)| short);
            return (short, name);
        }
        let name = match self.nodes.get(node as usize) {
            Some(Node::Boolean) => "boolean",
            Some(Node::Int(_)) => "int",
            Some(Node::Long(_)) => "long",
            Some(Node::Float) => "float",
            Some(Node::Double) => "double",
            Some(Node::Bytes(_)) => "bytes",
            Some(Node::String) => "string",
            Some(Node::Array(_)) => "array",
            Some(Node::Map(_)) => "map",
            _ => "null",
        };
        (name, name)
    }
}

/// The full name of a named type, and the namespace of the types within it.
fn full_name(object: &Map<String, Value>, enclosing: &str) -> Result<(String, String), String> {
    let name = object.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or("a record, an enum or a fixed has no name")?;
    let namespace = object.get("namespace").and_then(Value::as_str).unwrap_or(enclosing);
    if name.len() + namespace.len() > MAX_NAME_BYTES {
        return Err(format!("a name has more than {MAX_NAME_BYTES} bytes"));
    }
    if let Some((namespace, short)) = name.rsplit_once('.') {
        // The namespace of a full name wins over the attribute.
        return Ok(if namespace.is_empty() {
            (short.to_owned(), String::new())
        } else {
            (name.to_owned(), namespace.to_owned())
        });
    }
    Ok((qualify(name, namespace), namespace.to_owned()))
}

fn qualify(name: &str, namespace: &str) -> String {
    if namespace.is_empty() || name.contains('.') {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn strings<'v>(object: &'v Map<String, Value>, key: &str) -> Option<Vec<&'v str>> {
    object.get(key)?.as_array()?.iter().map(Value::as_str).collect()
}

/// The scale of a decimal. A logical type that is not valid is ignored, as the specification says.
fn decimal(object: &Map<String, Value>) -> Option<u32> {
    if object.get("logicalType")?.as_str()? != "decimal" {
        return None;
    }
    let precision = object.get("precision")?.as_u64()?;
    let scale = match object.get("scale") {
        Some(scale) => scale.as_u64()?,
        None => 0,
    };
    if precision == 0 || precision > MAX_PRECISION || scale > precision {
        None
    } else {
        scale.try_into().ok()
    }
}

/// A name as a JSON string, and what follows it.
fn quoted(name: &str, after: &[u8]) -> Box<[u8]> {
    let mut out = Vec::new();
    write::string(&mut out, name);
    out.extend_from_slice(after);
    out.into_boxed_slice()
}
