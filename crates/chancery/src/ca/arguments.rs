//! The command line of `chancery ca`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use pki::{AddressRange, Kind, Part, RevocationReason};

/// Days until the next revocation list, unless told otherwise: a monthly job with a little patience.
const LIST_DAYS: u64 = 35;
/// Most days until the next revocation list: whoever replays an old list hides a revocation for that long.
const LIST_DAYS_MAX: u64 = 400;

/// Run the organisation's private certificate authority.
///
/// It is a folder: a root CA, whose key can be taken away (DIR/root), and the issuing CA for daily work. Both may issue for
/// the organisation's domains only. Nothing here needs a running server, and the server needs nothing of it but the files
/// that `issue` writes: keep the folder on another machine if you can. docs/certificates.md tells more.
#[derive(Subcommand)]
#[command(after_long_help = "Examples:\n  \
    chancery ca init --domain contoso.example\n  \
    chancery ca issue --kind server --name sip.contoso.example --domain contoso.example --out sip/\n  \
    chancery ca issue --kind edge-inside --name edge.contoso.example --out edge/\n  \
    chancery ca issue --kind edge-outside --name edge.contoso.example \\\n    \
    --domain contoso.example --out edge/\n  \
    chancery ca show edge/outside.pem\n  \
    chancery ca renew edge/outside.pem\n  \
    chancery ca revoke edge/outside.pem --reason key-compromise")]
pub(crate) enum CaCommand {
    /// Make a root CA and an issuing CA.
    Init(InitArguments),
    /// Issue a certificate.
    Issue(IssueArguments),
    /// Issue a certificate once more, in the place of the one in a file.
    Renew(RenewArguments),
    /// Have a certificate believed no more.
    Revoke(RevokeArguments),
    /// Write the list of what was revoked anew.
    Crl(CrlArguments),
    /// List what was issued.
    List(ListArguments),
    /// Show certificates, of any CA: names, usages, chain, end, and for what they will do.
    Show(ShowArguments),
}

/// Where the CA is.
#[derive(Args)]
pub(crate) struct DirArgument {
    /// The CA's folder. Default: ./ca, else /etc/chancery/ca.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct InitArguments {
    /// The folder to make.
    #[arg(long, value_name = "DIR", default_value = "ca")]
    pub(crate) dir: PathBuf,
    /// A domain of the organisation (repeatable): the CA may issue for it and everything below it, and for nothing else.
    #[arg(long = "domain", value_name = "DOMAIN", required_unless_present = "root_dir")]
    pub(crate) domains: Vec<String>,
    /// Addresses that may stand in certificates, such as 10.0.0.0/8 (repeatable), or `any`. Default: none.
    #[arg(long = "addresses", value_name = "RANGE|any", value_parser = addresses)]
    pub(crate) addresses: Vec<AddressesArgument>,
    /// What people see in lists of CAs. Default: that of the first domain.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// The root's folder, which can be taken away afterwards. With a root in it, that one is used, with its constraints.
    /// Default: DIR/root.
    #[arg(long, value_name = "DIR")]
    pub(crate) root_dir: Option<PathBuf>,
}

/// One value of `--addresses`.
#[derive(Clone, Copy)]
pub(crate) enum AddressesArgument {
    Any,
    Range(AddressRange),
}

fn addresses(text: &str) -> Result<AddressesArgument, String> {
    match text {
        "any" => Ok(AddressesArgument::Any),
        range => range.parse().map(AddressesArgument::Range),
    }
}

/// Issue a certificate.
///
/// Written are the certificate with the issuing CA behind it, its key (for the owner of the folder alone), and ca.pem, the
/// root that others trust: server.pem with server.key for the kinds server and edge-inside, outside.pem with outside.key
/// for edge-outside, NAME.pem with NAME.key for client and partner. Nothing is overwritten.
#[derive(Args)]
#[command(after_long_help = "Kinds:\n  \
    server        a front end or director: serves and connects; --domain for its users' domains\n  \
    edge-inside   the inside of an access edge: serves and connects; speaks for no domain\n  \
    edge-outside  the outside of an access edge or a clearinghouse: speaks for its domains\n                \
    (RFC 5922, RFC 5924)\n  \
    client        a person (--name alice@contoso.example) or a device: signs in\n  \
    partner       the edge of another organisation that has no CA of its own; for a CA made\n                \
    for partners")]
