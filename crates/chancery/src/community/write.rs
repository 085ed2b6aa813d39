//! Folders, certificates, configurations, policies, accounts: written once; a second start on the same folder finds them.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context;
use directory::{Role as AccountRole, SipAddress};
use pki::{Addresses, Authority, Constraints, Key, Kind, Request, Serial};

use super::plan::{
    HTTP_PORT, Organisation, PLAIN_PORT, Plan, Planned, REMOTE_PORT, Relation, TLS_PORT, WEBSOCKET_PORT,
};
use crate::config::{FILE_NAME, Role};
use crate::locate::{DATA_DIR, DATABASE};
use crate::offline::{NewUser, Offline};
use crate::{clock, files, secrets};

pub(super) fn write(plan: &Plan) -> anyhow::Result<()> {
    for organisation in &plan.organisations {
        if plan.authority(organisation).exists() {
            continue;
        }
        write_organisation(plan, organisation)
            .with_context(|| format!("{} cannot be set up", organisation.domain))?;
    }
    Ok(())
}

fn write_organisation(plan: &Plan, organisation: &Organisation) -> anyhow::Result<()> {
    files::create_secret_dir(&plan.folder(organisation))?;
    let now = clock::unix_seconds();
    let domains = [organisation.domain.clone()];
    let constraints = Constraints::to(&domains, Addresses::Any);
    let root = Authority::create_root(&format!("Chancery CA of {}", organisation.domain), &constraints, now)?;
    let name = format!("Chancery issuing CA of {}", organisation.domain);
    let issuing = root.create_issuing(&name, Key::New, Serial::from_random(secrets::random()?), now)?;
    for server in &organisation.servers {
        let folder = plan.server_folder(organisation, server);
        files::create_secret_dir(&folder.join(DATA_DIR))?;
        let issue = |kind, host: &str, address: IpAddr, stem: &str| -> anyhow::Result<()> {
            let speaks_for: &[String] = if kind == Kind::EdgeInside { &[] } else { &domains };
            let request = Request::new(kind, host, speaks_for, &[address], None)?;
            let issued = issuing.issue(&request, Key::New, Serial::from_random(secrets::random()?), now)?;
            let chain = issuing.with_chain(&issued.certificate_pem);
            files::write(&folder.join(format!("{stem}.pem")), files::MODE_PUBLIC, chain.as_bytes())?;
            files::write(&folder.join(format!("{stem}.key")), files::MODE_SECRET, issued.key_pem.as_bytes())
        };
        match server.role {
            Role::StandardEdition | Role::Director => {
                issue(Kind::Server, &server.host, server.address.into(), "server")?;
            }
            Role::AccessEdge => issue(Kind::EdgeInside, &server.host, server.address.into(), "server")?,
            Role::Clearinghouse => {}
        }
        if let Some((host, address)) = &server.outside {
            issue(Kind::EdgeOutside, host, (*address).into(), "outside")?;
            let policy = policy(plan, organisation);
            files::write(&folder.join("federation.toml"), files::MODE_PUBLIC, policy.as_bytes())?;
        }
        let text = configuration(plan, organisation, server);
        files::write(&folder.join(FILE_NAME), files::MODE_PUBLIC, text.as_bytes())?;
        if server.role == Role::StandardEdition {
            accounts(organisation, &folder)?;
        }
    }
    let passwords = plan.folder(organisation).join("passwords");
    files::create_secret_dir(&passwords)?;
    for (address, password) in &organisation.users {
        let user = address.split('@').next().unwrap_or_default();
        files::write(&passwords.join(user), files::MODE_SECRET, format!("{password}\n").as_bytes())?;
    }
    // Last: it says that everything else is there.
    files::write(&plan.authority(organisation), files::MODE_PUBLIC, root.certificate_pem().as_bytes())
}

fn accounts(organisation: &Organisation, folder: &Path) -> anyhow::Result<()> {
    let mut offline = Offline::open(&folder.join(DATA_DIR).join(DATABASE))?;
    let user = |(address, password): &(String, String)| NewUser {
        address: SipAddress::parse(address).expect("the plan's addresses are addresses"),
        display_name: address.split('@').next().unwrap_or_default().to_owned(),
        role: AccountRole::Person,
        password: password.clone(),
    };
    let users: Vec<NewUser> = organisation.users.iter().map(user).collect();
    offline.add(&users, |_| {})?;
    offline.close()
}

