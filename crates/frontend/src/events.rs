//! Event packages: who watches what, and the NOTIFYs that are due (RFC 6665).
//!
//! One place takes SUBSCRIBE and PUBLISH, keeps what each subscription is about, sends what is due and hears what became of it. A package is
//! a module that says three things: its [`Policy`], who may watch ([`FrontEnd::permit`] asks it), and what a NOTIFY's body is
//! ([`FrontEnd::event_body`]). A resource's key in the table is `PACKAGE ADDRESS`, see [`Package::key`].

use std::borrow::Cow;

use bytes::Bytes;
use directory::UserId;
use node::{Flow, Transport};
use presence::Level;
use sip_message::{HeaderId, Message, Method, ResponseBuilder, Uri};
use sip_stack::dialog::{
    self, NotifyResult, Policy, Standing, Subscribe, SubscriptionId, Termination, Watch,
};
use sip_stack::stack::{Forwarding, NextHop, OwnOutcome, Target};

use crate::calls::dialog_event;
use crate::documents::diff::{self, Selections};
use crate::frontend::FrontEnd;
use crate::messaging::Own;
use crate::people::Someone;
use crate::pipeline::{Refusal, Request};
use crate::presence::lists::{self, ListId, WantedList};
use crate::presence::person::Tag;
use crate::presence::{recipients, watch, winfo};
use crate::reg_event;
use crate::router::Recipient;

/// An event package that is served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Package {
    /// `reg` (RFC 3680).
    Registration,
    /// `presence` (RFC 3856), of people and of lists of them (RFC 4662).
    Presence,
    /// `presence.winfo` (RFC 3857).
    PresenceWatchers,
    /// `xcap-diff` (RFC 5875).
    Documents,
    /// `dialog` (RFC 4235).
    Dialogs,
}

/// What a subscription watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// A user's registrations.
    Registrations(UserId),
    /// A user's presence; `at` is the watcher's place among that user's.
    Presence { user: UserId, at: u32 },
    /// The presence of everybody in a list.
    List(ListId),
    /// Who watches a user's presence.
    Watchers(UserId),
    /// A user's documents.
    Documents(UserId),
    /// A user's calls.
    Dialogs(UserId),
}

/// What a SUBSCRIBE that is permitted asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Registrations(UserId),
    Presence(UserId, Level),
    List(WantedList),
    Watchers(UserId),
    Documents(UserId, Selections),
    Dialogs(UserId),
}

/// What the front end keeps of a subscription beside the table's row.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) who: Someone,
    /// The flow that the watcher subscribed on, or refreshed.
    pub(crate) flow: Flow,
    pub(crate) watched: Watched,
}

/// A subscription that its package permits.
pub(crate) struct Permitted {
    pub(crate) resource: String,
    pub(crate) wanted: Wanted,
    pub(crate) standing: Standing,
}

/// What a NOTIFY says.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) content_type: Cow<'static, str>,
    pub(crate) octets: Bytes,
    /// Names the state that is told (RFC 5839); `None` where the package has no tags.
    pub(crate) tag: Option<Tag>,
}

/// What Allow-Events says (RFC 6665 §8.2.2).
pub(crate) const ALLOW_EVENTS: &str = "dialog, presence, presence.winfo, reg, xcap-diff";

impl Watched {
    pub(crate) fn package(self) -> Package {
        match self {
            Watched::Registrations(_) => Package::Registration,
            Watched::Presence { .. } | Watched::List(_) => Package::Presence,
            Watched::Watchers(_) => Package::PresenceWatchers,
            Watched::Documents(_) => Package::Documents,
            Watched::Dialogs(_) => Package::Dialogs,
        }
    }
}

impl Body {
    pub(crate) fn new(content_type: &'static str, octets: impl Into<Bytes>) -> Body {
        Body { content_type: Cow::Borrowed(content_type), octets: octets.into(), tag: None }
    }
}

impl Package {
    /// All of them.
    pub(crate) const ALL: [Package; 5] = [
        Package::Registration,
        Package::Presence,
        Package::PresenceWatchers,
        Package::Documents,
        Package::Dialogs,
    ];

