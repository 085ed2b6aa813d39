//! objectGUID: sixteen octets whose first three fields stand in the other order.

use directory::ObjectId;

/// Reads an objectGUID (or an invocationId) as LDAP carries it: [MS-DTYP] 2.3.4.2 has the first three fields with the least octet
/// first, RFC 9562 §4 with the greatest. So an [`ObjectId`] is written as Microsoft's tools write the GUID. `None`: it has not 16
/// octets.
pub fn read(octets: &[u8]) -> Option<ObjectId> {
    Some(ObjectId(turned(octets.try_into().ok()?)))
}

/// The octets of an objectGUID as LDAP carries it, for filters.
pub fn octets(id: ObjectId) -> [u8; 16] {
    turned(id.0)
}

fn turned(mut octets: [u8; 16]) -> [u8; 16] {
    octets[..4].reverse();
    octets[4..6].reverse();
    octets[6..8].reverse();
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_written_as_the_tools_of_windows_write_it() {
        // The octets of the well-known GUID of the container Users, A9D1CA15-7688-11D1-ADED-00C04FD8D5CD.
        let carried = hex::decode("15cad1a98876d111aded00c04fd8d5cd").unwrap();
        let id = read(&carried).unwrap();
        assert_eq!(id.to_string(), "a9d1ca15-7688-11d1-aded-00c04fd8d5cd");
        assert_eq!(octets(id).as_slice(), carried);
        assert_eq!(read(&carried[1..]), None);
    }
}
