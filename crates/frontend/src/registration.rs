//! Doing what a REGISTER asks for, and what ends a binding.

use std::fmt::Write as _;
use std::sync::Arc;

use directory::{CertificateDigest, UserId};
use node::{CloseReason, ConnectionId, Flow, Level, Transport, UnixMillis};
use records::{Change, DeviceKey};
use sip_message::{HeaderId, Uri};
use sip_stack::dialog::Termination;
use sip_stack::stack::TargetFailure;

use crate::binding::{Binding, BindingId, Durability, Means, Reach};
use crate::events::Package;
use crate::frontend::{Due, FrontEnd, Persisting};
use crate::messaging::mailbox::{DeviceId, Mailbox};
use crate::pipeline::{Refusal, Request, Sender};
use crate::presence::Person;
use crate::presence::publish::Publication;
use crate::provenance::RemoteFlow;
use crate::registrar::{self, NewBinding, Plan, Wish};
use crate::users::{Account, AddressKey};

/// Flow-Timer of RFC 5626 §4.4.1, in seconds: a client of outbound sends a keep-alive at least so often, and takes a flow as dead when none comes back.
const FLOW_TIMER_SECONDS: u32 = 120;

/// A Contact or Service-Route value is seldom longer, with GRUUs seldom twice as long.
const VALUE_OCTETS_USUAL: usize = 192;

impl FrontEnd {
    pub(crate) fn register(
        &mut self,
        request: &Request<'_>,
        sender: Sender,
        means: Means,
        claimed: Option<&AddressKey>,
    ) -> Result<(), Refusal> {
        let message = request.message;
        let Sender::User(user) = sender else {
            return Err(Refusal::new(403, "a REGISTER needs credentials"));
        };
        // RFC 3261 §10.3 step 1.
        let is_ours =
            |uri: Uri<'_>| self.is_our_domain(uri.host()) || self.stack.routes().names().is_self(&uri);
        if !request.uri.is_some_and(is_ours) {
            return Err(Refusal::new(403, "a REGISTER for a domain that is not ours"));
        }
        let account = self.users.get(user).expect("who signed in exists");
        if !claimed.is_some_and(|to| account.is_addressed_by(to)) {
            return Err(Refusal::new(403, "To of a REGISTER is another user"));
        }
        let to_refusal = |r: registrar::Refusal| Refusal::new(r.status, r.reason);
        // A registration lasts no longer than the certificate or the token that it was made with.
        let digest = request.provenance.remote().and_then(|remote| remote.certificate);
        let by_certificate = digest.and_then(|d| self.users.of_certificate(&d, self.now.wall));
        let mut limits = self.config.registration.clone();
        if let Some((_, left)) = by_certificate.filter(|(owner, _)| *owner == user) {
            limits.expires_max = limits.expires_max.min(left);
        }
        if let Means::Token { expires_unix_ms, .. } = means {
            let left = UnixMillis(expires_unix_ms).saturating_since(self.now.wall);
            limits.expires_max = limits.expires_max.min(left);
        }
        let plan = registrar::plan(
            message,
            &account.bindings,
            &limits,
            request.arrival.transport,
            request.arrival.remote,
        );
        let plan = match plan {
            Err(r) if r.status == 423 => {
                let min = self.config.registration.expires_min.as_secs();
                return Err(to_refusal(r).with(HeaderId::MinExpires, min.to_string()));
            }
            other => other.map_err(to_refusal)?,
        };
        let path = registrar::path(message, request.provenance.is_through_server()).map_err(to_refusal)?;
        if path.is_empty() && request.provenance.is_through_server() {
            return Err(Refusal::new(400, "a server of ours passed a REGISTER on without a Path"));
        }
        match plan {
            Plan::Fetch | Plan::Repeated => {}
            Plan::RemoveAll => {
                let all: Vec<BindingId> = account.bindings.iter().map(|b| b.id).collect();
                for id in all {
                    self.remove_binding(user, id);
                }
                self.registration_changed(user, request);
            }
            Plan::Change(wishes) => {
                let mut changed = false;
                for wish in wishes {
                    match wish {
                        Wish::Remove(key) => {
                            let id = self.users.get(user).and_then(|a| a.bindings.by_key(&key)).map(|b| b.id);
                            if let Some(id) = id {
                                self.remove_binding(user, id);
                            }
                        }
                        Wish::Put(new) if self.refresh_binding(user, request, &new, &path, &means) => {
                            continue;
                        }
                        Wish::Put(new) => self.put_binding(user, request, new, &path, &means),
                    }
                    changed = true;
                }
                if changed {
                    self.registration_changed(user, request);
                } else {
                    self.counters.registrations += 1;
                    self.event_changed(Package::Registration, user);
                }
            }
        }
        self.answer_register(user, request);
        self.deliver_to_devices(user);
        Ok(())
    }

