//! JSON, parsed into one array of items: nothing is allocated for a value, numbers keep their text, and positions in
//! the array stand for nodes.

use crate::limits::{MAX_DEPTH, MAX_JSON_BYTES};
use crate::write;

/// Why a text is malformed.
pub(super) type Reason = &'static str;

/// A parsed text. It can be used again for another one, and keeps its memory.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub(super) items: Vec<Item>,
    /// The characters of strings that have escapes.
    unescaped: String,
    /// The positions of the names of large objects, in the order of their text.
    sorted: Vec<u32>,
    /// How deep the values are nested.
    pub(super) depth: usize,
    /// The positions of the names of the objects that are open.
    names: Vec<u32>,
}

/// A value, or the name of a member, which stands before its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Null,
    Boolean(bool),
    Number(Span),
    String(Span),
    /// A string with escapes: its place in `unescaped`.
    Unescaped(Span),
    /// The name of a member that a later one of the same name replaces.
    Replaced,
    Array {
        count: u32,
        end: u32,
    },
    /// `sorted` is the place of the names in the order of their text plus one, or 0 if the object is small.
    Object {
        count: u32,
        end: u32,
        sorted: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

/// Objects with more members are searched by bisection.
const SMALL: usize = 16;

pub(super) const TOO_DEEP: Reason = "the JSON is nested too deeply";
const TOO_LARGE: Reason = "the JSON has more than 16 MiB";
const SYNTAX: Reason = "it is not JSON";
const TRUNCATED: Reason = "the JSON ends too early";

/// A parsed text with its source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Document<'t> {
    pub(super) tape: &'t Tape,
    text: &'t str,
}

impl Tape {
    /// Parses one JSON text. Nothing but white space may stand around it.
    pub(super) fn parse<'t>(&'t mut self, bytes: &'t [u8]) -> Result<Document<'t>, Reason> {
        if bytes.len() > MAX_JSON_BYTES {
            return Err(TOO_LARGE);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "the JSON is not UTF-8")?;
        self.items.clear();
        self.unescaped.clear();
        self.sorted.clear();
        self.names.clear();
        self.depth = 0;
        let mut parser = Parser { tape: self, text, at: 0 };
        parser.white_space();
        parser.value(0)?;
        parser.white_space();
        if parser.at != text.len() {
            return Err("something follows the JSON");
        }
        Ok(Document { tape: self, text })
    }

    /// The number of values and names.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Gives memory back that an unusually large text took.
    pub(super) fn shrink(&mut self) {
        const KEPT: usize = 4096;
        self.items.shrink_to(KEPT);
        self.unescaped.shrink_to(KEPT);
        self.sorted.shrink_to(KEPT);
        self.names.shrink_to(KEPT);
    }
}

impl<'t> Document<'t> {
    pub(super) fn item(&self, at: u32) -> Item {
        self.tape.items.get(at as usize).copied().unwrap_or(Item::Null)
    }

    pub(super) fn text(&self, item: Item) -> &'t str {
        let (source, span) = match item {
            Item::Number(span) | Item::String(span) => (self.text, span),
            Item::Unescaped(span) => (self.tape.unescaped.as_str(), span),
            _ => return "",
        };
        source.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// The position after a value and all that is in it.
    pub(super) fn after(&self, at: u32) -> u32 {
        match self.item(at) {
            Item::Array { end, .. } | Item::Object { end, .. } => end,
            _ => at + 1,
        }
    }

    /// The positions of the names of an object's members.
    pub(super) fn members(&self, at: u32) -> Members<'t> {
        match self.item(at) {
            Item::Object { end, .. } => Members { document: *self, at: at + 1, end },
            _ => Members { document: *self, at, end: at },
        }
    }

    /// The position of the value of a member.
    pub(super) fn member(&self, at: u32, name: &str) -> Option<u32> {
        let Item::Object { count, sorted, .. } = self.item(at) else { return None };
        if sorted == 0 {
            return self.members(at).find(|(key, _)| *key == name).map(|(_, value)| value);
        }
        let start = sorted as usize - 1;
        let names = self.tape.sorted.get(start..start + count as usize)?;
        let found = names.binary_search_by(|key| self.text(self.item(*key)).cmp(name)).ok()?;
        names.get(found).map(|key| key + 1)
    }
}

