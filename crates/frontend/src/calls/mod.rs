//! Calls (design section 7): who is in which, where they go, and what is kept of them.
//!
//! - [`table`]: every INVITE dialog through this server, while it lasts;
//! - [`forwarding`]: where a call rings, by its callee's settings;
//! - [`media`]: who may call with voice and video;
//! - [`dialog_event`]: what others may know of it meanwhile;
//! - [`log`]: what its parties find of it afterwards.
//!
//! Media and session descriptions are the parties' own. What passes within a dialog passes by its Route entries and needs
//! nothing of what is known here; a call that the table lost is still a call.

pub(crate) mod dialog_event;
pub(crate) mod forwarding;
pub(crate) mod log;
pub(crate) mod media;
mod operator;
pub(crate) mod table;

use std::sync::Arc;
use std::time::Duration;

use directory::{SipAddress, UserId};
use sip_message::{HeaderId, Message, Method};
use sip_stack::stack::{Forwarding, Target};
use sip_stack::transaction::ServerId;

use self::forwarding::{Stage, Trail};
use self::log::Ending;
use self::table::{BeginError, Call, CallId, NewCall, Other, Party, Pending, Up};
use crate::admin::Cause;
use crate::binding::BindingId;
use crate::frontend::{Due, FrontEnd};
use crate::messaging::mailbox::DeviceId;
use crate::people::Someone;
use crate::pipeline::{Refusal, Request, Sender};
use crate::registration::device_of;

/// How often a part of the table is gone through.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// In so many parts: each call is looked at twice a minute at least.
const SWEEP_PARTS: usize = 30;
/// A call whose devices are both gone for so long is over: as long as a request within it would be tried (64 × T1), so that
/// devices that change their connections keep their call.
const ABANDONED_AFTER: Duration = Duration::from_secs(32);

/// Which of a user's devices a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Devices<'a> {
    All,
    /// Those of one instance (a GRUU).
    Instance(&'a str),
    One(DeviceId),
}

impl Devices<'_> {
    fn one(self) -> Option<DeviceId> {
        match self {
            Devices::One(device) => Some(device),
            Devices::All | Devices::Instance(_) => None,
        }
    }
}

// What calls others.
impl FrontEnd {
    /// An INVITE that begins a call with one of our users.
    pub(crate) fn call(
        &mut self,
        request: &Request<'_>,
        sender: Sender,
        caller: &Someone,
        called: UserId,
        devices: Devices<'_>,
    ) -> Result<(), Refusal> {
        self.check_media(request, caller, Some(called))?;
        let id = self.begin_call(request, caller, Someone::Home(called))?;
        let staged = if devices == Devices::All && request.message.header(HeaderId::Replaces).is_none() {
            let mut trail = Trail::new(called, request.message);
            let stage = self.first_stage(&mut trail, caller);
            if let (Ok(Stage { asks_for_more: true, .. }), Some(call)) = (&stage, self.calls.get_mut(id)) {
                call.trail = Some(Box::new(trail));
            }
            stage
        } else {
            let replaced = self.replaced(request.message).filter(|(_, holder)| holder.who == called);
            if let Some(call) = self.calls.get_mut(id) {
                call.replaces = replaced.map(|(replaced, _)| replaced);
            }
            self.stage_of_one_device(request, caller, called, devices)
        };
        let stage = match staged {
            Ok(stage) => stage,
            Err(refusal) => {
                self.end_call(id, Ending::Refused { status: refusal.status, by_callee: false });
                // It stands in the log: a resend of it is no second call.
                return Err(refusal.kept());
            }
        };
        self.rings_at_others(id, &stage.others);
        let mut forwarding = self.forwarding(request, sender);
        forwarding.asks_for_more = stage.asks_for_more;
        forwarding.patience = stage.patience;
        self.place_call(request, caller, stage.targets, forwarding);
        Ok(())
    }

