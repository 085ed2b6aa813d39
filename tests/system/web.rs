//! Sign-in over HTTPS: local accounts, accounts of a real Active Directory, a browser's ticket; and what people get for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};
use sip_message::{HeaderId, Message};
use system_tests::{
    Account, ActiveDirectory, Configuration, Device, Https, HttpsAnswer, LIVE_WITHIN, Link, Own, Road,
    Server, Transport, eventually, eventually_within, have,
};

const PORT: u16 = 9443;
const PASSWORD: &str = "User-Passw0rd";
/// How soon somebody is cut off whose change was replicated.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(5);

/// A server with its web.
struct Site {
    server: Server,
    web: SocketAddr,
}

impl Site {
    fn local() -> Site {
        let configuration = Configuration::new("contoso.example");
        let address = configuration.address();
        let listen = format!("[\"{address}:{PORT}\"]");
        Site::of(configuration.set_in("web", "listen", &listen), address)
    }

    fn following(domain: &ActiveDirectory) -> Site {
        let configuration = Configuration::following(domain);
        let address = configuration.address();
        let site = Site::of(configuration, address);
        site.server.replicate();
        site
    }

    fn of(configuration: Configuration, address: Ipv4Addr) -> Site {
        Site { server: configuration.serve(), web: SocketAddr::from((address, PORT)) }
    }

    fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> HttpsAnswer {
        Https::connect(self.web, &self.server.ca()).ask(method, path, fields, body)
    }

    fn post(&self, path: &str, body: &Value) -> HttpsAnswer {
        self.ask("POST", path, &[("Content-Type", "application/json")], &body.to_string())
    }

    fn sign_in(&self, name: &str, password: &str) -> HttpsAnswer {
        self.post("/v1/sign-in", &json!({ "name": name, "password": password }))
    }

    fn token(&self, name: &str, password: &str) -> String {
        let answer = self.sign_in(name, password);
        assert_eq!(answer.status, 200, "{answer:?}\n{}", self.server.log());
        json_of(&answer)["token"].as_str().expect("a token").to_owned()
    }

    /// Of a local person.
    fn account(&self, user: &str) -> Account {
        Account { domain: "contoso.example".to_owned(), ..self.server.account(user) }
    }

    /// A SIP device of a local person's, over TLS.
    fn device(&self, user: &str) -> Device {
        let server = self.server.address(Road::v4(Transport::Tls));
        Device::connect(self.account(user), Transport::Tls, server, &self.server.ca())
    }