    fn registration_changed(&mut self, user: UserId, request: &Request<'_>) {
        self.counters.registrations += 1;
        let Some(account) = self.users.get(user) else { return };
        let fields = vec![
            ("user", account.user.address.to_string()),
            ("devices", account.bindings.0.len().to_string()),
            ("transport", request.arrival.transport.name().to_owned()),
        ];
        self.report(Level::Debug, "registered", Some(request.id), "bindings changed", fields);
        self.bindings_changed(user);
    }

    /// The usual REGISTER says nothing new but that the device is still there; gives whether it was one.
    fn refresh_binding(
        &mut self,
        user: UserId,
        request: &Request<'_>,
        new: &NewBinding<'_>,
        path: &[Box<str>],
        means: &Means,
    ) -> bool {
        let account = self.users.get_mut(user).expect("who signed in exists");
        let Some(binding) = account.bindings.0.iter_mut().find(|b| *b.key == *new.key) else { return false };
        let is_the_same = binding.is_from(request)
            && binding.flow == request.arrival.flow
            && *binding.uri == *new.uri
            && *binding.params == *new.params
            && binding.q == new.q
            && binding.reach == new.reach
            && binding.path == path;
        if !is_the_same {
            return false;
        }
        let call_id = request.message.call_id().unwrap_or("");
        if &*binding.call_id != call_id {
            binding.call_id = call_id.into();
        }
        if binding.proof != *means {
            binding.proof = means.clone();
        }
        binding.cseq = request.message.cseq().map_or(0, |c| c.number);
        binding.expires_at = self.now.monotonic + new.expires;
        binding.expires_wall = self.now.wall + new.expires;
        self.timers.cancel(binding.timer);
        binding.timer = self.timers.insert(binding.expires_at, Due::BindingExpires(user, binding.id));
        let (id, device) = (binding.id, binding.device);
        let is_unwritten = !binding.is_well_written(new.expires);
        if is_unwritten {
            binding.durability = Durability::Unwritten;
        }
        account.mailbox.wake(device);
        if is_unwritten {
            self.write_binding_soon(user, id);
        }
        true
    }