/// The members of an object: their names, and the positions of their values.
#[derive(Clone, Debug)]
pub(super) struct Members<'t> {
    document: Document<'t>,
    at: u32,
    end: u32,
}

impl<'t> Iterator for Members<'t> {
    type Item = (&'t str, u32);

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.end {
            let name = self.document.item(self.at);
            let value = self.at + 1;
            self.at = self.document.after(value);
            if name != Item::Replaced {
                return Some((self.document.text(name), value));
            }
        }
        None
    }
}

struct Parser<'p, 't> {
    tape: &'p mut Tape,
    text: &'t str,
    at: usize,
}

impl Parser<'_, '_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn position(&self) -> u32 {
        // Fewer items than bytes, and these are bounded.
        self.tape.items.len() as u32
    }

    fn value(&mut self, depth: usize) -> Result<(), Reason> {
        let item = match self.peek().ok_or(TRUNCATED)? {
            b'{' | b'[' if depth == MAX_DEPTH => return Err(TOO_DEEP),
            b'{' => return self.object(depth),
            b'[' => return self.array(depth),
            b'"' => self.string()?,
            b't' => self.word("true", Item::Boolean(true))?,
            b'f' => self.word("false", Item::Boolean(false))?,
            b'n' => self.word("null", Item::Null)?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return Err(SYNTAX),
        };
        self.tape.items.push(item);
        Ok(())
    }

    fn word(&mut self, word: &str, item: Item) -> Result<Item, Reason> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(item)
        } else {
            Err(SYNTAX)
        }
    }

    fn digits(&mut self) -> Result<(), Reason> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(SYNTAX) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Item, Reason> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        // No digit follows a leading zero.
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Item::Number(Span { start: start as u32, end: self.at as u32 }))
    }

    fn string(&mut self) -> Result<Item, Reason> {
        self.at += 1;
        let start = self.at;
        let mut unescaped = None;
        loop {
            let run = self.at;
            let rest = self.text.as_bytes().get(run..).unwrap_or_default();
            self.at += write::plain(rest);
            let byte = self.peek();
            if byte != Some(b'"') || unescaped.is_some() {
                let plain = self.text.get(run..self.at).unwrap_or_default();
                unescaped.get_or_insert(self.tape.unescaped.len());
                self.tape.unescaped.push_str(plain);
            }
            self.at += 1;
            match byte {
                Some(b'"') => {
                    return Ok(match unescaped {
                        None => Item::String(Span { start: start as u32, end: self.at as u32 - 1 }),
                        Some(from) => {
                            let end = self.tape.unescaped.len() as u32;
                            Item::Unescaped(Span { start: from as u32, end })
                        }
                    });
                }
                Some(b'\\') => {
                    let character = self.escape()?;
                    self.tape.unescaped.push(character);
                }
                Some(_) => return Err("a JSON string has a control character"),
                None => return Err(TRUNCATED),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Reason> {
        let escape = self.peek().ok_or(TRUNCATED)?;
        self.at += 1;
        Ok(match escape {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex()?;
                let low = match unit {
                    0xd800..0xdc00
                        if self.text.as_bytes().get(self.at..self.at + 2) == Some(b"\\u") =>
                    {
                        let before = self.at;
                        self.at += 2;
                        let low = self.hex()?;
                        if !(0xdc00..0xe000).contains(&low) {
                            self.at = before;
                        }
                        low
                    }
                    _ => 0,
                };
                // Half of a pair stands for no character. The text passes as it came, so only a schema sees this one.
                match char::decode_utf16([unit, low]).next() {
                    Some(Ok(character)) => character,
                    _ => char::REPLACEMENT_CHARACTER,
                }
            }
            _ => return Err(SYNTAX),
        })
    }

    fn hex(&mut self) -> Result<u16, Reason> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(SYNTAX)?;
        // `from_str_radix` takes a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(SYNTAX);
        }
        self.at += 4;
        u16::from_str_radix(digits, 16).map_err(|_| SYNTAX)
    }

    fn array(&mut self, depth: usize) -> Result<(), Reason> {
        self.tape.depth = self.tape.depth.max(depth + 1);
        let position = self.tape.items.len();
        self.tape.items.push(Item::Null);
        self.at += 1;
        let mut count = 0;
        self.white_space();
        if self.peek() == Some(b']') {
            self.at += 1;
        } else {
            loop {
                self.white_space();
                self.value(depth + 1)?;
                count += 1;
                self.white_space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b']') => break self.at += 1,
                    Some(_) => return Err(SYNTAX),
                    None => return Err(TRUNCATED),
                }
            }
        }
        let end = self.position();
        if let Some(slot) = self.tape.items.get_mut(position) {
            *slot = Item::Array { count, end };
        }
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), Reason> {
        self.tape.depth = self.tape.depth.max(depth + 1);
        let position = self.tape.items.len();
        self.tape.items.push(Item::Null);
        self.at += 1;
        let names = self.tape.names.len();
        self.white_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.white_space();
                if self.peek() != Some(b'"') {
                    return Err(if self.peek().is_none() { TRUNCATED } else { SYNTAX });
                }
                let name = self.string()?;
                self.tape.names.push(self.tape.items.len() as u32);
                self.tape.items.push(name);
                self.white_space();
                match self.peek() {
                    Some(b':') => self.at += 1,
                    Some(_) => return Err(SYNTAX),
                    None => return Err(TRUNCATED),
                }
                self.white_space();
                self.value(depth + 1)?;
                self.white_space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => break self.at += 1,
                    Some(_) => return Err(SYNTAX),
                    None => return Err(TRUNCATED),
                }
            }
        }
        let end = self.position();
        let (count, sorted) = self.close(names);
        if let Some(slot) = self.tape.items.get_mut(position) {
            *slot = Item::Object { count, end, sorted };
        }
        Ok(())
    }

    /// Finds names that stand twice, of which the last one counts, and takes the object's names off the stack.
    fn close(&mut self, from: usize) -> (u32, u32) {
        let count = self.tape.names.len() - from;
        if count <= SMALL {
            let mut replaced = 0;
            for index in from..from + count {
                let names = self.tape.names.get(index..).unwrap_or_default();
                let document = Document { tape: self.tape, text: self.text };
                let name = |at: &u32| document.text(document.item(*at));
                if let Some((at, later)) = names.split_first()
                    && later.iter().any(|other| name(other) == name(at))
                {
                    let at = *at;
                    self.replace(&[at]);
                    replaced += 1;
                }
            }
            self.tape.names.truncate(from);
            return ((count - replaced) as u32, 0);
        }
        let mut names = self.tape.names.split_off(from);
        let document = Document { tape: self.tape, text: self.text };
        let name = |at: &u32| document.text(document.item(*at));
        let mut replaced = Vec::new();
        // Among equal names, the last one first.
        names.sort_unstable_by(|left, right| name(left).cmp(name(right)).then(right.cmp(left)));
        names.dedup_by(|next, kept| {
            let same = name(next) == name(kept);
            if same {
                replaced.push(*next);
            }
            same
        });
        let start = self.tape.sorted.len();
        self.tape.sorted.extend_from_slice(&names);
        self.replace(&replaced);
        (names.len() as u32, start as u32 + 1)
    }

    fn replace(&mut self, names: &[u32]) {
        for at in names {
            if let Some(slot) = self.tape.items.get_mut(*at as usize) {
                *slot = Item::Replaced;
            }
        }
    }
}

