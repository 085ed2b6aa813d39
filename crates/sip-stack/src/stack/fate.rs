//! What becomes of branches, and of the contexts that wait for them (RFC 3261 §16.7, §16.8, §16.10).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use node::Instant;
use sip_message::{Edit, HeaderId, Message, ResponseBuilder};
use smallvec::SmallVec;

use super::{
    Back, Branch, BranchFailure, BranchId, BranchState, COMPLETED_ELSEWHERE, Context, ContextId, Due, Event,
    Final, Forwarding, NextHop, Origin, OwnOutcome, Slot, SlotState, Stack, TIMER_C, Target, TargetFailure,
    Upstream,
};
use crate::hop::{HopError, HopEvent, SearchId};
use crate::proxy::{Verdict, is_better, upstream_status};
use crate::timer::TimerId;
use crate::transaction::{self, ClientId, ServerId, Transactions};

impl Stack {
    pub(super) fn branch_response(
        &mut self,
        now: Instant,
        id: BranchId,
        client: ClientId,
        response: Message,
    ) {
        let status = response.status().unwrap_or(0);
        let Some(slot) = self.slot(id.context) else { return };
        if let SlotState::Answered(server, back) = &slot.state {
            // Another 2xx of a forked INVITE, or the winner's again: each goes upstream (RFC 3261 §16.7 step 5).
            if (200..300).contains(&status) {
                let (server, back) = (*server, back.clone());
                self.pass(now, server, status, &response, back.as_deref());
            }
            return;
        }
        let Some(branch) = self.branch(id) else { return };
        let (current, timer_c, given_up) = match branch.state {
            BranchState::Sent { client, timer_c } => (client, timer_c, false),
            BranchState::GivenUp { client } => (client, None, true),
            BranchState::Searching | BranchState::Ended => return,
        };
        if current != client {
            return;
        }
        if status < 200 {
            if !given_up {
                self.provisional(now, id, timer_c, status, response);
            }
            return;
        }
        branch.state = BranchState::Ended;
        if let Some(timer) = timer_c {
            self.timers.cancel(timer);
        }
        match status {
            200..300 => self.success(now, id, status, response),
            487 if given_up => self.collect(now, id, Verdict { status: 408, local: true }, None),
            _ if given_up => self.collect(now, id, Verdict { status, local: false }, Some(response)),
            430 => self.branch_failed(now, id, BranchFailure::FlowFailed, Some(response)),
            503 if self.has_search(id) => {
                self.branch_failed(now, id, BranchFailure::Unreachable, Some(response))
            }
            _ => self.collect(now, id, Verdict { status, local: false }, Some(response)),
        }
    }

    fn provisional(
        &mut self,
        now: Instant,
        id: BranchId,
        timer_c: Option<TimerId>,
        status: u16,
        response: Message,
    ) {
        if status == 100 {
            return;
        }
        if let Some(timer) = timer_c {
            self.timers.cancel(timer);
            let renewed = self.timers.insert(now + TIMER_C, Due::TimerC(id));
            if let Some(Branch { state: BranchState::Sent { timer_c, .. }, .. }) = self.branch(id) {
                *timer_c = Some(renewed);
            }
        }
        let Some(context) = self.live(id.context) else { return };
        let Upstream::Server(server) = context.upstream else { return };
        let (invite, cookie, back) = (context.invite, context.cookie(id), context.back.clone());
        self.pass(now, server, status, &response, back.as_deref());
        if invite {
            self.events.push_back(Event::Responded { server, cookie, response });
        }
    }

    fn success(&mut self, now: Instant, id: BranchId, status: u16, response: Message) {
        let Some(context) = self.live(id.context) else { return };
        let (upstream, invite, cookie) = (context.upstream, context.invite, context.cookie(id));
        let back = context.back.clone();
        match upstream {
            Upstream::Own(own) => {
                self.events.push_back(Event::OwnCompleted { own, outcome: OwnOutcome::answered(&response) });
                self.close(id.context);
            }
            Upstream::Server(server) => {
                self.pass(now, server, status, &response, back.as_deref());
                if invite {
                    self.events.push_back(Event::Responded { server, cookie, response });
                }
                self.events.push_back(Event::Completed { server, status });
                if invite {
                    self.stop_branches(now, id.context, Some(COMPLETED_ELSEWHERE));
                    self.retire(now, id.context, server, back);
                } else {
                    self.close(id.context);
                }
            }
            Upstream::Nobody => self.close(id.context),
        }
    }

