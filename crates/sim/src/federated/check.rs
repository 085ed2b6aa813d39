//! What must hold between organisations, whatever happens. Each checker looks at the wire, and at what was decided.

use std::collections::{BTreeMap, BTreeSet};

use federation::origin::TRUST_HEADERS;
use node::Instant;
use records::{Change, Direction};
use sip_message::{HeaderId, Message, Method};

use super::{Layout, Road};
use crate::World;
use crate::check::Violation;
use crate::event::{Event, Fact, Mark, Party, Payload, What};

/// RFC 3261 §8.1.1.6: how many hops a request lives.
const HOPS_MAX: usize = 70;

/// Looks at everything that happened in a world that has come to rest.
pub fn run(world: &World, layout: &Layout) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut say = |checker, found: Vec<(Instant, String)>| {
        violations.extend(found.into_iter().map(|(at, what)| Violation { checker, at, what }));
    };
    say("proved", proved(world, layout));
    say("one road", one_road(world, layout));
    say("blocked", blocked(world, layout));
    say("hidden", hidden(world, layout));
    say("answered", answered(world));
    say("loops", loops(world));
    violations
}

/// What makes a request the same one on its whole way.
type Name = (String, u32, String);

/// A request on the wire.
struct Request<'e> {
    at: Instant,
    from: Party,
    to: Party,
    message: &'e Message,
    name: Name,
    /// The domain of From.
    sender: String,
}

fn request<'e>(event: &'e Event, from: Party, to: Party, payload: &'e Payload) -> Option<Request<'e>> {
    let Payload::Sip(message) = payload else { return None };
    let cseq = message.cseq().ok().filter(|_| message.is_request())?;
    let name = (message.call_id().ok()?.to_owned(), cseq.number, cseq.method.as_str().to_owned());
    let sender = message.from().ok()?.uri.host_text().to_ascii_lowercase();
    Some(Request { at: event.at, from, to, message, name, sender })
}

fn sent(event: &Event) -> Option<Request<'_>> {
    match &event.what {
        What::Sent { from, to: Some(to), payload, .. } => request(event, *from, *to, payload),
        _ => None,
    }
}

fn arrived(event: &Event) -> Option<Request<'_>> {
    match &event.what {
        What::Arrived { from, to, payload } => request(event, *from, *to, payload),
        _ => None,
    }
}

/// Who made which INVITE.
#[derive(Default)]
struct Invites(BTreeSet<(Party, String)>);

impl Invites {
    /// Whether a request is CANCEL, or the ACK of a refusal: it belongs to an INVITE that went the same way before, bears its
    /// branch (RFC 3261 §9.1, §17.1.1.3), and is made by whoever made that, not passed on.
    fn had_before(&mut self, request: &Request<'_>) -> bool {
        let Some(branch) = request.message.top_via().ok().and_then(|via| via.branch().map(str::to_owned))
        else {
            return false;
        };
        match request.message.method() {
            Method::Invite => {
                self.0.insert((request.from, branch));
                false
            }
            Method::Ack | Method::Cancel => self.0.contains(&(request.from, branch)),
            _ => false,
        }
    }
}

/// Nothing crosses an edge for a domain that was not proved: what an edge passes inside, or the hub passes on, came to it
/// over a connection with an edge of the very organisation that From names, or with the hub that got it so.
fn proved(world: &World, layout: &Layout) -> Vec<(Instant, String)> {
    let mut found = Vec::new();
    // From whom a party got what.
    let mut got: BTreeMap<(Party, Name), BTreeSet<Party>> = BTreeMap::new();
    let mut invites = Invites::default();
    for event in world.events() {
        if let Some(request) = arrived(event) {
            got.entry((request.to, request.name)).or_default().insert(request.from);
            continue;
        }
        let Some(request) = sent(event) else { continue };
        let edge = layout.edge_of(request.from);
        let goes_in = edge.is_some_and(|org| layout.organisations[org].has_inside(request.to));
        let is_own = edge.is_some_and(|org| layout.organisations[org].domain == request.sender);
        if invites.had_before(&request) || !(goes_in && !is_own || layout.is_hub(request.from)) {
            continue;
        }
        let from = |at: Party| got.get(&(at, request.name.clone()));
        let is_theirs = |party: &Party| {
            layout.edge_of(*party).is_some_and(|org| layout.organisations[org].domain == request.sender)
        };
        let speaks = |party: &Party| {
            is_theirs(party)
                || layout.is_hub(*party) && from(*party).is_some_and(|before| before.iter().any(is_theirs))
        };
        if !from(request.from).is_some_and(|before| before.iter().any(speaks)) {
            let method = request.message.method().as_str().to_owned();
            found.push((request.at, format!("a {method} of {} crossed that nobody proved", request.sender)));
        }
    }
    found
}

