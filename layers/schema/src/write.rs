//! JSON text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The second byte of an escape, by the byte that needs one. 0: no escape is needed. `u`: `\u00XX`.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[b'\t' as usize] = b't';
    table[b'\n' as usize] = b'n';
    table[0x0c] = b'f';
    table[b'\r' as usize] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// How many bytes stand before the first that a JSON string cannot have as it is.
pub(crate) fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // To subtract n from each byte sets the high bit of the bytes below n, and of others only behind such a byte.
        let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = (below(word, 0x20) | quote | backslash) & (ONES * 0x80);
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let end = rest.iter().position(|byte| ESCAPES[usize::from(*byte)] != 0);
    words.len() * 8 + end.unwrap_or(rest.len())
}

/// A string in quotes.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, tail) = rest.split_at(plain(rest));
        out.extend_from_slice(plain);
        let Some((byte, tail)) = tail.split_first() else { break };
        match ESCAPES[usize::from(*byte)] {
            b'u' => {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&digits);
            }
            escape => out.extend_from_slice(&[b'\\', escape]),
        }
        rest = tail;
    }
    out.push(b'"');
}

/// Base64 in quotes: the standard alphabet, padded.
pub(crate) fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written =
        out.get_mut(start..).map_or(0, |room| STANDARD.encode_slice(bytes, room).unwrap_or(0));
    out.truncate(start + written);
    out.push(b'"');
}

pub(crate) fn integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A 64-bit integer in quotes, as protobuf has it: a script reads numbers as doubles.
pub(crate) fn quoted_integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.push(b'"');
    integer(out, number);
    out.push(b'"');
}

/// The shortest digits of a number; NaN and the infinities in quotes, which JSON has no numbers for.
pub(crate) fn float(out: &mut Vec<u8>, number: impl zmij::Float + Into<f64> + Copy) {
    let wide: f64 = number.into();
    if wide.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
    } else {
        out.push(b'"');
        float_text(out, number);
        out.push(b'"');
    }
}

/// As [`float`], without quotes.
pub(crate) fn float_text(out: &mut Vec<u8>, number: impl zmij::Float + Into<f64> + Copy) {
    let wide: f64 = number.into();
    out.extend_from_slice(match wide {
        _ if wide.is_finite() => {
            return out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
        }
        _ if wide.is_nan() => b"NaN",
        _ if wide > 0.0 => b"Infinity",
        _ => b"-Infinity",
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn strings_are_escaped_where_json_demands_it() {
        for (plain, json) in [
            ("", r#""""#),
            ("é/😀\u{7f}", "\"é/😀\u{7f}\""),
            ("\"\\\n\t\r\u{8}\u{c}\u{1}\u{1f}", r#""\"\\\n\t\r\b\f\u0001\u001f""#),
        ] {
            assert_eq!(text(|out| string(out, plain)), json);
            assert_eq!(serde_json::from_str::<String>(json).expect("JSON"), plain);
        }
    }

    #[test]
    fn a_byte_that_needs_an_escape_is_found_at_each_place() {
        for byte in 0..=u8::MAX {
            let is_plain = !matches!(byte, b'"' | b'\\' | 0..0x20);
            for at in 0..20 {
                for filler in [b'a', b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
                    let mut bytes = [filler; 20];
                    bytes[at] = byte;
                    assert_eq!(plain(&bytes), if is_plain { 20 } else { at }, "{bytes:02x?}");
                    // Another one behind it.
                    bytes[19] = b'"';
                    assert_eq!(plain(&bytes), if is_plain { 19 } else { at }, "{bytes:02x?}");
                }
            }
        }
    }

    #[test]
    fn numbers_have_the_shortest_digits() {
        for (number, json) in [
            (3.0, "3.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e300, "1e300"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            let written = text(|out| float(out, number));
            assert_eq!(written.replace("e+", "e"), json);
        }
        assert_eq!(text(|out| float(out, 0.1f32)), "0.1");
        assert_eq!(text(|out| quoted_integer(out, i64::MIN)), "\"-9223372036854775808\"");
    }

    #[test]
    fn bytes_are_padded_base64() {
        for (bytes, json) in
            [(&b""[..], "\"\""), (b"\xff", "\"/w==\""), (b"\x00\xff\x7f\x41", "\"AP9/QQ==\"")]
        {
            assert_eq!(text(|out| base64(out, bytes)), json);
        }
    }
}
