//! The machine against a directory and a home that are models.

mod converges;
mod conversations;
mod world;
