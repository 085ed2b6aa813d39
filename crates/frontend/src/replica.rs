//! The event package `chancery-users`: what a Director must know to sign our users in (format: [`sign_in::replica`]).
//!
//! Only a Director that the configuration lists may subscribe, over a connection on which it has proved its name. It gets
//! everybody first, in parts of bounded size, then each change; one NOTIFY is under way at a time, so that a slow Director
//! costs a place in the order of changes and no more. Nothing of it is stored: a subscription that ends begins anew with
//! everybody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use directory::{Purpose, UserId};
use federation::ServerRole;
use node::{Flow, Instant};
use sign_in::replica::{CONTENT_TYPE, Copied, CopiedPassword, Entry, PACKAGE, PartWriter, Tokens};
use sip_message::{HeaderId, Method, ResponseBuilder};
use sip_stack::dialog::{
    Limits, NotifyResult, Policy, Standing, Subscribe, SubscriptionId, Subscriptions, Termination, Watch,
};
use sip_stack::stack::OwnOutcome;

use crate::frontend::FrontEnd;
use crate::messaging::Own;
use crate::pipeline::{Refusal, Request};
use crate::provenance::Provenance;

/// A Director refreshes well before, and comes back by itself when its connection breaks.
const POLICY: Policy = Policy {
    expires_seconds_default: 600,
    expires_seconds_min: 60,
    expires_seconds_max: 3600,
    // Who was disabled is to be out at once; so many changes come only from a bulk import.
    interval_min: Duration::from_millis(20),
    interval_unchanged_min: Duration::from_secs(60),
};
/// An organisation has a handful of Directors.
const LIMITS: Limits = Limits { subscriptions_max: 64, per_watcher_max: 8, per_resource_max: 64 };
/// Users who are gone that are remembered for Directors which have not heard of it. More, and they begin anew.
const TOMBSTONES_MAX: usize = 10_000;
/// All Directors watch the same.
const RESOURCE: &str = "users";

/// Who copies our accounts, and how far they are.
pub(crate) struct Replica {
    /// Whether there is a Director at all.
    is_wanted: bool,
    subscriptions: Subscriptions,
    directors: BTreeMap<SubscriptionId, Follower>,
    /// Users in order of their last change.
    places: BTreeMap<u64, Place>,
    place_of: BTreeMap<UserId, u64>,
    tombstones: usize,
    last: u64,
}

#[derive(Clone, Copy)]
enum Place {
    Is(UserId),
    Gone(UserId),
}

struct Follower {
    host: Arc<str>,
    flow: Flow,
    /// Up to where it has everything.
    place: u64,
    /// What it has when the NOTIFY under way arrives, and whether more follows.
    sent: Option<(u64, bool)>,
}

impl Replica {
    pub(crate) fn new(is_wanted: bool, seed: [u8; 32]) -> Replica {
        Replica {
            is_wanted,
            subscriptions: Subscriptions::new(seed, LIMITS),
            directors: BTreeMap::new(),
            places: BTreeMap::new(),
            place_of: BTreeMap::new(),
            tombstones: 0,
            last: 0,
        }
    }

    /// There is a Director now; gives whether there was none, so that everybody is to be told anew.
    pub(crate) fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.is_wanted, true)
    }

    /// An account is new or another one than it was.
    pub(crate) fn changed(&mut self, now: Instant, user: UserId) {
        self.moved(now, user, Place::Is(user));
    }

    /// An account is gone.
    pub(crate) fn gone(&mut self, now: Instant, user: UserId) {
        self.moved(now, user, Place::Gone(user));
    }

    pub(crate) fn handle_timer(&mut self, now: Instant) {
        self.subscriptions.handle_timer(now);
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.subscriptions.next_deadline()
    }

    /// A connection is gone: who followed over it begins anew.
    pub(crate) fn closed(&mut self, flow: Flow) {
        let lost: Vec<_> = self.directors.iter().filter(|(_, d)| d.flow == flow).map(|(id, _)| *id).collect();
        for id in lost {
            self.subscriptions.forget(id);
        }
    }

    fn moved(&mut self, now: Instant, user: UserId, place: Place) {
        if !self.is_wanted {
            return;
        }
        if let Some(before) = self.place_of.remove(&user) {
            self.places.remove(&before);
        }
        if let Place::Gone(_) = place {
            if self.directors.is_empty() {
                return;
            }
            self.tombstones += 1;
            self.forget_tombstones(now);
        }
        self.last += 1;
        self.places.insert(self.last, place);
        if let Place::Is(user) = place {
            self.place_of.insert(user, self.last);
        }
        self.subscriptions.changed(now, RESOURCE);
    }

    /// Drops what every Director has heard of, and the Directors if that is not enough.
    fn forget_tombstones(&mut self, now: Instant) {
        if self.tombstones <= TOMBSTONES_MAX {
            return;
        }
        let heard = self.directors.values().map(|director| director.place).min().unwrap_or(self.last);
        self.places.retain(|at, place| *at > heard || matches!(place, Place::Is(_)));
        self.tombstones = self.places.values().filter(|place| matches!(place, Place::Gone(_))).count();
        if self.tombstones > TOMBSTONES_MAX {
            self.subscriptions.terminate_resource(now, RESOURCE, Termination::Deactivated);
            self.places.retain(|_, place| matches!(place, Place::Is(_)));
            self.tombstones = 0;
        }
    }
}

