//! `chancery probe`: a SIP client for the command line, which signs in, writes and receives messages. It proves from the
//! user's side what `chancery explain` says from the server's, and shows what every other client would be answered.
//!
//! It is a client of the standard and no more: it knows nothing of the server but what is said on the wire.

mod client;
mod link;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use sip_message::{HeaderId, Message};

use self::client::{Client, Identity};
use self::link::{Link, Place};
use crate::cli::{ProbeCommand, ProbeListenArguments, ProbeMessageArguments, ProbeSignIn};
use crate::exit::{Exit, Failure};
use crate::user;

/// How long a listener that was given no time listens: until somebody stops it, or a day.
const LISTEN_LONGEST: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn run(command: ProbeCommand) -> Result<(), Failure> {
    match command {
        ProbeCommand::Register(arguments) => {
            let mut client = signed_in(&arguments.sign_in)?;
            client.unregister()?;
            Ok(())
        }
        ProbeCommand::Message(arguments) => message(&arguments),
        ProbeCommand::Listen(arguments) => listen(&arguments),
    }
}

fn message(arguments: &ProbeMessageArguments) -> Result<(), Failure> {
    let mut client = match arguments.unregistered {
        true => connected(&arguments.sign_in)?,
        false => signed_in(&arguments.sign_in)?,
    };
    let answer = client.message(&arguments.to, arguments.claim.as_deref(), &arguments.text)?;
    if !arguments.unregistered {
        client.unregister()?;
    }
    let status = answer.status().unwrap_or(0);
    if (200..300).contains(&status) {
        return Ok(());
    }
    let reason = said(&answer);
    Err(Failure::text(Exit::Failed, format!("the message was refused: {status} {reason}")))
}

/// The reason phrase, and what a Warning adds to it (RFC 3261 §20.43).
fn said(answer: &Message) -> String {
    let phrase = String::from_utf8_lossy(answer.reason_phrase());
    let warning = answer.header(HeaderId::Warning).map(|value| String::from_utf8_lossy(value).into_owned());
    match warning.as_deref().and_then(|value| value.split('"').nth(1)) {
        Some(text) => format!("{phrase} ({text})"),
        None => phrase.into_owned(),
    }
}

fn listen(arguments: &ProbeListenArguments) -> Result<(), Failure> {
    let mut client = signed_in(&arguments.sign_in)?;
    let until = Instant::now() + arguments.seconds.map_or(LISTEN_LONGEST, Duration::from_secs);
    let mut heard = 0;
    while arguments.count.is_none_or(|count| heard < count) {
        let Some(message) = client.next_message(until)? else { break };
        heard += 1;
        let text = match arguments.sign_in.json {
            true => format!("{}\n", json!({ "from": message.from, "text": message.text })),
            false => format!("{}: {}\n", message.from, message.text),
        };
        user::print(&text)?;
    }
    client.unregister()?;
    match arguments.count {
        Some(count) if heard < count => {
            Err(Failure::text(Exit::Failed, format!("{heard} of {count} messages came in time")))
        }
        _ => Ok(()),
    }
}

fn signed_in(arguments: &ProbeSignIn) -> Result<Client, Failure> {
    let mut client = connected(arguments)?;
    let answer = client.register()?;
    match answer.status() {
        Some(200..300) => Ok(client),
        status => {
            let (status, reason) = (status.unwrap_or(0), said(&answer));
            Err(Failure::text(Exit::Failed, format!("signing in was refused: {status} {reason}")))
        }
    }
}

fn connected(arguments: &ProbeSignIn) -> anyhow::Result<Client> {
    let place = Place::parse(&arguments.server)?;
    let read = |file: &Path| std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let authority = arguments.ca.as_deref().map(read).transpose()?;
    let own = match (&arguments.certificate, &arguments.key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        (None, None) => None,
        _ => bail!("--certificate and --key belong together"),
    };
    let password = match &arguments.password_file {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("no password can be read from {}", file.display()))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        None if arguments.password_stdin => user::password_from_stdin()?,
        None => String::new(),
    };
    let identity = Identity::new(&arguments.user, password)?;
    // What is wrong with the command line is said before anybody is called.
    let link = Link::open(&place, arguments.server_name.as_deref(), authority.as_deref(), own)?;
    Ok(Client::new(link, identity, arguments.verbose))
}
