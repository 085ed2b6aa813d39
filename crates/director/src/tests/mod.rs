//! Conversations: a Director with a real home, and hands in place of edges and clients.

mod certificates;
mod conversations;
mod credentials;
mod world;
