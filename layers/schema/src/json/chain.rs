//! How many subschemas of JSON Schemas can apply to one value through each other, and what they take.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::limits::MAX_COMPILED_BYTES;
use crate::parse::{OBJECT_BYTES, VALUE_BYTES};

/// Keywords whose value is a schema, or a list or an object of schemas, for the same value.
const IN_PLACE: [&str; 9] =
    ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"];

const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// What a reference to nowhere in the documents counts: the target is a meta-schema.
const BUILT_IN: usize = 64;

/// For these the validator compiles the subschemas for the same value once more, each as often as ways lead to it.
const UNEVALUATED: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];

/// How many ways may lead from the objects of a schema, and what it refers to, to others.
const MAX_EDGES: usize = 1_000_000;

/// The part of a path that is an index.
const INDEX_BYTES: usize = 4;

/// How many subschemas may have an `$id`: compiling takes time that grows with their number times that of the
/// references. What one takes beside others is measured.
const MAX_IDS: usize = 1000;
const ID_BYTES: usize = 12 << 10;

/// How many references a schema may have with what it refers to: compiling takes time that grows with their square.
const MAX_LINKS: usize = 50_000;

/// A document, and the name that others refer to it by.
pub(super) struct Document<'v> {
    pub(super) name: &'v str,
    pub(super) root: &'v Value,
}

/// How far the subschemas reach that apply to one value.
pub(super) struct Extent {
    /// See [`extent`].
    pub(super) longest: usize,
    /// The greatest number of subschemas that the validator may enter one after the other without a look at the value.
    pub(super) idle: usize,
    /// About how much memory the validator takes.
    pub(super) bytes: usize,
}

