//! Parses YAML, of which JSON is a part, into a tree of nodes with their places.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::config::report::diagnostic::{Diagnostic, Severity, Span};
use crate::config::syntax::env;
use crate::config::syntax::mask::{mask, unmask};

/// The maximum size of a file.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// The maximum depth of lists and mappings. The grammar needs about twelve.
const MAX_DEPTH: usize = 64;
/// The maximum number of nodes of a file. An alias counts as all nodes that it stands for.
const MAX_NODES: usize = 50_000;

/// A value and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: NodeKind,
    /// The number of nodes of the tree below this node, with itself.
    weight: usize,
}

impl Node {
    /// The entries of a mapping. Other nodes have none.
    pub(crate) fn entries(&self) -> &[(Key, Arc<Node>)] {
        match &self.kind {
            NodeKind::Mapping(entries) => entries,
            NodeKind::Null
            | NodeKind::Scalar { .. }
            | NodeKind::Sequence(_)
            | NodeKind::Unresolved => &[],
        }
    }
}

#[derive(Debug)]
pub(crate) enum NodeKind {
    Null,
    /// `text` may also be a number or a truth value, unless it is `quoted`. The value of an environment
    /// variable does not count as quoted, with or without quotes around `${{env.PORT}}`.
    Scalar {
        text: String,
        quoted: bool,
    },
    Sequence(Vec<Arc<Node>>),
    Mapping(Vec<(Key, Arc<Node>)>),
    /// A scalar whose variables could not be replaced, which is reported already.
    Unresolved,
}

/// The key of an entry.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// Reads the documents of a file except for empty ones. Errors that leave a tree are added to `diagnostics`.
///
/// # Errors
/// An error because of which the file cannot be parsed.
pub(crate) fn read(
    file: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Vec<Arc<Node>>, Diagnostic> {
    let like_json = text.trim_start().starts_with('{');
    // JSON may be indented with tabs, YAML may not. The places stay the same.
    let spaces;
    let text = if like_json && text.contains('\t') {
        spaces = text.replace('\t', " ");
        &spaces
    } else {
        text
    };
    let places = Places::new(text);
    let masked = mask(text, like_json);
    let mut reader = Reader {
        env,
        masked: masked.is_some(),
        diagnostics,
        stack: Vec::new(),
        anchors: HashMap::new(),
        documents: Vec::new(),
        nodes: 0,
    };
    let language = if file.ends_with(".json") { "JSON" } else { "YAML" };
    let mut parser = Parser::new_from_str(masked.as_deref().unwrap_or(text));
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| {
            let at = places.byte(error.marker());
            fatal(Span::new(at, at), format!("not valid {language}: {}", error.info()))
        })?;
        let span = Span::new(places.byte(&span.start), places.byte(&span.end));
        reader.event(event, span)?;
    }
    let mut documents = reader.documents;
    documents.retain(|document| !matches!(document.kind, NodeKind::Null));
    if documents.is_empty() {
        let message = "the file is empty: expected a mapping with `name` and `bindings`";
        return Err(fatal(Span::default(), message.to_owned()));
    }
    Ok(documents)
}

pub(crate) fn fatal(span: Span, message: String) -> Diagnostic {
    Diagnostic { severity: Severity::Error, span, message, help: None }
}

/// Converts the places of the parser, which counts characters, to bytes.
struct Places {
    bytes: Option<Vec<usize>>,
    len: usize,
}

impl Places {
    fn new(text: &str) -> Places {
        let bytes = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Places { bytes, len: text.len() }
    }

    fn byte(&self, marker: &Marker) -> usize {
        match &self.bytes {
            None => marker.index().min(self.len),
            Some(bytes) => bytes.get(marker.index()).copied().unwrap_or(self.len),
        }
    }
}

struct Reader<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Whether the text was changed by [`mask`].
    masked: bool,
    diagnostics: &'a mut Vec<Diagnostic>,
    stack: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
    documents: Vec<Arc<Node>>,
    nodes: usize,
}

