//! `chancery ca`: the organisation's private certificate authority, as a folder.
//!
//! The rules of issuing are `pki`'s; here are the files and the words around them.

pub(crate) mod arguments;
pub(crate) mod folder;
mod index;
mod show;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use pki::{Addresses, CertificateFacts, Constraints, Key, Kind, Request};

use crate::exit::Failure;
use crate::{clock, files, user};
use arguments::{
    AddressesArgument, CaCommand, CrlArguments, DirArgument, InitArguments, IssueArguments, ListArguments,
    RenewArguments, RevokeArguments,
};
use folder::{Folder, ISSUING_FILE};

/// Days until the next list, of a new CA that has revoked nothing: its keeper may never need another.
const FIRST_LIST_DAYS: u64 = 365;
/// The folder that is looked for where none is named, beside the configuration.
const SYSTEM_DIR: &str = "/etc/chancery/ca";
const LOCAL_DIR: &str = "ca";
/// What certificates of others must lead to, where `issue` writes it.
const ANCHOR_FILE: &str = "ca.pem";

pub(crate) fn run(command: CaCommand) -> Result<(), Failure> {
    match command {
        CaCommand::Init(arguments) => init(&arguments),
        CaCommand::Issue(arguments) => issue(&arguments),
        CaCommand::Renew(arguments) => renew(&arguments),
        CaCommand::Revoke(arguments) => revoke(&arguments),
        CaCommand::Crl(arguments) => crl(&arguments),
        CaCommand::List(arguments) => list(&arguments),
        CaCommand::Show(arguments) => show::run(&arguments),
    }
}

fn init(arguments: &InitArguments) -> Result<(), Failure> {
    for domain in &arguments.domains {
        if directory::DomainName::parse(domain).is_err() || domain.parse::<std::net::IpAddr>().is_ok() {
            return Err(anyhow!(
                "--domain {domain:?} is no domain name\n  help: write it as contoso.example"
            )
            .into());
        }
    }
    let constraints = match arguments.domains.is_empty() && arguments.addresses.is_empty() {
        true => None,
        false => Some(Constraints::to(&arguments.domains, addresses(&arguments.addresses))),
    };
    let default_name = || match arguments.domains.first() {
        Some(domain) => format!("Chancery CA of {domain}"),
        None => format!("Chancery CA {}", arguments.dir.display()),
    };
    let name = arguments.name.clone().unwrap_or_else(default_name);
    let root_dir = arguments.root_dir.as_deref();
    let folder = Folder::create(&arguments.dir, root_dir, &name, constraints.as_ref())?;
    let dir = arguments.dir.display();
    let root = root_dir.map_or_else(|| format!("{dir}/root"), |dir| dir.display().to_string());
    user::print(&format!(
        "Wrote a root CA to {root} and an issuing CA to {dir}.\n\n  \
         may issue for  {}\n  \
         root           until {}\n  \
         issuing CA     until {}, renewed every {} years\n\n\
         Next:\n  \
         Take {root} to a safe place: only renewing or revoking the issuing CA needs it.\n  \
         chancery ca issue --dir {dir} --kind server --name HOST --domain DOMAIN --out /etc/chancery\n  \
         Others must trust {dir}/{}; back up {dir}.\n",
        folder.authority.facts().constraints,
        end_of(&folder.root_pem()?)?,
        clock::day(folder.authority.facts().not_after_unix_seconds),
        folder::issuing_years(),
        folder::ROOT_FILE,
    ))
}

fn addresses(given: &[AddressesArgument]) -> Addresses {
    let mut ranges = Vec::new();
    for argument in given {
        match argument {
            AddressesArgument::Any => return Addresses::Any,
            AddressesArgument::Range(range) => ranges.push(*range),
        }
    }
    Addresses::Within(ranges)
}

fn issue(arguments: &IssueArguments) -> Result<(), Failure> {
    let mut folder = Folder::open(&dir(&arguments.ca))?;
    let kind = arguments.kind.kind();
    let days = arguments.days.unwrap_or_else(|| folder.days_within(kind.valid_days()));
    let asked = Request::new(kind, &arguments.name, &arguments.domains, &arguments.addresses, Some(days));
    let request = asked.map_err(|error| with_help(error, kind))?;
    let base = match kind {
        Kind::Server | Kind::EdgeInside => "server",
        Kind::EdgeOutside => "outside",
        Kind::Client | Kind::Partner => arguments.name.as_str(),
    };
    let out = &arguments.out;
    let (certificate, key) = (out.join(format!("{base}.pem")), out.join(format!("{base}.key")));
    let written = [Some(&certificate), arguments.request.is_none().then_some(&key)];
    if let Some(path) = written.into_iter().flatten().find(|path| path.exists()) {
        return Err(anyhow!(
            "{} exists already, nothing was issued\n  help: chancery ca renew {} issues it once more; --out names another \
             folder",
            path.display(),
            certificate.display()
        )
        .into());
    }
    let anchor = out.join(ANCHOR_FILE);
    let root_pem = folder.root_pem()?;
    let has_anchor = holds(&anchor, &root_pem)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let chain = match &arguments.request {
        Some(file) => {
            let pem = read(file)?;
            folder.issue_to(&request, kind.name(), &pem, &certificate).map_err(|e| explained(e, kind))?
        }
        None => {
            let issued = folder
                .issue(&request, kind.name(), Key::New, &certificate)
                .map_err(|error| explained(error, kind))?;
            files::write(&key, files::MODE_SECRET, issued.key_pem.as_bytes())?;
            files::give_as(&key, out)?;
            issued.certificate_pem
        }
    };
    files::write(&certificate, files::MODE_PUBLIC, chain.as_bytes())?;
    if !has_anchor {
        files::write(&anchor, files::MODE_PUBLIC, root_pem.as_bytes())?;
    }
    let files = match arguments.request {
        Some(_) => certificate.display().to_string(),
        None => format!("{} and {}", certificate.display(), key.display()),
    };
    user::print(&format!(
        "Wrote {files}; {} is the root that others trust.\n\n{}",
        anchor.display(),
        summary(&chain)?
    ))
}

