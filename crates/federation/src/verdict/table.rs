//! The truth table of the verdict. Each cell is `yes` or the word of the reason.

use expect_test::{Expect, expect};

use super::tests::{NOW, certificate, certificate_of, policy, say};
use super::*;
use crate::modality::Modality;

/// Lines and columns, as wide as need be.
fn check(lines: Vec<Vec<String>>, expected: Expect) {
    let columns = lines[0].len();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    expected.assert_eq(&text);
}

fn line(head: &str, cells: impl IntoIterator<Item = String>) -> Vec<String> {
    std::iter::once(head.to_owned()).chain(cells).collect()
}

/// Every kind of entry × everything that a connection can prove: who is believed to speak for whom.
#[test]
fn inbound_by_provenance() {
    let policy = policy();
    let own = |domain: &str| certificate_of(domain);
    let hub = certificate("hub.trade.example", Anchors::Partners);
    let old_hub = certificate("hub.old.example", Anchors::Partners);
    let other = certificate_of("fabrikam.example");
    let mut untrusted = certificate_of("fabrikam.example");
    untrusted.trusted_by.clear();
    let domains = [
        "fabrikam.example",
        "bydomain.example",
        "pinned.example",
        "private.example",
        "northwind.example",
        "limited.example",
        "moved.example",
        "legacy.example",
        "blocked.example",
        "bad.example",
        "expired.example",
        "member.example",
        "contoso.example",
        "nobody.example",
        "192.0.2.1",
    ];
    let heads =
        ["nothing", "its own", "fabrikam's", "untrusted", "hub: it", "hub: other", "hub: -", "old hub"];
    let mut lines = vec![line("From \\ proves", heads.map(str::to_owned))];
    for domain in domains {
        let own = own(domain);
        let member = Member::new(domain);
        let other_member = Member::new("someone.example");
        let outside = |certificate, member| Provenance::Outside { certificate, member };
        let provenances = [
            outside(None, None),
            outside(Some(&own), None),
            outside(Some(&other), None),
            outside(Some(&untrusted), None),
            outside(Some(&hub), member.as_ref()),
            outside(Some(&hub), other_member.as_ref()),
            outside(Some(&hub), None),
            outside(Some(&old_hub), None),
        ];
        let facts = Facts { remote: domain, ..say(Direction::Inbound) };
        lines.push(line(domain, provenances.map(|provenance| cell(&policy, &provenance, &facts))));
    }
    check(
        lines,
        expect![[r#"
        From \ proves      nothing        its own        fabrikam's     untrusted      hub: it        hub: other     hub: -         old hub
        fabrikam.example   not-proved     yes            yes            not-proved     wrong-road     wrong-road     wrong-road     wrong-road
        bydomain.example   not-proved     yes            not-proved     not-proved     wrong-road     wrong-road     wrong-road     wrong-road
        pinned.example     not-proved     yes            not-proved     not-proved     wrong-road     wrong-road     wrong-road     wrong-road
        private.example    not-proved     yes            not-proved     not-proved     wrong-road     wrong-road     wrong-road     wrong-road
        northwind.example  not-proved     wrong-road     not-proved     not-proved     yes            other-member   no-member      wrong-road
        limited.example    not-proved     yes            not-proved     not-proved     wrong-road     wrong-road     wrong-road     wrong-road
        moved.example      not-proved     wrong-road     not-proved     not-proved     yes            other-member   no-member      wrong-road
        legacy.example     not-proved     wrong-road     not-proved     not-proved     wrong-road     wrong-road     wrong-road     yes
        blocked.example    blocked        blocked        blocked        blocked        blocked        blocked        blocked        blocked
        bad.example        blocked        blocked        blocked        blocked        blocked        blocked        blocked        blocked
        expired.example    not-proved     expired        not-proved     not-proved     wrong-road     wrong-road     wrong-road     wrong-road
        member.example     members-only   members-only   members-only   members-only   members-only   members-only   members-only   members-only
        contoso.example    speaks-for-us  speaks-for-us  speaks-for-us  speaks-for-us  speaks-for-us  speaks-for-us  speaks-for-us  speaks-for-us
        nobody.example     unlisted       unlisted       unlisted       unlisted       unlisted       unlisted       unlisted       unlisted
        192.0.2.1          no-domain      no-domain      no-domain      no-domain      no-domain      no-domain      no-domain      no-domain
    "#]],
    );
}

/// The same once unlisted domains may come by themselves.
#[test]
fn inbound_with_discovery() {
    let policy = Policy::parse(
        "[discovery]\nenabled = true\n[block]\ndomains = [\"bad.example\"]\n\
         [[clearinghouse]]\nname = \"hub.trade.example\"\nmembers = [\"northwind.example\"]",
        &["contoso.example"],
    )
    .unwrap();
    let hub = certificate("hub.trade.example", Anchors::Partners);
    let heads = ["nothing", "its own", "its host", "its own, private", "hub: it"];
    let mut lines = vec![line("From \\ proves", heads.map(str::to_owned))];
    for domain in ["litware.example", "northwind.example", "bad.example", "contoso.example"] {
        let own = certificate(domain, Anchors::Partners);
        let host = certificate(&format!("edge.{domain}"), Anchors::Partners);
        let private = certificate(domain, Anchors::Partner(domain.into()));
        let member = Member::new(domain);
        let outside = |certificate, member| Provenance::Outside { certificate, member };
        let provenances = [
            outside(None, None),
            outside(Some(&own), None),
            outside(Some(&host), None),
            outside(Some(&private), None),
            outside(Some(&hub), member.as_ref()),
        ];
        let facts = Facts { remote: domain, ..say(Direction::Inbound) };
        lines.push(line(domain, provenances.map(|provenance| cell(&policy, &provenance, &facts))));
    }
    check(
        lines,
        expect![[r#"
        From \ proves      nothing        its own        its host       its own, private  hub: it
        litware.example    not-proved     yes            not-proved     not-proved        wrong-road
        northwind.example  not-proved     wrong-road     not-proved     not-proved        yes
        bad.example        blocked        blocked        blocked        blocked           blocked
        contoso.example    speaks-for-us  speaks-for-us  speaks-for-us  speaks-for-us     speaks-for-us
    "#]],
    );
}

/// Where requests of ours go: the road, or why there is none.
#[test]
fn outbound_by_entry() {
    let policy = policy();
    let mut lines = vec![line("To", ["verdict", "server", "expected"].map(str::to_owned))];
    for domain in [
        "fabrikam.example",
        "bydomain.example",
        "pinned.example",
        "private.example",
        "northwind.example",
        "limited.example",
        "moved.example",
        "legacy.example",
        "blocked.example",
        "bad.example",
        "expired.example",
        "member.example",
        "contoso.example",
        "nobody.example",
        "192.0.2.1",
    ] {
        let facts = Facts { remote: domain, ..say(Direction::Outbound) };
        let cells = match judge(&policy, &Provenance::Inside, &facts, NOW) {
            Verdict::Allow(road) => {
                let place = match &road.hop.place {
                    node::Place::Host { name, port } => format!("{name}:{port}"),
                    node::Place::Service(name) => format!("SRV {name}"),
                };
                let proof = match &road.hop.expected.proof {
                    node::Proof::Host => format!("host {}", road.hop.expected.server_name),
                    node::Proof::Domain(domain) => format!("domain {domain}"),
                    node::Proof::Pin(_) => "pin".to_owned(),
                };
                let anchors = match &road.hop.expected.anchors {
                    Anchors::Servers => "servers",
                    Anchors::Partners => "partners",
                    Anchors::Partner(_) => "its own",
                };
                [road.mode.name().to_owned(), place, format!("{proof}, {anchors}")]
            }
            Verdict::Refuse(refusal) => {
                [format!("{} {}", refusal.status, refusal.reason.code()), String::new(), String::new()]
            }
        };
        lines.push(line(domain, cells));
    }
    check(
        lines,
        expect![[r#"
        To                 verdict           server                                       expected
        fabrikam.example   direct            edge.fabrikam.example:5061                   host edge.fabrikam.example, partners
        bydomain.example   direct            SRV _sipfederationtls._tcp.bydomain.example  domain bydomain.example, partners
        pinned.example     direct            192.0.2.7:5061                               pin, partners
        private.example    direct            edge.private.example:5061                    host edge.private.example, its own
        northwind.example  clearinghouse     hub.trade.example:5061                       host hub.trade.example, partners
        limited.example    direct            edge.limited.example:5061                    host edge.limited.example, partners
        moved.example      clearinghouse     hub.trade.example:5061                       host hub.trade.example, partners
        legacy.example     clearinghouse     hub.old.example:5061                         host hub.old.example, partners
        blocked.example    403 blocked
        bad.example        403 blocked
        expired.example    403 expired
        member.example     403 members-only
        contoso.example    403 stays-inside
        nobody.example     403 unlisted
        192.0.2.1          403 no-domain
    "#]],
    );
}

/// Direction × dialog × modality, for each kind of terms.
#[test]
fn terms() {
    let terms = [
        ("all", ""),
        ("in", "direction = \"in\""),
        ("out", "direction = \"out\""),
        ("im", "modalities = [\"im\"]"),
        ("presence, im", "modalities = [\"presence\", \"im\"]"),
        ("audio", "modalities = [\"audio\"]"),
        ("nothing", "modalities = []"),
        ("today", "expires = 2026-11-22"),
        ("yesterday", "expires = 2026-11-21"),
    ];
    let video = Modalities::from(Modality::Audio) | Modality::Video.into();
    let columns = [
        ("in: im", Direction::Inbound, Modality::Im.into(), false),
        ("in: call", Direction::Inbound, Modality::Audio.into(), false),
        ("in: picture", Direction::Inbound, video, false),
        ("in: presence", Direction::Inbound, Modality::Presence.into(), false),
        ("in: BYE", Direction::Inbound, Modalities::NONE, true),
        ("out: im", Direction::Outbound, Modality::Im.into(), false),
        ("out: NOTIFY", Direction::Outbound, Modality::Presence.into(), true),
        ("out: BYE", Direction::Outbound, Modalities::NONE, true),
    ];
    let mut lines = vec![line("terms", columns.map(|(head, ..)| head.to_owned()))];
    let own = certificate_of("fabrikam.example");
    for (name, terms) in terms {
        let text = format!(
            "[[partner]]\ndomain = \"fabrikam.example\"\nnext_hop = \"edge.fabrikam.example\"\n{terms}"
        );
        let policy = Policy::parse(&text, &["contoso.example"]).unwrap();
        let cells = columns.map(|(_, direction, modalities, within_dialog)| {
            let provenance = match direction {
                Direction::Inbound => Provenance::Outside { certificate: Some(&own), member: None },
                Direction::Outbound | Direction::Transit => Provenance::Inside,
            };
            let facts = Facts { remote: "fabrikam.example", modalities, within_dialog, ..say(direction) };
            cell(&policy, &provenance, &facts)
        });
        lines.push(line(name, cells));
    }
    check(
        lines,
        expect![[r#"
        terms         in: im    in: call  in: picture  in: presence  in: BYE  out: im   out: NOTIFY  out: BYE
        all           yes       yes       yes          yes           yes      yes       yes          yes
        in            yes       yes       yes          yes           yes      one-way   yes          yes
        out           one-way   one-way   one-way      one-way       yes      yes       yes          yes
        im            yes       modality  modality     modality      yes      yes       modality     yes
        presence, im  yes       modality  modality     yes           yes      yes       yes          yes
        audio         modality  yes       modality     modality      yes      modality  modality     yes
        nothing       modality  modality  modality     modality      yes      modality  modality     yes
        today         yes       yes       yes          yes           yes      yes       yes          yes
        yesterday     expired   expired   expired      expired       expired  expired   expired      expired
    "#]],
    );
}

/// What a clearinghouse passes on: sender × recipient, where the sender proves itself.
#[test]
fn transit() {
    let policy = Policy::parse(
        r#"
            [[partner]]
            domain = "a.example"
            mode = "member"
            next_hop = "edge.a.example"
            [[partner]]
            domain = "b.example"
            mode = "member"
            next_hop = "edge.b.example"
            [[partner]]
            domain = "reader.example"
            mode = "member"
            next_hop = "edge.reader.example"
            direction = "out"
            [[partner]]
            domain = "blocked.example"
            mode = "blocked"
            next_hop = "edge.blocked.example"
            [[partner]]
            domain = "guest.example"
            next_hop = "edge.guest.example"
        "#,
        &[] as &[&str],
    )
    .unwrap();
    let domains =
        ["a.example", "b.example", "reader.example", "blocked.example", "guest.example", "nobody.example"];
    let mut lines = vec![line("From \\ to", domains.map(str::to_owned))];
    for from in domains {
        let own = certificate_of(from);
        let cells = domains.map(|to| {
            let provenance = Provenance::Outside { certificate: Some(&own), member: None };
            cell(&policy, &provenance, &Facts { remote: from, local: to, ..say(Direction::Transit) })
        });
        lines.push(line(from, cells));
    }
    check(
        lines,
        expect![[r#"
        From \ to        a.example       b.example       reader.example  blocked.example  guest.example  nobody.example
        a.example        back-to-sender  yes             yes             blocked          not-member     not-member
        b.example        yes             back-to-sender  yes             blocked          not-member     not-member
        reader.example   one-way         one-way         one-way         one-way          one-way        one-way
        blocked.example  blocked         blocked         blocked         blocked          blocked        blocked
        guest.example    not-member      not-member      not-member      not-member       not-member     not-member
        nobody.example   not-member      not-member      not-member      not-member       not-member     not-member
    "#]],
    );
}

fn cell(policy: &Policy, provenance: &Provenance<'_>, facts: &Facts<'_>) -> String {
    match judge(policy, provenance, facts, NOW) {
        Verdict::Allow(_) => "yes".to_owned(),
        Verdict::Refuse(refusal) => refusal.reason.code().to_owned(),
    }
}
