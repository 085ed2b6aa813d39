//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use presence::ManualState;

use crate::ca::arguments::CaCommand;
use crate::config::LogFormat;
use crate::directory::ReplicateWord;
use crate::exit::EXIT_CODES;
use crate::federation::arguments::FederationCommand;

/// Chancery: presence, instant messages, voice and video signalling for an organisation, over SIP.
#[derive(Parser)]
#[command(
    name = "chancery",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "See `chancery COMMAND --help` for examples.",
    after_long_help = EXIT_CODES
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write a new configuration, a private CA, a server certificate and a first administrator.
    Init(InitArguments),
    /// Run the server.
    Serve(ServeArguments),
    /// Prove a configuration and the world that it needs, and say how to mend each fault.
    Check(CheckArguments),
    /// Manage the accounts of the running server.
    #[command(subcommand)]
    User(UserCommand),
    /// Show what people are seen as, and choose it for them.
    #[command(subcommand)]
    Presence(PresenceCommand),
    /// Show and choose where people's calls go.
    #[command(subcommand)]
    Forward(ForwardCommand),
    /// List the calls of a person that are over, newest first.
    Calls(CallsArguments),
    /// Show how the running server does.
    Status(StatusArguments),
    /// Back up the database and the server's secret, while the server runs.
    Backup(BackupArguments),
    /// Follow the organisation's directory now, and show how that goes.
    Replicate(ReplicateArguments),
    /// Look at the address book.
    #[command(subcommand)]
    Addressbook(AddressbookCommand),
    /// Prove a backup, or put it in the place of a stopped server's database.
    Restore(RestoreArguments),
    /// Explain whether one person reaches another, and if not, why and how to mend it.
    Explain(ExplainArguments),
    /// Show the SIP of one user or one Call-ID as it passes, redacted.
    Trace(TraceArguments),
    /// Have the running server take over its changed configuration.
    Reload(ReloadArguments),
    /// Manage the contacts of a user.
    #[command(subcommand)]
    Contact(ContactCommand),
    /// Manage the groups that a user's contacts are in.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Manage who sees how much of a user's presence.
    #[command(subcommand)]
    Access(AccessCommand),
    /// Sign in, write and receive messages as a user's client does.
    #[command(subcommand)]
    Probe(ProbeCommand),
    /// Run the organisation's private certificate authority, and look at certificates of any.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Manage whom the organisation talks with, and try it.
    #[command(subcommand)]
    Federation(FederationCommand),
    /// Try Chancery: a server with sample users that needs no configuration.
    Demo(DemoArguments),
    /// Try federation: three organisations with edges of their own, and a clearinghouse, on this machine.
    DemoFederation(DemoFederationArguments),
}

/// Write a new configuration, a private CA, a server certificate and a first administrator.
///
/// In the folder appear chancery.toml (each key explained), the folder ca with the CA (see `chancery ca`), ca.pem with its root,
/// server.pem with server.key, and the data folder with the administrator's account. The administrator's password is shown once and stored nowhere.
/// Nothing that exists is overwritten, unless --force is given: then configuration and certificates are made anew, and
/// the data folder stays.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery init --domain contoso.example --host sip.contoso.example\n  \
    chancery init --dir /etc/chancery --domain a.example --domain b.example --admin root@a.example \\\n        \
    --data-dir /var/lib/chancery --control-socket /run/chancery/control.sock\n  \
    chancery init --domain contoso.example --directory active-directory \\\n        \
    --directory-domain corp.contoso.example --directory-authority-file corp-ca.pem \\\n        \
    --directory-account svc-chancery@corp.contoso.example \\\n        \
    --directory-password-file directory.password\n\n\
    Then: chancery check --config DIR/chancery.toml; chancery serve --config DIR/chancery.toml")]
pub(crate) struct InitArguments {
    /// The folder to write to; it is made where it is absent.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// A SIP domain of the organisation (repeatable). The first one is the administrator's.
    #[arg(long = "domain", value_name = "DOMAIN", required = true)]
    pub(crate) domains: Vec<String>,
    /// A host name or address that clients reach this server by (repeatable). The first one is advertised.
    /// Default: sip.DOMAIN of the first domain.
    #[arg(long = "host", value_name = "NAME")]
    pub(crate) hosts: Vec<String>,
    /// The first administrator. Default: admin@DOMAIN.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<String>,
    /// The folder of the database. Default: DIR/data.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The local socket of `chancery user`. Default: control.sock in the data folder.
    #[arg(long, value_name = "PATH")]
    pub(crate) control_socket: Option<PathBuf>,
    /// Replace configuration and certificates that are there already.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) directory: DirectoryArguments,
}

