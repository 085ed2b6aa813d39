//! The verdict, by example and by property.

use proptest::prelude::*;

use super::*;
use crate::modality::Modality;
use crate::origin::FromProof;

/// 2026-11-22T08:00:00Z.
pub(super) const NOW: UnixMillis = UnixMillis(1_795_334_400_000);

/// One entry of each kind.
pub(super) fn policy() -> Policy {
    let pin = hex::encode([9; 32]);
    let text = format!(
        r#"
            [[partner]]
            domain = "fabrikam.example"
            next_hop = "edge.fabrikam.example:5061"
            rate = 20
            [[partner]]
            domain = "bydomain.example"
            certificate = "domain"
            [[partner]]
            domain = "pinned.example"
            next_hop = "192.0.2.7:5061"
            certificate = "sha256:{pin}"
            [[partner]]
            domain = "private.example"
            next_hop = "edge.private.example"
            authority_file = "private.pem"
            [[partner]]
            domain = "limited.example"
            next_hop = "edge.limited.example"
            [[partner]]
            domain = "moved.example"
            mode = "clearinghouse"
            via = "hub.trade.example"
            next_hop = "edge.moved.example"
            rate = 5
            [[partner]]
            domain = "blocked.example"
            mode = "blocked"
            next_hop = "edge.blocked.example"
            [[partner]]
            domain = "expired.example"
            next_hop = "edge.expired.example"
            expires = 2026-11-21
            [[partner]]
            domain = "member.example"
            mode = "member"
            next_hop = "edge.member.example"

            [[clearinghouse]]
            name = "hub.trade.example"
            members = ["northwind.example", "limited.example", "bad.example", "someone.example"]
            [[clearinghouse]]
            name = "hub.old.example"
            vouches = "member-list"
            members = ["legacy.example"]

            [block]
            domains = ["bad.example"]
        "#
    );
    Policy::parse(&text, &["contoso.example"]).unwrap()
}

pub(super) fn certificate(name: &str, anchors: Anchors) -> PeerCertificate {
    PeerCertificate {
        sip_domains: vec![name.into()],
        dns_names: vec![name.into()],
        ip_addresses: vec![],
        sha256: [0; 32],
        not_after: NOW,
        trusted_by: vec![anchors],
        distrust: String::new(),
    }
}

/// What an honest partner shows: the name of its edge and of its domain, of its own CA where the policy says so.
pub(super) fn certificate_of(domain: &str) -> PeerCertificate {
    let anchors = match domain {
        "private.example" => Anchors::Partner(domain.into()),
        _ => Anchors::Partners,
    };
    PeerCertificate {
        dns_names: vec![format!("edge.{domain}")],
        sha256: if domain == "pinned.example" { [9; 32] } else { [1; 32] },
        ..certificate(domain, anchors)
    }
}

/// A message between us and nobody in particular.
pub(super) fn say(direction: Direction) -> Facts<'static> {
    Facts {
        direction,
        local: "contoso.example",
        remote: "fabrikam.example",
        modalities: Modality::Im.into(),
        method: Method::Message,
        within_dialog: false,
    }
}

fn refused(policy: &Policy, provenance: &Provenance<'_>, facts: &Facts<'_>) -> Reason {
    judge(policy, provenance, facts, NOW).into_result().expect_err("refused").reason
}

