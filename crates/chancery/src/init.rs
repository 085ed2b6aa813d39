//! `chancery init`: everything that a first `chancery serve` needs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use directory::{DomainName, Role, SipAddress};
use node::Transport;
use pki::{Addresses, Authority, Constraints, Issued, Key, Kind, Request, ServerNames};

use crate::ca::folder::Folder;
use crate::cli::{DirectoryArguments, InitArguments};
use crate::config::{ConfigError, FILE_NAME, Filling, Problem, Settings, template};
use crate::exit::{Exit, Failure};
use crate::locate::{DATA_DIR, DATABASE};
use crate::offline::{NewUser, Offline};
use crate::{clock, files, secrets, user};

pub(crate) const AUTHORITY_FILE: &str = "ca.pem";
/// The folder of the private CA.
const AUTHORITY_DIR: &str = "ca";
/// The key of the CA that `init` made before there was such a folder.
const OLD_AUTHORITY_KEY_FILE: &str = "ca.key";
pub(crate) const CERTIFICATE_FILE: &str = "server.pem";
pub(crate) const KEY_FILE: &str = "server.key";

/// Where a new configuration listens. WSS has no registered port; 5443 needs no privilege.
const LISTENERS: [(Transport, u16); 4] =
    [(Transport::Udp, 5060), (Transport::Tcp, 5060), (Transport::Tls, 5061), (Transport::Wss, 5443)];
/// Where a new configuration serves HTTPS: the usual port besides 443, without a privilege.
const HTTPS_PORT: u16 = 8443;
/// All IPv4 and all IPv6 addresses of the machine.
const ANY: [&str; 2] = ["0.0.0.0", "[::]"];