/// A domain arrives by the road that was decided for it when it arrived, and by no other.
fn one_road(world: &World, layout: &Layout) -> Vec<(Instant, String)> {
    let mut found = Vec::new();
    // What a party got by which road, and when.
    let mut came: BTreeMap<(Party, Name), Vec<(Instant, Road)>> = BTreeMap::new();
    let mut invites = Invites::default();
    for event in world.events() {
        if let Some(request) = arrived(event) {
            let road = if layout.is_hub(request.from) { Road::Hub } else { Road::Direct };
            came.entry((request.to, request.name)).or_default().push((request.at, road));
            continue;
        }
        let Some(request) = sent(event).filter(|request| !invites.had_before(request)) else { continue };
        let Some(org) = layout.edge_of(request.from) else { continue };
        let organisation = &layout.organisations[org];
        if !organisation.has_inside(request.to) || organisation.domain == request.sender {
            continue;
        }
        let came = came.get(&(request.from, request.name)).map_or(&[][..], Vec::as_slice);
        let is_right = |(at, road): &(Instant, Road)| match layout.road(*at, org, &request.sender) {
            Road::Discovered => *road == Road::Direct,
            decided => decided == *road,
        };
        if !came.iter().any(is_right) {
            let method = request.message.method().as_str().to_owned();
            let roads: Vec<Road> = came.iter().map(|(_, road)| *road).collect();
            let decided = layout.road(request.at, org, &request.sender);
            let sender = &request.sender;
            found
                .push((request.at, format!("a {method} of {sender} came {roads:?}, decided is {decided:?}")));
        }
    }
    found
}

/// Who is blocked gets nothing from the moment of the decision on: no request, and no answer that anybody inside gave but 403, which
/// is what an edge says itself.
fn blocked(world: &World, layout: &Layout) -> Vec<(Instant, String)> {
    let mut found = Vec::new();
    let mut invites = Invites::default();
    // Answers that an edge got from its own servers.
    let mut from_inside: BTreeSet<(Party, Name, u16)> = BTreeSet::new();
    for event in world.events() {
        if let Some(request) = sent(event) {
            let is_leftover = invites.had_before(&request);
            let to = blocked_at(event, request.from, request.to, request.message, layout);
            if let Some(to) = to.filter(|_| !is_leftover) {
                found.push((event.at, format!("{to} got a {} although it is blocked", request.name.2)));
            }
            continue;
        }
        match &event.what {
            What::Arrived { from, to, payload: Payload::Sip(answer) } => {
                let org = layout.edge_of(*to).map(|org| &layout.organisations[org]);
                if let Some((name, status)) =
                    answer_of(answer).filter(|_| org.is_some_and(|org| org.has_inside(*from)))
                {
                    from_inside.insert((*to, name, status));
                }
            }
            What::Sent { from, to: Some(to), payload: Payload::Sip(answer), .. } => {
                let Some((name, status)) = answer_of(answer) else { continue };
                let Some(domain) = blocked_at(event, *from, *to, answer, layout) else { continue };
                let method = name.2.clone();
                if from_inside.contains(&(*from, name, status)) {
                    found.push((
                        event.at,
                        format!("{domain} got {status} to {method} although it is blocked"),
                    ));
                }
            }
            _ => {}
        }
    }
    found
}

/// The other domain of a message that an honest edge sends to another organisation or to the hub, if its own has blocked that.
fn blocked_at(event: &Event, from: Party, to: Party, message: &Message, layout: &Layout) -> Option<String> {
    let org = layout.edge_of(from).filter(|org| layout.organisations[*org].is_honest)?;
    let other = match layout.edge_of(to) {
        Some(other) if other != org => layout.organisations[other].domain.to_owned(),
        None if layout.is_hub(to) => {
            let domain = |uri: sip_message::Uri<'_>| uri.host_text().to_ascii_lowercase();
            // Within a dialog that the other side began, the other side stands in To only if we answered it.
            let (from, to) = (domain(message.from().ok()?.uri), domain(message.to().ok()?.uri));
            if to == layout.organisations[org].domain { from } else { to }
        }
        Some(_) | None => return None,
    };
    (layout.road(event.at, org, &other) == Road::Blocked).then_some(other)
}

