//! `chancery user app-password`: what signs in a phone of somebody whose own password the server does not have.

use crate::cli::{AppPasswordAddArguments, AppPasswordCommand, AppPasswordRemoveArguments, UserArguments};
use crate::control::accounts::AppPasswordLine;
use crate::control::protocol::{AnswerLine, CallLine};
use crate::exit::Failure;
use crate::presence::time_text;
use crate::user::{ask, checked_address, counted, print, print_json, simple, unexpected};

pub(crate) fn run(command: AppPasswordCommand) -> Result<(), Failure> {
    match command {
        AppPasswordCommand::Add(arguments) => add(arguments),
        AppPasswordCommand::List(arguments) => list(&arguments),
        AppPasswordCommand::Remove(arguments) => remove(arguments),
    }
}

fn add(arguments: AppPasswordAddArguments) -> Result<(), Failure> {
    let AppPasswordAddArguments { address, label, purpose, server } = arguments;
    let address = checked_address(&address)?;
    let purpose = purpose.name().to_owned();
    match ask(&server, CallLine::AppPasswordAdd { address, label, purpose })? {
        AnswerLine::AppPassword(issued) if server.json => print_json(&*issued),
        AnswerLine::AppPassword(issued) => print(&format!(
            "user name: {}\nrealm:     {}\npassword:  {}\n(shown once, stored nowhere)\n",
            issued.username, issued.realm, issued.password
        )),
        other => Err(unexpected(&other)),
    }
}

fn list(arguments: &UserArguments) -> Result<(), Failure> {
    let address = checked_address(&arguments.address)?;
    match ask(&arguments.server, CallLine::AppPasswordList { address })? {
        AnswerLine::AppPasswords { app_passwords } if arguments.server.json => {
            print_json(&serde_json::json!({ "app_passwords": app_passwords }))
        }
        AnswerLine::AppPasswords { app_passwords } => {
            let lines: String = app_passwords.iter().map(line).collect();
            print(&format!("{lines}{}\n", counted(app_passwords.len() as u64, "app password")))
        }
        other => Err(unexpected(&other)),
    }
}

fn remove(arguments: AppPasswordRemoveArguments) -> Result<(), Failure> {
    let address = checked_address(&arguments.address)?;
    let done = format!("{} signs {address} in no more", arguments.username);
    simple(CallLine::AppPasswordRemove { address, username: arguments.username }, &arguments.server, &done)
}

/// One app password, for people.
pub(crate) fn line(password: &AppPasswordLine) -> String {
    let AppPasswordLine { username, purpose, label, created_unix_ms } = password;
    format!("{username}  {purpose}, made {}: {label}\n", time_text(*created_unix_ms))
}
