use std::fmt;

use bytes::{Bytes, BytesMut};
use http::Extensions;

/// A text with variables that each request fills: `orders-${params.region}`.
///
/// The variables are `${params.NAME}`, `${guarded['GUARD'].identity}` and
/// `${guarded['GUARD'].attributes.NAME}`.
///
/// ```
/// use tailwater_kafka_types::Template;
///
/// let template: Template = "orders-${params.region}".parse()?;
/// assert_eq!(template.as_literal(), None);
/// assert!("orders-${params.".parse::<Template>().is_err());
/// # Ok::<(), tailwater_kafka_types::TemplateError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Literal text.
    Literal(String),
    /// A variable that each request fills.
    Variable(Variable),
}

/// A variable in a [`Template`] that a request fills.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Variable {
    /// A parameter that the path of the request captured.
    Parameter(String),
    /// The identity of the client, from its token.
    Identity {
        /// The name of the guard.
        guard: String,
    },
    /// An attribute of the client, from its token.
    Attribute {
        /// The name of the guard.
        guard: String,
        /// The name of the attribute.
        name: String,
    },
}

impl Variable {
    /// Whether `value` fills the variable. An empty claim does not: it identifies no client, and texts such as
    /// `orders-${guarded['g'].identity}` would be the same for all clients without the claim.
    fn takes(&self, value: &[u8]) -> bool {
        match self {
            Self::Parameter(_) => true,
            Self::Identity { .. } | Self::Attribute { .. } => !value.is_empty(),
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter(name) => write!(f, "${{params.{name}}}"),
            Self::Identity { guard } => write!(f, "${{guarded['{guard}'].identity}}"),
            Self::Attribute { guard, name } => {
                write!(f, "${{guarded['{guard}'].attributes.{name}}}")
            }
        }
    }
}

impl fmt::Display for Template {
    /// Writes the text that the template was parsed from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(text),
            Part::Variable(variable) => variable.fmt(f),
        })
    }
}

/// Fills the variables of templates from a request. The code that composes the layers implements it. It reads the
/// parameters and claims that other layers have put into the extensions of the request.
pub trait Variables: Send + Sync {
    /// The value of `variable`, or `None` if the request has none. A request is rejected with `403 Forbidden` if a
    /// variable has no value, or if an identity or an attribute is empty.
    fn value(&self, variable: &Variable, extensions: &Extensions) -> Option<Bytes>;
}

impl<F> Variables for F
where
    F: Fn(&Variable, &Extensions) -> Option<Bytes> + Send + Sync,
{
    fn value(&self, variable: &Variable, extensions: &Extensions) -> Option<Bytes> {
        self(variable, extensions)
    }
}

/// The error of a text that is not a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A `${` without `}`, at this offset in bytes.
    #[error("unclosed `${{` at byte {0} of the template")]
    Unclosed(usize),
    /// The text in `${…}` is not a variable.
    #[error(
        "`${{{0}}}` is not known; known are `${{params.NAME}}`, `${{guarded['GUARD'].identity}}` and \
         `${{guarded['GUARD'].attributes.NAME}}`"
    )]
    Unknown(String),
}

impl std::str::FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("${") {
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let Some((variable, after)) = after.split_once('}') else {
                return Err(TemplateError::Unclosed(text.len() - after.len() - 2));
            };
            parts.push(Part::Variable(
                parse(variable).ok_or_else(|| TemplateError::Unknown(variable.to_owned()))?,
            ));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self(parts))
    }
}

fn parse(variable: &str) -> Option<Variable> {
    let name = |text: &str| {
        (!text.is_empty() && !text.contains(['{', '}', '\''])).then(|| text.to_owned())
    };
    if let Some(parameter) = variable.strip_prefix("params.") {
        return name(parameter).map(Variable::Parameter);
    }
    let (guard, member) = variable.strip_prefix("guarded['")?.split_once("'].")?;
    let guard = name(guard)?;
    match member.strip_prefix("attributes.") {
        Some(attribute) => Some(Variable::Attribute { guard, name: name(attribute)? }),
        None => (member == "identity").then_some(Variable::Identity { guard }),
    }
}

impl Template {
    /// A template without variables.
    #[must_use]
    pub fn literal(text: impl Into<String>) -> Self {
        Self(vec![Part::Literal(text.into())])
    }

    /// The parts, in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The text, if the template has no variables.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match &self.0[..] {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The variables that a request must fill.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.0.iter().filter_map(|part| match part {
            Part::Variable(variable) => Some(variable),
            Part::Literal(_) => None,
        })
    }

    /// The text for a request.
    ///
    /// # Errors
    /// The first variable that has no value, or whose value is empty and must not be.
    pub fn fill(
        &self,
        variables: &dyn Variables,
        extensions: &Extensions,
    ) -> Result<Bytes, &Variable> {
        if let [part] = &self.0[..] {
            return part.fill(variables, extensions);
        }
        let mut text = BytesMut::new();
        for part in &self.0 {
            text.extend_from_slice(&part.fill(variables, extensions)?);
        }
        Ok(text.freeze())
    }
}

impl Part {
    fn fill(&self, variables: &dyn Variables, extensions: &Extensions) -> Result<Bytes, &Variable> {
        match self {
            Self::Literal(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Self::Variable(variable) => {
                let value = variables.value(variable, extensions);
                value.filter(|value| variable.takes(value)).ok_or(variable)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str) -> Result<Bytes, String> {
        let variables = |variable: &Variable, _: &Extensions| match variable {
            Variable::Parameter(name) if name == "missing" => None,
            variable => Some(Bytes::from(format!("<{variable}>"))),
        };
        let template: Template =
            template.parse().map_err(|error: TemplateError| error.to_string())?;
        template.fill(&variables, &Extensions::new()).map_err(|variable| format!("no {variable}"))
    }

    #[test]
    fn variables_are_filled_in_order() {
        for (template, text) in [
            ("", ""),
            ("orders", "orders"),
            ("${params.a}", "<${params.a}>"),
            (
                "x-${params.a}-${guarded['g'].identity}",
                "x-<${params.a}>-<${guarded['g'].identity}>",
            ),
            ("${guarded['g'].attributes.realm}$", "<${guarded['g'].attributes.realm}>$"),
            ("a}b${params.c}{", "a}b<${params.c}>{"),
        ] {
            assert_eq!(filled(template), Ok(Bytes::from_static(text.as_bytes())), "{template}");
            assert_eq!(template.parse::<Template>().unwrap().to_string(), template);
        }
        assert_eq!(filled("a${params.missing}"), Err("no ${params.missing}".to_owned()));
    }

    #[test]
    fn what_no_request_can_fill_is_an_error() {
        for text in [
            "${}",
            "${params.}",
            "${param.a}",
            "${guarded[g].identity}",
            "${guarded['g'].sub}",
            "${guarded[''].identity}",
        ] {
            assert!(matches!(text.parse::<Template>(), Err(TemplateError::Unknown(_))), "{text}");
        }
        assert_eq!("ab${params.c".parse::<Template>(), Err(TemplateError::Unclosed(2)));
    }
}
