//! REGISTER (RFC 3261 §10.3, RFC 5626 §6, RFC 5627 §5, RFC 3327 §5.3, RFC 3608): what a request asks for, checked whole before any of it is done.

use std::borrow::Cow;
use std::time::Duration;

use node::Transport;
use sip_message::{Contacts, HeaderId, Host, Message, NameAddr, Uri};
use smallvec::SmallVec;

use crate::binding::{Binding, Bindings, Reach};
use crate::config::RegistrationLimits;

/// Longest contact that is kept, in octets: GRUU clients send under 300, RFC 4475's longest is below 1,000.
const CONTACT_OCTETS_MAX: usize = 2048;
/// Path entries that are kept for a binding.
const PATH_ENTRIES_MAX: usize = 8;
/// Longest User-Agent that is kept, in octets.
const USER_AGENT_OCTETS_MAX: usize = 128;

/// What a REGISTER asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan<'m> {
    /// No Contact: only tell what is registered.
    Fetch,
    /// `Contact: *`
    RemoveAll,
    /// Everything here, or nothing.
    Change(SmallVec<[Wish<'m>; 1]>),
    /// The same request again: nothing changes, the answer is given again.
    Repeated,
}

/// One contact's part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish<'m> {
    /// The binding of this key.
    Remove(Cow<'m, str>),
    Put(NewBinding<'m>),
}

/// A binding as it is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NewBinding<'m> {
    pub(crate) key: Cow<'m, str>,
    pub(crate) uri: &'m str,
    pub(crate) params: Cow<'m, str>,
    pub(crate) q: Option<u16>,
    pub(crate) instance: Option<Cow<'m, str>>,
    pub(crate) reg_id: Option<u32>,
    pub(crate) reach: Reach,
    pub(crate) expires: Duration,
}

/// Why a REGISTER is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
}

const fn refuse<T>(status: u16, reason: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, reason })
}

/// Reads a REGISTER against what is registered.
pub(crate) fn plan<'m>(
    request: &'m Message,
    bindings: &Bindings,
    limits: &RegistrationLimits,
    transport: Transport,
    remote: std::net::SocketAddr,
) -> Result<Plan<'m>, Refusal> {
    let Ok(contacts) = request.contacts() else { return refuse(400, "Contact is malformed") };
    let (Ok(call_id), Ok(cseq)) = (request.call_id(), request.cseq()) else {
        return refuse(400, "Call-ID or CSeq is malformed");
    };
    // A malformed Expires counts as absent (RFC 3261 §20.19).
    let expires = request.number(HeaderId::Expires).ok().flatten();
    let order = |b: &Binding| order(b, call_id, cseq.number);
    let list = match contacts {
        Contacts::Star if expires != Some(0) => return refuse(400, "Contact: * needs Expires: 0"),
        Contacts::Star => {
            return match bindings.iter().map(order).max() {
                Some(Order::Older) => refuse(500, "CSeq is out of order"),
                _ => Ok(Plan::RemoveAll),
            };
        }
        Contacts::List(list) => list,
    };
    if list.is_empty() {
        return Ok(Plan::Fetch);
    }
    let mut wishes = SmallVec::new();
    let mut is_repeated = false;
    for contact in list {
        let new = NewBinding::read(request, &contact.addr, contact.q)?;
        let old = bindings.by_key(&new.key);
        match old.map(order) {
            Some(Order::Older) => return refuse(500, "CSeq is out of order"),
            Some(Order::Same) => is_repeated = true,
            Some(Order::Newer) | None => {}
        }
        let asked =
            contact.expires.or(expires).map_or(limits.expires_default, |s| Duration::from_secs(s.into()));
        if asked.is_zero() {
            wishes.push(Wish::Remove(new.key));
            continue;
        }
        if asked < limits.expires_min {
            return refuse(423, "the registration is too brief");
        }
        let reach = new.reach(request, &contact.addr.uri, transport, remote);
        wishes.push(Wish::Put(NewBinding { expires: asked.min(limits.expires_max), reach, ..new }));
    }
    if is_repeated {
        return Ok(Plan::Repeated);
    }
    check_count(bindings, &wishes, limits)?;
    Ok(Plan::Change(wishes))
}

/// Path of a REGISTER, topmost first (RFC 3327 §5.3).
///
/// A client that says nothing of `path` is refused, but where a server of ours wrote it: what stands between us and remote
/// clients is no surprise to anybody, and few of them know the extension.
pub(crate) fn path(request: &Message, is_ours: bool) -> Result<Vec<Box<str>>, Refusal> {
    let mut path = Vec::new();
    for entry in request.name_addrs(HeaderId::Path) {
        let Ok(entry) = entry else { return refuse(400, "Path is malformed") };
        if !entry.uri.is_sip() || !entry.uri.params().has("lr") {
            return refuse(400, "Path holds an entry that is no loose route");
        }
        path.push(format!("<{}>", entry.uri.as_str()).into());
    }
    if path.len() > PATH_ENTRIES_MAX {
        return refuse(400, "Path is too long");
    }
    if !path.is_empty() && !is_ours && !request.has_option(HeaderId::Supported, "path") {
        return refuse(421, "a path was recorded for a client that does not know it");
    }
    Ok(path)
}

