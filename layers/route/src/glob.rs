//! Patterns with `*` and `{name}`: parsing and matching. Paths and headers are the callers' matter.

use std::ops::Range;
use std::sync::Arc;

use crate::Error;

/// The kind of text that a pattern is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A path in the form of [`crate::path::decoded`]. A parameter matches within one segment.
    Path,
    /// A path in the same form. A parameter may match several segments.
    MultiSegmentPath,
    /// Any text.
    Text,
    /// Text that was made lower case.
    Lowercase,
}

/// A pattern, split into a literal prefix, a literal suffix and the tokens between them.
///
/// If a text matches in several ways, each token takes as much as it can, from left to right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    kind: Kind,
    prefix: Box<[u8]>,
    /// Empty, or begins and ends with a token that is not a literal.
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
    /// Parses a pattern. `at` is the position of `text` within the pattern that the user wrote.
    pub(crate) fn parse(text: &str, at: usize, kind: Kind) -> Result<Self, Error> {
        let mut tokens = Vec::new();
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut literal = String::new();
        let mut characters = text.char_indices();
        while let Some((offset, character)) = characters.next() {
            let at = at + offset;
            match character {
                '*' => {
                    push_literal(&mut literal, at, kind, &mut tokens)?;
                    if tokens.last() != Some(&Token::Any) {
                        tokens.push(Token::Any);
                    }
                }
                '{' => {
                    push_literal(&mut literal, at, kind, &mut tokens)?;
                    let Some((name, _)) = characters.as_str().split_once('}') else {
                        return Err(Error::Unclosed(at));
                    };
                    check_name(name, at)?;
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
        push_literal(&mut literal, at + text.len(), kind, &mut tokens)?;
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
            std::mem::swap(&mut prefix, &mut suffix); // the pattern is one literal: the prefix
        }
        Self { kind, prefix, middle, suffix, names: names.into() }
    }

    /// The only text that this pattern matches, if it is a literal.
    pub(crate) fn literal(&self) -> Option<&[u8]> {
        self.middle.is_empty().then_some(&*self.prefix)
    }

    pub(crate) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The ranges of the parameters in `text`, in the order of [`Self::names`].
    ///
    /// Takes at most time in proportion to the length of the text times that of the pattern.
    pub(crate) fn find(&self, text: &[u8]) -> Option<Vec<Range<usize>>> {
        if self.middle.is_empty() {
            return (*text == *self.prefix).then(Vec::new);
        }
        let rest = text.strip_prefix(&*self.prefix)?.strip_suffix(&*self.suffix)?;
        let offset = self.prefix.len();
        match &*self.middle {
            [Token::Any] => Some(Vec::new()),
            [Token::Capture] => (!rest.is_empty()
                && !rest.iter().any(|byte| self.ends_before(*byte)))
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
                    text.iter().skip(start).take_while(|byte| !self.ends_before(**byte)).count()
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

    /// Row `t`, column `i` is `true` if the tokens from `t` on match the text from `i` on.
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
                    // A parameter is one byte, followed by its end or by another byte of it.
                    let mut found = false;
                    from_right(std::iter::once(false).chain(
                        text.iter().zip(after.iter().skip(1)).rev().map(|(byte, ok)| {
                            found = (found || *ok) && !self.ends_before(*byte);
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

    /// Whether a parameter ends before this byte.
    fn ends_before(&self, byte: u8) -> bool {
        self.kind == Kind::Path && byte == b'/'
    }
}

fn from_right(row: impl Iterator<Item = bool>) -> Vec<bool> {
    let mut row: Vec<bool> = row.collect();
    row.reverse();
    row
}

/// Adds the literal that was read so far, which ends before `end`.
fn push_literal(
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

fn check_name(name: &str, at: usize) -> Result<(), Error> {
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