    /// The name in Event.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Package::Registration => "reg",
            Package::Presence => "presence",
            Package::PresenceWatchers => "presence.winfo",
            Package::Documents => "xcap-diff",
            Package::Dialogs => "dialog",
        }
    }

    fn from_name(name: &str) -> Option<Package> {
        Package::ALL.into_iter().find(|package| package.name() == name)
    }

    fn policy(self) -> &'static Policy {
        match self {
            Package::Registration => &reg_event::POLICY,
            Package::Presence => &watch::POLICY,
            Package::PresenceWatchers => &winfo::POLICY,
            Package::Documents => &diff::POLICY,
            Package::Dialogs => &dialog_event::POLICY,
        }
    }

    /// The key of a resource in the table of subscriptions.
    pub(crate) fn key(self, address: &str) -> String {
        [self.name(), " ", address].concat()
    }

    /// The address in a key.
    pub(crate) fn address(key: &str) -> &str {
        key.split_once(' ').map_or(key, |(_, address)| address)
    }
}

// SUBSCRIBE and PUBLISH.
impl FrontEnd {
    /// SUBSCRIBE and PUBLISH that are for this server.
    pub(crate) fn event_request(
        &mut self,
        request: &Request<'_>,
        who: &Someone,
        recipient: &Recipient,
    ) -> Result<(), Refusal> {
        match (request.method, who) {
            (Method::Subscribe, _) => self.subscribe(request, who, recipient),
            (_, Someone::Home(user)) => self.publish(request, *user, recipient),
            (_, Someone::Elsewhere(_)) => {
                Err(Refusal::new(403, "a person of another organisation publishes nothing here"))
            }
        }
    }

    fn subscribe(
        &mut self,
        request: &Request<'_>,
        who: &Someone,
        recipient: &Recipient,
    ) -> Result<(), Refusal> {
        let subscribe = Subscribe::read(request.message)?;
        let package = Package::from_name(subscribe.package).ok_or_else(unknown_package)?;
        let accepted = match subscribe.to_tag {
            Some(to_tag) => {
                let watched = self.checked_watcher(&subscribe, to_tag, who)?;
                self.keep_watching(&subscribe, watched)?
            }
            None => self.begin_watching(request, &subscribe, package, who, recipient)?,
        };
        self.watches_from(accepted.id, request.arrival.flow);
        let mut response = ResponseBuilder::new(request.message, accepted.status);
        response.to_tag(&accepted.id.local_tag()).copy_record_route();
        response.header(HeaderId::Expires, accepted.expires_seconds.to_string());
        response.header(HeaderId::Contact, self.contact_on(request.arrival.flow));
        if self.watchers.get(&accepted.id).is_some_and(|watcher| matches!(watcher.watched, Watched::List(_)))
        {
            // RFC 4662 §5.2.
            response.header(HeaderId::Require, lists::EVENTLIST);
        }
        let server = request.server.expect("a SUBSCRIBE has a transaction");
        let status = accepted.status;
        self.stack.respond(
            self.now.monotonic,
            server,
            status,
            &mut response,
            request.arrival,
            request.message,
        );
        Ok(())
    }

    /// A watcher is reached over the flow that it subscribed on last.
    fn watches_from(&mut self, id: SubscriptionId, flow: Flow) {
        let Some(watcher) = self.watchers.get_mut(&id).filter(|watcher| watcher.flow != flow) else { return };
        let before = std::mem::replace(&mut watcher.flow, flow);
        self.watchers_on.entry(flow).or_default().push(id);
        self.leaves_flow(id, before);
    }

    fn leaves_flow(&mut self, id: SubscriptionId, flow: Flow) {
        let Some(ids) = self.watchers_on.get_mut(&flow) else { return };
        ids.retain(|listed| *listed != id);
        if ids.is_empty() {
            self.watchers_on.remove(&flow);
        }
    }

    /// A dialog is its watcher's alone, whoever learned its tags.
    fn checked_watcher(
        &self,
        subscribe: &Subscribe<'_>,
        to_tag: &str,
        who: &Someone,
    ) -> Result<Watched, Refusal> {
        let from_tag = subscribe.message.from().ok().and_then(|from| from.tag()).unwrap_or_default();
        let call_id = subscribe.message.call_id().unwrap_or_default();
        let id = self.subscriptions.of_dialog(call_id, to_tag, from_tag);
        match id.and_then(|id| self.watchers.get(&id)) {
            Some(watcher) if watcher.who == *who => Ok(watcher.watched),
            _ => Err(Refusal::new(481, "the subscription does not exist")),
        }
    }

