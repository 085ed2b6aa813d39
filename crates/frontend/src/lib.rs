//! The Front End role: registrar, messaging, router and everything a home does for its users.
