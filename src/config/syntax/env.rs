//! `${{env.NAME}}` in values.

/// A text after its expressions were replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) text: String,
    /// Whether there was an expression in it.
    pub(crate) changed: bool,
}

/// Replaces each `${{env.NAME}}`. White space inside the braces is ignored.
///
/// # Errors
/// A message for each expression that could not be replaced: the variable is not set, or the expression has
/// another form.
pub(crate) fn replace(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Replaced, Vec<String>> {
    let mut out = String::new();
    let mut mistakes = Vec::new();
    let mut rest = text;
    let mut changed = false;
    while let Some((before, after)) = rest.split_once("${{") {
        out.push_str(before);
        let Some((expression, after)) = after.split_once("}}") else {
            mistakes.push("`${{` without its `}}`".to_owned());
            rest = "";
            break;
        };
        let expression = expression.trim();
        match expression.strip_prefix("env.") {
            Some(name) if is_name(name) => match env(name) {
                Some(value) => out.push_str(&value),
                None => mistakes.push(format!("the environment variable {name} is not set")),
            },
            _ => mistakes
                .push(format!("`${{{{{expression}}}}}` is not of the form `${{{{env.NAME}}}}`")),
        }
        changed = true;
        rest = after;
    }
    out.push_str(rest);
    if mistakes.is_empty() { Ok(Replaced { text: out, changed }) } else { Err(mistakes) }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("kafka".to_owned()),
            "NESTED" => Some("${{env.HOST}}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_once_wherever_they_stand() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${{env.HOST}}:9092", "kafka:9092"),
            ("a ${{ env.HOST }} b ${{env.HOST}}", "a kafka b kafka"),
            ("${{env.NESTED}}", "${{env.HOST}}"),
            ("${params.x} {{}}", "${params.x} {{}}"),
        ] {
            assert_eq!(replace(text, &env).unwrap().text, expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_named() {
        for (text, expected) in [
            ("${{env.PORT}}", "the environment variable PORT is not set"),
            ("${{secrets.PORT}}", "`${{secrets.PORT}}` is not of the form `${{env.NAME}}`"),
            ("${{env.}}", "`${{env.}}` is not of the form `${{env.NAME}}`"),
            ("x ${{env.HOST", "`${{` without its `}}`"),
        ] {
            assert_eq!(replace(text, &env).unwrap_err(), [expected], "{text}");
        }
    }
}