/// User-Agent as it is kept: its first octets, without control characters.
pub(crate) fn user_agent(request: &Message) -> Box<str> {
    let value = request.header(HeaderId::UserAgent).unwrap_or(b"");
    let text = String::from_utf8_lossy(&value[..value.len().min(USER_AGENT_OCTETS_MAX)]);
    match text.bytes().any(|b| b.is_ascii_control()) {
        true => text.replace(|c: char| c.is_control(), " ").into(),
        false => text.into(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Newer,
    Same,
    Older,
}

/// RFC 3261 §10.3 step 7: within a Call-ID, CSeq only rises.
fn order(binding: &Binding, call_id: &str, cseq: u32) -> Order {
    if &*binding.call_id != call_id {
        return Order::Newer;
    }
    match cseq.cmp(&binding.cseq) {
        std::cmp::Ordering::Greater => Order::Newer,
        std::cmp::Ordering::Equal => Order::Same,
        std::cmp::Ordering::Less => Order::Older,
    }
}

fn check_count(bindings: &Bindings, wishes: &[Wish<'_>], limits: &RegistrationLimits) -> Result<(), Refusal> {
    if bindings.0.len() + wishes.len() <= limits.bindings_per_user_max {
        return Ok(());
    }
    let mut keys: Vec<&str> = bindings.iter().map(|b| &*b.key).collect();
    for wish in wishes {
        match wish {
            Wish::Put(new) if !keys.contains(&&*new.key) => keys.push(&new.key),
            Wish::Remove(key) => keys.retain(|k| *k != &**key),
            Wish::Put(_) => {}
        }
    }
    if keys.len() > limits.bindings_per_user_max.max(bindings.0.len()) {
        return refuse(403, "too many devices are registered");
    }
    Ok(())
}

impl<'m> NewBinding<'m> {
    fn read(request: &Message, addr: &NameAddr<'m>, q: Option<u16>) -> Result<NewBinding<'m>, Refusal> {
        if !addr.uri.is_sip() {
            return refuse(400, "only sip and sips contacts can be registered");
        }
        if addr.text.len() > CONTACT_OCTETS_MAX {
            return refuse(413, "the contact is too long");
        }
        let instance = addr.params.get_unquoted("+sip.instance").map(without_brackets);
        let instance = instance.filter(|i| !i.is_empty());
        let does_outbound = || {
            request.has_option(HeaderId::Supported, "outbound")
                || request.has_option(HeaderId::Require, "outbound")
        };
        // RFC 5626 §6: the edge that the client's flow ends at says whether it keeps flows; it wrote the first entry, the last one.
        let edge = request.name_addrs(HeaderId::Path).last();
        let edge_does_outbound = edge.is_none_or(|edge| edge.is_ok_and(|e| e.uri.params().has("ob")));
        let reg_id = match addr.params.get("reg-id").map(str::parse::<u32>) {
            // Without an instance it is ignored (RFC 5626 §6).
            Some(Ok(id)) if instance.is_some() && id > 0 && does_outbound() => match edge_does_outbound {
                true => Some(id),
                false => return refuse(439, "the first hop does not keep flows (outbound)"),
            },
            _ => None,
        };
        let key = match (&instance, reg_id) {
            (Some(instance), Some(id)) => format!("{instance}#{id}").into(),
            (Some(instance), None) => instance.clone(),
            _ => addr.uri.as_str().into(),
        };
        let kept = addr.params.iter().filter(|(name, _)| {
            !["expires", "q", "pub-gruu", "temp-gruu", "gruu"].iter().any(|n| name.eq_ignore_ascii_case(n))
        });
        let params: String = kept
            .map(
                |(name, value)| {
                    if value.is_empty() { format!(";{name}") } else { format!(";{name}={value}") }
                },
            )
            .collect();
        Ok(NewBinding {
            key,
            uri: addr.uri.as_str(),
            params: params.into(),
            q,
            instance,
            reg_id,
            reach: Reach::Contact,
            expires: Duration::ZERO,
        })
    }

    /// How the device will be reached.
    fn reach(
        &self,
        request: &Message,
        uri: &Uri<'_>,
        transport: Transport,
        remote: std::net::SocketAddr,
    ) -> Reach {
        let has_path = request.header(HeaderId::Path).is_some();
        if has_path {
            return Reach::Contact;
        }
        let outbound = self.reg_id.is_some() || uri.params().has("ob");
        match transport {
            _ if outbound => Reach::Flow,
            // A client is no TLS server that we could verify, and a WebSocket is opened by the browser alone.
            Transport::Tls | Transport::Ws | Transport::Wss => Reach::Flow,
            Transport::Tcp => Reach::FlowElseContact,
            // Who asks for rport wants its answers where they come from (RFC 3581 §1): requests take the same way through its NAT.
            Transport::Udp => {
                let is_symmetric = || request.top_via().is_ok_and(|v| v.params.has("rport"));
                let is_where_it_says =
                    uri.host() == Host::Address(remote.ip()) && uri.port().unwrap_or(5060) == remote.port();
                if is_where_it_says || is_symmetric() { Reach::Flow } else { Reach::Contact }
            }
        }
    }
}

/// The value of `+sip.instance` (RFC 5626 §4.1) without `<` and `>`.
fn without_brackets(instance: Cow<'_, str>) -> Cow<'_, str> {
    const BRACKETS: [char; 2] = ['<', '>'];
    match instance {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(BRACKETS)),
        Cow::Owned(text) => Cow::Owned(text.trim_matches(BRACKETS).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn limits() -> RegistrationLimits {
        RegistrationLimits { bindings_per_user_max: 2, ..RegistrationLimits::default() }
    }

    fn message(headers: &str) -> Message {
        let text = format!(
            "REGISTER sip:contoso.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\nCall-ID: 1\r\n\
             CSeq: 1 REGISTER\r\n{headers}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).unwrap()
    }

    fn read(message: &Message) -> Result<Plan<'_>, Refusal> {
        plan(message, &Bindings::default(), &limits(), Transport::Udp, "192.0.2.1:5060".parse().unwrap())
    }

    fn put(message: &Message) -> NewBinding<'_> {
        match read(message).unwrap() {
            Plan::Change(wishes) => match wishes.into_iter().next().unwrap() {
                Wish::Put(new) => new,
                Wish::Remove(key) => panic!("remove {key}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn expiry_is_bounded() {
        let seconds = |headers: &str| put(&message(headers)).expires.as_secs();
        assert_eq!(seconds("Contact: <sip:a@192.0.2.1>\r\n"), 3600);
        assert_eq!(seconds("Contact: <sip:a@192.0.2.1>\r\nExpires: 100\r\n"), 100);
        assert_eq!(seconds("Contact: <sip:a@192.0.2.1>;expires=200\r\nExpires: 100\r\n"), 200);
        assert_eq!(seconds("Contact: <sip:a@192.0.2.1>;expires=4294967295\r\n"), 7200);
        assert_eq!(read(&message("Contact: <sip:a@192.0.2.1>;expires=59\r\n")).unwrap_err().status, 423);
    }

    #[test]
    fn a_star_stands_alone_and_with_expires_zero() {
        assert_eq!(read(&message("Contact: *\r\nExpires: 0\r\n")), Ok(Plan::RemoveAll));
        assert_eq!(read(&message("Contact: *\r\nExpires: 1\r\n")).unwrap_err().status, 400);
        assert_eq!(read(&message("Contact: *\r\n")).unwrap_err().status, 400);
        assert_eq!(read(&message("")), Ok(Plan::Fetch));
    }

    #[test]
    fn an_instance_names_the_binding_and_a_reg_id_its_flow() {
        let contact = "Contact: <sip:a@192.0.2.1>;reg-id=2;+sip.instance=\"<urn:uuid:1>\"\r\n";
        assert_eq!(&*put(&message(contact)).key, "urn:uuid:1");
        let outbound = message(&format!("Supported: path, outbound\r\n{contact}"));
        let outbound = put(&outbound);
        assert_eq!((&*outbound.key, outbound.reg_id, outbound.reach), ("urn:uuid:1#2", Some(2), Reach::Flow));
        assert_eq!(&*put(&message("Contact: <sip:a@192.0.2.1;x=y>\r\n")).key, "sip:a@192.0.2.1;x=y");
    }

    #[test]
    fn parameters_of_contact_and_uri_stay_apart() {
        let message = message("Contact: <sip:a@192.0.2.1;inside>;outside;q=0.5;expires=100\r\n");
        let new = put(&message);
        assert_eq!((new.uri, &*new.params, new.q), ("sip:a@192.0.2.1;inside", ";outside", Some(500)));
    }

    #[test]
    fn too_many_devices_are_refused_whole() {
        let contacts = "Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.1>, <sip:c@192.0.2.1>\r\n";
        assert_eq!(read(&message(contacts)).unwrap_err().status, 403);
    }

    #[test]
    fn other_schemes_are_refused() {
        assert_eq!(read(&message("Contact: <mailto:a@contoso.example>\r\n")).unwrap_err().status, 400);
    }

    #[test]
    fn a_phone_that_listens_elsewhere_is_reached_there() {
        assert_eq!(put(&message("Contact: <sip:a@192.0.2.1>\r\n")).reach, Reach::Flow);
        assert_eq!(put(&message("Contact: <sip:a@192.0.2.1:5070>\r\n")).reach, Reach::Contact);
    }
}
