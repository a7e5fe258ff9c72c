//! Logical types as text.

use super::Logical;
use super::read::Reason;
use crate::calendar::{DAY, date};
use crate::write;

/// The most bytes of a decimal. The conversion to digits takes time that grows with their square.
const MAX_DECIMAL_BYTES: usize = 512;

/// A number in two's complement, big-endian, as a decimal in quotes.
pub(super) fn decimal(out: &mut Vec<u8>, bytes: &[u8], scale: u32) -> Result<(), Reason> {
    if bytes.len() > MAX_DECIMAL_BYTES {
        return Err("an avro decimal has more than 512 bytes");
    }
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    // Limbs of 32 bits, the least first.
    let mut limbs: Vec<u32> = bytes
        .rchunks(4)
        .map(|chunk| {
            let fill = if negative { u32::MAX } else { 0 };
            let limb = chunk.iter().fold(fill, |limb, byte| limb << 8 | u32::from(*byte));
            if negative { !limb } else { limb }
        })
        .collect();
    if negative {
        // Minus the number is its complement plus one.
        let mut carry = true;
        for limb in &mut limbs {
            (*limb, carry) = limb.overflowing_add(u32::from(carry));
        }
        if carry {
            limbs.push(1);
        }
    }
    // The digits, the least first.
    let mut digits = Vec::with_capacity(bytes.len() * 3);
    while limbs.iter().any(|limb| *limb != 0) {
        let mut rest = 0u64;
        for limb in limbs.iter_mut().rev() {
            let number = rest << 32 | u64::from(*limb);
            *limb = (number / 1_000_000_000) as u32;
            rest = number % 1_000_000_000;
        }
        for _ in 0..9 {
            digits.push(b'0' + (rest % 10) as u8);
            rest /= 10;
        }
    }
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    let scale = scale as usize;
    if digits.len() <= scale {
        digits.resize(scale + 1, b'0');
    }
    out.push(b'"');
    if negative {
        out.push(b'-');
    }
    let (fraction, whole) = digits.split_at(scale);
    out.extend(whole.iter().rev());
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend(fraction.iter().rev());
    }
    out.push(b'"');
    Ok(())
}

/// A date or a time as RFC 3339 has it, in quotes. What RFC 3339 has no text for, such as a year past 9999, stays a
/// number.
pub(super) fn time(out: &mut Vec<u8>, logical: Logical, number: i64) {
    let text = match logical {
        Logical::Date => date(number),
        Logical::Time(decimals) => {
            let unit = 10i64.pow(decimals);
            (0..DAY * unit).contains(&number).then(|| clock(number / unit, number % unit, decimals))
        }
        Logical::Timestamp(decimals) => timestamp(number, decimals).map(|text| text + "Z"),
        Logical::LocalTimestamp(decimals) => timestamp(number, decimals),
    };
    match text {
        Some(text) => write::string(out, &text),
        None => write::integer(out, number),
    }
}

fn timestamp(number: i64, decimals: u32) -> Option<String> {
    let unit = 10i64.pow(decimals);
    let seconds = number.div_euclid(unit);
    let date = date(seconds.div_euclid(DAY))?;
    Some(format!("{date}T{}", clock(seconds.rem_euclid(DAY), number.rem_euclid(unit), decimals)))
}

fn clock(seconds: i64, fraction: i64, decimals: u32) -> String {
    let hours = seconds / 3600;
    let minutes = seconds / 60 % 60;
    format!(
        "{hours:02}:{minutes:02}:{:02}.{fraction:0width$}",
        seconds % 60,
        width = decimals as usize
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        let rows: [(&[u8], u32, &str); 11] = [
            (b"", 0, "0"),
            (b"", 2, "0.00"),
            (b"\x30\x39", 2, "123.45"),
            (b"\0\0\x30\x39", 2, "123.45"),
            (b"\xcf\xc7", 2, "-123.45"),
            (b"\xff", 3, "-0.001"),
            (b"\x80", 0, "-128"),
            (b"\x80\0\0\0", 0, "-2147483648"),
            (b"\x80\0\0\0\0", 0, "-549755813888"),
            (b"\x0d\xe0\xb6\xb3\xa7\x64\0\0", 9, "1000000000.000000000"),
            (b"\x01\0\0\0\0\0\0\0\0", 0, "18446744073709551616"),
        ];
        for (bytes, scale, text) in rows {
            let mut out = Vec::new();
            decimal(&mut out, bytes, scale).expect("short");
            assert_eq!(
                String::from_utf8(out).expect("UTF-8"),
                format!("\"{text}\""),
                "{bytes:02x?}"
            );
        }
        assert!(decimal(&mut Vec::new(), &[1; MAX_DECIMAL_BYTES], 0).is_ok());
        assert!(decimal(&mut Vec::new(), &[1; MAX_DECIMAL_BYTES + 1], 0).is_err());
    }

    #[test]
    fn times_are_as_in_rfc_3339() {
        let rows = [
            (Logical::Date, 19_675, "\"2023-11-14\""),
            (Logical::Date, -1, "\"1969-12-31\""),
            (Logical::Date, 11_016, "\"2000-02-29\""),
            (Logical::Date, -719_528, "\"0000-01-01\""),
            (Logical::Date, -719_529, "-719529"),
            (Logical::Date, 2_932_896, "\"9999-12-31\""),
            (Logical::Date, 2_932_897, "2932897"),
            (Logical::Time(3), 3_600_000, "\"01:00:00.000\""),
            (Logical::Time(6), 86_399_999_999, "\"23:59:59.999999\""),
            (Logical::Time(6), 86_400_000_000, "86400000000"),
            (Logical::Time(3), -1, "-1"),
            (Logical::Timestamp(3), 1_700_000_000_123, "\"2023-11-14T22:13:20.123Z\""),
            (Logical::Timestamp(6), -1, "\"1969-12-31T23:59:59.999999Z\""),
            (Logical::Timestamp(9), i64::MAX, "\"2262-04-11T23:47:16.854775807Z\""),
            (Logical::Timestamp(3), i64::MAX, "9223372036854775807"),
            (Logical::LocalTimestamp(3), 0, "\"1970-01-01T00:00:00.000\""),
        ];
        for (logical, number, text) in rows {
            let mut out = Vec::new();
            time(&mut out, logical, number);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), text, "{logical:?} {number}");
        }
    }
}
