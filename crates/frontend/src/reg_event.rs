//! Who watches registrations: the event package `reg` (RFC 3680), each user's own.

use std::fmt::Write as _;

use directory::{Role, UserId};
use node::Flow;
use sip_message::{HeaderId, Message, Method, ResponseBuilder, Uri};
use sip_stack::dialog::{
    self, NotifyResult, Policy, Standing, Subscribe, SubscriptionId, Termination, Watch,
};
use sip_stack::stack::{Forwarding, NextHop, OwnOutcome, Target};
use std::time::Duration;

use crate::frontend::FrontEnd;
use crate::messaging::Own;
use crate::pipeline::{Refusal, Request};
use crate::router::Recipient;
use crate::users::{Account, AddressKey};

/// The package's name.
const PACKAGE: &str = "reg";
/// RFC 3680 §4.6.
const CONTENT_TYPE: &str = "application/reginfo+xml";
/// RFC 3680 §4.4 gives a default of 3761 seconds; §4.10 a least interval of 5.
const POLICY: Policy = Policy {
    expires_seconds_default: 3761,
    expires_seconds_min: 60,
    expires_seconds_max: 7200,
    interval_min: Duration::from_secs(5),
};
/// Each device of a user watches once; administrators watch more.
pub(crate) const LIMITS: dialog::Limits =
    dialog::Limits { subscriptions_max: 200_000, per_watcher_max: 64, per_resource_max: 64 };

impl FrontEnd {
    /// SUBSCRIBE and PUBLISH that are for this server.
    pub(crate) fn subscribe(
        &mut self,
        request: &Request<'_>,
        user: UserId,
        recipient: &Recipient,
    ) -> Result<(), Refusal> {
        let unknown_package = || {
            Refusal::new(489, "an event package that is not served here").with(HeaderId::AllowEvents, PACKAGE)
        };
        if request.method != Method::Subscribe {
            return Err(unknown_package());
        }
        let subscribe = Subscribe::read(request.message).map_err(refusal)?;
        if subscribe.package != PACKAGE {
            return Err(unknown_package());
        }
        let accepted = if subscribe.to_tag.is_some() {
            self.subscriptions.handle_subscribe(self.now.monotonic, &subscribe).map_err(refusal)?
        } else {
            let resource = self.watchable(user, recipient)?;
            let watcher = self.users.get(user).expect("who signed in exists").user.address.to_string();
            let contact = self.contact_on(request.arrival.flow);
            let watch = Watch {
                resource: &resource,
                watcher: &watcher,
                contact: &contact,
                standing: Standing::Active,
            };
            self.subscriptions.accept(self.now.monotonic, &subscribe, &watch, &POLICY).map_err(refusal)?
        };
        self.watch_flows.insert(accepted.id, request.arrival.flow);
        let mut response = ResponseBuilder::new(request.message, 200);
        response.to_tag(&accepted.id.local_tag()).copy_record_route();
        response.header(HeaderId::Expires, accepted.expires_seconds.to_string());
        response.header(HeaderId::Contact, self.contact_on(request.arrival.flow));
        let server = request.server.expect("a SUBSCRIBE has a transaction");
        self.stack.respond(self.now.monotonic, server, 200, &mut response, request.arrival, request.message);
        Ok(())
    }

    /// People watch their own registrations, administrators anybody's (RFC 3680 §4.8).
    fn watchable(&self, user: UserId, recipient: &Recipient) -> Result<String, Refusal> {
        let is_administrator = self.users.get(user).is_some_and(|a| a.user.role == Role::Administrator);
        match recipient {
            Recipient::User(watched, _) if *watched == user || is_administrator => {
                Ok(self.users.get(*watched).expect("the recipient was just found").user.address.to_string())
            }
            _ => Err(Refusal::new(403, "registrations are watched by their owner alone")),
        }
    }

    fn contact_on(&self, flow: Flow) -> String {
        let sent_by = self.stack.hops().sent_by(flow).unwrap_or_default();
        let transport = self.stack.hops().flow_facts(flow).map_or("udp", |(t, _)| t.uri_parameter());
        format!("<sip:{sent_by};transport={transport}>")
    }

    /// Whoever watches a user's registrations is told.
    pub(crate) fn bindings_changed(&mut self, user: UserId) {
        if self.subscriptions.is_empty() {
            return;
        }
        let Some(account) = self.users.get(user) else { return };
        let address = account.user.address.to_string();
        self.subscriptions.changed(self.now.monotonic, &address);
    }

    /// A user who is cut off watches nothing any more.
    pub(crate) fn stop_watching(&mut self, user: UserId) {
        let Some(account) = self.users.get(user) else { return };
        let address = account.user.address.to_string();
        self.subscriptions.terminate_watcher(self.now.monotonic, &address, Termination::Rejected);
    }

    /// A user is removed.
    pub(crate) fn stop_being_watched(&mut self, user: UserId) {
        let Some(account) = self.users.get(user) else { return };
        let address = account.user.address.to_string();
        self.subscriptions.terminate_resource(self.now.monotonic, &address, Termination::NoResource);
    }

