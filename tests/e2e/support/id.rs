//! Event ids by the letter of REFERENCE, apart from the code under test.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

/// The id of these next offsets by partition: `0x01`, then zigzag varints of the count and the pairs.
pub(crate) fn id(next: &[(i64, i64)]) -> String {
    let mut bytes = vec![1];
    let count = i64::try_from(next.len()).expect("few partitions");
    let numbers = next.iter().flat_map(|(partition, next)| [*partition, *next]);
    for number in [count].into_iter().chain(numbers) {
        let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
        while left >= 0x80 {
            bytes.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        bytes.push(left as u8);
    }
    URL_SAFE.encode(bytes)
}

#[test]
fn ids_are_those_of_zilla() {
    assert_eq!(id(&[(0, 2), (1, 1)]), "AQQABAIC");
    assert_eq!(id(&[(0, 3), (1, 1)]), "AQQABgIC");
    assert_eq!(id(&[(0, -2), (1, 1)]), "AQQAAwIC");
}
