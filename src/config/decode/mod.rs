//! Decodes nodes into types. A value has its path and reports its errors.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

pub(crate) mod ignored;
pub(crate) mod pattern;
pub(crate) mod template;

use crate::config::check::support::Ignored;
use crate::config::report::diagnostic::{Diagnostic, Severity, Span};
use crate::config::syntax::yaml::{Key, Node, NodeKind};

/// The context of decoding: the defined names, and the diagnostics.
pub(crate) struct Cx {
    names: SectionNames,
    pub(crate) diagnostics: RefCell<Vec<Diagnostic>>,
    errors: Cell<usize>,
    /// The paths of the entries with an error: a key that such an entry lacks may be the wrong one.
    mistaken: RefCell<HashSet<String>>,
}

/// A section whose entries are referred to by their names.
#[derive(Clone, Copy)]
pub(crate) enum Section {
    Vaults,
    Guards,
    Catalogs,
}

/// The names that a document defines. They are known before any entry is decoded.
struct SectionNames {
    vaults: Vec<String>,
    guards: Vec<String>,
    catalogs: Vec<String>,
}

impl SectionNames {
    fn of(document: &Node) -> SectionNames {
        let names = |section: &str| {
            let section = document.entries().iter().find(|(key, _)| key.text == section);
            let entries = section.map(|(_, node)| node.entries()).unwrap_or_default();
            entries.iter().map(|(key, _)| key.text.clone()).collect()
        };
        SectionNames {
            vaults: names("vaults"),
            guards: names("guards"),
            catalogs: names("catalogs"),
        }
    }
}

impl Cx {
    pub(crate) fn new(document: &Node) -> Cx {
        Cx {
            names: SectionNames::of(document),
            diagnostics: RefCell::default(),
            errors: Cell::default(),
            mistaken: RefCell::default(),
        }
    }

    pub(crate) fn error(&self, span: Span, message: String, help: Option<String>) {
        self.errors.set(self.errors.get() + 1);
        self.report(Severity::Error, span, message, help);
    }

    /// Reports a value that is accepted but dangerous.
    pub(crate) fn danger(&self, span: Span, message: String, help: impl Into<String>) {
        self.report(Severity::Danger, span, message, Some(help.into()));
    }

    /// Warns of a value without effect.
    pub(crate) fn ignored(&self, feature: Ignored, span: Span, path: &str) {
        let message = format!("{path}: ignored: {}", feature.reason());
        self.report(Severity::Warning, span, message, None);
    }

    fn report(&self, severity: Severity, span: Span, message: String, help: Option<String>) {
        let diagnostic = Diagnostic { severity, span, message, help };
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    /// Decodes an entry of a section, and notes whether it has an error.
    pub(crate) fn entry<T>(&self, value: &Value<'_>, decode: impl FnOnce() -> T) -> T {
        let before = self.errors.get();
        let decoded = decode();
        if self.errors.get() > before || !value.is_resolved() {
            self.mistaken.borrow_mut().insert(value.path.clone());
        }
        decoded
    }

    /// Whether an entry of a section has no error. Only then is a missing key really missing.
    pub(crate) fn is_sound(&self, section: &str, name: &str) -> bool {
        !self.mistaken.borrow().contains(&format!("{section}.{name}"))
    }
}

/// A value of the file.
#[derive(Clone)]
pub(crate) struct Value<'a> {
    pub(crate) cx: &'a Cx,
    node: &'a Node,
    pub(crate) path: String,
    /// The place of its key. In a list, the place of the value itself.
    pub(crate) key: Span,
}

