//! What is said about a file: mistakes and warnings, each with its place.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};

use crate::escape::{is_hidden, one_line};

/// Diagnostics shown of one file; the rest is counted. One alias may repeat a mistake many times.
const MOST_SHOWN: usize = 100;

/// How many bytes of a long line are shown on each side of a span.
const AROUND: usize = 80;

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
    pub(super) fn new(start: usize, end: usize) -> Span {
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
    /// The file is accepted, but what it says is hardly what is wanted: it lets in who should not, or
    /// nobody.
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
    /// What would be accepted, where that is not in the message.
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
    pub(super) fn new(file: &str, source: &str, mut diagnostics: Vec<Diagnostic>) -> Report {
        diagnostics.sort_by_key(|it| (it.span.start, it.severity));
        diagnostics.dedup();
        for diagnostic in &mut diagnostics {
            // Messages quote the file, and what a terminal would obey is shown by its escape.
            diagnostic.message = one_line(&diagnostic.message).into_owned();
            diagnostic.help = diagnostic.help.as_deref().map(|it| one_line(it).into_owned());
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
        self.diagnostics.iter().any(|it| it.severity == Severity::Error)
    }

    /// Line and column, both from 1, the column in characters.
    #[must_use]
    pub fn position(&self, span: Span) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= span.start);
        let start = line.checked_sub(1).and_then(|it| self.lines.get(it)).copied().unwrap_or(0);
        let before = self.source.get(start..span.start).unwrap_or_default();
        (line.max(1), before.chars().count() + 1)
    }

    /// The place as `file:line:column`.
    #[must_use]
    pub fn place(&self, span: Span) -> String {
        let (line, column) = self.position(span);
        format!("{}:{line}:{column}", one_line(&self.file))
    }

    /// The form for a terminal: each with an excerpt of the source, in colour where asked for.
    #[must_use]
    pub fn graphical(&self, color: bool) -> String {
        let theme =
            if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
        let mut text = String::new();
        for diagnostic in self.diagnostics.iter().take(MOST_SHOWN) {
            let entry = Entry { diagnostic, excerpt: self.excerpt(diagnostic.span) };
            if handler.render_report(&mut text, &entry).is_err() {
                return self.to_string();
            }
        }
        text.push_str(&self.not_shown());
        text
    }

    /// The line of a span, or of a long line what is around the span. No lines around it: a
    /// neighbour may be a password.
    fn excerpt(&self, span: Span) -> Excerpt {
        let (line, column) = self.position(span);
        let line_start = self.lines.get(line - 1).copied().unwrap_or(0);
        let line_end = self.lines.get(line).map_or(self.source.len(), |next| next - 1);
        let start =
            self.source.ceil_char_boundary(span.start.saturating_sub(AROUND).max(line_start));
        let end = self.source.floor_char_boundary(span.end.saturating_add(AROUND).min(line_end));
        let text = self.source.get(start..end.min(start + 4 * AROUND)).unwrap_or_default();
        let label = span.start..span.end.min(start + text.len()).max(span.start);
        let (file, text) = (one_line(&self.file).into_owned(), visible(text));
        Excerpt { file, text, start, line: line - 1, column: column - 1, label }
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

/// A piece of the source as a terminal may show it: as many bytes, so that labels stay where they are.
fn visible(text: &str) -> String {
    let shown = text.trim_end_matches('\r').chars().map(|it| match it {
        '\t' => Cow::Borrowed("\t"),
        it if is_hidden(it) => "?".repeat(it.len_utf8()).into(),
        it => it.to_string().into(),
    });
    shown.collect()
}

/// One diagnostic in the form that miette draws.
#[derive(Debug)]
struct Entry<'a> {
    diagnostic: &'a Diagnostic,
    excerpt: Excerpt,
}

/// A piece of the source: all that miette gets to see of it.
#[derive(Debug)]
struct Excerpt {
    file: String,
    text: String,
    start: usize,
    /// Line and column of what is labelled, from 0.
    line: usize,
    column: usize,
    label: Range<usize>,
}

impl SourceCode for Excerpt {
    fn read_span<'b>(
        &'b self,
        _: &SourceSpan,
        _: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'b> + 'b>, MietteError> {
        let text = self.text.as_bytes();
        let span = SourceSpan::from((self.start, text.len()));
        let (file, line, column) = (self.file.clone(), self.line, self.column);
        Ok(Box::new(MietteSpanContents::new_named(file, text, span, line, column, 1)))
    }
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Entry<'_> {}

impl miette::Diagnostic for Entry<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning | Severity::Danger => miette::Severity::Warning,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.diagnostic.help.as_ref().map(|it| Box::new(it) as Box<dyn fmt::Display + 'b>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.excerpt)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new(None, self.excerpt.label.start, self.excerpt.label.len());
        Some(Box::new(std::iter::once(label)))
    }
}
