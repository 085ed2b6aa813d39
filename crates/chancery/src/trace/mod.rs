//! `chancery trace`: live SIP of one user or one Call-ID, as a ladder or as JSON lines.
//!
//! The trace runs in the server, redacted there; here it is polled and drawn. When this program ends, however it
//! ends, its connection to the control socket closes, and the server ends the trace.

mod ladder;
pub(crate) mod lines;

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::Context;

use crate::cli::TraceArguments;
use crate::control::protocol::{AnswerLine, CallLine};
use crate::exit::Failure;
use crate::user;
use ladder::{Colour, Ladder};
use lines::TraceFollows;

pub(crate) fn run(arguments: &TraceArguments) -> Result<(), Failure> {
    let mut client = user::connect(&arguments.server)?;
    let start = CallLine::TraceStart {
        subject: arguments.subject.clone(),
        seconds: arguments.seconds,
        bodies: arguments.bodies,
    };
    let (trace, follows, seconds) = match user::answered(client.ask(start)?)? {
        AnswerLine::TraceStarted { trace, follows, seconds } => (trace, follows, seconds),
        other => return Err(user::unexpected(&other)),
    };
    tell(&announcement(&follows, seconds, arguments.bodies));
    let mut out = Out::new(arguments);
    let (mut events, mut lost) = (0, 0);
    loop {
        let page = match user::answered(client.ask(CallLine::TracePoll { trace })?)? {
            AnswerLine::Trace(page) => page,
            other => return Err(user::unexpected(&other)),
        };
        events += page.events.len();
        lost += page.lost;
        if page.lost > 0 {
            tell(&format!("{} events were dropped: more came than there is room for", page.lost));
        }
        // Whoever reads has seen enough: the server ends the trace when we go.
        if !out.put(&page)? {
            return Ok(());
        }
        if page.is_over {
            break;
        }
    }
    tell(&format!("{}, {lost} dropped", user::counted(events as u64, "event")));
    Ok(())
}

/// Unlike `eprintln!`, this does not panic where nobody reads it any more.
fn tell(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

fn announcement(follows: &TraceFollows, seconds: u64, bodies: bool) -> String {
    let what = match follows {
        TraceFollows::User { address } => format!("the user {address}"),
        TraceFollows::CallId { call_id } => format!("the Call-ID {call_id} (no user is called so)"),
    };
    let bodies = if bodies { "with bodies" } else { "without bodies" };
    let time = user::counted(seconds, "second");
    format!("tracing {what} for {time}, {bodies}; times are UTC; Ctrl-C ends it")
}

/// Where events go.
struct Out {
    /// `None` for JSON.
    ladder: Option<Ladder>,
}

impl Out {
    fn new(arguments: &TraceArguments) -> Out {
        let is_coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let colour = if is_coloured { Colour::Ansi } else { Colour::None };
        Out { ladder: (!arguments.server.json).then(|| Ladder::new(colour)) }
    }

    /// Whether anybody still reads.
    fn put(&mut self, page: &lines::TracePageLine) -> Result<bool, Failure> {
        let mut text = String::new();
        for event in &page.events {
            match &mut self.ladder {
                Some(ladder) => ladder.draw(event, &mut text),
                None => {
                    text += &serde_json::to_string(event).context("an event cannot be written as JSON")?;
                    text.push('\n');
                }
            }
        }
        if let (false, Some(ladder)) = (page.more, &mut self.ladder) {
            ladder.flush(&mut text);
        }
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(anyhow::Error::new(error).context("cannot write to standard output").into()),
        }
    }
}