    /// An INVITE of a user of ours that begins a call with somebody of another organisation. Whom it rings there is decided
    /// there.
    pub(crate) fn call_elsewhere(
        &mut self,
        request: &Request<'_>,
        user: UserId,
        called: SipAddress,
        target: Target,
    ) -> Result<(), Refusal> {
        let caller = Someone::Home(user);
        self.check_media(request, &caller, None)?;
        self.begin_call(request, &caller, Someone::Elsewhere(Arc::new(called)))?;
        let forwarding = self.forwarding(request, Sender::User(user));
        self.place_call(request, &caller, vec![target], forwarding);
        Ok(())
    }

    fn place_call(
        &mut self,
        request: &Request<'_>,
        caller: &Someone,
        targets: Vec<Target>,
        forwarding: Forwarding,
    ) {
        let server = request.server.expect("an INVITE has a transaction");
        self.stack.forward(self.now.monotonic, server, request.message, targets, forwarding);
        if let Someone::Home(caller) = caller {
            self.tell_dialog_watchers(*caller);
        }
    }

    /// The device that a request means: the one that it names, or that has the dialog which is to be replaced (RFC 3891). Where
    /// it is not known which that is all are asked, and all but one answer 481. Who is not to be disturbed is so on every device,
    /// but for a call that goes on with another party.
    fn stage_of_one_device(
        &self,
        request: &Request<'_>,
        caller: &Someone,
        called: UserId,
        devices: Devices<'_>,
    ) -> Result<Stage, Refusal> {
        let account = self.users.get(called).ok_or(Refusal::new(404, "no such user"))?;
        let holder = self.holder_of_replaced(request.message).filter(|party| party.who == called);
        if holder.is_none() && self.is_not_to_be_disturbed(account, caller) {
            return Err(Cause::DoNotDisturb.refusal());
        }
        let device = holder.and_then(|party| party.device).or(devices.one());
        let target = device.and_then(|device| account.bindings.target_of(device));
        let targets = match (target, devices) {
            (Some(target), _) => vec![target],
            (None, Devices::Instance(instance)) => self.devices_of(called, Some(instance)),
            (None, _) => self.devices_of(called, None),
        };
        if targets.is_empty() {
            return Err(Refusal::new(480, "no device of the user is registered"));
        }
        Ok(Stage { targets, patience: None, asks_for_more: false, others: Vec::new() })
    }

    /// Who has the dialog that an INVITE is to replace.
    pub(crate) fn holder_of_replaced(&self, invite: &Message) -> Option<Party> {
        self.replaced(invite).map(|(_, holder)| holder)
    }

