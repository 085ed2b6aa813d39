//! `chancery federation`: the policy's file from the command line, and the proof that it works.
//!
//! What the policy means and how its text is changed is said by the crate `federation`; here are the file, the tables,
//! and the connection that tries it.

pub(crate) mod arguments;
mod list;
mod peer;
mod way;

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, anyhow};
use directory::SipAddress;
use federation::Policy;
use federation::policy::edit::{Change, EntryChange, edit};

use crate::cli::ConfigArgument;
use crate::config::{Role, Settings};
use crate::exit::{Exit, Failure};
use crate::{files, locate, user};
use arguments::{
    AllowArguments, BlockArguments, FederationCommand, HubArguments, HubCommand, MemberCommand, Switch,
    TestArguments,
};

pub(crate) fn run(command: FederationCommand) -> Result<(), Failure> {
    match command {
        FederationCommand::List(arguments) => list::run(&arguments),
        FederationCommand::Allow(arguments) => allow(&arguments),
        FederationCommand::Block(arguments) => block(&arguments),
        FederationCommand::Unblock(arguments) => {
            let change = Change::Unblock { domain: arguments.domain.clone() };
            changed(&arguments.config, &change, &format!("{} is off the block list", arguments.domain))
        }
        FederationCommand::Remove(arguments) => {
            let change = Change::Remove { domain: arguments.domain.clone() };
            changed(&arguments.config, &change, &format!("the entry of {} is removed", arguments.domain))
        }
        FederationCommand::Hub(HubCommand::Allow(arguments)) => allow_hub(&arguments),
        FederationCommand::Hub(HubCommand::Remove(arguments)) => {
            let done = format!("the hub {} is removed", arguments.hub);
            changed(&arguments.config, &Change::RemoveHub { hub: arguments.hub }, &done)
        }
        FederationCommand::Member(MemberCommand::Add(arguments)) => {
            let (hub, domain) = (arguments.hub, arguments.domain);
            let done = format!("{hub} may speak for {domain}");
            changed(&arguments.config, &Change::AddMember { hub, domain }, &done)
        }
        FederationCommand::Member(MemberCommand::Remove(arguments)) => {
            let (hub, domain) = (arguments.hub, arguments.domain);
            let done = format!("{hub} may not speak for {domain} any more");
            changed(&arguments.config, &Change::RemoveMember { hub, domain }, &done)
        }
        FederationCommand::Discovery(arguments) => {
            let enabled = arguments.switch == Switch::On;
            let done = if enabled {
                "domains that DNS and certificates prove are"
            } else {
                "unlisted domains are not"
            };
            changed(&arguments.config, &Change::Discovery { enabled }, &format!("{done} talked with"))
        }
        FederationCommand::Test(arguments) => way::run(&arguments),
    }
}

/// Of two addresses, the domain whose way a server at the border can prove: the one that is not ours; of a clearinghouse, where
/// it goes.
pub(crate) fn explain(
    config: ConfigArgument,
    settings: &Settings,
    [from, to]: [&SipAddress; 2],
    json: bool,
) -> Result<(), Failure> {
    let is_ours = |address: &&SipAddress| local_domains(settings).contains(&address.domain());
    let foreign = [to, from].into_iter().find(|address| !is_ours(address)).ok_or_else(|| {
        let text = format!(
            "{from} and {to} are both ours: their way does not lead over the border\n  help: ask their home"
        );
        Failure::text(Exit::Failed, text)
    })?;
    way::run(&TestArguments { domain: foreign.domain().to_owned(), offline: false, json, config })
}

fn allow(arguments: &AllowArguments) -> Result<(), Failure> {
    let mode = match (&arguments.via, arguments.member) {
        (Some(_), _) => Some("clearinghouse"),
        (None, true) => Some("member"),
        // A road of its own is meant where its server is told; other keys change the terms of the road that there is.
        (None, false) if arguments.next_hop.is_some() || arguments.certificate.is_some() => Some("direct"),
        (None, false) => None,
    };
    let entry = EntryChange {
        mode: mode.map(str::to_owned),
        next_hop: arguments.next_hop.clone(),
        via: arguments.via.clone(),
        certificate: arguments.certificate.clone(),
        authority_file: arguments.authority_file.clone(),
        ..arguments.terms.entry()
    };
    let change = Change::Allow { domain: arguments.domain.clone(), entry };
    changed(
        &arguments.config,
        &change,
        &format!("{0} is a partner; chancery federation test {0} proves the way", arguments.domain),
    )
}

fn allow_hub(arguments: &HubArguments) -> Result<(), Failure> {
    let entry = EntryChange {
        next_hop: arguments.next_hop.clone(),
        certificate: arguments.certificate.clone(),
        authority_file: arguments.authority_file.clone(),
        vouches: arguments.vouches.map(|vouches| vouches.name().to_owned()),
        ..arguments.terms.entry()
    };
    let hub = arguments.hub.clone();
    let change = Change::AllowHub { hub, entry, members: arguments.members.clone() };
    let done =
        format!("{} is a hub; chancery federation test DOMAIN proves the way to a member", arguments.hub);
    changed(&arguments.config, &change, &done)
}

fn block(arguments: &BlockArguments) -> Result<(), Failure> {
    let change = Change::Block { domain: arguments.domain.clone(), comment: arguments.reason.clone() };
    changed(&arguments.config, &change, &format!("{} is blocked", arguments.domain))
}

/// Makes a change to the file, and says so.
fn changed(config: &ConfigArgument, change: &Change, done: &str) -> Result<(), Failure> {
    let settings = settings(config)?;
    let file = &settings.federation.policy_file;
    let text = read(file)?;
    let before = text.as_deref().unwrap_or_default();
    let edited = edit(before, change, &local_domains(&settings))
        .map_err(|error| Failure::text(Exit::Failed, format!("{}: {error}", file.display())))?;
    if edited.text == before {
        return user::print(&format!("{done}; {} said so before\n", file.display()));
    }
    if read(file)? != text {
        let help = "help: give the command again";
        return Err(anyhow!("{} was changed by somebody else meanwhile\n  {help}", file.display()).into());
    }
    match text {
        Some(_) => files::replace(file, edited.text.as_bytes())?,
        None => {
            files::write(file, files::MODE_PUBLIC, edited.text.as_bytes())?;
            files::give_as(file, file.parent().context("the policy's file stands in a folder")?)?;
        }
    }
    user::print(&format!("{done}; {} is changed\n", file.display()))
}

fn settings(config: &ConfigArgument) -> Result<Settings, Failure> {
    Ok(Settings::load(&locate::config_file(config.config.as_deref())?)?)
}

/// The text of the policy; `None` where there is no file.
pub(crate) fn read(file: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// The policy of a configuration; nobody where there is no file.
fn policy(settings: &Settings) -> Result<Policy, Failure> {
    let file = &settings.federation.policy_file;
    let text = read(file)?.unwrap_or_default();
    Policy::parse(&text, &local_domains(settings))
        .map_err(|error| Failure::text(Exit::Configuration, format!("{} is wrong:\n{error}", file.display())))
}

/// A clearinghouse has no domains of its own: those of its configuration may be members like others.
pub(crate) fn local_domains(settings: &Settings) -> Vec<&str> {
    match settings.role {
        Role::Clearinghouse => Vec::new(),
        Role::StandardEdition | Role::Director | Role::AccessEdge => {
            settings.domains.iter().map(|domain| domain.as_str()).collect()
        }
    }
}