    /// A SUBSCRIBE within a dialog.
    fn keep_watching(
        &mut self,
        subscribe: &Subscribe<'_>,
        watched: Watched,
    ) -> Result<dialog::Accepted, Refusal> {
        let known = subscribe.suppress_if_match.and_then(|_| match watched {
            Watched::Presence { user, at } => self.presence_body(user, at)?.tag,
            _ => None,
        });
        let known = known.as_ref().map(Tag::as_str);
        // A list that cannot be read ends nothing.
        let given = match watched {
            Watched::List(_) => recipients::given_list(subscribe.message)?,
            _ => None,
        };
        let accepted = self.subscriptions.handle_subscribe(self.now.monotonic, subscribe, known)?;
        if let Watched::List(list) = watched
            && accepted.expires_seconds > 0
        {
            // Whoever goes is not told everything once more.
            self.list_refreshed(list, given);
        }
        Ok(accepted)
    }

    fn begin_watching(
        &mut self,
        request: &Request<'_>,
        subscribe: &Subscribe<'_>,
        package: Package,
        who: &Someone,
        recipient: &Recipient,
    ) -> Result<dialog::Accepted, Refusal> {
        let permitted = self.permit(package, request, subscribe, who, recipient)?;
        let watcher = self.address_of(who).expect("who signed in exists").to_string();
        let contact = self.contact_on(request.arrival.flow);
        let known = subscribe.suppress_if_match.and_then(|_| match permitted.wanted {
            Wanted::Presence(of, level) => self.presence_tag(of, level),
            _ => None,
        });
        let is_list = matches!(permitted.wanted, Wanted::List(_));
        let spelling = match &permitted.wanted {
            Wanted::List(list) => list.spelling_of_package(),
            _ => None,
        };
        let watch = Watch {
            resource: &permitted.resource,
            watcher: &watcher,
            contact: &contact,
            standing: permitted.standing,
            entity_tag: known.as_ref().map(Tag::as_str),
            require: is_list.then_some(lists::EVENTLIST),
            package: spelling,
        };
        let accepted = self.subscriptions.accept(self.now.monotonic, subscribe, &watch, package.policy())?;
        let watched = match permitted.wanted {
            Wanted::Registrations(of) => Watched::Registrations(of),
            Wanted::Presence(of, level) => self.watch_presence(accepted.id, who.clone(), of, level),
            Wanted::List(list) => self.watch_list(accepted.id, user_of(who), list),
            Wanted::Watchers(of) => Watched::Watchers(of),
            Wanted::Documents(of, selections) => {
                self.watch_documents(accepted.id, of, selections);
                Watched::Documents(of)
            }
            Wanted::Dialogs(of) => {
                self.watch_dialogs(accepted.id, user_of(who), of);
                Watched::Dialogs(of)
            }
        };
        let flow = request.arrival.flow;
        self.watcher_begins(who);
        self.watchers.insert(accepted.id, Watcher { who: who.clone(), flow, watched });
        self.watchers_on.entry(flow).or_default().push(accepted.id);
        Ok(accepted)
    }

    /// Whether a user may watch, by the rules of the package.
    fn permit(
        &self,
        package: Package,
        request: &Request<'_>,
        subscribe: &Subscribe<'_>,
        who: &Someone,
        recipient: &Recipient,
    ) -> Result<Permitted, Refusal> {
        let user = match who {
            Someone::Home(user) => *user,
            Someone::Elsewhere(_) => return self.permit_elsewhere(package, subscribe, who, recipient),
        };
        match package {
            Package::Registration => self.permit_registrations(user, recipient),
            Package::Presence => match self.list_asked_for(request, user) {
                Some(list) => self.permit_list(request, subscribe, user, list),
                None => self.permit_presence(subscribe, who, recipient),
            },
            Package::PresenceWatchers => self.permit_watchers(subscribe, user, recipient),
            Package::Documents => self.permit_documents(request.message, user, recipient),
            Package::Dialogs => self.permit_dialogs(subscribe, recipient),
        }
    }

