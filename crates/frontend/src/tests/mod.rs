//! Conversations with a front end: text in, text out, under a virtual clock.

mod admission;
mod calls;
mod calls_dialog_event;
mod calls_forwarding;
mod calls_log;
mod calls_permission;
mod calls_transfer;
mod certificates;
mod directory;
mod documents;
mod elsewhere;
mod explain;
mod messages;
mod messages_quiet;
mod presence;
mod presence_access;
mod presence_lists;
mod provenance;
mod registration;
mod replica;
mod schemas;
mod tokens;
mod trace;
mod world;
