//! JSON of schemas, parsed within a bound of memory.

use serde_json::Value;

use crate::limits::MAX_SCHEMA_BYTES;

/// What a value of a schema takes, and what an object takes beside that: measured with the allocator's size classes. It
/// is what the validator keeps, and no less than what the parser takes.
pub(crate) const VALUE_BYTES: usize = 200;
pub(crate) const OBJECT_BYTES: usize = 700;

const TOO_LARGE: &str = "it has too many parts";

/// Parses a text, and takes about what its parts take from `left`.
pub(crate) fn json(text: &str, left: &mut usize) -> Result<Value, String> {
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(format!("it has more than {MAX_SCHEMA_BYTES} bytes"));
    }
    take(left, parts(text))?;
    // serde_json refuses more than 128 levels, and with it the recursion over its values ends.
    serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))
}

/// Takes `bytes` from what is left.
pub(crate) fn take(left: &mut usize, bytes: usize) -> Result<(), String> {
    *left = left.checked_sub(bytes).ok_or(TOO_LARGE)?;
    Ok(())
}

/// About what the parts of a text take. An object with two members takes hundred times its text.
fn parts(text: &str) -> usize {
    let mut bytes = 0;
    let (mut in_string, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' if !in_string => bytes += OBJECT_BYTES + VALUE_BYTES,
            b'[' | b',' if !in_string => bytes += VALUE_BYTES,
            _ => {}
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_outside_of_strings() {
        for (text, objects, values) in [
            ("1", 0, 0),
            (r#""{[,\\\",{[""#, 0, 0),
            ("[1,2,3]", 0, 3),
            (r#"{"a\\":{"b":[]},"c":[4,5]}"#, 2, 6),
        ] {
            let bytes = objects * OBJECT_BYTES + values * VALUE_BYTES;
            assert_eq!(parts(text), bytes, "{text}");
        }
    }
}
