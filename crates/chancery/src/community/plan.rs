//! Who there is, where, and how they are related.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::config::Role;

/// Where servers talk with servers and clients over TLS.
pub(super) const TLS_PORT: u16 = 5061;
/// Where clients inside talk without TLS.
pub(super) const PLAIN_PORT: u16 = 5060;
/// Where remote users come in, as they would on port 443: which would need a right of the process.
pub(super) const REMOTE_PORT: u16 = 4443;
/// Where browsers of remote users come in, likewise.
pub(super) const WEBSOCKET_PORT: u16 = 8443;
/// Of metrics and health.
pub(super) const HTTP_PORT: u16 = 5090;

/// The domain of the hub: nobody's address, but what it is known by.
const HUB_DOMAIN: &str = "trade.example";

/// The whole world.
pub(super) struct Plan {
    pub(super) dir: PathBuf,
    pub(super) organisations: Vec<Organisation>,
}

/// An organisation, or the hub.
pub(super) struct Organisation {
    /// First label of its domain; its folder's name.
    pub(super) name: &'static str,
    pub(super) domain: String,
    /// Users with their passwords.
    pub(super) users: Vec<(String, String)>,
    pub(super) servers: Vec<Planned>,
    /// With whom, and how.
    pub(super) relations: Vec<Relation>,
}

/// A server.
pub(super) struct Planned {
    pub(super) role: Role,
    /// The folder's name.
    pub(super) name: &'static str,
    /// Its host name inside; of a hub, its only one.
    pub(super) host: String,
    /// Its address inside; of a hub, its only one.
    pub(super) address: Ipv4Addr,
    /// Of the perimeter: its host name and address outside.
    pub(super) outside: Option<(String, Ipv4Addr)>,
}

/// How an organisation talks with another.
pub(super) enum Relation {
    Direct(&'static str),
    /// Through the hub, with these.
    Hub(Vec<&'static str>),
    /// On the hub: its members.
    Member(&'static str),
}

impl Plan {
    /// `network` are the first two octets of everybody's addresses, such as `127.20`.
    pub(super) fn new(dir: &Path, network: &str) -> anyhow::Result<Plan> {
        let octets: Option<Vec<u8>> = network.split('.').map(|octet| octet.parse().ok()).collect();
        let Some([a @ 127, b]) = octets.and_then(|octets| <[u8; 2]>::try_from(octets).ok()) else {
            bail!("--network {network:?} is no part of loopback\n  help: write two octets, such as 127.20");
        };
        let address = |organisation, server| Ipv4Addr::new(a, b, organisation, server);
        let organisation = |number, name: &'static str, has_director: bool, users: &[&str], relations| {
            let domain = format!("{name}.example");
            let server = |role, name, host: &str, last, outside: Option<(&str, u8)>| Planned {
                role,
                name,
                host: format!("{host}.{domain}"),
                address: address(number, last),
                outside: outside.map(|(host, last)| (format!("{host}.{domain}"), address(number, last))),
            };
            let mut servers = vec![
                server(Role::StandardEdition, "front-end", "sip", 1, None),
                server(Role::AccessEdge, "access-edge", "edge", 3, Some(("access", 11))),
            ];
            if has_director {
                servers.insert(1, server(Role::Director, "director", "director", 2, None));
            }
            let user = |name: &&str| (format!("{name}@{domain}"), format!("{name}-demo-secret"));
            let users = users.iter().map(user).collect();
            Organisation { name, domain: domain.clone(), users, servers, relations }
        };
        let hub = Organisation {
            name: "trade",
            domain: HUB_DOMAIN.to_owned(),
            users: Vec::new(),
            servers: vec![Planned {
                role: Role::Clearinghouse,
                name: "clearinghouse",
                host: format!("hub.{HUB_DOMAIN}"),
                address: address(4, 11),
                outside: Some((format!("hub.{HUB_DOMAIN}"), address(4, 11))),
            }],
            relations: vec![
                Relation::Member("contoso"),
                Relation::Member("fabrikam"),
                Relation::Member("northwind"),
            ],
        };
        Ok(Plan {
            dir: dir.to_owned(),
            organisations: vec![
                organisation(
                    1,
                    "contoso",
                    true,
                    &["alice", "anna"],
                    vec![Relation::Direct("fabrikam"), Relation::Hub(vec!["northwind"])],
                ),
                organisation(
                    2,
                    "fabrikam",
                    true,
                    &["bob", "bella"],
                    vec![Relation::Direct("contoso"), Relation::Hub(vec!["northwind"])],
                ),
                organisation(
                    3,
                    "northwind",
                    false,
                    &["nina"],
                    vec![Relation::Hub(vec!["contoso", "fabrikam"])],
                ),
                hub,
            ],
        })
    }

    pub(super) fn named(&self, name: &str) -> &Organisation {
        self.organisations.iter().find(|o| o.name == name).expect("the plan names whom it has")
    }

    pub(super) fn hub(&self) -> &Organisation {
        self.named("trade")
    }

    pub(super) fn folder(&self, organisation: &Organisation) -> PathBuf {
        self.dir.join(organisation.name)
    }

    pub(super) fn server_folder(&self, organisation: &Organisation, server: &Planned) -> PathBuf {
        self.folder(organisation).join(server.name)
    }

    /// The CA that everybody else must trust.
    pub(super) fn authority(&self, organisation: &Organisation) -> PathBuf {
        self.folder(organisation).join("ca.pem")
    }
}

impl Organisation {
    pub(super) fn server(&self, role: Role) -> Option<&Planned> {
        self.servers.iter().find(|server| server.role == role)
    }

    /// Who stands at its border.
    pub(super) fn border(&self) -> &Planned {
        self.servers.iter().find(|server| server.outside.is_some()).expect("everybody has a border")
    }

    /// The border's host outside and its address.
    pub(super) fn outside(&self) -> (&str, IpAddr) {
        let (host, address) = self.border().outside.as_ref().expect("a border has an outside");
        (host, IpAddr::V4(*address))
    }

    /// Where what comes from outside goes: the director, else the front end.
    pub(super) fn entrance(&self) -> &Planned {
        self.server(Role::Director)
            .or_else(|| self.server(Role::StandardEdition))
            .expect("an organisation has users")
    }
}