impl<'a> Value<'a> {
    pub(crate) fn root(cx: &'a Cx, node: &'a Node) -> Value<'a> {
        let start = node.span.start;
        Value { cx, node, path: String::new(), key: Span::new(start, start) }
    }

    pub(crate) fn span(&self) -> Span {
        self.node.span
    }

    pub(crate) fn error(&self, message: impl AsRef<str>) {
        self.error_help(message, None);
    }

    pub(crate) fn error_help(&self, message: impl AsRef<str>, help: Option<String>) {
        self.cx.error(self.node.span, join_message(&self.path, message.as_ref()), help);
    }

    pub(crate) fn warning(&self, message: impl AsRef<str>) {
        let message = join_message(&self.path, message.as_ref());
        self.cx.report(Severity::Warning, self.node.span, message, None);
    }

    /// Reports that another value was expected.
    pub(crate) fn expected(&self, what: &str) {
        if let Some(message) = self.unexpected(what) {
            self.error(message);
        }
    }

    /// The message that another value was expected. `None` for a variable that is not set, which is
    /// reported already.
    pub(crate) fn unexpected(&self, what: &str) -> Option<String> {
        let found = match &self.node.kind {
            NodeKind::Unresolved => return None,
            NodeKind::Null => "nothing".to_owned(),
            NodeKind::Scalar { text, .. } if self.may_be_secret(text) => "a text".to_owned(),
            NodeKind::Scalar { text, quoted: false } => format!("`{}`", text.escape_debug()),
            NodeKind::Scalar { text, quoted: true } => {
                format!("the text `{}`", text.escape_debug())
            }
            NodeKind::Sequence(_) => "a list".to_owned(),
            NodeKind::Mapping(_) => "a mapping".to_owned(),
        };
        Some(format!("expected {what}, found {found}"))
    }

    /// Whether a text may hold a password: it stands where credentials are expected, or it is a URL with a user.
    fn may_be_secret(&self, text: &str) -> bool {
        let is_url = text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
        is_url || ["credentials", "credentials.headers"].iter().any(|key| self.path.ends_with(key))
    }

    /// Warns that the value has no effect.
    pub(crate) fn ignored(&self, feature: Ignored) {
        self.cx.ignored(feature, self.key, &self.path);
    }

    /// Reports a name that the section does not define. The entry that refers to it counts as decoded.
    pub(crate) fn reference(&self, section: Section, name: &str) {
        let names = &self.cx.names;
        let (what, names) = match section {
            Section::Vaults => ("vault", &names.vaults),
            Section::Guards => ("guard", &names.guards),
            Section::Catalogs => ("catalog", &names.catalogs),
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if !names.contains(&name) {
            let message = format!("{}: there is no {what} `{}`", self.path, name.escape_debug());
            let help = Some(defined(name, &names));
            self.cx.report(Severity::Error, self.node.span, message, help);
        }
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.kind, NodeKind::Sequence(_))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.node.kind, NodeKind::Null)
    }

    /// Whether all variables in it are set.
    pub(crate) fn is_resolved(&self) -> bool {
        fn of(node: &Node) -> bool {
            match &node.kind {
                NodeKind::Unresolved => false,
                NodeKind::Null | NodeKind::Scalar { .. } => true,
                NodeKind::Sequence(items) => items.iter().all(|node| of(node)),
                NodeKind::Mapping(entries) => entries.iter().all(|(_, node)| of(node)),
            }
        }
        of(self.node)
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.node.kind, NodeKind::Mapping(_))
    }

    /// The text of a scalar. Other values are not reported.
    pub(crate) fn scalar(&self) -> Option<&'a str> {
        match &self.node.kind {
            NodeKind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// A text. A number or truth value counts as it is written.
    pub(crate) fn text(&self) -> Option<String> {
        self.text_as("a text")
    }

    pub(crate) fn text_as(&self, what: &str) -> Option<String> {
        let text = self.scalar();
        if text.is_none() {
            self.expected(what);
        }
        text.map(str::to_owned)
    }

    /// A text that is not empty.
    pub(crate) fn filled(&self, what: &str) -> Option<String> {
        let text = self.text_as(what)?;
        if text.is_empty() {
            self.error(format!("expected {what}, found an empty text"));
            return None;
        }
        Some(text)
    }

    /// A text that a function reads.
    pub(crate) fn parsed<T>(&self, what: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.scalar().and_then(parse);
        if value.is_none() {
            self.expected(what);
        }
        value
    }

    pub(crate) fn number<N>(&self, what: &str, range: RangeInclusive<N>) -> Option<N>
    where
        N: FromStr + PartialOrd,
    {
        let number = match &self.node.kind {
            NodeKind::Scalar { text, quoted: false } => decimal(text),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.expected(what);
        }
        number
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        let value = match &self.node.kind {
            NodeKind::Scalar { text, quoted: false } => match text.as_str() {
                "true" | "True" | "TRUE" => Some(true),
                "false" | "False" | "FALSE" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if value.is_none() {
            self.expected("true or false");
        }
        value
    }

    /// One of a few words.
    pub(crate) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let found = self.scalar().and_then(|text| words.iter().find(|(word, _)| *word == text));
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.expected(&any_of(&names));
        }
        found.map(|(_, value)| *value)
    }

    pub(crate) fn list(&self) -> Option<Vec<Value<'a>>> {
        self.list_as("a list")
    }

    pub(crate) fn list_as(&self, what: &str) -> Option<Vec<Value<'a>>> {
        let NodeKind::Sequence(items) = &self.node.kind else {
            self.expected(what);
            return None;
        };
        Some(items.iter().enumerate().map(|(index, node)| self.item(index, node)).collect())
    }

    fn item(&self, index: usize, node: &'a Node) -> Value<'a> {
        Value { cx: self.cx, node, path: format!("{}[{index}]", self.path), key: node.span }
    }

    /// Decodes each item of a list. Items that fail are left out.
    pub(crate) fn each<T>(&self, decode: impl FnMut(Value<'a>) -> Option<T>) -> Vec<T> {
        self.list().unwrap_or_default().into_iter().filter_map(decode).collect()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.each(|item| item.text())
    }

    pub(crate) fn map(&self) -> Option<Map<'a>> {
        let NodeKind::Mapping(entries) = &self.node.kind else {
            self.expected("a mapping");
            return None;
        };
        Some(Map { value: self.clone(), entries, known: RefCell::default() })
    }
}

