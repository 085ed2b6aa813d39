//! Calls, as caller and as callee (RFC 3261 §9, §13, §15, RFC 6026 for answers that cross).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use node::Instant;
use sip_message::{HeaderId, Message, Method, RequestBuilder, ResponseBuilder};

use super::dialog::Dialog;
use super::transaction::{Purpose, companion};
use super::transfer::Replaces;
use super::{Alarm, CHALLENGES_MAX, Device, T1, T2, TRANSACTION_TIMEOUT};
use crate::event::Fact;

/// How long a callee lets it ring before it gives up by itself. Shorter than a proxy's timer C (RFC 3261 §16.6 step 11).
const RINGING_LONGEST: Duration = Duration::from_secs(100);
/// How long a callee talks at most: the caller may have died without a word.
const TALKING_LONGEST: Duration = Duration::from_secs(60);
/// How long a caller waits for an answer. Longer than the callee, so that the callee's refusal is seen.
const PATIENCE: Duration = Duration::from_secs(110);
/// An offer that nobody reads.
const SDP: &[u8] =
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0\r\n";

/// What a device does with an INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPlan {
    /// Rings, and answers after a while.
    Answer(Duration),
    /// Rings until it is cancelled or gives up.
    Ring,
    /// Refuses at once.
    Refuse(u16),
}

/// A call that this device made.
#[derive(Debug)]
pub(super) struct OutCall {
    callee: String,
    from_tag: String,
    cseq: u32,
    branch: String,
    challenged: u8,
    invite: Option<Message>,
    talk_for: Duration,
    stage: Stage,
    proceeding: bool,
    cancel: Cancel,
    legs: BTreeMap<String, Leg>,
    chosen: Option<String>,
    way: Way,
}

/// How a call came to be made.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// It takes the place of another.
    pub(super) replaces: Option<Replaces>,
    /// The other side of this call, by Call-ID, asked for it.
    pub(super) referred_by: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Inviting,
    Answered,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancel {
    No,
    Wanted,
    Sent,
}

#[derive(Debug)]
struct Leg {
    dialog: Dialog,
    ack: Bytes,
    ended: bool,
}

/// A call that this device received.
#[derive(Debug)]
pub(super) struct InCall {
    key: (String, String),
    invite: Message,
    tag: String,
    stage: InStage,
    last: Option<Bytes>,
    interval: Duration,
    dialog: Dialog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InStage {
    Ringing,
    /// 200 sent, no ACK yet.
    Answered,
    /// A refusal sent, no ACK yet.
    Refused,
    Talking,
    /// BYE sent.
    Leaving,
    Over,
}

impl OutCall {
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }
}

impl InCall {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, InStage::Over | InStage::Refused)
    }
}

impl Device {
    /// Calls `callee`; cancels after `cancel_after` unless answered before, hangs up `talk_for` after the answer.
    /// Returns the Call-ID, or nothing where there is no flow to call over.
    pub(crate) fn call(
        &mut self,
        now: Instant,
        callee: &str,
        cancel_after: Option<Duration>,
        talk_for: Duration,
    ) -> Option<String> {
        self.now = now;
        self.call_by(callee, cancel_after, talk_for, Way::default())
    }

    /// Ends a call, whichever side of it this device is.
    pub(crate) fn end_call(&mut self, now: Instant, call_id: &str) {
        self.now = now;
        self.leave_any(call_id);
    }

    pub(super) fn call_by(
        &mut self,
        callee: &str,
        cancel_after: Option<Duration>,
        talk_for: Duration,
        way: Way,
    ) -> Option<String> {
        self.best_flow()?;
        let call_id = self.token("call-");
        let call = OutCall {
            callee: callee.to_owned(),
            from_tag: self.token("c"),
            cseq: 0,
            branch: String::new(),
            challenged: 0,
            invite: None,
            talk_for,
            stage: Stage::Inviting,
            proceeding: false,
            cancel: Cancel::No,
            legs: BTreeMap::new(),
            chosen: None,
            way,
        };
        let address = callee.split(';').next().unwrap_or_default();
        self.fact(Fact::Called { call: call_id.clone(), callee: address.to_owned() });
        self.out_calls.insert(call_id.clone(), call);
        self.alarm(cancel_after.unwrap_or(PATIENCE), Alarm::Cancel(call_id.clone()));
        self.invite(&call_id);
        Some(call_id)
    }

