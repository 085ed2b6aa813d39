//! Changes of the policy's text.

use expect_test::{Expect, expect};

use super::*;

const TEXT: &str = r#"# Contoso's partners. Ask Alice before you change anything.

[[partner]]
domain = "fabrikam.example"   # the joint venture
mode = "blocked"              # until their edge is mended
next_hop = "edge.fabrikam.example:5061"

[[partner]] # a supplier
domain = "Litware.example"
certificate = "domain"

[[clearinghouse]]
name = "hub.trade.example"
members = [
    "northwind.example", # since 2025
]

[block]
domains = ["bad.example"]
"#;

fn check(text: &str, change: &Change, expected: Expect) {
    let result = edit(text, change, &["contoso.example"]);
    let shown = match result {
        Ok(edited) => difference(text, &edited.text),
        Err(error) => format!("{error}\n"),
    };
    expected.assert_eq(&shown);
}

/// The lines that are not in both, in order.
fn difference(before: &str, after: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}\n"));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}\n"));
    gone.chain(new).collect()
}

fn allow(domain: &str, entry: EntryChange) -> Change {
    Change::Allow { domain: domain.into(), entry }
}

#[test]
fn a_new_partner() {
    let entry = EntryChange {
        next_hop: Some("edge.adatum.example".into()),
        modalities: Some(Modality::Im.into()),
        rate: Some(20),
        owner: Some("Bob \"the\" Builder".into()),
        expires: Date::new(2027, 1, 31),
        ..EntryChange::default()
    };
    check(
        TEXT,
        &allow("Adatum.example", entry.clone()),
        expect![[r#"
        + domain = "adatum.example"
        + next_hop = "edge.adatum.example"
        + owner = 'Bob "the" Builder'
        + modalities = ["im"]
        + rate = 20
        + expires = 2027-01-31
    "#]],
    );
    check(
        "",
        &allow("adatum.example", entry),
        expect![[r#"
        + [[partner]]
        + domain = "adatum.example"
        + next_hop = "edge.adatum.example"
        + owner = 'Bob "the" Builder'
        + modalities = ["im"]
        + rate = 20
        + expires = 2027-01-31
    "#]],
    );
}

#[test]
fn what_is_there_is_changed_in_place() {
    check(
        TEXT,
        &allow("FABRIKAM.example", EntryChange::default()),
        expect![[r#"
        - mode = "blocked"              # until their edge is mended
    "#]],
    );
    let entry = EntryChange { mode: Some("clearinghouse".into()), ..EntryChange::default() };
    check(
        TEXT,
        &allow("fabrikam.example", entry),
        expect![[r#"
        - mode = "blocked"              # until their edge is mended
        + mode = "clearinghouse"              # until their edge is mended
    "#]],
    );
    let entry = EntryChange { certificate: Some("domain".into()), ..EntryChange::default() };
    let edited = edit(TEXT, &allow("litware.example", entry), &["contoso.example"]).unwrap();
    assert_eq!(edited.text, TEXT, "nothing to change changes nothing");
}

#[test]
fn a_wrong_value_changes_nothing() {
    let entry = EntryChange { direction: Some("sideways".into()), ..EntryChange::default() };
    check(
        TEXT,
        &allow("litware.example", entry),
        expect![[r#"
        this would make the policy wrong, so that nothing was changed:
        line 11: partner.direction: "sideways" is none of "both", "in", "out"
          help: choose "both", "in", "out"
    "#]],
    );
    check(
        TEXT,
        &allow("contoso.example", EntryChange::default()),
        expect![[r#"
        this would make the policy wrong, so that nothing was changed:
        line 12: partner.next_hop: is missing: the rule "fqdn" asks for the name of the server of contoso.example
          help: name the partner's edge and port, such as "edge.fabrikam.example:5061", or write certificate = "domain"
    "#]],
    );
    check(
        TEXT,
        &allow("*.example", EntryChange::default()),
        expect![[r#"
        "*.example" is no domain name
    "#]],
    );
    check(
        "[[partner]]\n",
        &allow("a.example", EntryChange::default()),
        expect![[r#"
        the policy is wrong as it stands, so that nothing was changed:
        line 1: partner.domain: is missing
          help: add domain = "fabrikam.example"
    "#]],
    );
}

#[test]
fn blocking_and_unblocking() {
    let block =
        |domain: &str, comment: &str| Change::Block { domain: domain.into(), comment: comment.into() };
    check(
        TEXT,
        &block("worse.example", ""),
        expect![[r#"
        - domains = ["bad.example"]
        + domains = ["bad.example", "worse.example"]
    "#]],
    );
    check(
        TEXT,
        &block("worse.example", "spam, says Bob\nEvil = 1"),
        expect![[r#"
        - domains = ["bad.example"]
        + domains = [
        +     "bad.example",
        +     # spam, says Bob Evil = 1
        +     "worse.example",
    "#]],
    );
    check(
        "",
        &block("worse.example", ""),
        expect![[r#"
        + [block]
        + domains = ["worse.example"]
    "#]],
    );
    check(TEXT, &block("bad.example", "again"), expect![[""]]);
    let unblock = |domain: &str| Change::Unblock { domain: domain.into() };
    check(
        TEXT,
        &unblock("BAD.example"),
        expect![[r#"
        - domains = ["bad.example"]
        + domains = []
    "#]],
    );
    check(
        TEXT,
        &unblock("good.example"),
        expect![[r#"
        good.example does not stand in [block] domains
    "#]],
    );
    let bad = EntryChange { certificate: Some("domain".into()), ..EntryChange::default() };
    check(
        TEXT,
        &allow("bad.example", bad),
        expect![[r#"
        - domains = ["bad.example"]
        + domain = "bad.example"
        + domains = []
    "#]],
    );
}

#[test]
fn blocks_with_comments_stack_up() {
    let mut text = TEXT.to_owned();
    for (domain, comment) in [("one.example", "first"), ("two.example", ""), ("three.example", "third")] {
        let change = Change::Block { domain: domain.into(), comment: comment.into() };
        text = edit(&text, &change, &["contoso.example"]).unwrap().text;
    }
    text = edit(&text, &Change::Unblock { domain: "two.example".into() }, &["contoso.example"]).unwrap().text;
    let block = &text[text.find("[block]").unwrap()..];
    expect![[r#"
        [block]
        domains = [
            "bad.example",
            # first
            "one.example",
            # third
            "three.example",
        ]
    "#]]
    .assert_eq(block);
}

#[test]
fn the_head_of_the_file_stays() {
    let remove = |domain: &str| Change::Remove { domain: domain.into() };
    let text = edit(TEXT, &remove("fabrikam.example"), &["contoso.example"]).unwrap().text;
    assert!(text.starts_with("# Contoso's partners."), "{text}");
    let text = edit(&text, &remove("litware.example"), &["contoso.example"]).unwrap().text;
    assert!(text.starts_with("# Contoso's partners.") && text.contains("[[clearinghouse]]"), "{text}");
}

#[test]
fn comments_alone_are_the_head_of_what_comes() {
    let edited = edit("# Ask erin.\n", &Change::Discovery { enabled: true }, &[] as &[&str]).unwrap();
    assert_eq!(edited.text, "# Ask erin.\n\n[discovery]\nenabled = true\n");
    let entry = EntryChange { certificate: Some("domain".to_owned()), ..EntryChange::default() };
    let text = edit("# Ask erin.\n", &allow("a.example", entry), &[] as &[&str]).unwrap().text;
    let text = edit(&text, &Change::Remove { domain: "a.example".into() }, &[] as &[&str]).unwrap().text;
    assert_eq!(text.trim_end(), "# Ask erin.");
}

#[test]
fn removing_members_and_discovery() {
    check(
        TEXT,
        &Change::Remove { domain: "litware.example".into() },
        expect![[r#"
        - [[partner]] # a supplier
        - domain = "Litware.example"
        - certificate = "domain"
    "#]],
    );
    check(
        TEXT,
        &Change::Remove { domain: "northwind.example".into() },
        expect![[r#"
        northwind.example does not stand in any [[partner]]
    "#]],
    );
    let (hub, domain) = ("hub.trade.example".to_owned(), "adatum.example".to_owned());
    check(
        TEXT,
        &Change::AddMember { hub: hub.clone(), domain: domain.clone() },
        expect![[r#"
        +     "adatum.example",
    "#]],
    );
    check(
        TEXT,
        &Change::RemoveMember { hub: hub.clone(), domain: "northwind.example".into() },
        expect![[r#"
            - members = [
            -     "northwind.example", # since 2025
            + members = [ # since 2025
        "#]],
    );
    check(
        TEXT,
        &Change::RemoveMember { hub, domain: domain.clone() },
        expect![[r#"
        adatum.example does not stand in the members of hub.trade.example
    "#]],
    );
    check(
        TEXT,
        &Change::AddMember { hub: "hub.example".into(), domain },
        expect![[r#"
        hub.example does not stand in any [[clearinghouse]]
    "#]],
    );
    check(
        TEXT,
        &Change::Discovery { enabled: true },
        expect![[r#"
        + [discovery]
        + enabled = true
    "#]],
    );
}

#[test]
fn inline_tables_are_edited_too() {
    let text = "partner = [{ domain = \"a.example\", certificate = \"domain\" }]\nclearinghouse = [{ name = \"h.example\" }]\n";
    let entry = EntryChange { rate: Some(5), ..EntryChange::default() };
    check(
        text,
        &allow("a.example", entry),
        expect![[r#"
        - partner = [{ domain = "a.example", certificate = "domain" }]
        + partner = [{ domain = "a.example", certificate = "domain" , rate = 5 }]
    "#]],
    );
    check(
        text,
        &Change::AddMember { hub: "h.example".into(), domain: "b.example".into() },
        expect![[r#"
        - clearinghouse = [{ name = "h.example" }]
        + clearinghouse = [{ name = "h.example" , members = ["b.example"] }]
    "#]],
    );
    check(
        text,
        &Change::Remove { domain: "a.example".into() },
        expect![[r#"
        - partner = [{ domain = "a.example", certificate = "domain" }]
        + partner = []
    "#]],
    );
}

#[test]
fn hubs_come_change_and_go() {
    let hub = |hub: &str, entry, members: &[&str]| {
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        Change::AllowHub { hub: hub.into(), entry, members }
    };
    check(
        TEXT,
        &hub(
            "Hub.Other.example",
            EntryChange {
                next_hop: Some("192.0.2.9:5061".into()),
                vouches: Some("member-list".into()),
                modalities: Some(Modality::Im.into()),
                owner: Some("Erin".into()),
                ..EntryChange::default()
            },
            &["Adatum.example", "tailspin.example"],
        ),
        expect![[r#"
            + name = "hub.other.example"
            + next_hop = "192.0.2.9:5061"
            + vouches = "member-list"
            + owner = "Erin"
            + modalities = ["im"]
            + members = ["adatum.example", "tailspin.example"]
        "#]],
    );
    check(
        TEXT,
        &hub(
            "hub.trade.example",
            EntryChange { rate: Some(5), ..EntryChange::default() },
            &["adatum.example"],
        ),
        expect![[r#"
            +     "adatum.example",
            + rate = 5
        "#]],
    );
    check(
        TEXT,
        &hub(
            "hub.trade.example",
            EntryChange { vouches: Some("nobody".into()), ..EntryChange::default() },
            &[],
        ),
        expect![[r#"
            this would make the policy wrong, so that nothing was changed:
            line 17: clearinghouse.vouches: "nobody" is none of "member-header", "member-list"
              help: choose "member-header", "member-list"
        "#]],
    );
    check(
        TEXT,
        &hub("hub.other.example", EntryChange::default(), &["northwind.example"]),
        expect![[r#"
        this would make the policy wrong, so that nothing was changed:
        line 20: clearinghouse.members: hub.trade.example speaks for northwind.example too
          help: list it with one hub, or add a [[partner]] that says which: mode = "clearinghouse", via = "…"
    "#]],
    );
    check(
        TEXT,
        &hub("not a name", EntryChange::default(), &[]),
        expect![[r#"
        "not a name" is no domain name
    "#]],
    );
    check(
        TEXT,
        &Change::RemoveHub { hub: "Hub.trade.example".into() },
        expect![[r#"
        - [[clearinghouse]]
        - name = "hub.trade.example"
        - members = [
        -     "northwind.example", # since 2025
        - ]
    "#]],
    );
    check(
        TEXT,
        &Change::RemoveHub { hub: "hub.other.example".into() },
        expect![[r#"
        hub.other.example does not stand in any [[clearinghouse]]
    "#]],
    );
    let used = format!(
        "{TEXT}[[partner]]\ndomain = \"a.example\"\nmode = \"clearinghouse\"\nvia = \"hub.trade.example\"\n"
    );
    check(
        &used,
        &Change::RemoveHub { hub: "hub.trade.example".into() },
        expect![[r#"
        this would make the policy wrong, so that nothing was changed:
        line 17: partner.via: there is no clearinghouse "hub.trade.example"
          help: add a section [[clearinghouse]] of that name
    "#]],
    );
}
