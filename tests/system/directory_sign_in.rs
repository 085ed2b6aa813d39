//! Signing in with what the directory knows: passwords, and what phones need; and being cut off when it says so. Tickets: `web`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use system_tests::{
    ActiveDirectory, Configuration, Device, Family, Https, HttpsAnswer, LIVE_WITHIN, Road, Server, Transport,
    eventually_within,
};

const WHAT: &str = "sign-in with Active Directory";
/// How soon somebody is cut off whose change was replicated.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(5);

fn post(server: &Server, path: &str, token: Option<&str>, body: &Value) -> HttpsAnswer {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(authorization.as_deref().map(|value| ("Authorization", value)));
    Https::connect(server.web(), &server.ca()).ask("POST", path, &headers, &body.to_string())
}

fn get(server: &Server, path: &str, token: &str) -> HttpsAnswer {
    let authorization = format!("Bearer {token}");
    Https::connect(server.web(), &server.ca()).ask("GET", path, &[("Authorization", &authorization)], "")
}

fn parsed(answer: &HttpsAnswer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn sign_in(server: &Server, name: &str, password: &str) -> HttpsAnswer {
    post(server, "/v1/sign-in", None, &json!({ "name": name, "password": password }))
}

fn token(server: &Server, name: &str, password: &str) -> String {
    let answer = sign_in(server, name, password);
    assert_eq!(answer.status, 200, "{answer:?}\n{}", server.log());
    parsed(&answer)["token"].as_str().expect("a token").to_owned()
}

/// The end of a problem's type.
fn problem(answer: &HttpsAnswer) -> String {
    let kind = parsed(answer)["type"].as_str().expect("a type").to_owned();
    kind.rsplit('/').next().expect("it has an end").to_owned()
}

#[test]
fn passwords_of_the_domain_sign_in_and_each_refusal_is_told() {
    let Some(domain) = ActiveDirectory::own(WHAT) else { return };
    let server = Configuration::following(&domain).serve();
    server.replicate();
    let password = domain.fact("USER_PASSWORD");
    for name in ["alice@corp.example", "CORP\\alice", "alice"] {
        let answer = sign_in(&server, name, password);
        assert_eq!(answer.status, 200, "{name}: {answer:?}\n{}", server.log());
        assert_eq!(parsed(&answer)["address"], "alice@corp.example");
    }
    assert_eq!(problem(&sign_in(&server, "alice@corp.example", "wrong")), "wrong-name-or-password");
    assert_eq!(problem(&sign_in(&server, "alice@corp.example", "")), "empty-password");
    let states = [("pwexpired", "password-expired"), ("mustchange", "password-must-change")];
    for (login, expected) in states {
        assert_eq!(
            problem(&sign_in(&server, &format!("{login}@corp.example"), password)),
            expected,
            "{login}"
        );
    }
    for login in ["disabled", "lockedout", "acctexpired"] {
        let answer = sign_in(&server, &format!("{login}@corp.example"), password);
        assert_eq!(answer.status, 403, "{login}: {answer:?}");
    }
}

#[test]
fn a_password_that_has_expired_is_changed_by_its_owner() {
    let Some(domain) = ActiveDirectory::own(WHAT) else { return };
    let server = Configuration::following(&domain).serve();
    server.replicate();
    let old = domain.fact("USER_PASSWORD");
    for (login, expected) in [("pwexpired", "password-expired"), ("mustchange", "password-must-change")] {
        let name = format!("{login}@corp.example");
        let change = |old: &str, new: &str| {
            post(&server, "/v1/password", None, &json!({ "name": name, "old": old, "new": new }))
        };
        assert_eq!(problem(&sign_in(&server, &name, old)), expected);
        assert!(change("Not-It-Passw0rd", "Other-Passw0rd-1").status >= 400, "only who knows the old one");
        assert!(change(old, "short").status >= 400, "only as the domain's rules have it");
        let answer = change(old, "Other-Passw0rd-1");
        assert_eq!(answer.status, 204, "{login}: {answer:?}\n{}", server.log());
        let answer = sign_in(&server, &name, "Other-Passw0rd-1");
        assert_eq!(answer.status, 200, "{login}: {answer:?}\n{}", server.log());
    }
}

#[test]
fn an_app_password_registers_a_device_that_is_cut_off_with_its_owner() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let server = Configuration::following(&domain).serve();
    server.replicate();
    let person = domain.person();
    let address = person.address();
    eventually_within(LIVE_WITHIN, "a new person", || server.account_of(&address));
    let token = token(&server, &address, &person.password);
    let made =
        post(&server, "/v1/app-passwords", Some(&token), &json!({ "label": "desk phone", "purpose": "sip" }));
    assert!((200..300).contains(&made.status), "{made:?}");
    let made = parsed(&made);
    let text = |key: &str| made[key].as_str().unwrap_or_else(|| panic!("{key} in {made}")).to_owned();
    let road = Road { transport: Transport::Tls, family: Family::V4 };
    let device = connect(&server, &person, road);
    device.sign_in_as(&text("username"), &text("password"));
    assert_eq!(device.register("").status(), Some(200), "{}", device.ladder());
    domain.replace(&person.dn, "userAccountControl", "514");
    let disabled = eventually_within(LIVE_WITHIN, "disabled", || {
        server.account_of(&address).filter(|account| account["directory"]["standing"] == "disabled")
    });
    let replicated = Instant::now();
    device.closed();
    assert!(replicated.elapsed() < CUT_OFF_WITHIN, "{:?}", replicated.elapsed());
    assert_eq!(disabled["registrations"].as_array().map(Vec::len), Some(0), "{disabled}");
    // The token is over, and the app password is gone for good.
    assert_eq!(get(&server, "/v1/app-passwords", &token).status, 401);
    domain.replace(&person.dn, "userAccountControl", "512");
    eventually_within(LIVE_WITHIN, "enabled", || {
        server.account_of(&address).filter(|account| account["directory"]["standing"] == "active")
    });
    let back = connect(&server, &person, road);
    back.sign_in_as(&text("username"), &text("password"));
    assert_ne!(back.ask(back.register_draft(None)).status(), Some(200), "{}", back.ladder());
}

fn connect(server: &Server, person: &system_tests::Person, road: Road) -> Device {
    let account = person.account(&person.login, "");
    Device::connect(account, road.transport, server.address(road), &server.ca())
}

#[test]
fn the_address_book_is_read_with_a_token() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let server = Configuration::following(&domain).serve();
    server.replicate();
    let person = domain.person();
    eventually_within(LIVE_WITHIN, "a new person", || server.account_of(&person.address()));
    let token = token(&server, &person.address(), &person.password);
    let found = eventually_within(LIVE_WITHIN, "a search", || {
        let found = get(&server, "/v1/address-book/search?q=garc", &token);
        (found.status == 200 && found.body.contains("grace@corp.example")).then_some(found)
    });
    assert!(found.body.contains("Grace"), "{found:?}");
    let whole = get(&server, "/v1/address-book", &token);
    assert_eq!(whole.status, 200, "{whole:?}");
    let tag = whole.header("etag").expect("a tag").to_owned();
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str()), ("If-None-Match", tag.as_str())];
    let same = Https::connect(server.web(), &server.ca()).ask("GET", "/v1/address-book", &headers, "");
    // Other tests change the directory meanwhile: then there is a newer one.
    assert!(same.status == 304 || same.header("etag") != Some(tag.as_str()), "{same:?}");
    let (code, cards) = server.command(&["addressbook", "export"]);
    assert_eq!(code, 0);
    assert!(cards.contains("FN:Grace García"), "{cards}");
}