    fn invite(&mut self, call_id: &str) {
        let Some(flow) = self.best_flow() else {
            return self.call_over(call_id, Some(503));
        };
        let branch = self.branch();
        let Some(call) = self.out_calls.get_mut(call_id) else { return };
        call.cseq += 1;
        call.branch.clone_from(&branch);
        call.proceeding = false;
        let uri = format!("sip:{}", call.callee);
        let (tag, cseq) = (call.from_tag.clone(), call.cseq);
        let replaces = call.way.replaces.as_ref().map(Replaces::text);
        let mut request = RequestBuilder::new(Method::Invite, &uri);
        request.header(HeaderId::Via, self.via(&branch));
        for route in &self.flows[flow].service_route {
            request.header(HeaderId::Route, route);
        }
        request
            .header(HeaderId::MaxForwards, "70")
            .header(HeaderId::From, format!("<sip:{}>;tag={tag}", self.address_of_record()))
            .header(HeaderId::To, format!("<{uri}>"))
            .header(HeaderId::CallId, call_id)
            .header(HeaderId::CSeq, format!("{cseq} INVITE"))
            .header(HeaderId::Contact, format!("<{}>", self.contact_uri()));
        if let Some(replaces) = replaces {
            request.header(HeaderId::Replaces, replaces);
        }
        self.sign(&mut request, "INVITE", &uri, SDP);
        request.body("application/sdp", SDP);
        let request = request.build();
        if let Some(call) = self.out_calls.get_mut(call_id) {
            call.invite = Message::parse(request.clone()).ok();
        }
        self.begin(flow, &branch, "INVITE", request, Purpose::Invite { call: call_id.to_owned() });
    }

    pub(super) fn call_progress(&mut self, call_id: &str) {
        let Some(call) = self.out_calls.get_mut(call_id) else { return };
        call.proceeding = true;
        if call.cancel == Cancel::Wanted {
            self.send_cancel(call_id);
        }
    }

    pub(super) fn cancel(&mut self, call_id: &str) {
        let Some(call) = self.out_calls.get_mut(call_id) else { return };
        if call.stage != Stage::Inviting || call.cancel != Cancel::No {
            return;
        }
        call.cancel = Cancel::Wanted;
        if call.proceeding {
            self.send_cancel(call_id);
        }
    }

    fn send_cancel(&mut self, call_id: &str) {
        let Some(call) = self.out_calls.get_mut(call_id) else { return };
        let Some(invite) = &call.invite else { return };
        call.cancel = Cancel::Sent;
        let to = invite.header(HeaderId::To).unwrap_or_default();
        let request = companion(Method::Cancel, invite, to);
        // CANCEL has the INVITE's branch; its own transaction is told from it by the method.
        let key = format!("{} CANCEL", call.branch);
        let flow = self.transactions.get(&call.branch).map(|t| t.flow);
        self.alarm(TRANSACTION_TIMEOUT, Alarm::CancelTimeout(call_id.to_owned()));
        if let Some(flow) = flow {
            self.begin(flow, &key, "CANCEL", request, Purpose::Cancel);
        }
    }

    /// RFC 3261 §9.1: no final answer 64*T1 after CANCEL, so there will be none.
    pub(super) fn cancel_timeout(&mut self, call_id: &str) {
        let Some(call) = self.out_calls.get(call_id) else { return };
        if call.stage == Stage::Inviting {
            self.transactions.remove(&call.branch.clone());
            self.call_over(call_id, Some(408));
        }
    }

