//! What a directory may hold: entries as lines `attribute: value`, an empty line between two. The first line says which kind of
//! directory. They are read twice by a replicator.

use std::collections::{BTreeMap, BTreeSet};

use directory::{DomainName, ObjectId, SipAddress};
use directory_source::{Dn, Entry, Event, Named, ServerFacts, ServerKind, Task, Watermark};
use node::{Instant, Now, UnixMillis};
use replicator::{Account, Command, CommandToken, Input, Loaded, Output, Replicator, Settings};

/// Names and values of entries, whose account an address is, and that a second reading changes nothing.
pub(super) fn entries(octets: &[u8]) {
    let mut lines =
        octets.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let kind = match lines.next() {
        Some(b"ldap") => ServerKind::Ldap,
        _ => ServerKind::ActiveDirectory,
    };
    let entries: Vec<Entry> =
        (1..).zip(lines.collect::<Vec<_>>().split(|line| line.is_empty())).map(entry).collect();
    for entry in &entries {
        if let Ok(dn) = Dn::parse(&entry.dn) {
            assert_eq!(Dn::parse(dn.as_str()).as_ref(), Ok(&dn), "the normal form is normal");
            assert!(dn.is_within(&dn));
        }
        // It may be anything, but must be said.
        let _ = Named::parse(&entry.dn);
    }
    let mut settings = Settings::new(kind, vec![DomainName::parse("corp.example").expect("a domain")]);
    settings.mail_as_sip = true;
    settings.groups.federation = Dn::parse("cn=staff,dc=x").ok();
    let replicator = Replicator::new(settings.clone());
    let mut world =
        World { kind, entries, home: Loaded::default(), accounts: BTreeMap::new(), replicator, written: 0 };
    world.feed(Input::Timer);
    // Another one, which knows only what the home was told.
    world.home.accounts = world.accounts.values().cloned().collect();
    world.written = 0;
    world.replicator = Replicator::new(settings);
    world.feed(Input::Command(CommandToken(1), Command::Full));
    assert_eq!(world.written, 0, "a second reading changes nothing");
}

fn entry((number, lines): (u64, &[&[u8]])) -> Entry {
    let mut octets = [0x11; 16];
    octets[8..].copy_from_slice(&number.to_be_bytes());
    let mut entry = Entry { id: ObjectId(octets), dn: String::new(), attributes: BTreeMap::new() };
    for line in lines {
        let colon = line.iter().position(|octet| *octet == b':').unwrap_or(line.len());
        let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
        let value = line.get(colon + 2..).unwrap_or_default();
        if name == "dn" {
            entry.dn = String::from_utf8_lossy(value).into_owned();
        } else {
            entry.attributes.entry(name).or_default().push(value.to_vec());
        }
    }
    entry
}

struct World {
    kind: ServerKind,
    entries: Vec<Entry>,
    home: Loaded,
    accounts: BTreeMap<ObjectId, Account>,
    replicator: Replicator,
    written: usize,
}

impl World {
    fn feed(&mut self, input: Input) {
        let now = Now { monotonic: Instant(0), wall: UnixMillis(1_795_305_600_000) };
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.replicator.handle(now, input);
            while let Some(output) = self.replicator.poll_output() {
                match output {
                    // The home keeps no objects here.
                    Output::Load => inputs.push(Input::Loaded(Loaded { is_last: true, ..self.home.clone() })),
                    Output::Task(task) => inputs.push(Input::Event(self.answer(&task))),
                    Output::Commit(batch) => {
                        self.written += batch.users.len();
                        for user in batch.users {
                            self.accounts.insert(user.account.object, user);
                        }
                        self.check();
                        inputs.push(Input::Committed { refused: Vec::new() });
                    }
                    Output::Log(_) | Output::Progress(_) | Output::Answer(..) => {}
                }
            }
        }
    }

    fn check(&self) {
        let addresses =
            self.accounts.values().flat_map(|account| account.aliases.iter().chain([&account.address]));
        let mut owned: BTreeSet<&SipAddress> = BTreeSet::new();
        for address in addresses {
            assert!(owned.insert(address), "{address} has two owners");
            assert_eq!(address.domain(), "corp.example");
        }
    }

    fn answer(&self, task: &Task) -> Event {
        match task {
            Task::Connect(_) => Event::Connected(Box::new(ServerFacts {
                host: "dc1".to_owned(),
                kind: self.kind,
                domain: ObjectId([0xdd; 16]),
                invocation: None,
                highest_usn: None,
                cursors: None,
                lockout_duration: None,
                lockout_threshold: None,
                base: "dc=x".to_owned(),
                dns_domain: "corp.example".to_owned(),
                realm: "CORP.EXAMPLE".to_owned(),
                netbios: Some("CORP".to_owned()),
            })),
            Task::Mark(_) => {
                let (attribute, text) = ("entrycsn".to_owned(), String::new());
                Event::Marked(Watermark::Stamp { attribute, text, host: "dc1".to_owned() })
            }
            Task::ReadAll(_) | Task::ReadChanges { .. } => {
                Event::Entries { entries: self.entries.clone(), is_last: true }
            }
            Task::ReadEntries { ids, .. } => {
                let asked = self.entries.iter().filter(|entry| ids.contains(&entry.id));
                Event::Entries { entries: asked.cloned().collect(), is_last: true }
            }
        }
    }
}
