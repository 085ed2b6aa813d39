//! `chancery user` and `chancery status`: calls over the control socket, answers for people or as JSON.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use directory::CertificateDigest;
use pki::CertificateFacts;
use serde_json::json;

use crate::cli::{
    PasswordArguments, RoleArgument, ServerArguments, StatusArguments, SwitchArgument, UserAddArguments,
    UserAddCertificateArguments, UserCommand, UserListArguments, UserPasswordArguments,
    UserPermissionArguments, UserRemoveArguments, UserRemoveCertificateArguments,
};
use crate::control::accounts::DirectoryLine;
use crate::control::client::Client;
use crate::control::protocol::{
    AnswerLine, CallLine, CertificateLine, DeviceLine, DirectorLine, ListenerLine, PerimeterLine,
    PermissionsLine, RefusalKind, RoleWord, ServerFacts, StateWord, StatusLine, USERS_PER_PAGE_MAX,
    UserDetailsLine, UserLine, parse_address,
};
use crate::directory::FollowedLine;
use crate::exit::{Exit, Failure};
use crate::presence::{presence_text, time_text};
use crate::{app_password, locate, secrets};

/// Longest password read from standard input, in octets: more is a wrong file.
const PASSWORD_OCTETS_MAX: u64 = 1024;

pub(crate) fn run(command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Add(arguments) => add(arguments),
        UserCommand::List(arguments) => list(&arguments),
        UserCommand::Show(arguments) => show(arguments.address, &arguments.server),
        UserCommand::Disable(arguments) => {
            let address = checked_address(&arguments.address)?;
            let done = format!("{address} is disabled");
            simple(CallLine::UserDisable { address }, &arguments.server, &done)
        }
        UserCommand::Enable(arguments) => {
            let address = checked_address(&arguments.address)?;
            let done = format!("{address} is enabled");
            simple(CallLine::UserEnable { address }, &arguments.server, &done)
        }
        UserCommand::SetPassword(arguments) => set_password(arguments),
        UserCommand::SetPermission(arguments) => set_permission(arguments),
        UserCommand::AddCertificate(arguments) => add_certificate(&arguments),
        UserCommand::RemoveCertificate(arguments) => remove_certificate(&arguments),
        UserCommand::AppPassword(command) => app_password::run(command),
        UserCommand::RevokeTokens(arguments) => {
            let address = checked_address(&arguments.address)?;
            let done = format!("no token issued so far signs {address} in");
            simple(CallLine::UserRevokeTokens { address }, &arguments.server, &done)
        }
        UserCommand::Remove(arguments) => remove(arguments),
    }
}

pub(crate) fn status(arguments: &StatusArguments) -> Result<(), Failure> {
    match ask(&arguments.server, CallLine::Status)? {
        AnswerLine::Status(status) if arguments.server.json => print_json(&*status),
        AnswerLine::Status(status) => print(&status_text(&status)),
        AnswerLine::Perimeter(status) if arguments.server.json => print_json(&*status),
        AnswerLine::Perimeter(status) => print(&perimeter_text(&status)),
        AnswerLine::Director(status) if arguments.server.json => print_json(&*status),
        AnswerLine::Director(status) => print(&director_text(&status)),
        other => Err(unexpected(&other)),
    }
}

fn add(arguments: UserAddArguments) -> Result<(), Failure> {
    let address = checked_address(&arguments.address)?;
    let password = Password::obtain(&arguments.password, &address)?;
    let role = match arguments.role {
        RoleArgument::Person => RoleWord::Person,
        RoleArgument::Administrator => RoleWord::Administrator,
    };
    let call = CallLine::UserAdd {
        address: address.clone(),
        name: arguments.name,
        role,
        password: password.text.clone(),
    };
    expect_done(ask(&arguments.server, call)?)?;
    password.report(&arguments.server, &address, "added")
}

fn set_password(arguments: UserPasswordArguments) -> Result<(), Failure> {
    let address = checked_address(&arguments.address)?;
    let password = Password::obtain(&arguments.password, &address)?;
    let call = CallLine::UserSetPassword { address: address.clone(), password: password.text.clone() };
    expect_done(ask(&arguments.server, call)?)?;
    password.report(&arguments.server, &address, "given a new password")
}

