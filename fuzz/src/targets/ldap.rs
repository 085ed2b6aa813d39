//! What a directory server sends: a stream of messages.

use ldap::wire::ber::frame_octets;
use ldap::wire::{COOKIE_OCTETS_MAX, Response, ResponseOperation};

/// Cutting a stream of answers, and reading each.
pub(super) fn ldap(octets: &[u8]) {
    let mut rest = octets;
    while let Ok(Some(length)) = frame_octets(rest) {
        let Some(message) = rest.get(..length) else { break };
        // However little has come, the same is said of it, or nothing yet.
        for short in 0..message.len().min(8) {
            assert!(
                matches!(frame_octets(&message[..short]), Ok(known) if known.is_none_or(|known| known == length))
            );
        }
        read(message);
        rest = &rest[length..];
    }
    read(octets);
}

fn read(message: &[u8]) {
    let Ok(response) = Response::parse(message) else { return };
    assert!(response.id.0 >= 0);
    for control in &response.controls {
        let page = control.as_page().and_then(Result::ok).map(|page| page.cookie);
        let synced = control.as_synced().and_then(Result::ok).map(|synced| synced.cookie);
        assert!(page.into_iter().chain(synced).all(|cookie| cookie.len() <= COOKIE_OCTETS_MAX));
    }
    if let ResponseOperation::Entry(entry) = response.operation {
        let values = entry.attributes.iter().flat_map(|(_, values)| values).map(Vec::len);
        let names = entry.attributes.iter().map(|(name, _)| name.len());
        assert!(values.sum::<usize>() + names.sum::<usize>() + entry.dn.len() <= message.len());
    }
}
