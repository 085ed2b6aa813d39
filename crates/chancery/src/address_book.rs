//! `chancery addressbook`: what a number becomes, and what the server keeps of people, contacts, groups and rooms.
//!
//! The server tells the objects over the control socket; search and vCards are made here, with the crate that serves them to
//! clients, as its administrators see them.

use std::collections::BTreeSet;

use address_book::{Audience, Book, BookSettings, Entry, PAGE_MAX, Query};
use anyhow::Context;
use directory::ObjectId;
use directory::numbers::{DecidedBy, NumberRules, NumberSettings};
use records::{ObjectRow, Revision};
use serde_json::{Value, json};

use crate::cli::{
    AddressbookCommand, AddressbookExportArguments, AddressbookSearchArguments, AddressbookShowArguments,
    ServerArguments, TestNumberArguments,
};
use crate::config::Settings;
use crate::control::protocol::{AnswerLine, CallLine, OBJECTS_PER_PAGE_MAX};
use crate::exit::{Exit, Failure};
use crate::{locate, user};

pub(crate) fn run(command: AddressbookCommand) -> Result<(), Failure> {
    match command {
        AddressbookCommand::TestNumber(arguments) => test_number(&arguments),
        AddressbookCommand::Search(arguments) => search(&arguments),
        AddressbookCommand::Show(arguments) => show(&arguments),
        AddressbookCommand::Export(arguments) => export(&arguments),
    }
}

fn test_number(arguments: &TestNumberArguments) -> Result<(), Failure> {
    let file = locate::config_file(arguments.config.as_deref())?;
    let settings = Settings::load(&file)?;
    let rules = NumberRules::new(&settings.numbers).expect("the configuration proved them");
    let verdict = rules.explain(&arguments.number);
    let decided_by = decided_by(&verdict.decided_by);
    if arguments.json {
        let (e164, extension, reason) = match &verdict.result {
            Ok(number) => (Some(&number.e164), number.extension.as_ref(), None),
            Err(rejected) => (None, None, Some(rejected.to_string())),
        };
        user::print_json(&json!({
            "written": arguments.number, "compact": verdict.compact, "decided_by": decided_by, "e164": e164,
            "extension": extension, "rejected": reason,
        }))?;
    }
    match verdict.result {
        Ok(_) if arguments.json => Ok(()),
        Ok(number) => {
            let extension = number.extension.map_or(String::new(), |digits| format!(", extension {digits}"));
            user::print(&format!("{}{extension}\n  {decided_by}\n", number.e164))
        }
        Err(rejected) => Err(Failure::text(
            Exit::Failed,
            format!(
                "{:?} is no international number: {rejected}\n  {decided_by}\n  help: [numbers] of {} says how numbers are \
                 written",
                arguments.number,
                file.display()
            ),
        )),
    }
}

fn decided_by(who: &DecidedBy) -> String {
    match who {
        DecidedBy::Reading => "it could not be read".to_owned(),
        DecidedBy::Rule(place, name) if name.is_empty() => format!("by rule {place} of [numbers]"),
        DecidedBy::Rule(place, name) => format!("by rule {place} of [numbers]: {name}"),
        DecidedBy::International => "it begins with +".to_owned(),
        DecidedBy::InternationalPrefix(prefix) => {
            format!("it begins with the international prefix {prefix}")
        }
        DecidedBy::TrunkPrefix(prefix) => format!("it begins with the trunk prefix {prefix}"),
        DecidedBy::AreaCode(code) => format!("it has no prefix: area code {code}"),
        DecidedBy::Country(code) => format!("it has no prefix: country code {code}"),
        DecidedBy::Nothing => "nothing in [numbers] says what it is".to_owned(),
    }
}

fn search(arguments: &AddressbookSearchArguments) -> Result<(), Failure> {
    let (mut book, _) = book(&arguments.server)?;
    let text = arguments.words.join(" ");
    let limit = arguments.limit.clamp(1, PAGE_MAX);
    let query = Query { text: &text, kinds: &[], limit, cursor: None };
    let page = book
        .search(Audience::Administrators, &query)
        .map_err(|error| Failure::text(Exit::Failed, error.to_string()))?;
    let found: Result<Vec<Entry>, _> = page.lines.iter().map(|line| serde_json::from_str(line)).collect();
    let found = found.context("a line of the address book is not read as it is written")?;
    if arguments.server.json {
        return user::print_json(&json!({ "total": page.total, "entries": found }));
    }
    let mut text: String = found.iter().map(|entry| line(entry) + "\n").collect();
    if page.total > found.len() {
        text += &format!("and {} more\n", page.total - found.len());
    }
    if found.is_empty() {
        text += "nobody is found\n";
    }
    user::print(&text)
}

