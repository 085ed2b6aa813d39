//! `chancery ca`, held against OpenSSL.

use super::*;

/// A CA for contoso.example and a folder to issue into.
struct Ca {
    dir: tempfile::TempDir,
}

impl Ca {
    fn new() -> Ca {
        let ca = Ca { dir: tempfile::tempdir().unwrap() };
        ca.done(&[
            "init",
            "--domain",
            "contoso.example",
            "--addresses",
            "192.0.2.0/24",
            "--dir",
            &ca.path("ca"),
        ]);
        ca
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs `chancery ca` as given.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let needs_dir = !arguments.contains(&"--dir") && arguments[0] != "show";
        let dir = ["--dir".to_owned(), self.path("ca")];
        let dir: Vec<&str> = dir.iter().filter(|_| needs_dir).map(String::as_str).collect();
        run(&[&["ca"], arguments, &dir].concat())
    }

    fn done(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.run(arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.run(arguments);
        assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}: {error}");
        error
    }

    fn edge_outside(&self) {
        self.done(&[
            "issue",
            "--kind",
            "edge-outside",
            "--name",
            "edge.contoso.example",
            "--domain",
            "contoso.example",
            "--out",
            &self.path("edge"),
        ]);
    }

    fn list(&self) -> Value {
        serde_json::from_str(&self.done(&["list", "--json"])).unwrap()
    }

    fn show(&self, file: &str, more: &[&str]) -> Value {
        let shown = self.done(&[&["show", "--json", &self.path(file)], more].concat());
        serde_json::from_str::<Value>(&shown).unwrap()[0].take()
    }

    /// `openssl verify` of a file that `issue` wrote, with all lists; its output.
    fn verify(&self, file: &str, more: &[&str]) -> (bool, String) {
        let (root, list, chain) = (self.path("ca/root.pem"), self.path("ca/crl.pem"), self.path(file));
        let common = ["verify", "-x509_strict", "-CAfile", &root, "-untrusted", &chain, "-CRLfile", &list];
        openssl(&[&common[..], more, &[&chain]].concat())
    }
}

