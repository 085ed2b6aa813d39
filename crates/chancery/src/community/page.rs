//! What is said when all servers answer.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::plan::{HTTP_PORT, Organisation, PLAIN_PORT, Plan, REMOTE_PORT, TLS_PORT, WEBSOCKET_PORT};
use super::program;
use super::servers::Servers;
use crate::config::Role;

/// One line for programs.
pub(super) fn json(plan: &Plan, servers: &Servers) -> String {
    let mut processes = servers.all().iter();
    let organisations: Vec<Value> = plan
        .organisations
        .iter()
        .map(|organisation| {
            let servers: Vec<Value> = organisation
                .servers
                .iter()
                .map(|server| {
                    let process = processes.next().expect("every planned server runs");
                    json!({
                        "role": server.role.name(),
                        "name": server.name,
                        "host": server.host,
                        "address": server.address.to_string(),
                        "outside_host": server.outside.as_ref().map(|(host, _)| host),
                        "outside_address": server.outside.as_ref().map(|(_, address)| address.to_string()),
                        "dir": plan.server_folder(organisation, server),
                        "log": process.log,
                        "pid": process.pid(),
                    })
                })
                .collect();
            let users: Vec<Value> = organisation
                .users
                .iter()
                .map(|(address, password)| json!({ "address": address, "password": password }))
                .collect();
            json!({
                "name": organisation.name,
                "domain": organisation.domain,
                "ca": plan.authority(organisation),
                "users": users,
                "servers": servers,
            })
        })
        .collect();
    let ports = json!({
        "tls": TLS_PORT,
        "tcp": PLAIN_PORT,
        "udp": PLAIN_PORT,
        "remote": REMOTE_PORT,
        "websocket": WEBSOCKET_PORT,
        "http": HTTP_PORT,
    });
    let line =
        json!({ "pid": std::process::id(), "dir": plan.dir, "ports": ports, "organisations": organisations });
    format!("{line}\n")
}

/// A page for people.
pub(super) fn text(plan: &Plan) -> String {
    let mut text =
        format!("\nChancery {}: three organisations and a clearinghouse\n\n", env!("CARGO_PKG_VERSION"));
    for organisation in &plan.organisations {
        let _ = writeln!(text, "  {}", organisation.domain);
        for server in &organisation.servers {
            let inside = if server.role == Role::Clearinghouse { "" } else { "inside " };
            let _ = write!(text, "    {:14} {inside}{}", server.name, server.address);
            if let Some((host, address)) = server.outside.as_ref().filter(|_| server.role == Role::AccessEdge)
            {
                let _ = write!(text, ", outside {address} ({host})");
            }
            text.push('\n');
        }
        for (address, password) in &organisation.users {
            let _ = writeln!(text, "    {address:26} {password}");
        }
    }
    let _ = writeln!(
        text,
        "\n  Clients inside: TCP and UDP port {PLAIN_PORT}. Remote users, at an edge's outside: TLS port {REMOTE_PORT}, secure\n  \
         WebSocket port {WEBSOCKET_PORT}."
    );
    text += PICTURE;
    let _ = writeln!(text, "Try, each in a terminal of its own:\n");
    for (title, command) in commands(plan) {
        let _ = writeln!(text, "  {title}\n    {command}\n");
    }
    text += "Ctrl-C ends all servers; started again on the same folder they continue.\n";
    text
}

/// What to try: a message that crosses, one that is refused, and a policy that changes.
fn commands(plan: &Plan) -> Vec<(&'static str, String)> {
    let program = program();
    let (contoso, fabrikam, northwind) =
        (plan.named("contoso"), plan.named("fabrikam"), plan.named("northwind"));
    let inside = |organisation: &Organisation, user: usize| {
        let home = organisation.server(Role::StandardEdition).expect("an organisation has users");
        sign_in(plan, organisation, user, &format!("tcp:{}:{PLAIN_PORT}", home.address), "")
    };
    let outside = |organisation: &Organisation, user: usize| {
        let (host, address) = organisation.outside();
        let authority = plan.authority(organisation);
        let more = format!(" --server-name {host} --ca {}", authority.display());
        sign_in(plan, organisation, user, &format!("tls:{address}:{REMOTE_PORT}"), &more)
    };
    let edge_folder = |organisation: &Organisation| plan.server_folder(organisation, organisation.border());
    let foreign = edge_folder(northwind);
    let (_, border) = contoso.outside();
    vec![
        ("bob of fabrikam listens", format!("{program} probe listen {}", inside(fabrikam, 0))),
        (
            "alice of contoso writes to him: contoso and fabrikam are federated directly",
            format!(
                "{program} probe message {} --to bob@fabrikam.example 'hello over there'",
                inside(contoso, 0)
            ),
        ),
        (
            "nina of northwind writes to alice, through the clearinghouse",
            format!(
                "{program} probe message {} --to alice@contoso.example 'hello from the hub'",
                inside(northwind, 0)
            ),
        ),
        (
            "anna of contoso is abroad, and signs in through the edge without VPN",
            format!(
                "{program} probe message {} --to alice@contoso.example 'hello from afar'",
                outside(contoso, 1)
            ),
        ),
        (
            "somebody with northwind's certificate claims to be bob: refused by contoso's edge",
            format!(
                "{program} probe message --unregistered --server tls:{border}:{TLS_PORT} --server-name {} --ca {} \
                 --certificate {} --key {} --as bob@fabrikam.example --to alice@contoso.example 'it is me, bob'",
                contoso.outside().0,
                plan.authority(contoso).display(),
                foreign.join("outside.pem").display(),
                foreign.join("outside.key").display(),
            ),
        ),
        (
            "contoso blocks fabrikam: alice's next message is refused, and she is told why",
            format!(
                "{program} federation block fabrikam.example --config {}",
                edge_folder(contoso).join("chancery.toml").display()
            ),
        ),
    ]
}

fn sign_in(plan: &Plan, organisation: &Organisation, user: usize, server: &str, more: &str) -> String {
    let (address, _) = &organisation.users[user];
    let name = address.split('@').next().unwrap_or_default();
    let password = plan.folder(organisation).join("passwords").join(name);
    format!("--server {server}{more} --as {address} --password-file {}", password.display())
}

const PICTURE: &str = "
   contoso                                      fabrikam
   front end - director - edge ====direct==== edge - director - front end
                           \\\\                 //
                            clearinghouse (hub)
                                   ||
                             edge - front end
                                 northwind

";
