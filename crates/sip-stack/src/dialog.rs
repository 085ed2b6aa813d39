//! Dialogs of event subscriptions, the notifier's side (RFC 3261 §12, RFC 6665).
