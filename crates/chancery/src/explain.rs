//! `chancery explain`: the way from one person to another, step by step.

use directory::SipAddress;

use crate::cli::{ConfigArgument, ExplainArguments};
use crate::config::{FILE_NAME, Role, Settings};
use crate::control::protocol::{AnswerLine, CallLine, ExplanationLine, StepLine, VerdictWord};
use crate::exit::{Exit, Failure};
use crate::user::{ask, checked_address, print, print_json, unexpected};
use crate::{federation, locate};

pub(crate) fn run(arguments: &ExplainArguments) -> Result<(), Failure> {
    if let Some(done) = at_the_border(arguments) {
        return done;
    }
    let call =
        CallLine::Explain { from: checked_address(&arguments.from)?, to: checked_address(&arguments.to)? };
    let explanation = match ask(&arguments.server, call)? {
        AnswerLine::Explanation(explanation) => explanation,
        other => return Err(unexpected(&other)),
    };
    match arguments.server.json {
        true => print_json(&explanation)?,
        false => print(&text(&explanation))?,
    }
    match explanation.steps.iter().find(|step| step.verdict == VerdictWord::Stops) {
        Some(step) => Err(Failure::text(Exit::Failed, reason(&explanation, step))),
        None => Ok(()),
    }
}

/// An access-edge and a clearinghouse know no users: what they can explain is the way to the other organisation, the policy first, and
/// then everything that must work. `None` where the server is none of these.
fn at_the_border(arguments: &ExplainArguments) -> Option<Result<(), Failure>> {
    let ExplainArguments { from, to, server } = arguments;
    if server.socket.is_some() {
        return None;
    }
    let file = match &server.dir {
        Some(dir) => dir.join(FILE_NAME),
        None => locate::config_file(server.config.as_deref()).ok()?,
    };
    let settings = Settings::load(&file).ok()?;
    if !matches!(settings.role, Role::AccessEdge | Role::Clearinghouse) {
        return None;
    }
    let explain = || {
        let parse = |text: &str| {
            let refused = |error| Failure::text(Exit::Failed, format!("{text:?} is no address: {error}"));
            SipAddress::parse(text).map_err(refused)
        };
        let config = ConfigArgument { config: Some(file.clone()) };
        federation::explain(config, &settings, [&parse(from)?, &parse(to)?], server.json)
    };
    Some(explain())
}

fn text(explanation: &ExplanationLine) -> String {
    let widest = explanation.steps.iter().map(|step| step.what.chars().count()).max().unwrap_or(0);
    let mut text = format!("from {} to {}\n", explanation.from, explanation.to);
    for StepLine { what, verdict, finding, mend } in &explanation.steps {
        let mark = match verdict {
            VerdictWord::Passes => "ok  ",
            VerdictWord::Notes => "note",
            VerdictWord::Stops => "STOP",
        };
        text += &format!("  {mark}  {what:widest$}  {finding}\n");
        if let Some(mend) = mend {
            text += &format!("        {:widest$}  mend: {mend}\n", "");
        }
    }
    text
}

fn reason(explanation: &ExplanationLine, step: &StepLine) -> String {
    format!("{} does not reach {}: {}: {}", explanation.from, explanation.to, step.what, step.finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stops_stands_out() {
        let step = |what: &str, verdict, mend: Option<&str>| StepLine {
            what: what.into(),
            verdict,
            finding: "found".into(),
            mend: mend.map(Into::into),
        };
        let explanation = ExplanationLine {
            from: "a@x.example".into(),
            to: "b@x.example".into(),
            passes: false,
            steps: vec![
                step("sender", VerdictWord::Passes, None),
                step("recipient", VerdictWord::Stops, Some("add it")),
            ],
        };
        assert_eq!(
            text(&explanation),
            "from a@x.example to b@x.example\n  ok    sender     found\n  STOP  recipient  found\n                   mend: add it\n"
        );
        assert_eq!(
            reason(&explanation, &explanation.steps[1]),
            "a@x.example does not reach b@x.example: recipient: found"
        );
    }
}
