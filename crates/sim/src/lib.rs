//! The simulated world: virtual clock, links, DNS, storage, crashes, and the checkers.