fn renew(arguments: &RenewArguments) -> Result<(), Failure> {
    let dir = dir(&arguments.ca);
    let mut folder = Folder::open(&dir)?;
    let file = &arguments.file;
    let leaf = first_certificate(file)?;
    let facts = CertificateFacts::read(&leaf).map_err(anyhow::Error::from)?;
    if leaf == folder.authority.certificate_der() {
        let days = arguments.days.is_some() || arguments.request.is_some();
        if days {
            return Err(anyhow!(
                "an issuing CA is renewed with its own key, for {} years",
                folder::issuing_years()
            )
            .into());
        }
        folder.renew_itself()?;
        return user::print(&format!(
            "Wrote {}.\n\n{}",
            file.display(),
            summary(folder.authority.certificate_pem())?
        ));
    }
    if !is_ours(&folder, &leaf)? {
        return Err(not_ours(file, &facts, &dir).into());
    }
    let (kind, is_revoked) = match folder.index.find(&facts.serial) {
        Some(entry) => (entry.kind.clone(), entry.revoked.is_some()),
        None => (kind_of(&facts).name().to_owned(), false),
    };
    if is_revoked {
        return Err(anyhow!(
            "the certificate in {} was revoked\n  help: if its holder is to have one again, issue a new one: chancery ca issue",
            file.display()
        )
        .into());
    }
    let longest = if facts.usages.server { Kind::Server } else { Kind::Client }.valid_days();
    let days = arguments.days.unwrap_or_else(|| folder.days_within(longest));
    let request = Request::renewing(&facts, Some(days)).map_err(anyhow::Error::from)?;
    let key = arguments.key.clone().unwrap_or_else(|| file.with_extension("key"));
    let chain = match &arguments.request {
        Some(asked) => folder.issue_to(&request, &kind, &read(asked)?, file)?,
        None => {
            if !key.exists() {
                return Err(anyhow!(
                    "the key {} is not there\n  help: --key names it; --request takes a signing request for a key that is elsewhere",
                    key.display()
                )
                .into());
            }
            let old = read(&key)?;
            let kept = if arguments.keep_key { Key::Kept(&old) } else { Key::New };
            let issued = folder.issue(&request, &kind, kept, file)?;
            // A server that looks between the two writes finds files that do not fit, keeps what it has, and looks again.
            if !arguments.keep_key {
                files::replace(&key, issued.key_pem.as_bytes())?;
            }
            issued.certificate_pem
        }
    };
    files::replace(file, chain.as_bytes())?;
    user::print(&format!(
        "Wrote {}. The certificate before it stays valid until {}:\n  \
         chancery ca revoke {} --reason superseded    ends that now\n\n{}",
        file.display(),
        clock::day(facts.not_after_unix_seconds),
        facts.serial,
        summary(&chain)?
    ))
}

fn revoke(arguments: &RevokeArguments) -> Result<(), Failure> {
    let dir = dir(&arguments.ca);
    let mut folder = Folder::open(&dir)?;
    let file = Path::new(&arguments.certificate);
    let serial = match file.exists() {
        false => arguments.certificate.replace(':', "").to_ascii_lowercase(),
        true => {
            let leaf = first_certificate(file)?;
            let facts = CertificateFacts::read(&leaf).map_err(anyhow::Error::from)?;
            if leaf == folder.authority.certificate_der() {
                return revoke_issuing(&folder, &facts.serial, arguments);
            }
            if !is_ours(&folder, &leaf)? {
                return Err(not_ours(file, &facts, &dir).into());
            }
            folder.adopt(&facts, kind_of(&facts).name(), file)?;
            facts.serial
        }
    };
    let is_new = folder.revoke(&serial, arguments.reason)?;
    folder.write_list(arguments.list.days)?;
    told(&folder, &serial, is_new)
}

fn revoke_issuing(folder: &Folder, serial: &str, arguments: &RevokeArguments) -> Result<(), Failure> {
    let mut root = folder.open_root()?;
    let is_new = root.revoke(serial, arguments.reason)?;
    root.write_list_of_root()?;
    folder.take_list_of(&root)?;
    told(folder, serial, is_new)
}

