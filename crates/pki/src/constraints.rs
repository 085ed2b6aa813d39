//! The names that a CA may issue for (RFC 5280 §4.2.1.10): read from its certificate, written into it, and asked.
//!
//! Only the kinds that SIP uses are kept: DNS names and IP addresses. Constraints on DNS names hold for the host of
//! `sip:` URI names too. RFC 5280 has a kind for URIs of its own, which has to refuse every URI without an authority
//! part (`//host`), and so every `sip:` URI; that is why TLS libraries check no `sip:` URI at all, and why we write
//! no such constraint.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use x509_parser::prelude::{GeneralName, X509Certificate};

/// What a CA may issue for. The default is anything.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Constraints {
    /// With `Some`, only names that are one of these or below one; in lower case.
    pub permitted_domains: Option<Vec<String>>,
    /// Names that are one of these or below one are refused, whatever is permitted.
    pub excluded_domains: Vec<String>,
    /// With `Some`, only addresses in one of these ranges.
    pub permitted_addresses: Option<Vec<AddressRange>>,
    /// Addresses in these ranges are refused, whatever is permitted.
    pub excluded_addresses: Vec<AddressRange>,
}

/// Addresses that begin with the same bits, such as `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    network: IpAddr,
    /// At most 32 for IPv4, 128 for IPv6.
    prefix: u8,
}

/// The address ranges of a new CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Certificates may hold any address.
    Any,
    /// They may hold those of these ranges; without a range, none.
    Within(Vec<AddressRange>),
}

impl Constraints {
    /// Permits these domains with everything below them, and these addresses.
    pub fn to(domains: &[String], addresses: Addresses) -> Constraints {
        let mut constraints = Constraints {
            permitted_domains: Some(domains.iter().map(|domain| plain(domain)).collect()),
            ..Constraints::default()
        };
        match addresses {
            Addresses::Any => {}
            // An empty list of permitted ranges cannot be written: "none" is the exclusion of all.
            Addresses::Within(ranges) if ranges.is_empty() => {
                constraints.excluded_addresses = vec![AddressRange::ALL_V4, AddressRange::ALL_V6];
            }
            Addresses::Within(ranges) => constraints.permitted_addresses = Some(ranges),
        }
        constraints
    }

    /// Whether anything is refused at all.
    pub fn is_empty(&self) -> bool {
        *self == Constraints::default()
    }

    /// Whether a DNS name, or the host of a `sip:` URI, may stand in a certificate. A wildcard is asked for as it
    /// is written.
    pub fn permit_domain(&self, domain: &str) -> bool {
        let domain = plain(domain);
        let is_below = |constraint: &String| is_within(&domain, constraint);
        self.permitted_domains.as_ref().is_none_or(|permitted| permitted.iter().any(is_below))
            && !self.excluded_domains.iter().any(is_below)
    }

    /// Whether an address may stand in a certificate.
    pub fn permit_address(&self, address: IpAddr) -> bool {
        let holds = |range: &AddressRange| range.contains(address);
        self.permitted_addresses.as_ref().is_none_or(|permitted| permitted.iter().any(holds))
            && !self.excluded_addresses.iter().any(holds)
    }

    /// Those of a CA's certificate; an extension that cannot be parsed permits nothing.
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Constraints {
        let extension = match certificate.name_constraints() {
            Ok(None) => return Constraints::default(),
            Ok(Some(extension)) => extension.value,
            Err(_) => {
                let nothing = Addresses::Within(Vec::new());
                return Constraints::to(&[], nothing);
            }
        };
        let mut constraints = Constraints::default();
        for subtree in extension.permitted_subtrees.iter().flatten() {
            match &subtree.base {
                GeneralName::DNSName(name) => {
                    constraints.permitted_domains.get_or_insert_default().push(plain(name));
                }
                GeneralName::IPAddress(octets) => {
                    let permitted = constraints.permitted_addresses.get_or_insert_default();
                    permitted.extend(AddressRange::of_octets(octets));
                }
                _ => {}
            }
        }
        for subtree in extension.excluded_subtrees.iter().flatten() {
            match &subtree.base {
                GeneralName::DNSName(name) => constraints.excluded_domains.push(plain(name)),
                GeneralName::IPAddress(octets) => {
                    constraints.excluded_addresses.extend(AddressRange::of_octets(octets));
                }
                _ => {}
            }
        }
        constraints
    }

    /// The content of the extension. The caller leaves it out where there is none.
    pub(crate) fn to_der(&self) -> Vec<u8> {
        let subtrees = |domains: &[String], addresses: &[AddressRange]| -> Vec<u8> {
            let domains = domains.iter().map(|name| der(TAG_DNS_NAME, name.as_bytes()));
            let addresses = addresses.iter().map(|range| der(TAG_IP_ADDRESS, &range.to_octets()));
            domains.chain(addresses).flat_map(|base| der(TAG_SEQUENCE, &base)).collect()
        };
        let permitted = subtrees(
            self.permitted_domains.as_deref().unwrap_or_default(),
            self.permitted_addresses.as_deref().unwrap_or_default(),
        );
        let excluded = subtrees(&self.excluded_domains, &self.excluded_addresses);
        let mut content = Vec::new();
        for (tag, list) in [(TAG_PERMITTED, permitted), (TAG_EXCLUDED, excluded)] {
            if !list.is_empty() {
                content.extend(der(tag, &list));
            }
        }
        der(TAG_SEQUENCE, &content)
    }
}