    pub(super) fn invite_refused(&mut self, call_id: &str, answered: bool, status: u16) {
        let Some(call) = self.out_calls.get_mut(call_id) else { return };
        if call.stage != Stage::Inviting {
            return;
        }
        let try_again = answered && matches!(status, 401 | 407) && call.challenged < CHALLENGES_MAX;
        if try_again && call.cancel == Cancel::No {
            call.challenged += 1;
            return self.invite(call_id);
        }
        self.call_over(call_id, Some(status));
    }

    /// A 2xx to one of our INVITEs, the first or a further one (RFC 3261 §13.2.2.4).
    pub(super) fn call_answered(&mut self, response: &Message) {
        let Ok(call_id) = response.call_id().map(str::to_owned) else { return };
        let Some(tag) = response.to().ok().and_then(|t| t.tag().map(str::to_owned)) else { return };
        let Some(call) = self.out_calls.get(&call_id) else { return };
        let known = call.legs.get(&tag).map(|leg| leg.ack.clone());
        if let Some(ack) = known {
            return self.send_anywhere(ack);
        }
        let Some(dialog) = Dialog::of_caller(response) else { return };
        let branch = self.branch();
        let ack = self.in_dialog(&dialog, Method::Ack, &branch);
        let call = self.out_calls.get_mut(&call_id).expect("it was there above");
        let chosen = call.stage == Stage::Inviting && call.cancel != Cancel::Sent;
        if chosen {
            call.stage = Stage::Answered;
            call.chosen = Some(tag.clone());
        } else if call.stage == Stage::Inviting {
            // 200 crossed CANCEL: the call exists, and nobody wants it.
            call.stage = Stage::Over;
        }
        let talk_for = call.talk_for;
        call.legs.insert(tag.clone(), Leg { dialog, ack: ack.clone(), ended: false });
        self.send_anywhere(ack);
        self.fact(Fact::LegUp { call: call_id.clone(), leg: tag.clone(), chosen });
        if chosen {
            self.tell_referrer(&call_id, 200);
            self.alarm(talk_for, Alarm::HangUp(call_id));
        } else {
            self.bye_leg(&call_id, &tag);
        }
    }

    pub(super) fn hang_up(&mut self, call_id: &str) {
        let Some(call) = self.out_calls.get(call_id) else { return };
        if let Some(tag) = call.chosen.clone().filter(|_| call.stage == Stage::Answered) {
            self.bye_leg(call_id, &tag);
        }
    }

    fn bye_leg(&mut self, call_id: &str, tag: &str) {
        let branch = self.branch();
        let flow = self.best_flow();
        let Some(leg) = self.out_calls.get_mut(call_id).and_then(|c| c.legs.get_mut(tag)) else { return };
        if leg.ended {
            return;
        }
        leg.dialog.cseq += 1;
        let dialog = leg.dialog.clone();
        let purpose = Purpose::Bye { call: call_id.to_owned(), leg: tag.to_owned() };
        self.send_bye(flow, &dialog, &branch, purpose);
    }

    fn send_bye(&mut self, flow: Option<usize>, dialog: &Dialog, branch: &str, purpose: Purpose) {
        let bye = self.in_dialog(dialog, Method::Bye, branch);
        match flow {
            Some(flow) => self.begin(flow, branch, "BYE", bye, purpose),
            // No way to the server: for this device the call is over, the other side finds out by itself.
            None => self.concluded(purpose, None, 503),
        }
    }

    pub(super) fn bye_concluded(&mut self, call_id: &str, leg: &str, answered: bool, status: u16) {
        if answered && matches!(status, 401 | 407) {
            // The server wants a signature inside of dialogs as well: the next BYE bears one.
            let again = self.challenged_bye(call_id, leg);
            if again {
                return;
            }
        }
        if self.out_calls.contains_key(call_id) {
            self.leg_down(call_id, leg);
        } else {
            self.in_call_over(call_id);
        }
    }

