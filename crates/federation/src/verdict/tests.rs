//! The verdict, by example.
