//! Opening response contexts, and sending their branches on their way (RFC 3261 §16.6).

use std::hash::Hasher;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use node::Instant;
use sip_message::{Edit, HeaderId, Message, Method, Uri};
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use super::{
    BRANCHES_MAX, BREADTH_DEFAULT, BranchFailure, BranchId, BranchState, Context, ContextId, Due, Forwarding,
    GENERATION_BITS, HeaderChange, LOOP_PARAMETER, MAX_FORWARDS_DEFAULT, NextHop, Origin, Slot, SlotState,
    Stack, StackOutput, TIMER_C, Target, Upstream, in_order, push_via,
};
use crate::digits::hex;
use crate::hop::{Reached, SearchId};
use crate::transaction::{BranchText, Outgoing, ServerId, push_response_via};

impl Stack {
    pub(super) fn open(
        &mut self,
        upstream: Upstream,
        request: &Message,
        targets: Vec<Target>,
        forwarding: Forwarding,
    ) -> ContextId {
        debug_assert!(!targets.is_empty(), "a request is forwarded to at least one target");
        let breadth = request.number(HeaderId::MaxBreadth).ok().flatten().unwrap_or(BREADTH_DEFAULT).max(1);
        let context = Context {
            upstream,
            request: request.clone(),
            back: self.back(upstream, request, &forwarding),
            forwarding,
            invite: request.method() == Method::Invite,
            breadth,
            width: usize::try_from(breadth).unwrap_or(usize::MAX),
            branches: SmallVec::new(),
            waiting: in_order(targets, BRANCHES_MAX),
            best: None,
            challenges: Vec::new(),
            cancelled: false,
            patience: None,
            asked: false,
        };
        self.generation = (self.generation + 1) & ((1 << GENERATION_BITS) - 1);
        let generation = self.generation;
        let index = self.contexts.insert(Slot { generation, state: SlotState::Live(Box::new(context)) });
        ContextId {
            index: u32::try_from(index).expect("fewer than 2^32 contexts are open at once"),
            generation,
        }
    }

    pub(super) fn start_next_group(&mut self, now: Instant, id: ContextId) {
        let Some(context) = self.live(id) else { return };
        let first = context.branches.len();
        context.start_group();
        let width = u32::try_from(context.branches.len() - first).expect("a group is bounded");
        if width > 1 {
            context.breadth = (context.breadth / width).max(1);
        }
        let last = context.branches.len();
        for branch in first..last {
            let branch = u8::try_from(branch).expect("BRANCHES_MAX fits");
            self.launch(now, BranchId { context: id, branch });
        }
    }

    /// Sends a branch on its way, or begins to look for it.
    pub(super) fn launch(&mut self, now: Instant, id: BranchId) {
        let Some(branch) = self.branch(id) else { return };
        let flow = match branch.target.hop {
            NextHop::Flow(flow) | NextHop::FlowElseUri(flow) => Some(flow),
            NextHop::Uri | NextHop::Peer(_) => None,
        };
        let may_search = !matches!(branch.target.hop, NextHop::Flow(_));
        if let Some(flow) = flow {
            if let Some((transport, _)) = self.hops.flow_facts(flow) {
                return self.send(now, id, Reached { flow, transport });
            }
            if !may_search {
                return self.failed.push_back((id, BranchFailure::FlowFailed));
            }
        }
        self.search(now, id);
    }

    pub(super) fn search(&mut self, now: Instant, id: BranchId) {
        let search = SearchId(self.next_search);
        self.next_search += 1;
        let Some(branch) = self.branch(id) else { return };
        branch.state = BranchState::Searching;
        branch.search = Some(search);
        if let NextHop::Peer(peer) = &branch.target.hop {
            let peer = Arc::clone(peer);
            self.searches.insert(search, id);
            return self.hops.find_peer(now, search, &peer);
        }
        let text = branch.target.routes.first().unwrap_or(&branch.target.uri).clone();
        self.searches.insert(search, id);
        match Uri::parse(text.trim_start_matches('<').split('>').next().unwrap_or("")) {
            Ok(uri) => self.hops.find(now, search, &uri),
            Err(_) => self.failed.push_back((id, BranchFailure::NotFound)),
        }
    }

    pub(super) fn send(&mut self, now: Instant, id: BranchId, reached: Reached) {
        let (client, branch_parameter) = self.transactions.reserve();
        let mut texts = std::mem::take(&mut self.texts);
        let bytes = self.write(id, reached, &branch_parameter, &mut texts);
        self.texts = texts;
        let Some(bytes) = bytes else {
            self.transactions.abandon(client);
            return self.failed.push_back((id, BranchFailure::FlowFailed));
        };
        let context = self.live(id.context).expect("write found the context");
        let invite = context.invite;
        if matches!(context.upstream, Upstream::Nobody) {
            self.transactions.abandon(client);
            self.outputs.push_back(StackOutput::Send(reached.flow, bytes));
            return self.close(id.context);
        }
        let timer_c = invite.then(|| self.timers.insert(now + TIMER_C, Due::TimerC(id)));
        let branch = self.branch(id).expect("write found the branch");
        branch.state = BranchState::Sent { client, timer_c };
        let outgoing = Outgoing {
            flow: reached.flow,
            transport: reached.transport,
            bytes,
            invite,
            owner: Origin::Branch(id).to_owner(),
        };
        self.transactions.send(now, client, outgoing);
    }

