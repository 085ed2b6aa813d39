//! `chancery contact` and `chancery group`.

use serde_json::json;

use crate::cli::{ContactCommand, GroupCommand, UserArguments};
use crate::control::people::{ContactLine, GroupLine};
use crate::control::protocol::{AnswerLine, CallLine};
use crate::exit::Failure;
use crate::user::{ask, checked_address, print, print_json, simple, unexpected};

pub(crate) fn contact(command: ContactCommand) -> Result<(), Failure> {
    match command {
        ContactCommand::List(arguments) => {
            show(&arguments, |groups| json!({ "groups": groups }), contacts_text)
        }
        ContactCommand::Add(arguments) => {
            let (address, contact) =
                (checked_address(&arguments.user)?, checked_address(&arguments.contact)?);
            let done = format!("{contact} is a contact of {address}");
            let call =
                CallLine::ContactAdd { address, contact, group: arguments.group, name: arguments.name };
            simple(call, &arguments.server, &done)
        }
        ContactCommand::Remove(arguments) => {
            let (address, contact) =
                (checked_address(&arguments.user)?, checked_address(&arguments.contact)?);
            let done = match &arguments.group {
                Some(group) => format!("{contact} is no longer in the group {group} of {address}"),
                None => format!("{contact} is no longer a contact of {address}"),
            };
            simple(
                CallLine::ContactRemove { address, contact, group: arguments.group },
                &arguments.server,
                &done,
            )
        }
    }
}

pub(crate) fn group(command: GroupCommand) -> Result<(), Failure> {
    match command {
        GroupCommand::List(arguments) => show(&arguments, groups_json, groups_text),
        GroupCommand::Add(arguments) => {
            let address = checked_address(&arguments.user)?;
            let done = format!("{address} has a group {}", arguments.group);
            simple(CallLine::GroupAdd { address, group: arguments.group }, &arguments.server, &done)
        }
        GroupCommand::Remove(arguments) => {
            let address = checked_address(&arguments.user)?;
            let done = format!("{address} has no group {} any more", arguments.group);
            simple(CallLine::GroupRemove { address, group: arguments.group }, &arguments.server, &done)
        }
        GroupCommand::Rename(arguments) => {
            let address = checked_address(&arguments.user)?;
            let done = format!("the group {} of {address} is called {} now", arguments.group, arguments.name);
            let call = CallLine::GroupRename { address, group: arguments.group, name: arguments.name };
            simple(call, &arguments.server, &done)
        }
    }
}

fn show(
    arguments: &UserArguments,
    json: fn(&[GroupLine]) -> serde_json::Value,
    text: fn(&[GroupLine]) -> String,
) -> Result<(), Failure> {
    let call = CallLine::ContactList { address: checked_address(&arguments.address)? };
    match ask(&arguments.server, call)? {
        AnswerLine::Contacts { groups } if arguments.server.json => print_json(&json(&groups)),
        AnswerLine::Contacts { groups } => print(&text(&groups)),
        other => Err(unexpected(&other)),
    }
}

fn contacts_text(groups: &[GroupLine]) -> String {
    let contacts = groups.iter().flat_map(|group| &group.contacts);
    let widest = contacts.map(|contact| contact.address.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for group in groups {
        text += &format!("{}\n", called(&group.name));
        for ContactLine { address, name } in &group.contacts {
            text += format!("  {address:widest$}  {name}").trim_end();
            text.push('\n');
        }
    }
    if groups.is_empty() { "no contacts\n".to_owned() } else { text }
}

fn groups_json(groups: &[GroupLine]) -> serde_json::Value {
    let line = |group: &GroupLine| json!({ "name": group.name, "contacts": group.contacts.len() });
    json!({ "groups": groups.iter().map(line).collect::<Vec<_>>() })
}

fn groups_text(groups: &[GroupLine]) -> String {
    let widest = groups.iter().map(|group| called(&group.name).chars().count()).max().unwrap_or(0);
    let line = |group: &GroupLine| format!("{:widest$}  {}\n", called(&group.name), group.contacts.len());
    if groups.is_empty() { "no groups\n".to_owned() } else { groups.iter().map(line).collect() }
}

fn called(name: &str) -> &str {
    if name.is_empty() { "(no name)" } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_stand_under_their_groups() {
        let contact = |address: &str, name: &str| ContactLine { address: address.into(), name: name.into() };
        let groups = [
            GroupLine {
                name: "team".into(),
                contacts: vec![contact("a@x.example", "A"), contact("bob@x.example", "")],
            },
            GroupLine { name: String::new(), contacts: vec![] },
        ];
        assert_eq!(contacts_text(&groups), "team\n  a@x.example    A\n  bob@x.example\n(no name)\n");
        assert_eq!(groups_text(&groups), "team       2\n(no name)  0\n");
        assert_eq!((contacts_text(&[]), groups_text(&[])), ("no contacts\n".into(), "no groups\n".into()));
    }
}