    fn put_binding(
        &mut self,
        user: UserId,
        request: &Request<'_>,
        new: NewBinding<'_>,
        path: &[Box<str>],
        means: &Means,
    ) {
        let message = request.message;
        let old =
            self.users.get(user).and_then(|a| a.bindings.by_key(&new.key)).map(|b| (b.id, b.device, b.flow));
        let id = old.map_or_else(|| BindingId(self.next_id()), |(id, ..)| id);
        let expires_at = self.now.monotonic + new.expires;
        let timer = self.timers.insert(expires_at, Due::BindingExpires(user, id));
        let device = self.device_of(user, &new, old.map(|(_, device, _)| device));
        let through = path.first().and_then(|first| self.servers.hop_of_route(first));
        let mut binding = Binding {
            id,
            key: new.key.into(),
            uri: new.uri.into(),
            params: new.params.into(),
            q: new.q,
            flow: request.arrival.flow,
            transport: request.arrival.transport,
            remote: request.arrival.remote,
            reach: new.reach,
            path: path.to_vec(),
            through,
            remote_flow: request.provenance.remote().cloned(),
            instance: new.instance.map(Into::into),
            reg_id: new.reg_id,
            call_id: message.call_id().unwrap_or("").into(),
            cseq: message.cseq().map_or(0, |c| c.number),
            user_agent: registrar::user_agent(message),
            proof: means.clone(),
            expires_at,
            expires_wall: self.now.wall + new.expires,
            timer,
            durability: Durability::Volatile,
            device,
        };
        if binding.outlives_connection() {
            binding.durability = Durability::Unwritten;
            self.write_binding_soon(user, id);
        }
        let account = self.users.get_mut(user).expect("who signed in exists");
        self.contacts.insert(&binding.uri, user, id);
        match account.bindings.remove(id) {
            Some(gone) => {
                self.timers.cancel(gone.timer);
                self.contacts.remove(&gone.uri, id);
                // It stands in its old place no more.
                if gone.flow != binding.flow {
                    self.leave_flow(user, gone.flow);
                }
                if gone.remote_flow != binding.remote_flow {
                    self.leave_remote_flow(user, gone.remote_flow.as_ref());
                }
                if matches!(gone.durability, Durability::Written { .. })
                    && binding.durability == Durability::Volatile
                {
                    self.persist_soon(Change::RemoveBinding { user, key: gone.key.to_string() });
                }
            }
            None => {
                self.binding_owners.insert(id, user);
            }
        }
        if let Some(remote) = &binding.remote_flow {
            let users = self.remote_users.entry(Arc::clone(remote)).or_default();
            if !users.contains(&user) {
                users.push(user);
            }
        }
        if matches!(binding.flow, Flow::Datagram { .. }) {
            let users = self.datagram_users.entry(binding.flow).or_default();
            if !users.contains(&user) {
                users.push(user);
            }
        }
        let device_key = binding.instance.as_deref().map(|i| DeviceKey(i.to_owned()));
        let account = self.users.get_mut(user).expect("who signed in exists");
        account.bindings.0.push(binding);
        account.mailbox.attach(device, device_key);
        self.write_marks_soon(user);
    }

    /// The device that a binding belongs to: known by its instance, else the binding is a device of its own.
    fn device_of(&mut self, user: UserId, new: &NewBinding<'_>, old: Option<DeviceId>) -> DeviceId {
        if let Some(device) = old {
            return device;
        }
        let account = self.users.get(user).expect("who signed in exists");
        let same = |b: &&Binding| new.instance.is_some() && b.instance.as_deref() == new.instance.as_deref();
        let known = account.bindings.iter().find(same).map(|b| b.device);
        known.unwrap_or_else(|| DeviceId(self.next_id()))
    }

    /// RFC 3261 §10.3 step 8, RFC 3608, RFC 5626 §6, RFC 5627 §5.2.
    fn answer_register(&mut self, user: UserId, request: &Request<'_>) {
        let message = request.message;
        let account = self.users.get(user).expect("who signed in exists");
        let wants_gruu = message.has_option(HeaderId::Supported, "gruu");
        let mut response = self.response_to(message, 200);
        let mut value = String::with_capacity(VALUE_OCTETS_USUAL);
        for binding in account.bindings.iter() {
            value.clear();
            self.write_contact(&mut value, account, binding, wants_gruu);
            response.header(HeaderId::Contact, &value);
        }
        let does_outbound = account.bindings.iter().any(|b| b.reg_id.is_some() && b.is_from(request));
        if does_outbound {
            response.header(HeaderId::Require, "outbound");
            response.header(HeaderId::FlowTimer, FLOW_TIMER_SECONDS.to_string());
        }
        // RFC 3327 §5.3: not to a client that would not know what it is.
        if message.has_option(HeaderId::Supported, "path") {
            for entry in message.elements(HeaderId::Path) {
                response.header(HeaderId::Path, entry);
            }
        }
        if request.provenance.is_through_server() {
            // RFC 3608 §5.1: from the client outwards in, the way that the REGISTER came.
            let path: Vec<&[u8]> = message.elements(HeaderId::Path).collect();
            for entry in path.into_iter().rev() {
                response.header(HeaderId::ServiceRoute, entry);
            }
        } else if let Some(sent_by) = self.stack.hops().sent_by(request.arrival.flow) {
            let transport = request.arrival.transport.uri_parameter();
            value.clear();
            for part in ["<sip:", sent_by, ";transport=", transport, ";lr>"] {
                value.push_str(part);
            }
            response.header(HeaderId::ServiceRoute, &value);
        }
        response.header(HeaderId::Supported, crate::pipeline::SUPPORTED);
        response.header(HeaderId::Date, self.date());
        self.answer(request, 200, response);
    }

