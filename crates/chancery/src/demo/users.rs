//! Whom a demo knows: samples, those of the command line, those of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;

use anyhow::{Context, anyhow, bail};
use directory::{DomainName, Role, SipAddress, User};
use frontend::admin::PASSWORD_CHARACTERS_MIN;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::DemoArguments;
use crate::offline::NewUser;
use crate::secrets;

const SAMPLES: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// Most lines of a users file: a hundred times the capacity that a Standard Edition server is made for.
const FILE_USERS_MAX: usize = 1_500_000;

/// The accounts that a demo was asked to have.
pub(super) struct Accounts {
    domain: DomainName,
    /// In the order given; those of the command line first.
    users: Vec<Asked>,
    /// How many of them are shown when the server is ready.
    shown: usize,
}

struct Asked {
    address: SipAddress,
    name: String,
    password: String,
}

impl Accounts {
    pub(super) fn of(arguments: &DemoArguments, domain: &DomainName) -> anyhow::Result<Accounts> {
        let mut accounts = Accounts { domain: domain.clone(), users: Vec::new(), shown: 0 };
        for text in &arguments.users {
            let user = accounts.asked(text).context("--user")?;
            if user.password.chars().count() < PASSWORD_CHARACTERS_MIN {
                bail!("--user {}: a password has at least {PASSWORD_CHARACTERS_MIN} characters", user.name);
            }
            accounts.users.push(user);
        }
        if arguments.users.is_empty() && arguments.users_file.is_none() {
            for name in SAMPLES {
                accounts.users.push(accounts.asked(&format!("{name}:{name}-demo-secret"))?);
            }
        }
        accounts.shown = accounts.users.len();
        if let Some(file) = &arguments.users_file {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the users file {}", file.display()))?;
            for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                // No rule of length here: files come from other systems and load generators.
                let user = accounts.asked(line).with_context(|| format!("{}:{}", file.display(), at + 1))?;
                accounts.users.push(user);
            }
            if accounts.users.len() > FILE_USERS_MAX {
                bail!("{} has more than {FILE_USERS_MAX} users", file.display());
            }
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = accounts.users.iter().find(|user| !seen.insert(&user.address)) {
            bail!("{} is given twice", twice.address);
        }
        Ok(accounts)
    }

    /// Addresses and passwords to show.
    pub(super) fn shown(&self) -> Vec<(String, String)> {
        let shown = self.users.iter().take(self.shown);
        shown.map(|user| (user.address.as_str().to_owned(), user.password.clone())).collect()
    }

    /// Those that are not stored yet.
    pub(super) fn missing_from(&self, stored: &BTreeMap<SipAddress, User>) -> Vec<NewUser> {
        let missing = self.users.iter().filter(|user| !stored.contains_key(&user.address));
        missing
            .map(|user| NewUser {
                address: user.address.clone(),
                display_name: capitalised(&user.name),
                role: Role::Person,
                password: user.password.clone(),
            })
            .collect()
    }

    /// Those that are shown with a password that is not the stored one.
    pub(super) fn with_another_password(&self, stored: &BTreeMap<SipAddress, User>) -> Vec<SipAddress> {
        let differs = |user: &&Asked| {
            let expected = secrets::digest_secrets(&user.address, &user.password);
            stored.get(&user.address).is_some_and(|known| known.secrets.as_ref() != Some(&expected))
        };
        self.users.iter().take(self.shown).filter(differs).map(|user| user.address.clone()).collect()
    }

    fn asked(&self, text: &str) -> anyhow::Result<Asked> {
        let (name, password) =
            text.split_once(':').ok_or_else(|| anyhow!("there is no colon\n  help: write NAME:PASSWORD"))?;
        let name = name.trim();
        if password.is_empty() {
            bail!("{name} has no password: NAME:PASSWORD");
        }
        let address = SipAddress::new(name, &self.domain).map_err(|error| {
            anyhow!(
                "{name:?} cannot be a user of {}: {error}\n  help: give the part before @ only",
                self.domain
            )
        })?;
        Ok(Asked { address, name: name.to_owned(), password: password.to_owned() })
    }
}

/// Seen by people only, and only where there is something to wait for.
pub(super) fn progress_bar(users: usize, talkative: bool) -> ProgressBar {
    let bar = ProgressBar::new(users as u64);
    let visible = talkative && users > 1000 && std::io::stderr().is_terminal();
    bar.set_draw_target(if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
    let style = ProgressStyle::with_template("  importing users {bar:40} {pos}/{len}");
    bar.with_style(style.expect("the template is right"))
}

fn capitalised(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}
