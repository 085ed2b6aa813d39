//! Conversations across an edge, and what bad input gets.

mod clearinghouse;
mod differential;
mod lies;
mod partners;
mod policies;
mod remote_users;
mod world;