    fn write_contact(&self, value: &mut String, account: &Account, binding: &Binding, wants_gruu: bool) {
        for part in ["<", &binding.uri, ">", &binding.params] {
            value.push_str(part);
        }
        if let Some(q) = binding.q {
            let _ = write!(value, ";q={}.{:03}", q / 1000, q % 1000);
        }
        if let (true, Some(instance)) = (wants_gruu, binding.instance.as_deref()) {
            let address = account.user.address.as_str();
            let public = sip_stack::outbound::public_gruu(address, instance);
            let user = self.stack.routes().tokens().temporary_gruu(
                address,
                instance,
                &binding.call_id,
                u64::from(binding.cseq),
            );
            let domain = account.user.address.domain();
            let _ = write!(value, ";pub-gruu=\"{public}\";temp-gruu=\"sip:{user}@{domain};gr\"");
        }
        let left = binding.expires_at.since(self.now.monotonic).as_secs();
        let _ = write!(value, ";expires={left}");
    }
}

// What ends a binding.
impl FrontEnd {
    pub(crate) fn remove_binding(&mut self, user: UserId, id: BindingId) {
        let Some(account) = self.users.get_mut(user) else { return };
        let Some(gone) = account.bindings.remove(id) else { return };
        let is_device_gone = !account.bindings.iter().any(|b| b.device == gone.device);
        if is_device_gone && let Some(request) = account.mailbox.detach(gone.device) {
            self.stack.try_no_further(request);
        }
        let account = self.users.get_mut(user).expect("it was just found");
        let is_alone = account.bindings.0.is_empty();
        self.timers.cancel(gone.timer);
        self.binding_owners.remove(&id);
        self.contacts.remove(&gone.uri, id);
        if gone.durability != Durability::Volatile {
            self.persist_soon(Change::RemoveBinding { user, key: gone.key.to_string() });
        }
        if is_device_gone {
            let is_of_device = |publication: &Publication| match publication.device {
                Some(device) => device == gone.device,
                None => publication.flow == gone.flow,
            };
            self.drop_publications(user, |publication| is_alone || is_of_device(publication));
        }
        self.leave_flow(user, gone.flow);
        self.leave_remote_flow(user, gone.remote_flow.as_ref());
    }

    /// Forgets who came over an edge's flow once nobody is registered over it.
    fn leave_remote_flow(&mut self, user: UserId, flow: Option<&Arc<RemoteFlow>>) {
        let Some(flow) = flow else { return };
        if self
            .users
            .get(user)
            .is_some_and(|a| a.bindings.iter().any(|b| b.remote_flow.as_ref() == Some(flow)))
        {
            return;
        }
        if let Some(users) = self.remote_users.get_mut(flow) {
            users.retain(|u| *u != user);
            if users.is_empty() {
                self.remote_users.remove(flow);
            }
        }
    }

    /// Forgets a datagram's source once nobody is registered from there.
    fn leave_flow(&mut self, user: UserId, flow: Flow) {
        if !matches!(flow, Flow::Datagram { .. }) {
            return;
        }
        if self.users.get(user).is_some_and(|a| a.bindings.iter().any(|b| b.flow == flow)) {
            return;
        }
        if let Some(users) = self.datagram_users.get_mut(&flow) {
            users.retain(|u| *u != user);
            if users.is_empty() {
                self.datagram_users.remove(&flow);
            }
        }
    }

