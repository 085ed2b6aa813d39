//! Addresses that no stranger may aim us at, and names that spell addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The one spelling that we use of an address: IPv4-mapped IPv6 (RFC 4291 §2.5.5.2) becomes IPv4, so that nothing
/// hides behind the longer spelling.
pub(super) fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Whether an address (already [`plain`]) can be one peer. `0.0.0.0/8` and `::` would reach ourselves by accident,
/// multicast, broadcast and class E would reach many or nobody (RFC 6890); the same goes for what NAT64 (RFC 6052 §2.1)
/// would turn into one of them.
pub(super) fn is_one_peer(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_one_peer_v4(v4),
        IpAddr::V6(v6) => is_one_peer_v6(v6),
    }
}

fn is_one_peer_v4(ip: Ipv4Addr) -> bool {
    let first = ip.octets()[0];
    first != 0 && first < 224
}

fn is_one_peer_v6(ip: Ipv6Addr) -> bool {
    if ip == Ipv6Addr::LOCALHOST {
        return true;
    }
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let low = Ipv4Addr::from((u32::from(g) << 16) | u32::from(h));
    match [a, b, c, d, e, f] {
        // `::` and the IPv4-compatible addresses, which are deprecated (RFC 4291 §2.5.5.1).
        [0, 0, 0, 0, 0, 0] => false,
        [0x64, 0xff9b, 0, 0, 0, 0] => is_one_peer_v4(low),
        _ => !ip.is_multicast(),
    }
}

/// Longest name that DNS can hold, in characters without the final dot (RFC 1035 §2.3.4).
const NAME_CHARACTERS_MAX: usize = 253;
/// Longest label (RFC 1035 §2.3.4).
const LABEL_CHARACTERS_MAX: usize = 63;

/// A name as DNS and certificates compare it: lower case, no final dot. `None` for what cannot be a host's name,
/// which includes what only spells an address (`0`, `127.1`, `0x7f.1`): some resolvers would take it for one.
pub(super) fn host_name(written: &str) -> Option<String> {
    let name = written.strip_suffix('.').unwrap_or(written);
    if name.is_empty() || name.len() > NAME_CHARACTERS_MAX {
        return None;
    }
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_CHARACTERS_MAX
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !name.split('.').all(label_ok) {
        return None;
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    let number = match last.strip_prefix("0x").or_else(|| last.strip_prefix("0X")) {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => last.bytes().all(|b| b.is_ascii_digit()),
    };
    if number { None } else { Some(name.to_ascii_lowercase()) }
}