fn set_permission(arguments: UserPermissionArguments) -> Result<(), Failure> {
    let address = checked_address(&arguments.address)?;
    let is_on = |switch: SwitchArgument| switch == SwitchArgument::On;
    let (federation, remote_access) = (arguments.federation.map(is_on), arguments.remote.map(is_on));
    let calls = arguments.calls.map(is_on);
    let named = [("federation", federation), ("remote access", remote_access), ("calls", calls)];
    let words = named.into_iter().filter_map(|(name, is_on)| Some(format!("{name} {}", on_or_off(is_on?))));
    let done = format!("{address}: {}", words.collect::<Vec<_>>().join(", "));
    simple(
        CallLine::UserSetPermission { address, federation, remote_access, calls },
        &arguments.server,
        &done,
    )
}

fn add_certificate(arguments: &UserAddCertificateArguments) -> Result<(), Failure> {
    let address = checked_address(&arguments.address)?;
    let facts = read_certificate(&arguments.certificate)?;
    let digest = CertificateDigest(facts.sha256);
    let expires_unix_ms = u64::try_from(facts.not_after_unix_seconds).unwrap_or(0).saturating_mul(1000);
    let until = time_text(expires_unix_ms);
    let done = format!("{address} signs in with {digest} until {until}");
    let call = CallLine::UserAddCertificate { address, sha256: digest.to_string(), expires_unix_ms };
    simple(call, &arguments.server, &done)
}

fn remove_certificate(arguments: &UserRemoveCertificateArguments) -> Result<(), Failure> {
    let address = checked_address(&arguments.address)?;
    let digest = match arguments.certificate.parse::<CertificateDigest>() {
        Ok(digest) => digest,
        Err(_) => CertificateDigest(read_certificate(Path::new(&arguments.certificate))?.sha256),
    };
    let done = format!("{address} signs in with {digest} no more");
    let call = CallLine::UserRemoveCertificate { address, sha256: digest.to_string() };
    simple(call, &arguments.server, &done)
}

/// The first certificate of a PEM file.
fn read_certificate(path: &Path) -> anyhow::Result<CertificateFacts> {
    let context = || format!("{} holds no certificate that can be read", path.display());
    let pem = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let chain = pki::certificates_in_pem(&pem).with_context(context)?;
    CertificateFacts::read(&chain[0]).with_context(context)
}

fn on_or_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

fn list(arguments: &UserListArguments) -> Result<(), Failure> {
    let mut client = connect(&arguments.server)?;
    let mut users: Vec<UserLine> = Vec::new();
    let mut after = arguments.after.clone();
    // One page after the other: the server's answers stay bounded however many accounts there are.
    loop {
        let wanted = arguments.limit.map_or(USERS_PER_PAGE_MAX, |limit| limit.saturating_sub(users.len()));
        if wanted == 0 {
            break;
        }
        let containing = arguments.containing.clone();
        let call = CallLine::UserList { containing, after, limit: wanted.min(USERS_PER_PAGE_MAX) };
        let (page, more) = match answered(client.ask(call)?)? {
            AnswerLine::Users { users, more } => (users, more),
            other => return Err(unexpected(&other)),
        };
        after = page.last().map(|user| user.address.clone());
        users.extend(page);
        if !more {
            break;
        }
    }
    if arguments.server.json {
        return print_json(&json!({ "users": users }));
    }
    print(&users_text(&users))
}

fn show(address: String, server: &ServerArguments) -> Result<(), Failure> {
    match ask(server, CallLine::UserShow { address: checked_address(&address)? })? {
        AnswerLine::User(user) if server.json => print_json(&user),
        AnswerLine::User(user) => print(&user_text(&user)),
        other => Err(unexpected(&other)),
    }
}

fn remove(arguments: UserRemoveArguments) -> Result<(), Failure> {
    let address = checked_address(&arguments.address)?;
    if !arguments.yes {
        if !std::io::stdin().is_terminal() {
            return Err(Failure::text(
                Exit::Failed,
                format!("removing {address} also removes its waiting messages\n  help: add --yes to do it"),
            ));
        }
        eprint!("Remove {address} with its waiting messages? [y/N] ");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).context("no answer could be read")?;
        if !matches!(line.trim(), "y" | "Y" | "yes") {
            return Err(Failure::text(Exit::Failed, "nothing was removed"));
        }
    }
    let done = format!("{address} is removed");
    simple(CallLine::UserRemove { address }, &arguments.server, &done)
}