    /// Sends BYE once more after a challenge; `false` when that was done often enough.
    fn challenged_bye(&mut self, call_id: &str, tag: &str) -> bool {
        let (branch, flow) = (self.branch(), self.best_flow());
        let dialog = if let Some(call) = self.out_calls.get_mut(call_id) {
            call.challenged += 1;
            if call.challenged > 2 * CHALLENGES_MAX {
                return false;
            }
            let Some(leg) = call.legs.get_mut(tag) else { return false };
            &mut leg.dialog
        } else {
            let Some(call) = self.in_calls.get_mut(call_id) else { return false };
            if call.dialog.cseq > u32::from(CHALLENGES_MAX) {
                return false;
            }
            &mut call.dialog
        };
        dialog.cseq += 1;
        let dialog = dialog.clone();
        let purpose = Purpose::Bye { call: call_id.to_owned(), leg: tag.to_owned() };
        self.send_bye(flow, &dialog, &branch, purpose);
        true
    }

    fn leg_down(&mut self, call_id: &str, tag: &str) {
        let Some(call) = self.out_calls.get_mut(call_id) else { return };
        let Some(leg) = call.legs.get_mut(tag).filter(|l| !l.ended) else { return };
        leg.ended = true;
        if call.chosen.as_deref() == Some(tag) {
            call.stage = Stage::Over;
        }
        self.fact(Fact::LegDown { call: call_id.to_owned(), leg: tag.to_owned(), status: None });
    }

    fn call_over(&mut self, call_id: &str, status: Option<u16>) {
        let Some(call) = self.out_calls.get_mut(call_id) else { return };
        call.stage = Stage::Over;
        self.fact(Fact::LegDown { call: call_id.to_owned(), leg: String::new(), status });
        self.tell_referrer(call_id, status.unwrap_or(487));
    }

    fn tell_referrer(&mut self, call_id: &str, status: u16) {
        let referrer = self.out_calls.get(call_id).and_then(|c| c.way.referred_by.clone());
        if let Some(referrer) = referrer {
            self.notify_transfer(&referrer, status);
        }
    }

    /// The calls that are up: Call-ID, and the other party as `user@domain`.
    pub fn calls_up(&self) -> Vec<(String, String)> {
        let all = self.out_calls.keys().chain(self.in_calls.keys());
        let up = all.filter_map(|call| Some((call.clone(), self.dialog_up(call)?.remote_address())));
        up.collect()
    }

    /// This side's dialog of a call that is up.
    pub(super) fn dialog_up(&self, call_id: &str) -> Option<&Dialog> {
        let out = self.out_calls.get(call_id).filter(|c| c.stage == Stage::Answered);
        let out = out.and_then(|c| c.legs.get(c.chosen.as_deref()?)).map(|leg| &leg.dialog);
        let up = |c: &&InCall| matches!(c.stage, InStage::Answered | InStage::Talking);
        out.or_else(|| self.in_calls.get(call_id).filter(up).map(|c| &c.dialog))
    }

    /// The dialog of a call that is up, ready for its next request, and the flow to send it over.
    pub(super) fn next_in_dialog(&mut self, call_id: &str) -> Option<(Dialog, usize)> {
        let flow = self.best_flow()?;
        self.dialog_up(call_id)?;
        let dialog = match self.out_calls.get_mut(call_id) {
            Some(call) => &mut call.legs.get_mut(call.chosen.as_deref()?)?.dialog,
            None => &mut self.in_calls.get_mut(call_id)?.dialog,
        };
        dialog.cseq += 1;
        Some((dialog.clone(), flow))
    }

    /// Ends a call that is up, on whichever side of it this device is.
    pub(super) fn leave_any(&mut self, call_id: &str) {
        if self.out_calls.contains_key(call_id) {
            self.hang_up(call_id);
        } else if self.dialog_up(call_id).is_some() {
            self.leave(call_id);
        }
    }