#[test]
fn a_road_says_what_the_edge_says_inside() {
    let policy = policy();
    let own = certificate_of("fabrikam.example");
    let provenance = Provenance::Outside { certificate: Some(&own), member: None };
    let facts = Facts { remote: "FABRIKAM.example.", ..say(Direction::Inbound) };
    let road = judge(&policy, &provenance, &facts, NOW).into_result().unwrap();
    let origin = road.origin("edge.contoso.example", FromProof::Domain).to_string();
    assert_eq!(origin, "partner;domain=fabrikam.example;mode=direct;edge=edge.contoso.example");
    assert_eq!(road.budgets[..], [Budget { name: "fabrikam.example".into(), per_second: 20 }]);

    let hub = certificate("hub.trade.example", Anchors::Partners);
    let member = Member::new("moved.example");
    let provenance = Provenance::Outside { certificate: Some(&hub), member: member.as_ref() };
    let facts = Facts { remote: "moved.example", ..say(Direction::Inbound) };
    let road = judge(&policy, &provenance, &facts, NOW).into_result().unwrap();
    let origin = road.origin("edge.contoso.example", FromProof::Domain).to_string();
    assert_eq!(
        origin,
        "partner;domain=moved.example;mode=clearinghouse;hub=hub.trade.example;edge=edge.contoso.example"
    );
    let budgets: Vec<_> = road.budgets.iter().map(|budget| (&*budget.name, budget.per_second)).collect();
    assert_eq!(budgets, [("hub.trade.example", 100), ("moved.example", 5)]);
}

#[test]
fn moving_a_domain_is_one_line() {
    let text = |mode: &str| {
        format!(
            "[[clearinghouse]]\nname = \"hub.trade.example\"\n[[partner]]\ndomain = \"n.example\"\nmode = \"{mode}\"\n\
             next_hop = \"edge.n.example\"\n"
        )
    };
    let own = certificate_of("n.example");
    let hub = certificate("hub.trade.example", Anchors::Partners);
    let member = Member::new("n.example");
    for (mode, roads) in [("direct", [true, false]), ("clearinghouse", [false, true])] {
        let policy = Policy::parse(&text(mode), &["contoso.example"]).unwrap();
        let facts = Facts { remote: "n.example", ..say(Direction::Inbound) };
        let directly = Provenance::Outside { certificate: Some(&own), member: None };
        let through = Provenance::Outside { certificate: Some(&hub), member: member.as_ref() };
        let allowed = [directly, through].map(|p| judge(&policy, &p, &facts, NOW).into_result());
        assert_eq!(allowed.each_ref().map(Result::is_ok), roads, "{mode}");
        let [direct, through] = allowed;
        let refusal = direct.err().or(through.err()).unwrap();
        assert_eq!(refusal.reason.code(), "wrong-road");
        let facts = Facts { remote: "n.example", ..say(Direction::Outbound) };
        let road = judge(&policy, &Provenance::Inside, &facts, NOW).into_result().unwrap();
        assert_eq!(road.mode.name(), mode);
    }
}

#[test]
fn the_right_name_from_another_partners_own_ca_proves_nothing() {
    let policy = policy();
    let mut forged = certificate_of("fabrikam.example");
    forged.trusted_by = vec![Anchors::Partner("private.example".into())];
    let provenance = Provenance::Outside { certificate: Some(&forged), member: None };
    assert_eq!(refused(&policy, &provenance, &say(Direction::Inbound)).code(), "not-proved");
    assert!(identify(&policy, &forged).is_nobody());
    // Nor does the right name of the partner with its own CA from the anchors of all.
    let public = certificate("edge.private.example", Anchors::Partners);
    let provenance = Provenance::Outside { certificate: Some(&public), member: None };
    let facts = Facts { remote: "private.example", ..say(Direction::Inbound) };
    assert_eq!(refused(&policy, &provenance, &facts).code(), "not-proved");
}

#[test]
fn a_member_header_is_worth_nothing_from_a_partner() {
    let policy = policy();
    let own = certificate_of("fabrikam.example");
    let member = Member::new("northwind.example");
    let provenance = Provenance::Outside { certificate: Some(&own), member: member.as_ref() };
    let facts = Facts { remote: "northwind.example", ..say(Direction::Inbound) };
    assert_eq!(refused(&policy, &provenance, &facts).code(), "not-proved");
    assert!(
        judge(&policy, &provenance, &say(Direction::Inbound), NOW).into_result().is_ok(),
        "nor does it harm"
    );
}

