//! The command line of `chancery federation`.

use clap::{Args, Subcommand, ValueEnum};
use federation::policy::Date;
use federation::policy::edit::EntryChange;
use federation::{Modalities, Modality};

use crate::cli::ConfigArgument;

/// Manage whom the organisation talks with, and try it.
///
/// What the commands change is federation.toml beside the configuration (`[federation] policy_file`): its comments and its
/// order stay, and a change that would make it wrong is not made. A running access edge takes it over within seconds.
/// docs/federation.md tells what each key means.
#[derive(Subcommand)]
#[command(after_long_help = "Examples:\n  \
    chancery federation allow fabrikam.example --next-hop edge.fabrikam.example:5061 \\\n    \
    --owner erin@contoso.example\n  \
    chancery federation hub allow hub.trade.example --members northwind.example,adatum.example\n  \
    chancery federation allow adatum.example --via hub.trade.example --modalities presence,im\n  \
    chancery federation test fabrikam.example\n  \
    chancery federation block bad.example --reason 'spam since Monday'\n  \
    chancery federation list --json")]
pub(crate) enum FederationCommand {
    /// List the policy: partners, hubs with their members, discovery, the block list.
    List(ListArguments),
    /// Talk with a domain, or change the terms on which we do.
    Allow(Box<AllowArguments>),
    /// Talk with a domain no more, whatever else the policy says.
    Block(BlockArguments),
    /// Take a domain off the block list; its entry, if there is one, is in force again.
    Unblock(DomainArguments),
    /// Remove a domain's entry: it is then where a hub's list or discovery puts it.
    Remove(DomainArguments),
    /// Talk through a hub, or no more.
    #[command(subcommand)]
    Hub(HubCommand),
    /// Let a hub speak for a domain, or no more.
    #[command(subcommand)]
    Member(MemberCommand),
    /// Talk with domains that nobody listed, as far as DNS and certificates prove them.
    Discovery(DiscoveryArguments),
    /// Prove the way to a domain: policy, DNS, TCP, TLS, names, clock.
    Test(TestArguments),
}

#[derive(Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct DomainArguments {
    /// The other organisation's SIP domain.
    pub(crate) domain: String,
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

/// Talk with a domain, or change the terms on which we do.
///
/// What is not given stays as it is; of a new entry it has its default. A domain on the block list is taken off it.
#[derive(Args)]
pub(crate) struct AllowArguments {
    /// The other organisation's SIP domain.
    pub(crate) domain: String,
    /// Its edge's host name and port. Without it, DNS is asked (with --certificate domain).
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "via")]
    pub(crate) next_hop: Option<String>,
    /// The hub that it is reached through, as the policy names it.
    #[arg(long, value_name = "HUB")]
    pub(crate) via: Option<String>,
    /// As a member of the clearinghouse that this server is.
    #[arg(long, conflicts_with = "via")]
    pub(crate) member: bool,
    /// How its certificate proves it: fqdn, domain, or sha256:HEX.
    #[arg(long, value_name = "RULE", conflicts_with = "via")]
    pub(crate) certificate: Option<String>,
    /// CAs that are believed for this partner alone, PEM; counted from the policy's folder.
    #[arg(long, value_name = "FILE", conflicts_with = "via")]
    pub(crate) authority_file: Option<String>,
    #[command(flatten)]
    pub(crate) terms: TermsArguments,
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