pub(crate) fn simple(call: CallLine, server: &ServerArguments, done: &str) -> Result<(), Failure> {
    expect_done(ask(server, call)?)?;
    match server.json {
        true => print_json(&json!({ "result": "done" })),
        false => print(&format!("{done}\n")),
    }
}

/// A password and how it is told.
struct Password {
    text: String,
    is_generated: bool,
}

impl Password {
    fn obtain(arguments: &PasswordArguments, address: &str) -> anyhow::Result<Password> {
        if arguments.generate {
            return Ok(Password { text: secrets::password()?, is_generated: true });
        }
        let text = match arguments.password_stdin {
            true => password_from_stdin()?,
            false => password_from_prompt(address)?,
        };
        Ok(Password { text, is_generated: false })
    }

    fn report(&self, server: &ServerArguments, address: &str, done: &str) -> Result<(), Failure> {
        match (server.json, self.is_generated) {
            (true, true) => print_json(&json!({ "result": "done", "password": self.text })),
            (true, false) => print_json(&json!({ "result": "done" })),
            (false, true) => print(&format!(
                "{address} is {done}\npassword: {}\n(shown once, stored nowhere)\n",
                self.text
            )),
            (false, false) => print(&format!("{address} is {done}\n")),
        }
    }
}

pub(crate) fn password_from_stdin() -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut line = String::new();
    let mut bounded = std::io::stdin().lock().take(PASSWORD_OCTETS_MAX + 1);
    bounded.read_line(&mut line).context("no password could be read from standard input")?;
    if line.len() as u64 > PASSWORD_OCTETS_MAX {
        bail!("the first line of standard input is longer than {PASSWORD_OCTETS_MAX} octets: no password");
    }
    let line = line.trim_end_matches(['\r', '\n']);
    if line.is_empty() {
        bail!("standard input holds no password in its first line");
    }
    Ok(line.to_owned())
}

fn password_from_prompt(address: &str) -> anyhow::Result<String> {
    let help = "\n  help: without a terminal, use --password-stdin or --generate";
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt).map_err(|e| anyhow!("no password could be asked for: {e}{help}"))
    };
    let first = ask(&format!("New password for {address}: "))?;
    if first != ask("Again: ")? {
        bail!("the two passwords differ; nothing was changed");
    }
    Ok(first)
}

pub(crate) fn connect(server: &ServerArguments) -> Result<Client, Failure> {
    Client::connect(&locate::control_socket(server)?)
}

/// One call; a refusal becomes a failure.
pub(crate) fn ask(server: &ServerArguments, call: CallLine) -> Result<AnswerLine, Failure> {
    answered(connect(server)?.ask(call)?)
}

