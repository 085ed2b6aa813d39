//! The server: command line, configuration and wiring.
//!
//! What this crate is: the outermost layer. It reads the configuration, makes certificates and first accounts, opens
//! sockets and storage, gives them to `net`'s driver together with a front end, and lets administrators speak with
//! the running server. Serialisation derives (JSON of the control socket) live here and nowhere further in. What it is
//! not: it decides nothing about SIP, users or storage.

mod access;
mod address_book;
mod app_password;
mod backup;
mod ca;
mod calls;
mod check;
mod cli;
mod clock;
mod community;
mod config;
mod contact;
mod control;
mod demo;
mod director;
mod directory;
mod exit;
mod explain;
mod federation;
mod files;
mod https;
mod init;
mod locate;
mod logging;
#[cfg(test)]
mod manual;
mod metrics;
mod offline;
mod perimeter;
mod presence;
mod probe;
mod reload;
mod replicate;
mod secrets;
mod serve;
mod server;
mod standard_edition;
mod tls;
mod trace;
mod user;
mod web;

use std::process::ExitCode;

use clap::Parser;

/// Many small buffers live briefly here, which mimalloc is made for. Not compared with glibc's in a run of its own yet.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Init(arguments) => init::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::User(command) => user::run(command),
        Command::Trace(arguments) => trace::run(&arguments),
        Command::Reload(arguments) => reload::run(&arguments),
        Command::Presence(command) => presence::run(command),
        Command::Forward(command) => calls::forward(command),
        Command::Calls(arguments) => calls::calls(&arguments),
        Command::Status(arguments) => user::status(&arguments),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Replicate(arguments) => replicate::run(&arguments),
        Command::Addressbook(command) => address_book::run(command),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Contact(command) => contact::contact(command),
        Command::Group(command) => contact::group(command),
        Command::Access(command) => access::run(command),
        Command::Probe(command) => probe::run(command),
        Command::Ca(command) => ca::run(command),
        Command::Federation(command) => federation::run(command),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::DemoFederation(arguments) => community::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("chancery: {failure}");
            failure.exit_code()
        }
    }
}
