//! Avro: compiled schemas, and their values as JSON.

mod logical;
mod parse;
mod read;

pub(crate) use parse::compile;

use read::{Reader, Reason};

use crate::extract::Fields;
use crate::limits::{ALLOCATION, MAX_DEPTH, MAX_JSON_BYTES};
use crate::write;

type NodeId = u32;

/// A schema, as values are read with it.
#[derive(Debug)]
pub(crate) struct Schema {
    nodes: Box<[Node]>,
    root: NodeId,
}

#[derive(Debug)]
enum Node {
    Null,
    Boolean,
    Int(Option<Logical>),
    Long(Option<Logical>),
    Float,
    Double,
    /// With the scale of a decimal.
    Bytes(Option<u32>),
    String,
    Fixed(usize, Option<u32>),
    Enum(Box<[Symbol]>),
    Array(NodeId),
    Map(NodeId),
    Union(Box<[Branch]>),
    Record(Box<[Field]>),
}

/// A date or a time. The number is the count of decimals of a second.
#[derive(Clone, Copy, Debug)]
enum Logical {
    Date,
    Time(u32),
    Timestamp(u32),
    LocalTimestamp(u32),
}

#[derive(Debug)]
struct Symbol {
    name: Box<str>,
    /// The name in quotes.
    json: Box<[u8]>,
}

#[derive(Debug)]
struct Branch {
    /// `{"name":`, unless the value stands by itself.
    prefix: Option<Box<[u8]>>,
    node: NodeId,
}

#[derive(Debug)]
struct Field {
    name: Box<str>,
    /// `{"name":`, or `,"name":` after another field.
    prefix: Box<[u8]>,
    node: NodeId,
}

const TOO_DEEP: Reason = "the avro value is nested too deeply";
const TOO_LARGE: Reason = "the avro value would be more than 16 MiB of JSON";
const NO_NODE: Reason = "the schema is incomplete";

impl Schema {
    /// Reads a value to its end. Bytes after it are ignored.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), Reason> {
        let mut walk = Walk { schema: self, reader: Reader::new(bytes), steps: MAX_JSON_BYTES };
        walk.skip(self.root, 0)
    }

    /// Appends a value as JSON.
    pub(crate) fn write_json(
        &self,
        bytes: &[u8],
        logical_text: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        let limit = out.len().saturating_add(MAX_JSON_BYTES);
        let mut writer =
            Writer { schema: self, reader: Reader::new(bytes), limit, logical_text, out };
        writer.write(self.root, 0)?;
        if writer.out.len() > limit { Err(TOO_LARGE) } else { Ok(()) }
    }

    /// The memory that it takes.
    #[cfg_attr(
        not(feature = "registry"),
        allow(dead_code, reason = "the cache of a registry asks")
    )]
    pub(crate) fn bytes(&self) -> usize {
        let nodes = self.nodes.iter().map(|node| match node {
            Node::Enum(symbols) => {
                let texts = symbols.iter().map(|symbol| symbol.name.len() + symbol.json.len());
                size_of_val(&**symbols) + texts.map(|text| text + 2 * ALLOCATION).sum::<usize>()
            }
            Node::Union(branches) => {
                let prefixes = branches.iter().filter_map(|branch| branch.prefix.as_ref());
                let prefixes = prefixes.map(|prefix| prefix.len() + ALLOCATION);
                size_of_val(&**branches) + prefixes.sum::<usize>()
            }
            Node::Record(fields) => {
                let texts = fields.iter().map(|field| field.name.len() + field.prefix.len());
                size_of_val(&**fields) + texts.map(|text| text + 2 * ALLOCATION).sum::<usize>()
            }
            _ => 0,
        });
        size_of_val(&*self.nodes) + nodes.sum::<usize>()
    }
}