/// Whether a number's value is an integer, however it is written.
pub(super) fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent),
        None => (digits, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let trailing_zeros =
        if fraction.is_empty() { whole.len() - whole.trim_end_matches('0').len() } else { 0 };
    if fraction.is_empty() && whole.len() == trailing_zeros {
        return true;
    }
    let negative = exponent.starts_with('-');
    // An exponent that does not fit moves the point past all digits.
    let exponent: i64 =
        exponent.parse().unwrap_or(if negative { i64::MIN / 2 } else { i64::MAX / 2 });
    exponent + trailing_zeros as i64 >= fraction.len() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parses(text: &[u8]) -> bool {
        Tape::default().parse(text).is_ok()
    }

    #[test]
    fn texts_are_json_exactly_where_serde_json_says_so() {
        let texts = [
            "",
            " ",
            "{}",
            "[]",
            "{",
            "[",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1}x",
            "nul",
            "null",
            "nulll",
            "true false",
            "01",
            "-",
            "-0",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1E-2",
            "0x1",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u00e9\"",
            "\"\\ud83d\\ude00\"",
            "\"\t\"",
            "\u{feff}{}",
            "[[[]]]",
            "[1 2]",
            "\n{ \"a\" : [ 1 , 2 ] }\r",
            "NaN",
            "+1",
            "\"\\u+123\"",
            "\"é\"",
            "1é",
            "[1",
            "[1,",
            "{\"a\":1",
        ];
        for text in texts {
            assert_eq!(
                parses(text.as_bytes()),
                serde_json::from_str::<serde_json::Value>(text).is_ok(),
                "{text}"
            );
        }
        assert!(!parses(b"\"\xc3\""));
        assert!(parses(b"1e400"));
    }

    #[test]
    fn depth_and_size_are_bounded() {
        for (depth, fits) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false), (1_000_000, false)] {
            assert_eq!(
                parses(format!("{}{}", "[".repeat(depth), "]".repeat(depth)).as_bytes()),
                fits,
                "{depth}"
            );
        }
        let mut text = vec![b' '; MAX_JSON_BYTES];
        text[0] = b'1';
        assert!(parses(&text));
        text.push(b' ');
        assert!(!parses(&text));
    }

    #[test]
    fn the_last_of_equal_names_counts() {
        for filler in [0, 100] {
            let members: String = (0..filler).map(|number| format!("\"k{number}\":0,")).collect();
            let text = format!(r#"{{"a":1,{members}"\u0061":2,"b":{{"a":4}},"a":[3]}}"#);
            let mut tape = Tape::default();
            let document = tape.parse(text.as_bytes()).expect("JSON");
            let at = document.member(0, "a").expect("a member");
            assert!(matches!(document.item(at), Item::Array { count: 1, .. }));
            assert_eq!(document.members(0).filter(|(name, _)| *name == "a").count(), 1);
            assert!(matches!(document.item(0), Item::Object { count, .. } if count == filler + 2));
            assert_eq!(document.member(0, "c"), None);
            let inner = document.member(0, "b").expect("a member");
            assert_eq!(
                document.member(inner, "a").map(|at| document.text(document.item(at))),
                Some("4")
            );
        }
    }

    #[test]
    fn escapes_are_resolved() {
        let mut tape = Tape::default();
        let document = tape.parse(br#""a\n\u0061\ud83d\ude00\ud83dx\ude00\/""#).expect("JSON");
        assert_eq!(document.text(document.item(0)), "a\na😀\u{fffd}x\u{fffd}/");
    }

    #[test]
    fn integers_are_recognized_by_their_value() {
        for text in [
            "0",
            "-0",
            "1",
            "1.0",
            "1e5",
            "1.5e1",
            "100e-2",
            "0.0e-5",
            "1e400",
            "1e99999999999999999999",
            "9007199254740993",
            "0e-99999999999999999999",
        ] {
            assert!(is_integer(text), "{text}");
        }
        for text in ["1.5", "1e-1", "1.25e1", "100e-3", "1e-99999999999999999999", "0.1"] {
            assert!(!is_integer(text), "{text}");
        }
    }
}
