//! Kamailio as the border of another organisation, with a certificate of its own in both roles of TLS: messages, and calls
//! with its Record-Routes and ours.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use sip_message::HeaderId;
use system_tests::{Account, Border, Device, Draft, PATIENCE, PrivateCa, Transport, have, sdp, skip};

/// Its users' port.
const PLAIN_PORT: u16 = 5060;
/// Everything that a border without presence needs.
const MODULES: [&str; 11] =
    ["tls", "kex", "tm", "sl", "rr", "pv", "maxfwd", "usrloc", "registrar", "siputils", "textops"];

/// The process; killed at the end.
struct Kamailio(Child);

impl Drop for Kamailio {
    fn drop(&mut self) {
        // It ends its children at SIGTERM alone. Whatever fails here, there is nothing left to do.
        drop(Command::new("kill").arg(self.0.id().to_string()).status());
        drop(self.0.wait());
    }
}

/// Where Debian keeps its modules on this machine.
fn modules() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    folders.map(|folder| folder.join("kamailio/modules")).find(|folder| folder.join("tls.so").is_file())
}

fn configure(folder: &Path, modules: &Path, own: &str, outside: &str) {
    let load: String = MODULES.iter().map(|name| format!("loadmodule \"{name}.so\"\n")).collect();
    let text = format!(
        "#!KAMAILIO\ndebug=2\nlog_stderror=yes\nfork=yes\nchildren=1\ntcp_children=1\nauto_aliases=no\n\
         alias=\"fabrikam.example\"\ndns=no\nrev_dns=no\ndns_try_ipv6=no\n\
         listen=udp:{own}:{PLAIN_PORT}\nlisten=tls:{own}:5061\nenable_tls=yes\n\
         mpath=\"{modules}/\"\n{load}\
         modparam(\"tls\", \"config\", \"{folder}/kamailio-tls.cfg\")\n\
         modparam(\"usrloc\", \"db_mode\", 0)\n\
         request_route {{\n\
           if (!mf_process_maxfwd_header(\"10\")) {{ sl_send_reply(\"483\", \"Too Many Hops\"); exit; }}\n\
           force_rport();\n\
           if (is_method(\"REGISTER\")) {{ save(\"location\"); exit; }}\n\
           if (is_method(\"CANCEL\")) {{ if (t_check_trans()) t_relay(); exit; }}\n\
           if (has_totag()) {{\n\
             if (!loose_route()) {{\n\
               if (is_method(\"ACK\")) {{ if (t_check_trans()) t_relay(); exit; }}\n\
               sl_send_reply(\"404\", \"Not Here\"); exit;\n\
             }}\n\
             if ($du =~ \"access.contoso.example\") $du = \"sip:{outside};transport=tls\";\n\
             t_relay(); exit;\n\
           }}\n\
           if (is_method(\"INVITE\")) record_route();\n\
           if (uri == myself) {{\n\
             if (!lookup(\"location\")) {{ sl_send_reply(\"404\", \"Not Found\"); exit; }}\n\
             t_relay(); exit;\n\
           }}\n\
           if ($rd != \"contoso.example\") {{ sl_send_reply(\"403\", \"Not relaying\"); exit; }}\n\
           $du = \"sip:{outside};transport=tls\";\n\
           t_relay();\n\
         }}\n",
        modules = modules.display(),
        folder = folder.display(),
    );
    std::fs::write(folder.join("kamailio.cfg"), text).expect("the folder is ours");
    let tls = format!(
        "[server:default]\nmethod = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\n\
         private_key = {folder}/kamailio.key\ncertificate = {folder}/kamailio.pem\nca_list = {folder}/ca.pem\n\n\
         [client:default]\nmethod = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\n\
         private_key = {folder}/kamailio.key\ncertificate = {folder}/kamailio.pem\nca_list = {folder}/ca.pem\n",
        folder = folder.display(),
    );
    std::fs::write(folder.join("kamailio-tls.cfg"), tls).expect("the folder is ours");
}

/// An edge with Kamailio as its partner, and a user of each.
struct World {
    border: Border,
    bob: Device,
    _kamailio: Kamailio,
}

/// `None` where there is no Kamailio.
fn world() -> Option<World> {
    let modules = modules().filter(|_| have("kamailio"))?;
    let ca = PrivateCa::new("CA of fabrikam");
    let builder = Border::with_partners().partner("fabrikam.example", &ca, "");
    let address = builder.partner_address();
    let border = builder.start();
    let folder = border.server().folder();
    ca.issue(folder, "kamailio", &["edge.fabrikam.example", "sip:fabrikam.example"]);
    configure(folder, &modules, &address.to_string(), &border.outside().to_string());
    let log = folder.join("kamailio.log");
    let output = std::fs::File::create(&log).expect("the folder is ours");
    let kamailio = Kamailio(
        Command::new("kamailio")
            .args(["-DD", "-E", "-f"])
            .arg(folder.join("kamailio.cfg"))
            .arg("-Y")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("kamailio runs"),
    );
    // Its TLS port is open last.
    let until = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect((address, 5061)).is_err() {
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(Instant::now() < until, "kamailio does not listen:\n{}", said());
        std::thread::yield_now();
    }
    let account =
        Account { user: "bob".to_owned(), password: String::new(), domain: "fabrikam.example".to_owned() };
    let bob = Device::connect(account, Transport::Udp, (address, PLAIN_PORT).into(), &border.ca());
    bob.register("");
    Some(World { border, bob, _kamailio: kamailio })
}