    /// Whoever watches a user's registrations or presence is told.
    pub(crate) fn bindings_changed(&mut self, user: UserId) {
        self.event_changed(Package::Registration, user);
        self.presence_changed(user);
    }

    pub(crate) fn binding_expired(&mut self, user: UserId, id: BindingId) {
        self.remove_binding(user, id);
        self.bindings_changed(user);
    }

    /// A connection is gone: bindings that need it go with it.
    pub(crate) fn drop_bindings_of_flow(&mut self, user: UserId, flow: Flow, reason: CloseReason) {
        let Some(account) = self.users.get(user) else { return };
        let gone: Vec<BindingId> = account
            .bindings
            .iter()
            .filter(|b| b.flow == flow && b.reach == Reach::Flow)
            .map(|b| b.id)
            .collect();
        if gone.is_empty() {
            return;
        }
        for id in gone {
            self.remove_binding(user, id);
        }
        let address = self.users.get(user).map(|a| a.user.address.to_string()).unwrap_or_default();
        self.report(
            Level::Debug,
            "flow-closed",
            None,
            "bindings ended with their connection",
            vec![("user", address), ("why", format!("{reason:?}"))],
        );
        self.bindings_changed(user);
    }

    /// A device could not be reached: a flow that failed is no binding any more (RFC 5626 §5.3.1: 430 removes it). One that only did not answer may be back.
    pub(crate) fn target_failed(&mut self, id: BindingId, reason: TargetFailure) {
        let Some(user) = self.binding_owners.get(&id).copied() else { return };
        let is_dead = match reason {
            TargetFailure::FlowFailed | TargetFailure::Unreachable => true,
            TargetFailure::TimedOut => false,
        };
        if is_dead {
            self.remove_binding(user, id);
            self.bindings_changed(user);
        }
    }

    pub(crate) fn write_bindings(&mut self) {
        let mut unwritten = std::mem::take(&mut self.unwritten_bindings);
        unwritten.sort_unstable();
        for (user, id) in unwritten {
            let Some(account) = self.users.get_mut(user) else { continue };
            // It may be gone by now, need no writing any more, or stand here twice.
            let is_unwritten = |b: &&mut Binding| b.id == id && b.durability == Durability::Unwritten;
            let Some(binding) = account.bindings.0.iter_mut().find(is_unwritten) else { continue };
            binding.durability = Durability::Written { until: binding.expires_wall };
            let record = binding.record(user);
            self.persist_soon_as(Change::PutBinding(record), Persisting::Binding(user, id));
        }
    }

    pub(crate) fn binding_not_written(&mut self, user: UserId, id: BindingId) {
        let Some(account) = self.users.get_mut(user) else { return };
        let Some(binding) = account.bindings.0.iter_mut().find(|b| b.id == id) else { return };
        binding.durability = Durability::Unwritten;
        self.write_binding_soon(user, id);
    }

    /// Ends everything that a user has open here: bindings and connections.
    pub(crate) fn cut_off(&mut self, user: UserId) {
        let bindings: Vec<BindingId> =
            self.users.get(user).map(|a| a.bindings.iter().map(|b| b.id).collect()).unwrap_or_default();
        for id in bindings {
            self.remove_binding(user, id);
        }
        for connection in self.connections_of(user) {
            self.leave_connection(user, connection);
        }
        self.stop_watching(user);
        self.drop_publications(user, |_| true);
        self.bindings_changed(user);
    }