/// Reads the text of a record's fields.
pub(crate) fn extract(
    schema: &Schema,
    bytes: &[u8],
    fields: &mut Fields<'_>,
) -> Result<(), Reason> {
    let mut walk = Walk { schema, reader: Reader::new(bytes), steps: MAX_JSON_BYTES };
    let Some(Node::Record(members)) = schema.nodes.get(schema.root as usize) else {
        return walk.skip(schema.root, 0);
    };
    let mut text = Vec::new();
    for field in members {
        if fields.wants(&field.name) {
            text.clear();
            let has_text = walk.text(field.node, 1, &mut text)?;
            fields.set(&field.name, has_text.then_some(text.as_slice()));
        } else {
            walk.skip(field.node, 1)?;
        }
    }
    Ok(())
}

/// Reads a value without writing it.
struct Walk<'s, 'v> {
    schema: &'s Schema,
    reader: Reader<'v>,
    /// How many more values may be read: a few bytes can claim many values that take none.
    steps: usize,
}

impl Walk<'_, '_> {
    fn skip(&mut self, node: NodeId, depth: usize) -> Result<(), Reason> {
        if depth > MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        self.steps = self.steps.checked_sub(1).ok_or(TOO_LARGE)?;
        let reader = &mut self.reader;
        match self.schema.nodes.get(node as usize).ok_or(NO_NODE)? {
            Node::Null => {}
            Node::Boolean => {
                reader.boolean()?;
            }
            Node::Int(_) => {
                reader.int()?;
            }
            Node::Long(_) => {
                reader.long()?;
            }
            Node::Float => {
                reader.array::<4>()?;
            }
            Node::Double => {
                reader.array::<8>()?;
            }
            Node::Bytes(_) => {
                reader.bytes()?;
            }
            Node::String => {
                reader.string()?;
            }
            Node::Fixed(size, _) => {
                reader.take(*size)?;
            }
            Node::Enum(symbols) => {
                symbols.get(reader.index()?).ok_or(NO_SYMBOL)?;
            }
            Node::Array(items) => loop {
                let count = self.reader.block()?;
                if count == 0 {
                    break;
                }
                for _ in 0..count {
                    self.skip(*items, depth + 1)?;
                }
            },
            Node::Map(values) => loop {
                let count = self.reader.block()?;
                if count == 0 {
                    break;
                }
                for _ in 0..count {
                    self.reader.string()?;
                    self.skip(*values, depth + 1)?;
                }
            },
            Node::Union(branches) => {
                let branch = branches.get(reader.index()?).ok_or(NO_BRANCH)?;
                self.skip(branch.node, depth + 1)?;
            }
            Node::Record(fields) => {
                for field in fields {
                    self.skip(field.node, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// Appends the text of a value. Returns whether it has one.
    fn text(&mut self, node: NodeId, depth: usize, out: &mut Vec<u8>) -> Result<bool, Reason> {
        if depth > MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        let reader = &mut self.reader;
        match self.schema.nodes.get(node as usize).ok_or(NO_NODE)? {
            Node::Boolean => {
                out.extend_from_slice(if reader.boolean()? { b"true" } else { b"false" })
            }
            Node::Int(_) => write::integer(out, reader.int()?),
            Node::Long(_) => write::integer(out, reader.long()?),
            Node::Float => write::float_text(out, f32::from_le_bytes(reader.array()?)),
            Node::Double => write::float_text(out, f64::from_le_bytes(reader.array()?)),
            Node::Bytes(_) => out.extend_from_slice(reader.bytes()?),
            Node::String => out.extend_from_slice(reader.string()?.as_bytes()),
            Node::Fixed(size, _) => out.extend_from_slice(reader.take(*size)?),
            Node::Enum(symbols) => {
                let symbol = symbols.get(reader.index()?).ok_or(NO_SYMBOL)?;
                out.extend_from_slice(symbol.name.as_bytes());
            }
            Node::Union(branches) => {
                let branch = branches.get(reader.index()?).ok_or(NO_BRANCH)?;
                return self.text(branch.node, depth + 1, out);
            }
            Node::Null | Node::Array(_) | Node::Map(_) | Node::Record(_) => {
                self.skip(node, depth)?;
                return Ok(false);
            }
        }
        Ok(true)
    }
}

const NO_SYMBOL: Reason = "the schema has no enum symbol of this index";
const NO_BRANCH: Reason = "the schema has no union branch of this index";

struct Writer<'s, 'v, 'o> {
    schema: &'s Schema,
    reader: Reader<'v>,
    /// The length that the buffer must not exceed.
    limit: usize,
    logical_text: bool,
    out: &'o mut Vec<u8>,
}

impl Writer<'_, '_, '_> {
    fn write(&mut self, node: NodeId, depth: usize) -> Result<(), Reason> {
        if depth > MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        // Before each value: what one value adds is bounded by the value's own bytes and the schema's names.
        if self.out.len() > self.limit {
            return Err(TOO_LARGE);
        }
        let reader = &mut self.reader;
        let out = &mut *self.out;
        match self.schema.nodes.get(node as usize).ok_or(NO_NODE)? {
            Node::Null => out.extend_from_slice(b"null"),
            Node::Boolean => {
                out.extend_from_slice(if reader.boolean()? { b"true" } else { b"false" })
            }
            Node::Int(logical) => {
                let number = reader.int()?;
                match logical {
                    Some(logical) if self.logical_text => {
                        logical::time(out, *logical, number.into())
                    }
                    _ => write::integer(out, number),
                }
            }
            Node::Long(logical) => {
                let number = reader.long()?;
                match logical {
                    Some(logical) if self.logical_text => logical::time(out, *logical, number),
                    _ => write::integer(out, number),
                }
            }
            Node::Float => write::float(out, f32::from_le_bytes(reader.array()?)),
            Node::Double => write::float(out, f64::from_le_bytes(reader.array()?)),
            Node::Bytes(scale) => {
                let bytes = reader.bytes()?;
                self.binary(bytes, *scale)?;
            }
            Node::Fixed(size, scale) => {
                let bytes = reader.take(*size)?;
                self.binary(bytes, *scale)?;
            }
            Node::String => {
                let text = reader.string()?;
                // Six bytes for a control character.
                if text.len() > MAX_JSON_BYTES {
                    return Err(TOO_LARGE);
                }
                write::string(out, text);
            }
            Node::Enum(symbols) => {
                let symbol = symbols.get(reader.index()?).ok_or(NO_SYMBOL)?;
                out.extend_from_slice(&symbol.json);
            }
            Node::Array(items) => {
                out.push(b'[');
                self.blocks(|this| this.write(*items, depth + 1))?;
                self.out.push(b']');
            }
            Node::Map(values) => {
                out.push(b'{');
                self.blocks(|this| {
                    write::string(this.out, this.reader.string()?);
                    this.out.push(b':');
                    this.write(*values, depth + 1)
                })?;
                self.out.push(b'}');
            }
            Node::Union(branches) => {
                let branch = branches.get(reader.index()?).ok_or(NO_BRANCH)?;
                match &branch.prefix {
                    Some(prefix) => {
                        out.extend_from_slice(prefix);
                        self.write(branch.node, depth + 1)?;
                        self.out.push(b'}');
                    }
                    None => self.write(branch.node, depth + 1)?,
                }
            }
            Node::Record(fields) => {
                if fields.is_empty() {
                    out.extend_from_slice(b"{}");
                    return Ok(());
                }
                for field in fields {
                    self.out.extend_from_slice(&field.prefix);
                    self.write(field.node, depth + 1)?;
                }
                self.out.push(b'}');
            }
        }
        Ok(())
    }

    /// Writes the items of the blocks of an array or a map, with commas between them.
    fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        let mut first = true;
        loop {
            let count = self.reader.block()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                if !first {
                    self.out.push(b',');
                }
                first = false;
                item(self)?;
            }
        }
    }

    fn binary(&mut self, bytes: &[u8], scale: Option<u32>) -> Result<(), Reason> {
        if bytes.len() > MAX_JSON_BYTES {
            return Err(TOO_LARGE);
        }
        match scale {
            Some(scale) if self.logical_text => logical::decimal(self.out, bytes, scale)?,
            _ => write::base64(self.out, bytes),
        }
        Ok(())
    }
}
