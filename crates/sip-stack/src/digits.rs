//! Numbers in digits without the machinery of `fmt`: hexadecimal ones as branches, tags and digests show them (`{:016x}`), decimal
//! ones as header values hold them.

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

impl Hex {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Hex {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

/// Decimal digits, right-aligned.
pub(crate) struct Decimal {
    digits: [u8; DECIMAL_DIGITS_MAX],
    start: usize,
}

/// 2^64 has twenty.
const DECIMAL_DIGITS_MAX: usize = 20;

/// A number without leading zeros.
pub(crate) fn decimal(mut number: u64) -> Decimal {
    let mut decimal = Decimal { digits: [b'0'; DECIMAL_DIGITS_MAX], start: DECIMAL_DIGITS_MAX };
    loop {
        decimal.start -= 1;
        decimal.digits[decimal.start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return decimal;
        }
    }
}

impl Decimal {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

impl Deref for Decimal {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.digits[self.start..]).expect("decimal digits are ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::{decimal, hex};

    #[test]
    fn digits_are_those_of_fmt() {
        for number in [0, 1, 9, 10, 99, 0xf, 0x10, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(&*hex(number), format!("{number:016x}"));
            assert_eq!(&*decimal(number), number.to_string());
        }
    }
}