/// The section [directory] of a new configuration. Files are named as the shell finds them.
#[derive(Args)]
#[command(next_help_heading = "The organisation's directory")]
pub(crate) struct DirectoryArguments {
    /// Follow the organisation's directory: active-directory or ldap. `chancery check` proves that it can be followed.
    #[arg(long = "directory", value_name = "KIND", value_parser = ["active-directory", "ldap"])]
    pub(crate) kind: Option<String>,
    /// The DNS name of its domain, by which its servers are found.
    #[arg(long = "directory-domain", value_name = "DOMAIN", requires = "kind")]
    pub(crate) domain: Option<String>,
    /// A server of it, with its port where it is not the usual one (repeatable). Default: those that DNS knows of the domain.
    #[arg(long = "directory-server", value_name = "HOST", requires = "kind")]
    pub(crate) servers: Vec<String>,
    /// The site of Active Directory whose servers are asked first.
    #[arg(long = "directory-site", value_name = "SITE", requires = "kind")]
    pub(crate) site: Option<String>,
    /// How the connection is protected. Default: ldaps.
    #[arg(long = "directory-security", value_name = "WAY", value_parser = ["ldaps", "starttls"], requires = "kind")]
    pub(crate) security: Option<String>,
    /// The CAs (PEM) that its servers' certificates must lead to.
    #[arg(long = "directory-authority-file", value_name = "FILE", requires = "kind")]
    pub(crate) authority_file: Option<PathBuf>,
    /// Who reads: a user principal name or a distinguished name; with a keytab a Kerberos principal.
    #[arg(long = "directory-account", value_name = "NAME", requires = "kind")]
    pub(crate) account: Option<String>,
    /// The account's password, alone in a file of mode 0600.
    #[arg(
        long = "directory-password-file",
        value_name = "FILE",
        requires = "kind",
        conflicts_with = "keytab_file"
    )]
    pub(crate) password_file: Option<PathBuf>,
    /// The account's keys instead.
    #[arg(long = "directory-keytab-file", value_name = "FILE", requires = "kind")]
    pub(crate) keytab_file: Option<PathBuf>,
    /// The distinguished name below which is read. Default: all that the server says it has.
    #[arg(long = "directory-base", value_name = "DN", requires = "kind")]
    pub(crate) base: Option<String>,
    /// The mail address is the SIP address of people who have no other.
    #[arg(long = "directory-mail-as-sip", requires = "kind")]
    pub(crate) mail_as_sip: bool,
}

/// Run the server in the foreground.
///
/// SIGHUP reads the configuration again, as `chancery reload` does: what can change is taken over, what needs a restart
/// is said in the log, and a wrong file changes nothing. A certificate that changes on disk is taken over within seconds, without
/// closing a connection. SIGTERM and SIGINT end the server in order. Under systemd it reports readiness and feeds the
/// watchdog.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery serve --config /etc/chancery/chancery.toml\n  \
    RUST_LOG=debug chancery serve --log-format json")]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
    /// The shape of the log, instead of the configured one.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Stop when standard input ends: whoever started the server is gone.
    #[arg(long)]
    pub(crate) until_input_ends: bool,
}