    /// A certificate is the user's no more: what was made with it ends. Bindings that outlived a start do not tell what they were
    /// made with; those through a server of ours end, too.
    pub(crate) fn certificate_withdrawn(&mut self, user: UserId, digest: &CertificateDigest) {
        let Some(account) = self.users.get(user) else { return };
        let address = account.user.address.to_string();
        let is_of_it = |binding: &&Binding| match &binding.remote_flow {
            Some(remote) => remote.certificate == Some(*digest),
            None => binding.through.is_some(),
        };
        let gone: Vec<BindingId> = account.bindings.iter().filter(is_of_it).map(|b| b.id).collect();
        if !gone.is_empty() {
            gone.into_iter().for_each(|id| self.remove_binding(user, id));
            self.bindings_changed(user);
        }
        // Who signs in otherwise subscribes anew.
        self.subscriptions.terminate_watcher(self.now.monotonic, &address, Termination::Deactivated);
    }

    /// Something that proved who a user is does it no more: what was made with it ends, with the connections that it was made over.
    /// What does not tell what it was made with ends, too, and is made anew by who still may.
    pub(crate) fn proof_withdrawn(&mut self, user: UserId, is_of_it: impl Fn(&Means) -> bool) {
        let Some(account) = self.users.get(user) else { return };
        let address = account.user.address.to_string();
        let is_of_it = |binding: &&Binding| binding.proof == Means::Unknown || is_of_it(&binding.proof);
        let gone: Vec<BindingId> =
            account.bindings.iter().filter(is_of_it).map(|binding| binding.id).collect();
        let has_changed = !gone.is_empty();
        for id in gone {
            self.remove_binding(user, id);
        }
        // Who signed in on a connection and has no binding there does not tell what it was with.
        let stays: Vec<Flow> =
            self.users.get(user).map(|a| a.bindings.iter().map(|b| b.flow).collect()).unwrap_or_default();
        for connection in self.connections_of(user) {
            if !stays.contains(&Flow::Connection(connection)) {
                self.leave_connection(user, connection);
            }
        }
        if has_changed {
            self.bindings_changed(user);
        }
        // Who signs in otherwise subscribes anew.
        self.subscriptions.terminate_watcher(self.now.monotonic, &address, Termination::Deactivated);
    }

    /// The connections that a user has signed in on, oldest first.
    fn connections_of(&self, user: UserId) -> Vec<ConnectionId> {
        let of_user = self.connections.iter().filter(|(_, open)| open.users.contains(&user));
        let mut connections: Vec<ConnectionId> = of_user.map(|(id, _)| *id).collect();
        connections.sort_unstable();
        connections
    }

    /// Signs a user out on a connection, which is closed if nobody else has signed in on it.
    fn leave_connection(&mut self, user: UserId, connection: ConnectionId) {
        let Some(open) = self.connections.get_mut(&connection) else { return };
        let before = open.users.len();
        open.users.retain(|u| *u != user);
        if open.users.is_empty() && before > 0 {
            self.outputs.push_back(node::Output::Close { connection });
        }
    }

    /// A user may not use the account any more: nothing goes on that is open here.
    pub(crate) fn leave(&mut self, user: UserId) {
        self.end_calls_of(user);
        self.cut_off(user);
    }

    /// Puts a user in place as storage knows it, with the bindings that outlived the last start.
    pub(crate) fn load_user(&mut self, record: records::UserRecord) {
        let user = record.user.id;
        let is_enabled = record.user.is_enabled();
        let mailbox = Mailbox::load(record.mailbox);
        self.users.insert(Account {
            user: record.user,
            bindings: Default::default(),
            mailbox,
            person: Person::new(record.manual),
            documents: Default::default(),
            call_settings: None,
            certificates: record.certificates,
            app_passwords: record.app_passwords,
        });
        self.replica.changed(self.now.monotonic, user);
        self.load_documents(user, record.documents);
        self.set_call_settings(user, record.calls);
        for stored in record.bindings.into_iter().filter(|_| is_enabled) {
            self.load_binding(user, stored);
        }
        self.manual_changed(user);
        self.rules_changed(user);
        // Only now it is known whether the user is to be disturbed.
        self.deliver_to_devices(user);
    }

