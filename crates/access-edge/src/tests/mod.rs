//! Conversations across an edge, and what bad input gets.

mod partners;
mod world;
