//! `chancery federation`: the policy's file from the command line, and `test` against a partner's edge made here, with real
//! TLS and certificates of `chancery ca`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// A DNS server that knows no name; it ends with the test's process.
fn empty_dns() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut packet = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            // The header, the one question, and nothing else: NXDOMAIN (RFC 1035 §4.1).
            let name =
                packet[12..length].iter().position(|octet| *octet == 0).expect("a question has a name");
            packet[2..4].copy_from_slice(&[0x81, 0x83]);
            packet[6..12].fill(0);
            drop(socket.send_to(&packet[..12 + name + 5], from));
        }
    });
    port
}

/// The edge of contoso.example, configured, with certificates and an empty policy.
struct Edge {
    dir: tempfile::TempDir,
}

impl Edge {
    fn new() -> Edge {
        let edge = Edge { dir: tempfile::tempdir().unwrap() };
        edge.certificates("contoso.example", "contoso", "edge.contoso.example");
        let config = format!(
            "domains = [\"contoso.example\"]\nrole = \"access-edge\"\nserver.host = \"edge.contoso.example\"\n\
             [[listener]]\ntransport = \"tls\"\naddress = \"127.0.0.1:5061\"\nside = \"outside\"\n\
             [[listener]]\ntransport = \"tls\"\naddress = \"127.0.0.2:5061\"\nside = \"inside\"\n\
             [[trusted_server]]\nhost = \"director.contoso.example\"\nrole = \"director\"\n\
             [access_edge]\nnext_hops = [\"director.contoso.example\"]\n\
             [tls]\ncertificate_file = \"contoso/outside.pem\"\nkey_file = \"contoso/outside.key\"\n\
             [tls_outside]\ncertificate_file = \"contoso/outside.pem\"\nkey_file = \"contoso/outside.key\"\n\
             [dns]\nservers = [\"127.0.0.1:{}\"]\nhosts = [\"127.0.0.1 edge.fabrikam.example\"]\n",
            empty_dns()
        );
        std::fs::write(edge.dir.path().join("chancery.toml"), config).unwrap();
        edge
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// A CA of its own and an outside certificate, in a folder.
    fn certificates(&self, domain: &str, folder: &str, name: &str) {
        let (ca, out) = (self.path(&format!("{folder}-ca")), self.path(folder));
        let done = |arguments: &[&str]| {
            let output = run(&[&["ca"], arguments, &["--dir", &ca]].concat());
            assert_eq!(output.0, 0, "{}", output.2);
        };
        done(&["init", "--domain", domain]);
        done(&["issue", "--kind", "edge-outside", "--name", name, "--domain", domain, "--out", &out]);
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let config = self.path("chancery.toml");
        run(&[&["federation"], arguments, &["--config", &config]].concat())
    }

    fn done(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.run(arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    }

    fn policy(&self) -> String {
        std::fs::read_to_string(self.path("federation.toml")).unwrap()
    }

    /// The steps of `test`, each as its result, its subject and its message, and whether it ended with 0.
    fn test(&self) -> (bool, Vec<[String; 4]>) {
        let (code, out, error) = self.run(&["test", "fabrikam.example", "--json"]);
        let value: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}"));
        let text = |step: &Value, key: &str| step[key].as_str().unwrap_or_default().to_owned();
        let steps = value["checks"].as_array().unwrap().iter();
        let steps = steps.map(|step| ["result", "subject", "message", "mend"].map(|key| text(step, key)));
        (code == 0, steps.collect())
    }

    /// The one step that fails: its subject, message and mend.
    fn failing_step(&self) -> [String; 3] {
        let (good, steps) = self.test();
        let failed: Vec<_> = steps.iter().filter(|step| step[0] == "fail").collect();
        assert!(!good && failed.len() == 1, "{steps:#?}");
        [failed[0][1].clone(), failed[0][2].clone(), failed[0][3].clone()]
    }
}

/// What the other side does.
#[derive(Clone, Default)]
struct Habits {
    /// Takes certificates of this CA only; none is asked for without.
    wants: Option<String>,
    /// Its clock, in seconds off ours.
    clock_ahead: i64,
    status: u16,
}

/// A partner's edge that answers OPTIONS; it ends with the test's process.
struct Partner {
    port: u16,
    asked: Arc<AtomicUsize>,
}

fn partner(chain: &str, key: &str, habits: Habits) -> Partner {
    let certificates = |file: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(file).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap();
    let builder = match &habits.wants {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(file));
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = Arc::new(builder.with_single_cert(certificates(chain), key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // Whoever does not get through is the test's business, not ours.
            drop(converse(StreamOwned::new(connection, tcp), &habits, &counter));
        }
    });
    Partner { port, asked }
}