    fn load_binding(&mut self, user: UserId, stored: records::Binding) {
        let expires_wall = UnixMillis(stored.expires_unix_ms);
        let left = expires_wall.saturating_since(self.now.wall);
        let contact = String::from_utf8_lossy(&stored.contact).into_owned();
        let parsed = contact.strip_prefix('<').and_then(|c| c.split_once('>'));
        let Some((uri, params)) = parsed.filter(|(uri, _)| !left.is_zero() && Uri::parse(uri).is_ok()) else {
            return self.persist_soon(Change::RemoveBinding { user, key: stored.key });
        };
        let id = BindingId(self.next_id());
        let instance_text = sip_message::Params { text: params }
            .get_unquoted("+sip.instance")
            .map(|i| i.trim_matches(['<', '>']).to_owned());
        let reg_id =
            stored.key.rsplit_once('#').and_then(|(_, n)| n.parse().ok()).filter(|_| instance_text.is_some());
        let (flow, transport, remote, reach) = match stored.datagram_flow {
            Some((listener, remote)) => {
                let flow = Flow::Datagram { listener: node::ListenerId(listener), remote };
                (
                    flow,
                    Transport::Udp,
                    remote,
                    if stored.path.is_empty() { Reach::Flow } else { Reach::Contact },
                )
            }
            // The connection is of the last start; the contact stands on its own.
            None => {
                let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
                (Flow::Connection(node::ConnectionId(u64::MAX)), Transport::Tcp, nowhere, Reach::Contact)
            }
        };
        let device = DeviceId(self.next_id());
        let expires_at = self.now.monotonic + left;
        let timer = self.timers.insert(expires_at, Due::BindingExpires(user, id));
        let instance: Option<Box<str>> = instance_text.map(Into::into);
        let path: Vec<Box<str>> = stored.path.iter().map(|p| String::from_utf8_lossy(p).into()).collect();
        let through = path.first().and_then(|first| self.servers.hop_of_route(first));
        let binding = Binding {
            id,
            key: stored.key.into(),
            uri: uri.into(),
            params: params.into(),
            q: Some(stored.q).filter(|q| *q != 1000),
            flow,
            transport,
            remote,
            reach,
            path,
            through,
            remote_flow: None,
            instance: instance.clone(),
            reg_id,
            call_id: String::from_utf8_lossy(&stored.call_id).into(),
            cseq: stored.cseq,
            user_agent: String::from_utf8_lossy(&stored.user_agent).into(),
            proof: Means::Unknown,
            expires_at,
            expires_wall,
            timer,
            durability: Durability::Written { until: expires_wall },
            device,
        };
        self.binding_owners.insert(id, user);
        self.contacts.insert(&binding.uri, user, id);
        if let Flow::Datagram { .. } = flow {
            self.datagram_users.entry(flow).or_default().push(user);
        }
        let account = self.users.get_mut(user).expect("it was just inserted");
        let known =
            account.bindings.iter().find(|b| instance.is_some() && b.instance == instance).map(|b| b.device);
        let device = known.unwrap_or(device);
        account.bindings.0.push(Binding { device, ..binding });
        account.mailbox.attach(device, instance.map(|i| DeviceKey(i.into())));
    }
}

/// A date as RFC 3261 §20.17 writes it.
pub(crate) fn http_date(at: UnixMillis) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = at.0 / 1000;
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years, so that a leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let index = |n: u64| usize::try_from(n).expect("a small number");
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        DAYS[index(days % 7)],
        MONTHS[index(month)],
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60
    )
}

/// The device that a flow belongs to; none where many people share it.
pub(crate) fn device_on_flow(account: &Account, flow: Flow) -> Option<DeviceId> {
    account.bindings.iter().find(|b| b.flow == flow && b.remote_flow.is_none()).map(|b| b.device)
}

/// The device that sent a request.
pub(crate) fn device_of(account: &Account, request: &Request<'_>) -> Option<DeviceId> {
    account.bindings.iter().find(|b| b.is_from(request)).map(|b| b.device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_rfc_does() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_289_692_245, "Sat, 13 Nov 2010 23:50:45 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(UnixMillis(seconds * 1000)), text);
        }
    }
}