/// What was asked for, checked before anything is written.
struct Plan {
    dir: PathBuf,
    /// Absolute, where it is not the default.
    data_dir: Option<PathBuf>,
    control_socket: Option<PathBuf>,
    domains: Vec<String>,
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
    /// The first host or address, as Via shows it.
    advertised: String,
    admin: SipAddress,
    /// Keys of `[directory]`, and their values as TOML.
    directory: Vec<(&'static str, String)>,
}

pub(crate) fn run(arguments: &InitArguments) -> Result<(), Failure> {
    let plan = plan(arguments)?;
    refuse_to_overwrite(&plan, arguments.force)?;
    let configuration = configuration(&plan)?;
    let authority = write_certificates(&plan)?;
    files::write(&plan.dir.join(FILE_NAME), files::MODE_PUBLIC, configuration.as_bytes())?;
    let password = create_administrator(&plan)?;
    user::print(&summary(&plan, &authority, password.as_deref()))
}

/// The CA of a folder, made on first use, and a server certificate of it. The CA stands in the folder `ca`; an older folder
/// whose CA is `ca.pem` with `ca.key` goes on with that one.
pub(crate) fn certificate_for(
    dir: &Path,
    authority_name: &str,
    names: &ServerNames,
    keep_authority: bool,
) -> anyhow::Result<()> {
    let (authority, anchor) = (dir.join(AUTHORITY_DIR), dir.join(AUTHORITY_FILE));
    let issued = if keep_authority && authority.exists() {
        issue(&mut Folder::open(&authority)?, names, dir)?
    } else if keep_authority && anchor.exists() && dir.join(OLD_AUTHORITY_KEY_FILE).exists() {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        Authority::open(&read(&anchor)?, &read(&dir.join(OLD_AUTHORITY_KEY_FILE))?)
            .with_context(|| format!("the CA in {} cannot be used", dir.display()))?
            .issue_server(names, clock::unix_seconds())?
    } else {
        set_aside(dir)?;
        let permitted: Vec<String> = names.domains.iter().chain(&names.hosts).cloned().collect();
        // Who gives addresses uses them in place of names, and will move to others.
        let addresses = match names.addresses.is_empty() {
            true => Addresses::Within(Vec::new()),
            false => Addresses::Any,
        };
        let constraints = Constraints::to(&permitted, addresses);
        let mut folder = Folder::create(&authority, None, authority_name, Some(&constraints))?;
        files::write(&anchor, files::MODE_PUBLIC, folder.root_pem()?.as_bytes())?;
        issue(&mut folder, names, dir)?
    };
    files::write(&dir.join(KEY_FILE), files::MODE_SECRET, issued.key_pem.as_bytes())?;
    files::write(&dir.join(CERTIFICATE_FILE), files::MODE_PUBLIC, issued.certificate_pem.as_bytes())
}

fn issue(folder: &mut Folder, names: &ServerNames, dir: &Path) -> anyhow::Result<Issued> {
    let request = Request::for_server(names, folder.days_within(Kind::Server.valid_days()))?;
    folder.issue(&request, Kind::Server.name(), Key::New, &dir.join(CERTIFICATE_FILE)).with_context(|| {
        format!(
            "the CA in {} cannot issue it; another --dir gets a new CA",
            dir.join(AUTHORITY_DIR).display()
        )
    })
}

/// A CA that is replaced is kept: what it issued may still be in use, and its key is the only thing that can revoke it.
fn set_aside(dir: &Path) -> anyhow::Result<()> {
    let present: Vec<&str> =
        [AUTHORITY_DIR, OLD_AUTHORITY_KEY_FILE].into_iter().filter(|name| dir.join(name).exists()).collect();
    if present.is_empty() {
        return Ok(());
    }
    let time = clock::timestamp(clock::unix_seconds() as i64).replace([':', '-'], "");
    let aside = dir.join(format!("{AUTHORITY_DIR}-{time}"));
    files::create_secret_dir(&aside)?;
    for name in present.into_iter().chain(dir.join(AUTHORITY_FILE).exists().then_some(AUTHORITY_FILE)) {
        files::rename(&dir.join(name), &aside.join(name))?;
    }
    Ok(())
}

fn plan(arguments: &InitArguments) -> Result<Plan, Failure> {
    let wrong = |text: String| Failure::text(Exit::Failed, text);
    let mut domains: Vec<String> = Vec::new();
    for text in &arguments.domains {
        let domain = DomainName::parse(text).ok().filter(|_| text.parse::<IpAddr>().is_err());
        let domain = domain.ok_or_else(|| {
            wrong(format!("--domain {text:?} is no domain name\n  help: write it as contoso.example"))
        })?;
        if !domains.contains(&domain.as_str().to_owned()) {
            domains.push(domain.as_str().to_owned());
        }
    }
    let default_host = vec![format!("sip.{}", domains[0])];
    let given = if arguments.hosts.is_empty() { &default_host } else { &arguments.hosts };
    let (mut hosts, mut addresses, mut advertised) = (Vec::new(), Vec::new(), None);
    for text in given {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let shown = match (bare.parse::<IpAddr>(), DomainName::parse(text)) {
            (Ok(address), _) => {
                addresses.push(address);
                match address {
                    IpAddr::V4(address) => address.to_string(),
                    IpAddr::V6(address) => format!("[{address}]"),
                }
            }
            (Err(_), Ok(name)) => {
                hosts.push(name.as_str().to_owned());
                name.as_str().to_owned()
            }
            (Err(_), Err(_)) => {
                return Err(wrong(format!(
                    "--host {text:?} is neither a host name nor an address\n  help: write it as sip.contoso.example"
                )));
            }
        };
        advertised.get_or_insert(shown);
    }
    let admin = arguments.admin.clone().unwrap_or_else(|| format!("admin@{}", domains[0]));
    let admin = SipAddress::parse(&admin).map_err(|error| {
        wrong(format!("--admin {admin:?} is no address: {error}\n  help: write admin@DOMAIN"))
    })?;
    if !domains.iter().any(|domain| domain == admin.domain()) {
        return Err(wrong(format!(
            "--admin {admin} is in none of the domains {}\n  help: give --domain {} too",
            domains.join(", "),
            admin.domain()
        )));
    }
    let advertised = advertised.expect("there is at least one host");
    let absolute = |path: &Option<PathBuf>| {
        path.as_ref().map(std::path::absolute).transpose().context("a path cannot be made absolute")
    };
    Ok(Plan {
        dir: arguments.dir.clone(),
        data_dir: absolute(&arguments.data_dir)?,
        control_socket: absolute(&arguments.control_socket)?,
        domains,
        hosts,
        addresses,
        advertised,
        admin,
        directory: directory(&arguments.directory)?,
    })
}

fn directory(arguments: &DirectoryArguments) -> anyhow::Result<Vec<(&'static str, String)>> {
    let text = |text: &Option<String>| text.as_ref().map(|text| format!("{text:?}"));
    // The shell's folder is not that of the configuration.
    let path = |path: &Option<PathBuf>| -> anyhow::Result<Option<String>> {
        let path = path.as_ref().map(std::path::absolute).transpose();
        let path = path.context("a path cannot be made absolute")?;
        path.map(|path| Ok(format!("{:?}", path.to_str().context("a path is not UTF-8")?))).transpose()
    };
    let servers = (!arguments.servers.is_empty()).then(|| format!("{:?}", arguments.servers));
    let keys = [
        ("kind", text(&arguments.kind)),
        ("domain", text(&arguments.domain)),
        ("servers", servers),
        ("site", text(&arguments.site)),
        ("security", text(&arguments.security)),
        ("authority_file", path(&arguments.authority_file)?),
        ("account", text(&arguments.account)),
        ("password_file", path(&arguments.password_file)?),
        ("keytab_file", path(&arguments.keytab_file)?),
        ("base", text(&arguments.base)),
        ("mail_as_sip", arguments.mail_as_sip.then(|| "\"yes\"".to_owned())),
    ];
    Ok(keys.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
}

impl Plan {
    fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| self.dir.join(DATA_DIR))
    }
}