fn line(entry: &Entry) -> String {
    let address = entry.address.as_ref().map(ToString::to_string);
    let mail = || entry.card.mail.first().cloned();
    let phone = entry.card.phones.first().map(|phone| phone.e164.as_ref().unwrap_or(&phone.written).clone());
    let columns = [address.or_else(mail), phone, some(&entry.card.title), some(&entry.card.department)];
    let columns: Vec<String> = columns.into_iter().flatten().collect();
    format!("{:30} {}", entry.card.display_name, columns.join("  "))
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn show(arguments: &AddressbookShowArguments) -> Result<(), Failure> {
    let (book, ids) = book(&arguments.server)?;
    let id = arguments.who.parse::<ObjectId>().ok();
    let is_meant = |entry: &Entry| {
        let address = entry.address.as_ref().map(ToString::to_string);
        id == Some(entry.id.0)
            || address.is_some_and(|address| address.eq_ignore_ascii_case(&arguments.who))
            || entry.card.mail.iter().any(|mail| mail.eq_ignore_ascii_case(&arguments.who))
    };
    let found: Vec<Entry> = entries(&book, &ids).filter(is_meant).collect();
    match found.as_slice() {
        [] => Err(Failure::text(
            Exit::Failed,
            format!(
                "{} is not in the address book; `chancery addressbook search` finds names",
                arguments.who
            ),
        )),
        [entry] if arguments.server.json => user::print_json(entry),
        several if arguments.server.json => user::print_json(&several),
        several => {
            let cards: Result<Vec<String>, Failure> = several.iter().map(card).collect();
            user::print(&cards?.join("\n"))
        }
    }
}

/// All that is known of somebody, a line for each.
fn card(entry: &Entry) -> Result<String, Failure> {
    let value = serde_json::to_value(entry).context("an entry is made of texts")?;
    let mut text = String::new();
    write_fields(&mut text, "", &value);
    Ok(text)
}

fn write_fields(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| write_fields(text, name, value)),
        Value::Array(values) => values.iter().for_each(|value| {
            let word = match value {
                // What belongs together stands together: a number as it is written and as it is dialled.
                Value::Object(fields) => fields.values().map(word).collect::<Vec<_>>().join("  "),
                value => word(value),
            };
            write_fields(text, name, &Value::String(word));
        }),
        value => {
            let name = format!("{}:", name.replace('_', " "));
            *text += &format!("{name:<18}{}\n", word(value));
        }
    }
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn export(arguments: &AddressbookExportArguments) -> Result<(), Failure> {
    let (book, ids) = book(&arguments.server)?;
    let mut text = String::new();
    for entry in entries(&book, &ids) {
        match arguments.server.json {
            true => text += &serde_json::to_string(&entry).context("an entry is made of texts")?,
            // Whoever reads a file has no token for the photo.
            false => text += &Entry { photo: None, ..entry }.vcard(),
        }
        if arguments.server.json {
            text.push('\n');
        }
    }
    user::print(&text)
}

fn entries<'a>(book: &'a Book, ids: &'a BTreeSet<ObjectId>) -> impl Iterator<Item = Entry> + 'a {
    ids.iter().filter_map(|id| book.entry(Audience::Administrators, *id))
}

/// The whole book: administrators look at it rarely, and a hundred thousand entries take a second.
fn book(server: &ServerArguments) -> Result<(Book, BTreeSet<ObjectId>), Failure> {
    let mut client = user::connect(server)?;
    let mut ids = BTreeSet::new();
    let mut book = Book::new(BookSettings::default(), NumberSettings::default());
    let mut after = 0;
    loop {
        let call = CallLine::Objects { after, limit: OBJECTS_PER_PAGE_MAX };
        let (lines, more) = match user::answered(client.ask(call)?)? {
            AnswerLine::Objects { rows, more } => (rows, more),
            other => return Err(user::unexpected(&other)),
        };
        ids.extend(lines.iter().map(|line| line.id));
        after = lines.last().map_or(after, |line| line.revision);
        let rows = lines.into_iter().map(|line| ObjectRow {
            revision: Revision(line.revision),
            at_unix_ms: 0,
            id: line.id,
            object: line.object,
        });
        book.apply(&rows.collect::<Vec<_>>());
        if !more {
            return Ok((book, ids));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_lines() {
        let entry = json!({
            "address": "erin@contoso.example",
            "card": {
                "display_name": "Erin",
                "mail": ["erin@contoso.example", "e@contoso.example"],
                "phones": [{ "kind": "work", "e164": "+4930123456", "written": "(030) 123456" }],
            },
            "revision": 7,
        });
        let mut text = String::new();
        write_fields(&mut text, "", &entry);
        assert_eq!(
            text,
            "address:          erin@contoso.example\ndisplay name:     Erin\nmail:             erin@contoso.example\n\
             mail:             e@contoso.example\nphones:           +4930123456  work  (030) 123456\nrevision:         7\n"
        );
    }
}
