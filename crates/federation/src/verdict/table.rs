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

/// Direction × dialog × modality, for each kind of terms on each kind of road: what an entry says means the same whoever vouches.
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
    let mut lines = vec![line("road: terms", columns.map(|(head, ..)| head.to_owned()))];
    let own = certificate_of("fabrikam.example");
    let domain = certificate("fabrikam.example", Anchors::Partners);
    let hub = certificate("hub.trade.example", Anchors::Partners);
    let member = Member::new("fabrikam.example");
    let of_hub = |vouches: &str| {
        format!(
            "[[clearinghouse]]\nname = \"hub.trade.example\"\nmembers = [\"fabrikam.example\"]\nvouches = \"{vouches}\"\n"
        )
    };
    let direct =
        "[[partner]]\ndomain = \"fabrikam.example\"\nnext_hop = \"edge.fabrikam.example\"\n".to_owned();
    let through = "[[partner]]\ndomain = \"fabrikam.example\"\nmode = \"clearinghouse\"\n";
    let roads = [
        ("direct", direct, &own, None),
        ("hub, header", of_hub("member-header"), &hub, member.as_ref()),
        ("hub, list", of_hub("member-list"), &hub, None),
        // The member's own terms, besides those of the hub.
        ("member", of_hub("member-header") + through, &hub, member.as_ref()),
        ("discovered", "[discovery]\nenabled = true\n".to_owned(), &domain, None),
    ];
    for (road, head, certificate, member) in &roads {
        for (name, terms) in terms {
            if *road == "discovered" && terms.starts_with("expires") {
                continue;
            }
            let policy = Policy::parse(&format!("{head}{terms}"), &["contoso.example"]).unwrap();
            let cells = columns.map(|(_, direction, modalities, within_dialog)| {
                let provenance = match direction {
                    Direction::Inbound => {
                        Provenance::Outside { certificate: Some(certificate), member: *member }
                    }
                    Direction::Outbound | Direction::Transit => Provenance::Inside,
                };
                let facts = Facts { remote: "fabrikam.example", modalities, within_dialog, ..say(direction) };
                cell(&policy, &provenance, &facts)
            });
            lines.push(line(&format!("{road}: {name}"), cells));
        }
    }
    check(
        lines,
        expect![[r#"
        road: terms                in: im    in: call  in: picture  in: presence  in: BYE  out: im   out: NOTIFY  out: BYE
        direct: all                yes       yes       yes          yes           yes      yes       yes          yes
        direct: in                 yes       yes       yes          yes           yes      one-way   yes          yes
        direct: out                one-way   one-way   one-way      one-way       yes      yes       yes          yes
        direct: im                 yes       modality  modality     modality      yes      yes       modality     yes
        direct: presence, im       yes       modality  modality     yes           yes      yes       yes          yes
        direct: audio              modality  yes       modality     modality      yes      modality  modality     yes
        direct: nothing            modality  modality  modality     modality      yes      modality  modality     yes
        direct: today              yes       yes       yes          yes           yes      yes       yes          yes
        direct: yesterday          expired   expired   expired      expired       expired  expired   expired      expired
        hub, header: all           yes       yes       yes          yes           yes      yes       yes          yes
        hub, header: in            yes       yes       yes          yes           yes      one-way   yes          yes
        hub, header: out           one-way   one-way   one-way      one-way       yes      yes       yes          yes
        hub, header: im            yes       modality  modality     modality      yes      yes       modality     yes
        hub, header: presence, im  yes       modality  modality     yes           yes      yes       yes          yes
        hub, header: audio         modality  yes       modality     modality      yes      modality  modality     yes
        hub, header: nothing       modality  modality  modality     modality      yes      modality  modality     yes
        hub, header: today         yes       yes       yes          yes           yes      yes       yes          yes
        hub, header: yesterday     expired   expired   expired      expired       expired  expired   expired      expired
        hub, list: all             yes       yes       yes          yes           yes      yes       yes          yes
        hub, list: in              yes       yes       yes          yes           yes      one-way   yes          yes
        hub, list: out             one-way   one-way   one-way      one-way       yes      yes       yes          yes
        hub, list: im              yes       modality  modality     modality      yes      yes       modality     yes
        hub, list: presence, im    yes       modality  modality     yes           yes      yes       yes          yes
        hub, list: audio           modality  yes       modality     modality      yes      modality  modality     yes
        hub, list: nothing         modality  modality  modality     modality      yes      modality  modality     yes
        hub, list: today           yes       yes       yes          yes           yes      yes       yes          yes
        hub, list: yesterday       expired   expired   expired      expired       expired  expired   expired      expired
        member: all                yes       yes       yes          yes           yes      yes       yes          yes
        member: in                 yes       yes       yes          yes           yes      one-way   yes          yes
        member: out                one-way   one-way   one-way      one-way       yes      yes       yes          yes
        member: im                 yes       modality  modality     modality      yes      yes       modality     yes
        member: presence, im       yes       modality  modality     yes           yes      yes       yes          yes
        member: audio              modality  yes       modality     modality      yes      modality  modality     yes
        member: nothing            modality  modality  modality     modality      yes      modality  modality     yes
        member: today              yes       yes       yes          yes           yes      yes       yes          yes
        member: yesterday          expired   expired   expired      expired       expired  expired   expired      expired
        discovered: all            yes       yes       yes          yes           yes      yes       yes          yes
        discovered: in             yes       yes       yes          yes           yes      one-way   yes          yes
        discovered: out            one-way   one-way   one-way      one-way       yes      yes       yes          yes
        discovered: im             yes       modality  modality     modality      yes      yes       modality     yes
        discovered: presence, im   yes       modality  modality     yes           yes      yes       yes          yes
        discovered: audio          modality  yes       modality     modality      yes      modality  modality     yes
        discovered: nothing        modality  modality  modality     modality      yes      modality  modality     yes
    "#]],
    );
}

/// What passes through a clearinghouse between two members, by the terms of both: the first letters of presence, im, audio and
/// video; or why nothing does.
#[test]
fn terms_in_transit() {
    let terms = [
        ("all", ""),
        ("in", "direction = \"in\""),
        ("out", "direction = \"out\""),
        ("presence, im", "modalities = [\"presence\", \"im\"]"),
        ("im, audio", "modalities = [\"im\", \"audio\"]"),
        ("nothing", "modalities = []"),
        ("yesterday", "expires = 2026-11-21"),
    ];
    let mut lines = vec![line("from \\ to", terms.map(|(name, _)| name.to_owned()))];
    let own = certificate_of("a.example");
    for (name, from) in terms {
        let cells = terms.map(|(_, to)| {
            let entry = |domain: &str, terms: &str| {
                format!(
                    "[[partner]]\ndomain = \"{domain}\"\nmode = \"member\"\nnext_hop = \"edge.{domain}\"\n{terms}\n"
                )
            };
            let text = entry("a.example", from) + &entry("b.example", to);
            let policy = Policy::parse(&text, &[] as &[&str]).unwrap();
            let provenance = Provenance::Outside { certificate: Some(&own), member: None };
            let mut passes = String::new();
            let mut why = String::new();
            for modality in Modality::ALL {
                let facts = Facts {
                    remote: "a.example",
                    local: "b.example",
                    modalities: modality.into(),
                    ..say(Direction::Transit)
                };
                match judge(&policy, &provenance, &facts, NOW) {
                    Verdict::Allow(road) => {
                        assert!(road.modalities.contains(modality));
                        passes.extend(modality.name().chars().next());
                    }
                    Verdict::Refuse(refusal) => refusal.reason.code().clone_into(&mut why),
                }
            }
            if passes.is_empty() { why } else { passes }
        });
        lines.push(line(name, cells));
    }
    check(
        lines,
        expect![[r#"
        from \ to     all       in        out       presence, im  im, audio  nothing   yesterday
        all           piav      one-way   piav      pi            ia         modality  expired
        in            piav      one-way   piav      pi            ia         modality  expired
        out           one-way   one-way   one-way   one-way       one-way    one-way   one-way
        presence, im  pi        modality  pi        pi            i          modality  modality
        im, audio     ia        modality  ia        i             ia         modality  modality
        nothing       modality  modality  modality  modality      modality   modality  modality
        yesterday     expired   expired   expired   expired       expired    expired   expired
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
