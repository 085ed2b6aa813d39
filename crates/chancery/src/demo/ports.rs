//! Finding ports for a demo: those asked for, the next base that is free, or any.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use net::{ClientCertificates, TlsServer};
use node::{Side, Transport};

use crate::cli::DemoArguments;
use crate::config::{Asks, ListenerSettings};
use crate::server::{self, BindError, Sockets};

/// Where a demo starts to look for ports.
const BASE_DEFAULT: u16 = 5060;
/// Distance between the bases that are tried.
const BASE_STEP: u16 = 100;
/// How many bases are tried: beyond 10 others something else is wrong.
const BASES_MAX: u16 = 10;
/// How often a port is drawn that must be free on every address and for UDP and TCP at once.
const DRAWS_MAX: usize = 64;

/// What shares a port, and its distance from the base.
struct Group {
    offset: u16,
    names: &'static [&'static str],
}

/// UDP and TCP share theirs, so that a URI without transport finds both (RFC 3263 §4.1).
const GROUPS: [Group; 6] = [
    Group { offset: 0, names: &["udp", "tcp"] },
    Group { offset: 1, names: &["tls"] },
    Group { offset: 20, names: &["ws"] },
    Group { offset: 21, names: &["wss"] },
    Group { offset: 30, names: &["http"] },
    Group { offset: 31, names: &["https"] },
];