    /// A branch ended without a usable answer: another flow of the device, another DNS candidate, or its failure counts as an answer.
    pub(super) fn branch_failed(
        &mut self,
        now: Instant,
        id: BranchId,
        failure: BranchFailure,
        response: Option<Message>,
    ) {
        let Some(context) = self.live(id.context) else { return };
        let mut cancelled = context.cancelled;
        let Some(branch) = self.branch(id) else { return };
        cancelled |= matches!(branch.state, BranchState::GivenUp { .. });
        if let BranchState::Sent { timer_c: Some(timer), .. } =
            std::mem::replace(&mut branch.state, BranchState::Ended)
        {
            self.timers.cancel(timer);
        }
        let branch = self.branch(id).expect("it was there");
        let cookie = branch.target.cookie;
        let more_alternatives = !branch.target.alternatives.is_empty();
        let flow_else_uri =
            matches!((&branch.target.hop, failure), (NextHop::FlowElseUri(_), BranchFailure::FlowFailed));
        let search = branch.search;
        if !cancelled {
            if let (
                Some(search),
                BranchFailure::Unreachable | BranchFailure::TimedOut | BranchFailure::FlowFailed,
            ) = (search, failure)
            {
                branch.state = BranchState::Searching;
                return self.hops.find_next(now, search);
            }
            if flow_else_uri && search.is_none() {
                return self.search(now, id);
            }
        }
        let reason = match failure {
            BranchFailure::FlowFailed => TargetFailure::FlowFailed,
            BranchFailure::TimedOut => TargetFailure::TimedOut,
            BranchFailure::NotFound | BranchFailure::Unreachable => TargetFailure::Unreachable,
        };
        self.events.push_back(Event::TargetFailed { cookie, reason });
        if more_alternatives && !cancelled {
            let branch = self.branch(id).expect("it was there");
            let mut alternatives = std::mem::take(&mut branch.target.alternatives);
            let next = alternatives.remove(0);
            branch.target = Target { alternatives, ..next };
            branch.search = None;
            return self.launch(now, id);
        }
        let verdict = Verdict { status: failure.status(), local: response.is_none() };
        self.collect(now, id, verdict, response);
    }

    /// Keeps a final response other than 2xx, and ends the context when it was the last (RFC 3261 §16.7 steps 4 to 9).
    pub(super) fn collect(
        &mut self,
        now: Instant,
        id: BranchId,
        verdict: Verdict,
        response: Option<Message>,
    ) {
        self.end_search(id);
        let Some(context) = self.live(id.context) else { return };
        if let Some(response) = &response {
            context.keep_challenges(response);
        }
        if context.best.as_ref().is_none_or(|best| is_better(verdict, best.verdict)) {
            context.best = Some(Final { verdict, response });
        }
        let stop = verdict.status >= 600;
        if stop {
            context.waiting.clear();
            self.stop_branches(now, id.context, None);
        }
        self.finish_if_over(now, id.context);
    }