/// OpenSSL belongs to what the tests need.
fn openssl(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl").args(arguments).stdin(Stdio::null()).output().expect("openssl runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn fits(shown: &Value, part: &str) -> bool {
    let parts = shown["parts"].as_array().unwrap();
    parts.iter().find(|line| line["part"] == part).unwrap()["fits"].as_bool().unwrap()
}

#[test]
fn a_new_ca_is_a_root_an_issuing_ca_and_two_lists() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("ca");
    let text = text.to_str().unwrap();
    let output = run(&["ca", "init", "--dir", text, "--domain", "contoso.example", "--name", "Contoso"]);
    let day = |days: i64| {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        jiff::Timestamp::from_second(now + days * 86_400).unwrap().strftime("%Y-%m-%d").to_string()
    };
    check(
        &output,
        &[(text, "DIR"), (&day(3650), "IN-TEN-YEARS"), (&day(1825), "IN-FIVE-YEARS")],
        expect![[r#"
            Wrote a root CA to DIR/root and an issuing CA to DIR.

              may issue for  contoso.example and below; no addresses
              root           until IN-TEN-YEARS
              issuing CA     until IN-FIVE-YEARS, renewed every 5 years

            Next:
              Take DIR/root to a safe place: only renewing or revoking the issuing CA needs it.
              chancery ca issue --dir DIR --kind server --name HOST --domain DOMAIN --out /etc/chancery
              Others must trust DIR/root.pem; back up DIR.
            exit 0
        "#]],
    );
    let ca = Path::new(text);
    for secret in ["issuing.key", "root/root.key", "index.toml", "root/index.toml"] {
        assert_eq!(mode(&ca.join(secret)), 0o600, "{secret}");
    }
    assert_eq!((mode(ca), mode(&ca.join("root"))), (0o700, 0o700));
    let lists = std::fs::read_to_string(ca.join("crl.pem")).unwrap();
    assert_eq!(lists.matches("-----BEGIN X509 CRL-----").count(), 2);

    let (code, _, error) = run(&["ca", "init", "--dir", text, "--domain", "contoso.example"]);
    assert!(code == 1 && error.contains("exists already, nothing was written\n  help: "), "{error}");
    let (code, _, error) = run(&["ca", "init", "--dir", &format!("{text}2"), "--domain", "a b"]);
    assert!(code == 1 && error.contains("help: write it as contoso.example"), "{error}");
}

#[test]
fn openssl_verifies_every_kind_with_both_lists() {
    let ca = Ca::new();
    ca.edge_outside();
    let (edge, people) = (ca.path("edge"), ca.path("people"));
    ca.done(&["issue", "--kind", "edge-inside", "--name", "edge.contoso.example", "--out", &edge]);
    ca.done(&["issue", "--kind", "client", "--name", "alice@contoso.example", "--out", &people]);
    for (file, purpose, host) in [
        ("edge/outside.pem", "sslserver", "edge.contoso.example"),
        ("edge/outside.pem", "sslclient", "contoso.example"),
        ("edge/server.pem", "sslserver", "edge.contoso.example"),
        ("edge/server.pem", "sslclient", "edge.contoso.example"),
    ] {
        let (good, text) =
            ca.verify(file, &["-crl_check_all", "-purpose", purpose, "-verify_hostname", host]);
        assert!(good, "{file} {purpose}: {text}");
    }
    let person = "people/alice@contoso.example.pem";
    let (good, text) = ca.verify(person, &["-crl_check_all", "-purpose", "sslclient"]);
    assert!(good, "{text}");
    let (good, text) = ca.verify(person, &["-purpose", "sslserver"]);
    assert!(!good && text.contains("unsuitable certificate purpose"), "{text}");

    let (_, text) = openssl(&["x509", "-in", &ca.path("edge/outside.pem"), "-noout", "-text"]);
    for expected in [
        "URI:sip:contoso.example, DNS:edge.contoso.example, DNS:contoso.example",
        "TLS Web Server Authentication, TLS Web Client Authentication, 1.3.6.1.5.5.7.3.20",
        "Digital Signature",
        "CA:FALSE",
        "Issuer: CN = Chancery CA of contoso.example issuing",
        "ASN1 OID: prime256v1",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    let (_, text) = openssl(&["x509", "-in", &ca.path("ca/issuing.pem"), "-noout", "-text"]);
    for expected in [
        "X509v3 Name Constraints: \n                Permitted:\n                  DNS:contoso.example\n                  \
         IP:192.0.2.0/255.255.255.0",
        "CA:TRUE, pathlen:0",
        "Certificate Sign, CRL Sign",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert_eq!(mode(Path::new(&ca.path("edge/outside.key"))), 0o600);
    let root = std::fs::read(ca.path("ca/root.pem")).unwrap();
    assert_eq!(std::fs::read(ca.path("edge/ca.pem")).unwrap(), root);
}

/// The constraints are not critical, and hold all the same.
#[test]
fn openssl_refuses_what_the_issuing_ca_may_not_issue() {
    let ca = Ca::new();
    let (key, request, leaf) = (ca.path("k"), ca.path("r"), ca.path("leaf.pem"));
    let subject = ["-subj", "/CN=evil", "-addext", "subjectAltName=DNS:sip.fabrikam.example"];
    let new = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    assert!(openssl(&[&new[..], &["-keyout", &key, "-out", &request], &subject].concat()).0);
    let (issuing, issuing_key) = (ca.path("ca/issuing.pem"), ca.path("ca/issuing.key"));
    let sign = [
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        &issuing,
        "-CAkey",
        &issuing_key,
        "-copy_extensions",
        "copy",
    ];
    let (good, text) = openssl(&[&sign[..], &["-days", "9", "-out", &leaf]].concat());
    assert!(good, "{text}");
    let (good, text) =
        openssl(&["verify", "-CAfile", &ca.path("ca/root.pem"), "-untrusted", &issuing, &leaf]);
    assert!(!good && text.contains("permitted subtree violation"), "{text}");
    let chain = std::fs::read_to_string(&leaf).unwrap() + &std::fs::read_to_string(&issuing).unwrap();
    std::fs::write(&leaf, chain).unwrap();
    let shown = ca.show("leaf.pem", &[]);
    assert!(!fits(&shown, "server"));
    assert!(shown["parts"].to_string().contains("may not issue for sip.fabrikam.example"), "{shown}");
}

#[test]
fn what_cannot_be_issued_is_refused_in_words() {
    let ca = Ca::new();
    let out = ca.path("out");
    let issue = |more: &[&str]| ca.refused(&[&["issue", "--out", &out], more].concat()).replace(&out, "OUT");
    let refusals = [
        issue(&["--kind", "server", "--name", "sip.fabrikam.example"]),
        issue(&["--kind", "partner", "--name", "edge.fabrikam.example", "--domain", "fabrikam.example"]),
        issue(&["--kind", "edge-inside", "--name", "edge.contoso.example", "--domain", "contoso.example"]),
        issue(&["--kind", "edge-outside", "--name", "edge.contoso.example"]),
        issue(&["--kind", "server", "--name", "*.contoso.example"]),
        issue(&["--kind", "server", "--name", "a.contoso.example", "--address", "10.0.0.1"]),
        issue(&["--kind", "client", "--name", "alice@contoso.example", "--days", "1000"]),
    ];
    expect![[r#"
        chancery: no certificate can be issued for "sip.fabrikam.example": the CA may issue for these only: contoso.example and below; addresses of 192.0.2.0/24
          help: make another CA for that: chancery ca init --dir DIR --domain DOMAIN [--addresses RANGE]
        chancery: no certificate can be issued for "edge.fabrikam.example": the CA may issue for these only: contoso.example and below; addresses of 192.0.2.0/24
          help: make a CA for partners: chancery ca init --dir ca-partners --domain THEIR-DOMAIN, and name its root in the partner's authority_file
        chancery: no certificate can be issued for "contoso.example": a certificate of this kind speaks for no SIP domain: leave --domain away
        chancery: no certificate can be issued for "edge.contoso.example": it needs the SIP domains that it speaks for (RFC 5922): give --domain
        chancery: no certificate can be issued for "*.contoso.example": SIP knows no wildcards in certificates (RFC 5922 §7.2)
        chancery: no certificate can be issued for "10.0.0.1": the CA may issue for these only: contoso.example and below; addresses of 192.0.2.0/24
          help: make another CA for that: chancery ca init --dir DIR --domain DOMAIN [--addresses RANGE]
        chancery: no certificate can be issued for "alice@contoso.example": a certificate of this kind is valid for 1 to 365 days
    "#]]
    .assert_eq(&refusals.concat());
    assert!(!Path::new(&out).join("server.pem").exists());
    assert_eq!(ca.list()["certificates"], serde_json::json!([]));

    ca.edge_outside();
    let before = std::fs::read(ca.path("edge/outside.pem")).unwrap();
    let again =
        ["issue", "--kind", "edge-outside", "--name", "e.contoso.example", "--domain", "contoso.example"];
    let error = ca.refused(&[&again[..], &["--out", &ca.path("edge")]].concat());
    assert!(error.contains("exists already, nothing was issued\n  help: chancery ca renew"), "{error}");
    assert_eq!(std::fs::read(ca.path("edge/outside.pem")).unwrap(), before);

    let other = Ca::new();
    let error = other.refused(&[
        "issue",
        "--kind",
        "edge-inside",
        "--name",
        "e.contoso.example",
        "--out",
        &ca.path("edge"),
    ]);
    assert!(error.contains("does not hold this CA's root, nothing was issued"), "{error}");
    let error = other.refused(&["renew", &ca.path("edge/outside.pem")]);
    assert!(
        error.contains("was issued by CN=Chancery CA of contoso.example issuing, not by the CA in"),
        "{error}"
    );
    let error = run(&["ca", "list", "--dir", "/nonexistent"]).2;
    assert!(error.contains("help: `chancery ca init` makes a CA"), "{error}");
}

#[test]
fn renewing_keeps_names_and_usages() {
    let ca = Ca::new();
    ca.edge_outside();
    let (file, key) = (ca.path("edge/outside.pem"), ca.path("edge/outside.key"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let (before, first_key) = (ca.show("edge/outside.pem", &[]), std::fs::read(&key).unwrap());
    ca.done(&["renew", &file, "--keep-key"]);
    assert_eq!(std::fs::read(&key).unwrap(), first_key);
    let kept = ca.show("edge/outside.pem", &[]);
    ca.done(&["renew", &file]);
    assert_ne!(std::fs::read(&key).unwrap(), first_key);
    assert_eq!(mode(Path::new(&key)), 0o640, "whoever could read it still can");
    let anew = ca.show("edge/outside.pem", &[]);
    let told = |shown: &Value| {
        let leaf = &shown["certificates"][0];
        ["sip_domains", "hosts", "addresses", "persons", "usages", "key", "issuer"].map(|k| leaf[k].clone())
    };
    assert_eq!(told(&kept), told(&before));
    assert_eq!(told(&anew), told(&before));
    let serials = [&before, &kept, &anew].map(|shown| shown["certificates"][0]["serial"].clone());
    assert!(serials[0] != serials[1] && serials[1] != serials[2]);
    let listed = ca.list();
    let listed: Vec<_> =
        listed["certificates"].as_array().unwrap().iter().map(|c| c["serial"].clone()).collect();
    assert_eq!(listed, serials);
    assert!(ca.verify("edge/outside.pem", &["-crl_check_all"]).0);
}

#[test]
fn who_makes_a_key_elsewhere_sends_a_request() {
    let ca = Ca::new();
    let (key, request) = (ca.path("own.key"), ca.path("own.csr"));
    let new = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=whatever"];
    assert!(openssl(&[&new[..], &["-keyout", &key, "-out", &request]].concat()).0);
    let out = ca.path("out");
    let issue = [
        "issue",
        "--kind",
        "edge-inside",
        "--name",
        "e.contoso.example",
        "--out",
        &out,
        "--request",
        &request,
    ];
    ca.done(&issue);
    assert!(!Path::new(&ca.path("out/server.key")).exists());
    let shown = ca.show("out/server.pem", &[]);
    assert_eq!(shown["certificates"][0]["key"], "RSA, 2048 bits");
    assert_eq!(shown["certificates"][0]["hosts"], serde_json::json!(["e.contoso.example"]));
    let error = ca.refused(&["renew", &ca.path("out/server.pem")]);
    assert!(error.contains("--request takes a signing request"), "{error}");
    ca.done(&["renew", &ca.path("out/server.pem"), "--request", &request]);
    assert_eq!(ca.show("out/server.pem", &[])["certificates"][0]["key"], "RSA, 2048 bits");
    std::fs::write(&request, "no PEM").unwrap();
    assert!(
        ca.refused(&["renew", &ca.path("out/server.pem"), "--request", &request]).contains("signing request")
    );
}

#[test]
fn what_is_revoked_is_believed_no_more() {
    let ca = Ca::new();
    ca.edge_outside();
    ca.done(&["issue", "--kind", "edge-inside", "--name", "edge.contoso.example", "--out", &ca.path("edge")]);
    let outside = ca.path("edge/outside.pem");
    let told = ca.done(&["revoke", &outside, "--reason", "key-compromise"]);
    assert!(told.contains("is revoked") && told.contains("is list number 2."), "{told}");
    let (good, text) = ca.verify("edge/outside.pem", &["-crl_check"]);
    assert!(!good && text.contains("certificate revoked"), "{text}");
    let (good, text) = ca.verify("edge/server.pem", &["-crl_check_all"]);
    assert!(good, "{text}");
    assert!(ca.done(&["revoke", &outside]).contains("was revoked before"));

    let inside = &ca.show("edge/server.pem", &[])["certificates"][0]["serial"];
    // As OpenSSL writes it.
    let serial: Vec<String> = inside
        .as_str()
        .unwrap()
        .as_bytes()
        .chunks(2)
        .map(|two| String::from_utf8_lossy(two).to_uppercase())
        .collect();
    ca.done(&["revoke", &serial.join(":"), "--reason", "cessation"]);
    assert!(!ca.verify("edge/server.pem", &["-crl_check"]).0);
    let error = ca.refused(&["renew", &ca.path("edge/server.pem")]);
    assert!(error.contains("was revoked\n  help: "), "{error}");
    assert!(ca.refused(&["revoke", "abcd"]).contains("no certificate with the serial number abcd"));

    let told = ca.done(&["crl", "--crl-days", "7"]);
    assert!(told.contains("number 5, next update at"), "{told}");
    let list = ca.list();
    let states: Vec<_> = list["certificates"].as_array().unwrap().iter().map(|c| &c["state"]).collect();
    assert_eq!(states, ["revoked", "revoked"]);
    assert_eq!(list["certificates"][0]["reason"], "key-compromise");
    let (_, text) = openssl(&["crl", "-in", &ca.path("ca/crl.pem"), "-noout", "-text"]);
    assert!(text.contains("Key Compromise") && text.contains("Cessation Of Operation"), "{text}");
}

/// A certificate that the index does not know is ours if we signed it.
#[test]
fn a_lost_index_entry_does_not_keep_a_certificate_from_being_revoked() {
    let ca = Ca::new();
    ca.edge_outside();
    std::fs::write(ca.path("ca/index.toml"), "crl_number = 9\n").unwrap();
    ca.done(&["revoke", &ca.path("edge/outside.pem")]);
    assert!(!ca.verify("edge/outside.pem", &["-crl_check"]).0);
    assert_eq!(ca.list()["crl"]["number"], 10);
    std::fs::remove_file(ca.path("ca/index.toml")).unwrap();
    assert!(ca.refused(&["list"]).contains("help: restore it from a backup"));
}

#[test]
fn the_root_is_needed_for_the_issuing_ca_only() {
    let ca = Ca::new();
    let (root, away) = (ca.path("ca/root"), ca.path("safe"));
    std::fs::rename(&root, &away).unwrap();
    ca.edge_outside();
    ca.done(&["revoke", &ca.path("edge/outside.pem")]);
    assert!(!ca.verify("edge/outside.pem", &["-crl_check_all"]).0);
    let issuing = ca.path("ca/issuing.pem");
    for command in [["renew", &issuing], ["revoke", &issuing]] {
        let error = ca.refused(&command);
        assert!(error.contains("this needs the root's key: cannot read"), "{error}");
        let (_, mend) = error.split_once("\n  help: ").expect("a mend");
        assert!(mend.starts_with("bring the root's folder back") && !mend.contains("help:"), "{error}");
    }
    std::fs::rename(&away, &root).unwrap();

    ca.done(&["issue", "--kind", "edge-inside", "--name", "edge.contoso.example", "--out", &ca.path("edge")]);
    ca.done(&["renew", &issuing]);
    let (good, text) = ca.verify("edge/server.pem", &["-crl_check_all"]);
    assert!(good, "issued before the CA was renewed: {text}");
    let fresh =
        ["verify", "-CAfile", &ca.path("ca/root.pem"), "-untrusted", &issuing, &ca.path("edge/server.pem")];
    assert!(openssl(&fresh).0, "under the renewed CA");

    // Another issuing CA below the same root, as for another site.
    let branch = ca.path("branch");
    ca.done(&["init", "--dir", &branch, "--root-dir", &root]);
    let error =
        ca.refused(&["init", "--dir", &ca.path("third"), "--root-dir", &root, "--domain", "a.example"]);
    assert!(error.contains("its constraints hold"), "{error}");

    ca.done(&["revoke", &issuing, "--reason", "ca-compromise"]);
    let chain = std::fs::read_to_string(ca.path("edge/server.pem")).unwrap();
    let leaf = &chain[..chain.rfind("-----BEGIN").unwrap()];
    let renewed = format!("{leaf}{}", std::fs::read_to_string(&issuing).unwrap());
    std::fs::write(ca.path("edge/server.pem"), renewed).unwrap();
    let (good, text) = ca.verify("edge/server.pem", &["-crl_check_all"]);
    assert!(!good && text.contains("certificate revoked"), "{text}");
}

#[test]
fn show_says_what_a_certificate_is_for() {
    let ca = Ca::new();
    ca.edge_outside();
    let (file, root) = (ca.path("edge/outside.pem"), ca.path("ca/root.pem"));
    let (code, out, error) = ca.run(&["show", &file, "--ca", &root]);
    let leaf = &ca.show("edge/outside.pem", &[])["certificates"][0];
    let text = |key: &str| leaf[key].as_str().unwrap().to_owned();
    let (serial, sha256, begins, ends) = (text("serial"), text("sha256"), text("begins"), text("ends"));
    let until = out.split(" issuing, until ").nth(1).unwrap().split(';').next().unwrap().to_owned();
    check(
        &(code, out, error),
        &[
            (&file, "FILE"),
            (&serial, "SERIAL"),
            (&sha256, "SHA256"),
            (&begins, "BEGIN"),
            (&ends, "END"),
            (&until, "DATE"),
            // One more in the second of its issue.
            ("820 days left", "819 days left"),
        ],
        expect![[r#"
            FILE
              subject       CN=edge.contoso.example
              issuer        CN=Chancery CA of contoso.example issuing
              serial        SERIAL
              sha256        SHA256
              valid         BEGIN to END, 819 days left
              SIP domains   contoso.example
              hosts         edge.contoso.example, contoso.example
              usages        server, client, sip-domain
              key           elliptic curve, 256 bits
              chain         CN=Chancery CA of contoso.example issuing, until DATE; may issue for contoso.example and below; addresses of 192.0.2.0/24; no CA below it
              server        fits
              edge-inside   fits
              edge-outside  fits
              client        no
                            it names no person
                              help: have `URI:sip:USER@DOMAIN` added
              anchor        no
                            it is no CA's certificate
                              help: use it as a pin (sha256 above), or take its CA's certificate
            exit 0
        "#]],
    );
    let (_, openssl) = openssl(&["x509", "-in", &file, "-noout", "-fingerprint", "-sha256"]);
    let fingerprint = openssl.trim().split('=').nth(1).unwrap().replace(':', "").to_lowercase();
    assert_eq!(fingerprint, sha256);

    ca.done(&["show", &file, "--for", "edge-outside"]);
    let (code, _, error) = ca.run(&["show", &file, "--for", "client"]);
    assert!(code == 1 && error.contains("will not do for client"), "{error}");
    let (code, _, error) = ca.run(&["show", &ca.path("edge/outside.key")]);
    assert!(code == 1 && error.contains("help: it must be PEM"), "{error}");
}

/// As public CAs issue them now: for servers only, and for DNS names.
#[test]
fn show_explains_a_public_cas_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (file, key) = (path("public.pem"), path("public.key"));
    let names = "subjectAltName=DNS:edge.fabrikam.example,DNS:*.fabrikam.example";
    let new = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=edge.fabrikam.example",
        "-days",
        "90",
    ];
    let extensions =
        ["-addext", names, "-addext", "extendedKeyUsage=serverAuth", "-addext", "basicConstraints=CA:FALSE"];
    let (good, text) = openssl(&[&new[..], &extensions, &["-keyout", &key, "-out", &file]].concat());
    assert!(good, "{text}");
    let (code, out, _) = run(&["ca", "show", &file]);
    assert_eq!(code, 0);
    let (_, parts) = out.split_once("\n  server ").expect("it tells of each part");
    expect![[r#"
        server        fits, but
                        it signed itself: no CA stands behind it
                          help: use a CA; until then peers can only pin it (sha256 above)
                        it may not connect (no extended key usage clientAuth); our own servers take it where it connects
                          help: servers of other makes need clientAuth: use a private CA for them
                        it has no sip: URI name: by RFC 5922 it speaks for edge.fabrikam.example
                          help: have `URI:sip:DOMAIN` added for each SIP domain, if clients compare them
          edge-inside   fits, but
                        it signed itself: no CA stands behind it
                          help: use a CA; until then peers can only pin it (sha256 above)
                        it may not connect (no extended key usage clientAuth); our own servers take it where it connects
                          help: servers of other makes need clientAuth: use a private CA for them
          edge-outside  fits, but
                        it signed itself: no CA stands behind it
                          help: use a CA; until then peers can only pin it (sha256 above)
                        it may not connect (no extended key usage clientAuth); partners with Chancery take it, by the rule that they configured
                          help: servers of other makes need clientAuth: use a private CA for them
                        it has no sip: URI name: by RFC 5922 it speaks for edge.fabrikam.example
                          help: partners need the rule `fqdn` or a pin, unless a SIP domain is among these names
          client        no
                        it signed itself: no CA stands behind it
                          help: use a CA; until then peers can only pin it (sha256 above)
                        it may not sign anybody in (no extended key usage clientAuth)
                          help: issue it with --kind client
                        it names no person
                          help: have `URI:sip:USER@DOMAIN` added
          anchor        no
                        it is no CA's certificate
                          help: use it as a pin (sha256 above), or take its CA's certificate
    "#]].assert_eq(&format!("server {parts}"));
}

/// A folder of before `chancery ca`: ca.pem and ca.key stand in it.
#[test]
fn a_demo_with_an_old_ca_goes_on_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let new =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "100"];
    let usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-subj", "/CN=Old CA"];
    let (good, text) =
        openssl(&[&new[..], &usage, &["-keyout", &path("ca.key"), "-out", &path("ca.pem")]].concat());
    assert!(good, "{text}");
    let before = std::fs::read(path("ca.pem")).unwrap();
    let (demo, _) = Running::demo(dir.path(), &[]);
    demo.stop();
    assert_eq!(std::fs::read(path("ca.pem")).unwrap(), before);
    assert!(!dir.path().join("ca").exists());
    let (good, text) = openssl(&["verify", "-CAfile", &path("ca.pem"), &path("server.pem")]);
    assert!(good, "{text}");
}
