//! What Active Directory says of an account within its tickets (MS-PAC §2.10, `UPN_DNS_INFO`), as the key server signed it.

/// An account of Active Directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `sAMAccountName`: the one name that nobody else in the domain can have. Computers' end in `$`.
    pub name: String,
    /// `userPrincipalName`, or what the domain makes of the account's name where there is none.
    pub user_principal_name: String,
    /// `objectSid`, as `S-1-5-21-...`.
    pub sid: String,
}

impl Account {
    /// MIT's name for the part of the ticket.
    pub(crate) const ATTRIBUTE: &str = "urn:mspac:upn-dns-info";

    /// Reads the part of the ticket. `None` where the account's name and identifier are not said: domain controllers without the updates of November 2021.
    pub fn parse(octets: &[u8]) -> Option<Account> {
        /// Name and identifier are there.
        const EXTENDED: u32 = 2;
        let flags = u32::from_le_bytes(octets.get(8..12)?.try_into().ok()?);
        if flags & EXTENDED == 0 {
            return None;
        }
        Some(Account {
            name: text(part(octets, 12)?)?,
            user_principal_name: text(part(octets, 0)?)?,
            sid: sid(part(octets, 16)?)?,
        })
    }
}

/// A length and an offset, two octets each, and what they point to.
fn part(octets: &[u8], at: usize) -> Option<&[u8]> {
    let word =
        |at: usize| octets.get(at..at + 2).map(|two| usize::from(u16::from_le_bytes([two[0], two[1]])));
    let (length, offset) = (word(at)?, word(at + 2)?);
    octets.get(offset..offset + length)
}

/// UTF-16, least octet first.
fn text(octets: &[u8]) -> Option<String> {
    let (units, rest) = octets.as_chunks::<2>();
    if !rest.is_empty() || units.is_empty() {
        return None;
    }
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    String::from_utf16(&units).ok()
}

/// MS-DTYP §2.4.2.2: revision, count, authority, so many parts.
fn sid(octets: &[u8]) -> Option<String> {
    let (&[1, count, ref authority @ ..], parts) = octets.split_first_chunk::<8>()? else { return None };
    let (parts, rest) = parts.as_chunks::<4>();
    if !rest.is_empty() || parts.len() != usize::from(count) {
        return None;
    }
    let authority = authority.iter().fold(0u64, |number, octet| number << 8 | u64::from(*octet));
    let parts: String = parts.iter().map(|part| format!("-{}", u32::from_le_bytes(*part))).collect();
    Some(format!("S-1-{authority}{parts}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Samba 4.17 writes it for `alice`, with shorter names.
    fn info(flags: u8) -> Vec<u8> {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let (upn, domain, name) = (utf16("a.s@c.example"), utf16("C.EXAMPLE"), utf16("alice"));
        let sid = [1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 0x51, 4, 0, 0];
        let mut octets = Vec::new();
        let mut offset = 24;
        for part in [&upn[..], &domain] {
            octets.extend([part.len() as u8, 0, offset, 0]);
            offset += part.len() as u8;
        }
        octets.extend([flags, 0, 0, 0]);
        for part in [&name[..], &sid] {
            octets.extend([part.len() as u8, 0, offset, 0]);
            offset += part.len() as u8;
        }
        octets.extend([0; 4]);
        octets.extend([upn, domain, name, sid.to_vec()].concat());
        octets
    }

    #[test]
    fn an_account_as_the_domain_describes_it() {
        let account = Account::parse(&info(2)).expect("it is whole");
        assert_eq!(account.name, "alice");
        assert_eq!(account.user_principal_name, "a.s@c.example");
        assert_eq!(account.sid, "S-1-5-21-1105");
    }

    #[test]
    fn without_the_extension_there_is_no_account() {
        assert_eq!(Account::parse(&info(1)), None);
    }

    #[test]
    fn what_is_cut_short_is_none() {
        let whole = info(2);
        for length in 0..whole.len() {
            assert_eq!(Account::parse(&whole[..length]), None, "{length} octets");
        }
    }

    #[test]
    fn a_false_count_of_parts_is_none() {
        assert_eq!(sid(&[1, 3, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 0x51, 4, 0, 0]), None);
        assert_eq!(sid(&[2, 1, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0]), None);
    }
}
