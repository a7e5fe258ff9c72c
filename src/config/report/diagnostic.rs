//! Errors and warnings about a file, each with its place.

use std::fmt;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::escape::{is_hidden, one_line};

/// The maximum number of diagnostics that are shown of one file. Further ones are counted: an alias can repeat
/// one mistake many times.
const MOST_SHOWN: usize = 100;

/// A place in the source text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span { start, end: end.max(start) }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// The file is not accepted and nothing is started.
    Error,
    /// The file is accepted, but something in it has no effect.
    Warning,
    /// The file is accepted, but it is probably wrong: it gives access to clients that should have none, or
    /// to no client.
    Danger,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning | Severity::Danger => "warning",
        })
    }
}

/// One mistake or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub span: Span,
    /// The path of the key and what is wrong with it.
    pub message: String,
    /// What would be accepted, unless the message says it.
    pub help: Option<String>,
}

/// All diagnostics of one file, in the order of their places.
///
/// Its `Display` is the plain form, `file:line:column: error: message`, one line for each and
/// one more for a help text.
#[derive(Clone, Debug)]
pub struct Report {
    file: String,
    source: Arc<str>,
    lines: Vec<usize>,
    diagnostics: Vec<Diagnostic>,
}

impl std::error::Error for Report {}

impl Report {
    pub(crate) fn new(file: &str, source: &str, mut diagnostics: Vec<Diagnostic>) -> Report {
        diagnostics.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.severity));
        diagnostics.dedup();
        for diagnostic in &mut diagnostics {
            // Messages quote the file, so control characters are escaped.
            diagnostic.message = one_line(&diagnostic.message).into_owned();
            diagnostic.help = diagnostic.help.as_deref().map(|help| one_line(help).into_owned());
        }
        let after_line_feeds = source.match_indices('\n').map(|(at, _)| at + 1);
        Report {
            file: file.to_owned(),
            source: Arc::from(source),
            lines: std::iter::once(0).chain(after_line_feeds).collect(),
            diagnostics,
        }
    }

    /// The name of the file, as it was given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The diagnostics, in the order of their places.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether one of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Line and column, both from 1, the column in characters.
    #[must_use]
    pub fn position(&self, span: Span) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= span.start);
        let start =
            line.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or(0);
        let before = self.source.get(start..span.start).unwrap_or_default();
        (line.max(1), before.chars().count() + 1)
    }

    /// The place as `file:line:column`.
    #[must_use]
    pub fn place(&self, span: Span) -> String {
        let (line, column) = self.position(span);
        format!("{}:{line}:{column}", one_line(&self.file))
    }

    /// The form for a terminal: each diagnostic has an excerpt of the source, in colour if `color` is true.
    #[must_use]
    pub fn graphical(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for diagnostic in self.diagnostics.iter().take(MOST_SHOWN) {
            text.push_str(&renderer.render(&[self.annotated(diagnostic)]));
            text.push_str("\n\n");
        }
        text.push_str(&self.not_shown());
        text
    }

    /// A diagnostic with the line of its span, if that contains no secret. The lines around it are not shown: they
    /// may contain one.
    fn annotated<'r>(&self, diagnostic: &'r Diagnostic) -> Group<'r> {
        let span = diagnostic.span;
        let (line, column) = self.position(span);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let end = self.lines.get(line).map_or(self.source.len(), |next| next - 1);
        let text = visible(self.source.get(start..end).unwrap_or_default());
        let marked_start = text.floor_char_boundary(span.start.saturating_sub(start));
        let marked_end = text.floor_char_boundary(span.end.saturating_sub(start));
        let marked = AnnotationKind::Primary.span(marked_start..marked_end.max(marked_start));
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning | Severity::Danger => Level::WARNING,
        };
        let file = one_line(&self.file).into_owned();
        let group = level.primary_title(&*diagnostic.message);
        let group = match may_contain_secret(&text) {
            true => group.element(Origin::path(file).line(line).char_column(column)),
            false => {
                group.element(Snippet::source(text).path(file).line_start(line).annotation(marked))
            }
        };
        group.elements(diagnostic.help.as_deref().map(|help| Level::HELP.message(help)))
    }

    fn not_shown(&self) -> String {
        match self.diagnostics.len().checked_sub(MOST_SHOWN) {
            None | Some(0) => String::new(),
            Some(count) => format!("{}: and {count} more\n", one_line(&self.file)),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Diagnostic { severity, span, message, help } in self.diagnostics.iter().take(MOST_SHOWN)
        {
            writeln!(f, "{}: {severity}: {message}", self.place(*span))?;
            if let Some(help) = help {
                writeln!(f, "  help: {help}")?;
            }
        }
        f.write_str(&self.not_shown())
    }
}

/// Whether a line of the configuration may contain credentials, or a URL with a user.
fn may_contain_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["authorization", "credentials", "password"].iter().any(|key| line.contains(key))
        || line.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

/// A part of the source without control characters. It has as many bytes as before, so that labels keep their
/// places.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.trim_end_matches('\r').chars() {
        match is_hidden(character) && character != '\t' {
            true => shown.extend(std::iter::repeat_n('?', character.len_utf8())),
            false => shown.push(character),
        }
    }
    shown
}
