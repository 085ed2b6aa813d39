//! What runs on a machine: a home's node behind an object-safe trait, so that a test can put a dishonest wrapper
//! around the honest one. Nodes of other roles speak the home's vocabulary as far as they have one.

use std::convert::Infallible;
use std::sync::Arc;

use access_edge::AccessEdge;
use access_edge::admin::Call;
use director::Director;
use federation::Policy;
use frontend::admin::Status;
use node::{CallToken, Input, Instant, Node, Now, Output};

/// The node whose vocabulary (changes, queries, calls) the machines of this world speak.
pub type Home = frontend::FrontEnd;

/// [`Node`] with the vocabulary of a [`Home`], usable behind a `Box`.
pub trait Role {
    /// See [`Node::handle`].
    fn handle(&mut self, now: Now, input: Input<Home>);
    /// See [`Node::poll_output`].
    fn poll_output(&mut self) -> Option<Output<Home>>;
    /// See [`Node::next_deadline`].
    fn next_deadline(&self) -> Option<Instant>;
    /// Takes over a changed federation policy; what this means nothing to ignores it.
    fn set_policy(&mut self, _now: Now, _policy: Arc<Policy>) {}
    /// What it has to do, where its metrics tell; a home is asked by a call of an administrator.
    fn load(&self) -> Option<Load> {
        None
    }
}

/// What a machine says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Connections that it knows; `None` where it does not say.
    pub connections: Option<usize>,
    /// Transactions under way.
    pub transactions: usize,
    /// Whether its last write to storage succeeded, where it has any.
    pub storage_healthy: bool,
}

impl From<Status> for Load {
    fn from(status: Status) -> Load {
        let Status { connections, transactions, storage_healthy, .. } = status;
        Load { connections: Some(connections), transactions, storage_healthy }
    }
}

impl Role for Home {
    fn handle(&mut self, now: Now, input: Input<Home>) {
        Node::handle(self, now, input);
    }

    fn poll_output(&mut self) -> Option<Output<Home>> {
        Node::poll_output(self)
    }

    fn next_deadline(&self) -> Option<Instant> {
        Node::next_deadline(self)
    }
}

impl Role for AccessEdge {
    fn handle(&mut self, now: Now, input: Input<Home>) {
        // An edge has no storage, and its calls are not the home's: what answers those never comes.
        if let Some(input) = in_words_of(input) {
            Node::handle(self, now, input);
        }
    }

    fn poll_output(&mut self) -> Option<Output<Home>> {
        std::iter::from_fn(|| Node::poll_output(self)).find_map(in_words_of_home)
    }

    fn next_deadline(&self) -> Option<Instant> {
        Node::next_deadline(self)
    }

    fn set_policy(&mut self, now: Now, policy: Arc<Policy>) {
        let call = Call::SetPolicy(policy);
        Node::handle(self, now, Input::Called { token: CallToken(0), call });
    }

    fn load(&self) -> Option<Load> {
        Some(Load {
            connections: Some(gauge(self, "chancery_edge_connections")),
            transactions: gauge(self, "chancery_sip_transactions"),
            storage_healthy: true,
        })
    }
}

/// The sum of a gauge over its labels.
fn gauge(node: &impl Node, name: &str) -> usize {
    let mut sum = 0.0;
    node.visit_metrics(&mut |metric| {
        if metric.name == name {
            sum += metric.value;
        }
    });
    // Gauges of this name count things.
    sum as usize
}

impl Role for Director {
    fn handle(&mut self, now: Now, input: Input<Home>) {
        if let Some(input) = in_words_of(input) {
            Node::handle(self, now, input);
        }
    }

    fn poll_output(&mut self) -> Option<Output<Home>> {
        std::iter::from_fn(|| Node::poll_output(self)).find_map(in_words_of_home)
    }

    fn next_deadline(&self) -> Option<Instant> {
        Node::next_deadline(self)
    }

    fn load(&self) -> Option<Load> {
        let transactions = gauge(self, "chancery_director_transactions");
        Some(Load { connections: None, transactions, storage_healthy: true })
    }
}

/// What a node without storage wants; its answers to calls are nobody's here.
fn in_words_of_home<N>(output: Output<N>) -> Option<Output<Home>>
where
    N: Node<Change = Infallible, Query = Infallible>,
{
    Some(match output {
        Output::Send { flow, bytes } => Output::Send { flow, bytes },
        Output::Connect { token, target } => Output::Connect { token, target },
        Output::Close { connection } => Output::Close { connection },
        Output::Resolve { token, question } => Output::Resolve { token, question },
        Output::Report(report) => Output::Report(report),
        Output::Persist { change, .. } => match change {},
        Output::Query { query, .. } => match query {},
        Output::Answer { .. } => return None,
    })
}

/// What any node can be told.
fn in_words_of<N: Node>(input: Input<Home>) -> Option<Input<N>> {
    Some(match input {
        Input::Connected { connection, peer, token } => Input::Connected { connection, peer, token },
        Input::ConnectFailed { token, error } => Input::ConnectFailed { token, error },
        Input::Closed { connection, reason } => Input::Closed { connection, reason },
        Input::Received { flow, bytes } => Input::Received { flow, bytes },
        Input::Unframed { connection, bytes, status, reason } => {
            Input::Unframed { connection, bytes, status, reason }
        }
        Input::Ping { connection } => Input::Ping { connection },
        Input::Resolved { token, answer } => Input::Resolved { token, answer },
        Input::Timer => Input::Timer,
        Input::Persisted { .. } | Input::PersistFailed { .. } | Input::Rows { .. } | Input::Called { .. } => {
            return None;
        }
    })
}