/// A demo's open sockets.
pub(super) struct DemoSockets {
    pub(super) sockets: Sockets,
    /// Port by name, in the order of the groups.
    pub(super) ports: Vec<(&'static str, u16)>,
    /// The first address, as a URI shows it.
    pub(super) host: String,
    /// What turned out otherwise than asked.
    pub(super) notes: Vec<String>,
}

/// Binds everything, or says what stands in the way.
pub(super) fn bind(
    arguments: &DemoArguments,
    addresses: &[IpAddr],
    certificate: &Arc<TlsServer>,
) -> anyhow::Result<DemoSockets> {
    let mut notes = Vec::new();
    let addresses = usable(addresses, arguments.listen.is_empty(), &mut notes)?;
    let mut binder = Binder { arguments, addresses, certificate, notes };
    if let Some(base) = arguments.port_base {
        return binder.bind_base(base)?.ok_or_else(|| anyhow!("no free ports were found"));
    }
    let mut first_error = None;
    for step in 0..BASES_MAX {
        let base = BASE_DEFAULT + step * BASE_STEP;
        match binder.bind_base(base) {
            Ok(Some(bound)) => return Ok(bound),
            Ok(None) => {}
            Err(error) if error.is_in_use() => {
                if first_error.is_none() {
                    let busy = "is taken by another program: the next free base is used";
                    binder.notes.push(format!("a port from {BASE_DEFAULT} on {busy} ({})", error.error));
                }
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let error = first_error.map_or_else(|| anyhow!("no free ports were found"), anyhow::Error::from);
    Err(error).with_context(|| {
        let last = BASE_DEFAULT + (BASES_MAX - 1) * BASE_STEP;
        format!("each base from {BASE_DEFAULT} to {last} has a port that is taken (--port-base 0 takes any)")
    })
}

/// The addresses that the machine has. Without `--listen`, a machine without IPv6 has a demo without IPv6.
fn usable(addresses: &[IpAddr], by_default: bool, notes: &mut Vec<String>) -> anyhow::Result<Vec<IpAddr>> {
    let mut usable = Vec::new();
    for address in addresses {
        match server::bind_http("http", SocketAddr::new(*address, 0)) {
            Ok(_) => usable.push(*address),
            Err(error) if by_default && error.is_no_address() && addresses.len() > 1 => {
                notes.push(format!("this machine has no address {address}: not listening there"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if usable.is_empty() {
        return Err(anyhow!("this machine has neither 127.0.0.1 nor ::1: give an address with --listen"));
    }
    Ok(usable)
}

struct Binder<'a> {
    arguments: &'a DemoArguments,
    addresses: Vec<IpAddr>,
    certificate: &'a Arc<TlsServer>,
    notes: Vec<String>,
}

impl Binder<'_> {
    /// `None` where drawing found no common free port.
    fn bind_base(&mut self, base: u16) -> Result<Option<DemoSockets>, BindError> {
        let mut sockets = Sockets { sip: Vec::new(), http: Vec::new(), https: Vec::new(), web: Vec::new() };
        let mut ports = Vec::new();
        for group in &GROUPS {
            let counted = if base == 0 { 0 } else { base.saturating_add(group.offset) };
            let asked: Vec<u16> =
                group.names.iter().map(|name| self.asked(name).unwrap_or(counted)).collect();
            let together = asked.windows(2).all(|pair| pair[0] == pair[1]);
            let parts: Vec<(&[&'static str], u16)> = match together {
                true => vec![(group.names, asked[0])],
                false => group.names.chunks(1).zip(asked).collect(),
            };
            for (names, port) in parts {
                let Some(port) = self.bind_together(names, port, &mut sockets)? else { return Ok(None) };
                ports.extend(names.iter().map(|name| (*name, port)));
            }
        }
        let host = shown_host(self.addresses[0]);
        Ok(Some(DemoSockets { sockets, ports, host, notes: std::mem::take(&mut self.notes) }))
    }

    /// Binds all `names` on all addresses to one port; 0 draws one.
    fn bind_together(
        &self,
        names: &[&'static str],
        port: u16,
        sockets: &mut Sockets,
    ) -> Result<Option<u16>, BindError> {
        for _ in 0..DRAWS_MAX {
            match self.try_port(names, port) {
                Ok((port, bound)) => {
                    sockets.sip.extend(bound.sip);
                    sockets.http.extend(bound.http);
                    sockets.https.extend(bound.https);
                    return Ok(Some(port));
                }
                Err(error) if port == 0 && error.is_in_use() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn try_port(&self, names: &[&'static str], port: u16) -> Result<(u16, Sockets), BindError> {
        let mut port = port;
        let mut sockets = Sockets { sip: Vec::new(), http: Vec::new(), https: Vec::new(), web: Vec::new() };
        for address in &self.addresses {
            for name in names {
                let wanted = SocketAddr::new(*address, port);
                let bound = match transport(name) {
                    Some(transport) => {
                        let advertised_host = shown_host(*address);
                        let listener = ListenerSettings {
                            transport,
                            address: wanted,
                            side: Side::Inside,
                            advertised_host,
                            origins: Vec::new(),
                            asks: Asks::Never,
                        };
                        let bound =
                            server::bind(&listener, Some(self.certificate), ClientCertificates::Never)?;
                        let address = bound.listener().address;
                        sockets.sip.push(bound);
                        address
                    }
                    None => {
                        let listener = server::bind_http(name, wanted)?;
                        let address = listener.local_addr().unwrap_or(wanted);
                        match *name {
                            "https" => sockets.https.push(listener),
                            _ => sockets.http.push(listener),
                        }
                        address
                    }
                };
                port = bound.port();
            }
        }
        Ok((port, sockets))
    }

    fn asked(&self, name: &str) -> Option<u16> {
        self.arguments.ports.iter().rev().find(|(asked, _)| asked == name).map(|(_, port)| *port)
    }
}

/// `None` for HTTP and HTTPS, which are no transport of SIP.
fn transport(name: &str) -> Option<Transport> {
    match name {
        "udp" => Some(Transport::Udp),
        "tcp" => Some(Transport::Tcp),
        "tls" => Some(Transport::Tls),
        "ws" => Some(Transport::Ws),
        "wss" => Some(Transport::Wss),
        _ => None,
    }
}

/// A wildcard address reaches nobody: peers are shown the name that the certificate bears.
fn shown_host(address: IpAddr) -> String {
    match address {
        address if address.is_unspecified() => "localhost".to_owned(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}