#[test]
fn what_does_not_end_with_us_is_not_passed_on() {
    let policy = policy();
    let own = certificate_of("fabrikam.example");
    let provenance = Provenance::Outside { certificate: Some(&own), member: None };
    let facts = Facts { local: "limited.example", ..say(Direction::Inbound) };
    assert_eq!(refused(&policy, &provenance, &facts).code(), "relay");
    let facts = Facts { local: "limited.example", ..say(Direction::Outbound) };
    assert_eq!(refused(&policy, &Provenance::Inside, &facts).code(), "relay");
    assert_eq!(
        refused(&policy, &provenance, &say(Direction::Outbound)).code(),
        "relay",
        "from outside to outside"
    );
    assert_eq!(refused(&policy, &Provenance::Inside, &say(Direction::Inbound)).code(), "relay");
}

#[test]
fn registrations_and_publications_stay_at_home() {
    let policy = policy();
    for method in [Method::Register, Method::Publish] {
        let facts = Facts { method, ..say(Direction::Outbound) };
        let refusal = judge(&policy, &Provenance::Inside, &facts, NOW).into_result().unwrap_err();
        assert_eq!((refusal.status, refusal.reason.code()), (405, "method"));
    }
}

#[test]
fn a_picture_alone_is_refused_so_that_the_call_can_do_without() {
    let text = "[[partner]]\ndomain = \"f.example\"\nnext_hop = \"e.f.example\"\nmodalities = [\"audio\"]";
    let policy = Policy::parse(text, &["contoso.example"]).unwrap();
    let both = Modalities::from(Modality::Audio) | Modality::Video.into();
    let facts = Facts { remote: "f.example", modalities: both, ..say(Direction::Outbound) };
    let refusal = judge(&policy, &Provenance::Inside, &facts, NOW).into_result().unwrap_err();
    assert_eq!(
        (refusal.status, refusal.reason.for_user()),
        (488, "Not allowed with f.example: video".to_owned())
    );
}

#[test]
fn an_empty_policy_allows_nobody() {
    let policy = Policy::parse("", &["contoso.example"]).unwrap();
    assert!(policy.allows_nobody());
    let own = certificate_of("fabrikam.example");
    let provenance = Provenance::Outside { certificate: Some(&own), member: None };
    assert_eq!(refused(&policy, &provenance, &say(Direction::Inbound)).code(), "unlisted");
    assert_eq!(refused(&policy, &Provenance::Inside, &say(Direction::Outbound)).code(), "unlisted");
    let none = Policy::default();
    assert_eq!(refused(&none, &provenance, &say(Direction::Inbound)).code(), "unlisted");
}

#[test]
fn identify_names_everybody_whom_a_certificate_proves() {
    let policy = policy();
    let names = |certificate: &PeerCertificate| {
        let proved = identify(&policy, certificate);
        let partners = proved.partners.iter().map(|partner| partner.domain.to_string());
        partners.chain(proved.hubs.iter().map(|hub| format!("hub {}", hub.name))).collect::<Vec<_>>()
    };
    assert_eq!(names(&certificate_of("fabrikam.example")), ["fabrikam.example"]);
    assert_eq!(names(&certificate_of("bydomain.example")), ["bydomain.example"]);
    assert_eq!(names(&certificate_of("pinned.example")), ["pinned.example"]);
    assert_eq!(names(&certificate_of("private.example")), ["private.example"]);
    assert_eq!(names(&certificate("hub.trade.example", Anchors::Partners)), ["hub hub.trade.example"]);
    assert_eq!(names(&certificate_of("moved.example")), Vec::<String>::new(), "its road is the hub's");
    assert_eq!(names(&certificate_of("blocked.example")), Vec::<String>::new());
    let mut both = certificate_of("fabrikam.example");
    both.dns_names.push("edge.limited.example".into());
    assert_eq!(names(&both), ["fabrikam.example", "limited.example"]);
}