    pub(super) fn invite_received(&mut self, key: (String, String), request: &Message) {
        let Ok(call_id) = request.call_id().map(str::to_owned) else { return };
        let is_known = self.in_calls.contains_key(&call_id) || self.out_calls.contains_key(&call_id);
        if request.to().is_ok_and(|t| t.tag().is_some()) || is_known {
            // A re-INVITE, or the same call over another way (RFC 3261 §8.2.2.2: merged), or its own one that came back.
            let status = if request.to().is_ok_and(|t| t.tag().is_some()) { 200 } else { 482 };
            return self.reply(&key, ResponseBuilder::new(request, status).build());
        }
        let tag = self.token("u");
        let dialog = Dialog::of_callee(request).tagged(&tag);
        let call = InCall {
            key: key.clone(),
            invite: request.clone(),
            tag: tag.clone(),
            stage: InStage::Ringing,
            last: None,
            interval: T1,
            dialog,
        };
        self.in_calls.insert(call_id.clone(), call);
        match (self.replaced_by(request), self.config.script.on_invite) {
            (Some(None), _) => self.refuse(&call_id, 481),
            (Some(Some(replaced)), _) => {
                // RFC 3891 §3: answered without ringing, and the other call ends.
                self.fact(Fact::Ringing { call: call_id.clone(), leg: tag });
                self.pick_up(&call_id);
                self.leave_any(&replaced);
            }
            (None, CallPlan::Refuse(status)) => self.refuse(&call_id, status),
            (None, plan) => {
                let mut ringing = ResponseBuilder::new(request, 180);
                ringing.to_tag(&tag).copy_record_route();
                ringing.header(HeaderId::Contact, format!("<{}>", self.contact_uri()));
                self.reply(&key, ringing.build());
                self.fact(Fact::Ringing { call: call_id.clone(), leg: tag });
                if let CallPlan::Answer(after) = plan {
                    self.alarm(after, Alarm::PickUp(call_id.clone()));
                }
                self.alarm(RINGING_LONGEST, Alarm::StopRinging(call_id));
            }
        }
    }

    pub(super) fn pick_up(&mut self, call_id: &str) {
        let contact = format!("<{}>", self.contact_uri());
        let Some(call) = self.in_calls.get_mut(call_id).filter(|c| c.stage == InStage::Ringing) else {
            return;
        };
        let mut response = ResponseBuilder::new(&call.invite, 200);
        response.to_tag(&call.tag).copy_record_route().header(HeaderId::Contact, contact);
        let response = response.body("application/sdp", SDP).build();
        call.stage = InStage::Answered;
        let leg = call.tag.clone();
        self.final_answer(call_id, response);
        self.fact(Fact::PickedUp { call: call_id.to_owned(), leg });
    }

    pub(super) fn stop_ringing(&mut self, call_id: &str) {
        if self.in_calls.get(call_id).is_some_and(|c| c.stage == InStage::Ringing) {
            self.refuse(call_id, 480);
        }
    }

    fn refuse(&mut self, call_id: &str, status: u16) {
        let Some(call) = self.in_calls.get_mut(call_id) else { return };
        let response = ResponseBuilder::new(&call.invite, status).to_tag(&call.tag).build();
        call.stage = InStage::Refused;
        let leg = call.tag.clone();
        self.final_answer(call_id, response);
        let call = call_id.to_owned();
        self.fact(if status == 487 { Fact::Cancelled { call, leg } } else { Fact::HungUp { call, leg } });
    }

    /// Sends a final answer until its ACK comes (RFC 3261 §13.3.1.4, §17.2.1).
    fn final_answer(&mut self, call_id: &str, response: Bytes) {
        let Some(call) = self.in_calls.get_mut(call_id) else { return };
        call.last = Some(response.clone());
        let key = call.key.clone();
        self.reply(&key, response);
        self.alarm(T1, Alarm::ResendFinal(call_id.to_owned()));
        self.alarm(TRANSACTION_TIMEOUT, Alarm::FinalTimeout(call_id.to_owned()));
    }

