//! System tests: the real server, real sockets, foreign programs.

mod accounts;
mod backup;
mod calls;
mod clients;
mod crash;
mod documents;
mod domains;
mod failover;
mod hostile;
mod https;
mod identity;
mod keep_alive;
mod messages;
mod oracle;
mod outbound;
mod overload;
mod presence;
mod presence_lists;
mod registration;
mod reload;
mod sign_in;
mod storage;
mod tls;
mod torture;
mod trace;
mod websocket;