    /// What somebody of another organisation may watch: a person's presence.
    fn permit_elsewhere(
        &self,
        package: Package,
        subscribe: &Subscribe<'_>,
        who: &Someone,
        recipient: &Recipient,
    ) -> Result<Permitted, Refusal> {
        match package {
            Package::Presence => {
                self.check_watchers_from(who)?;
                self.permit_presence(subscribe, who, recipient)
            }
            _ => Err(Refusal::new(489, "another organisation watches presence alone")
                .with(HeaderId::AllowEvents, Package::Presence.name())),
        }
    }

    pub(crate) fn contact_on(&self, flow: Flow) -> String {
        let sent_by = self.stack.hops().sent_by(flow).unwrap_or_default();
        let transport = self.stack.hops().flow_facts(flow).map_or("udp", |(t, _)| t.uri_parameter());
        format!("<sip:{sent_by};transport={transport}>")
    }
}

// What changes who watches.
impl FrontEnd {
    /// A resource of a package has something new: whoever watches it is told.
    pub(crate) fn event_changed(&mut self, package: Package, user: UserId) {
        if self.subscriptions.is_empty() {
            return;
        }
        let Some(account) = self.users.get(user) else { return };
        let key = package.key(account.user.address.as_str());
        self.subscriptions.changed(self.now.monotonic, &key);
    }

    /// A user who is cut off watches nothing any more.
    pub(crate) fn stop_watching(&mut self, user: UserId) {
        let Some(account) = self.users.get(user) else { return };
        let address = account.user.address.to_string();
        self.subscriptions.terminate_watcher(self.now.monotonic, &address, Termination::Rejected);
    }

    /// A connection is gone. Who watched over it and can be reached no other way watches no more, and will subscribe anew: a
    /// subscription that nobody can be told of is not kept until its end.
    pub(crate) fn watchers_gone(&mut self, flow: Flow, transport: Transport) {
        for id in self.watchers_on.get(&flow).cloned().unwrap_or_default() {
            let Some(watcher) = self.watchers.get(&id) else { continue };
            let contact = self.subscriptions.get(id).map_or("", |s| s.remote_target());
            // A contact of TCP may be an address that can be connected to.
            let may_be_reached = transport == Transport::Tcp
                || !matches!(self.hop_to_watcher(&watcher.who, contact), Some(NextHop::Uri) | None);
            if !may_be_reached {
                self.subscriptions.forget(id);
            }
        }
    }

    /// A user is removed.
    pub(crate) fn stop_being_watched(&mut self, user: UserId) {
        let Some(account) = self.users.get(user) else { return };
        let address = account.user.address.to_string();
        for package in Package::ALL {
            let key = package.key(&address);
            self.subscriptions.terminate_resource(self.now.monotonic, &key, Termination::NoResource);
        }
    }
}

// NOTIFY.
impl FrontEnd {
    /// Sends the NOTIFYs that are due.
    pub(crate) fn send_notifies(&mut self) {
        loop {
            while let Some(due) = self.subscriptions.poll_due(self.now.monotonic) {
                self.send_notify(due.id);
            }
            // An end may be news for somebody else.
            let Some(ended) = self.subscriptions.poll_ended() else { break };
            self.subscription_ended(ended.id);
        }
    }

    fn subscription_ended(&mut self, id: SubscriptionId) {
        let Some(watcher) = self.watchers.remove(&id) else { return };
        self.watcher_ends(&watcher.who);
        self.leaves_flow(id, watcher.flow);
        match watcher.watched {
            Watched::Registrations(_) | Watched::Watchers(_) => {}
            Watched::Presence { user, at } => self.presence_unwatched(user, at),
            Watched::List(list) => self.list_unwatched(list),
            Watched::Documents(user) => self.documents_unwatched(id, user),
            Watched::Dialogs(user) => self.dialogs_unwatched(id, user),
        }
    }

