//! The order in which DNS wants its records tried (RFC 2782, RFC 3263 §4.1).

use node::{Naptr, Srv, Transport};
use rand::Rng;

/// Most NAPTR records that are looked at. Real domains have three.
const NAPTR_RECORDS_MAX: usize = 8;
/// Most SRV records of one name that are looked at: as many as a search tries at all.
const SRV_RECORDS_MAX: usize = super::CANDIDATES_MAX;

/// The SRV names of a NAPTR answer that we can use, best first (RFC 3263 §4.1).
pub(super) fn naptr(
    mut records: Vec<Naptr>,
    allowed: impl Fn(Transport) -> bool,
) -> Vec<(Transport, String)> {
    records.sort_by(|a, b| (a.order, a.preference, &a.service).cmp(&(b.order, b.preference, &b.service)));
    records
        .into_iter()
        .filter(|r| r.flags.eq_ignore_ascii_case("s"))
        .filter_map(|r| Some((service_transport(&r.service)?, r.replacement)))
        .filter(|(transport, _)| allowed(*transport))
        .take(NAPTR_RECORDS_MAX)
        .collect()
}

fn service_transport(service: &str) -> Option<Transport> {
    let known = [("SIP+D2U", Transport::Udp), ("SIP+D2T", Transport::Tcp), ("SIPS+D2T", Transport::Tls)];
    known.into_iter().find(|(name, _)| service.eq_ignore_ascii_case(name)).map(|(_, transport)| transport)
}

/// SRV records in the order in which to try them: by priority, within one priority drawn by weight (RFC 2782). The
/// result depends on the set of records and the generator, not on the order of the answer.
pub(super) fn srv(mut records: Vec<Srv>, rng: &mut impl Rng) -> Vec<Srv> {
    records.sort_by(|a, b| {
        (a.priority, a.weight, &a.target, a.port).cmp(&(b.priority, b.weight, &b.target, b.port))
    });
    records.dedup();
    let mut ordered = Vec::with_capacity(records.len().min(SRV_RECORDS_MAX));
    while !records.is_empty() && ordered.len() < SRV_RECORDS_MAX {
        let priority = records[0].priority;
        let same = records.iter().take_while(|r| r.priority == priority).count();
        ordered.push(records.remove(draw(&records[..same], rng)));
    }
    ordered
}

/// RFC 2782: the first record whose running sum of weights reaches a number drawn from 0 to the total, both included.
/// Records of weight 0 stand first, so that they have a small chance.
fn draw(records: &[Srv], rng: &mut impl Rng) -> usize {
    let total: u32 = records.iter().map(|r| u32::from(r.weight)).sum();
    let drawn = rng.random_range(0..=total);
    let mut sum = 0;
    records
        .iter()
        .position(|r| {
            sum += u32::from(r.weight);
            sum >= drawn
        })
        .expect("the sum of all weights reaches the number drawn")
}