/// What an answer is to, and what it says; provisional 100 is said by every hop for itself.
fn answer_of(message: &Message) -> Option<(Name, u16)> {
    let status = message.status().filter(|status| *status > 100 && *status != 403)?;
    let cseq = message.cseq().ok()?;
    Some(((message.call_id().ok()?.to_owned(), cseq.number, cseq.method.as_str().to_owned()), status))
}

/// What is inside stays inside: no message that leaves an edge for outside names a server inside, or says what our servers say
/// among each other.
fn hidden(world: &World, layout: &Layout) -> Vec<(Instant, String)> {
    let mut found = Vec::new();
    for event in world.events() {
        let What::Sent { from, to: Some(to), payload: Payload::Sip(message), .. } = &event.what else {
            continue;
        };
        let Some(organisation) = layout.edge_of(*from).map(|org| &layout.organisations[org]) else {
            continue;
        };
        if organisation.has_inside(*to) || !organisation.is_honest {
            continue;
        }
        let domain = organisation.domain;
        let names = ["fe", "dir", "edge-in", "edge-in-1", "edge-in-2"].map(|host| format!("{host}.{domain}"));
        let said = TRUST_HEADERS.iter().find(|name| message.header_named(name).is_some());
        // What names the parties stays as they wrote it.
        let is_kept = |id| matches!(id, HeaderId::From | HeaderId::To | HeaderId::Contact);
        let header = message.headers().filter(|header| !is_kept(header.id)).find(|header| {
            names.iter().any(|name| header.value.windows(name.len()).any(|text| text == name.as_bytes()))
        });
        let method = message.cseq().map_or(String::new(), |cseq| cseq.method.as_str().to_owned());
        if let Some(name) = said {
            found.push((event.at, format!("{domain} shows {name} outside, of {method}")));
        } else if let Some(header) = header {
            let name = String::from_utf8_lossy(header.name);
            found.push((event.at, format!("{domain} shows a server inside, in {name} of {method}")));
        }
    }
    found
}

/// Every message is answered, and one that was accepted is on the recipient's disk.
fn answered(world: &World) -> Vec<(Instant, String)> {
    let mut found = Vec::new();
    let mut waiting: BTreeMap<Mark, Instant> = BTreeMap::new();
    let mut accepted: BTreeMap<Mark, Instant> = BTreeMap::new();
    for event in world.events() {
        match &event.what {
            What::Fact { fact: Fact::Wrote { mark, .. }, .. } => {
                waiting.insert(mark.clone(), event.at);
            }
            What::Fact { fact: Fact::Concluded { mark, status }, .. } => {
                waiting.remove(mark);
                if (200..300).contains(status) {
                    accepted.insert(mark.clone(), event.at);
                }
            }
            _ => {}
        }
    }
    for event in world.events() {
        let What::Durable { change, .. } = &event.what else { continue };
        let Change::AppendMessage(message) = &**change else { continue };
        if message.direction == Direction::Received
            && let Some(mark) = Mark::find(&message.request)
        {
            accepted.remove(&mark);
        }
    }
    found.extend(waiting.into_iter().map(|(mark, at)| (at, format!("{mark} was never answered"))));
    found.extend(accepted.into_iter().map(|(mark, at)| (at, format!("{mark} was accepted and is nowhere"))));
    found
}

/// No request goes round for longer than its Max-Forwards lets it: one that did would pass the same way more often than that.
/// Repeated answers to INVITE repeat its ACK, but some ten times only.
fn loops(world: &World) -> Vec<(Instant, String)> {
    let mut passed: BTreeMap<(Name, Party, Party), usize> = BTreeMap::new();
    let mut found = Vec::new();
    for request in world.events().iter().filter_map(arrived) {
        let count = passed.entry((request.name.clone(), request.from, request.to)).or_default();
        *count += 1;
        if *count == HOPS_MAX + 1 {
            found.push((request.at, format!("a {} of {} goes round", request.name.2, request.sender)));
        }
    }
    found
}
