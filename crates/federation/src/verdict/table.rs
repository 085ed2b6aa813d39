//! The truth table of the verdict.