    fn finish_if_over(&mut self, now: Instant, id: ContextId) {
        let Some(context) = self.live(id) else { return };
        if context.asked {
            return;
        }
        let is_open =
            |state: &BranchState| matches!(state, BranchState::Searching | BranchState::Sent { .. });
        if context.branches.iter().any(|b| is_open(&b.state)) {
            return;
        }
        if !context.waiting.is_empty() && !context.cancelled {
            return self.start_next_group(now, id);
        }
        if context.may_ask() {
            return self.ask_for_more(id, None);
        }
        // Who was given up may still have been answered: a 2xx must find its way (RFC 3261 §16.7 step 5).
        if context.branches.iter().any(|b| !matches!(b.state, BranchState::Ended)) {
            return;
        }
        let best = context.best.take();
        let challenges = std::mem::take(&mut context.challenges);
        let (upstream, request, invite, cancelled) =
            (context.upstream, context.request.clone(), context.invite, context.cancelled);
        let back = context.back.clone();
        self.close(id);
        let fallback = Verdict { status: if cancelled { 487 } else { 480 }, local: true };
        let (verdict, response) = best.map_or((fallback, None), |b| (b.verdict, b.response));
        match upstream {
            Upstream::Own(own) => {
                let unanswered = || OwnOutcome::unanswered(verdict.status);
                let outcome = response.as_ref().map_or_else(unanswered, OwnOutcome::answered);
                self.events.push_back(Event::OwnCompleted { own, outcome });
            }
            Upstream::Server(server) => {
                let status = self.answer_upstream(
                    now,
                    server,
                    &request,
                    invite,
                    verdict,
                    response.as_ref(),
                    &challenges,
                    back.as_deref(),
                );
                self.events.push_back(Event::Completed { server, status });
            }
            Upstream::Nobody => {}
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one closed context, used in this one place")]
    fn answer_upstream(
        &mut self,
        now: Instant,
        server: ServerId,
        request: &Message,
        invite: bool,
        verdict: Verdict,
        response: Option<&Message>,
        challenges: &[(HeaderId, String)],
        back: Option<&Back>,
    ) -> u16 {
        let status = upstream_status(verdict.status);
        match response {
            Some(response) if status == verdict.status => {
                let mut edit = Edit::new(response);
                edit_upstream(&mut edit, response, back);
                if matches!(status, 401 | 407) {
                    let own = |id| response.header(id).map(<[u8]>::to_vec);
                    for (id, value) in challenges {
                        if own(*id).as_deref() != Some(value.as_bytes()) {
                            edit.append(*id, value.as_str());
                        }
                    }
                }
                let bytes = edit.write();
                self.transactions.respond(now, server, status, bytes);
            }
            // A late 408 would only collide with the client's own timeout (RFC 4320 §4.2).
            None if status == 408 && !invite => self.transactions.respond(now, server, status, Bytes::new()),
            _ => {
                let Some(arrival) = self.transactions.arrival(server) else { return status };
                let mut builder = ResponseBuilder::new(request, status);
                builder.to_tag(&self.local_tag(request));
                if let Some(border) = back.and_then(|back| back.border.as_ref()) {
                    border.own_answer(&mut builder);
                }
                self.respond(now, server, status, &mut builder, arrival, request);
            }
        }
        status
    }

    /// Passes a response upstream as it is, but for our own Via and what the border changes.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        server: ServerId,
        status: u16,
        response: &Message,
        back: Option<&Back>,
    ) {
        let mut edit = Edit::new(response);
        edit_upstream(&mut edit, response, back);
        self.transactions.respond(now, server, status, edit.write());
    }

    /// See [`Back`].
    pub(super) fn back(
        &self,
        upstream: Upstream,
        request: &Message,
        forwarding: &Forwarding,
    ) -> Option<Arc<Back>> {
        let Upstream::Server(server) = upstream else { return None };
        if !forwarding.hides_vias && forwarding.border.is_none() {
            return None;
        }
        let mut vias = Vec::new();
        if forwarding.hides_vias {
            let remote = self.transactions.arrival(server)?.remote;
            vias.extend(Transactions::response_via(request, remote));
            let rest = request.elements(HeaderId::Via).skip(vias.len());
            vias.extend(rest.map(|via| str::from_utf8(via).expect("a valid Via is text").to_owned()));
        }
        Some(Arc::new(Back { vias, border: forwarding.border.clone() }))
    }

    pub(super) fn cancel(&mut self, now: Instant, invite: ServerId, reason: Option<&[u8]>) {
        let Some(id) = self.cancellable.get(&invite).copied() else {
            // Nothing was sent for it yet: only its own answer is missing.
            if let (Some(request), Some(arrival)) =
                (self.transactions.request(invite).cloned(), self.transactions.arrival(invite))
            {
                self.respond(
                    now,
                    invite,
                    487,
                    ResponseBuilder::new(&request, 487).to_tag(&self.local_tag(&request)),
                    arrival,
                    &request,
                );
            }
            return;
        };
        let Some(context) = self.live(id) else { return };
        context.cancelled = true;
        context.waiting.clear();
        // Who gave up hears of nothing but that.
        context.best = None;
        for branch in &mut context.branches {
            if let BranchState::GivenUp { client } = branch.state {
                branch.state = BranchState::Sent { client, timer_c: None };
            }
        }
        let patience = context.patience.take();
        if let Some(timer) = patience {
            self.timers.cancel(timer);
        }
        let reason = reason.and_then(|r| std::str::from_utf8(r).ok());
        self.stop_branches(now, id, reason);
        self.finish_if_over(now, id);
    }

    /// Cancels what was sent and ends what is still looked for.
    fn stop_branches(&mut self, now: Instant, id: ContextId, reason: Option<&str>) {
        let Some(context) = self.live(id) else { return };
        let invite = context.invite;
        let mut searches: SmallVec<[SearchId; 4]> = SmallVec::new();
        let mut clients: SmallVec<[ClientId; 4]> = SmallVec::new();
        for branch in &mut context.branches {
            match branch.state {
                BranchState::Searching => {
                    branch.state = BranchState::Ended;
                    searches.extend(branch.search.take());
                }
                BranchState::Sent { client, .. } if invite => clients.push(client),
                BranchState::Sent { .. } | BranchState::GivenUp { .. } | BranchState::Ended => {}
            }
        }
        for search in searches {
            self.searches.remove(&search);
            self.hops.end(search);
        }
        for client in clients {
            self.transactions.cancel(now, client, reason);
        }
    }

    pub(super) fn timer_c(&mut self, now: Instant, id: BranchId) {
        let Some(branch) = self.branch(id) else { return };
        let BranchState::Sent { client, .. } = branch.state else { return };
        branch.state = BranchState::GivenUp { client };
        self.transactions.cancel(now, client, None);
        self.finish_if_over(now, id.context);
    }

    pub(super) fn set_patience(&mut self, now: Instant, id: ContextId, patience: Option<Duration>) {
        let timer = patience.map(|patience| self.timers.insert(now + patience, Due::Patience(id)));
        let Some(context) = self.live(id) else { return };
        if let Some(old) = std::mem::replace(&mut context.patience, timer) {
            self.timers.cancel(old);
        }
    }

    /// Nobody answered in time: what rings is cancelled, and what has not been tried yet is not tried any more.
    pub(super) fn patience_over(&mut self, now: Instant, id: ContextId) {
        let Some(context) = self.live(id) else { return };
        context.patience = None;
        context.waiting.clear();
        let may_ask = context.may_ask();
        self.stop_branches(now, id, None);
        let Some(context) = self.live(id) else { return };
        let mut timers: SmallVec<[TimerId; 4]> = SmallVec::new();
        for branch in &mut context.branches {
            if let BranchState::Sent { client, timer_c } = branch.state {
                timers.extend(timer_c);
                branch.state = BranchState::GivenUp { client };
            }
        }
        for timer in timers {
            self.timers.cancel(timer);
        }
        if may_ask { self.ask_for_more(id, Some(408)) } else { self.finish_if_over(now, id) }
    }

    fn ask_for_more(&mut self, id: ContextId, status: Option<u16>) {
        let Some(context) = self.live(id) else { return };
        let Upstream::Server(server) = context.upstream else { return };
        context.asked = true;
        let best = context.best.as_ref().map_or(480, |best| upstream_status(best.verdict.status));
        let timer = context.patience.take();
        self.events.push_back(Event::Exhausted { server, status: status.unwrap_or(best) });
        if let Some(timer) = timer {
            self.timers.cancel(timer);
        }
    }

    pub(super) fn conclude_context(&mut self, now: Instant, id: ContextId) {
        let Some(context) = self.live(id) else { return };
        context.asked = false;
        context.forwarding.asks_for_more = false;
        self.finish_if_over(now, id);
        self.settle(now);
    }

    /// Works off what transactions and hops have to tell, until nothing is left.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            if let Some(event) = self.transactions.poll_event() {
                if let transaction::Event::Failed { owner, failure, .. } = event {
                    match Origin::from_owner(owner) {
                        Origin::Branch(branch) => self.branch_failed(now, branch, failure.into(), None),
                        Origin::Own(own) => self.own_unanswered(own, failure),
                    }
                }
            } else if let Some((branch, failure)) = self.failed.pop_front() {
                self.branch_failed(now, branch, failure, None);
            } else if let Some(event) = self.hops.poll_event() {
                self.hop_found(now, event);
            } else {
                return;
            }
        }
    }

    fn hop_found(&mut self, now: Instant, event: HopEvent) {
        let Some(id) = self.searches.get(&event.search).copied() else { return };
        match event.result {
            Ok(reached) => self.send(now, id, reached),
            Err(error) => {
                self.end_search(id);
                let failure = match error {
                    HopError::NotFound(_) | HopError::Unsupported(_) => BranchFailure::NotFound,
                    HopError::Unreachable(_) => BranchFailure::Unreachable,
                };
                self.branch_failed(now, id, failure, None);
            }
        }
    }

    fn has_search(&mut self, id: BranchId) -> bool {
        self.branch(id).is_some_and(|b| b.search.is_some())
    }

    pub(super) fn end_search(&mut self, id: BranchId) {
        if let Some(search) = self.branch(id).and_then(|b| b.search.take()) {
            self.searches.remove(&search);
            self.hops.end(search);
        }
    }

    /// An answered INVITE needs no more than the way upstream.
    fn retire(&mut self, now: Instant, id: ContextId, server: ServerId, back: Option<Arc<Back>>) {
        let state = &mut self.contexts[id.index as usize].state;
        let retired = std::mem::replace(state, SlotState::Answered(server, back));
        self.release(&retired);
        self.timers.insert(now + self.retire_after, Due::Retire(id));
    }

    pub(super) fn close(&mut self, id: ContextId) {
        let closed = self.contexts.remove(id.index as usize);
        self.release(&closed.state);
    }

    /// Takes back timers, searches and the name under which a context can be cancelled.
    fn release(&mut self, state: &SlotState) {
        let SlotState::Live(context) = state else { return };
        if let Some(timer) = context.patience {
            self.timers.cancel(timer);
        }
        for branch in &context.branches {
            if let BranchState::Sent { timer_c: Some(timer), .. } = branch.state {
                self.timers.cancel(timer);
            }
            if let Some(search) = branch.search {
                self.searches.remove(&search);
                self.hops.end(search);
            }
        }
        // Only INVITEs can be cancelled.
        if let (Upstream::Server(server), true) = (context.upstream, context.invite) {
            self.cancellable.remove(&server);
        }
    }

    pub(super) fn slot(&self, id: ContextId) -> Option<&Slot> {
        self.contexts.get(id.index as usize).filter(|slot| slot.generation == id.generation)
    }

    pub(super) fn live(&mut self, id: ContextId) -> Option<&mut Context> {
        match self.contexts.get_mut(id.index as usize) {
            Some(Slot { generation, state: SlotState::Live(context) }) if *generation == id.generation => {
                Some(context)
            }
            _ => None,
        }
    }

    pub(super) fn branch(&mut self, id: BranchId) -> Option<&mut Branch> {
        self.live(id.context)?.branches.get_mut(usize::from(id.branch))
    }
}

/// A response leaves our Via here, and meets what stands between the networks.
fn edit_upstream<'m>(edit: &mut Edit<'m>, response: &'m Message, back: Option<&'m Back>) {
    match back.map_or(&[][..], |back| &back.vias) {
        [] => edit.remove_elements(HeaderId::Via, 1),
        vias => {
            edit.remove(HeaderId::Via);
            vias.iter().fold(&mut *edit, |edit, via| edit.insert_first(HeaderId::Via, via.as_str()))
        }
    };
    if let Some(border) = back.and_then(|back| back.border.as_ref()) {
        border.response(response, edit);
    }
}
