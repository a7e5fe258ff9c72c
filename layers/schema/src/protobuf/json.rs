//! Messages as JSON.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use super::scan::{Entries, Entry};
use super::wire::{Reader, Reason, zigzag};
use super::{
    Field, Kind, Message, MessageId, NO_MESSAGE, NOT_UTF8, REQUIRED, Schema, TOO_DEEP, TOO_LARGE,
    WellKnown,
};
use crate::calendar::{DAY, date};
use crate::extract::Fields;
use crate::limits::{MAX_DEPTH, MAX_JSON_BYTES};
use crate::write;

pub(super) fn write(
    schema: &Schema,
    message: MessageId,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Reason> {
    let limit = out.len().saturating_add(MAX_JSON_BYTES);
    Entries::with(bytes, |entries, whole| {
        let mut writer = Writer { schema, bytes, entries, limit, out };
        writer.message(message, whole, 0)?;
        if writer.out.len() > limit { Err(TOO_LARGE) } else { Ok(()) }
    })
}

pub(super) fn extract(
    schema: &Schema,
    message: MessageId,
    bytes: &[u8],
    fields: &mut Fields<'_>,
) -> Result<(), Reason> {
    Entries::with(bytes, |entries, whole| {
        let message = schema.messages.get(message).ok_or(NO_MESSAGE)?;
        let found = entries.scan(message, bytes, whole)?;
        let mut text = Vec::new();
        for at in found {
            let Some(entry) = entries.get(at) else { break };
            let Some(field) = message.fields.get(entry.field as usize) else { break };
            // The last occurrence sets the text at last.
            if fields.wants(&field.name) {
                text.clear();
                let has_text = field_text(schema, field, entry, bytes, &mut text)?;
                fields.set(&field.name, has_text.then_some(text.as_slice()));
            }
        }
        Ok(())
    })
}

/// Appends the text of an occurrence, of a run its last number. Returns whether it has one.
fn field_text(
    schema: &Schema,
    field: &Field,
    entry: Entry,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<bool, Reason> {
    let mut reader = entry.reader(bytes);
    let mut found = false;
    loop {
        if entry.packed && reader.is_at_end() {
            return Ok(found);
        }
        out.clear();
        found = true;
        match field.kind {
            Kind::String => {
                let text = std::str::from_utf8(entry.bytes(bytes)).map_err(|_| NOT_UTF8)?;
                out.extend_from_slice(text.as_bytes());
            }
            Kind::Bytes => out.extend_from_slice(entry.bytes(bytes)),
            Kind::Message(_) | Kind::Group(_) => return Ok(false),
            Kind::Float => write::float_text(out, f32::from_le_bytes(reader.fixed()?)),
            Kind::Double => write::float_text(out, f64::from_le_bytes(reader.fixed()?)),
            Kind::Enum(id) => {
                let number = reader.varint()? as i32;
                match schema.enums.get(id).and_then(|known| known.symbols.get(&number)) {
                    Some((symbol, _)) => out.extend_from_slice(symbol.as_bytes()),
                    None => write::integer(out, number),
                }
            }
            kind => number(out, kind, &mut reader, false)?,
        }
        if !entry.packed {
            return Ok(true);
        }
    }
}

/// Appends a boolean or an integer, of 64 bits in quotes if so wanted.
fn number(
    out: &mut Vec<u8>,
    kind: Kind,
    reader: &mut Reader<'_>,
    quoted: bool,
) -> Result<(), Reason> {
    let wide = |out: &mut Vec<u8>, number: i64| {
        if quoted { write::quoted_integer(out, number) } else { write::integer(out, number) }
    };
    let wide_unsigned = |out: &mut Vec<u8>, number: u64| {
        if quoted { write::quoted_integer(out, number) } else { write::integer(out, number) }
    };
    match kind {
        Kind::Int32 => write::integer(out, reader.varint()? as i32),
        Kind::Uint32 => write::integer(out, reader.varint()? as u32),
        Kind::Sint32 => write::integer(out, zigzag(u64::from(reader.varint()? as u32)) as i32),
        Kind::Fixed32 => write::integer(out, u32::from_le_bytes(reader.fixed()?)),
        Kind::Sfixed32 => write::integer(out, i32::from_le_bytes(reader.fixed()?)),
        Kind::Int64 => wide(out, reader.varint()? as i64),
        Kind::Sint64 => wide(out, zigzag(reader.varint()?)),
        Kind::Sfixed64 => wide(out, i64::from_le_bytes(reader.fixed()?)),
        Kind::Uint64 => wide_unsigned(out, reader.varint()?),
        Kind::Fixed64 => wide_unsigned(out, u64::from_le_bytes(reader.fixed()?)),
        Kind::Bool => out.extend_from_slice(if reader.varint()? != 0 { b"true" } else { b"false" }),
        Kind::Double
        | Kind::Float
        | Kind::String
        | Kind::Bytes
        | Kind::Message(_)
        | Kind::Group(_)
        | Kind::Enum(_) => {}
    }
    Ok(())
}

struct Writer<'s, 'v, 'o> {
    schema: &'s Schema,
    bytes: &'v [u8],
    entries: &'o mut Entries,
    /// The length that the buffer must not exceed.
    limit: usize,
    out: &'o mut Vec<u8>,
}

impl<'s> Writer<'s, '_, '_> {
    /// A message that comes in the pieces `whole`.
    fn message(&mut self, id: MessageId, whole: Range<usize>, depth: usize) -> Result<(), Reason> {
        if depth > MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        let message = self.schema.messages.get(id).ok_or(NO_MESSAGE)?;
        let found = self.entries.scan(message, self.bytes, whole)?;
        let base = found.start;
        match message.well_known {
            None => {
                self.out.push(b'{');
                self.fields(message, found, true, depth)?;
                self.out.push(b'}');
            }
            Some(form) => self.well_known(message, form, found, depth)?,
        }
        self.entries.truncate(base);
        Ok(())
    }

    /// The members of an object.
    fn fields(
        &mut self,
        message: &'s Message,
        found: Range<usize>,
        mut first: bool,
        depth: usize,
    ) -> Result<(), Reason> {
        let mut at = found.start;
        for (place, field) in message.fields.iter().enumerate() {
            let group = self.group(place, at..found.end);
            at = group.end;
            if group.is_empty() {
                if field.required {
                    return Err(REQUIRED);
                }
                if !field.default.is_empty() || field.repeated || field.map {
                    self.key(field, &mut first)?;
                    self.absent(field);
                }
                continue;
            }
            self.key(field, &mut first)?;
            self.field(field, group, depth)?;
        }
        Ok(())
    }

    /// The occurrences of a field at the beginning of `rest`.
    fn group(&self, place: usize, rest: Range<usize>) -> Range<usize> {
        let mut end = rest.start;
        while end < rest.end
            && self.entries.get(end).is_some_and(|entry| entry.field as usize == place)
        {
            end += 1;
        }
        rest.start..end
    }

    fn key(&mut self, field: &Field, first: &mut bool) -> Result<(), Reason> {
        if self.out.len() > self.limit {
            return Err(TOO_LARGE);
        }
        if !*first {
            self.out.push(b',');
        }
        *first = false;
        self.out.extend_from_slice(&field.key);
        Ok(())
    }

    fn absent(&mut self, field: &Field) {
        self.out.extend_from_slice(match field {
            Field { map: true, .. } => b"{}",
            Field { repeated: true, .. } => b"[]",
            _ => &field.default,
        });
    }

    /// The value of a field by its occurrences.
    fn field(&mut self, field: &'s Field, group: Range<usize>, depth: usize) -> Result<(), Reason> {
        if field.map {
            return self.map(field, group, depth);
        }
        if field.repeated {
            return self.list(field, group, depth);
        }
        match field.kind {
            Kind::Message(id) | Kind::Group(id) => self.message(id, group, depth + 1),
            kind => {
                let Some(entry) = self.last_of(kind, group)? else { return Ok(()) };
                self.scalar(kind, entry, &mut entry.reader(self.bytes))
            }
        }
    }

    /// The last occurrence wins. A string has to be text in each.
    fn last_of(&self, kind: Kind, group: Range<usize>) -> Result<Option<Entry>, Reason> {
        let mut last = None;
        for entry in group.filter_map(|at| self.entries.get(at)) {
            if let Some(replaced) = last.replace(entry)
                && kind == Kind::String
            {
                std::str::from_utf8(Entry::bytes(&replaced, self.bytes)).map_err(|_| NOT_UTF8)?;
            }
        }
        Ok(last)
    }

    fn list(&mut self, field: &'s Field, group: Range<usize>, depth: usize) -> Result<(), Reason> {
        self.out.push(b'[');
        let mut first = true;
        for at in group {
            let Some(entry) = self.entries.get(at) else { break };
            let mut reader = entry.reader(self.bytes);
            loop {
                if entry.packed && reader.is_at_end() {
                    break;
                }
                if self.out.len() > self.limit {
                    return Err(TOO_LARGE);
                }
                if !first {
                    self.out.push(b',');
                }
                first = false;
                match field.kind {
                    Kind::Message(id) | Kind::Group(id) => {
                        self.message(id, at..at + 1, depth + 1)?
                    }
                    kind => self.scalar(kind, entry, &mut reader)?,
                }
                if !entry.packed {
                    break;
                }
            }
        }
        self.out.push(b']');
        Ok(())
    }

    /// A map is a list of messages with a key and a value. The last of equal keys wins.
    fn map(&mut self, field: &'s Field, group: Range<usize>, depth: usize) -> Result<(), Reason> {
        if depth + 1 > MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        let Kind::Message(id) = field.kind else { return Err(NO_MESSAGE) };
        let entry_message = self.schema.messages.get(id).ok_or(NO_MESSAGE)?;
        let (key_place, key) = entry_message.find(1).ok_or(NO_MESSAGE)?;
        let mut members: Vec<(Rc<[u8]>, usize)> = Vec::new();
        let mut by_key: HashMap<Rc<[u8]>, usize> = HashMap::new();
        // The names of members, which are written behind what is there.
        let mut names = 0;
        for at in group {
            let base = self.entries.len();
            let found = self.entries.scan(entry_message, self.bytes, at..at + 1)?;
            let keys = self.group(key_place, found);
            let start = self.out.len();
            match self.last_of(key.kind, keys)? {
                Some(entry) => self.map_key(key, entry)?,
                None => match key.kind {
                    Kind::String => self.out.extend_from_slice(b"\"\""),
                    Kind::Bool => self.out.extend_from_slice(b"\"false\""),
                    _ => self.out.extend_from_slice(b"\"0\""),
                },
            }
            self.entries.truncate(base);
            let name = self.out.get(start..).unwrap_or_default();
            match by_key.get(name).and_then(|index| members.get_mut(*index)) {
                Some((_, place)) => {
                    self.out.truncate(start);
                    let replaced = std::mem::replace(place, at);
                    // It has to be well-formed all the same.
                    self.map_value(entry_message, replaced, depth)?;
                    self.out.truncate(start);
                }
                None => {
                    names += name.len();
                    if start + names > self.limit {
                        return Err(TOO_LARGE);
                    }
                    let name: Rc<[u8]> = name.into();
                    self.out.truncate(start);
                    by_key.insert(Rc::clone(&name), members.len());
                    members.push((name, at));
                }
            }
        }
        self.out.push(b'{');
        for (index, (name, at)) in members.iter().enumerate() {
            if self.out.len() > self.limit {
                return Err(TOO_LARGE);
            }
            if index > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(name);
            self.out.push(b':');
            self.map_value(entry_message, *at, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn map_value(
        &mut self,
        entry_message: &'s Message,
        at: usize,
        depth: usize,
    ) -> Result<(), Reason> {
        let (key_place, _) = entry_message.find(1).ok_or(NO_MESSAGE)?;
        let (value_place, value) = entry_message.find(2).ok_or(NO_MESSAGE)?;
        let base = self.entries.len();
        let found = self.entries.scan(entry_message, self.bytes, at..at + 1)?;
        let keys = self.group(key_place, found.clone());
        let values = self.group(value_place, keys.end..found.end);
        if values.is_empty() {
            self.map_default(value, depth)?;
        } else {
            self.field(value, values, depth + 1)?;
        }
        self.entries.truncate(base);
        Ok(())
    }

    fn map_key(&mut self, key: &Field, entry: Entry) -> Result<(), Reason> {
        if key.kind == Kind::String {
            return self.scalar(key.kind, entry, &mut entry.reader(self.bytes));
        }
        self.out.push(b'"');
        number(self.out, key.kind, &mut entry.reader(self.bytes), false)?;
        self.out.push(b'"');
        Ok(())
    }

    /// A map entry without a value has the default one.
    fn map_default(&mut self, value: &'s Field, depth: usize) -> Result<(), Reason> {
        match value.kind {
            Kind::Message(id) | Kind::Group(id) => {
                let nowhere = self.entries.len();
                self.message(id, nowhere..nowhere, depth + 2)?;
            }
            _ => self.out.extend_from_slice(&value.default),
        }
        Ok(())
    }

    fn scalar(&mut self, kind: Kind, entry: Entry, reader: &mut Reader<'_>) -> Result<(), Reason> {
        match kind {
            Kind::String => {
                let text = std::str::from_utf8(entry.bytes(self.bytes)).map_err(|_| NOT_UTF8)?;
                if text.len() > MAX_JSON_BYTES {
                    return Err(TOO_LARGE);
                }
                write::string(self.out, text);
            }
            Kind::Bytes => {
                let bytes = entry.bytes(self.bytes);
                if bytes.len() > MAX_JSON_BYTES {
                    return Err(TOO_LARGE);
                }
                write::base64(self.out, bytes);
            }
            Kind::Float => write::float(self.out, f32::from_le_bytes(reader.fixed()?)),
            Kind::Double => write::float(self.out, f64::from_le_bytes(reader.fixed()?)),
            Kind::Enum(id) => {
                let number = reader.varint()? as i32;
                match self.schema.enums.get(id).and_then(|known| known.symbols.get(&number)) {
                    Some((_, json)) => self.out.extend_from_slice(json),
                    None => write::integer(self.out, number),
                }
            }
            kind => number(self.out, kind, reader, true)?,
        }
        Ok(())
    }

    /// The last occurrence of the field of a number.
    fn last(&self, message: &Message, found: Range<usize>, number: u32) -> Option<Entry> {
        let (place, _) = message.find(number)?;
        found
            .rev()
            .filter_map(|at| self.entries.get(at))
            .find(|entry| entry.field as usize == place)
    }

    fn varint(&self, message: &Message, found: Range<usize>, number: u32) -> Result<i64, Reason> {
        match self.last(message, found, number) {
            Some(entry) => Ok(entry.reader(self.bytes).varint()? as i64),
            None => Ok(0),
        }
    }

    fn well_known(
        &mut self,
        message: &'s Message,
        form: WellKnown,
        found: Range<usize>,
        depth: usize,
    ) -> Result<(), Reason> {
        match form {
            WellKnown::Timestamp => {
                const RANGE: Reason = "a protobuf Timestamp is not in the years 0001 to 9999";
                let seconds = self.varint(message, found.clone(), 1)?;
                let nanos = self.varint(message, found, 2)? as i32;
                if !(-62_135_596_800..=253_402_300_799).contains(&seconds)
                    || !(0..1_000_000_000).contains(&nanos)
                {
                    return Err(RANGE);
                }
                let date = date(seconds.div_euclid(DAY)).ok_or(RANGE)?;
                let of_day = seconds.rem_euclid(DAY);
                let (hours, minutes, seconds) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
                let fraction = fraction(nanos.unsigned_abs());
                let text = format!("\"{date}T{hours:02}:{minutes:02}:{seconds:02}{fraction}Z\"");
                self.out.extend_from_slice(text.as_bytes());
            }
            WellKnown::Duration => {
                let seconds = self.varint(message, found.clone(), 1)?;
                let nanos = self.varint(message, found, 2)? as i32;
                let opposed = seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0;
                if seconds.unsigned_abs() > 315_576_000_000
                    || nanos.unsigned_abs() > 999_999_999
                    || opposed
                {
                    return Err("a protobuf Duration is out of range");
                }
                let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
                let text = format!(
                    "\"{sign}{}{}s\"",
                    seconds.unsigned_abs(),
                    fraction(nanos.unsigned_abs())
                );
                self.out.extend_from_slice(text.as_bytes());
            }
            WellKnown::FieldMask => {
                let mut mask = String::new();
                for at in found {
                    let path = self
                        .entries
                        .get(at)
                        .map(|entry| entry.bytes(self.bytes))
                        .unwrap_or_default();
                    let path = std::str::from_utf8(path).map_err(|_| NOT_UTF8)?;
                    if mask.len() > MAX_JSON_BYTES {
                        return Err(TOO_LARGE);
                    }
                    if !mask.is_empty() {
                        mask.push(',');
                    }
                    let mut upper = false;
                    for character in path.chars() {
                        match character {
                            '_' => upper = true,
                            _ if upper => {
                                mask.push(character.to_ascii_uppercase());
                                upper = false;
                            }
                            _ => mask.push(character),
                        }
                    }
                }
                write::string(self.out, &mask);
            }
            WellKnown::Any => self.any(message, found, depth)?,
            WellKnown::Value => {
                // Of the members of its oneof, one is left.
                let entry = self.entries.get(found.start).filter(|_| !found.is_empty());
                let field = entry.and_then(|entry| message.fields.get(entry.field as usize));
                match field {
                    Some(field) => self.field(field, found, depth)?,
                    None => self.out.extend_from_slice(b"null"),
                }
            }
            WellKnown::Bare => {
                let field = message.fields.first().ok_or(NO_MESSAGE)?;
                if found.is_empty() { self.absent(field) } else { self.field(field, found, depth)? }
            }
        }
        Ok(())
    }

    fn any(
        &mut self,
        message: &'s Message,
        found: Range<usize>,
        depth: usize,
    ) -> Result<(), Reason> {
        let url = self
            .last(message, found.clone(), 1)
            .map(|entry| entry.bytes(self.bytes))
            .unwrap_or_default();
        let url = std::str::from_utf8(url).map_err(|_| NOT_UTF8)?;
        let value = message.find(2).map(|(place, _)| place);
        let value =
            found.rev().find(|at| self.entries.get(*at).map(|entry| entry.field as usize) == value);
        if url.is_empty() && value.is_none() {
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        self.out.extend_from_slice(b"{\"@type\":");
        write::string(self.out, url);
        let name = url.rsplit_once('/').map_or(url, |(_, name)| name);
        let nowhere = self.entries.len();
        let whole = value.map_or(nowhere..nowhere, |at| at..at + 1);
        // By its full name only.
        let known = self.schema.find(name).filter(|id| {
            self.schema.messages.get(*id).is_some_and(|message| *message.name == *name)
        });
        match known.and_then(|id| self.schema.messages.get(id).map(|message| (id, message))) {
            Some((_, inner)) if inner.well_known.is_none() => {
                if depth + 1 > MAX_DEPTH {
                    return Err(TOO_DEEP);
                }
                let found = self.entries.scan(inner, self.bytes, whole)?;
                let base = found.start;
                self.fields(inner, found, false, depth + 1)?;
                self.entries.truncate(base);
            }
            Some((id, _)) => {
                self.out.extend_from_slice(b",\"value\":");
                self.message(id, whole, depth + 1)?;
            }
            // The schema does not know the type.
            None => {
                self.out.extend_from_slice(b",\"value\":");
                let bytes =
                    value.and_then(|at| self.entries.get(at)).map(|entry| entry.bytes(self.bytes));
                write::base64(self.out, bytes.unwrap_or_default());
            }
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// The part of a second: nothing, or 3, 6 or 9 digits.
fn fraction(nanos: u32) -> String {
    match nanos {
        0 => String::new(),
        _ if nanos.is_multiple_of(1_000_000) => format!(".{:03}", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1000) => format!(".{:06}", nanos / 1000),
        _ => format!(".{nanos:09}"),
    }
}