#[test]
fn texts_for_users_fit_a_warning() {
    for reason in super::reason::examples() {
        let text = reason.for_user();
        assert!(text.is_ascii() && !text.contains(['"', '\\']) && !text.ends_with('.'), "{text}");
        assert!(!reason.to_string().is_empty() && !reason.mend().is_empty());
    }
    let codes: Vec<_> = super::reason::examples().iter().map(Reason::code).collect();
    assert_eq!(codes, Reason::CODES);
}

fn any_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a.example",
        "b.example",
        "c.example",
        "d.example",
        "contoso.example",
        "hub.example",
        "other.example",
        "x..y",
    ])
}

fn any_certificate() -> impl Strategy<Value = PeerCertificate> {
    let names = prop::collection::vec(
        prop::sample::select(vec![
            "edge.a.example",
            "edge.b.example",
            "c.example",
            "d.example",
            "hub.example",
            "other.example",
        ]),
        0..3,
    );
    let anchors = prop::collection::vec(
        prop::sample::select(vec![Anchors::Partners, Anchors::Servers, Anchors::Partner("a.example".into())]),
        0..2,
    );
    (names, anchors, 0u8..3).prop_map(|(names, trusted_by, pin)| PeerCertificate {
        sip_domains: names.iter().map(|n| n.to_string()).collect(),
        dns_names: names.iter().map(|n| n.to_string()).collect(),
        sha256: [pin; 32],
        trusted_by,
        ..certificate("", Anchors::Partners)
    })
}