fn told(folder: &Folder, serial: &str, is_new: bool) -> Result<(), Failure> {
    let done = if is_new { "is revoked" } else { "was revoked before" };
    user::print(&format!(
        "{serial} {done}; {} is list number {}.\n\
         Bring it to every server that is to know (`revocation_files`), and to partners that trust this CA.\n",
        folder.list_file().display(),
        folder.index.crl_number
    ))
}

fn crl(arguments: &CrlArguments) -> Result<(), Failure> {
    let mut folder = Folder::open(&dir(&arguments.ca))?;
    folder.write_list(arguments.list.days)?;
    user::print(&format!(
        "Wrote {}: number {}, next update at {}.\n",
        folder.list_file().display(),
        folder.index.crl_number,
        folder.index.crl_next_update.as_deref().unwrap_or("an unknown time")
    ))
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let folder = Folder::open(&dir(&arguments.ca))?;
    match arguments.json {
        true => user::print_json(&show::index_json(&folder)),
        false => user::print(&show::index_text(&folder)),
    }
}

/// The named folder, else one that is there.
fn dir(argument: &DirArgument) -> PathBuf {
    let candidates = [LOCAL_DIR, SYSTEM_DIR].map(PathBuf::from);
    let found = || candidates.iter().find(|dir| dir.join(ISSUING_FILE).exists()).cloned();
    argument.dir.clone().or_else(found).unwrap_or_else(|| LOCAL_DIR.into())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn first_certificate(path: &Path) -> anyhow::Result<Vec<u8>> {
    let chain =
        pki::certificates_in_pem(read(path)?.as_bytes()).with_context(|| format!("in {}", path.display()))?;
    Ok(chain.into_iter().next().expect("a PEM file read has a certificate"))
}

/// Whether a file of anchors has this root in it; `false` where there is no file.
fn holds(anchor: &Path, root_pem: &str) -> anyhow::Result<bool> {
    if !anchor.exists() {
        return Ok(false);
    }
    let roots = pki::certificates_in_pem(read(anchor)?.as_bytes())?;
    let ours = pki::certificates_in_pem(root_pem.as_bytes())?.remove(0);
    if roots.contains(&ours) {
        return Ok(true);
    }
    bail!(
        "{} is there and does not hold this CA's root, nothing was issued\n  help: choose another --out, or append the root \
         to it first",
        anchor.display()
    )
}

fn is_ours(folder: &Folder, leaf: &[u8]) -> anyhow::Result<bool> {
    Ok(pki::is_issued_by(leaf, folder.authority.certificate_der())?)
}

fn not_ours(file: &Path, facts: &CertificateFacts, dir: &Path) -> anyhow::Error {
    anyhow!(
        "the certificate in {} was issued by {}, not by the CA in {}\n  help: --dir names the folder of its CA; another \
         CA's certificates are renewed and revoked there",
        file.display(),
        facts.issuer,
        dir.display()
    )
}

/// For a certificate that is not in the index.
fn kind_of(facts: &CertificateFacts) -> Kind {
    match (facts.usages.server, facts.sip_uri_domains.is_empty()) {
        (false, _) => Kind::Client,
        (true, true) => Kind::EdgeInside,
        (true, false) => Kind::Server,
    }
}

fn with_help(error: pki::PkiError, kind: Kind) -> anyhow::Error {
    let help = match (&error, kind) {
        (pki::PkiError::Refused { reason, .. }, Kind::Partner) if reason.starts_with("the CA may issue") => {
            "make a CA for partners: chancery ca init --dir ca-partners --domain THEIR-DOMAIN, and name its root in the \
             partner's authority_file"
        }
        (pki::PkiError::Refused { reason, .. }, _) if reason.starts_with("the CA may issue") => {
            "make another CA for that: chancery ca init --dir DIR --domain DOMAIN [--addresses RANGE]"
        }
        _ => return error.into(),
    };
    anyhow!("{error}\n  help: {help}")
}

/// The same for an error that came through the folder.
fn explained(error: anyhow::Error, kind: Kind) -> anyhow::Error {
    match error.downcast::<pki::PkiError>() {
        Ok(error) => with_help(error, kind),
        Err(error) => error,
    }
}

fn end_of(pem: &str) -> anyhow::Result<String> {
    let certificate = pki::certificates_in_pem(pem.as_bytes())?.remove(0);
    Ok(clock::day(CertificateFacts::read(&certificate)?.not_after_unix_seconds))
}

/// What a new certificate is.
fn summary(chain: &str) -> anyhow::Result<String> {
    let certificate = pki::certificates_in_pem(chain.as_bytes())?.remove(0);
    let facts = CertificateFacts::read(&certificate)?;
    let mut text = String::new();
    let names = index::names(&facts);
    if !names.is_empty() {
        text.push_str(&format!("  names   {}\n", names.join(", ")));
    }
    let days = facts.days_left(clock::unix_seconds() as i64);
    text.push_str(&format!(
        "  ends    {}, in {days} days\n  serial  {}\n  sha256  {}\n",
        clock::day(facts.not_after_unix_seconds),
        facts.serial,
        hex::encode(facts.sha256)
    ));
    Ok(text)
}