/// A mapping. The keys that were read are its known keys.
pub(crate) struct Map<'a> {
    pub(crate) value: Value<'a>,
    entries: &'a [(Key, Arc<Node>)],
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Map<'a> {
    pub(crate) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.known.borrow_mut().push(key);
        let (key, node) = self.entries.iter().find(|(known, _)| known.text == key)?;
        Some(self.entry(key, node))
    }

    /// The value of a required key.
    pub(crate) fn require(&self, key: &'static str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.missing(&format!("`{key}` is missing"));
        }
        value
    }

    pub(crate) fn missing(&self, message: &str) {
        self.value.cx.error(self.value.key, join_message(&self.value.path, message), None);
    }

    pub(crate) fn text(&self, key: &'static str) -> Option<String> {
        self.get(key)?.text()
    }

    pub(crate) fn texts(&self, key: &'static str) -> Vec<String> {
        self.get(key).map(|value| value.texts()).unwrap_or_default()
    }

    /// The mapping under a key, if the key exists.
    pub(crate) fn map(&self, key: &'static str) -> Option<Map<'a>> {
        self.get(key)?.map()
    }

    /// The mapping under a key. If the key is absent, the mapping is empty, so that its required keys are
    /// reported.
    pub(crate) fn map_or_empty(&self, key: &'static str) -> Option<Map<'a>> {
        if let Some(value) = self.get(key) {
            return value.map();
        }
        let path = join(&self.value.path, key);
        Some(Map {
            value: Value { path, ..self.value.clone() },
            entries: &[],
            known: RefCell::default(),
        })
    }

    /// All entries, for mappings whose keys are names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        self.entries.iter().map(|(key, node)| (key.text.as_str(), self.entry(key, node)))
    }

    fn entry(&self, key: &'a Key, node: &'a Node) -> Value<'a> {
        let path = join(&self.value.path, &key.text);
        Value { cx: self.value.cx, node, path, key: key.span }
    }

    /// Warns of each key that was not read.
    pub(crate) fn ignore_unknown(&self) {
        let known = self.known.borrow();
        for (key, _) in self.entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let message = format!("unknown key `{}`: it is ignored", key.text.escape_debug());
            let message = join_message(&self.value.path, &message);
            self.value.cx.report(Severity::Warning, key.span, message, None);
        }
    }

    /// Reports each key that was not read.
    pub(crate) fn deny_unknown(&self) {
        let mut known = self.known.borrow().clone();
        known.sort_unstable();
        known.dedup();
        for (key, _) in self.entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let message = format!("unknown key `{}`", key.text.escape_debug());
            let mut help = match suggestion(&key.text, &known) {
                Some(word) => format!("did you mean `{word}`? "),
                None => String::new(),
            };
            help.push_str(&match known.as_slice() {
                [] => "no keys are known here".to_owned(),
                known => format!("known here: {}", known.join(", ")),
            });
            self.value.cx.error(key.span, join_message(&self.value.path, &message), Some(help));
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn join_message(path: &str, message: &str) -> String {
    if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") }
}

/// A decimal number: digits only, and no leading zero.
pub(crate) fn decimal<N: FromStr>(text: &str) -> Option<N> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if digits && !leading_zero { text.parse().ok() } else { None }
}

/// The word that may have been meant.
pub(crate) fn suggestion<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    let close = text.chars().count().div_ceil(3).min(3);
    words
        .iter()
        .filter(|word| **word != text && word.len() > 2)
        .map(|word| (strsim::damerau_levenshtein(text, word), *word))
        .filter(|(distance, _)| *distance <= close)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// The help for an undefined name: the defined names, and the one that may have been meant.
pub(crate) fn defined(name: &str, names: &[&str]) -> String {
    let meant =
        suggestion(name, names).map(|word| format!("did you mean `{word}`? ")).unwrap_or_default();
    match names {
        [] => "none is defined".to_owned(),
        names => format!("{meant}defined: {}", names.join(", ")),
    }
}

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn any_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
