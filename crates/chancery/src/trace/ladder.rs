//! Traces as a ladder that grows while it is looked at: the server stands in the second column, each other party gets
//! a column when it is first seen.

use std::fmt::Write as _;

use super::lines::{DirectionWord, TraceEventLine, TracePartyLine, TraceWhatLine};

/// Characters from one column to the next: room for the longest method with its number, and an arrow.
const COLUMN: usize = 26;
/// Where the server stands.
const SERVER: usize = 1;
/// Width of the time with the blanks behind it.
const TIME: usize = 14;

/// Whether escape sequences are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    None,
    Ansi,
}

/// What has been drawn so far.
pub(super) struct Ladder {
    colour: Colour,
    /// `None` for the server.
    columns: Vec<Option<TracePartyLine>>,
    /// What the server said last and what stands beside the next answer.
    remark: Option<(u64, String)>,
}

impl Ladder {
    pub(super) fn new(colour: Colour) -> Ladder {
        Ladder { colour, columns: Vec::new(), remark: None }
    }

    /// Appends the rows of an event.
    pub(super) fn draw(&mut self, event: &TraceEventLine, text: &mut String) {
        match &event.what {
            TraceWhatLine::Message { direction, party, text: message } => {
                let beside = match (direction, status(message)) {
                    (DirectionWord::Out, Some(_)) => self.remark.take().map(|(_, remark)| remark),
                    _ => None,
                };
                self.flush(text);
                let place = self.place(party, text);
                let (from, to) = match direction {
                    DirectionWord::In => (place, SERVER),
                    DirectionWord::Out => (SERVER, place),
                };
                let arrow = self.arrow(from, to, message);
                let beside = beside.map(|remark| format!("  {}", self.painted(YELLOW, &remark)));
                row(text, event.at_unix_ms, &(arrow + &beside.unwrap_or_default()));
                body(text, message);
            }
            TraceWhatLine::Unreadable { party, octets, reason } => {
                self.flush(text);
                self.place(party, text);
                let remark = format!("? {octets} octets from {}: {reason}", party.remote);
                row(text, event.at_unix_ms, &self.painted(YELLOW, &remark));
            }
            TraceWhatLine::Report { event: name, reason } => {
                self.flush(text);
                let request = event.request.as_deref().unwrap_or("-");
                self.remark = Some((event.at_unix_ms, format!("! {name}: {reason} ({request})")));
            }
        }
    }

    /// Appends what still waits for an arrow to stand beside.
    pub(super) fn flush(&mut self, text: &mut String) {
        if let Some((at, remark)) = self.remark.take() {
            row(text, at, &self.painted(YELLOW, &remark));
        }
    }

    /// The column of a party; a new one is titled first, or where somebody else has signed in meanwhile.
    fn place(&mut self, party: &TracePartyLine, text: &mut String) -> usize {
        let is_it =
            |known: &TracePartyLine| (&known.transport, &known.remote) == (&party.transport, &party.remote);
        let known = self.columns.iter().position(|column| column.as_ref().is_some_and(is_it));
        let place = match known {
            Some(place) => place,
            None => {
                self.columns.push(Some(party.clone()));
                if self.columns.len() == SERVER {
                    self.columns.push(None);
                }
                self.columns.iter().rposition(Option::is_some).expect("one was added")
            }
        };
        let before = self.columns[place].replace(party.clone());
        if known.is_none() || before.is_some_and(|before| before.user != party.user) {
            self.title(text);
        }
        place
    }

    fn title(&self, text: &mut String) {
        let first = |party: &Option<TracePartyLine>| match party {
            None => "Chancery".to_owned(),
            Some(party) if party.user.is_empty() => "(not signed in)".to_owned(),
            Some(party) => party.user.clone(),
        };
        let second = |party: &Option<TracePartyLine>| {
            party.as_ref().map_or_else(String::new, |party| format!("{} {}", party.transport, party.remote))
        };
        for line in [&first as &dyn Fn(&_) -> String, &second] {
            let mut titles = " ".repeat(TIME);
            for column in &self.columns {
                let title: String = line(column).chars().take(COLUMN - 2).collect();
                let _ = write!(titles, "{title:COLUMN$}");
            }
            text.push_str(&self.painted(BOLD, titles.trim_end()));
            text.push('\n');
        }
    }