/// The length of the longest chain of subschemas that apply to the same value: through `allOf` and its like, and
/// through references. It is never less than the true length, and more where subschemas go around in circles.
///
/// `None` if there are too many subschemas and references.
pub(super) fn extent(documents: &[Document<'_>]) -> Option<Extent> {
    let graph = Graph::new(documents)?;
    // Longest paths in topological order.
    let mut incoming = vec![0usize; graph.nodes.len()];
    for target in graph.edges.iter().flatten() {
        if let Some(count) = incoming.get_mut(*target) {
            *count += 1;
        }
    }
    let mut ready: Vec<usize> =
        (0..incoming.len()).filter(|node| incoming.get(*node) == Some(&0)).collect();
    let mut length = vec![1usize; graph.nodes.len()];
    let mut longest = 1;
    let mut left = graph.nodes.len();
    while let Some(node) = ready.pop() {
        left -= 1;
        let here = length.get(node).copied().unwrap_or(1);
        longest = longest.max(here);
        for target in graph.edges.get(node).into_iter().flatten() {
            if let Some(there) = length.get_mut(*target) {
                *there = (*there).max(here + 1);
            }
            if let Some(count) = incoming.get_mut(*target) {
                *count -= 1;
                if *count == 0 {
                    ready.push(*target);
                }
            }
        }
    }
    // What is left goes around in circles, where the validator enters each subschema once.
    let longest = longest + left + if graph.leaves { BUILT_IN } else { 0 };
    let bytes = graph.all_bytes.saturating_add(unevaluated(&graph));
    (bytes <= MAX_COMPILED_BYTES).then(|| Extent { longest, idle: idle(&graph), bytes })
}

/// What the subschemas take that are compiled once more.
fn unevaluated(graph: &Graph<'_>) -> usize {
    let is_one = |schema: &Value| UNEVALUATED.iter().any(|keyword| schema.get(keyword).is_some());
    let with_own = |node: usize| graph.bytes.get(node).copied().unwrap_or(0);
    let (below, open) = sums_below(graph, |_| true, with_own);
    let nodes = graph.nodes.iter().zip(below.iter().zip(&open)).enumerate();
    let again = nodes.filter(|(_, ((_, schema), _))| is_one(schema)).map(|(node, (_, sums))| {
        let (below, open) = sums;
        // Circles have no end.
        if *open > 0 { usize::MAX } else { below.saturating_add(with_own(node)) }
    });
    again.fold(0, usize::saturating_add)
}

/// For each node, the sum over all that ways lead to, each as often as ways lead to it. Only edges to some nodes
/// count. Also returns how many edges of each node lead to circles: these are in no sum.
fn sums_below(
    graph: &Graph<'_>,
    counts: impl Fn(usize) -> bool,
    own: impl Fn(usize) -> usize,
) -> (Vec<usize>, Vec<usize>) {
    let mut sources: Vec<Vec<usize>> = vec![Vec::new(); graph.nodes.len()];
    let mut open = vec![0usize; graph.nodes.len()];
    for (node, targets) in graph.edges.iter().enumerate() {
        for target in targets.iter().filter(|target| counts(**target)) {
            if let Some(count) = open.get_mut(node) {
                *count += 1;
            }
            if let Some(sources) = sources.get_mut(*target) {
                sources.push(node);
            }
        }
    }
    // From the ends.
    let mut ready: Vec<usize> =
        (0..open.len()).filter(|node| open.get(*node) == Some(&0)).collect();
    let mut below = vec![0usize; open.len()];
    while let Some(node) = ready.pop() {
        let here = below.get(node).copied().unwrap_or(0).saturating_add(own(node));
        for source in sources.get(node).into_iter().flatten() {
            if let Some(there) = below.get_mut(*source) {
                *there = there.saturating_add(here);
            }
            if let Some(count) = open.get_mut(*source) {
                *count -= 1;
                if *count == 0 {
                    ready.push(*source);
                }
            }
        }
    }
    (below, open)
}

/// The greatest number of subschemas below one that do not look at the value, up to those that do, each as often as ways
/// lead to it.
fn idle(graph: &Graph<'_>) -> usize {
    let looks: Vec<bool> = graph.nodes.iter().map(|(_, schema)| looks(schema)).collect();
    let is_idle = |node: usize| looks.get(node) == Some(&false);
    let (below, open) = sums_below(graph, is_idle, |_| 1);
    // What is left leads to circles. The validator asks for the value each time that it is back at the same subschema,
    // which bounds those with one way through them.
    let mut circles = 0usize;
    for ((node, open), below) in open.iter().enumerate().zip(&below) {
        if *open > 0 && is_idle(node) {
            circles = if *open > 1 { usize::MAX } else { circles };
            circles = circles.saturating_add(below.saturating_add(1));
        }
    }
    let all = open.iter().zip(&below);
    let all = all.map(|(open, below)| below.saturating_add(circles.saturating_mul(*open)));
    all.max().unwrap_or(0)
}

/// Whether the validator looks at the value before it enters other subschemas for the same value: it begins with the
/// keywords that need no other subschema.
fn looks(schema: &Value) -> bool {
    let Value::Object(members) = schema else { return false };
    // Until draft 7, nothing that stands beside a reference applies.
    if REFERENCES.iter().any(|keyword| members.contains_key(*keyword)) {
        return false;
    }
    members.iter().any(|(keyword, value)| match (keyword.as_str(), value) {
        ("type", Value::String(_)) | ("minimum" | "maximum", Value::Number(_)) => true,
        ("type" | "enum" | "required", Value::Array(items)) => !items.is_empty(),
        ("properties" | "patternProperties", Value::Object(schemas)) => !schemas.is_empty(),
        _ => false,
    })
}

struct Graph<'v> {
    nodes: Vec<(usize, &'v Value)>,
    /// What each takes with all that stands within it, and what all documents take.
    bytes: Vec<usize>,
    all_bytes: usize,
    edges: Vec<Vec<usize>>,
    /// Whether a reference leads out of the documents.
    leaves: bool,
}

impl<'v> Graph<'v> {
    fn new(documents: &[Document<'v>]) -> Option<Self> {
        // Each object of a document might be a schema.
        let mut nodes = Vec::new();
        let mut bytes: Vec<usize> = Vec::new();
        let mut parents = Vec::new();
        let mut all_bytes = 0;
        let mut ids = 0;
        let mut places: HashMap<*const Value, usize> = HashMap::new();
        let mut anchors: HashMap<&str, Vec<usize>> = HashMap::new();
        for (document, Document { root, .. }) in documents.iter().enumerate() {
            // With the length of the path to each value, which the validator keeps for it, and the object around it.
            let mut open = vec![(*root, 0, usize::MAX)];
            while let Some((value, path, parent)) = open.pop() {
                let mut own = VALUE_BYTES + 2 * path;
                let node = nodes.len();
                match value {
                    Value::Object(members) => {
                        own += OBJECT_BYTES;
                        if ["$id", "id"]
                            .iter()
                            .any(|id| members.get(*id).is_some_and(Value::is_string))
                        {
                            own += ID_BYTES;
                            ids += 1;
                        }
                        bytes.push(own);
                        parents.push(parent);
                        places.insert(value, node);
                        for keyword in ["$anchor", "$dynamicAnchor", "$id", "id"] {
                            let anchor = members.get(keyword).and_then(Value::as_str);
                            let anchor = anchor.unwrap_or_default().trim_start_matches('#');
                            if !anchor.is_empty() {
                                anchors.entry(last(anchor)).or_default().push(node);
                            }
                        }
                        nodes.push((document, value));
                        let members = members.iter();
                        open.extend(
                            members.map(|(name, value)| (value, path + 1 + name.len(), node)),
                        );
                    }
                    Value::Array(items) => {
                        add(&mut bytes, parent, own);
                        open.extend(items.iter().map(|item| (item, path + INDEX_BYTES, parent)));
                    }
                    Value::String(text) => {
                        own += text.len();
                        add(&mut bytes, parent, own);
                    }
                    _ => add(&mut bytes, parent, own),
                }
                all_bytes += own;
                if all_bytes > MAX_COMPILED_BYTES || ids > MAX_IDS {
                    return None;
                }
            }
        }
        // What stands within an object comes after it.
        for (node, parent) in parents.iter().enumerate().rev() {
            let within = bytes.get(node).copied().unwrap_or(0);
            add(&mut bytes, *parent, within);
        }
        let names: Vec<[Option<&str>; 2]> = documents.iter().map(names).collect();
        let mut edges = 0;
        let mut links = 0;
        let mut graph = Self { nodes, bytes, all_bytes, edges: Vec::new(), leaves: false };
        for at in 0..graph.nodes.len() {
            let Some((document, value)) = graph.nodes.get(at).copied() else { break };
            let mut targets = Vec::new();
            for keyword in IN_PLACE {
                match value.get(keyword) {
                    Some(Value::Array(schemas)) => {
                        targets.extend(
                            schemas
                                .iter()
                                .filter_map(|schema| places.get(&std::ptr::from_ref(schema))),
                        );
                    }
                    Some(schema @ Value::Object(members)) => {
                        targets.extend(places.get(&std::ptr::from_ref(schema)));
                        targets.extend(
                            members
                                .values()
                                .filter_map(|schema| places.get(&std::ptr::from_ref(schema))),
                        );
                    }
                    _ => {}
                }
            }
            for keyword in REFERENCES {
                if let Some(reference) = value.get(keyword).and_then(Value::as_str) {
                    links += 1;
                    let found = resolve(documents, &names, document, reference, &anchors, &places);
                    graph.leaves |= found.is_none();
                    targets.extend(found.into_iter().flatten());
                }
            }
            edges += targets.len();
            if edges > MAX_EDGES || links > MAX_LINKS {
                return None;
            }
            graph.edges.push(targets);
        }
        Some(graph)
    }
}

/// Adds to what the object around a value takes. The root of a document has none.
fn add(bytes: &mut [usize], parent: usize, more: usize) {
    if let Some(bytes) = bytes.get_mut(parent) {
        *bytes += more;
    }
}

/// The places that a reference may lead to. A boolean is a schema, too, and no place. None: it leads nowhere.
fn resolve(
    documents: &[Document<'_>],
    names: &[[Option<&str>; 2]],
    document: usize,
    reference: &str,
    anchors: &HashMap<&str, Vec<usize>>,
    places: &HashMap<*const Value, usize>,
) -> Option<Vec<usize>> {
    let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
    let end = (!base.is_empty()).then(|| last(base));
    let is_named =
        |at: usize| end.is_some() && names.get(at).is_some_and(|names| names.contains(&end));
    let mut found = Vec::new();
    let mut leads_somewhere = false;
    for (at, other) in documents.iter().enumerate() {
        if base.is_empty() && at != document || !base.is_empty() && !is_named(at) {
            continue;
        }
        let pointer = percent_decode_str(fragment).decode_utf8_lossy();
        if let Some(target) = other.root.pointer(&pointer) {
            leads_somewhere = true;
            found.extend(places.get(&std::ptr::from_ref(target)));
        }
    }
    let anchor = if fragment.is_empty() { base } else { fragment };
    if !anchor.is_empty()
        && !anchor.starts_with('/')
        && let Some(at) = anchors.get(last(anchor))
    {
        leads_somewhere = true;
        found.extend(at);
    }
    // A place may have been found by several names.
    found.sort_unstable();
    found.dedup();
    leads_somewhere.then_some(found)
}

/// The ends of what a document is called: by others, and by itself.
fn names<'v>(document: &Document<'v>) -> [Option<&'v str>; 2] {
    let id = document.root.get("$id").or_else(|| document.root.get("id")).and_then(Value::as_str);
    let id = id.unwrap_or_default().trim_end_matches('#');
    [document.name, id].map(|name| (!name.is_empty()).then(|| last(name)))
}

/// The part of a URI that is the same after it has been resolved against some base.
fn last(uri: &str) -> &str {
    uri.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(texts: &[(&str, &str)]) -> usize {
        of(texts).longest
    }

    fn of(texts: &[(&str, &str)]) -> Extent {
        let values: Vec<Value> =
            texts.iter().map(|(_, text)| serde_json::from_str(text).expect("JSON")).collect();
        let documents: Vec<Document<'_>> =
            texts.iter().zip(&values).map(|((name, _), root)| Document { name, root }).collect();
        extent(&documents).expect("few subschemas")
    }

    #[test]
    fn chains_lead_through_keywords_and_references() {
        let rows = [
            ("true", 1),
            (r#"{"properties":{"a":{"properties":{"b":{}}}}}"#, 1),
            (r#"{"allOf":[{"not":{}}]}"#, 3),
            (
                r##"{"$ref":"#/definitions/a","definitions":{"a":{"$ref":"#/definitions/b"},"b":{}}}"##,
                3,
            ),
            (r##"{"$ref":"#/definitions/a%20~1b","definitions":{"a /b":{"if":{}}}}"##, 3),
            (r##"{"$ref":"#x","$defs":{"x":{"$anchor":"x","not":{}}}}"##, 3),
            // Properties are other values: recursion through them is no chain.
            (r##"{"properties":{"a":{"$ref":"#"}}}"##, 2),
            (r##"{"allOf":[{"$ref":"#/definitions/any"}],"definitions":{"any":true}}"##, 2),
            // A circle.
            (r##"{"allOf":[{"$ref":"#"}]}"##, 3),
            (r##"{"$schema":"x","$ref":"http://json-schema.org/draft-07/schema#"}"##, 1 + BUILT_IN),
        ];
        for (text, length) in rows {
            assert_eq!(chain(&[("", text)]), length, "{text}");
        }
        let others =
            [("", r#"{"$ref":"sub/other.json"}"#), ("http://h/other.json", r#"{"not":{}}"#)];
        assert_eq!(chain(&others), 3);
    }

    #[test]
    fn subschemas_that_do_not_look_at_the_value_multiply() {
        for (text, count) in [
            ("{}", 0),
            (r#"{"allOf":[{"not":{}},{}]}"#, 3),
            (r#"{"allOf":[{"type":"string"},{"required":["a"]},{"properties":{"a":{}}}]}"#, 0),
            (r#"{"allOf":[{"type":[]},{"enum":[]},{"required":[]},{"properties":{}}]}"#, 4),
            (r#"{"allOf":[{"type":"string","allOf":[{},{},{}]},{}]}"#, 3),
            (r##"{"anyOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}],"$defs":{"a":{}}}"##, 4),
            (
                r##"{"anyOf":[{"$ref":"#/$defs/a","type":"null"}],"$defs":{"a":{"type":"null"}}}"##,
                1,
            ),
            (r##"{"type":"object","properties":{"a":{"anyOf":[{},{"$ref":"#"}]}}}"##, 2),
            // Circles: one way, and two.
            (r##"{"allOf":[{"$ref":"#"}]}"##, 2),
            (r##"{"allOf":[{"$ref":"#"},{}]}"##, 4),
            (r##"{"type":"null","not":{"allOf":[{"$ref":"#/not"}]}}"##, 2),
            (r##"{"allOf":[{"$ref":"#"},{"$ref":"#"}]}"##, usize::MAX),
            (r##"{"type":"object","allOf":[{"$ref":"#"},{"$ref":"#"}]}"##, 2),
        ] {
            assert_eq!(of(&[("", text)]).idle, count, "{text}");
        }
    }

    #[test]
    fn what_is_compiled_once_more_counts_as_often() {
        let bytes = |text: &str| of(&[("", text)]).bytes;
        let twice = r#"{"x":false,"allOf":[{"not":{}}]}"#;
        let longer = 2 * ("unevaluatedItems".len() - 1);
        // The two that stand within others count for each of them.
        let (all, within) = (bytes(twice), bytes("{}") + 2 * "/allOf/0".len());
        let again = bytes(&twice.replace('x', "unevaluatedItems")) - all - longer;
        assert!(again > all + within, "{again} {all} {within}");
        let ways = |count: usize| {
            let step = |at| {
                let next = format!(r##"{{"$ref":"#/$defs/a{}"}}"##, at + 1);
                format!(r#""a{at}":{{"allOf":[{next},{next}]}}"#)
            };
            let steps: Vec<_> = (0..count).map(step).collect();
            let steps = steps.join(",");
            let text = format!(
                r##"{{"unevaluatedProperties":{{}},"$ref":"#/$defs/a0","$defs":{{{steps},"a{count}":{{}}}}}}"##
            );
            let root: Value = serde_json::from_str(&text).expect("JSON");
            extent(&[Document { name: "", root: &root }]).is_some()
        };
        assert!(ways(8));
        assert!(!ways(40));
        let circle = r##"{"unevaluatedProperties":true,"allOf":[{"$ref":"#"}]}"##;
        let root = serde_json::from_str(circle).expect("JSON");
        assert!(extent(&[Document { name: "", root: &root }]).is_none());
    }

    #[test]
    fn references_to_many_places_take_neither_memory_nor_time() {
        let start = std::time::SystemTime::now();
        let same = [r##"{"$anchor":"x","$ref":"#x"}"##].repeat(37_000).join(",");
        let root = serde_json::from_str(&format!("[{same}]")).expect("JSON");
        assert!(extent(&[Document { name: "", root: &root }]).is_none());
        let others: Vec<String> =
            (0..37_000).map(|at| format!(r##"{{"$anchor":"x{at}","$ref":"#x"}}"##)).collect();
        assert_eq!(chain(&[("", &format!("[{}]", others.join(",")))]), 1 + BUILT_IN);
        let objects = |count| Value::Array(vec![Value::Object(serde_json::Map::new()); count]);
        let most = MAX_COMPILED_BYTES / (OBJECT_BYTES + VALUE_BYTES + 2 * INDEX_BYTES);
        assert!(extent(&[Document { name: "", root: &objects(most) }]).is_some());
        assert!(extent(&[Document { name: "", root: &objects(most + 1) }]).is_none());
        assert!(start.elapsed().expect("a clock") < std::time::Duration::from_secs(30));
    }

    #[test]
    fn long_chains_take_no_stack() {
        let count = MAX_LINKS - 1;
        let links: String = (0..count)
            .map(|at| format!(r##""a{at}":{{"$ref":"#/$defs/a{}"}},"##, at + 1))
            .collect();
        let text = format!(r##"{{"$ref":"#/$defs/a0","$defs":{{{links}"a{count}":{{}}}}}}"##);
        assert_eq!(chain(&[("", &text)]), count + 2);
    }
}
