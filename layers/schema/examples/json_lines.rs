//! Writes the records of an Avro file as lines of JSON: `json_lines FILE`. Without a file, of a small one of its own.
//! Only files without compression are read.

use std::error::Error;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use serde_json::value::RawValue;
use tailwater_schema::catalog::{InlineCatalog, SchemaRef};
use tailwater_schema::model::{AvroModel, SchemaSource, View};
use tailwater_schema::{Input, Model, Outcome};

fn main() -> Result<(), Box<dyn Error>> {
    let file = match std::env::args_os().nth(1) {
        Some(path) => std::fs::read(path)?,
        None => sample(),
    };
    write_lines(&file, &mut BufWriter::new(std::io::stdout().lock()))
}

/// Apache Avro 1.12, "Object Container Files": a header with the schema, then blocks of records.
fn write_lines(file: &[u8], out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut rest = file.strip_prefix(b"Obj\x01").ok_or("not an Avro file")?;
    let mut schema = None;
    while let count @ 1.. = long(&mut rest)? {
        for _ in 0..count {
            let name = bytes(&mut rest)?;
            let value = bytes(&mut rest)?;
            match name {
                b"avro.schema" => schema = Some(std::str::from_utf8(value)?),
                b"avro.codec" if value != b"null" => return Err("the file is compressed".into()),
                _ => {}
            }
        }
    }
    let sync = take(&mut rest, 16)?;

    // A block is an array without its end.
    let text = format!(r#"{{"type":"array","items":{}}}"#, schema.ok_or("the file has no schema")?);
    let catalog = InlineCatalog::new().schema("file", "latest", text);
    let source = SchemaSource::new(Arc::new(catalog), SchemaRef::subject("file", "latest"));
    let model = Model::from(AvroModel::new(source).view(View::Json));
    while !rest.is_empty() {
        let mut block = rest;
        long(&mut rest)?;
        let count = &block[..block.len() - rest.len()];
        block = bytes(&mut rest)?;
        let mut json = Vec::new();
        match model.convert(&Input::value(&[count, block, b"\0"].concat()), &mut json) {
            Outcome::Converted => {}
            Outcome::Rejected(rejection) => return Err(rejection.into()),
            other => return Err(format!("{other:?}").into()),
        }
        for record in serde_json::from_slice::<Vec<&RawValue>>(&json)? {
            writeln!(out, "{record}")?;
        }
        if take(&mut rest, 16)? != sync {
            return Err("a block does not end where it should".into());
        }
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Box<dyn Error>> {
    let (taken, after) = rest.split_at_checked(count).ok_or("the file ends too early")?;
    *rest = after;
    Ok(taken)
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Box<dyn Error>> {
    let length = long(rest)?.try_into()?;
    take(rest, length)
}

fn long(rest: &mut &[u8]) -> Result<i64, Box<dyn Error>> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    Err("a number is too long".into())
}

/// Two records.
fn sample() -> Vec<u8> {
    let schema = br#"{"type":"record","name":"Reading","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"}]}"#;
    let length = [(schema.len() << 1) as u8 | 0x80, (schema.len() >> 6) as u8];
    let sync = [7; 16];
    let header = [b"Obj\x01\x02\x16avro.schema", &length[..], schema, b"\0", &sync].concat();
    [&header[..], b"\x04\x0c\x02a\x02\x02b\x04", &sync].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_lines() {
        let mut lines = Vec::new();
        write_lines(&sample(), &mut lines).expect("an Avro file");
        assert_eq!(lines, b"{\"id\":\"a\",\"n\":1}\n{\"id\":\"b\",\"n\":2}\n");
    }
}
