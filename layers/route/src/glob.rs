//! Text with `*` and `{name}`: parsing and matching, without a thought of paths or headers.

use std::ops::Range;
use std::sync::Arc;

use crate::Error;

/// What the literals of a pattern are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A path in the form of [`crate::path::decoded`]; a parameter is within one segment.
    Path,
    /// The same, but a parameter may reach over several segments.
    MultiSegmentPath,
    /// Text as it is.
    Text,
    /// Text in lower case.
    Lowercase,
}

/// A pattern, split into what must stand at both ends and what is found between them.
///
/// Where several ways to match exist, each token from left to right takes as much as it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    kind: Kind,
    prefix: Box<[u8]>,
    /// Empty, or begins and ends with something that is no literal.
    middle: Box<[Token]>,
    suffix: Box<[u8]>,
    names: Box<[Arc<str>]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(Box<[u8]>),
    Any,
    Capture,
}

impl Glob {
    /// `at` is where `text` stands in the pattern that the user wrote.
    pub(crate) fn parse(text: &str, at: usize, kind: Kind) -> Result<Self, Error> {
        let mut tokens = Vec::new();
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut literal = String::new();
        let mut characters = text.char_indices();
        while let Some((offset, character)) = characters.next() {
            let at = at + offset;
            match character {
                '*' => {
                    flush(&mut literal, at, kind, &mut tokens)?;
                    if tokens.last() != Some(&Token::Any) {
                        tokens.push(Token::Any);
                    }
                }
                '{' => {
                    flush(&mut literal, at, kind, &mut tokens)?;
                    let Some((name, _)) = characters.as_str().split_once('}') else {
                        return Err(Error::Unclosed(at));
                    };
                    check(name, at)?;
                    if tokens.last() == Some(&Token::Capture) {
                        return Err(Error::Adjacent(at));
                    }
                    if names.iter().any(|known| **known == *name) {
                        return Err(Error::Duplicate { name: name.to_owned(), at });
                    }
                    tokens.push(Token::Capture);
                    names.push(Arc::from(name));
                    characters.nth(name.chars().count()); // the name and its `}`
                }
                '}' => return Err(Error::Unopened(at)),
                '?' if matches!(kind, Kind::Path | Kind::MultiSegmentPath) => {
                    return Err(Error::Query(at));
                }
                _ => literal.push(character),
            }
        }
        flush(&mut literal, at + text.len(), kind, &mut tokens)?;
        Ok(Self::new(kind, tokens, names))
    }

    fn new(kind: Kind, mut tokens: Vec<Token>, names: Vec<Arc<str>>) -> Self {
        let suffix = tokens.pop_if(|token| matches!(token, Token::Literal(_)));
        let mut tokens = tokens.into_iter().peekable();
        let prefix = tokens.next_if(|token| matches!(token, Token::Literal(_)));
        let middle: Box<[Token]> = tokens.collect();
        let bytes = |token| match token {
            Some(Token::Literal(bytes)) => bytes,
            _ => Box::default(),
        };
        let mut prefix = bytes(prefix);
        let mut suffix = bytes(suffix);
        if middle.is_empty() {
            std::mem::swap(&mut prefix, &mut suffix); // nothing but a literal: it is the prefix
        }
        Self { kind, prefix, middle, suffix, names: names.into() }
    }

    /// The one text that this pattern matches, if it is one.
    pub(crate) fn literal(&self) -> Option<&[u8]> {
        self.middle.is_empty().then_some(&*self.prefix)
    }

    pub(crate) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Where the parameters stand in `text`, in the order of [`Self::names`].
    ///
    /// Takes time in proportion to the length of the text times that of the pattern, at most.
    pub(crate) fn find(&self, text: &[u8]) -> Option<Vec<Range<usize>>> {
        if self.middle.is_empty() {
            return (*text == *self.prefix).then(Vec::new);
        }
        let rest = text.strip_prefix(&*self.prefix)?.strip_suffix(&*self.suffix)?;
        let offset = self.prefix.len();
        match &*self.middle {
            [Token::Any] => Some(Vec::new()),
            [Token::Capture] => (!rest.is_empty() && !rest.iter().any(|byte| self.ends(*byte)))
                .then(|| std::iter::once(offset..offset + rest.len()).collect()),
            _ => self.search(rest, offset),
        }
    }