fn converse(
    mut stream: StreamOwned<ServerConnection, std::net::TcpStream>,
    habits: &Habits,
    asked: &AtomicUsize,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut octet = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet)?;
        request.push(octet[0]);
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let request = String::from_utf8(request).unwrap();
    assert!(request.starts_with("OPTIONS sip:fabrikam.example SIP/2.0\r\n"), "{request}");
    let copied: Vec<&str> = request
        .split("\r\n")
        .filter(|line| {
            ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
        })
        .collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let date = jiff::Timestamp::from_second(now + habits.clock_ahead).unwrap();
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT");
    write!(stream, "SIP/2.0 100 Trying\r\n{}\r\nContent-Length: 0\r\n\r\n", copied.join("\r\n"))?;
    let status = if habits.status == 0 { 200 } else { habits.status };
    write!(
        stream,
        "SIP/2.0 {status} Fine\r\n{}\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n",
        copied.join("\r\n")
    )?;
    stream.flush()
}

/// contoso's edge and fabrikam's, which take each other's certificates, and the entry between them.
fn federated(habits: Habits) -> (Edge, Partner) {
    let edge = Edge::new();
    edge.certificates("fabrikam.example", "fabrikam", "edge.fabrikam.example");
    let habits = Habits { wants: habits.wants.or(Some(edge.path("contoso/ca.pem"))), ..habits };
    let partner = partner(&edge.path("fabrikam/outside.pem"), &edge.path("fabrikam/outside.key"), habits);
    allow(&edge, &partner, &["--authority-file", "fabrikam/ca.pem"]);
    (edge, partner)
}

fn allow(edge: &Edge, partner: &Partner, more: &[&str]) {
    let next_hop = format!("edge.fabrikam.example:{}", partner.port);
    edge.done(&[&["allow", "fabrikam.example", "--next-hop", &next_hop], more].concat());
}

