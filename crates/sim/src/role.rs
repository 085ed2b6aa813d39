//! What runs on a machine: a home's node behind an object-safe trait, so that a test can put a dishonest wrapper
//! around the honest one.

use std::sync::Arc;

use federation::Policy;
use node::{Input, Instant, Node, Now, Output};

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