fn configuration(plan: &Plan, organisation: &Organisation, server: &Planned) -> String {
    let (domain, address) = (&organisation.domain, server.address);
    let mut text = format!(
        "domains = [\"{domain}\"]\nrole = \"{}\"\n\n[server]\nhost = \"{}\"\n",
        server.role.name(),
        server.outside.as_ref().map_or(&server.host, |(host, _)| host)
    );
    let mut listener = |transport: &str, address: IpAddr, port: u16, side: &str, host: &str| {
        let _ = write!(
            text,
            "\n[[listener]]\ntransport = \"{transport}\"\naddress = \"{address}:{port}\"\nside = \"{side}\"\nadvertised_host = \"{host}\"\n"
        );
    };
    if server.role != Role::Clearinghouse {
        listener("tls", address.into(), TLS_PORT, "inside", &server.host);
    }
    if server.role == Role::StandardEdition {
        listener("tcp", address.into(), PLAIN_PORT, "inside", &server.host);
        listener("udp", address.into(), PLAIN_PORT, "inside", &server.host);
    }
    if let Some((host, address)) = &server.outside {
        listener("tls", (*address).into(), TLS_PORT, "outside", host);
        if server.role == Role::AccessEdge {
            listener("wss", (*address).into(), WEBSOCKET_PORT, "outside", host);
            listener("tls", (*address).into(), REMOTE_PORT, "outside", host);
            text += "client_certificates = \"never\"\n";
        }
    }
    if server.role != Role::Clearinghouse {
        text += "\n[tls]\nauthority_file = \"../ca.pem\"\n";
    }
    let _ = write!(text, "\n[http]\naddresses = [\"{address}:{HTTP_PORT}\"]\n");
    for other in &organisation.servers {
        if other.name != server.name {
            let role = match other.role {
                Role::StandardEdition => "front-end",
                Role::Director => "director",
                Role::AccessEdge => "access-edge",
                Role::Clearinghouse => continue,
            };
            let _ = write!(text, "\n[[trusted_server]]\nhost = \"{}\"\nrole = \"{role}\"\n", other.host);
        }
    }
    match server.role {
        Role::StandardEdition | Role::Director => {
            let edge = &organisation.border().host;
            let _ = write!(text, "\n[federation]\nroute = \"{edge}:{TLS_PORT}\"\n");
        }
        Role::AccessEdge | Role::Clearinghouse => {}
    }
    if server.role == Role::Director {
        let home = organisation.server(Role::StandardEdition).expect("a director has a front end");
        let _ = write!(text, "\n[director]\nfront_ends = [\"{}:{TLS_PORT}\"]\n", home.host);
    }
    if server.role == Role::AccessEdge {
        let _ =
            write!(text, "\n[access_edge]\nnext_hops = [\"{}:{TLS_PORT}\"]\n", organisation.entrance().host);
    }
    let hosts: Vec<String> =
        hosts(plan, organisation, server).iter().map(|line| format!("{line:?}")).collect();
    let _ = write!(text, "\n[dns]\nservers = [\"127.0.0.1:9\"]\nhosts = [{}]\n", hosts.join(", "));
    text
}

/// What a server must find: its own organisation's servers, and from the perimeter the borders of others. A server inside
/// knows nobody outside.
fn hosts(plan: &Plan, organisation: &Organisation, server: &Planned) -> Vec<String> {
    let mut hosts: Vec<String> =
        organisation.servers.iter().map(|other| format!("{} {}", other.address, other.host)).collect();
    if server.outside.is_some() {
        for other in plan.organisations.iter().filter(|other| other.name != organisation.name) {
            let (host, address) = other.outside();
            hosts.push(format!("{address} {host}"));
        }
    }
    hosts
}

/// The policy of an edge or of the hub. Each partner's CA is believed for this partner alone.
fn policy(plan: &Plan, organisation: &Organisation) -> String {
    let mut text =
        "# Who may talk with us, and how they are reached. A changed file is taken over within seconds.\n"
            .to_owned();
    let server = |other: &Organisation| {
        let (host, _) = other.outside();
        format!(
            "next_hop = \"{host}:{TLS_PORT}\"\ncertificate = \"fqdn\"\nauthority_file = \"../../{}/ca.pem\"\n",
            other.name
        )
    };
    for relation in &organisation.relations {
        let _ = match relation {
            Relation::Direct(name) | Relation::Member(name) => {
                let other = plan.named(name);
                let mode = if matches!(relation, Relation::Member(_)) { "member" } else { "direct" };
                write!(
                    text,
                    "\n[[partner]]\ndomain = \"{}\"\nmode = \"{mode}\"\n{}",
                    other.domain,
                    server(other)
                )
            }
            Relation::Hub(members) => {
                let hub = plan.hub();
                let members: Vec<String> =
                    members.iter().map(|name| format!("\"{}\"", plan.named(name).domain)).collect();
                write!(
                    text,
                    "\n[[clearinghouse]]\nname = \"{}\"\n{}vouches = \"member-header\"\nmembers = [{}]\n",
                    hub.outside().0,
                    server(hub),
                    members.join(", ")
                )
            }
        };
    }
    text
}