pub(crate) fn answered(answer: AnswerLine) -> Result<AnswerLine, Failure> {
    match answer {
        AnswerLine::Refused { kind, message } => {
            let (exit, help) = match kind {
                RefusalKind::Exists => (Exit::Failed, "`chancery user set-password` changes its password"),
                RefusalKind::NoSuchUser => (Exit::Failed, "`chancery user list` shows all accounts"),
                RefusalKind::ForeignDomain => (
                    Exit::Failed,
                    "give an address of these, or add the domain to `domains` in the configuration and restart",
                ),
                RefusalKind::Certificate => {
                    (Exit::Failed, "`chancery user show` tells somebody's certificates")
                }
                RefusalKind::WeakPassword => (Exit::Failed, "--generate makes a good one up"),
                RefusalKind::CallSetting => {
                    (Exit::Failed, "`chancery forward set --help` says what can be chosen")
                }
                RefusalKind::Storage => {
                    (Exit::Failed, "the server's log says more; look at the disk's free space")
                }
                RefusalKind::Backup | RefusalKind::Replication => {
                    (Exit::Failed, "the server's log says more")
                }
                RefusalKind::Starting => (Exit::NoServer, "try again in a moment"),
                RefusalKind::BadRequest => (Exit::Failed, "correct what the message names"),
                RefusalKind::Version => (Exit::NoServer, "use the program that the server was started with"),
                RefusalKind::TooManyTraces => (Exit::Failed, "wait until one ends, or end one"),
                RefusalKind::NoSuchTrace => (Exit::Failed, "start it again"),
                RefusalKind::Configuration => {
                    (Exit::Configuration, "`chancery check` proves the file and what it names")
                }
                RefusalKind::NoSuchGroup => (
                    Exit::Failed,
                    "`chancery group list USER` shows the groups there are, `chancery group add USER GROUP` adds one",
                ),
                RefusalKind::GroupExists => {
                    (Exit::Failed, "`chancery group list USER` shows the groups there are")
                }
                RefusalKind::NoSuchContact => {
                    (Exit::Failed, "`chancery contact list USER` shows the contacts there are")
                }
                RefusalKind::Document => {
                    (Exit::Failed, "shorten the names, or let the user's client mend the document")
                }
                RefusalKind::Busy => (Exit::Failed, "the disk is slow; try again in a moment"),
                RefusalKind::SignIn => {
                    (Exit::Failed, "`chancery user show` tells why an account may not be used")
                }
                RefusalKind::AppPassword => {
                    (Exit::Failed, "`chancery user app-password list` shows a user's app passwords")
                }
                RefusalKind::Unavailable => (Exit::NoServer, "`chancery status` shows how the server does"),
            };
            Err(Failure::text(exit, format!("{message}\n  help: {help}")))
        }
        answer => Ok(answer),
    }
}

