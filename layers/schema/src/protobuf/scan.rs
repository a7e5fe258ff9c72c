//! Where the fields of a message are.

use std::cell::Cell;
use std::ops::Range;

use super::wire::{Reader, Reason, WireType};
use super::{Field, Kind, MAX_STEPS, Message, NOT_UTF8, TOO_LONG};

/// How many fields a value may have. They take two bytes and more each, and sixteen in memory.
const MAX_ENTRIES: usize = 1 << 20;

/// One occurrence of a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The place of the field in its message.
    pub(super) field: u32,
    /// Whether it is a run of numbers.
    pub(super) packed: bool,
    start: u32,
    end: u32,
}

impl Entry {
    pub(super) fn reader<'a>(&self, bytes: &'a [u8]) -> Reader<'a> {
        Reader::new(bytes, self.start as usize, self.end as usize)
    }

    pub(super) fn bytes<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// The occurrences of the fields of the message that is read, and before them those of the messages around it.
#[derive(Debug, Default)]
pub(super) struct Entries {
    stack: Vec<Entry>,
    oneofs: Vec<Oneof>,
    /// How many fields the schema has had for the messages of the value.
    steps: usize,
}

#[derive(Clone, Copy, Debug)]
struct Oneof {
    /// The member that is set.
    field: u32,
    /// The entries before belong to members that it replaced.
    from: usize,
}

impl Entries {
    /// Uses the memory of the value before.
    pub(super) fn with<T>(
        bytes: &[u8],
        read: impl FnOnce(&mut Self, Range<usize>) -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        thread_local! {
            static ENTRIES: Cell<Option<Box<Entries>>> = const { Cell::new(None) };
        }
        let end = u32::try_from(bytes.len()).map_err(|_| super::TOO_LARGE)?;
        let mut entries = ENTRIES.take().unwrap_or_default();
        entries.stack.clear();
        entries.oneofs.clear();
        entries.steps = 0;
        entries.stack.push(Entry { field: 0, packed: false, start: 0, end });
        let result = read(&mut entries, 0..1);
        entries.stack.shrink_to(4096);
        ENTRIES.set(Some(entries));
        result
    }

    pub(super) fn get(&self, at: usize) -> Option<Entry> {
        self.stack.get(at).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.stack.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.stack.truncate(len);
    }

    /// Finds the fields of a message that comes in the pieces `whole`: occurrences of one message field are merged,
    /// which is the same as reading their bytes one after the other. Returns the entries in the order of the message's
    /// fields, and of each field in the order of the value.
    pub(super) fn scan(
        &mut self,
        message: &Message,
        bytes: &[u8],
        whole: Range<usize>,
    ) -> Result<Range<usize>, Reason> {
        self.steps = self.steps.saturating_add(message.fields.len() + message.oneofs);
        if self.steps > MAX_STEPS {
            return Err(TOO_LONG);
        }
        let base = self.stack.len();
        self.oneofs.clear();
        self.oneofs.resize(message.oneofs, Oneof { field: u32::MAX, from: 0 });
        let mut in_order = true;
        let mut last = 0;
        for piece in whole {
            let Some(piece) = self.get(piece) else { continue };
            let mut reader = piece.reader(bytes);
            while !reader.is_at_end() {
                let (number, wire_type) = reader.tag()?;
                let found = message.find(number);
                let (start, end) = reader.payload(number, wire_type, 0)?;
                let Some((place, field)) = found else { continue };
                let packed = is_packed(field, wire_type)?;
                // Members of a oneof that are replaced are read nowhere else.
                if field.oneof.is_some() && field.kind == Kind::String {
                    let text = bytes.get(start..end).unwrap_or_default();
                    std::str::from_utf8(text).map_err(|_| NOT_UTF8)?;
                }
                let place = place as u32;
                if let Some(oneof) = field.oneof.and_then(|oneof| self.oneofs.get_mut(oneof))
                    && oneof.field != place
                {
                    *oneof = Oneof { field: place, from: self.stack.len() };
                }
                in_order &= place >= last;
                last = place;
                if self.stack.len() == MAX_ENTRIES {
                    return Err("the protobuf value has more than 1048576 fields");
                }
                self.stack.push(Entry {
                    field: place,
                    packed,
                    start: start as u32,
                    end: end as u32,
                });
            }
        }
        if message.oneofs > 0 {
            self.drop_replaced(message, base);
        }
        if !in_order && let Some(entries) = self.stack.get_mut(base..) {
            entries.sort_by_key(|entry| entry.field);
        }
        Ok(base..self.stack.len())
    }

    /// Drops members of a oneof that a later member replaced.
    fn drop_replaced(&mut self, message: &Message, base: usize) {
        let mut kept = base;
        for at in base..self.stack.len() {
            let Some(entry) = self.get(at) else { break };
            let oneof = message.fields.get(entry.field as usize).and_then(|field| field.oneof);
            let is_set = oneof
                .and_then(|oneof| self.oneofs.get(oneof))
                .is_none_or(|oneof| oneof.field == entry.field && at >= oneof.from);
            if is_set {
                self.stack.swap(kept, at);
                kept += 1;
            }
        }
        self.stack.truncate(kept);
    }
}

/// Whether an occurrence is a run of numbers. Repeated numbers are read in both forms.
pub(super) fn is_packed(field: &Field, wire_type: WireType) -> Result<bool, Reason> {
    let expected = field.kind.wire_type();
    if wire_type == expected {
        return Ok(false);
    }
    let number = !matches!(expected, WireType::Length | WireType::Start);
    if field.repeated && number && wire_type == WireType::Length {
        return Ok(true);
    }
    Err("a protobuf field has the wrong wire type")
}