/// For people: `contoso.example and below; no addresses`.
impl fmt::Display for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("any name");
        }
        let ranges = |ranges: &[AddressRange]| {
            ranges.iter().map(AddressRange::to_string).collect::<Vec<_>>().join(", ")
        };
        match &self.permitted_domains {
            Some(domains) if domains.is_empty() => f.write_str("no host names")?,
            Some(domains) => write!(f, "{} and below", domains.join(", "))?,
            None => f.write_str("any host name")?,
        }
        if !self.excluded_domains.is_empty() {
            write!(f, ", but not {}", self.excluded_domains.join(", "))?;
        }
        let all = [AddressRange::ALL_V4, AddressRange::ALL_V6];
        match &self.permitted_addresses {
            _ if all.iter().all(|range| self.excluded_addresses.contains(range)) => {
                f.write_str("; no addresses")
            }
            Some(permitted) => write!(f, "; addresses of {}", ranges(permitted)),
            None if self.excluded_addresses.is_empty() => f.write_str("; any address"),
            None => write!(f, "; addresses outside {}", ranges(&self.excluded_addresses)),
        }
    }
}

impl AddressRange {
    /// Every IPv4 address.
    pub const ALL_V4: AddressRange = AddressRange { network: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
    /// Every IPv6 address.
    pub const ALL_V6: AddressRange = AddressRange { network: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 };

    /// Whether an address is one of them. An IPv4 address is in no IPv6 range, also not in its mapped form.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Address and mask, one behind the other (RFC 5280 §4.2.1.10). A mask with holes names no range.
    fn of_octets(octets: &[u8]) -> Option<AddressRange> {
        if let Ok(octets) = <[u8; 8]>::try_from(octets) {
            let (network, mask) = octets.split_at(4);
            let network = Ipv4Addr::from(<[u8; 4]>::try_from(network).expect("half of eight"));
            let mask = u32::from_be_bytes(mask.try_into().expect("half of eight"));
            let is_whole = mask.leading_ones() + mask.trailing_zeros() == 32;
            return is_whole
                .then_some(AddressRange { network: network.into(), prefix: mask.leading_ones() as u8 });
        }
        let octets = <[u8; 32]>::try_from(octets).ok()?;
        let (network, mask) = octets.split_at(16);
        let network = Ipv6Addr::from(<[u8; 16]>::try_from(network).expect("half of 32"));
        let mask = u128::from_be_bytes(mask.try_into().expect("half of 32"));
        let is_whole = mask.leading_ones() + mask.trailing_zeros() == 128;
        is_whole.then_some(AddressRange { network: network.into(), prefix: mask.leading_ones() as u8 })
    }

    fn to_octets(self) -> Vec<u8> {
        match self.network {
            IpAddr::V4(network) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                [network.octets(), mask.to_be_bytes()].concat()
            }
            IpAddr::V6(network) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                [network.octets(), mask.to_be_bytes()].concat()
            }
        }
    }
}

/// `192.0.2.0/24`, `2001:db8::/32`, or one address. Bits behind the prefix must be zero: else a slip would go
/// unnoticed.
impl FromStr for AddressRange {
    type Err = String;

    fn from_str(text: &str) -> Result<AddressRange, String> {
        let wrong = || format!("{text:?} is no range of addresses\n  help: write it as 192.0.2.0/24");
        let (network, prefix) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let network: IpAddr = network.parse().map_err(|_| wrong())?;
        let bits = if network.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse::<u8>().ok().filter(|prefix| *prefix <= bits).ok_or_else(wrong)?,
            None => bits,
        };
        let range = AddressRange { network, prefix };
        let octets = range.to_octets();
        let (network, mask) = octets.split_at(octets.len() / 2);
        match network.iter().zip(mask).all(|(octet, mask)| octet & !mask == 0) {
            true => Ok(range),
            false => Err(format!(
                "{text:?} has bits behind its prefix\n  help: write the first address of the range"
            )),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// A constraint covers its own name and everything below; one that begins with a dot, as OpenSSL and Windows write
/// them, only what is below. The empty one covers everything.
fn is_within(domain: &str, constraint: &str) -> bool {
    if constraint.is_empty() {
        return true;
    }
    match domain.strip_suffix(constraint) {
        Some("") => !constraint.starts_with('.'),
        Some(before) => constraint.starts_with('.') || before.ends_with('.'),
        None => false,
    }
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

const TAG_SEQUENCE: u8 = 0x30;
/// `[0]` and `[1]` of NameConstraints, implicit sequences.
const TAG_PERMITTED: u8 = 0xa0;
const TAG_EXCLUDED: u8 = 0xa1;
/// `[2]` and `[7]` of GeneralName, implicit strings.
const TAG_DNS_NAME: u8 = 0x82;
const TAG_IP_ADDRESS: u8 = 0x87;

/// One value in DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut value = vec![tag];
    match content.len() {
        length @ 0..=0x7f => value.push(length as u8),
        length => {
            let octets = length.to_be_bytes();
            let significant = &octets[octets.iter().position(|octet| *octet != 0).expect("it is not zero")..];
            value.push(0x80 | significant.len() as u8);
            value.extend_from_slice(significant);
        }
    }
    value.extend_from_slice(content);
    value
}