#[test]
fn the_policy_is_changed_and_keeps_its_comments() {
    let edge = Edge::new();
    let out = edge.done(&["list"]).replace(&edge.path(""), "");
    assert_eq!(
        out,
        "nobody is talked with\n  help: chancery federation allow DOMAIN --next-hop HOST:5061 writes federation.toml\n"
    );
    std::fs::write(edge.path("federation.toml"), "# Ask erin before you touch this.\n\n").unwrap();
    std::fs::set_permissions(edge.path("federation.toml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    edge.done(&[
        "allow",
        "Fabrikam.example",
        "--next-hop",
        "edge.fabrikam.example:5061",
        "--modalities",
        "presence,im",
        "--direction",
        "out",
        "--rate",
        "20",
        "--expires",
        "2099-12-31",
        "--owner",
        "erin@contoso.example",
        "--reason",
        "joint project",
    ]);
    edge.done(&["block", "bad.example", "--reason", "spam"]);
    edge.done(&["allow", "fabrikam.example", "--rate", "30"]);
    assert!(edge.done(&["allow", "fabrikam.example", "--rate", "30"]).contains("said so before"));
    expect![[r##"
        # Ask erin before you touch this.

        [[partner]]
        domain = "fabrikam.example"
        mode = "direct"
        next_hop = "edge.fabrikam.example:5061"
        direction = "out"
        owner = "erin@contoso.example"
        reason = "joint project"
        modalities = ["presence", "im"]
        rate = 30
        expires = 2099-12-31

        [block]
        domains = [
            # spam
            "bad.example",
        ]
    "##]]
    .assert_eq(&edge.policy());
    assert_eq!(mode(Path::new(&edge.path("federation.toml"))), 0o640);
    expect![[r#"
        DOMAIN            ROAD    SERVER                      PROOF  MAY PASS     BEGINS  RATE  STATE             OWNER
        fabrikam.example  direct  edge.fabrikam.example:5061  fqdn   presence,im  out     30/s  until 2099-12-31  erin@contoso.example
        blocked: bad.example
    "#]].assert_eq(&edge.done(&["list"]));
    let list: Value = serde_json::from_str(&edge.done(&["list", "--json"])).unwrap();
    assert_eq!(list["partners"][0]["next_hop"], "edge.fabrikam.example:5061");
    assert_eq!(list["partners"][0]["direction"], "out");
    assert_eq!(list["blocked"], serde_json::json!(["bad.example"]));

    edge.done(&["block", "fabrikam.example"]);
    let (code, out, _) = edge.run(&["test", "fabrikam.example"]);
    assert!(code == 1 && out.contains("the policy blocks fabrikam.example"), "{out}");
    edge.done(&["unblock", "fabrikam.example"]);
    edge.done(&["remove", "fabrikam.example"]);
    edge.done(&["discovery", "on"]);
    let text = edge.policy();
    assert!(text.starts_with("# Ask erin") && !text.contains("[[partner]]"), "{text}");
    assert!(edge.done(&["list"]).contains("domains that nobody listed are talked with"));
}

#[test]
fn a_hub_is_added_changed_and_removed() {
    let edge = Edge::new();
    edge.done(&[
        "hub",
        "allow",
        "hub.trade.example",
        "--members",
        "northwind.example,adatum.example",
        "--modalities",
        "presence,im",
        "--owner",
        "erin@contoso.example",
    ]);
    edge.done(&[
        "hub",
        "allow",
        "hub.trade.example",
        "--vouches",
        "member-list",
        "--next-hop",
        "192.0.2.9:5061",
    ]);
    edge.done(&["member", "remove", "hub.trade.example", "adatum.example"]);
    edge.done(&["allow", "tailspin.example", "--via", "hub.trade.example"]);
    expect![[r#"
        [[clearinghouse]]
        name = "hub.trade.example"
        owner = "erin@contoso.example"
        modalities = ["presence", "im"]
        members = ["northwind.example"]
        next_hop = "192.0.2.9:5061"
        vouches = "member-list"

        [[partner]]
        domain = "tailspin.example"
        mode = "clearinghouse"
        via = "hub.trade.example"
    "#]]
    .assert_eq(&edge.policy());
    expect![[r#"
        DOMAIN             ROAD                   SERVER          PROOF  MAY PASS     BEGINS  RATE   STATE     OWNER
        tailspin.example   via hub.trade.example                         all          both    100/s  in-force
        hub.trade.example  clearinghouse          192.0.2.9:5061  fqdn   presence,im  both    100/s  in-force  erin@contoso.example
        northwind.example  via hub.trade.example                         presence,im  both    100/s  in-force  erin@contoso.example
    "#]].assert_eq(&edge.done(&["list"]));
    // A domain is sent through it still.
    let before = edge.policy();
    let (code, _, error) = edge.run(&["hub", "remove", "hub.trade.example"]);
    assert!(code != 0 && error.contains("hub.trade.example"), "{error}");
    assert_eq!(edge.policy(), before);
    edge.done(&["remove", "tailspin.example"]);
    edge.done(&["hub", "remove", "hub.trade.example"]);
    assert!(!edge.policy().contains("hub.trade"), "{}", edge.policy());
    let (code, _, error) = edge.run(&["hub", "remove", "hub.trade.example"]);
    assert!(code != 0 && error.contains("does not stand in any [[clearinghouse]]"), "{error}");
}

#[test]
fn what_would_make_the_policy_wrong_is_not_done() {
    let edge = Edge::new();
    let refused = |arguments: &[&str]| {
        let (code, out, error) = edge.run(arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}");
        error.replace(&edge.path(""), "")
    };
    let refusals = [
        refused(&["allow", "fabrikam.example"]),
        refused(&["allow", "contoso.example", "--next-hop", "edge.contoso.example:5061"]),
        refused(&["allow", "adatum.example", "--via", "hub.trade.example"]),
        refused(&["remove", "fabrikam.example"]),
        refused(&["block", "not a domain"]),
    ];
    expect![[r#"
        chancery: federation.toml: this would make the policy wrong, so that nothing was changed:
        line 1: partner.next_hop: is missing: the rule "fqdn" asks for the name of the server of fabrikam.example
          help: name the partner's edge and port, such as "edge.fabrikam.example:5061", or write certificate = "domain"
        chancery: federation.toml: this would make the policy wrong, so that nothing was changed:
        line 2: partner.domain: contoso.example is a domain of this organisation
          help: nobody else can speak for it: remove it
        chancery: federation.toml: this would make the policy wrong, so that nothing was changed:
        line 4: partner.via: there is no clearinghouse "hub.trade.example"
          help: add a section [[clearinghouse]] of that name
        chancery: federation.toml: fabrikam.example does not stand in any [[partner]]
        chancery: federation.toml: "not a domain" is no domain name
    "#]].assert_eq(&refusals.concat());
    assert!(!Path::new(&edge.path("federation.toml")).exists());
    std::fs::write(edge.path("federation.toml"), "[[partner]]\ndomian = \"a.example\"\n").unwrap();
    let (code, _, error) = edge.run(&["list"]);
    assert!(code == 3 && error.contains("federation.toml is wrong:\nline 1: "), "{code} {error}");
}

#[test]
fn a_partner_that_is_right_passes_every_step() {
    let (edge, partner) = federated(Habits::default());
    let (code, out, error) = edge.run(&["test", "fabrikam.example"]);
    let days = out
        .split(", ")
        .find(|part| part.ends_with(" days left; hosts edge.fabrikam.example"))
        .unwrap()
        .to_owned();
    check(
        &(code, out, error),
        &[(&partner.port.to_string(), "PORT"), (days.split(';').next().unwrap(), "N days left")],
        expect![[r#"
            ok    policy        to fabrikam.example may pass: presence, instant messages, calls, video
            ok    policy        from fabrikam.example may pass: presence, instant messages, calls, video
            ok    policy        the road is direct
            ok    ours          our certificate bears edge.contoso.example, contoso.example
            ok    dns           _sipfederationtls._tcp.fabrikam.example: there is no such record; the policy says where it is
            ok    dns           edge.fabrikam.example is 127.0.0.1
            ok    tcp           edge.fabrikam.example answers at 127.0.0.1:PORT from 127.0.0.1
            ok    tls           TLS 1.3, and it asked for our certificate
            ok    certificate   it shows CN=edge.fabrikam.example, of CN=Chancery CA of fabrikam.example issuing, N days left; hosts edge.fabrikam.example, fabrikam.example; SIP domains fabrikam.example
            ok    rule          the certificate bears edge.fabrikam.example
            ok    sip           OPTIONS is answered 200
            ok    clock         the clocks agree
            exit 0
        "#]],
    );
    assert_eq!(partner.asked.load(Ordering::SeqCst), 1);
    edge.done(&["test", "fabrikam.example", "--offline"]);
    assert_eq!(partner.asked.load(Ordering::SeqCst), 1, "offline asks nobody");
    allow(&edge, &partner, &["--certificate", "domain"]);
    assert!(edge.test().0);
}

#[test]
fn the_policys_terms_are_told_and_are_no_fault() {
    let (edge, partner) = federated(Habits::default());
    allow(&edge, &partner, &["--modalities", "im", "--direction", "in"]);
    let (good, steps) = edge.test();
    assert!(good, "{steps:#?}");
    let told: Vec<&str> =
        steps.iter().filter(|step| step[1] == "policy").map(|step| step[2].as_str()).collect();
    assert!(told.contains(&"from fabrikam.example may pass: instant messages"), "{told:#?}");
    assert!(told.iter().any(|text| text.starts_with("presence to fabrikam.example: 403 ")), "{told:#?}");
}

/// Wrong CA, wrong name, no certificate asked for, a certificate of ours that is not taken, a clock, nobody there.
#[test]
fn each_step_that_fails_names_its_mend() {
    let (edge, partner) = federated(Habits::default());
    edge.certificates("contoso.example", "stranger", "edge.contoso.example");

    allow(&edge, &partner, &["--authority-file", "stranger/ca.pem"]);
    let [subject, message, mend] = edge.failing_step();
    assert!(subject == "rule" && message.contains("not trusted"), "{subject}: {message}");
    assert!(mend.contains("trust the CA that issued it"), "{mend}");
    assert_eq!(partner.asked.load(Ordering::SeqCst), 0, "who proves nothing is asked nothing");

    // A pin asks for no CA; the digits come from the mend.
    let pin = mend.split("--certificate ").nth(1).unwrap();
    allow(&edge, &partner, &["--certificate", pin]);
    assert!(edge.test().0);
    allow(&edge, &partner, &["--certificate", &format!("sha256:{}", "0".repeat(64))]);
    let [subject, message, mend] = edge.failing_step();
    assert!(
        subject == "rule" && message.contains("not the pinned one") && mend.contains(pin),
        "{message} {mend}"
    );

    let next_hop = format!("127.0.0.1:{}", partner.port);
    edge.done(&[
        "allow",
        "fabrikam.example",
        "--next-hop",
        &next_hop,
        "--certificate",
        "fqdn",
        "--authority-file",
        "fabrikam/ca.pem",
    ]);
    let [subject, message, _] = edge.failing_step();
    assert!(subject == "rule" && message.contains("does not bear the host name 127.0.0.1"), "{message}");

    allow(&edge, &Partner { port: free_port(), asked: Arc::default() }, &[]);
    let [subject, message, mend] = edge.failing_step();
    assert!(subject == "tcp" && message.contains("refused") && mend.contains("firewall"), "{message} {mend}");

    edge.done(&["allow", "fabrikam.example", "--next-hop", "nowhere.fabrikam.example:5061"]);
    let [subject, message, mend] = edge.failing_step();
    assert!(subject == "dns" && message.starts_with("nowhere.fabrikam.example: "), "{message}");
    assert!(mend.contains("[dns] servers"), "{mend}");
}

#[test]
fn what_the_other_side_gets_wrong_is_told() {
    let failing = |habits: Habits| {
        let (edge, _partner) = federated(habits);
        edge.failing_step()
    };
    let [subject, message, mend] = failing(Habits { clock_ahead: -900, ..Habits::default() });
    assert!(subject == "clock" && message.contains("behind") && mend.contains("NTP"), "{message}");

    let edge = Edge::new();
    edge.certificates("fabrikam.example", "fabrikam", "edge.fabrikam.example");
    let (chain, key) = (edge.path("fabrikam/outside.pem"), edge.path("fabrikam/outside.key"));
    let open = partner(&chain, &key, Habits::default());
    allow(&edge, &open, &["--authority-file", "fabrikam/ca.pem"]);
    let [subject, message, _] = edge.failing_step();
    assert!(subject == "tls" && message.contains("did not ask for our certificate"), "{message}");

    let strict =
        partner(&chain, &key, Habits { wants: Some(edge.path("fabrikam/ca.pem")), ..Habits::default() });
    allow(&edge, &strict, &[]);
    let [subject, message, mend] = edge.failing_step();
    assert!(subject == "sip" && message.contains("UnknownCA"), "{subject}: {message}");
    assert!(mend.contains("does not take our certificate"), "{mend}");

    let (edge, _partner) = federated(Habits { status: 403, ..Habits::default() });
    let (good, steps) = edge.test();
    let sip = steps.iter().find(|step| step[1] == "sip").unwrap();
    assert!(good && sip[0] == "warn" && sip[3].contains("allow our domain"), "{steps:#?}");
}

#[test]
fn a_hub_is_asked_about_its_members() {
    let edge = Edge::new();
    let config = std::fs::read_to_string(edge.path("chancery.toml")).unwrap();
    let config = config
        .replace("\"access-edge\"", "\"clearinghouse\"")
        .replace("contoso.example\"]\nrole", "trade.example\"]\nrole");
    let from = config.find("[[listener]]\ntransport = \"tls\"\naddress = \"127.0.0.2").unwrap();
    let to = config.find("[tls]").unwrap();
    let config = format!("{}{}", &config[..from], &config[to..]);
    std::fs::write(edge.path("chancery.toml"), config).unwrap();
    let add = |domain: &str| {
        edge.done(&["allow", domain, "--member", "--next-hop", &format!("edge.{domain}:5061")])
    };
    add("northwind.example");
    let (code, out, _) = edge.run(&["test", "northwind.example", "--offline"]);
    assert!(code == 1 && out.contains("there is no member but northwind.example"), "{out}");
    add("adatum.example");
    let out = edge.done(&["test", "northwind.example", "--offline"]);
    assert!(out.contains("to northwind.example may pass: presence, instant messages, calls, video"), "{out}");
    assert!(out.contains("from northwind.example may pass: "), "{out}");
}