    fn arrow(&self, from: usize, to: usize, message: &str) -> String {
        let mut cells = vec![' '; self.columns.len() * COLUMN];
        for column in 0..self.columns.len() {
            cells[column * COLUMN] = '|';
        }
        let (low, high) = (from.min(to) * COLUMN, from.max(to) * COLUMN);
        cells[low + 1..high].fill('-');
        cells[if from < to { high - 1 } else { low + 1 }] = if from < to { '>' } else { '<' };
        // Over a far way the label stands at the party's end, where it is looked for.
        let label: Vec<char> = label(message).chars().take(COLUMN - 5).collect();
        let party = from.max(to);
        let start = if party > SERVER { high - COLUMN } else { low };
        let at = start + 1 + (COLUMN - 1 - label.len()) / 2;
        cells[at..at + label.len()].copy_from_slice(&label);
        let colour = match status(message) {
            None => CYAN,
            Some("1") => DIM,
            Some("2") => GREEN,
            Some(_) => RED,
        };
        let (before, rest): (String, &[char]) = (cells[..=low].iter().collect(), &cells[low + 1..]);
        let (arrow, behind) = rest.split_at(high - low - 1);
        let (arrow, behind): (String, String) = (arrow.iter().collect(), behind.iter().collect());
        format!("{before}{}{}", self.painted(colour, &arrow), behind.trim_end())
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        match self.colour {
            Colour::None => text.to_owned(),
            Colour::Ansi => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
        }
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

fn row(text: &mut String, at_unix_ms: u64, row: &str) {
    let of_day = at_unix_ms % (24 * 3600 * 1000);
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = writeln!(text, "{hours:02}:{minutes:02}:{seconds:02}.{millis:03}  {}", row.trim_end());
}

/// The body, where there is one and it was asked for.
fn body(text: &mut String, message: &str) {
    let body = message.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    if body.starts_with('[') && body.ends_with(" hidden]") {
        return;
    }
    for line in body.lines() {
        let _ = writeln!(text, "{:TIME$}    {line}", "");
    }
}

/// The first digit of a response's status.
fn status(message: &str) -> Option<&str> {
    message.strip_prefix("SIP/2.0 ")?.get(..1)
}

/// Method or status, with the number of CSeq, as the simulator's ladders have them.
fn label(message: &str) -> String {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    let field = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let cseq = field("CSeq").unwrap_or("?");
    match message.strip_prefix("SIP/2.0 ") {
        Some(rest) => format!("{} ({cseq})", rest.get(..3).unwrap_or("?")),
        None => {
            let is_signed = field("Authorization").or(field("Proxy-Authorization")).is_some();
            let method = message.split(' ').next().unwrap_or("?");
            let number = cseq.split_whitespace().next().unwrap_or("?");
            format!("{method} ({number}){}", if is_signed { " signed" } else { "" })
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn party(user: &str, port: u16) -> TracePartyLine {
        let remote = format!("192.0.2.1:{port}");
        TracePartyLine { user: user.into(), transport: "tls".into(), remote }
    }

    fn message(direction: DirectionWord, party: TracePartyLine, text: &str) -> TraceWhatLine {
        TraceWhatLine::Message { direction, party, text: text.replace('\n', "\r\n") }
    }

    fn drawn(colour: Colour, events: Vec<TraceWhatLine>) -> String {
        let (mut ladder, mut text) = (Ladder::new(colour), String::new());
        for (at, what) in events.into_iter().enumerate() {
            let event = TraceEventLine {
                at_unix_ms: 3_723_004 + at as u64,
                request: matches!(what, TraceWhatLine::Report { .. }).then(|| "r1".to_owned()),
                what,
            };
            ladder.draw(&event, &mut text);
        }
        ladder.flush(&mut text);
        text
    }

    #[test]
    fn a_ladder_grows_with_its_parties() {
        use DirectionWord::{In, Out};
        let (alice, bob, carol) = (party("alice@a.example", 1), party("bob@a.example", 2), party("", 3));
        let report =
            |event: &str, reason: &str| TraceWhatLine::Report { event: event.into(), reason: reason.into() };
        let text = drawn(
            Colour::None,
            vec![
                message(
                    In,
                    alice.clone(),
                    "INVITE sip:b SIP/2.0\nCSeq: 1 INVITE\n\n[9 octets of application/sdp hidden]",
                ),
                message(Out, alice.clone(), "SIP/2.0 100 Trying\nCSeq: 1 INVITE\n\n"),
                message(Out, bob.clone(), "INVITE sip:b SIP/2.0\ncseq: 1 INVITE\n\nv=0\ns=-"),
                message(In, bob, "SIP/2.0 200 OK\nCSeq: 1 INVITE\n\n"),
                message(In, carol.clone(), "REGISTER sip:a SIP/2.0\nCSeq: 7 REGISTER\nAuthorization: x\n\n"),
                report("refused", "wrong password"),
                message(Out, carol.clone(), "SIP/2.0 403 Forbidden\nCSeq: 7 REGISTER\n\n"),
                message(
                    In,
                    TracePartyLine { user: "carol@a.example".into(), ..carol },
                    "BYE sip:b SIP/2.0\n\n",
                ),
                report("registered", "bindings changed"),
                TraceWhatLine::Unreadable { party: alice, octets: 9, reason: "no start line".into() },
            ],
        );
        expect![[r#"
                          alice@a.example           Chancery
                          tls 192.0.2.1:1
            01:02:03.004  |-------INVITE (1)------->|
            01:02:03.005  |<----100 (1 INVITE)------|
                          alice@a.example           Chancery                  bob@a.example
                          tls 192.0.2.1:1                                     tls 192.0.2.1:2
            01:02:03.006  |                         |-------INVITE (1)------->|
                              v=0
                              s=-
            01:02:03.007  |                         |<----200 (1 INVITE)------|
                          alice@a.example           Chancery                  bob@a.example             (not signed in)
                          tls 192.0.2.1:1                                     tls 192.0.2.1:2           tls 192.0.2.1:3
            01:02:03.008  |                         |<----------------------------REGISTER (7) signed---|
            01:02:03.010  |                         |------------------------------403 (7 REGISTER)---->|  ! refused: wrong password (r1)
                          alice@a.example           Chancery                  bob@a.example             carol@a.example
                          tls 192.0.2.1:1                                     tls 192.0.2.1:2           tls 192.0.2.1:3
            01:02:03.011  |                         |<----------------------------------BYE (?)---------|
            01:02:03.012  ! registered: bindings changed (r1)
            01:02:03.013  ? 9 octets from 192.0.2.1:1: no start line
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn colours_are_for_terminals() {
        let ok = || vec![message(DirectionWord::Out, party("", 1), "SIP/2.0 200 OK\nCSeq: 1 BYE\n\n")];
        assert!(drawn(Colour::Ansi, ok()).contains("\u{1b}[32m<"));
        assert!(!drawn(Colour::None, ok()).contains('\u{1b}'));
    }
}
