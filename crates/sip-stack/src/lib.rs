//! Transactions, dialogs, event subscriptions, proxy core, outbound flows and RFC 3263 selection.
