//! `chancery access`: who sees how much of a user's presence.

use presence::rules::Subject;

use crate::cli::AccessCommand;
use crate::control::people::{AccessLine, AccessRuleLine, parse_level, parse_subject};
use crate::control::protocol::{AnswerLine, CallLine};
use crate::exit::{Exit, Failure};
use crate::user::{ask, checked_address, print, print_json, simple, unexpected};

pub(crate) fn run(command: AccessCommand) -> Result<(), Failure> {
    match command {
        AccessCommand::Show(arguments) => {
            let call = CallLine::AccessShow { address: checked_address(&arguments.address)? };
            match ask(&arguments.server, call)? {
                AnswerLine::Access(access) if arguments.server.json => print_json(&access),
                AnswerLine::Access(access) => print(&text(&access)),
                other => Err(unexpected(&other)),
            }
        }
        AccessCommand::Set(arguments) => {
            let address = checked_address(&arguments.user)?;
            if matches!(checked(parse_subject(&arguments.subject))?, Subject::Domain(domain) if !domain.as_str().contains('.'))
            {
                let subject = &arguments.subject;
                let text = format!(
                    "{subject:?} is neither an address nor a domain\n  help: a person is written user@domain"
                );
                return Err(Failure::text(Exit::Failed, text));
            }
            checked(parse_level(&arguments.level))?;
            let done = format!("{} sees {address} at the level {}", arguments.subject, arguments.level);
            let call = CallLine::AccessSet { address, subject: arguments.subject, level: arguments.level };
            simple(call, &arguments.server, &done)
        }
        AccessCommand::Unset(arguments) => {
            let address = checked_address(&arguments.user)?;
            checked(parse_subject(&arguments.subject))?;
            let done = format!("{address} says nothing of {} any more", arguments.subject);
            simple(CallLine::AccessUnset { address, subject: arguments.subject }, &arguments.server, &done)
        }
    }
}

/// Told in words before a server is asked.
fn checked<T>(parsed: Result<T, String>) -> Result<T, Failure> {
    parsed.map_err(|reason| Failure::text(Exit::Failed, reason))
}

fn text(access: &AccessLine) -> String {
    let widest = access.rules.iter().map(|rule| rule.subject.chars().count()).max().unwrap_or(0);
    let widest = widest.max("same-organisation".len());
    let mut text = String::new();
    for AccessRuleLine { subject, level, rule } in &access.rules {
        text += &format!("{subject:widest$}  {level:8}  rule {rule}\n");
    }
    for (subject, level) in
        [("same-organisation", &access.same_organisation), ("federated", &access.federated)]
    {
        text += &format!("{subject:widest$}  {level:8}  without a rule\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_stand_before_what_holds_without_one() {
        let rule =
            AccessRuleLine { subject: "bob@contoso.example".into(), level: "team".into(), rule: "c1".into() };
        let access = AccessLine {
            rules: vec![rule],
            same_organisation: "company".into(),
            federated: "external".into(),
        };
        assert_eq!(
            text(&access),
            "bob@contoso.example  team      rule c1\nsame-organisation    company   without a rule\nfederated            \
             external  without a rule\n"
        );
    }
}
