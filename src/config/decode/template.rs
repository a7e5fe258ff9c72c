//! Texts with parameters: `${params.key}`, `${guarded['who'].identity}`.

use tailwater_kafka_types::{Template, Variable};

use crate::config::decode::{Section, Value};

/// Decodes a template. Its parameters must be among `params`, those that every condition of the route captures.
/// `None` if they are unknown because of an error.
pub(crate) fn decode(value: &Value<'_>, params: Option<&[String]>) -> Option<Template> {
    let template: Template = match value.text()?.parse() {
        Ok(template) => template,
        Err(error) => {
            value.error(error.to_string());
            return None;
        }
    };
    for variable in template.variables() {
        match variable {
            Variable::Parameter(name) => check_parameter(value, variable, name, params),
            Variable::Identity { guard } | Variable::Attribute { guard, .. } => {
                value.reference(Section::Guards, guard);
            }
            _ => {}
        }
    }
    Some(template)
}

fn check_parameter(
    value: &Value<'_>,
    variable: &Variable,
    name: &String,
    params: Option<&[String]>,
) {
    let help = match params {
        None => return,
        Some(params) if params.contains(name) => return,
        Some([]) => {
            "every condition of the route must have it in its `path`, and there is none".to_owned()
        }
        Some(params) => format!("captured by every condition of the route: {}", params.join(", ")),
    };
    let message = format!("`{variable}` names no parameter of the route's path");
    value.error_help(message, Some(help));
}
