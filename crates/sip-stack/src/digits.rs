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
            for (place, octet) in ip.octets().into_iter().enumerate() {
                if place > 0 {
                    text.push(b'.');
                }
                push_decimal(text, octet);
            }
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
    use super::{hex, push_decimal, push_ip};

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