/// On which terms we talk with somebody, and why.
#[derive(Args)]
pub(crate) struct TermsArguments {
    /// What may pass: presence, im, audio, video.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = modality)]
    pub(crate) modalities: Option<Vec<Modality>>,
    /// Who may begin something.
    #[arg(long, value_enum)]
    pub(crate) direction: Option<DirectionArgument>,
    /// Requests a second that the other side may begin.
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<u32>,
    /// The last day, such as 2027-12-31.
    #[arg(long, value_name = "DATE")]
    pub(crate) expires: Option<Date>,
    /// Who answers for the relationship.
    #[arg(long, value_name = "TEXT")]
    pub(crate) owner: Option<String>,
    /// Why it exists.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

impl TermsArguments {
    /// What they say of an entry.
    pub(crate) fn entry(&self) -> EntryChange {
        let modalities = self.modalities.as_ref();
        EntryChange {
            modalities: modalities.map(|list| list.iter().copied().collect::<Modalities>()),
            direction: self.direction.map(|direction| direction.name().to_owned()),
            rate: self.rate,
            expires: self.expires,
            owner: self.owner.clone(),
            reason: self.reason.clone(),
            ..EntryChange::default()
        }
    }
}

/// Talk through a hub, or no more.
#[derive(Subcommand)]
pub(crate) enum HubCommand {
    /// Add a hub, or change the terms on which it is used.
    Allow(Box<HubArguments>),
    /// Remove a hub with its members. Domains that an entry sends through it must be moved first.
    Remove(HubNameArguments),
}

/// Add a hub, or change the terms on which it is used.
///
/// What is not given stays as it is; of a new entry it has its default. Members are added to those that the hub has; `federation
/// member remove` takes one away.
#[derive(Args)]
pub(crate) struct HubArguments {
    /// The host name that its certificate bears.
    pub(crate) hub: String,
    /// Host and port to connect to, where that is not its name at port 5061.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) next_hop: Option<String>,
    /// How its certificate proves it: fqdn, domain, or sha256:HEX.
    #[arg(long, value_name = "RULE")]
    pub(crate) certificate: Option<String>,
    /// CAs that are believed for this hub alone, PEM; counted from the policy's folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) authority_file: Option<String>,
    /// How it says whom it speaks for.
    #[arg(long, value_enum)]
    pub(crate) vouches: Option<VouchesArgument>,
    /// The domains that it may speak for.
    #[arg(long, value_name = "DOMAINS", value_delimiter = ',')]
    pub(crate) members: Vec<String>,
    #[command(flatten)]
    pub(crate) terms: TermsArguments,
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum VouchesArgument {
    /// It names the member with each request, as Chancery does.
    MemberHeader,
    /// It names none, being of another make: its members are all believed.
    MemberList,
}

impl VouchesArgument {
    pub(crate) fn name(self) -> &'static str {
        match self {
            VouchesArgument::MemberHeader => "member-header",
            VouchesArgument::MemberList => "member-list",
        }
    }
}

#[derive(Args)]
pub(crate) struct HubNameArguments {
    /// The hub, as the policy names it.
    pub(crate) hub: String,
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

fn modality(text: &str) -> Result<Modality, String> {
    Modality::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Modality::ALL.iter().map(|modality| modality.name()).collect();
        format!("write {}", names.join(", "))
    })
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum DirectionArgument {
    /// Either side.
    Both,
    /// The partner alone.
    In,
    /// We alone.
    Out,
}

impl DirectionArgument {
    pub(crate) fn name(self) -> &'static str {
        match self {
            DirectionArgument::Both => "both",
            DirectionArgument::In => "in",
            DirectionArgument::Out => "out",
        }
    }
}

#[derive(Args)]
pub(crate) struct BlockArguments {
    /// The other organisation's SIP domain.
    pub(crate) domain: String,
    /// Why, as a comment beside it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

/// Let a hub speak for a domain, or no more.
#[derive(Subcommand)]
pub(crate) enum MemberCommand {
    /// The hub may speak for the domain.
    Add(MemberArguments),
    /// It may not any more.
    Remove(MemberArguments),
}

#[derive(Args)]
pub(crate) struct MemberArguments {
    /// The hub, as the policy names it.
    pub(crate) hub: String,
    /// The member's SIP domain.
    pub(crate) domain: String,
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

#[derive(Args)]
pub(crate) struct DiscoveryArguments {
    /// Whether unlisted domains are talked with.
    #[arg(value_enum)]
    pub(crate) switch: Switch,
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

/// Prove the way to a domain, step by step; each step that fails says how to mend it.
///
/// First what the policy says of each modality in both directions, as if the other side proved who it is. Then, unless
/// --offline is given, from this machine: DNS, TCP, TLS with the certificate that the outside sees, the other side's
/// certificate under the rule of its entry, an OPTIONS request, and the clocks. Run it on the access edge: from elsewhere
/// firewalls and addresses differ.
#[derive(Args)]
#[command(after_long_help = "Ends with 0 where nothing failed, and with 1 where something did.")]
pub(crate) struct TestArguments {
    /// The other organisation's SIP domain.
    pub(crate) domain: String,
    /// Only what the policy says.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgument,
}
