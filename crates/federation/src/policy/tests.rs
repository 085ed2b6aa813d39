//! Reading the policy.