/// Prove a configuration and the world that it needs.
///
/// One line for each thing that was looked at: ok, warn or fail, with a mend. Looked at are the configuration file,
/// the certificate (chain, names, dates, key, file modes), the ports (free, or held by the running server), the data
/// folder (writable, free space), the clock, and the SRV records of the domains in DNS (warnings only).
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery check --config /etc/chancery/chancery.toml\n  \
    chancery check --json | jq '.checks[] | select(.result != \"ok\")'\n\n\
    Ends with 0 where nothing failed, with 1 where something did, and with 3 where the\n\
    configuration is wrong.")]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
    /// One JSON object instead of lines.
    #[arg(long)]
    pub(crate) json: bool,
    /// Ask no DNS server.
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Args)]
pub(crate) struct ConfigArgument {
    /// The configuration. Default: ./chancery.toml, else /etc/chancery/chancery.toml.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// How the running server is found.
#[derive(Args)]
pub(crate) struct ServerArguments {
    /// The configuration of the running server. Default: ./chancery.toml, else /etc/chancery/chancery.toml.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "socket"])]
    pub(crate) config: Option<PathBuf>,
    /// The folder of the running server: that of `chancery demo`, or of its chancery.toml.
    #[arg(long, value_name = "DIR", conflicts_with = "socket")]
    pub(crate) dir: Option<PathBuf>,
    /// The control socket of the running server.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show how the running server does.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery status\n  \
    chancery status --dir ./chancery-demo --json")]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Explain whether one person reaches another, and if not, why and how to mend it.
///
/// Walks the way of a request from the first to the second without sending one: accounts, registrations, policy, access
/// level, do-not-disturb, forwarding. The first step that stops is the answer. At an access-edge or a clearinghouse it proves the way to
/// the other organisation, as `chancery federation test` does: policy, DNS, TCP, TLS, names, usages, clocks.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery explain alice@contoso.example bob@contoso.example\n  \
    chancery explain alice@contoso.example bob@contoso.example --json \\\n    \
    | jq '.steps[] | select(.verdict == \"stops\")'\n\n\
    Ends with 0 where nothing stops, and with 1 where something does.")]
pub(crate) struct ExplainArguments {
    /// Who would write or call, user@domain.
    pub(crate) from: String,
    /// To whom, user@domain.
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Show the SIP of one user or one Call-ID as it passes.
///
/// Messages are taken inside the server, behind TLS, and shown as a ladder: who sent what to whom and when, with the
/// server's reasons beside its refusals. Bodies and everything that signs somebody in are hidden; addresses are not.
/// Each trace is told in the server's log, with who asked and whether bodies were shown. It ends after its time, or
/// when this program does.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery trace alice@contoso.example\n  \
    chancery trace 3848276298220188511@client.example --seconds 300 --json\n  \
    chancery trace alice@contoso.example --bodies      shows what people write: ask them first\n\n\
    A message is a user's if From, To, Request-URI or P-Asserted-Identity is the user's address,\n\
    or if it goes over a connection that the user has registered on. What is no user's address is\n\
    taken as a Call-ID.")]
pub(crate) struct TraceArguments {
    /// The user, user@domain, or a Call-ID.
    #[arg(value_name = "USER|CALL-ID")]
    pub(crate) subject: String,
    /// How long.
    #[arg(long, value_name = "N", default_value = "60",
          value_parser = clap::value_parser!(u64).range(1..=frontend::trace::DURATION_MAX.as_secs()))]
    pub(crate) seconds: u64,
    /// Show bodies too: what people write, and what calls negotiate. The log says so.
    #[arg(long)]
    pub(crate) bodies: bool,
    /// One JSON object a line for each event, with the whole redacted message.
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Have the running server take over its changed configuration.
///
/// The server reads its file as a whole, with the certificates that it names. Where anything is wrong nothing changes.
/// Limits, policies, certificates, DNS servers and the log level are taken over while every connection, registration
/// and call stays; what needs a restart is named and stays as it was.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery reload --dry-run\n  \
    chancery reload --config /etc/chancery/chancery.toml\n\n\
    Ends with 0 where the file is applied, with 3 where it is wrong, and with 4 where no server answers.")]
pub(crate) struct ReloadArguments {
    /// Only say what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Follow the organisation's directory now, and show how that goes.
///
/// The server does this by itself every few seconds. Where accounts of many people would end at once, it stops and waits: look
/// at --report, then repair the directory or say --accept.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery replicate --once\n  \
    chancery replicate --dry-run\n  \
    chancery replicate --report --json\n  \
    chancery replicate --accept")]
#[group(id = "what", required = true, multiple = false)]
pub(crate) struct ReplicateArguments {
    /// Ask for changes now, and wait until they are taken over.
    #[arg(long, group = "what")]
    pub(crate) once: bool,
    /// Read and compare everything now.
    #[arg(long, group = "what")]
    pub(crate) full: bool,
    /// Read and compare everything, and only say what would be done.
    #[arg(long, group = "what")]
    pub(crate) dry_run: bool,
    /// Show how the directory is followed, and what of it cannot be used.
    #[arg(long, group = "what")]
    pub(crate) report: bool,
    /// Take over what the directory says, however many accounts that ends, or that it is another domain's.
    #[arg(long, group = "what")]
    pub(crate) accept: bool,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

impl ReplicateArguments {
    pub(crate) fn what(&self) -> ReplicateWord {
        match self {
            ReplicateArguments { full: true, .. } => ReplicateWord::Full,
            ReplicateArguments { dry_run: true, .. } => ReplicateWord::DryRun,
            ReplicateArguments { report: true, .. } => ReplicateWord::Report,
            ReplicateArguments { accept: true, .. } => ReplicateWord::Accept,
            _ => ReplicateWord::Once,
        }
    }
}

/// Look at the address book as the server keeps it, whatever clients may see of it.
#[derive(Subcommand)]
#[command(after_long_help = "Examples:\n  \
    chancery addressbook test-number '(030) 1234-567'\n  \
    chancery addressbook search müller\n  \
    chancery addressbook show alice@contoso.example\n  \
    chancery addressbook export > book.vcf")]
pub(crate) enum AddressbookCommand {
    /// Show what a telephone number becomes, and which rule of [numbers] decides.
    TestNumber(TestNumberArguments),
    /// Search by names, addresses and numbers.
    Search(AddressbookSearchArguments),
    /// Show one entry with everything that is known of it.
    Show(AddressbookShowArguments),
    /// Write the whole book as vCards (RFC 6350), or with --json a line of JSON for each entry.
    Export(AddressbookExportArguments),
}

/// See [`AddressbookCommand::TestNumber`].
#[derive(Args)]
pub(crate) struct TestNumberArguments {
    /// As the directory has it.
    pub(crate) number: String,
    /// The configuration of the server. Default: ./chancery.toml, else /etc/chancery/chancery.toml.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// See [`AddressbookCommand::Search`].
#[derive(Args)]
pub(crate) struct AddressbookSearchArguments {
    /// Beginnings of words, or digits.
    #[arg(required = true)]
    pub(crate) words: Vec<String>,
    /// Most entries to show.
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// See [`AddressbookCommand::Show`].
#[derive(Args)]
pub(crate) struct AddressbookShowArguments {
    /// A SIP address, an address of mail or the entry's id.
    pub(crate) who: String,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// See [`AddressbookCommand::Export`].
#[derive(Args)]
pub(crate) struct AddressbookExportArguments {
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Back up the database and the server's secret.
///
/// The running server makes the backup beside its work, as of one moment: everything that was accepted before the command
/// was given is in it. Where no server runs, the command makes it itself. A backup is a folder for the server's account
/// alone: the database, secret.key, and manifest.json with their SHA-256 and what is in them. It appears under its name
/// when it is complete; nothing is overwritten.
///
/// It holds what a password is checked against: keep it as safe as the server. Configuration, certificates and their keys
/// are not in it.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery backup\n  \
    chancery backup --to /mnt/backups --json\n  \
    chancery backup --to /mnt/backups/before-upgrade\n\n\
    Then: chancery restore --verify FOLDER")]
pub(crate) struct BackupArguments {
    /// The folder to make. One that is there receives the backup under a name with the time. Default: that, in the folder
    /// backups of the data folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Prove a backup, or restore it.
///
/// With --verify nothing is changed: the backup is held against its manifest, restored into a temporary folder (TMPDIR),
/// searched for damage, migrated to this program's version and loaded as a server does. Without it the same is done but
/// for loading, then the backup takes the place of the database and the secret in the data folder of a stopped server.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery restore --verify /mnt/backups/chancery-20261122T081500Z\n  \
    chancery restore /mnt/backups/chancery-20261122T081500Z --config /etc/chancery/chancery.toml\n\n\
    Ends with 0 where the backup is good, or restored, and with 1 where it is not.")]
pub(crate) struct RestoreArguments {
    /// The folder of the backup.
    pub(crate) backup: PathBuf,
    /// Prove that it can be restored, and change nothing.
    #[arg(long, conflicts_with_all = ["config", "dir", "force"])]
    pub(crate) verify: bool,
    /// Replace a database that is there; it is kept in a folder beside.
    #[arg(long)]
    pub(crate) force: bool,
    /// The configuration of the server. Default: ./chancery.toml, else /etc/chancery/chancery.toml.
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    pub(crate) config: Option<PathBuf>,
    /// The folder of the server: that of `chancery demo`, or of its chancery.toml.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Manage the contacts of a user of the running server.
///
/// They are the same that the user's clients see and change: one list, whichever device changes it.
#[derive(Subcommand)]
#[command(after_long_help = "Examples:\n  \
    chancery contact list alice@contoso.example\n  \
    chancery contact add alice@contoso.example bob@contoso.example --group team --name 'Bob Example'\n  \
    chancery contact remove alice@contoso.example bob@contoso.example")]
pub(crate) enum ContactCommand {
    /// List a user's contacts, group by group.
    List(UserArguments),
    /// Add a contact, or give one that is there another name.
    Add(ContactAddArguments),
    /// Remove a contact.
    Remove(ContactRemoveArguments),
}

#[derive(Args)]
pub(crate) struct ContactAddArguments {
    /// Whose contact, user@domain.
    pub(crate) user: String,
    /// The contact, user@domain.
    pub(crate) contact: String,
    /// The group. Default: the user's first one, which is made where there is none.
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// What the user reads.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Args)]
pub(crate) struct ContactRemoveArguments {
    /// Whose contact, user@domain.
    pub(crate) user: String,
    /// The contact, user@domain.
    pub(crate) contact: String,
    /// Only from this group; without it, from all.
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Manage the groups that a user's contacts are in.
#[derive(Subcommand)]
#[command(after_long_help = "Examples:\n  \
    chancery group list alice@contoso.example\n  \
    chancery group add alice@contoso.example team\n  \
    chancery group rename alice@contoso.example team crew")]
pub(crate) enum GroupCommand {
    /// List a user's groups.
    List(UserArguments),
    /// Add an empty group.
    Add(GroupArguments),
    /// Remove a group with everybody who is in it.
    Remove(GroupArguments),
    /// Give a group another name.
    Rename(GroupRenameArguments),
}

#[derive(Args)]
pub(crate) struct GroupArguments {
    /// Whose group, user@domain.
    pub(crate) user: String,
    /// The group's name.
    pub(crate) group: String,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Args)]
pub(crate) struct GroupRenameArguments {
    /// Whose group, user@domain.
    pub(crate) user: String,
    /// The group's name.
    pub(crate) group: String,
    /// Its new name.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Manage who sees how much of a user's presence.
///
/// A subject is user@domain, a domain, same-organisation, federated or everybody; what names the watcher most closely
/// holds. A level is blocked, external, company, team or personal. What changes is seen at once.
#[derive(Subcommand)]
#[command(after_long_help = "Examples:\n  \
    chancery access show alice@contoso.example\n  \
    chancery access set alice@contoso.example bob@contoso.example team\n  \
    chancery access set alice@contoso.example fabrikam.example blocked\n  \
    chancery access unset alice@contoso.example bob@contoso.example")]
pub(crate) enum AccessCommand {
    /// Show a user's rules, and what holds where there is none.
    Show(UserArguments),
    /// Give a subject a level.
    Set(AccessSetArguments),
    /// Take away what was said of a subject: wider rules hold for it, or the server's policy.
    Unset(AccessUnsetArguments),
}

/// Sign in, write and receive messages as a user's client does.
///
/// What works here works for every client; what is refused is shown with the server's words. Passwords come from a file
/// or from standard input, never from the command line.
#[derive(Subcommand)]
#[command(after_long_help = "Examples:\n  \
    echo PASSWORD | chancery probe register --server tls:sip.contoso.example --ca ca.pem \\\n    \
    --as alice@contoso.example --password-stdin\n  \
    chancery probe message --server tcp:192.0.2.1 --as alice@contoso.example \\\n    \
    --password-file alice.txt --to bob@fabrikam.example Hello\n  \
    chancery probe listen --server tls:sip.fabrikam.example --ca ca.pem \\\n    \
    --as bob@fabrikam.example --password-file bob.txt --count 1")]
pub(crate) enum ProbeCommand {
    /// Sign in, and out again.
    Register(ProbeRegisterArguments),
    /// Sign in and write one message.
    Message(ProbeMessageArguments),
    /// Sign in and print the messages that come.
    Listen(ProbeListenArguments),
}

#[derive(Args)]
pub(crate) struct ProbeSignIn {
    /// The server: tls:HOST[:PORT] or tcp:HOST[:PORT].
    #[arg(long, value_name = "SERVER")]
    pub(crate) server: String,
    /// The CA that the server's certificate must lead to, PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The name that the server's certificate must bear. Default: the host of --server.
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// The user, user@domain.
    #[arg(long = "as", value_name = "ADDRESS")]
    pub(crate) user: String,
    /// A file whose first line is the password.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Read the password from the first line of standard input.
    #[arg(long, conflicts_with = "password_file")]
    pub(crate) password_stdin: bool,
    /// A certificate to show, PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Show the SIP on standard error.
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ProbeRegisterArguments {
    #[command(flatten)]
    pub(crate) sign_in: ProbeSignIn,
}

#[derive(Args)]
pub(crate) struct ProbeMessageArguments {
    #[command(flatten)]
    pub(crate) sign_in: ProbeSignIn,
    /// The recipient, user@domain.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: String,
    /// Claim to be somebody else: what every server must refuse.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) claim: Option<String>,
    /// Do not sign in first: as another organisation's server would write.
    #[arg(long)]
    pub(crate) unregistered: bool,
    /// The text.
    pub(crate) text: String,
}

#[derive(Args)]
pub(crate) struct ProbeListenArguments {
    #[command(flatten)]
    pub(crate) sign_in: ProbeSignIn,
    /// End after so many messages.
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<usize>,
    /// End after so many seconds.
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,
}

#[derive(Args)]
pub(crate) struct AccessSetArguments {
    /// Whose presence, user@domain.
    pub(crate) user: String,
    /// Who watches: user@domain, domain, same-organisation, federated or everybody.
    pub(crate) subject: String,
    /// What the subject may see: blocked, external, company, team or personal.
    pub(crate) level: String,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Args)]
pub(crate) struct AccessUnsetArguments {
    /// Whose presence, user@domain.
    pub(crate) user: String,
    /// Who watches: user@domain, domain, same-organisation, federated or everybody.
    pub(crate) subject: String,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Manage the accounts of the running server, over its local socket.
///
/// Addresses are written user@domain. A password comes from a prompt, from standard input (--password-stdin) or is made up
/// (--generate); never from the command line, where other people of the machine could read it.
#[derive(Subcommand)]
#[command(after_long_help = "Examples:\n  \
    chancery user add erin@contoso.example --name 'Erin Example' --generate\n  \
    chancery user list --containing contoso --json\n  \
    chancery user disable erin@contoso.example\n  \
    chancery user set-permission erin@contoso.example --federation off\n  \
    chancery user list --dir ./chancery-demo")]
pub(crate) enum UserCommand {
    /// Create an account.
    Add(UserAddArguments),
    /// List accounts, in order of their addresses.
    List(UserListArguments),
    /// Show an account with its devices.
    Show(UserArguments),
    /// Disable an account: its registrations and connections end at once.
    Disable(UserArguments),
    /// Enable an account again.
    Enable(UserArguments),
    /// Set a new password; registrations made with the old one end.
    SetPassword(UserPasswordArguments),
    /// Grant or take what a user may do beyond the own organisation and network.
    SetPermission(UserPermissionArguments),
    /// Let a client certificate sign a user in from outside, without a password.
    AddCertificate(UserAddCertificateArguments),
    /// Take a certificate back: registrations made with it end, and it signs nobody in.
    RemoveCertificate(UserRemoveCertificateArguments),
    /// Make, list and take back app passwords: for phones and programs of people whose password is in the directory.
    #[command(subcommand)]
    AppPassword(AppPasswordCommand),
    /// End everything that was signed in with a token, and all tokens issued so far.
    RevokeTokens(UserArguments),
    /// Remove an account with everything that it owns here.
    Remove(UserRemoveArguments),
}

#[derive(Subcommand)]
#[command(after_long_help = "Examples:\n  \
    chancery user app-password add erin@contoso.example --label 'desk phone'\n  \
    chancery user app-password list erin@contoso.example\n  \
    chancery user app-password remove erin@contoso.example erin~k3v9q2")]
pub(crate) enum AppPasswordCommand {
    /// Make one; it is shown once.
    Add(AppPasswordAddArguments),
    /// List somebody's, the oldest first.
    List(UserArguments),
    /// Take one back: what it signed in ends.
    Remove(AppPasswordRemoveArguments),
}

#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery user app-password add erin@contoso.example --label 'desk phone'\n  \
    chancery user app-password add erin@contoso.example --label Thunderbird --for address-book")]
pub(crate) struct AppPasswordAddArguments {
    /// The account, user@domain.
    pub(crate) address: String,
    /// What it is for, in words: the device or the program.
    #[arg(long)]
    pub(crate) label: String,
    /// What it opens.
    #[arg(long = "for", value_name = "WHAT", default_value = "sip")]
    pub(crate) purpose: PurposeArgument,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PurposeArgument {
    /// SIP, and the documents of SIP clients.
    Sip,
    /// The address book, read only.
    AddressBook,
}

impl PurposeArgument {
    /// The name on the control socket.
    pub(crate) fn name(self) -> &'static str {
        match self {
            PurposeArgument::Sip => directory::Purpose::Sip.name(),
            PurposeArgument::AddressBook => directory::Purpose::AddressBook.name(),
        }
    }
}

#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery user app-password remove erin@contoso.example erin~k3v9q2")]
pub(crate) struct AppPasswordRemoveArguments {
    /// The account, user@domain.
    pub(crate) address: String,
    /// Its user name, as `user app-password list` tells it.
    #[arg(value_name = "USERNAME")]
    pub(crate) username: String,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery user add erin@contoso.example --name 'Erin Example'\n  \
    pass show erin | chancery user add erin@contoso.example --password-stdin\n  \
    chancery user add root@contoso.example --role administrator --generate")]
pub(crate) struct UserAddArguments {
    /// The new address, user@domain.
    pub(crate) address: String,
    /// The name that people see.
    #[arg(long, default_value = "")]
    pub(crate) name: String,
    /// What the account may do to the server.
    #[arg(long, default_value = "person")]
    pub(crate) role: RoleArgument,
    #[command(flatten)]
    pub(crate) password: PasswordArguments,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum RoleArgument {
    /// Nothing.
    Person,
    /// Everything, in the Console.
    Administrator,
}

#[derive(Args)]
pub(crate) struct UserListArguments {
    /// Only accounts whose address or name contains this.
    #[arg(long, value_name = "TEXT")]
    pub(crate) containing: Option<String>,
    /// Only accounts behind this address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) after: Option<String>,
    /// At most this many; without it, all.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Args)]
pub(crate) struct UserArguments {
    /// The account, user@domain.
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Args)]
pub(crate) struct UserPasswordArguments {
    /// The account, user@domain.
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) password: PasswordArguments,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery user set-permission erin@contoso.example --federation off\n  \
    chancery user set-permission erin@contoso.example --federation on --remote off")]
#[command(group = clap::ArgGroup::new("permission").required(true).multiple(true))]
pub(crate) struct UserPermissionArguments {
    /// The account, user@domain.
    pub(crate) address: String,
    /// Whether it talks with other organisations.
    #[arg(long, value_name = "SWITCH", group = "permission")]
    pub(crate) federation: Option<SwitchArgument>,
    /// Whether it may sign in from outside of the own network.
    #[arg(long, value_name = "SWITCH", group = "permission")]
    pub(crate) remote: Option<SwitchArgument>,
    /// Whether it may call and be called.
    #[arg(long, value_name = "SWITCH", group = "permission")]
    pub(crate) calls: Option<SwitchArgument>,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery user add-certificate erin@contoso.example erin-laptop.pem")]
pub(crate) struct UserAddCertificateArguments {
    /// The account, user@domain.
    pub(crate) address: String,
    /// The certificate, PEM; of a chain the first one counts. The key stays with its owner.
    #[arg(value_name = "FILE")]
    pub(crate) certificate: PathBuf,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery user remove-certificate erin@contoso.example erin-laptop.pem\n  \
    chancery user remove-certificate erin@contoso.example \\\n    \
    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
pub(crate) struct UserRemoveCertificateArguments {
    /// The account, user@domain.
    pub(crate) address: String,
    /// The certificate's SHA-256 in 64 hexadecimal digits, as `user show` tells it, or a PEM file.
    #[arg(value_name = "DIGEST|FILE")]
    pub(crate) certificate: String,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SwitchArgument {
    /// It may.
    On,
    /// It may not.
    Off,
}

#[derive(Args)]
pub(crate) struct UserRemoveArguments {
    /// The account, user@domain.
    pub(crate) address: String,
    /// Do not ask back.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Show what people are seen as, and choose it for them.
///
/// A choice wins over what devices say and over calls, until it ends or is cleared. A person without any device is offline,
/// whatever was chosen.
#[derive(Subcommand)]
#[command(after_long_help = "Examples:\n  \
    chancery presence show erin@contoso.example\n  \
    chancery presence set erin@contoso.example --state do-not-disturb --until 2h\n  \
    chancery presence set erin@contoso.example --note 'on holiday' --until 2026-12-24T12:00\n  \
    chancery presence clear erin@contoso.example")]
pub(crate) enum PresenceCommand {
    /// Show what a person is seen as, why, and what each device says.
    Show(UserArguments),
    /// Choose a state, write a note, or both; what is not given stays as it is.
    Set(PresenceSetArguments),
    /// Back to automatic, without a note.
    Clear(UserArguments),
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
#[command(after_long_help = "Examples:\n  \
    chancery presence set erin@contoso.example --state do-not-disturb --until 2h\n  \
    chancery presence set erin@contoso.example --note 'on holiday' --until 2026-12-24T12:00")]
pub(crate) struct PresenceSetArguments {
    /// The person, user@domain.
    pub(crate) address: String,
    /// What to be seen as: available, busy, do-not-disturb, be-right-back, away or appear-offline.
    #[arg(long, value_name = "STATE", value_parser = manual_state, group = "what")]
    pub(crate) state: Option<ManualState>,
    /// When what is given ends by itself: so long from now (90m, 2h, 1d), a time of day (17:30), or a date with a time
    /// (2026-12-24T12:00).
    #[arg(long, value_name = "TIME|DURATION")]
    pub(crate) until: Option<String>,
    /// What others read.
    #[arg(long, value_name = "TEXT", group = "what")]
    pub(crate) note: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

fn manual_state(text: &str) -> Result<ManualState, String> {
    ManualState::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = ManualState::ALL.iter().map(|state| state.name()).collect();
        format!("write one of {}", names.join(", "))
    })
}

/// Where a password comes from; without either, from a prompt.
#[derive(Args)]
pub(crate) struct PasswordArguments {
    /// Read the password from the first line of standard input.
    #[arg(long, conflicts_with = "generate")]
    pub(crate) password_stdin: bool,
    /// Make a password up and show it once.
    #[arg(long)]
    pub(crate) generate: bool,
}

/// Try federation: three organisations with edges of their own, and a clearinghouse, on this machine.
///
/// contoso.example and fabrikam.example, each with a front end, a director and an access edge, are federated directly;
/// northwind.example is reached through a clearinghouse. Each server is a process with a configuration of its own, to look
/// at and to change. Runs in the foreground until Ctrl-C; started again on the same folder it continues.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery demo-federation\n  \
    chancery demo-federation --dir /tmp/f --network 127.30 --json    one JSON line when ready")]
pub(crate) struct DemoFederationArguments {
    /// The folder of the demo.
    #[arg(long, default_value = "./chancery-federation")]
    pub(crate) dir: PathBuf,
    /// The first two octets of the servers' addresses, on loopback.
    #[arg(long, value_name = "A.B", default_value = "127.20")]
    pub(crate) network: String,
    /// One JSON line instead of the page.
    #[arg(long)]
    pub(crate) json: bool,
    /// The shape of the log.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// Try Chancery: a server with sample users that needs no configuration.
///
/// Runs in the foreground until Ctrl-C. On its first start it makes a private CA, a certificate and the sample users in its
/// folder; started again on the same folder it continues from what is stored there, and adds users that are new.
/// Its passwords are known to everybody: it listens on loopback unless told otherwise.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery demo\n  \
    chancery demo --domain lab.example --user erin:a-secret-of-erin --listen 192.0.2.1\n  \
    chancery demo --dir /tmp/d --port-base 0 --json      one JSON line when ready, for scripts\n\n\
    Ports, counted from the base: udp and tcp +0, tls +1, ws +20, wss +21, http (metrics, health) +30,
    https (contacts, access rules) +31.")]
pub(crate) struct DemoArguments {
    /// The folder of the demo.
    #[arg(long, default_value = "./chancery-demo")]
    pub(crate) dir: PathBuf,
    /// The SIP domain.
    #[arg(long, default_value = "contoso.example")]
    pub(crate) domain: String,
    /// A user, NAME:PASSWORD (repeatable), instead of alice, bob, carol and dave.
    #[arg(long = "user", value_name = "NAME:PASSWORD")]
    pub(crate) users: Vec<String>,
    /// A file with a line NAME:PASSWORD for each user.
    #[arg(long, value_name = "FILE")]
    pub(crate) users_file: Option<PathBuf>,
    /// An address to listen on (repeatable). Default: 127.0.0.1 and ::1.
    #[arg(long = "listen", value_name = "ADDRESS")]
    pub(crate) listen: Vec<IpAddr>,
    /// The first port. 0 takes ports that are free. Default: 5060, or the next base that is free.
    #[arg(long, value_name = "N")]
    pub(crate) port_base: Option<u16>,
    /// Single ports instead of those counted from the base, such as udp=5070,tls=5071; 0 takes a free one.
    #[arg(long, value_name = "NAME=PORT", value_delimiter = ',', value_parser = port)]
    pub(crate) ports: Vec<(String, u16)>,
    /// Print one JSON line when ready.
    #[arg(long)]
    pub(crate) json: bool,
    /// Believe a UDP address on which a user has registered, as if it were a connection.
    #[arg(long, conflicts_with = "challenge_all")]
    pub(crate) trust_flows: bool,
    /// Challenge every request outside of a dialog, also on connections.
    #[arg(long)]
    pub(crate) challenge_all: bool,
    /// A certificate (PEM) instead of the demo's own.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key (PEM) of --tls-cert.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// The shape of the log.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// Names that `--ports` knows.
pub(crate) const PORT_NAMES: [&str; 7] = ["udp", "tcp", "tls", "ws", "wss", "http", "https"];

fn port(text: &str) -> Result<(String, u16), String> {
    let (name, port) = text.split_once('=').ok_or("write NAME=PORT")?;
    if !PORT_NAMES.contains(&name) {
        return Err(format!("{name:?} is none of {}", PORT_NAMES.join(", ")));
    }
    let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
    Ok((name.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ports_are_named() {
        assert_eq!(port("udp=0"), Ok(("udp".to_owned(), 0)));
        assert!(port("sctp=1").is_err() && port("udp=70000").is_err() && port("udp").is_err());
    }
}

/// Show and choose where people's calls go.
#[derive(Subcommand)]
#[command(after_long_help = "Examples:\n  \
    chancery forward show erin@contoso.example\n  \
    chancery forward set erin@contoso.example --no-answer frank@contoso.example --after 20\n  \
    chancery forward clear erin@contoso.example --no-answer")]
pub(crate) enum ForwardCommand {
    /// Show where the calls of a person go.
    Show(UserArguments),
    /// Choose where they go; what is not named stays.
    Set(ForwardSetArguments),
    /// Forward no more; without a name, for no cause.
    Clear(ForwardClearArguments),
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
#[command(after_long_help = "Examples:\n  \
    chancery forward set erin@contoso.example --no-answer frank@contoso.example --after 20\n  \
    chancery forward set erin@contoso.example --ring-also frank@contoso.example \\\n    \
    --ring-also grace@contoso.example\n  \
    chancery forward set erin@contoso.example --busy-on-busy yes --busy frank@contoso.example")]
pub(crate) struct ForwardSetArguments {
    /// Whose calls, user@domain.
    pub(crate) address: String,
    /// All calls go there.
    #[arg(long, value_name = "ADDRESS", group = "what")]
    pub(crate) always: Option<String>,
    /// Calls that find the person in a call go there.
    #[arg(long, value_name = "ADDRESS", group = "what")]
    pub(crate) busy: Option<String>,
    /// Calls that nobody answers in time go there.
    #[arg(long, value_name = "ADDRESS", group = "what")]
    pub(crate) no_answer: Option<String>,
    /// For how long devices ring before --no-answer, 5 to 180; 0 is the server's default.
    #[arg(long, value_name = "SECONDS", group = "what")]
    pub(crate) after: Option<u32>,
    /// Calls that find no device go there.
    #[arg(long, value_name = "ADDRESS", group = "what")]
    pub(crate) unregistered: Option<String>,
    /// Calls that find do-not-disturb go there; else they are refused as busy.
    #[arg(long, value_name = "ADDRESS", group = "what")]
    pub(crate) dnd: Option<String>,
    /// Rings together with the person's devices; give it for each, they replace those who did.
    #[arg(long, value_name = "ADDRESS", group = "what")]
    pub(crate) ring_also: Vec<String>,
    /// Whether a call that finds the person in a call is busy.
    #[arg(long, value_name = "CHOICE", group = "what")]
    pub(crate) busy_on_busy: Option<BusyOnBusyArgument>,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum BusyOnBusyArgument {
    /// It is.
    Yes,
    /// It rings.
    No,
    /// As the server's configuration says.
    Default,
}

impl BusyOnBusyArgument {
    pub(crate) fn value(self) -> Option<bool> {
        match self {
            BusyOnBusyArgument::Yes => Some(true),
            BusyOnBusyArgument::No => Some(false),
            BusyOnBusyArgument::Default => None,
        }
    }
}

#[derive(Args)]
pub(crate) struct ForwardClearArguments {
    /// Whose calls, user@domain.
    pub(crate) address: String,
    /// Not all calls.
    #[arg(long)]
    pub(crate) always: bool,
    /// Not those that find the person in a call.
    #[arg(long)]
    pub(crate) busy: bool,
    /// Not those that nobody answers.
    #[arg(long)]
    pub(crate) no_answer: bool,
    /// Not those that find no device.
    #[arg(long)]
    pub(crate) unregistered: bool,
    /// Not those that find do-not-disturb.
    #[arg(long)]
    pub(crate) dnd: bool,
    /// Nobody else rings.
    #[arg(long)]
    pub(crate) ring_also: bool,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// List the calls of a person that are over, newest first.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery calls erin@contoso.example\n  \
    chancery calls erin@contoso.example --missed --limit 20 --json\n\n\
    A full page ends with the --before of the next one.")]
pub(crate) struct CallsArguments {
    /// Whose calls, user@domain.
    pub(crate) address: String,
    /// Only calls that the person missed.
    #[arg(long)]
    pub(crate) missed: bool,
    /// At most this many, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Only calls behind this place, as the page before says it.
    #[arg(long, value_name = "PLACE")]
    pub(crate) before: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}
