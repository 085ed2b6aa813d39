//! Date.

/// Whether a value is a `SIP-date`, e.g. `Sat, 13 Nov 2010 23:29:00 GMT` (RFC 3261 §20.17). The weekday is not
/// checked against the day.
pub(crate) fn is_sip_date(value: &[u8]) -> bool {
    const WEEKDAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    // A template: `0` stands for a digit, `a` for a letter that is looked at below.
    const TEMPLATE: &[u8] = b"aaa, 00 aaa 0000 00:00:00 GMT";
    if value.len() != TEMPLATE.len() {
        return false;
    }
    let fits = value.iter().zip(TEMPLATE).all(|(&byte, &wanted)| match wanted {
        b'0' => byte.is_ascii_digit(),
        b'a' => byte.is_ascii_alphabetic(),
        _ => byte == wanted,
    });
    let two_digits = |at: usize| (value[at] - b'0') * 10 + (value[at + 1] - b'0');
    fits && WEEKDAYS.iter().any(|name| value[..3].eq_ignore_ascii_case(name))
        && MONTHS.iter().any(|name| value[8..11].eq_ignore_ascii_case(name))
        && (1..=31).contains(&two_digits(5))
        && two_digits(17) < 24
        && two_digits(20) < 60
        && two_digits(23) <= 60
}