    /// Sends the NOTIFYs that are due.
    pub(crate) fn send_notifies(&mut self) {
        while let Some(due) = self.subscriptions.poll_due(self.now.monotonic) {
            self.send_notify(due.id);
        }
        while let Some(ended) = self.subscriptions.poll_ended() {
            self.watch_flows.remove(&ended.id);
        }
    }

    fn send_notify(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.subscriptions.get(id) else { return };
        let (resource, version) = (subscription.resource().to_owned(), subscription.notified());
        let watcher = subscription.watcher().to_owned();
        let body = self.reginfo(&resource, version);
        let Some(notify) = self.subscriptions.notify(self.now.monotonic, id) else { return };
        let bytes = notify.build(None, Some((CONTENT_TYPE, body.as_bytes())));
        let Ok(message) = Message::parse(bytes) else { return };
        let hop = self.hop_to_watcher(id, &watcher, &notify.request_uri);
        let target = Target {
            uri: notify.request_uri,
            routes: Vec::new(),
            hop,
            q: 1000,
            cookie: 0,
            alternatives: Vec::new(),
        };
        let own = self.own_requests.insert(Own::Notify(id));
        let own = u64::try_from(own).expect("an index fits");
        self.stack.send_own(self.now.monotonic, own, &message, target, Forwarding::default());
    }

    /// The flow that the watcher subscribed on, or where its device is registered now.
    fn hop_to_watcher(&self, id: SubscriptionId, watcher: &str, contact: &str) -> NextHop {
        if let Some(flow) = self.watch_flows.get(&id).filter(|f| self.stack.hops().flow_facts(**f).is_some())
        {
            return NextHop::Flow(*flow);
        }
        let account = watcher
            .rsplit_once('@')
            .and_then(|(user, domain)| self.users.find_enabled(&AddressKey::new(user, domain)));
        let uri = Uri::parse(contact).ok();
        let binding = account.zip(uri).and_then(|(account, uri)| account.bindings.by_contact(&uri));
        binding.map_or(NextHop::Uri, |b| b.target().hop)
    }

    /// The whole state, each time (RFC 3680 §5.1).
    fn reginfo(&self, resource: &str, version: u32) -> String {
        let account = resource
            .rsplit_once('@')
            .and_then(|(user, domain)| self.users.find_enabled(&AddressKey::new(user, domain)));
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" version=\"{version}\" state=\"full\">\r\n"
        );
        match account {
            Some(account) => self.registration(&mut xml, resource, account),
            None => {
                let _ = write!(
                    xml,
                    "<registration aor=\"sip:{}\" id=\"r\" state=\"terminated\"/>\r\n",
                    Escaped(resource)
                );
            }
        }
        xml.push_str("</reginfo>\r\n");
        xml
    }

    fn registration(&self, xml: &mut String, resource: &str, account: &Account) {
        let state = if account.bindings.0.is_empty() { "terminated" } else { "active" };
        let _ =
            write!(xml, "<registration aor=\"sip:{}\" id=\"r\" state=\"{state}\">\r\n", Escaped(resource));
        for binding in account.bindings.iter() {
            let _ = write!(
                xml,
                "<contact id=\"b{}\" state=\"active\" event=\"registered\" expires=\"{}\" callid=\"{}\" cseq=\"{}\"",
                binding.id.0,
                binding.expires_at.since(self.now.monotonic).as_secs(),
                Escaped(&binding.call_id),
                binding.cseq,
            );
            if let Some(q) = binding.q {
                let _ = write!(xml, " q=\"{}.{:03}\"", q / 1000, q % 1000);
            }
            let _ = write!(xml, "><uri>{}</uri>", Escaped(&binding.uri));
            if let Some(instance) = &binding.instance {
                let quoted = format!("\"<{instance}>\"");
                let _ =
                    write!(xml, "<unknown-param name=\"+sip.instance\">{}</unknown-param>", Escaped(&quoted));
            }
            xml.push_str("</contact>\r\n");
        }
        xml.push_str("</registration>\r\n");
    }

    /// What became of a NOTIFY.
    pub(crate) fn notify_completed(&mut self, id: SubscriptionId, outcome: OwnOutcome) {
        let OwnOutcome { status, is_answered, retry_after_seconds } = outcome;
        let result = match status {
            _ if is_answered => NotifyResult::Response { status, retry_after_seconds },
            408 => NotifyResult::TimedOut,
            _ => NotifyResult::Unreachable,
        };
        self.subscriptions.handle_notify_result(self.now.monotonic, id, result);
    }
}

fn refusal(refusal: dialog::Refusal) -> Refusal {
    let mut refused = Refusal::new(refusal.status, refusal.reason);
    if let Some(seconds) = refusal.min_expires_seconds {
        refused = refused.with(HeaderId::MinExpires, seconds.to_string());
    }
    if let Some(seconds) = refusal.retry_after_seconds {
        refused = refused.with(HeaderId::RetryAfter, seconds.to_string());
    }
    refused
}

/// A text as XML holds it, in content and in attributes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                // XML knows no other control characters.
                c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => f.write_str("\u{fffd}")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
