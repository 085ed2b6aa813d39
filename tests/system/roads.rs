//! One road for each domain, and nobody on it who speaks for others: what a member tries at the hub, what a hub tries at a
//! member's edge, and how a domain moves from one road to the other.

use sip_message::{HeaderId, Message};
use system_tests::{Account, Community, Device, Member, Own, PrivateCa, eventually};

/// Outside of any dialog.
const METHODS: [&str; 6] = ["MESSAGE", "INVITE", "SUBSCRIBE", "OPTIONS", "REFER", "INFO"];

fn account(user: &str, domain: &str) -> Account {
    Account { user: user.to_owned(), password: "never-asked".to_owned(), domain: domain.to_owned() }
}

fn warning(answer: &Message) -> String {
    String::from_utf8_lossy(answer.header(HeaderId::Warning).unwrap_or_default()).into_owned()
}

/// Whatever is asked in this name, with these headers, at this border, is refused, and no reason is told.
fn is_refused(border: (&Member<'_>, &str), own: &Own, as_whom: Account, to: &str, headers: &[(&str, &str)]) {
    let liar = border.0.as_partner(border.1, own, as_whom);
    for method in METHODS {
        let mut draft = liar.draft(method, to).unanswering();
        if matches!(method, "INVITE" | "SUBSCRIBE" | "REFER") {
            draft = draft.header("Contact", format!("<{}>", liar.contact()));
        }
        draft = match method {
            "SUBSCRIBE" => draft.header("Event", "presence"),
            "REFER" => draft.header("Refer-To", "<sip:carol@contoso.example>"),
            _ => draft,
        };
        for (name, value) in headers {
            draft = draft.header(name, *value);
        }
        // It may also be cut off.
        if let Some(answer) = liar.try_ask(draft) {
            let status = answer.status().expect("an answer");
            assert!((400..700).contains(&status), "{method} of {} {headers:?} got {status}", liar.uri());
            assert!(warning(&answer).is_empty(), "a stranger is told no reason");
        }
    }
}

/// Sends a message and has it taken.
fn crosses(from: &Device, to: &Device, text: &str) {
    let sent = from.send(from.message(&to.uri(), text));
    assert_eq!(to.expect_and_answer("MESSAGE", 200).body(), text.as_bytes());
    assert_eq!(from.answer(sent).status(), Some(200), "{}", from.ladder());
}

#[test]
fn a_member_speaks_for_itself_alone_at_the_hub() {
    let community = Community::start();
    let of = |name| community.member(name);
    let (contoso, fabrikam, northwind, trade) = (of("contoso"), of("fabrikam"), of("northwind"), of("trade"));
    let (alice, bob) = (contoso.inside("alice"), fabrikam.inside("bob"));
    let own = northwind.own("access-edge");
    let hub = (&trade, "clearinghouse");
    let to = alice.uri();
    // For another member, for whom it writes to, for nobody's domain, and for the hub itself.
    for domain in ["fabrikam.example", "contoso.example", "litware.example", "trade.example"] {
        is_refused(hub, &own, account("bob", domain), &to, &[]);
    }
    // What only servers of one organisation say to each other.
    let forged = [
        ("Chancery-Origin", "partner;domain=northwind.example;mode=direct;edge=edge.contoso.example"),
        ("P-Asserted-Identity", "<sip:bob@fabrikam.example>"),
    ];
    for header in forged {
        is_refused(hub, &own, northwind.account("nina"), &to, &[header]);
    }
    // To who is no member, to itself, and to the hub's own name.
    for domain in ["litware.example", "northwind.example", "hub.trade.example"] {
        is_refused(hub, &own, northwind.account("nina"), &format!("sip:lee@{domain}"), &[]);
    }
    // Somebody whom the hub does not know, and somebody whom nobody knows.
    let stranger = PrivateCa::new("CA of litware").issue(
        &trade.dir("clearinghouse"),
        "litware",
        &["edge.northwind.example", "access.northwind.example", "sip:northwind.example"],
    );
    is_refused(hub, &stranger, northwind.account("nina"), &to, &[]);
    for device in [&alice, &bob] {
        device.expect_none("MESSAGE");
        device.expect_none("INVITE");
    }
    // And in its own name it is heard. Which member that is, the hub says, whatever the member does.
    let nina = trade.as_partner("clearinghouse", &own, northwind.account("nina"));
    for said in [None, Some("fabrikam.example"), Some("contoso.example")] {
        let draft = nina.message(&to, "it is me");
        let sent = nina.send(match said {
            Some(member) => draft.header("Chancery-Member", member),
            None => draft,
        });
        let arrived = alice.expect_and_answer("MESSAGE", 200);
        assert_eq!(arrived.body(), b"it is me");
        assert_eq!(arrived.from().expect("From").uri.as_str(), "sip:nina@northwind.example");
        assert_eq!(nina.answer(sent).status(), Some(200), "{}", nina.ladder());
    }
}

#[test]
fn a_hub_speaks_for_its_members_alone() {
    let community = Community::start();
    let of = |name| community.member(name);
    let (contoso, northwind, trade) = (of("contoso"), of("northwind"), of("trade"));
    let alice = contoso.inside("alice");
    let own = trade.own("clearinghouse");
    let edge = (&contoso, "access-edge");
    let to = alice.uri();
    let member = |domain| [("Chancery-Member", domain)];
    // For a domain with a direct road, for us, for who is no member: with the header that says so, and without it.
    for domain in ["fabrikam.example", "contoso.example", "litware.example"] {
        is_refused(edge, &own, account("bob", domain), &to, &member(domain));
        is_refused(edge, &own, account("bob", domain), &to, &[]);
        is_refused(edge, &own, account("bob", domain), &to, &member("northwind.example"));
    }
    // For a member without saying it, for another one than From is of, twice, and with an origin of its own.
    is_refused(edge, &own, northwind.account("nina"), &to, &[]);
    is_refused(edge, &own, northwind.account("nina"), &to, &member("fabrikam.example"));
    let twice = [member("northwind.example"), member("northwind.example")].concat();
    is_refused(edge, &own, northwind.account("nina"), &to, &twice);
    let origin =
        ("Chancery-Origin", "partner;domain=northwind.example;mode=direct;edge=edge.contoso.example");
    let both = [("Chancery-Member", "northwind.example"), origin];
    is_refused(edge, &own, northwind.account("nina"), &to, &both);
    alice.expect_none("MESSAGE");
    alice.expect_none("INVITE");
    // And for its member it is heard.
    let nina = contoso.as_partner("access-edge", &own, northwind.account("nina"));
    let sent = nina.send(nina.message(&to, "vouched for").header("Chancery-Member", "northwind.example"));
    let arrived = alice.expect_and_answer("MESSAGE", 200);
    assert_eq!(arrived.body(), b"vouched for");
    assert!(arrived.header_named("Chancery-Member").is_none());
    assert_eq!(nina.answer(sent).status(), Some(200), "{}", nina.ladder());
}

/// The entry that gives `other` a direct road.
fn direct(other: &Member<'_>) -> String {
    let host = other.outside_host("access-edge");
    format!(
        "\n[[partner]]\ndomain = \"{}\"\nmode = \"direct\"\nnext_hop = \"{host}:5061\"\nauthority_file = \"{}\"\n",
        other.domain(),
        other.ca().display()
    )
}

/// How many messages the hub has seen.
fn through_the_hub(trade: &Member<'_>) -> String {
    let metrics = trade.metrics("clearinghouse");
    let line =
        metrics.lines().find(|line| line.starts_with("chancery_sip_requests_total{method=\"MESSAGE\"}"));
    line.and_then(|line| line.split_whitespace().last()).unwrap_or("0").to_owned()
}

#[test]
fn a_domain_moves_from_the_hub_to_a_direct_road_and_back() {
    let community = Community::start();
    let of = |name| community.member(name);
    let (contoso, northwind, trade) = (of("contoso"), of("northwind"), of("trade"));
    let (alice, nina) = (contoso.inside("alice"), northwind.inside("nina"));
    crosses(&alice, &nina, "through the hub");
    crosses(&nina, &alice, "and back");
    assert_eq!(through_the_hub(&trade), "2");
    // One entry at ours. Nothing is started again; what still comes by the old road comes by the wrong one.
    let mut before = String::new();
    contoso.edit_policy("access-edge", |text| {
        text.clone_into(&mut before);
        text.to_owned() + &direct(&northwind)
    });
    contoso.reload("access-edge");
    let late = nina.ask(nina.message(&alice.uri(), "by the old road"));
    assert_eq!(late.status(), Some(403), "{}", nina.ladder());
    eventually("the edge says why", || {
        contoso.log("access-edge").contains("code=\"wrong-road\"").then_some(())
    });
    // And ours do not get there by the new one before they have agreed.
    let early = alice.ask(alice.message(&nina.uri(), "by the new road"));
    assert!(early.status().is_some_and(|status| status >= 400), "{}", alice.ladder());
    let seen = through_the_hub(&trade);
    northwind.edit_policy("access-edge", |text| text.to_owned() + &direct(&contoso));
    northwind.reload("access-edge");
    crosses(&alice, &nina, "directly");
    crosses(&nina, &alice, "and back again");
    assert_eq!(through_the_hub(&trade), seen, "the hub has seen none of it");
    // Back on the hub, on one side and then on the other.
    contoso.edit_policy("access-edge", |_| before);
    contoso.reload("access-edge");
    assert_eq!(nina.ask(nina.message(&alice.uri(), "too late")).status(), Some(403), "{}", nina.ladder());
    northwind.edit_policy("access-edge", |text| text.replace(&direct(&contoso), ""));
    northwind.reload("access-edge");
    crosses(&alice, &nina, "through the hub once more");
    crosses(&nina, &alice, "as before");
}