/// A list or mapping whose end is not read yet.
struct Open {
    span: Span,
    anchor: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Arc<Node>>),
    Mapping { entries: Vec<(Key, Arc<Node>)>, key: Option<Key> },
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                // The parser keeps the anchors of earlier documents, which YAML 1.2.2 (9.2) does not allow.
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                check_tag(tag.as_deref(), span)?;
                let text = if self.masked { unmask(&text).into() } else { text };
                self.scalar(&text, style != ScalarStyle::Plain, anchor, span)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(span, anchor, tag.as_deref(), Content::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Mapping { entries: Vec::new(), key: None };
                self.open(span, anchor, tag.as_deref(), content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(fatal(
                        span,
                        "the alias refers to no anchor before it in this document".to_owned(),
                    ));
                };
                if self.expects_key() {
                    let NodeKind::Scalar { text, .. } = &node.kind else {
                        return Err(fatal(span, "a key must be a text".to_owned()));
                    };
                    return self.key(Key { text: text.clone(), span });
                }
                self.count(node.weight, span)?;
                self.add(node);
                Ok(())
            }
        }
    }

    fn expects_key(&self) -> bool {
        let content = self.stack.last().map(|open| &open.content);
        matches!(content, Some(Content::Mapping { key: None, .. }))
    }

    fn scalar(
        &mut self,
        text: &str,
        quoted: bool,
        anchor: usize,
        span: Span,
    ) -> Result<(), Diagnostic> {
        if self.expects_key() {
            if anchor != 0 {
                let kind = NodeKind::Scalar { text: text.to_owned(), quoted };
                self.anchors.insert(anchor, Arc::new(Node { span, kind, weight: 1 }));
            }
            return self.key(Key { text: text.to_owned(), span });
        }
        let kind = if !quoted && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            NodeKind::Null
        } else {
            match env::replace(text, self.env) {
                Ok(env::Replaced { text, changed }) => {
                    NodeKind::Scalar { text, quoted: quoted && !changed }
                }
                Err(mistakes) => {
                    self.diagnostics
                        .extend(mistakes.into_iter().map(|mistake| fatal(span, mistake)));
                    NodeKind::Unresolved
                }
            }
        };
        self.count(1, span)?;
        self.finish(anchor, Node { span, kind, weight: 1 });
        Ok(())
    }

    fn key(&mut self, new: Key) -> Result<(), Diagnostic> {
        if let Some(Open { content: Content::Mapping { entries, key }, .. }) = self.stack.last_mut()
        {
            // The search for duplicates is linear: a mapping of many keys would take seconds.
            if entries.len() >= 2_000 {
                return Err(fatal(new.span, "more than 2000 keys in one mapping".to_owned()));
            }
            if new.text != "<<" && entries.iter().any(|(key, _)| key.text == new.text) {
                let message = format!("duplicate key `{}`", new.text);
                self.diagnostics.push(fatal(new.span, message));
            }
            *key = Some(new);
        }
        Ok(())
    }

    fn open(
        &mut self,
        span: Span,
        anchor: usize,
        tag: Option<&Tag>,
        content: Content,
    ) -> Result<(), Diagnostic> {
        check_tag(tag, span)?;
        if self.expects_key() {
            return Err(fatal(span, "a key must be a text".to_owned()));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(fatal(span, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.count(1, span)?;
        self.stack.push(Open { span, anchor, content });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Diagnostic> {
        let Some(Open { span, anchor, content }) = self.stack.pop() else { return Ok(()) };
        let span = Span::new(span.start, end.end);
        let kind = match content {
            Content::Sequence(items) => NodeKind::Sequence(items),
            Content::Mapping { entries, .. } => NodeKind::Mapping(self.merge(entries)?),
        };
        let below: usize = match &kind {
            NodeKind::Sequence(items) => items.iter().map(|item| item.weight).sum(),
            NodeKind::Mapping(entries) => entries.iter().map(|(_, node)| node.weight).sum(),
            NodeKind::Null | NodeKind::Scalar { .. } | NodeKind::Unresolved => 0,
        };
        self.finish(anchor, Node { span, kind, weight: 1 + below });
        Ok(())
    }

    /// Adds the entries of `<<` mappings whose keys the mapping does not have itself.
    fn merge(
        &mut self,
        entries: Vec<(Key, Arc<Node>)>,
    ) -> Result<Vec<(Key, Arc<Node>)>, Diagnostic> {
        let (merges, mut own): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(key, _)| key.text == "<<");
        for (key, value) in merges {
            let from: Vec<&Arc<Node>> = match &value.kind {
                NodeKind::Sequence(items) => items.iter().collect(),
                _ => vec![&value],
            };
            for node in from {
                if let NodeKind::Unresolved = node.kind {
                    continue;
                }
                let NodeKind::Mapping(entries) = &node.kind else {
                    return Err(fatal(
                        key.span,
                        "`<<` merges a mapping or a list of them".to_owned(),
                    ));
                };
                for (key, value) in entries {
                    if own.iter().all(|(known, _)| known.text != key.text) {
                        self.count(value.weight, key.span)?;
                        own.push((key.clone(), Arc::clone(value)));
                    }
                }
            }
        }
        Ok(own)
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Diagnostic> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            let message =
                format!("more than {MAX_NODES} values, counting aliases as what they stand for");
            return Err(fatal(span, message));
        }
        Ok(())
    }

    fn finish(&mut self, anchor: usize, node: Node) {
        let node = Arc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        self.add(node);
    }

    fn add(&mut self, node: Arc<Node>) {
        match self.stack.last_mut().map(|open| &mut open.content) {
            None => self.documents.push(node),
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping { entries, key }) => {
                if let Some(key) = key.take() {
                    entries.push((key, node));
                }
            }
        }
    }
}

fn check_tag(tag: Option<&Tag>, span: Span) -> Result<(), Diagnostic> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            Err(fatal(span, format!("the tag `{}{}` has no meaning here", tag.handle, tag.suffix)))
        }
        _ => Ok(()),
    }
}
