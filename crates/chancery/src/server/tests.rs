use std::path::Path;

use super::*;
use crate::config::Asks;

/// Where a certificate is asked for, as the manual's table of ports says it. `asked` never means required.
const TABLE: &str = "
    role               trusts servers   transport   side      port   certificate
    access-edge        yes              tls         outside   5061   asked
    access-edge        yes              tls         outside   443    never
    access-edge        yes              tls         outside   4443   asked
    access-edge        yes              wss         outside   443    never
    access-edge        yes              wss         outside   8443   never
    access-edge        yes              wss         outside   5061   never
    access-edge        yes              tls         inside    5061   asked
    access-edge        yes              tls         inside    443    never
    access-edge        no               tls         outside   5061   asked
    access-edge        no               tls         outside   443    never
    clearinghouse      no               tls         outside   5061   asked
    clearinghouse      no               tls         outside   443    never
    director           yes              tls         inside    5061   asked
    director           yes              tls         inside    443    never
    standard-edition   yes              tls         inside    5061   asked
    standard-edition   yes              tls         inside    443    never
    standard-edition   yes              wss         inside    443    never
    standard-edition   yes              tcp         inside    5060   never
    standard-edition   yes              udp         inside    5060   never
    standard-edition   yes              ws          inside    8080   never
    standard-edition   no               tls         inside    5061   never
    standard-edition   no               tls         inside    443    never
    standard-edition   no               wss         inside    443    never
";

fn settings(role: &str, trusts_servers: bool) -> Settings {
    let side = if matches!(role, "access-edge" | "clearinghouse") { "outside" } else { "inside" };
    let mut text = format!(
        "domains = [\"contoso.example\"]\nrole = \"{role}\"\n\
         [[listener]]\ntransport = \"tls\"\naddress = \"192.0.2.1:5061\"\nside = \"{side}\"\n"
    );
    match role {
        "access-edge" => text += "[access_edge]\nnext_hops = [\"director.contoso.example\"]\n",
        "director" => text += "[director]\nfront_ends = [\"sip.contoso.example\"]\n",
        _ => {}
    }
    if trusts_servers {
        text += "[[trusted_server]]\nhost = \"sip.contoso.example\"\nrole = \"front-end\"\n";
    }
    Settings::parse(&text, Path::new("chancery.toml"), Path::new("/nowhere"))
        .unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// A port that stands for port 443 is told so; that one asks nobody wherever it is.
#[test]
fn a_listener_for_users_alone_asks_nobody() {
    for role in ["access-edge", "clearinghouse", "director", "standard-edition"] {
        let settings = settings(role, true);
        let listener = ListenerSettings { asks: Asks::Never, ..settings.listeners[0].clone() };
        assert_eq!(client_certificates(&settings, &listener), ClientCertificates::Never, "{role}");
        assert_eq!(client_certificates(&settings, &settings.listeners[0]), ClientCertificates::Ask, "{role}");
    }
}

#[test]
fn certificates_are_asked_for_where_servers_come_and_nowhere_else() {
    let rows: Vec<Vec<&str>> = TABLE.trim().lines().map(|row| row.split_whitespace().collect()).collect();
    for row in &rows[1..] {
        let [role, trusts_servers, transport, side, port, wanted] = row[..] else { panic!("{row:?}") };
        let settings = settings(role, trusts_servers == "yes");
        let listener = ListenerSettings {
            transport: named(transport),
            address: SocketAddr::from(([192, 0, 2, 1], port.parse().expect("a port"))),
            side: if side == "outside" { Side::Outside } else { Side::Inside },
            ..settings.listeners[0].clone()
        };
        let found = match client_certificates(&settings, &listener) {
            ClientCertificates::Ask => "asked",
            ClientCertificates::Never => "never",
        };
        assert_eq!(found, wanted, "{row:?}");
    }
}

fn named(name: &str) -> Transport {
    let all = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];
    all.into_iter().find(|transport| transport.name() == name).expect("a transport")
}
