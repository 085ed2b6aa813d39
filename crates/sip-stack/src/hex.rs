//! Numbers in hexadecimal digits, as branches, tags and digests show them: `{:016x}` without the machinery of `fmt`.

use std::ops::Deref;

/// Sixteen digits.
pub(crate) struct Hex([u8; 16]);

/// All sixteen digits of a number, in lower case.
pub(crate) fn hex(number: u64) -> Hex {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 16];
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        *digit = DIGITS[(number >> (4 * place)) as usize & 15];
    }
    Hex(digits)
}

impl Deref for Hex {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn digits_are_those_of_fmt() {
        for number in [0, 1, 0xf, 0x10, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(&*hex(number), format!("{number:016x}"));
        }
    }
}