impl FrontEnd {
    /// Whether a request is of this package, which no other place may see.
    pub(crate) fn is_for_replica(&self, request: &Request<'_>) -> bool {
        let event = request.message.header(HeaderId::Event).unwrap_or(b"");
        let package = event.split(|octet| *octet == b';').next().unwrap_or(b"").trim_ascii();
        request.method == Method::Subscribe && package.eq_ignore_ascii_case(PACKAGE.as_bytes())
    }

    /// A SUBSCRIBE of this package.
    pub(crate) fn replica_subscribe(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        let Provenance::Server { server, .. } = &request.provenance else {
            return Err(Refusal::new(403, "accounts are copied to Directors alone"));
        };
        if server.role != ServerRole::Director {
            return Err(Refusal::new(403, "accounts are copied to Directors alone"));
        }
        let now = self.now.monotonic;
        let flow = request.arrival.flow;
        let subscribe = Subscribe::read(request.message)?;
        let accepted = match subscribe.to_tag {
            Some(to_tag) => {
                let from_tag = request.message.from_tag().unwrap_or_default();
                let call_id = request.message.call_id().unwrap_or_default();
                let id = self.replica.subscriptions.of_dialog(call_id, to_tag, from_tag);
                let known = id.and_then(|id| self.replica.directors.get_mut(&id));
                let Some(known) = known.filter(|known| known.host.eq_ignore_ascii_case(&server.host)) else {
                    return Err(Refusal::new(481, "the subscription does not exist"));
                };
                known.flow = flow;
                self.replica.subscriptions.handle_subscribe(now, &subscribe, None)?
            }
            None => {
                let contact = self.contact_on(flow);
                let watch = Watch {
                    resource: RESOURCE,
                    watcher: &server.host,
                    contact: &contact,
                    standing: Standing::Active,
                    entity_tag: None,
                    require: None,
                    package: None,
                };
                let accepted = self.replica.subscriptions.accept(now, &subscribe, &watch, &POLICY)?;
                let host = server.host.as_str().into();
                self.replica.directors.insert(accepted.id, Follower { host, flow, place: 0, sent: None });
                accepted
            }
        };
        let mut response = ResponseBuilder::new(request.message, accepted.status);
        response.to_tag(&accepted.id.local_tag()).copy_record_route();
        response.header(HeaderId::Expires, accepted.expires_seconds.to_string());
        response.header(HeaderId::Contact, self.contact_on(flow));
        self.answer(request, accepted.status, response);
        Ok(())
    }

    /// Sends the NOTIFYs that are due.
    pub(crate) fn send_replica(&mut self) {
        while let Some(due) = self.replica.subscriptions.poll_due(self.now.monotonic) {
            self.send_part(due.id);
        }
        while let Some(ended) = self.replica.subscriptions.poll_ended() {
            self.replica.directors.remove(&ended.id);
        }
    }

    fn send_part(&mut self, id: SubscriptionId) {
        let now = self.now.monotonic;
        let Some(director) = self.replica.directors.get(&id) else { return };
        let flow = director.flow;
        let tokens =
            Tokens { key: self.token_key.clone(), server: self.config.authentication.token_server.clone() };
        let mut part = PartWriter::new(director.place, &tokens);
        let mut is_last = true;
        for (at, place) in self.replica.places.range(director.place + 1..) {
            let entry = match place {
                Place::Gone(user) => Entry::Gone(*user),
                Place::Is(user) => Entry::Is(self.copied(*user)),
            };
            if !part.add(*at, &entry) {
                is_last = false;
                break;
            }
        }
        let (to, body) = part.finish(is_last);
        let Some(notify) = self.replica.subscriptions.notify(now, id) else { return };
        if let Some(director) = self.replica.directors.get_mut(&id) {
            director.sent = Some((to, !is_last));
        }
        let own = u64::try_from(self.own_requests.insert(Own::Replica(id))).expect("an index fits");
        let write = |via: &str| notify.build(Some(via), None, Some((CONTENT_TYPE, body.as_bytes())));
        self.stack.send_own_over(now, own, flow, write);
    }

    /// What became of a NOTIFY.
    pub(crate) fn replica_notified(&mut self, id: SubscriptionId, outcome: OwnOutcome) {
        let OwnOutcome { status, is_answered, retry_after_seconds } = outcome;
        let now = self.now.monotonic;
        let result = match status {
            _ if is_answered => NotifyResult::Response { status, retry_after_seconds },
            408 => NotifyResult::TimedOut,
            _ => NotifyResult::Unreachable,
        };
        let sent = self.replica.directors.get_mut(&id).and_then(|director| {
            let (to, has_more) = director.sent.take()?;
            if is_answered && (200..300).contains(&status) {
                director.place = to;
            }
            Some(has_more || director.place < to)
        });
        self.replica.subscriptions.handle_notify_result(now, id, result);
        if sent == Some(true) {
            self.replica.subscriptions.changed_for(now, id);
        }
    }

    fn copied(&self, user: UserId) -> Copied {
        let account = self.users.get(user).expect("who has a place exists");
        let for_sip = account.app_passwords.iter().filter(|password| password.purpose == Purpose::Sip);
        let app_passwords = for_sip.map(|password| CopiedPassword {
            username: password.username.clone(),
            secrets: password.secrets.clone(),
        });
        let app_passwords = app_passwords.collect();
        let (certificates, account) = (account.certificates.clone(), &account.user);
        Copied {
            user,
            addresses: std::iter::once(&account.address).chain(&account.aliases).cloned().collect(),
            is_enabled: account.is_enabled(),
            permissions: account.may(),
            secrets: account.secrets.clone(),
            certificates,
            app_passwords,
            tokens_since_unix_ms: account.tokens_since_unix_ms,
        }
    }
}
