//! Texts with parameters: `${params.key}`, `${guarded['who'].identity}`.

use std::fmt;

use super::decode::Value;
use super::pattern;
use super::support::Feature;

/// A text that is completed for each request.
///
/// Written `orders.${params.region}`. Without `${` it is the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Text that stands for itself.
    Literal(String),
    /// `${params.NAME}`: what the path of the request has at `{NAME}`.
    Param(String),
    /// `${guarded['GUARD'].identity}`: who the guard says is asking.
    Identity {
        /// The name of the guard.
        guard: String,
    },
    /// `${guarded['GUARD'].attributes.NAME}`: a claim of who is asking.
    Attribute {
        /// The name of the guard.
        guard: String,
        /// The name of the attribute in the guard's options.
        name: String,
    },
}

impl Template {
    /// Its parts, in order. Two literals never stand next to each other.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text, where nothing needs to be completed.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The path of a file in a folder: `directory`, a `/`, and `path`. A `/` that ends the one or
    /// begins the other is that `/`.
    #[must_use]
    pub fn joined(directory: &Template, path: &Template) -> Template {
        let (directory, path) = (directory.to_string(), path.to_string());
        let text = format!("{}/{}", directory.trim_end_matches('/'), path.trim_start_matches('/'));
        // Templates print as they are written, and no expression reaches across a `/` between two.
        Template::parse(&text).unwrap_or(Template { parts: vec![Part::Literal(text)] })
    }

    /// The names of the path parameters that it needs.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Param(name) => Some(name.as_str()),
            Part::Literal(_) | Part::Identity { .. } | Part::Attribute { .. } => None,
        })
    }

    /// The names of the guards that it asks.
    pub fn guards(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Identity { guard } | Part::Attribute { guard, .. } => Some(guard.as_str()),
            Part::Literal(_) | Part::Param(_) => None,
        })
    }

    /// Reads the text of a template.
    ///
    /// # Errors
    /// What is wrong with it and what would be accepted.
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if !before.is_empty() {
                parts.push(Part::Literal(before.to_owned()));
            }
            let (expression, after) =
                after.split_once('}').ok_or_else(|| "`${` without its `}`".to_owned())?;
            parts.push(part(expression.trim()).ok_or_else(|| {
                format!(
                    "`${{{expression}}}` is none of `${{params.NAME}}`, \
                     `${{guarded['GUARD'].identity}}` and `${{guarded['GUARD'].attributes.NAME}}`"
                )
            })?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Template { parts })
    }

    /// Decodes a template whose parameters must be among those that every condition captures, where
    /// these are known.
    pub(super) fn decode(value: &Value<'_>, params: Option<&[String]>) -> Option<Template> {
        let template = match Template::parse(&value.text()?) {
            Ok(template) => template,
            Err(error) => {
                value.error(error);
                return None;
            }
        };
        let missing =
            |name: &&str| params.is_some_and(|params| !params.iter().any(|it| it == name));
        for name in template.params().filter(missing) {
            let help = match params.unwrap_or_default() {
                [] => "every condition of the route must have it in its `path`, and there is none"
                    .to_owned(),
                params => {
                    format!("captured by every condition of the route: {}", params.join(", "))
                }
            };
            let message = format!("`${{params.{name}}}` names no parameter of the route's path");
            value.error_help(message, Some(help));
        }
        for guard in template.guards() {
            value.refers("guards", guard);
        }
        if template.guards().next().is_some() {
            value.uses(Feature::GuardTemplate);
        }
        Some(template)
    }
}

fn part(expression: &str) -> Option<Part> {
    if let Some(name) = expression.strip_prefix("params.") {
        return pattern::is_parameter(name).then(|| Part::Param(name.to_owned()));
    }
    let (guard, field) = expression.strip_prefix("guarded['")?.split_once("'].")?;
    if !pattern::is_name(guard) {
        return None;
    }
    let guard = guard.to_owned();
    match field.strip_prefix("attributes.") {
        None if field == "identity" => Some(Part::Identity { guard }),
        Some(name) if !name.is_empty() && !name.contains(['{', '\'']) => {
            Some(Part::Attribute { guard, name: name.to_owned() })
        }
        _ => None,
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Literal(text) => f.write_str(text)?,
                Part::Param(name) => write!(f, "${{params.{name}}}")?,
                Part::Identity { guard } => write!(f, "${{guarded['{guard}'].identity}}")?,
                Part::Attribute { guard, name } => {
                    write!(f, "${{guarded['{guard}'].attributes.{name}}}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_print_as_they_are_written() {
        for text in [
            "",
            "events",
            "${params.a}-${params.b}",
            "x ${guarded['who'].identity} y",
            "${guarded['who'].attributes.region}",
            "a $ { } b",
        ] {
            assert_eq!(Template::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn joined_templates_have_one_slash_between() {
        for (directory, path, expected) in [
            ("a", "b", "a/b"),
            ("a/", "/b", "a/b"),
            ("${params.d}", "${params.f}.html", "${params.d}/${params.f}.html"),
        ] {
            let (directory, path) =
                (Template::parse(directory).unwrap(), Template::parse(path).unwrap());
            assert_eq!(Template::joined(&directory, &path), Template::parse(expected).unwrap());
        }
    }

    #[test]
    fn malformed_templates_are_refused() {
        for text in
            ["${params.}", "${params.a", "${x}", "${guarded[who].identity}", "${guarded['a'].b}"]
        {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
