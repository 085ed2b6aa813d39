//! What messages need.
