//! Whom a URI in a document means.

use std::borrow::Cow;

use directory::SipAddress;

/// The address of record that a `sip:`, `sips:`, `pres:` or `im:` URI names (RFC 3859 §3), whatever port, parameters and
/// escapes it has; `None` for a URI of anything else.
pub fn address_of_uri(uri: &str) -> Option<SipAddress> {
    let (scheme, rest) = uri.trim().split_once(':')?;
    if !["sip", "sips", "pres", "im"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    // A user part may hold `;` and `?`, a host never does (RFC 3261 §25.1).
    let (user, host) = rest.rsplit_once('@')?;
    let host = host.split([';', '?']).next().unwrap_or_default();
    let host = host.split_once(':').map_or(host, |(host, _port)| host);
    // A password is no part of whom it names.
    let user = user.split_once(':').map_or(user, |(user, _password)| user);
    SipAddress::from_parts(&unescape(user)?, host).ok()
}

/// `sip:` and the address, escaped as a URI asks for.
pub fn uri_of_address(address: &SipAddress) -> String {
    let mut uri = String::with_capacity(address.as_str().len() + 4);
    uri.push_str("sip:");
    let user = address.user();
    if user.bytes().all(stands_in_user) {
        uri.push_str(user);
    } else {
        for octet in user.bytes() {
            if stands_in_user(octet) {
                uri.push(char::from(octet));
            } else {
                uri.push_str(&format!("%{octet:02X}"));
            }
        }
    }
    uri.push('@');
    uri.push_str(address.domain());
    uri
}

/// RFC 3261 §25.1: unreserved and user-unreserved.
fn stands_in_user(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(
            octet,
            b'-' | b'_'
                | b'.'
                | b'!'
                | b'~'
                | b'*'
                | b'\''
                | b'('
                | b')'
                | b'&'
                | b'='
                | b'+'
                | b'$'
                | b','
                | b';'
                | b'?'
                | b'/'
        )
}

fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            octets.push(*first);
            continue;
        }
        let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let [high, low, after @ ..] = rest else { return None };
        octets.push(digit(*high)? << 4 | digit(*low)?);
        rest = after;
    }
    String::from_utf8(octets).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::{address_of_uri, uri_of_address};

    #[test]
    fn uris_name_addresses() {
        for (uri, address) in [
            ("sip:alice@contoso.example", Some("alice@contoso.example")),
            (" SIPS:Alice@Contoso.example:5061;transport=tls?x=y ", Some("alice@contoso.example")),
            ("pres:al%69ce@contoso.example", Some("alice@contoso.example")),
            ("sip:alice:secret@contoso.example", Some("alice@contoso.example")),
            ("sip:j%C3%BCrgen@contoso.example", Some("jürgen@contoso.example")),
            ("tel:+4930123", None),
            ("alice@contoso.example", None),
            ("sip:contoso.example", None),
            ("sip:a%4@contoso.example", None),
            ("sip:a%ff@contoso.example", None),
            ("sip:%40@contoso.example", None),
            ("sip:é%", None),
        ] {
            assert_eq!(address_of_uri(uri).map(|a| a.as_str().to_owned()).as_deref(), address, "{uri}");
        }
        let address = address_of_uri("sip:j%C3%BCrgen+1@contoso.example").expect("an address");
        assert_eq!(uri_of_address(&address), "sip:j%C3%BCrgen+1@contoso.example");
    }
}