    fn with_token(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> HttpsAnswer {
        let bearer = format!("Bearer {token}");
        let mut fields = vec![("Authorization", bearer.as_str())];
        if body.is_some() {
            fields.push(("Content-Type", "application/json"));
        }
        self.ask(method, path, &fields, &body.map(Value::to_string).unwrap_or_default())
    }
}

fn json_of(answer: &HttpsAnswer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// The end of a problem's type.
fn problem(answer: &HttpsAnswer) -> String {
    json_of(answer)["type"].as_str().expect("a problem").trim_start_matches("/v1/problems/").to_owned()
}

#[test]
fn a_local_person_signs_in_and_makes_what_a_phone_needs() {
    let site = Site::local();
    site.server.add_user("erin@contoso.example");
    let account = site.server.account("erin");
    assert_eq!(problem(&site.sign_in("erin@contoso.example", "wrong")), "wrong-name-or-password");
    let token = site.token("erin@contoso.example", &account.password);
    let asked = json!({ "label": "desk phone", "purpose": "sip" });
    let made = json_of(&site.with_token(&token, "POST", "/v1/app-passwords", Some(&asked)));
    assert_eq!(made["address"], "erin@contoso.example");
    let listed = json_of(&site.with_token(&token, "GET", "/v1/app-passwords", None));
    assert_eq!(listed["app_passwords"][0]["username"], made["username"]);
    let key = rcgen::KeyPair::generate().expect("a key");
    let request = rcgen::CertificateParams::default().serialize_request(&key).expect("a request");
    let asked = json!({ "signing_request": request.pem().expect("PEM") });
    let made = json_of(&site.with_token(&token, "POST", "/v1/certificates", Some(&asked)));
    let (_, shown) = site.server.command(&["user", "show", "erin@contoso.example"]);
    assert!(shown.contains(made["sha256"].as_str().expect("a digest")), "{shown}");
    let book = site.with_token(&token, "GET", "/v1/address-book", None);
    assert!(book.status == 200 && book.body.contains("erin@contoso.example"), "{book:?}");
    assert_eq!(site.with_token(&token, "POST", "/v1/sign-in/renew", None).status, 200);
    assert_eq!(site.with_token(&token, "DELETE", "/v1/sign-in", None).status, 204);
    assert_eq!(site.with_token(&token, "GET", "/v1/app-passwords", None).status, 401);
    let again = site.token("erin@contoso.example", &account.password);
    assert_eq!(site.server.user_command(&["disable", "erin@contoso.example"], None).status.code(), Some(0));
    assert_eq!(
        site.with_token(&again, "GET", "/v1/app-passwords", None).status,
        401,
        "tokens end with the account"
    );
    assert_eq!(problem(&site.sign_in("erin@contoso.example", &account.password)), "account-disabled");
    site.server.expect_log("sign-in-refused");
}

/// A client that shows a token and nothing else.
fn register_by(device: &Device, token: &str) -> Message {
    let draft = device.register_draft(Some(format!("<{}>", device.contact())));
    device.ask(draft.header("Authorization", format!("Bearer {token}")).unanswering())
}

/// For how long the only registration of an answer lasts.
fn seconds(answer: &Message) -> u64 {
    assert_eq!(answer.status(), Some(200), "{answer:?}");
    let contact = String::from_utf8_lossy(answer.header(HeaderId::Contact).expect("a binding")).into_owned();
    contact.rsplit_once("expires=").and_then(|(_, seconds)| seconds.parse().ok()).expect("it ends")
}

#[test]
fn a_token_registers_a_device_until_it_is_revoked() {
    let configuration = Configuration::new("contoso.example");
    let address = configuration.address();
    let listen = format!("[\"{address}:{PORT}\"]");
    let configuration =
        configuration.set_in("web", "listen", &listen).set_in("sign_in", "token_minutes", "10");
    let site = Site::of(configuration, address);
    site.server.add_user("erin@contoso.example");
    let connect = || site.device("erin");
    let first = site.token("erin@contoso.example", &site.server.account("erin").password);
    let device = connect();
    assert!((500..=600).contains(&seconds(&register_by(&device, &first))), "no longer than its token");
    // It is a sign-in: what follows needs nothing more.
    let sent = device.ask(device.message(&device.uri(), "note to myself").unanswering());
    assert_eq!(sent.status(), Some(202), "{}", device.ladder());
    let renewed = json_of(&site.with_token(&first, "POST", "/v1/sign-in/renew", None));
    let second = renewed["token"].as_str().expect("a token");
    assert_ne!(second, first);
    assert!((500..=600).contains(&seconds(&register_by(&device, second))));
    let (_, shown) = site.server.command(&["user", "show", "erin@contoso.example", "--json"]);
    assert!(shown.contains("transport=tls"), "{shown}");
    assert_eq!(site.with_token(second, "DELETE", "/v1/sign-in", None).status, 204);
    device.closed();
    for token in [first.as_str(), second] {
        let back = connect();
        let answer = register_by(&back, token);
        assert_eq!(answer.status(), Some(401), "{}", back.ladder());
        let last = answer.values(HeaderId::WwwAuthenticate).last().expect("challenges");
        let last = String::from_utf8_lossy(last).into_owned();
        assert!(last.starts_with("Bearer ") && last.contains("authz_server="), "{last}");
        assert_eq!(site.with_token(token, "POST", "/v1/sign-in/renew", None).status, 401);
    }
    let (_, shown) = site.server.command(&["user", "show", "erin@contoso.example", "--json"]);
    assert!(!shown.contains("transport=tls"), "the registration is gone: {shown}");
    let third = site.token("erin@contoso.example", &site.server.account("erin").password);
    assert_eq!(register_by(&connect(), &third).status(), Some(200), "who signs in again is back");
}

#[test]
fn an_app_password_opens_what_it_is_for_and_nothing_else() {
    let site = Site::local();
    site.server.add_user("erin@contoso.example");
    let token = site.token("erin@contoso.example", &site.server.account("erin").password);
    let [phone, mail] = ["sip", "address-book"].map(|purpose| {
        let asked = json!({ "label": purpose, "purpose": purpose });
        let made = json_of(&site.with_token(&token, "POST", "/v1/app-passwords", Some(&asked)));
        ["username", "password"].map(|key| made[key].as_str().unwrap_or_else(|| panic!("{made}")).to_owned())
    });
    // SIP.
    let register = |[username, password]: &[String; 2]| {
        let device = site.device("erin");
        device.sign_in_as(username, password);
        let status = device.ask(device.register_draft(Some(format!("<{}>", device.contact())))).status();
        (device, status)
    };
    let (device, status) = register(&phone);
    assert_eq!(status, Some(200), "{}", device.ladder());
    assert!(matches!(register(&mail).1, Some(401 | 403)), "it is for the address book");
    // The address book over CardDAV, and everything else of the web.
    let basic = |[username, password]: &[String; 2]| {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        format!("Basic {text}")
    };
    let ask = |method: &str, path: &str, of: &[String; 2]| {
        site.ask(method, path, &[("Authorization", &basic(of)), ("Depth", "0")], "").status
    };
    // A server that has just started fills its book first, and says 503 until then.
    let filled = eventually("the book is filled", || {
        Some(ask("PROPFIND", "/dav/", &mail)).filter(|status| *status != 503)
    });
    assert_eq!(filled, 207);
    assert_eq!(ask("PROPFIND", "/dav/", &phone), 401, "it is for SIP");
    for of in [&phone, &mail] {
        assert_eq!(ask("GET", "/v1/app-passwords", of), 401, "it signs nobody in to the web");
        let [username, password] = of;
        assert_eq!(problem(&site.sign_in(username, password)), "wrong-name-or-password");
        assert_eq!(problem(&site.sign_in("erin@contoso.example", password)), "wrong-name-or-password");
    }
    // Taken back, it ends what it made.
    let path = format!("/v1/app-passwords/{}", phone[0]);
    assert_eq!(site.with_token(&token, "DELETE", &path, None).status, 204);
    device.closed();
    assert!(matches!(register(&phone).1, Some(401 | 403)));
    assert_eq!(ask("PROPFIND", "/dav/", &mail), 207, "the other one stays");
}

/// From the signing request to a sign-in over TLS: no password is asked for, and none would be right.
#[test]
fn a_certificate_of_the_web_signs_a_device_in_from_outside() {
    let configuration = Configuration::new("contoso.example");
    let address = configuration.address();
    let listen = format!("[\"{address}:{PORT}\"]");
    let (home, edge) = configuration.set_in("web", "listen", &listen).behind_an_edge("contoso.example");
    let (site, outside) = (Site::of(home, address), SocketAddr::from((edge.address(), 5061)));
    let edge = edge.serve();
    site.server.add_user("erin@contoso.example");
    let token = site.token("erin@contoso.example", &site.server.account("erin").password);
    let key = rcgen::KeyPair::generate().expect("a key");
    let request = rcgen::CertificateParams::default().serialize_request(&key).expect("a request");
    let asked = json!({ "signing_request": request.pem().expect("PEM") });
    let made = json_of(&site.with_token(&token, "POST", "/v1/certificates", Some(&asked)));
    let own = Own {
        certificate: site.server.folder().join("erin-phone.pem"),
        key: site.server.folder().join("erin-phone.key"),
    };
    std::fs::write(&own.certificate, made["certificate"].as_str().expect("PEM")).expect("the folder is ours");
    std::fs::write(&own.key, key.serialize_pem()).expect("the folder is ours");
    let connect = |own: Option<&Own>, user: &str| {
        let account = site.account(user);
        let link = Link::open_tls(outside, &site.server.ca(), "access.contoso.example", own);
        Device::over(account, link.expect("the handshake asks for nothing"))
    };
    let register = |device: &Device| {
        let contact = format!("<{}>;reg-id=1;+sip.instance=\"<{}>\"", device.contact(), device.instance());
        let draft = device.register_draft(Some(contact)).header("Supported", "path, outbound");
        device.ask(draft.unanswering()).status()
    };
    let device = connect(Some(&own), "erin");
    let status = register(&device);
    assert_eq!(status, Some(200), "{}\n{}\n{}", device.ladder(), edge.log(), site.server.log());
    assert_eq!(device.ask(device.message(&device.uri(), "note").unanswering()).status(), Some(202));
    assert_eq!(register(&connect(None, "erin")), Some(401), "who shows none is asked");
    site.server.add_user("bob@contoso.example");
    assert_eq!(register(&connect(Some(&own), "bob")), Some(403), "it is hers");
    let path = format!("/v1/certificates/{}", made["sha256"].as_str().expect("a digest"));
    assert_eq!(site.with_token(&token, "DELETE", &path, None).status, 204);
    assert_eq!(register(&device), Some(401), "it signs nobody in any more: {}", device.ladder());
}

#[test]
fn people_of_the_directory_sign_in_by_every_name_and_are_refused_clearly() {
    let Some(domain) = ActiveDirectory::shared("sign-in over the web") else { return };
    let site = Site::following(&domain);
    let person = domain.person();
    site.server.replicate();
    let login = person.login.as_str();
    for name in [format!("{login}@corp.example"), format!("CORP\\{login}"), login.to_owned()] {
        let answer = site.sign_in(&name, PASSWORD);
        assert_eq!(answer.status, 200, "{name}: {answer:?}\n{}", site.server.log());
    }
    assert_eq!(problem(&site.sign_in("nobodyatall", PASSWORD)), "wrong-name-or-password");
    for (attribute, value, expected) in [
        ("userAccountControl", "514", "account-disabled"),
        // The beginning of time, and a bit.
        ("accountExpires", "10000000", "account-expired"),
        ("pwdLastSet", "0", "password-must-change"),
    ] {
        let person = domain.person();
        site.server.replicate();
        domain.replace(&person.dn, attribute, value);
        assert_eq!(problem(&site.sign_in(&person.login, "wrong")), "wrong-name-or-password", "{attribute}");
        assert_eq!(problem(&site.sign_in(&person.login, PASSWORD)), expected, "{attribute}");
    }
}

/// Twenty guesses, of which the domain would lock at five.
#[test]
fn guesses_over_the_web_lock_nobody_out_of_the_domain() {
    let Some(domain) = ActiveDirectory::shared("guesses over the web") else { return };
    let site = Site::following(&domain);
    let person = domain.person();
    site.server.replicate();
    for n in 0..20 {
        let answer = site.sign_in(&person.login, &format!("Guess-{n}"));
        let expected = if n < 3 { "wrong-name-or-password" } else { "too-many-wrong-passwords" };
        assert_eq!(problem(&answer), expected, "{n}");
    }
    let state = domain.search(&format!("(sAMAccountName={})", person.login), &["badPwdCount", "lockoutTime"]);
    assert!(state.contains("badPwdCount: 3"), "{state}");
    assert!(!state.contains("lockoutTime: 1"), "{state}");
}

/// The domain locks at five, a policy of two people at three. Whoever may read it lets two guesses pass, and whoever may not, one.
#[test]
fn guesses_lock_nobody_out_whose_password_policy_is_stricter() {
    let Some(domain) = ActiveDirectory::own("guesses at somebody with a password policy") else { return };
    let policies = format!("CN=Password Settings Container,CN=System,{}", domain.fact("BASE_DN"));
    let day = "-864000000000";
    let [strict, other, plain] = [domain.person(), domain.person(), domain.person()];
    domain.modify(&format!(
        "dn: CN=Strict,{policies}\nchangetype: add\nobjectClass: msDS-PasswordSettings\nmsDS-PasswordSettingsPrecedence: 1\n\
         msDS-PasswordReversibleEncryptionEnabled: FALSE\nmsDS-PasswordHistoryLength: 0\nmsDS-PasswordComplexityEnabled: TRUE\n\
         msDS-MinimumPasswordLength: 7\nmsDS-MinimumPasswordAge: 0\nmsDS-MaximumPasswordAge: {day}\nmsDS-LockoutThreshold: 3\n\
         msDS-LockoutObservationWindow: {day}\nmsDS-LockoutDuration: {day}\nmsDS-PSOAppliesTo: {}\nmsDS-PSOAppliesTo: {}\n",
        strict.dn, other.dn
    ));
    let guess = |site: &Site, login: &str| {
        (0..3).map(|n| problem(&site.sign_in(login, &format!("Guess-{n}")))).collect::<Vec<_>>()
    };
    let counted = |login: &str| {
        let state = domain.search(&format!("(sAMAccountName={login})"), &["badPwdCount", "lockoutTime"]);
        assert!(!state.contains("lockoutTime: 1"), "{state}");
        state.lines().find_map(|line| line.strip_prefix("badPwdCount: ").map(str::to_owned))
    };
    let (wrong, enough) = ("wrong-name-or-password", "too-many-wrong-passwords");
    let site = Site::following(&domain);
    assert_eq!(guess(&site, &plain.login), [wrong, wrong, wrong]);
    assert_eq!(guess(&site, &strict.login), [wrong, enough, enough], "{}", site.server.log());
    assert_eq!(counted(&strict.login).as_deref(), Some("1"));
    site.server.expect_log("password-policy-hidden");

    let configuration = Configuration::following(&domain);
    let address = configuration.address();
    let password = configuration.secret("administrator.password", domain.fact("ADMIN_PASSWORD"));
    let reader = format!("{}@{}", domain.fact("ADMIN"), domain.fact("DNS_DOMAIN"));
    let configuration = configuration.set_in("directory", "account", &format!("{reader:?}")).set_in(
        "directory",
        "password_file",
        &format!("{password:?}"),
    );
    let site = Site::of(configuration, address);
    site.server.replicate();
    assert_eq!(guess(&site, &other.login), [wrong, wrong, enough], "{}", site.server.log());
    assert_eq!(counted(&other.login).as_deref(), Some("2"));
    assert_eq!(site.sign_in(&strict.login, PASSWORD).status, 200, "{}", site.server.log());
}

#[test]
fn a_password_of_the_directory_is_changed() {
    let Some(domain) = ActiveDirectory::shared("a change of password over the web") else { return };
    let site = Site::following(&domain);
    let person = domain.person();
    domain.replace(&person.dn, "pwdLastSet", "0");
    site.server.replicate();
    assert_eq!(problem(&site.sign_in(&person.login, PASSWORD)), "password-must-change");
    let change = |old: &str, new: &str| {
        site.post("/v1/password", &json!({ "name": person.login, "old": old, "new": new }))
    };
    assert_eq!(problem(&change(PASSWORD, "x")), "new-password-refused");
    let changed = change(PASSWORD, "Other-Passw0rd");
    assert_eq!(changed.status, 204, "{changed:?}\n{}", site.server.log());
    assert_eq!(site.sign_in(&person.login, "Other-Passw0rd").status, 200);
}

/// kinit, then curl as a browser: no password goes over the web, nor over SIP. What it gives lasts as long as the directory wants.
#[test]
fn a_ticket_signs_a_browser_and_a_device_in_until_the_directory_ends_it() {
    if !have("kinit") || !have("curl") {
        return;
    }
    let Some(domain) = ActiveDirectory::shared("Negotiate over the web") else { return };
    let configuration = Configuration::following(&domain);
    let (address, keytab) = (configuration.address(), domain.fact("KEYTAB").to_owned());
    let configuration = configuration.set_in("sign_in", "keytab_file", &format!("{keytab:?}"));
    let (name, value) = domain.kerberos();
    let site = Site::of(configuration.environment(name, value), address);
    let person = domain.person();
    site.server.replicate();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tickets = folder.path().join("tickets");
    let mut kinit = domain.command("sh");
    kinit.args(["-c", "printf '%s\\n' \"$1\" | kinit \"$2\"", "kinit", PASSWORD, &person.login]);
    let kinit = kinit.env("KRB5CCNAME", &tickets).output().expect("kinit runs");
    assert!(kinit.status.success(), "{kinit:?}");
    let negotiate = || {
        let host = "sip.corp.example";
        let mut curl = domain.command("curl");
        curl.env("KRB5CCNAME", &tickets).args(["-sS", "-k", "--negotiate", "-u", ":", "-X", "POST"]);
        curl.args(["--resolve", &format!("{host}:{PORT}:{address}")]);
        let output =
            curl.arg(format!("https://{host}:{PORT}/v1/sign-in/negotiate")).output().expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str::<Value>(&text)
            .unwrap_or_else(|error| panic!("{error}: {text} {output:?}\n{}", site.server.log()))
    };
    let signed_in = negotiate();
    assert_eq!(signed_in["address"], person.address(), "{signed_in}");
    let first = signed_in["token"].as_str().expect("a token").to_owned();
    // RFC 8898: the device shows the token, and the renewed one when its time comes.
    let tls = site.server.address(Road::v4(Transport::Tls));
    let connect =
        || Device::connect(person.account(&person.login, ""), Transport::Tls, tls, &site.server.ca());
    let device = connect();
    assert!(seconds(&register_by(&device, &first)) <= 3600, "no longer than its token");
    let renewed = site.with_token(&first, "POST", "/v1/sign-in/renew", None);
    assert_eq!(renewed.status, 200, "{renewed:?}");
    let second = json_of(&renewed)["token"].as_str().expect("a token").to_owned();
    assert_ne!(second, first);
    assert!(seconds(&register_by(&device, &second)) <= 3600);
    let registrations = || {
        let account = site.server.account_of(&person.address()).expect("it is there");
        (account["directory"]["standing"].clone(), account["registrations"].as_array().map(Vec::len))
    };
    assert_eq!(registrations(), (json!("active"), Some(1)));
    // The account is disabled in the domain. The ticket is good for hours yet.
    domain.replace(&person.dn, "userAccountControl", "514");
    eventually_within(LIVE_WITHIN, "disabled", || (registrations().0 == "disabled").then_some(()));
    let replicated = Instant::now();
    device.closed();
    assert!(replicated.elapsed() < CUT_OFF_WITHIN, "{:?}", replicated.elapsed());
    assert_eq!(registrations().1, Some(0));
    for token in [&first, &second] {
        assert_eq!(site.with_token(token, "GET", "/v1/app-passwords", None).status, 401);
        assert_eq!(site.with_token(token, "POST", "/v1/sign-in/renew", None).status, 401);
        let back = connect();
        assert_eq!(register_by(&back, token).status(), Some(401), "{}", back.ladder());
    }
    let refused = negotiate();
    assert!(refused["type"].as_str().is_some_and(|kind| kind.ends_with("account-disabled")), "{refused}");
    // Enabled again, an old token stays over.
    domain.replace(&person.dn, "userAccountControl", "512");
    eventually_within(LIVE_WITHIN, "enabled", || (registrations().0 == "active").then_some(()));
    assert_eq!(register_by(&connect(), &second).status(), Some(401));
    let third = negotiate();
    assert_eq!(register_by(&connect(), third["token"].as_str().expect("a token")).status(), Some(200));
}
