//! Checks exits: each leads to a binding that can follow, and they form no cycle.

use crate::config::bindings::{BindingOutline, Type};
use crate::config::decode::{Cx, any_of, defined};

/// Checks the exits of all bindings. Returns for each binding whether a listener leads to it.
pub(crate) fn check(cx: &Cx, outlines: &[BindingOutline]) -> Vec<bool> {
    let names: Vec<&str> = outlines.iter().map(|outline| outline.name.as_str()).collect();
    let mut edges = vec![Vec::new(); outlines.len()];
    for (outline, edges) in outlines.iter().zip(&mut edges) {
        for exit in &outline.exits {
            let Some(to) = names.iter().position(|name| *name == exit.to) else {
                let message =
                    format!("{}: there is no binding `{}`", exit.path, exit.to.escape_debug());
                cx.error(exit.span, message, Some(defined(&exit.to, &names)));
                continue;
            };
            edges.push(to);
            let (Some(from_type), Some(to_type)) =
                (outline.of, outlines.get(to).and_then(|outline| outline.of))
            else {
                continue;
            };
            if !from_type.may_lead_to().contains(&to_type) {
                let allowed: Vec<String> =
                    from_type.may_lead_to().iter().map(|kind| format!("`{kind}`")).collect();
                let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
                let help = match allowed.as_slice() {
                    [] => format!("`{from_type}` has no `exit`"),
                    allowed => format!("what can follow: {}", any_of(allowed)),
                };
                let message = format!(
                    "{}: `{}` ({to_type}) cannot follow `{}` ({from_type})",
                    exit.path, exit.to, outline.name
                );
                cx.error(exit.span, message, Some(help));
            }
        }
    }
    circles(cx, outlines, &edges);
    reached(outlines, &edges)
}

/// Reports each cycle once, at the binding where it closes.
fn circles(cx: &Cx, outlines: &[BindingOutline], edges: &[Vec<usize>]) {
    let mut done = vec![false; outlines.len()];
    for start in 0..outlines.len() {
        // Each binding with the index of the next exit to follow. The search is not recursive: the depth is up to
        // the file.
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.last_mut() {
            let (at, target) = (*at, edges.get(*at).and_then(|edges| edges.get(*next)).copied());
            *next += 1;
            let Some(target) = target.filter(|_| done.get(at) == Some(&false)) else {
                if let Some(done) = done.get_mut(at) {
                    *done = true;
                }
                path.pop();
                continue;
            };
            let Some(first) = path.iter().position(|(index, _)| *index == target) else {
                path.push((target, 0));
                continue;
            };
            let mut names: Vec<&str> = path
                .iter()
                .skip(first)
                .filter_map(|(index, _)| outlines.get(*index))
                .map(|outline| outline.name.as_str())
                .collect();
            names.extend(names.first().copied());
            if let Some(outline) = outlines.get(target) {
                let message = format!(
                    "bindings.{}: its exits form a cycle: {}",
                    outline.name,
                    names.join(" -> ")
                );
                cx.error(outline.span, message, None);
            }
        }
    }
}

fn reached(outlines: &[BindingOutline], edges: &[Vec<usize>]) -> Vec<bool> {
    let listener = |outline: &BindingOutline| outline.of == Some(Type::TcpServer);
    let mut reached: Vec<bool> = outlines.iter().map(listener).collect();
    let mut waiting: Vec<usize> =
        (0..outlines.len()).filter(|index| reached.get(*index) == Some(&true)).collect();
    while let Some(at) = waiting.pop() {
        if outlines.get(at).is_some_and(|outline| outline.unknown_exit) {
            return vec![true; outlines.len()];
        }
        for to in edges.get(at).into_iter().flatten() {
            if let Some(reached) = reached.get_mut(*to).filter(|reached| !**reached) {
                *reached = true;
                waiting.push(*to);
            }
        }
    }
    reached
}