    fn send_notify(&mut self, id: SubscriptionId) {
        let body = self.event_body(id);
        self.counters.notified += 1;
        let Some(watcher) = self.watchers.get(&id) else { return };
        let (who, flow) = (watcher.who.clone(), watcher.flow);
        let Some(notify) = self.subscriptions.notify(self.now.monotonic, id) else { return };
        if let Some(Watched::List(list)) = self.watchers.get(&id).map(|watcher| watcher.watched)
            && self.list_owes_more(list)
        {
            self.subscriptions.changed_for(self.now.monotonic, id);
        }
        let tag = body.as_ref().and_then(|body| body.tag.as_ref()).map(Tag::as_str);
        let body = body.as_ref().map(|body| (&*body.content_type, &*body.octets));
        if self.stack.hops().flow_facts(flow).is_some() {
            let own = self.own_request(Own::Notify(id));
            let write = |via: &str| notify.build(Some(via), tag, body);
            return self.stack.send_own_over(self.now.monotonic, own, flow, write);
        }
        let hop = self.hop_to_watcher(&who, notify.request_uri());
        let message = Message::parse(notify.build(None, tag, body));
        let (Some(hop), Ok(message)) = (hop, message) else {
            // There is no way to it, or it is longer than any message may be.
            let result = NotifyResult::Unreachable;
            return self.subscriptions.handle_notify_result(self.now.monotonic, id, result);
        };
        let own = self.own_request(Own::Notify(id));
        let target = Target {
            uri: notify.request_uri().to_owned(),
            routes: Vec::new(),
            hop,
            q: 1000,
            cookie: 0,
            alternatives: Vec::new(),
            changes: Vec::new(),
        };
        let alternatives = match who {
            Someone::Elsewhere(_) => self.ways_around_elsewhere(&target),
            Someone::Home(_) => Vec::new(),
        };
        let target = Target { alternatives, ..target };
        self.stack.send_own(self.now.monotonic, own, &message, target, Forwarding::default());
    }

    /// What a NOTIFY says to this watcher now; `None` where there is nothing any more to speak of.
    fn event_body(&mut self, id: SubscriptionId) -> Option<Body> {
        let subscription = self.subscriptions.get(id)?;
        let (resource, version) = (subscription.resource(), subscription.notified());
        match self.watchers.get(&id)?.watched {
            Watched::Registrations(user) => Some(self.registrations_body(user, resource, version)),
            Watched::Presence { user, at } => self.presence_body(user, at),
            Watched::List(list) => self.list_body(list, self.watchers.get(&id)?.flow),
            Watched::Watchers(user) => Some(self.watchers_body(user, version)),
            Watched::Documents(user) => self.documents_body(id, user),
            Watched::Dialogs(user) => self.dialogs_body(id, user, version),
        }
    }

    /// A name for a request of our own.
    fn own_request(&mut self, own: Own) -> u64 {
        u64::try_from(self.own_requests.insert(own)).expect("an index fits")
    }

    /// Where a watcher's device is registered now that the flow it subscribed on is gone.
    fn hop_to_watcher(&self, who: &Someone, contact: &str) -> Option<NextHop> {
        let user = match who {
            Someone::Home(user) => *user,
            // Never where the contact of a stranger says.
            Someone::Elsewhere(_) => return self.hop_elsewhere(),
        };
        let account = self.users.get(user).zip(Uri::parse(contact).ok());
        let binding = account.and_then(|(account, uri)| account.bindings.by_contact(&uri));
        Some(binding.map_or(NextHop::Uri, |b| b.target().hop))
    }

    /// What became of a NOTIFY.
    pub(crate) fn notify_completed(&mut self, id: SubscriptionId, outcome: OwnOutcome) {
        let OwnOutcome { status, is_answered, retry_after_seconds } = outcome;
        let result = match status {
            _ if is_answered => NotifyResult::Response { status, retry_after_seconds },
            408 => NotifyResult::TimedOut,
            _ => NotifyResult::Unreachable,
        };
        if !matches!(status, 200..=299) {
            match self.watchers.get(&id).map(|watcher| watcher.watched) {
                Some(Watched::List(list)) => self.list_untold(list),
                Some(Watched::Documents(user)) => self.documents_untold(id, user),
                _ => {}
            }
        }
        self.subscriptions.handle_notify_result(self.now.monotonic, id, result);
    }
}

/// Who watches what only users of ours are permitted to watch.
fn user_of(who: &Someone) -> UserId {
    who.user().expect("nobody elsewhere is permitted to watch it")
}

pub(crate) fn unknown_package() -> Refusal {
    Refusal::new(489, "an event package that is not served here")
}
