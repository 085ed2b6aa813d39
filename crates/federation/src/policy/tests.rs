//! Reading the policy: every key, every fault.

use expect_test::{Expect, expect};

use super::*;
use crate::modality::Modality;

const FULL: &str = r#"
# Whom Contoso talks with.
[[partner]]
domain = "Fabrikam.example"
mode = "direct"
next_hop = "edge.fabrikam.example:5061"
certificate = "fqdn"
authority_file = "fabrikam-ca.pem"
modalities = ["presence", "im"]
direction = "in"
rate = 20
owner = "Alice"
reason = "the joint venture"
expires = 2027-01-31

[[partner]]
domain = "litware.example"
certificate = "domain"

[[partner]]
domain = "adatum.example"
mode = "clearinghouse"

[[clearinghouse]]
name = "hub.trade.example"
next_hop = "10.0.0.1:443"
vouches = "member-list"
certificate = "sha256:AB:CDabababababababababababababababababababababababababababababab"
authority_file = ""
members = ["northwind.example", "fabrikam.example"]
modalities = ["im"]

[discovery]
enabled = true
modalities = ["im"]
direction = "out"

[block]
domains = ["bad.example", "northwind.example"]
"#;

fn read(text: &str) -> Policy {
    Policy::parse(text, &["contoso.example", "Emea.contoso.example"]).unwrap()
}

fn check(text: &str, expected: Expect) {
    let error = Policy::parse(text, &["contoso.example"]).expect_err("wrong");
    expected.assert_eq(&format!("{error}\n"));
}

#[test]
fn every_key() {
    let policy = read(FULL);
    let [fabrikam, litware, adatum] = policy.partners() else { panic!("three partners") };
    assert_eq!((&*fabrikam.domain, fabrikam.line), ("fabrikam.example", 3));
    let terms = &fabrikam.terms;
    assert_eq!(terms.modalities, Modalities::from(Modality::Presence) | Modality::Im.into());
    assert_eq!((terms.allows, terms.rate_per_second), (Allows::Inbound, 20));
    assert_eq!((&*terms.owner, &*terms.reason), ("Alice", "the joint venture"));
    assert_eq!(terms.expires, Date::new(2027, 1, 31));
    assert!(
        !terms.has_expired(UnixMillis(1_801_439_999_999)) && terms.has_expired(UnixMillis(1_801_440_000_000))
    );
    let expected = &fabrikam.server.as_ref().unwrap().hop.expected;
    assert_eq!(expected.anchors, Anchors::Partner("fabrikam.example".into()));
    let hop = &litware.server.as_ref().unwrap().hop;
    assert_eq!(hop.place, Place::Service("_sipfederationtls._tcp.litware.example".into()));
    assert_eq!(hop.expected.proof, Proof::Domain("litware.example".into()));
    assert_eq!(adatum.mode, PartnerMode::Clearinghouse("hub.trade.example".into()), "the only hub is meant");
    let [hub] = policy.clearinghouses() else { panic!("one hub") };
    assert_eq!(hub.vouches, Vouches::MemberList);
    assert_eq!(hub.server.hop.place, Place::Host { name: "10.0.0.1".into(), port: 443 });
    assert!(matches!(hub.server.hop.expected.proof, Proof::Pin(pin) if pin[..3] == [0xab, 0xcd, 0xab]));
    assert_eq!(hub.server.authority_file, None);
    assert!(policy.discovery().enabled && policy.discovery().allows == Allows::Outbound);
    let files: Vec<_> = policy.authority_files().collect();
    assert_eq!(files, [(Anchors::Partner("fabrikam.example".into()), "fabrikam-ca.pem")]);
    assert!(policy.is_local("EMEA.contoso.example."));

    assert!(matches!(policy.standing("northwind.example"), Standing::Blocked(None)));
    assert!(
        matches!(policy.standing("fabrikam.example"), Standing::Own(..)),
        "an own entry beats a hub's list"
    );
    assert!(matches!(policy.standing("adatum.example"), Standing::Through(_, Some(_))));
    assert!(matches!(policy.standing("contoso.example"), Standing::Ours));
    assert!(matches!(policy.standing("other.example"), Standing::Unlisted));
}

#[test]
fn every_key_of_the_table_is_read() {
    for (section, keys) in KEYS {
        for key in *keys {
            // A value of a type that no key has: whoever reads the key complains.
            let section_text = match *section {
                "partner" | "clearinghouse" => format!("[[{section}]]\n{key} = 1.5\n"),
                _ => format!("[{section}]\n{key} = 1.5\n"),
            };
            let error = Policy::parse(&section_text, &["contoso.example"]).expect_err(key);
            let name = format!("{section}.{key}");
            assert!(error.0.iter().any(|problem| problem.key == name), "{name}: {error}");
        }
    }
}

