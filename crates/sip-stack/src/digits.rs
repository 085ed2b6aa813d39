//! Numbers and addresses in digits without the machinery of `fmt`: hexadecimal ones as branches, tags and digests show them
//! (`{:016x}`), decimal ones as header values hold them.

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Deref;

/// Sixteen digits.
pub(crate) struct Hex([u8; 16]);

/// All sixteen digits of a number, in lower case.
pub(crate) fn hex(number: u64) -> Hex {
    let mut digits = [0; 16];
    let (high, low) = digits.split_at_mut(8);
    high.copy_from_slice(&eight_hex((number >> 32) as u32));
    low.copy_from_slice(&eight_hex(number as u32));
    Hex(digits)
}

/// All eight digits of a number, in lower case: all at once, each in an octet of one word.
pub(crate) fn eight_hex(number: u32) -> [u8; 8] {
    let spread = u64::from(number);
    let spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let values = (spread | spread << 4) & u64::from_ne_bytes([0x0f; 8]);
    // 10 and above carry into the upper half of their octet.
    let letters = (values + u64::from_ne_bytes([6; 8])) >> 4 & u64::from_ne_bytes([1; 8]);
    let digits = values + u64::from_ne_bytes([b'0'; 8]) + letters * u64::from(b'a' - 10 - b'0');
    digits.to_be_bytes()
}

/// The number of eight digits as [`eight_hex`] writes them; `None` for all else.
pub(crate) fn read_eight_hex(digits: [u8; 8]) -> Option<u32> {
    let octets = u64::from_be_bytes(digits);
    let letters = octets >> 6 & u64::from_ne_bytes([1; 8]);
    let values = (octets & u64::from_ne_bytes([0x0f; 8])).wrapping_add(letters * 9);
    let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let quads = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    let number = (quads | quads >> 16) as u32;
    // What is no digit is not written so again.
    (eight_hex(number) == digits).then_some(number)
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

/// An address as `Display` writes it, without its machinery where that is simple.
pub(crate) fn push_ip(text: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let mut digits = [0; "255.255.255.255".len()];
            let mut length = 0;
            let mut push = |digit: u8| {
                digits[length] = digit;
                length += 1;
            };
            for (place, octet) in ip.octets().into_iter().enumerate() {
                if place > 0 {
                    push(b'.');
                }
                if octet >= 100 {
                    push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    push(b'0' + octet / 10 % 10);
                }
                push(b'0' + octet % 10);
            }
            text.extend_from_slice(&digits[..length]);
        }
        IpAddr::V6(ip) => write!(text, "{ip}").expect("a Vec takes everything"),
    }
}

/// A number without leading zeros.
pub(crate) fn push_decimal(text: &mut Vec<u8>, number: impl itoa::Integer) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{eight_hex, hex, push_decimal, push_ip, read_eight_hex};

    #[test]
    fn digits_are_those_of_fmt() {
        for number in [0, 1, 9, 10, 99, 0xf, 0x10, 0x0123_4567_89ab_cdef, 0xa0b1_c2d3_e4f5_0697, u64::MAX] {
            assert_eq!(&*hex(number), format!("{number:016x}"));
            let mut decimal = Vec::new();
            push_decimal(&mut decimal, number);
            assert_eq!(decimal, number.to_string().as_bytes());
        }
    }

    #[test]
    fn hexadecimal_digits_are_read_as_they_were_written() {
        for number in [0, 1, 0x0123_4567, 0x89ab_cdef, 0xfedc_ba98, u32::MAX] {
            assert_eq!(read_eight_hex(eight_hex(number)), Some(number));
        }
        for place in 0..8 {
            for octet in 0..=u8::MAX {
                let mut digits = *b"0a1b9f8e";
                digits[place] = octet;
                let is_digit = matches!(octet, b'0'..=b'9' | b'a'..=b'f');
                let text = String::from_utf8_lossy(&digits);
                let expected = is_digit.then(|| u32::from_str_radix(&text, 16).expect("digits"));
                assert_eq!(read_eight_hex(digits), expected, "{text}");
            }
        }
    }

    #[test]
    fn addresses_are_those_of_fmt() {
        for address in
            ["0.0.0.0", "9.10.99.100", "255.200.1.30", "::", "::1", "2001:db8::9", "1:2:3:4:5:6:7:8"]
        {
            let mut text = Vec::new();
            push_ip(&mut text, address.parse().unwrap());
            assert_eq!(text, address.as_bytes());
        }
    }
}