    pub(super) fn resend_final(&mut self, call_id: &str) {
        let stream = self.is_stream();
        let Some(call) = self.in_calls.get_mut(call_id) else { return };
        // A 200 is repeated end to end over any transport, a refusal hop by hop over datagrams only.
        let repeats = call.stage == InStage::Answered || (call.stage == InStage::Refused && !stream);
        let Some(response) = call.last.clone().filter(|_| repeats) else { return };
        call.interval = (call.interval * 2).min(T2);
        let (key, interval) = (call.key.clone(), call.interval);
        self.reply(&key, response);
        self.alarm(interval, Alarm::ResendFinal(call_id.to_owned()));
    }

    pub(super) fn final_timeout(&mut self, call_id: &str) {
        let Some(call) = self.in_calls.get_mut(call_id) else { return };
        match call.stage {
            InStage::Refused => call.stage = InStage::Over,
            // RFC 3261 §13.3.1.4: no ACK, so the session is ended with BYE.
            InStage::Answered => self.leave(call_id),
            _ => {}
        }
    }

    pub(super) fn talked_enough(&mut self, call_id: &str) {
        if self.in_calls.get(call_id).is_some_and(|c| c.stage == InStage::Talking) {
            self.leave(call_id);
        }
    }

    fn leave(&mut self, call_id: &str) {
        let (branch, flow) = (self.branch(), self.best_flow());
        let Some(call) = self.in_calls.get_mut(call_id) else { return };
        call.stage = InStage::Leaving;
        call.dialog.cseq += 1;
        let dialog = call.dialog.clone();
        let purpose = Purpose::Bye { call: call_id.to_owned(), leg: call.tag.clone() };
        self.send_bye(flow, &dialog, &branch, purpose);
    }

    fn in_call_over(&mut self, call_id: &str) {
        let Some(call) = self.in_calls.get_mut(call_id).filter(|c| !c.is_over()) else { return };
        call.stage = InStage::Over;
        let leg = call.tag.clone();
        self.fact(Fact::HungUp { call: call_id.to_owned(), leg });
    }

    pub(super) fn ack_received(&mut self, request: &Message) {
        let Ok(call_id) = request.call_id() else { return };
        let Some(call) = self.in_calls.get_mut(call_id) else { return };
        match call.stage {
            InStage::Refused => call.stage = InStage::Over,
            InStage::Answered => {
                call.stage = InStage::Talking;
                let leg = call.tag.clone();
                self.alarm(TALKING_LONGEST, Alarm::TalkedEnough(call_id.to_owned()));
                self.fact(Fact::Talking { call: call_id.to_owned(), leg });
            }
            _ => {}
        }
    }

    pub(super) fn cancel_received(&mut self, key: (String, String), request: &Message) {
        let invite = (key.0.clone(), "INVITE".to_owned());
        let call = self.in_calls.iter().find(|(_, c)| c.key == invite);
        let Some((call_id, stage)) = call.map(|(id, c)| (id.clone(), c.stage)) else {
            return self.reply(&key, ResponseBuilder::new(request, 481).build());
        };
        self.reply(&key, ResponseBuilder::new(request, 200).build());
        if stage == InStage::Ringing {
            self.refuse(&call_id, 487);
        }
    }

    pub(super) fn bye_received(&mut self, key: (String, String), request: &Message) {
        let call_id = request.call_id().unwrap_or_default().to_owned();
        let from_tag = request.from().ok().and_then(|f| f.tag().map(str::to_owned)).unwrap_or_default();
        let known_leg = self.out_calls.get(&call_id).is_some_and(|c| c.legs.contains_key(&from_tag));
        let known = known_leg || self.in_calls.get(&call_id).is_some_and(|c| c.stage != InStage::Over);
        let status = if known { 200 } else { 481 };
        self.reply(&key, ResponseBuilder::new(request, status).build());
        if known_leg {
            self.leg_down(&call_id, &from_tag);
        } else if known {
            self.in_call_over(&call_id);
        }
    }

    fn send_anywhere(&mut self, bytes: Bytes) {
        if let Some(flow) = self.best_flow() {
            self.send_flow(flow, bytes);
        }
    }
}