fn refuse_to_overwrite(plan: &Plan, force: bool) -> Result<(), Failure> {
    let names =
        [FILE_NAME, AUTHORITY_FILE, AUTHORITY_DIR, OLD_AUTHORITY_KEY_FILE, CERTIFICATE_FILE, KEY_FILE];
    let database = plan.data_dir().join(DATABASE);
    let existing = names.iter().map(|name| plan.dir.join(name)).chain([database]).find(|path| path.exists());
    match existing {
        Some(path) if !force => Err(Failure::text(
            Exit::Failed,
            format!(
                "{} exists already, nothing was written\n  help: choose another --dir, or replace configuration and \
                 certificates with --force\n        (clients must then trust the new CA; accounts stay)",
                path.display()
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

fn write_certificates(plan: &Plan) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(&plan.dir).with_context(|| format!("cannot create {}", plan.dir.display()))?;
    let names = ServerNames {
        domains: plan.domains.clone(),
        hosts: plan.hosts.clone(),
        addresses: plan.addresses.clone(),
    };
    certificate_for(&plan.dir, &authority_name(&plan.domains[0]), &names, false)?;
    Ok(plan.dir.join(AUTHORITY_FILE))
}

/// Cut where it would not fit a common name (64 characters).
pub(crate) fn authority_name(domain: &str) -> String {
    format!("Chancery CA of {domain}").chars().take(64).collect()
}

/// The configuration's text, read as the server will read it before anything is written.
fn configuration(plan: &Plan) -> Result<String, Failure> {
    let listeners = LISTENERS.iter().flat_map(|(transport, port)| {
        ANY.iter().map(move |address| (*transport, format!("{address}:{port}")))
    });
    let text = template(&Filling {
        domains: plan.domains.clone(),
        host: plan.advertised.clone(),
        listeners: listeners.collect(),
        https: ANY.iter().map(|address| format!("{address}:{HTTPS_PORT}")).collect(),
        data_dir: plan.data_dir.as_ref().map(|path| path.display().to_string()),
        control_socket: plan.control_socket.as_ref().map(|path| path.display().to_string()),
        authority_file: Some(AUTHORITY_FILE.to_owned()),
        directory: plan.directory.clone(),
    });
    let folder = std::path::absolute(&plan.dir).context("the folder's path cannot be made absolute")?;
    match Settings::parse(&text, &plan.dir.join(FILE_NAME), &folder) {
        Ok(_) => Ok(text),
        Err(ConfigError::Wrong(problems)) => {
            let problem = |problem: &Problem| {
                let option = match problem.key.strip_prefix("directory.") {
                    Some("kind") => "--directory".to_owned(),
                    Some("servers") => "--directory-server".to_owned(),
                    Some(key) => format!("--directory-{}", key.replace('_', "-")),
                    None => problem.key.clone(),
                };
                let mend = problem.suggestion.as_ref().map(|mend| format!("\n  help: {mend}"));
                format!("{option}: {}{}", problem.reason, mend.unwrap_or_default())
            };
            let problems: Vec<String> = problems.iter().map(problem).collect();
            Err(Failure::text(Exit::Failed, format!("nothing was written\n{}", problems.join("\n"))))
        }
        Err(error) => Err(error.into()),
    }
}

/// The new administrator's password; `None` where the account is there already (`--force`).
fn create_administrator(plan: &Plan) -> anyhow::Result<Option<String>> {
    let data = plan.data_dir();
    files::create_secret_dir(&data)?;
    secrets::server_secret(&data)?;
    let password = secrets::password()?;
    let mut offline = Offline::open(&data.join(DATABASE))?;
    let admin = NewUser {
        address: plan.admin.clone(),
        display_name: "Administrator".to_owned(),
        role: Role::Administrator,
        password: password.clone(),
    };
    let added = offline.add(&[admin], |_| {})?;
    offline.close()?;
    match added {
        0 => Ok(None),
        1 => Ok(Some(password)),
        more => Err(anyhow!("one account was added {more} times")),
    }
}

fn summary(plan: &Plan, authority: &Path, password: Option<&str>) -> String {
    let dir = plan.dir.display();
    let account = match password {
        Some(password) => format!("password:      {password}\n               (shown once, stored nowhere)"),
        None => "password:      unchanged: the account was there already".to_owned(),
    };
    format!(
        "Wrote {dir}/{FILE_NAME}, a private CA, a certificate for {} and the data folder.\n\n\
         administrator: {}\n{account}\n\n\
         Next:\n  \
         chancery check --config {dir}/{FILE_NAME}\n  \
         chancery serve --config {dir}/{FILE_NAME}\n  \
         Clients must trust {}. Take {dir}/{AUTHORITY_DIR} to a safe place, the server does not need it.\n",
        plan.advertised,
        plan.admin,
        authority.display()
    )
}