#[test]
fn nothing_is_nobody() {
    for text in [
        "",
        "# nobody\n",
        "[discovery]\nenabled = false\n",
        "[block]\ndomains = [\"a.example\"]\n",
        "[[partner]]\ndomain = \"a.example\"\nmode = \"blocked\"\n",
    ] {
        assert!(read(text).allows_nobody(), "{text:?}");
    }
    assert!(!read(FULL).allows_nobody());
    assert!(Policy::default().allows_nobody());
}

#[test]
fn unknown_names_have_a_nearest_one() {
    check(
        "partners = 1\n[[partner]]\ndomian = \"a.example\"\nvouches = \"x\"\nfoo = 1\n[blok]\n[members]\n",
        expect![[r#"
            line 1: partners: there is no such section
              help: did you mean [[partner]]?
            line 2: partner.domain: is missing
              help: add domain = "fabrikam.example"
            line 3: partner.domian: there is no such key
              help: did you mean `domain`?
            line 4: partner.vouches: there is no such key
              help: `vouches` belongs in [[clearinghouse]]
            line 5: partner.foo: there is no such key
              help: known here: domain, mode, next_hop, via, certificate, authority_file, modalities, direction, rate, owner, reason, expires
            line 6: blok: there is no such section
              help: did you mean [block]?
            line 7: members: there is no such section
              help: `members` belongs in [[clearinghouse]]
        "#]],
    );
}

#[test]
fn every_bad_value_says_what_is_right() {
    check(
        r#"
[[partner]]
domain = "*.fabrikam.example"
mode = "drect"
next_hop = "edge.fabrikam.example:0"
certificate = "fqnd"
modalities = ["vidoe", "telepathy"]
direction = "inbound"
rate = 0
owner = "a\nb"
expires = "2027-01-31"
[[partner]]
domain = "alice@fabrikam.example"
next_hop = "2001:db8::1"
certificate = "sha256:00"
expires = 2027-01-31T00:00:00Z
rate = "20"
[[partner]]
domain = "contoso.example"
mode = "clearinghouse"
via = "hub.trade.exmple"
[[partner]]
domain = "b.example"
[[clearinghouse]]
name = "hub.trade.example"
vouches = "somehow"
members = ["a.example", "A.example.", 5]
[discovery]
enabled = "yes"
[block]
domains = "bad.example"
"#,
        expect![[r#"
            line 3: partner.domain: "*.fabrikam.example" is no domain name
              help: there are no wildcards: name each domain
            line 4: partner.mode: "drect" is none of "direct", "clearinghouse", "member", "blocked"
              help: did you mean "direct"?
            line 5: partner.next_hop: "edge.fabrikam.example:0" is no host with a port
              help: write a host and a port, such as "edge.fabrikam.example:5061"
            line 6: partner.certificate: "fqnd" is none of "fqdn", "domain", "sha256:<64 hex digits>"
              help: did you mean "fqdn"?
            line 7: partner.modalities: "vidoe" is none of "presence", "im", "audio", "video"
              help: did you mean "video"?
            line 7: partner.modalities: "telepathy" is none of "presence", "im", "audio", "video"
              help: choose "presence", "im", "audio", "video"
            line 8: partner.direction: "inbound" is none of "both", "in", "out"
              help: choose "both", "in", "out"
            line 9: partner.rate: 0 is not from 1 to 100000
              help: requests a second; to stop a partner altogether write mode = "blocked"
            line 10: partner.owner: must be one line of at most 1024 octets
            line 11: partner.expires: is no date from 1970 to 9999
              help: the last day, in UTC, without quotes and without a time: 2027-01-31
            line 13: partner.domain: "alice@fabrikam.example" is no domain name
              help: write the part behind @ alone
            line 14: partner.next_hop: "2001:db8::1" is no host with a port
              help: write an IPv6 address in brackets, then the port: "[2001:db8::1]:5061"
            line 15: partner.certificate: the pin is not 64 hexadecimal digits
              help: `chancery ca show FILE` and `openssl x509 -fingerprint -sha256` print it
            line 16: partner.expires: is no date from 1970 to 9999
              help: the last day, in UTC, without quotes and without a time: 2027-01-31
            line 17: partner.rate: must be a whole number without quotes, not a value of type string
            line 21: partner.via: there is no clearinghouse "hub.trade.exmple"
              help: did you mean "hub.trade.example"?
            line 22: partner.next_hop: is missing: the rule "fqdn" asks for the name of the server of b.example
              help: name the partner's edge and port, such as "edge.fabrikam.example:5061", or write certificate = "domain"
            line 26: clearinghouse.vouches: "somehow" is none of "member-header", "member-list"
              help: choose "member-header", "member-list"
            line 27: clearinghouse.members: must be a list of strings, such as ["a", "b"], not a value of type integer
            line 27: clearinghouse.members: a.example stands here twice
              help: name each domain once
            line 29: discovery.enabled: must be true or false, without quotes, not a value of type string
            line 31: block.domains: must be a list of strings, such as ["a", "b"], not a value of type string
        "#]],
    );
}

#[test]
fn one_domain_stands_in_one_place() {
    check(
        r#"
[[partner]]
domain = "a.example"
next_hop = "edge.a.example"
[[partner]]
domain = "A.example"
next_hop = "edge.b.example"
[[partner]]
domain = "contoso.example"
next_hop = "edge.contoso.example"
[[partner]]
domain = "one.example"
next_hop = "one.example"
authority_file = "one.pem"
[[partner]]
domain = "decided.example"
mode = "clearinghouse"
via = "one.example"
[[clearinghouse]]
name = "one.example"
members = ["c.example", "decided.example", "contoso.example"]
authority_file = "other.pem"
[[clearinghouse]]
name = "two.example"
members = ["c.example", "decided.example"]
[[clearinghouse]]
name = "Two.example"
"#,
        expect![[r#"
            line 6: partner.domain: a.example stands in line 2 already
              help: keep one [[partner]] for each domain
            line 9: partner.domain: contoso.example is a domain of this organisation
              help: nobody else can speak for it: remove it
            line 21: clearinghouse.members: contoso.example is a domain of this organisation
              help: nobody else can speak for it: remove it
            line 22: clearinghouse.authority_file: the partner one.example has other anchors, "one.pem"
              help: name the same file in both, or put both CAs into it
            line 25: clearinghouse.members: one.example speaks for c.example too
              help: list it with one hub, or add a [[partner]] that says which: mode = "clearinghouse", via = "…"
            line 27: clearinghouse.name: two.example stands in line 23 already
              help: keep one [[clearinghouse]] for each hub
        "#]],
    );
}

#[test]
fn the_hub_that_is_meant_must_be_clear() {
    check(
        "[[partner]]\ndomain = \"a.example\"\nmode = \"clearinghouse\"\n",
        expect![[r#"
        line 3: partner.via: through which hub a.example is reached is not said
          help: name a [[clearinghouse]]: via = "hub.trade.example"
    "#]],
    );
    check(
        "[[partner]]\ndomain = \"a.example\"\nmode = \"clearinghouse\"\n[[clearinghouse]]\nname = \"h.example\"\n\
         [[clearinghouse]]\nname = \"i.example\"\n",
        expect![[r#"
            line 3: partner.via: through which hub a.example is reached is not said
              help: name a [[clearinghouse]]: via = "hub.trade.example"
        "#]],
    );
    let text = "[[partner]]\ndomain = \"a.example\"\nmode = \"clearinghouse\"\n[[clearinghouse]]\nname = \"h.example\"\n\
                [[clearinghouse]]\nname = \"i.example\"\nmembers = [\"a.example\"]\n";
    assert_eq!(read(text).partners()[0].mode, PartnerMode::Clearinghouse("i.example".into()));
}

#[test]
fn what_is_no_toml_or_no_section() {
    check(
        "[[partner]]\ndomain = fabrikam\n",
        expect![[r#"
        line 2: invalid boolean, expected `false`
          help: the file must be TOML 1.0
    "#]],
    );
    check(
        "[partner]\ndomain = \"a.example\"\n[[block]]\n",
        expect![[r#"
        line 1: partner: must be a list of sections
          help: write [[partner]], with two brackets, before each one
        line 3: block: must be a section, once
          help: write a line [block] and its keys below it
    "#]],
    );
}

#[test]
fn inline_tables_are_sections_too() {
    let policy = read(
        "partner = [{ domain = \"a.example\", certificate = \"domain\" }]\nblock = { domains = [\"b.example\"] }\n",
    );
    assert_eq!((policy.partners().len(), policy.blocked().len()), (1, 1));
}

#[test]
fn ten_thousand_partners_are_read_in_a_blink() {
    let text: String = (0..10_000)
        .map(|n| format!("[[partner]]\ndomain = \"p{n}.example\"\nnext_hop = \"e.p{n}.example\"\n"))
        .collect();
    assert_eq!(read(&text).partners().len(), 10_000);
}
