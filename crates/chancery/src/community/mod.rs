//! `chancery demo-federation`: three organisations that federate, each with servers of its own, on this machine.
//!
//! Everything is made as an administrator would make it: a private CA for each organisation, a folder with a
//! configuration for each server, a policy for each edge; and every server is a process that runs `chancery serve`. Only
//! the addresses are those of loopback, and the hosts are written into the configurations, since no DNS knows them.

mod page;
mod plan;
mod servers;
mod write;

use std::path::Path;

use anyhow::Context;

use crate::cli::DemoFederationArguments;
use crate::exit::Failure;
use crate::{files, logging, user};

/// How much is logged beside the page; the servers log into files of their own.
const LOG_LEVEL: &str = "warn";

pub(crate) fn run(arguments: &DemoFederationArguments) -> Result<(), Failure> {
    logging::start(LOG_LEVEL, arguments.log_format)?;
    let dir = std::path::absolute(&arguments.dir).context("the folder cannot be named")?;
    files::create_secret_dir(&dir)?;
    let plan = plan::Plan::new(&dir, &arguments.network)?;
    write::write(&plan)?;
    let mut servers = servers::Servers::start(&plan)?;
    let text = match arguments.json {
        true => page::json(&plan, &servers),
        false => page::text(&plan),
    };
    user::print(&text)?;
    servers.run_until_signal()?;
    Ok(())
}

/// Shown in commands: the program as it was called.
fn program() -> String {
    std::env::args_os()
        .next()
        .map_or_else(|| "chancery".to_owned(), |name| Path::new(&name).display().to_string())
}
