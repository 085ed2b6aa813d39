//! `chancery forward` and `chancery calls`: where calls go, and those that are over.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::{CallsArguments, ForwardClearArguments, ForwardCommand, ForwardSetArguments};
use crate::control::calls::{
    CallEntryLine, CallSettingLine, CallSettingsLine, CauseWord, DirectionWord, EndWord, parse_place,
};
use crate::control::protocol::{AnswerLine, CallLine};
use crate::exit::{Exit, Failure};
use crate::presence::time_text;
use crate::user::{ask, checked_address, print, print_json, simple, unexpected};

pub(crate) fn forward(command: ForwardCommand) -> Result<(), Failure> {
    match command {
        ForwardCommand::Show(arguments) => {
            let address = checked_address(&arguments.address)?;
            match ask(&arguments.server, CallLine::ForwardShow { address })? {
                AnswerLine::CallSettings(line) if arguments.server.json => print_json(&*line),
                AnswerLine::CallSettings(line) => print(&settings_text(&line)),
                other => Err(unexpected(&other)),
            }
        }
        ForwardCommand::Set(arguments) => set(arguments),
        ForwardCommand::Clear(arguments) => clear(&arguments),
    }
}

pub(crate) fn calls(arguments: &CallsArguments) -> Result<(), Failure> {
    let address = checked_address(&arguments.address)?;
    if let Some(place) = &arguments.before {
        parse_place(place).map_err(|message| Failure::text(Exit::Failed, message))?;
    }
    let call = CallLine::CallList {
        address,
        before: arguments.before.clone(),
        missed: arguments.missed,
        limit: arguments.limit,
    };
    match ask(&arguments.server, call)? {
        AnswerLine::Calls { calls, more } if arguments.server.json => {
            print_json(&serde_json::json!({ "calls": calls, "more": more }))
        }
        AnswerLine::Calls { calls, more } => print(&calls_text(&calls, more)),
        other => Err(unexpected(&other)),
    }
}

fn set(arguments: ForwardSetArguments) -> Result<(), Failure> {
    let address = checked_address(&arguments.address)?;
    let mut changes = Vec::new();
    for (cause, to) in [
        (CauseWord::Always, arguments.always),
        (CauseWord::Busy, arguments.busy),
        (CauseWord::NoAnswer, arguments.no_answer),
        (CauseWord::Unregistered, arguments.unregistered),
        (CauseWord::DoNotDisturb, arguments.dnd),
    ] {
        if let Some(to) = to {
            changes.push(CallSettingLine::Forward { cause, to: Some(checked_address(&to)?) });
        }
    }
    if let Some(seconds) = arguments.after {
        changes.push(CallSettingLine::NoAnswerAfter { seconds });
    }
    if !arguments.ring_also.is_empty() {
        let addresses: Result<_, _> = arguments.ring_also.iter().map(|a| checked_address(a)).collect();
        changes.push(CallSettingLine::RingAlso { addresses: addresses? });
    }
    if let Some(choice) = arguments.busy_on_busy {
        changes.push(CallSettingLine::BusyOnBusy { busy: choice.value() });
    }
    let done = format!("calls to {address} go as asked");
    simple(CallLine::ForwardSet { address, changes }, &arguments.server, &done)
}

/// Without a name, everything.
fn clear(arguments: &ForwardClearArguments) -> Result<(), Failure> {
    let address = checked_address(&arguments.address)?;
    let named = [
        (arguments.always, CauseWord::Always),
        (arguments.busy, CauseWord::Busy),
        (arguments.no_answer, CauseWord::NoAnswer),
        (arguments.unregistered, CauseWord::Unregistered),
        (arguments.dnd, CauseWord::DoNotDisturb),
    ];
    let is_everything = !arguments.ring_also && named.iter().all(|(is_named, _)| !is_named);
    let mut changes: Vec<CallSettingLine> = named
        .iter()
        .filter(|(is_named, _)| *is_named || is_everything)
        .map(|(_, cause)| CallSettingLine::Forward { cause: *cause, to: None })
        .collect();
    if arguments.no_answer || is_everything {
        changes.push(CallSettingLine::NoAnswerAfter { seconds: 0 });
    }
    if arguments.ring_also || is_everything {
        changes.push(CallSettingLine::RingAlso { addresses: Vec::new() });
    }
    if is_everything {
        changes.push(CallSettingLine::BusyOnBusy { busy: None });
    }
    let done =
        format!("calls to {address} are forwarded no more{}", if is_everything { "" } else { " there" });
    simple(CallLine::ForwardSet { address, changes }, &arguments.server, &done)
}