fn skip_without_kamailio() {
    skip("Kamailio as a partner", "kamailio or its TLS module is not installed");
}

/// A request of somebody inside, as the home of contoso's users would pass it on.
fn asserted(draft: Draft) -> Draft {
    draft.header("P-Asserted-Identity", "<sip:alice@contoso.example>")
}

#[test]
fn kamailio_as_a_partner_exchanges_messages() {
    let Some(World { border, bob, _kamailio }) = world() else { return skip_without_kamailio() };
    // From there to here.
    let sent = bob.send(bob.message("sip:alice@contoso.example", "from kamailio"));
    let inside = border.inside();
    let arrived = inside.expect_and_answer("MESSAGE", 200);
    assert_eq!(arrived.body(), b"from kamailio");
    assert_eq!(arrived.from().expect("From").uri.as_str(), "sip:bob@fabrikam.example");
    let text = String::from_utf8_lossy(arrived.bytes());
    assert!(text.contains("Chancery-Origin: partner;domain=fabrikam.example;mode=direct"), "{text}");
    assert_eq!(bob.answer(sent).status(), Some(200), "{}", bob.ladder());
    // From here to there.
    let alice = border.from_inside("alice");
    let sent = alice.send(asserted(alice.message("sip:bob@fabrikam.example", "to kamailio")));
    let arrived = bob.expect_and_answer("MESSAGE", 200);
    assert_eq!(arrived.body(), b"to kamailio");
    assert!(arrived.header(HeaderId::PAssertedIdentity).is_none(), "it is for our servers alone");
    assert_eq!(alice.answer(sent).status(), Some(200), "{}", alice.ladder());
}

/// Both borders stay in the way of a call, and every request within it finds its way along their entries.
#[test]
fn kamailio_as_a_partner_calls_and_is_called() {
    let Some(World { border, bob, _kamailio }) = world() else { return skip_without_kamailio() };
    let alice = border.from_inside("alice");
    let mut home = None;
    for ends in [Ends::Caller, Ends::Callee] {
        // From here to there.
        let invite = alice.send(asserted(alice.invite("sip:bob@fabrikam.example")));
        let rung = bob.expect("INVITE");
        // Kamailio's entries for both of its sides, and one of ours.
        assert_eq!(rung.elements(HeaderId::RecordRoute).count(), 3, "{}", text(rung.bytes()));
        bob.respond(&rung, 180);
        alice.provisional(invite, 180);
        bob.respond_with(&rung, 200, |answer| {
            answer.body("application/sdp", sdp("sendrecv").as_bytes());
        });
        let mut caller = alice.confirm(&alice.answer(invite));
        assert_eq!(caller.routes.len(), 3, "{:?}", caller.routes);
        bob.expect("ACK");
        let mut callee = bob.dialog(&rung);
        speak(&alice, caller.request("INFO"), || &bob);
        // What bob begins comes to the server inside, over the edge's connection.
        speak(&bob, callee.request("INFO"), || home.get_or_insert_with(|| border.inside()));
        let home = home.as_ref().expect("it was asked");
        match ends {
            Ends::Caller => speak(&alice, caller.request("BYE"), || &bob),
            Ends::Callee => speak(&bob, callee.request("BYE"), || home),
        }
        // From there to here.
        let invite = bob.send(bob.invite("sip:alice@contoso.example"));
        let rung = home.expect("INVITE");
        assert_eq!(rung.elements(HeaderId::RecordRoute).count(), 3, "{}", text(rung.bytes()));
        home.respond_with(&rung, 200, |answer| {
            answer.body("application/sdp", sdp("sendrecv").as_bytes());
        });
        let mut caller = bob.confirm(&bob.answer(invite));
        home.expect("ACK");
        let mut callee = home.dialog(&rung);
        speak(home, callee.request("INFO"), || &bob);
        match ends {
            Ends::Caller => speak(&bob, caller.request("BYE"), || home),
            Ends::Callee => speak(home, callee.request("BYE"), || &bob),
        }
    }
}

/// Who ends a call.
#[derive(Clone, Copy)]
enum Ends {
    Caller,
    Callee,
}

/// A request within a dialog, and its answer.
fn speak<'a>(from: &Device, draft: Draft, to: impl FnOnce() -> &'a Device) {
    let method = draft.method.clone();
    let sent = from.send(draft);
    to().expect_and_answer(&method, 200);
    assert_eq!(from.answer(sent).status(), Some(200), "{}", from.ladder());
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