    /// The call that an INVITE is to replace, and who has the dialog that it names.
    fn replaced(&self, invite: &Message) -> Option<(CallId, Party)> {
        let value = std::str::from_utf8(invite.header(HeaderId::Replaces)?).ok()?;
        let (call_id, params) = value.split_once(';')?;
        let param = |name: &str| {
            params.split(';').find_map(|param| param.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let (to_tag, from_tag) = (param("to-tag")?, param("from-tag")?);
        // The tags are named as its holder sees them (RFC 3891 §6.1).
        let call_id = call_id.trim();
        if let Some(id) = self.calls.of_dialog(call_id, from_tag, to_tag) {
            return Some((id, self.calls.get(id)?.up()?.callee.clone()));
        }
        let id = self.calls.of_dialog(call_id, to_tag, from_tag)?;
        Some((id, self.calls.get(id)?.caller.clone()))
    }

    /// A call's targets have failed: it goes on where the settings of the one who was called send it.
    pub(crate) fn call_exhausted(&mut self, server: ServerId, status: u16) {
        let now = self.now.monotonic;
        let Some(Pending::SetUp(id)) = self.calls.pending(server) else {
            return self.stack.conclude(now, server);
        };
        let call = self.calls.get_mut(id).expect("what is pending is in the table");
        let caller = call.caller.who.clone();
        let next = call.trail.take().and_then(|mut trail| {
            let stage = self.next_stage(&mut trail, &caller, status)?;
            Some((trail, stage))
        });
        let Some((trail, stage)) = next else { return self.stack.conclude(now, server) };
        let rung = self.calls.get(id).map(Call::callees).unwrap_or_default();
        if let Some(call) = self.calls.get_mut(id) {
            call.trail = Some(trail);
        }
        self.rings_at_others(id, &stage.others);
        self.stack.extend(now, server, stage.targets, stage.patience);
        self.dialogs_moved(id, &rung, status);
    }

    fn rings_at_others(&mut self, id: CallId, others: &[Other]) {
        for other in others {
            self.calls.ring_at(id, *other);
        }
    }

    fn begin_call(
        &mut self,
        request: &Request<'_>,
        caller: &Someone,
        called: Someone,
    ) -> Result<CallId, Refusal> {
        let account = caller.user().and_then(|user| self.users.get(user));
        let device = account.and_then(|account| device_of(account, request));
        let server = request.server.expect("an INVITE has a transaction");
        let new = NewCall { caller: Party { who: caller.clone(), device }, called, server };
        let begun = self.calls.begin(self.now, request.message, new);
        if self.calls.len() == 1 && !self.sweeps_calls {
            self.sweeps_calls = true;
            self.timers.insert(self.now.monotonic + SWEEP_EVERY, Due::SweepCalls);
        }
        begun.map_err(|error| match error {
            BeginError::Full => Refusal::later("the table of calls is full"),
            BeginError::TooManyOfOne => Refusal::new(403, "the caller has too many calls"),
            // RFC 3261 §8.2.2.2 calls it a merged request.
            BeginError::AlreadyThere => Refusal::new(482, "a call of this Call-ID and tag is not over"),
        })
    }

    /// A request within a dialog passes.
    pub(crate) fn within_call(&mut self, request: &Request<'_>, sender: Sender) {
        if !matches!(request.method, Method::Bye | Method::Invite | Method::Update) {
            return;
        }
        let Some(id) = self.calls.of_request(request.message) else { return };
        // Who is no party may follow our Route entries, and is told off by the party that it reaches.
        if let Sender::User(user) = sender
            && !self.calls.get(id).is_some_and(|call| call.is_up_for(user))
        {
            return;
        }
        if request.method == Method::Bye {
            let call = self.calls.get(id).expect("it was just found");
            let by_caller = request.message.from_tag() == Some(&*call.caller_tag);
            return self.end_call(id, Ending::HungUp { by_caller });
        }
        self.calls.refreshed(self.now.monotonic, id, session_expires(request.message));
        if let Some(server) = request.server {
            self.calls.await_answer(server, id);
        }
    }

    /// An INVITE that was forwarded got a provisional response or a 2xx.
    pub(crate) fn call_responded(&mut self, server: ServerId, cookie: u64, response: &Message) {
        let status = response.status().unwrap_or(0);
        match self.calls.pending(server) {
            Some(Pending::SetUp(id)) if status < 200 => {
                if self.calls.rings(id) {
                    self.dialogs_changed(id);
                }
            }
            Some(Pending::SetUp(id)) => self.call_answered(id, BindingId(cookie), response),
            Some(Pending::Refresh(id)) if status >= 200 => {
                self.calls.refreshed(self.now.monotonic, id, session_expires(response));
            }
            Some(Pending::Refresh(_)) | None => {}
        }
    }

    fn call_answered(&mut self, id: CallId, binding: BindingId, response: &Message) {
        let Some(call) = self.calls.get(id) else { return };
        let owner = self.binding_owners.get(&binding).copied();
        let who = owner.map_or_else(|| call.called.clone(), Someone::Home);
        let account = who.user().and_then(|user| self.users.get(user));
        let binding = account.and_then(|account| account.bindings.iter().find(|b| b.id == binding));
        let answered_at = match (account, binding) {
            (Some(account), Some(binding)) => account.bindings.name_of(binding).into(),
            // Its connection went before its answer was read.
            (Some(account), None) => account.user.address.as_str().into(),
            (None, _) => self.address_of(&who).map_or("", SipAddress::as_str).into(),
        };
        let up = Up {
            callee_tag: response.to_tag().unwrap_or("").into(),
            callee: Party { device: binding.map(|b| b.device), who },
            answered_at,
            since: self.now.monotonic,
        };
        let rung = call.callees();
        self.calls.answered(self.now.monotonic, id, up, session_expires(response));
        self.calls_changed(id);
        self.dialogs_moved(id, &rung, 200);
    }

    /// A forwarded request has its final answer.
    pub(crate) fn call_completed(&mut self, server: ServerId, status: u16) {
        match self.calls.take_pending(server) {
            Some(Pending::SetUp(id)) => self.end_call(id, Ending::Refused { status, by_callee: true }),
            // RFC 5057 §5.1: these end the dialog.
            Some(Pending::Refresh(id)) if matches!(status, 408 | 481) => self.end_call(id, Ending::Lost),
            Some(Pending::Refresh(_)) | None => {}
        }
    }

    /// A user is removed, and nothing that runs through us bears the name any more.
    pub(crate) fn end_calls_of(&mut self, user: UserId) {
        let calls: Vec<CallId> = self.calls.of(user).map(|(id, _)| id).collect();
        for id in calls {
            self.end_call(id, Ending::Lost);
        }
    }

    /// Looks at a part of the calls: some are over although nobody said so.
    pub(crate) fn sweep_calls(&mut self) {
        for id in self.calls.sweep(SWEEP_PARTS) {
            let Some(call) = self.calls.get(id) else { continue };
            if call.is_over(self.now.monotonic) {
                self.end_call(id, Ending::Lost);
                continue;
            }
            let Some(up) = call.up() else { continue };
            let is_abandoned = self.is_gone(&call.caller) && self.is_gone(&up.callee);
            let now = self.now.monotonic;
            let since = is_abandoned.then(|| call.abandoned_since.unwrap_or(now));
            if since.is_some_and(|since| now.since(since) >= ABANDONED_AFTER) {
                self.end_call(id, Ending::Lost);
            } else if let Some(call) = self.calls.get_mut(id) {
                call.abandoned_since = since;
            }
        }
        self.sweeps_calls = self.calls.len() > 0;
        if self.sweeps_calls {
            self.timers.insert(self.now.monotonic + SWEEP_EVERY, Due::SweepCalls);
        }
    }

    /// How many calls of a user are up.
    pub(crate) fn calls_up(&self, user: UserId) -> usize {
        self.calls.up(user)
    }

    fn is_gone(&self, party: &Party) -> bool {
        // Nobody tells us of devices elsewhere: those of our own party decide.
        let Someone::Home(user) = party.who else { return true };
        let Some(account) = self.users.get(user) else { return true };
        match party.device {
            Some(device) => account.bindings.iter().all(|b| b.device != device),
            None => account.bindings.0.is_empty(),
        }
    }

    fn end_call(&mut self, id: CallId, ending: Ending) {
        let Some(call) = self.calls.end(id) else { return };
        // Ringing is not being in a call.
        if call.up().is_some() {
            self.parties_changed(parties(&call));
        }
        self.dialogs_ended(&call, ending);
        self.log_call(&call, ending);
    }

    /// Somebody is in a call, or in none any more.
    fn parties_changed(&mut self, parties: [Option<UserId>; 2]) {
        for user in parties.into_iter().flatten() {
            self.presence_changed(user);
        }
    }

    fn calls_changed(&mut self, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        self.parties_changed(parties(call));
    }
}

/// Who calls, and who answered or else was called, as far as they are ours.
fn parties(call: &Call) -> [Option<UserId>; 2] {
    [call.caller.who.user(), call.up().map_or(&call.called, |up| &up.callee.who).user()]
}

/// How long a session lasts without a refresh (RFC 4028 §4).
fn session_expires(message: &Message) -> Option<Duration> {
    let value = std::str::from_utf8(message.header(HeaderId::SessionExpires)?).ok()?;
    let seconds = value.split(';').next()?.trim().parse::<u32>().ok()?;
    Some(Duration::from_secs(seconds.into()))
}