fn expect_done(answer: AnswerLine) -> Result<(), Failure> {
    match answer {
        AnswerLine::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn unexpected(answer: &AnswerLine) -> Failure {
    Failure::text(Exit::NoServer, format!("the server gave an answer to another question: {answer:?}"))
}

pub(crate) fn checked_address(text: &str) -> Result<String, Failure> {
    let parsed = parse_address(text);
    parsed.map(|address| address.as_str().to_owned()).map_err(|reason| {
        Failure::text(Exit::Failed, format!("{reason}\n  help: write it as alice@contoso.example"))
    })
}

fn users_text(users: &[UserLine]) -> String {
    let widest =
        |of: fn(&UserLine) -> usize, title: usize| users.iter().map(of).max().unwrap_or(0).max(title);
    let address = widest(|u| u.address.chars().count(), "ADDRESS".len());
    let name = widest(|u| u.name.chars().count(), "NAME".len());
    let mut text =
        format!("{:address$}  {:name$}  STATE        ROLE           DEVICES  WAITING\n", "ADDRESS", "NAME");
    for user in users {
        text += &format!(
            "{:address$}  {:name$}  {:11}  {:13}  {:>7}  {:>7}\n",
            user.address,
            user.name,
            usability(user),
            role(user.role),
            user.devices,
            user.waiting_messages
        );
    }
    text + &counted(users.len() as u64, "account") + "\n"
}

/// How many there are of something.
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Whether the account may be used: what an administrator decided here, else what the directory says.
fn usability(user: &UserLine) -> &str {
    match (user.state, user.standing.as_deref()) {
        (StateWord::Enabled, Some(standing)) if standing != "active" => standing,
        (decided, _) => state(decided),
    }
}

fn user_text(user: &UserDetailsLine) -> String {
    let summary = &user.summary;
    let mut text = format!(
        "address:   {}\nname:      {}\nstate:     {}\nrole:      {}\nwaiting:   {} messages\ndevices:   {}\n",
        summary.address,
        summary.name,
        usability(summary),
        role(summary.role),
        summary.waiting_messages,
        user.registrations.len()
    );
    if !user.aliases.is_empty() {
        text += &format!("formerly:  {}\n", user.aliases.join(", "));
    }
    match &user.directory {
        None => text += "source:    local\n",
        Some(DirectoryLine { object, standing, bind_name, sign_in_names }) => {
            text += &format!("source:    directory, {standing}, object {object}\n");
            text += &format!("bound as:  {bind_name}\nnames:     {}\n", sign_in_names.join(", "));
        }
    }
    for password in &user.app_passwords {
        text += &format!("app:       {}", app_password::line(password));
    }
    if let Some(PermissionsLine { federation, remote_access, calls }) = user.permissions {
        text += &format!(
            "may:       federation {}, remote access {}, calls {}\n",
            on_or_off(federation),
            on_or_off(remote_access),
            on_or_off(calls)
        );
    }
    for CertificateLine { sha256, expires_unix_ms } in user.certificates.iter().flatten() {
        text += &format!("signs in:  {sha256}\n           until {}\n", time_text(*expires_unix_ms));
    }
    for DeviceLine { contact, transport, remote, user_agent, instance, expires_seconds } in
        &user.registrations
    {
        text += &format!("  {contact}\n    {transport} from {remote}, for {expires_seconds} more seconds\n");
        if !user_agent.is_empty() {
            text += &format!("    {user_agent}\n");
        }
        if let Some(instance) = instance {
            text += &format!("    instance {instance}\n");
        }
    }
    if let Some(presence) = &user.presence {
        text += &presence_text(presence);
    }
    text
}

fn status_text(status: &StatusLine) -> String {
    let server = &status.server;
    let text = format!(
        "Chancery {}, process {}, up {} seconds\ndomains:       {}\nusers:         {}\nregistrations: {}\n\
         connections:   {}\ntransactions:  {}\nstorage:       {}\n",
        server.version,
        server.pid,
        status.uptime_seconds,
        server.domains.join(", "),
        status.users,
        status.bindings,
        status.connections,
        status.transactions,
        if status.storage_healthy { "healthy" } else { "FAILING (see the log)" }
    );
    text + &listeners_text(server) + &status.directory.as_ref().map_or(String::new(), followed_text)
}

fn followed_text(directory: &FollowedLine) -> String {
    let server = match directory.server.as_str() {
        "" => "not connected yet".to_owned(),
        server => format!("{} at {server}", directory.dns_domain),
    };
    let in_step = directory.in_step_unix_ms.map_or_else(|| "never".to_owned(), time_text);
    let mut text = format!(
        "directory:     {server}\n  in step:     {in_step}\n  accounts:    {} active, {} inactive\n  findings:    {}\n",
        directory.accounts_active, directory.accounts_inactive, directory.findings
    );
    for alarm in &directory.alarms {
        text += &format!("  ALARM:       {alarm}\n");
    }
    text
}

fn listeners_text(server: &ServerFacts) -> String {
    let line = |listener: &ListenerLine| {
        format!("{:14} {} {}\n", format!("{}:", listener.role), listener.transport, listener.address)
    };
    server.listeners.iter().map(line).collect()
}

fn director_text(status: &DirectorLine) -> String {
    let server = &status.server;
    format!(
        "Chancery {}, process {}\ndomains:       {}\n{}accounts:      {}{}\nsigned in:     {}\n\
         transactions:  {}\nservers:       {}\n",
        server.version,
        server.pid,
        server.domains.join(", "),
        listeners_text(server),
        status.users,
        if status.is_complete { "" } else { " (a home has not told its accounts yet)" },
        status.signed_in,
        status.transactions,
        status.servers.join(", ")
    )
}

fn perimeter_text(status: &PerimeterLine) -> String {
    let server = &status.server;
    let mut text = format!(
        "Chancery {}, process {}\ndomains:       {}\n",
        server.version,
        server.pid,
        server.domains.join(", ")
    );
    text += &listeners_text(server);
    text += &format!("connections:   {}\n", status.connections.len());
    for connection in &status.connections {
        let opened = if connection.is_ours { "to" } else { "from" };
        let names = connection.names.join(", ");
        text += &format!("  {:9} {opened:4} {:24} {names}\n", connection.kind, connection.remote);
    }
    for watched in &status.watch_list {
        text += &format!("watch list:    {} ({})\n", watched.domain, watched.why);
    }
    text
}

fn state(state: StateWord) -> &'static str {
    match state {
        StateWord::Enabled => "enabled",
        StateWord::Disabled => "disabled",
    }
}

fn role(role: RoleWord) -> &'static str {
    match role {
        RoleWord::Person => "person",
        RoleWord::Administrator => "administrator",
    }
}

pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).context("the answer cannot be written as JSON")?;
    print(&format!("{text}\n"))
}

/// Unlike `print!`, this does not panic where the reader (`head`) has gone.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to standard output").into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