/// A policy of random lines about a few names.
fn any_policy() -> impl Strategy<Value = Policy> {
    let modes = prop::sample::select(vec!["direct", "clearinghouse", "blocked", "member"]);
    let rule = prop::sample::select(vec![
        "fqdn",
        "domain",
        "sha256:0101010101010101010101010101010101010101010101010101010101010101",
    ]);
    let direction = prop::sample::select(vec!["both", "in", "out"]);
    let entry = (modes, rule, direction, any::<bool>());
    let entries = prop::collection::vec(prop::option::of(entry), 4..=4);
    let blocked = prop::collection::btree_set(prop::sample::select(vec!["a.example", "other.example"]), 0..2);
    (entries, any::<bool>(), any::<bool>(), blocked).prop_map(|(entries, lists, discovery, blocked)| {
        let mut text = String::new();
        for (name, entry) in ["a", "b", "c", "d"].iter().zip(entries) {
            let Some((mode, rule, direction, is_private)) = entry else { continue };
            text += &format!(
                "[[partner]]\ndomain = \"{name}.example\"\nmode = \"{mode}\"\ncertificate = \"{rule}\"\n"
            );
            text += &format!("next_hop = \"edge.{name}.example\"\ndirection = \"{direction}\"\n");
            if is_private {
                text += "authority_file = \"ca.pem\"\n";
            }
        }
        let members = if lists { "\"a.example\", \"other.example\"" } else { "" };
        text += &format!("[[clearinghouse]]\nname = \"hub.example\"\nmembers = [{members}]\n");
        let blocked: Vec<String> = blocked.iter().map(|name| format!("{name:?}")).collect();
        text += &format!("[discovery]\nenabled = {discovery}\n[block]\ndomains = [{}]\n", blocked.join(", "));
        Policy::parse(&text, &["contoso.example"]).expect("a policy")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the policy says: a request is let in only where the certificate meets what the outbound road expects.
    #[test]
    fn the_way_in_proves_what_the_way_out_expects(
        policy in any_policy(),
        certificate in prop::option::of(any_certificate()),
        remote in any_name(),
        said in prop::option::of(any_name()),
    ) {
        let member = said.and_then(Member::new);
        let provenance = Provenance::Outside { certificate: certificate.as_ref(), member: member.as_ref() };
        let facts = Facts { remote, within_dialog: true, ..say(Direction::Inbound) };
        let inbound = judge(&policy, &provenance, &facts, NOW).into_result();
        let facts = Facts { direction: Direction::Outbound, ..facts };
        let outbound = judge(&policy, &Provenance::Inside, &facts, NOW).into_result();
        if let Ok(road) = inbound {
            prop_assert!(road.hop.expected.is_met_by(certificate.as_ref()).is_ok());
            prop_assert!(!policy.is_local(remote) && !policy.blocked().iter().any(|blocked| blocked == remote));
            if road.mode == Mode::Clearinghouse {
                prop_assert_eq!(member.as_ref().map(Member::domain), Some(remote));
            }
            let outbound = outbound.expect("what comes in within a dialog may be answered");
            prop_assert_eq!((road.mode, road.hub, road.hop), (outbound.mode, outbound.hub, outbound.hop));
        }
    }

    /// At most one road leads from one domain to us, whichever certificates somebody has.
    #[test]
    fn one_domain_one_road(policy in any_policy(), certificates in prop::collection::vec(any_certificate(), 8), remote in any_name()) {
        let member = Member::new(remote);
        let facts = Facts { remote, ..say(Direction::Inbound) };
        let mut roads = certificates.iter().filter_map(|certificate| {
            let provenance = Provenance::Outside { certificate: Some(certificate), member: member.as_ref() };
            judge(&policy, &provenance, &facts, NOW).into_result().ok().map(|road| (road.mode, road.hub, road.hop))
        });
        if let Some(first) = roads.next() {
            prop_assert!(roads.all(|road| road == first));
        }
    }

    /// What identify says and what judge lets in agree.
    #[test]
    fn whom_a_connection_proves_may_speak(policy in any_policy(), certificate in any_certificate(), remote in any_name()) {
        let provenance = Provenance::Outside { certificate: Some(&certificate), member: None };
        let facts = Facts { remote, within_dialog: true, ..say(Direction::Inbound) };
        let proved = identify(&policy, &certificate);
        let is_named = proved.partners.iter().any(|p| &*p.domain == remote && p.mode == PartnerMode::Direct)
            || proved.discovered.iter().any(|domain| domain == remote);
        let is_blocked = policy.blocked().iter().any(|blocked| blocked == remote);
        prop_assert_eq!(judge(&policy, &provenance, &facts, NOW).into_result().is_ok(), is_named && !is_blocked);
    }
}

/// The manual's table of refusals is the enum's.
#[test]
fn the_manual_tells_every_refusal() {
    let manual = include_str!("../../../../docs/federation.md");
    let mut table =
        "| word | status | what the operator reads | mend | what our user reads |\n|---|---|---|---|---|\n"
            .to_owned();
    for reason in super::reason::examples() {
        let (code, status, mend, user) = (reason.code(), reason.status(), reason.mend(), reason.for_user());
        table += &format!("| `{code}` | {status} | {reason} | {mend} | {user} |\n");
    }
    let kept = manual.split("<!-- refusals: kept by a test of the crate `federation` -->\n").nth(1);
    let kept = kept.and_then(|rest| rest.split("<!-- end of refusals -->").next()).expect("the marks");
    assert!(kept == table, "between the marks of docs/federation.md belongs:\n{table}");
}

/// So is its table of keys.
#[test]
fn the_manual_tells_every_key() {
    let manual = include_str!("../../../../docs/federation.md");
    for (section, keys) in crate::policy::KEYS {
        let heading =
            manual.lines().position(|line| line.starts_with('#') && line.contains(&format!("[{section}]")));
        let below =
            manual.lines().skip(heading.expect(section) + 1).take_while(|line| !line.starts_with('#'));
        let rows: Vec<&str> = below.filter_map(|line| line.strip_prefix('|')?.split('|').next()).collect();
        for key in *keys {
            assert!(rows.iter().any(|row| row.contains(&format!("`{key}`"))), "{section}.{key} is missing");
        }
    }
}