fn settings_text(line: &CallSettingsLine) -> String {
    let mut text = String::new();
    let after = match line.no_answer_seconds {
        0 => String::new(),
        seconds => format!(" (after {seconds} s)"),
    };
    for (name, to, more) in [
        ("always", &line.always, ""),
        ("busy", &line.busy, ""),
        ("no answer", &line.no_answer, after.as_str()),
        ("unregistered", &line.unregistered, ""),
        ("do not disturb", &line.do_not_disturb, ""),
    ] {
        if let Some(to) = to {
            let _ = writeln!(text, "{:<16}{to}{more}", format!("{name}:"));
        }
    }
    if line.no_answer.is_none() && line.no_answer_seconds != 0 {
        let _ = writeln!(text, "{:<16}{} s, once --no-answer says where", "after:", line.no_answer_seconds);
    }
    if !line.ring_also.is_empty() {
        let _ = writeln!(text, "{:<16}{}", "ring also:", line.ring_also.join(", "));
    }
    if let Some(busy) = line.busy_on_busy {
        let _ = writeln!(text, "{:<16}{}", "busy on busy:", if busy { "yes" } else { "no" });
    }
    if text.is_empty() { "calls go to the user's devices\n".to_owned() } else { text }
}

fn calls_text(calls: &[CallEntryLine], more: bool) -> String {
    if calls.is_empty() {
        return "no calls\n".to_owned();
    }
    let mut text = String::new();
    for call in calls {
        let way = match call.direction {
            DirectionWord::Received => "from",
            DirectionWord::Made => "to",
        };
        let (time, peer, end) = (time_text(call.began_unix_ms), &call.peer, call.end.text());
        let _ = write!(text, "{time}  {way:<4} {peer}  {end}");
        if matches!(call.end, EndWord::Answered) {
            let _ = write!(text, " {}", lasted_text(Duration::from_millis(call.lasted_ms)));
        }
        // Who answered what they were called for needs no second mention.
        if !call.answered_at.is_empty() && call.answered_at != call.peer {
            let _ = write!(text, " at {}", call.answered_at);
        }
        text.push('\n');
    }
    if let (true, Some(last)) = (more, calls.last()) {
        let _ = writeln!(text, "more: --before {}", last.place);
    }
    text
}

fn lasted_text(lasted: Duration) -> String {
    let seconds = lasted.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_listed_for_people() {
        let call = |direction, end, lasted_ms, answered_at: &str| CallEntryLine {
            place: "1700000000000-00".to_owned(),
            direction,
            peer: "bob@contoso.example".to_owned(),
            began_unix_ms: 1_700_000_000_000,
            lasted_ms,
            end,
            answered_at: answered_at.to_owned(),
        };
        let calls = [
            call(DirectionWord::Made, EndWord::Answered, 3_725_000, "bob@contoso.example"),
            call(DirectionWord::Made, EndWord::Answered, 61_000, "carol@contoso.example"),
            call(DirectionWord::Received, EndWord::Answered, 1_000, "Linphone (192.0.2.7)"),
            call(DirectionWord::Received, EndWord::Missed, 0, ""),
        ];
        let expected = "\
2023-11-14T22:13:20Z  to   bob@contoso.example  answered 1:02:05
2023-11-14T22:13:20Z  to   bob@contoso.example  answered 1:01 at carol@contoso.example
2023-11-14T22:13:20Z  from bob@contoso.example  answered 0:01 at Linphone (192.0.2.7)
2023-11-14T22:13:20Z  from bob@contoso.example  missed
more: --before 1700000000000-00
";
        assert_eq!(calls_text(&calls, true), expected);
        assert_eq!(calls_text(&[], false), "no calls\n");
    }

    #[test]
    fn settings_are_shown_for_people() {
        let mut line = CallSettingsLine::from(records::CallSettings::default());
        assert_eq!(settings_text(&line), "calls go to the user's devices\n");
        line.no_answer_seconds = 20;
        assert_eq!(settings_text(&line), "after:          20 s, once --no-answer says where\n");
        line.no_answer = Some("carol@contoso.example".to_owned());
        line.no_answer_seconds = 15;
        line.busy_on_busy = Some(true);
        assert_eq!(
            settings_text(&line),
            "no answer:      carol@contoso.example (after 15 s)\nbusy on busy:   yes\n"
        );
    }
}