    /// The request as it leaves on a branch (RFC 3261 §16.6). `texts` is room for what is added.
    fn write(
        &self,
        id: BranchId,
        reached: Reached,
        branch_parameter: &BranchText,
        texts: &mut Vec<u8>,
    ) -> Option<Bytes> {
        let context = match &self.slot(id.context)?.state {
            SlotState::Live(context) => context,
            SlotState::Answered(..) => return None,
        };
        let target = &context.branches.get(usize::from(id.branch))?.target;
        let request = &context.request;
        let sent_by = self.hops.sent_by(reached.flow)?;
        texts.clear();
        push_via(texts, reached.transport, sent_by, branch_parameter);
        // What we send of our own was not here before.
        if !matches!(context.upstream, Upstream::Own(_)) {
            texts.extend_from_slice(LOOP_PARAMETER.as_bytes());
            let digest = self.loop_digest(request, texts);
            texts.extend_from_slice(hex(digest).as_bytes());
        }
        let via = 0..texts.len();
        let back = match context.upstream {
            Upstream::Server(server) => self.push_way_back(texts, context, server, reached, sent_by),
            Upstream::Own(_) | Upstream::Nobody => WayBack::default(),
        };
        let texts = &texts[..];
        let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
        let [hops_digits, breadth_digits] = &mut digits;
        let mut edit = Edit::new(request);
        edit.request_uri(&target.uri);
        edit.insert_first(HeaderId::Via, &texts[via]);
        if context.forwarding.hides_vias {
            edit.remove(HeaderId::Via);
        }
        if let Some(received) = back.received {
            edit.replace_first_element(HeaderId::Via, &texts[received]);
        }
        for record_route in [back.upper, back.lower].into_iter().flatten() {
            edit.insert_first(HeaderId::RecordRoute, &texts[record_route]);
        }
        for route in &target.routes {
            edit.insert_first(HeaderId::Route, route.as_str());
        }
        if context.forwarding.own_routes > 0 {
            edit.remove_elements(HeaderId::Route, context.forwarding.own_routes);
        }
        let hops =
            request.max_forwards().ok().flatten().map_or(MAX_FORWARDS_DEFAULT, |h| h.saturating_sub(1));
        edit.set(HeaderId::MaxForwards, hops_digits.format(hops));
        if context.breadth != BREADTH_DEFAULT {
            edit.set(HeaderId::MaxBreadth, breadth_digits.format(context.breadth));
        }
        for change in context.forwarding.changes.iter().chain(&target.changes) {
            match change {
                HeaderChange::Remove(header) => edit.remove(*header),
                HeaderChange::RemoveNamed(name) => edit.remove_named(name),
                HeaderChange::Set(header, value) => edit.set(*header, value.as_str()),
                HeaderChange::Prepend(header, value) => edit.insert_first(*header, value.as_str()),
                HeaderChange::AppendNamed(name, value) => edit.append_named(name, value.as_str()),
            };
        }
        Some(edit.write())
    }

    /// What tells the way back: the received address in the caller's Via, and our Record-Route entries.
    fn push_way_back(
        &self,
        texts: &mut Vec<u8>,
        context: &Context,
        server: ServerId,
        reached: Reached,
        sent_by: &str,
    ) -> WayBack {
        let mut back = WayBack::default();
        let Some(arrival) = self.transactions.arrival(server) else { return back };
        let request = &context.request;
        if !context.forwarding.hides_vias
            && let Ok(via) = request.top_via()
        {
            let start = texts.len();
            back.received = push_response_via(texts, &via, arrival.remote).then_some(start..texts.len());
        }
        if !context.forwarding.record_route {
            return back;
        }
        let (Ok(from), Ok(to)) = (request.from(), request.to()) else { return back };
        let mut push = |flow, transport, sent_by, party| {
            let start = texts.len();
            self.routes.push_record_route(texts, self.facing(flow), transport, sent_by, party);
            start..texts.len()
        };
        back.upper = Some(push(reached.flow, reached.transport, sent_by, &to.uri));
        back.lower = self
            .hops
            .sent_by(arrival.flow)
            .map(|sent_by| push(arrival.flow, arrival.transport, sent_by, &from.uri));
        back
    }

    /// The tag of answers that are made here: nobody can guess it (RFC 3261 §19.3), and an INVITE and its CANCEL, which have Call-ID and
    /// From in common, get the same (RFC 3261 §9.2).
    pub(super) fn local_tag(&self, request: &Message) -> String {
        let mut hasher = SipHasher13::new_with_key(&self.loop_key);
        hasher.write(b"tag");
        hasher.write(request.header(HeaderId::CallId).unwrap_or(b""));
        hasher.write_u8(0);
        hasher.write(request.header(HeaderId::From).unwrap_or(b""));
        hex(hasher.finish()).to_owned()
    }

    /// What tells a loop from a spiral. `text` is room: what stands in it stays.
    pub(super) fn loop_digest(&self, message: &Message, text: &mut Vec<u8>) -> u64 {
        // Gathered first: to digest it at once costs less than part by part.
        let start = text.len();
        for part in [
            message.request_uri_text(),
            message.call_id().unwrap_or(""),
            message.from_tag().unwrap_or(""),
            message.to_tag().unwrap_or(""),
        ] {
            text.extend_from_slice(part.as_bytes());
            text.push(0);
        }
        text.extend_from_slice(&message.cseq().map_or(0, |c| c.number).to_le_bytes());
        // All of them: what comes a second time with less of its way left spirals, and does not loop (RFC 5393 §4.2.2).
        for routes in message.values(HeaderId::Route) {
            text.extend_from_slice(routes);
            text.push(0);
        }
        let digest = SipHasher13::new_with_key(&self.loop_key).hash(&text[start..]);
        text.truncate(start);
        digest
    }
}

/// Where the texts stand that tell the way back.
#[derive(Default)]
struct WayBack {
    /// The caller's Via, where it is changed.
    received: Option<Range<usize>>,
    /// Our Record-Route entries, that which faces the callee first.
    upper: Option<Range<usize>>,
    lower: Option<Range<usize>>,
}