    fn search(&self, text: &[u8], offset: usize) -> Option<Vec<Range<usize>>> {
        let rows = self.rows(text);
        if !*rows.first()?.first()? {
            return None;
        }
        let mut captures = Vec::with_capacity(self.names.len());
        let mut start = 0;
        for (token, after) in self.middle.iter().zip(rows.iter().skip(1)) {
            let longest = match token {
                Token::Literal(bytes) => bytes.len(),
                Token::Any => text.len() - start,
                Token::Capture => {
                    text.iter().skip(start).take_while(|byte| !self.ends(**byte)).count()
                }
            };
            let end = start + after.iter().skip(start).take(longest + 1).rposition(|ok| *ok)?;
            if matches!(token, Token::Capture) {
                captures.push(offset + start..offset + end);
            }
            start = end;
        }
        Some(captures)
    }

    /// Row `t`, column `i`: whether the tokens from `t` on match the text from `i` on.
    fn rows(&self, text: &[u8]) -> Vec<Vec<bool>> {
        let last: Vec<bool> = std::iter::repeat_n(false, text.len()).chain([true]).collect();
        let mut rows = vec![last];
        for token in self.middle.iter().rev() {
            let after = rows.last().map_or(&[][..], Vec::as_slice);
            let row = match token {
                Token::Literal(bytes) => (0..=text.len())
                    .map(|start| {
                        text.get(start..).is_some_and(|rest| rest.starts_with(bytes))
                            && after.get(start + bytes.len()) == Some(&true)
                    })
                    .collect(),
                Token::Any => {
                    let mut found = false;
                    from_right(after.iter().rev().map(|ok| {
                        found |= ok;
                        found
                    }))
                }
                Token::Capture => {
                    // One byte, then the end of the parameter or another byte of it.
                    let mut found = false;
                    from_right(std::iter::once(false).chain(
                        text.iter().zip(after.iter().skip(1)).rev().map(|(byte, ok)| {
                            found = (found || *ok) && !self.ends(*byte);
                            found
                        }),
                    ))
                }
            };
            rows.push(row);
        }
        rows.reverse();
        rows
    }

    /// Whether a parameter stops before this byte.
    fn ends(&self, byte: u8) -> bool {
        self.kind == Kind::Path && byte == b'/'
    }
}

fn from_right(row: impl Iterator<Item = bool>) -> Vec<bool> {
    let mut row: Vec<bool> = row.collect();
    row.reverse();
    row
}

/// Makes a token of the literal that ends before `end`.
fn flush(
    literal: &mut String,
    end: usize,
    kind: Kind,
    tokens: &mut Vec<Token>,
) -> Result<(), Error> {
    let text = std::mem::take(literal);
    if text.is_empty() {
        return Ok(());
    }
    let bytes = match kind {
        Kind::Text => text.into_bytes(),
        Kind::Lowercase => text.to_ascii_lowercase().into_bytes(),
        Kind::Path | Kind::MultiSegmentPath => {
            if let Some(place) = crate::path::separator(text.as_bytes()) {
                return Err(Error::Separator(end - text.len() + place));
            }
            crate::path::decoded(text.as_bytes()).into_owned()
        }
    };
    tokens.push(Token::Literal(bytes.into()));
    Ok(())
}

fn check(name: &str, at: usize) -> Result<(), Error> {
    let Some(first) = name.chars().next() else {
        return Err(Error::Nameless(at));
    };
    let follows = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (first.is_ascii_alphabetic() || first == '_') && name.chars().all(follows) {
        Ok(())
    } else {
        Err(Error::Name { name: name.to_owned(), at })
    }
}

#[cfg(test)]
mod tests;
