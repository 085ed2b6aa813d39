//! `chancery presence`: what a person is seen as, and choosing it.

use std::fmt::Write as _;

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, Zoned};

use crate::cli::{PresenceCommand, PresenceSetArguments};
use crate::control::presence::{ChoiceLine, NoteLine, PresenceLine, SeenLine, WhyLine};
use crate::control::protocol::{AnswerLine, CallLine};
use crate::exit::{Exit, Failure};
use crate::user::{ask, checked_address, print, print_json, simple, unexpected};

pub(crate) fn run(command: PresenceCommand) -> Result<(), Failure> {
    match command {
        PresenceCommand::Show(arguments) => {
            let call = CallLine::PresenceShow { address: checked_address(&arguments.address)? };
            match ask(&arguments.server, call)? {
                AnswerLine::Presence(line) if arguments.server.json => print_json(&*line),
                AnswerLine::Presence(line) => {
                    print(&format!("address:   {}\n{}", line.address, presence_text(&line)))
                }
                other => Err(unexpected(&other)),
            }
        }
        PresenceCommand::Set(arguments) => set(arguments),
        PresenceCommand::Clear(arguments) => {
            let address = checked_address(&arguments.address)?;
            let done = format!("{address} is seen as devices and calls say");
            simple(CallLine::PresenceClear { address }, &arguments.server, &done)
        }
    }
}

fn set(arguments: PresenceSetArguments) -> Result<(), Failure> {
    let address = checked_address(&arguments.address)?;
    let until = arguments.until.as_deref().map(|text| until(text, &Zoned::now())).transpose();
    let until_unix_ms = until.map_err(|message| Failure::text(Exit::Failed, message))?;
    let choice = arguments.state.map(|state| ChoiceLine { state: state.name().to_owned(), until_unix_ms });
    let note = arguments.note.map(|text| NoteLine { text, until_unix_ms });
    let done = match &choice {
        Some(choice) => format!("{address} chose {}", choice.state),
        None => format!("the note of {address} is set"),
    };
    simple(CallLine::PresenceSet { address, choice, note }, &arguments.server, &done)
}

/// When `--until` is, in milliseconds since 1970: so long from now (`90m`, `2h`, `1d`), a time of day (`17:30`, the next one), or a
/// date with a time, in the time zone of this machine unless it says its own.
fn until(text: &str, now: &Zoned) -> Result<u64, String> {
    let wrong = || {
        format!("{text:?} is no time\n  help: write 90m, 2h, 17:30, 2026-12-24T12:00 or 2026-12-24T12:00:00Z")
    };
    let zone = now.time_zone().clone();
    let at = if let Ok(time) = text.parse::<Timestamp>() {
        time
    } else if let Ok(span) = text.parse::<Span>() {
        now.checked_add(span).map_err(|_| wrong())?.timestamp()
    } else if let Ok(time) = text.parse::<DateTime>() {
        time.to_zoned(zone).map_err(|_| wrong())?.timestamp()
    } else {
        let time = text.parse::<Time>().map_err(|_| wrong())?;
        let on = |date: Date| date.to_datetime(time).to_zoned(zone.clone()).map_err(|_| wrong());
        let today = on(now.date())?.timestamp();
        match today > now.timestamp() {
            true => today,
            false => on(now.date().tomorrow().map_err(|_| wrong())?)?.timestamp(),
        }
    };
    if at <= now.timestamp() {
        return Err(format!("{text:?} is over already\n  help: give a time to come, or leave --until out"));
    }
    u64::try_from(at.as_millisecond()).map_err(|_| wrong())
}

/// For people; without the address.
pub(crate) fn presence_text(line: &PresenceLine) -> String {
    let mut text = format!("presence:  {}\n", seen_text(&line.seen));
    let why = match line.why {
        WhyLine::Chosen => match &line.chosen {
            Some(choice) => format!("chosen ({}{})", choice.state, until_text(choice.until_unix_ms)),
            None => "chosen".to_owned(),
        },
        WhyLine::InCall => format!(
            "in {}",
            if line.calls == 1 { "a call".to_owned() } else { format!("{} calls", line.calls) }
        ),
        WhyLine::Device => "the most available device".to_owned(),
        WhyLine::NoDevice => "no device is there".to_owned(),
    };
    let _ = writeln!(text, "why:       {why}");
    if let Some(choice) = line.chosen.as_ref().filter(|_| line.why != WhyLine::Chosen) {
        let _ = writeln!(text, "chosen:    {}{}", choice.state, until_text(choice.until_unix_ms));
    }
    if let Some(note) = &line.own_note {
        let _ = writeln!(text, "own note:  {:?}{}", note.text, until_text(note.until_unix_ms));
    }
    let _ = writeln!(text, "watchers:  {}", line.watchers);
    for device in &line.devices {
        let contact = device.contact.as_deref().unwrap_or("not registered");
        let from = if device.is_published { "published" } else { "registered, published nothing" };
        let _ = writeln!(text, "  {contact}\n    {} ({from})", seen_text(&device.seen));
    }
    text
}

fn seen_text(seen: &SeenLine) -> String {
    let mut text = format!("{} ({})", seen.presence, seen.availability);
    for activity in &seen.activities {
        let _ = write!(text, ", {activity}");
    }
    if let Some(place) = &seen.place {
        let _ = write!(text, ", at {place:?}");
    }
    if let Some(since) = seen.idle_since_unix_ms {
        let _ = write!(text, ", idle since {}", time_text(since));
    }
    if let Some(note) = &seen.note {
        let _ = write!(text, ", {note:?}");
    }
    text
}

fn until_text(until_unix_ms: Option<u64>) -> String {
    until_unix_ms.map_or_else(String::new, |until| format!(", until {}", time_text(until)))
}

pub(crate) fn time_text(unix_ms: u64) -> String {
    let at = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| unix_ms.to_string(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_come_are_written_in_many_ways() {
        let now: Zoned = "2026-11-22T16:00:00+01:00[Europe/Berlin]".parse().unwrap();
        let begin = now.timestamp().as_millisecond();
        let minutes = |text: &str| until(text, &now).map(|at| (at as i64 - begin) / 60_000);
        for (text, expected) in [
            ("90m", 90),
            ("2h", 120),
            ("1d", 24 * 60),
            ("17:30", 90),
            ("09:00", 17 * 60),
            ("2026-11-23T09:00", 17 * 60),
            ("2026-11-22T15:30:00Z", 30),
        ] {
            assert_eq!(minutes(text), Ok(expected), "{text}");
        }
        for text in ["", "soon", "2026-11-22T15:00:00Z", "2020-01-01T00:00", "-5m"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }
}