pub(crate) struct IssueArguments {
    /// Whose certificate it is.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) kind: KindArgument,
    /// The host name (FQDN); for a client also an address, user@domain.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// A SIP domain that it speaks for (repeatable).
    #[arg(long = "domain", value_name = "DOMAIN")]
    pub(crate) domains: Vec<String>,
    /// An IP address that others connect to without a name (repeatable).
    #[arg(long = "address", value_name = "IP")]
    pub(crate) addresses: Vec<IpAddr>,
    /// How long it is valid. Default: 820, or 365 for a client, but no longer than the CA.
    #[arg(long, value_name = "N")]
    pub(crate) days: Option<u64>,
    /// The folder to write to; it is made where it is absent.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) out: PathBuf,
    /// A signing request (PKCS #10, PEM) of whoever made the key: its key is taken, and no key is written.
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) ca: DirArgument,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum KindArgument {
    Server,
    EdgeInside,
    EdgeOutside,
    Client,
    Partner,
}

impl KindArgument {
    pub(crate) fn kind(self) -> Kind {
        match self {
            KindArgument::Server => Kind::Server,
            KindArgument::EdgeInside => Kind::EdgeInside,
            KindArgument::EdgeOutside => Kind::EdgeOutside,
            KindArgument::Client => Kind::Client,
            KindArgument::Partner => Kind::Partner,
        }
    }
}

/// Issue a certificate once more, with the same names and usages, in the place of the one in a file.
///
/// A running server takes it over within seconds, without closing a connection. The certificate before stays valid until
/// its end. The issuing CA's own certificate (DIR/issuing.pem) is renewed with its key, which needs the root's.
#[derive(Args)]
pub(crate) struct RenewArguments {
    /// The certificate. Its key is in the file beside it that ends in .key.
    pub(crate) file: PathBuf,
    /// The key, where it is elsewhere.
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    pub(crate) key: Option<PathBuf>,
    /// Keep the key: pins of public keys stay right. Pins of certificates (sha256) change either way.
    #[arg(long, conflicts_with = "request")]
    pub(crate) keep_key: bool,
    /// A signing request (PKCS #10, PEM), for a certificate whose key was never here.
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// How long it is valid. Default: as long as a new one.
    #[arg(long, value_name = "N")]
    pub(crate) days: Option<u64>,
    #[command(flatten)]
    pub(crate) ca: DirArgument,
}

/// Have a certificate believed no more.
///
/// The revocation list, DIR/crl.pem, is written anew; bring it to every server that is to know, and to partners. Nothing
/// takes a revocation back. The issuing CA's own certificate (DIR/issuing.pem) is revoked by the root, whose key it needs.
#[derive(Args)]
pub(crate) struct RevokeArguments {
    /// The certificate's file, or its serial number.
    #[arg(value_name = "FILE|SERIAL")]
    pub(crate) certificate: String,
    /// Why.
    #[arg(long, value_name = "REASON", default_value = "unspecified", value_parser = reason)]
    pub(crate) reason: RevocationReason,
    #[command(flatten)]
    pub(crate) list: ListDaysArgument,
    #[command(flatten)]
    pub(crate) ca: DirArgument,
}

fn reason(text: &str) -> Result<RevocationReason, String> {
    RevocationReason::ALL.into_iter().find(|reason| reason.name() == text).ok_or_else(|| {
        let names: Vec<&str> = RevocationReason::ALL.iter().map(|reason| reason.name()).collect();
        format!("write one of {}", names.join(", "))
    })
}

#[derive(Args)]
pub(crate) struct ListDaysArgument {
    /// Days until the next revocation list is there at the latest.
    #[arg(long = "crl-days", value_name = "N", default_value_t = LIST_DAYS,
          value_parser = clap::value_parser!(u64).range(1..=LIST_DAYS_MAX))]
    pub(crate) days: u64,
}

#[derive(Args)]
pub(crate) struct CrlArguments {
    #[command(flatten)]
    pub(crate) list: ListDaysArgument,
    #[command(flatten)]
    pub(crate) ca: DirArgument,
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) ca: DirArgument,
}

/// Show certificates, of any CA: names, SIP domains, usages, chain, end, fingerprint, and for which parts of a deployment
/// they will do, and why not.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    chancery ca show /etc/chancery/server.pem\n  \
    chancery ca show outside.pem --ca ca.pem --for edge-outside && echo fits\n\n\
    Ends with 0, and with --for only where every file will do.")]
pub(crate) struct ShowArguments {
    /// PEM files: the holder's certificate first, then the CAs above it.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The CAs that others trust, PEM: the chain must lead there.
    #[arg(long = "ca", value_name = "FILE")]
    pub(crate) anchors: Option<PathBuf>,
    /// What it is wanted for: server, edge-inside, edge-outside, client, anchor.
    #[arg(long = "for", value_name = "PART", value_parser = part)]
    pub(crate) part: Option<Part>,
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn part(text: &str) -> Result<Part, String> {
    Part::ALL.into_iter().find(|part| part.name() == text).ok_or_else(|| {
        let names: Vec<&str> = Part::ALL.iter().map(|part| part.name()).collect();
        format!("write one of {}", names.join(", "))
    })
}
