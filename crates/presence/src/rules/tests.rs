//! Who sees what, and what changes of it leave alone.

use directory::{DomainName, SipAddress};
use proptest::prelude::*;

use super::{Defaults, Reason, Rules, RulesError, Subject, Watcher, set_level};
use crate::testing::{schema, validate_by};
use crate::{Level, Relation};

const HEAD: &str = "<cr:ruleset xmlns:cr='urn:ietf:params:xml:ns:common-policy' xmlns:pr='urn:ietf:params:xml:ns:pres-rules' \
    xmlns:c='urn:chancery:pres-rules' xmlns:ocp='urn:oma:xml:xdm:common-policy'>";
const NOW: u64 = 1_795_334_400_000;

fn address(text: &str) -> SipAddress {
    SipAddress::parse(text).expect("an address")
}

fn document(rules: &str) -> String {
    format!("{HEAD}{rules}</cr:ruleset>")
}

fn rules(text: &str) -> Rules {
    Rules::read(document(text).as_bytes()).expect("it is taken")
}

fn rule(id: &str, conditions: &str, actions: &str) -> String {
    let (handling, rest) = actions.split_once(' ').unwrap_or((actions, ""));
    let handling = if handling.is_empty() {
        String::new()
    } else {
        format!("<cr:actions><pr:sub-handling>{handling}</pr:sub-handling></cr:actions>")
    };
    format!(
        "<cr:rule id='{id}'><cr:conditions>{conditions}</cr:conditions>{handling}<cr:transformations>{rest}</cr:transformations></cr:rule>"
    )
}

fn one(user: &str) -> String {
    format!("<cr:identity><cr:one id='sip:{user}'/></cr:identity>")
}

/// Who decides and how, for a watcher; a partner where the domain is another.
fn decide(rules: &Rules, watcher: &str, now: u64) -> String {
    let address = address(watcher);
    let relation =
        if address.domain() == "contoso.example" { Relation::SameOrganisation } else { Relation::Federated };
    let decision =
        rules.level(&Watcher { address: &address, aliases: &[], relation }, &Defaults::default(), now);
    let why = match decision.why {
        Reason::Rule(id) => id,
        Reason::Default(_) => "default",
    };
    format!("{}{} by {why}", decision.level.name(), if decision.is_pending { " (pending)" } else { "" })
}

#[track_caller]
fn check(rules: &Rules, watcher: &str, expected: &str) {
    assert_eq!(decide(rules, watcher, NOW), expected, "{watcher}");
}

#[test]
fn without_rules_the_relation_decides() {
    check(&Rules::default(), "bob@contoso.example", "company by default");
    check(&Rules::default(), "bob@fabrikam.example", "external by default");
}

#[test]
fn the_closest_rule_decides() {
    let level = |level: &str| format!("allow <c:level>{level}</c:level>");
    let all = [
        rule("all", "", &level("personal")),
        rule("ours", "<c:same-organisation/>", &level("team")),
        rule("theirs", "<c:federated/>", "polite-block"),
        rule("domain", "<cr:identity><cr:many domain='Fabrikam.example'/></cr:identity>", &level("company")),
        rule("bob", &one("bob@contoso.example"), "block"),
        rule("eve", &one("Eve@fabrikam.example"), &level("external")),
    ];
    let rules = rules(&all.concat());
    check(&rules, "bob@contoso.example", "blocked by bob");
    check(&rules, "carol@contoso.example", "team by ours");
    check(&rules, "dave@fabrikam.example", "company by domain");
    check(&rules, "eve@fabrikam.example", "external by eve");
    check(&rules, "zoe@litware.example", "blocked by theirs");
    let without = Rules::read(document(&all[..1].concat()).as_bytes()).expect("taken");
    check(&without, "zoe@litware.example", "personal by all");
    let subjects: Vec<_> = rules.subjects().map(|(subject, level, id)| (subject, level.name(), id)).collect();
    assert_eq!(subjects[0], (Subject::Everybody, "personal", "all"));
    assert_eq!(subjects[2], (Subject::Federated, "blocked", "theirs"));
    assert_eq!(subjects[4], (Subject::User(address("bob@contoso.example")), "blocked", "bob"));
}

#[test]
fn equally_close_rules_add_up() {
    let bob = one("bob@contoso.example");
    let both =
        rules(&[rule("a", &bob, "block"), rule("b", &bob, "allow"), rule("c", &bob, "confirm")].concat());
    check(&both, "bob@contoso.example", "external by b");
    let asked = rules(&[rule("a", &bob, "block"), rule("c", &bob, "confirm")].concat());
    check(&asked, "bob@contoso.example", "blocked (pending) by c");
    let polite = rules(&[rule("c", &bob, "confirm"), rule("p", &bob, "polite-block")].concat());
    check(&polite, "bob@contoso.example", "blocked by p");
}

#[test]
fn levels_come_from_what_is_provided() {
    let persons = "<pr:provide-persons><pr:all-persons/></pr:provide-persons>";
    let services = "<pr:provide-services><pr:all-services/></pr:provide-services>";
    let devices = "<pr:provide-devices><pr:all-devices/></pr:provide-devices>";
    let company = "<pr:provide-activities>true</pr:provide-activities><pr:provide-note>1</pr:provide-note>\
        <pr:provide-user-input>bare</pr:provide-user-input>";
    let place = "<pr:provide-place-type>true</pr:provide-place-type>";
    let all = "<pr:provide-all-attributes/>";
    for (transformations, level) in [
        (String::new(), "external"),
        (format!("{persons}{services}"), "external"),
        (format!("{services}{company}"), "external"),
        (format!("{persons}{services}{company}"), "company"),
        (format!("{persons}{services}{}", company.replace("bare", "false")), "external"),
        (format!("{persons}{services}{company}{place}"), "team"),
        (format!("{persons}{services}{all}"), "team"),
        (format!("{devices}{persons}{services}{all}"), "personal"),
        (format!("{all}<c:level>external</c:level>"), "external"),
        (format!("{all}<c:level>nonsense</c:level>"), "external"),
    ] {
        let rules = rules(&rule("r", "", &format!("allow {transformations}")));
        check(&rules, "bob@contoso.example", &format!("{level} by r"));
    }
    // What only speaks of transformations says nothing of who may watch.
    check(&rules(&rule("r", "", &format!(" {all}"))), "bob@contoso.example", "company by default");
    check(&rules(&rule("r", "", " <c:level>team</c:level>")), "bob@contoso.example", "team by r");
    // A client that does not know our element has changed the action.
    check(&rules(&rule("r", "", "block <c:level>team</c:level>")), "bob@contoso.example", "blocked by r");
}

#[test]
fn all_conditions_must_hold() {
    let from_until = |from: &str, until: &str| {
        format!("<cr:validity><cr:from>{from}</cr:from><cr:until>{until}</cr:until></cr:validity>")
    };
    let bob = one("bob@contoso.example");
    let rules_of = |conditions: String| rules(&rule("r", &conditions, "block"));
    for (conditions, holds) in [
        (bob.clone(), true),
        (format!("{bob}{}", from_until("2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z")), true),
        (format!("{bob}{}", from_until("2026-11-22T00:00:00Z", "2026-11-22T08:00:00Z")), false),
        (format!("{bob}{}", from_until("2026-11-22T08:00:01Z", "2026-11-23T00:00:00Z")), false),
        (format!("{bob}{}", from_until("yesterday", "tomorrow")), false),
        (format!("{bob}<cr:sphere value='work'/>"), false),
        (format!("{bob}<c:same-organisation/>"), true),
        (format!("{bob}<c:federated/>"), false),
        (format!("{bob}<c:federated/><c:same-organisation/>"), false),
        (format!("{bob}<x:unknown xmlns:x='urn:x'/>"), false),
        (format!("{bob}{bob}"), false),
        ("<cr:identity/>".into(), false),
        ("<ocp:other-identity/>".into(), true),
        ("<cr:identity><cr:many/></cr:identity>".into(), true),
        ("<cr:identity><cr:many><cr:except domain='contoso.example'/></cr:many></cr:identity>".into(), false),
        (
            "<cr:identity><cr:many><cr:except id='sip:bob@contoso.example'/></cr:many></cr:identity>".into(),
            false,
        ),
        (
            "<cr:identity><cr:many><cr:except id='sip:eve@contoso.example'/></cr:many></cr:identity>".into(),
            true,
        ),
        ("<cr:identity><cr:many><cr:except/></cr:many></cr:identity>".into(), false),
        ("<cr:identity><cr:many domain='contoso.example'/></cr:identity>".into(), true),
        ("<cr:identity><cr:many domain='example'/></cr:identity>".into(), false),
        (format!("<cr:identity><cr:one id='tel:+1'/>{}", &bob["<cr:identity>".len()..]), true),
    ] {
        let expected = if holds { "blocked by r" } else { "company by default" };
        let decision = decide(&rules_of(conditions.clone()), "bob@contoso.example", NOW);
        assert_eq!(decision, expected, "{conditions}");
    }
    let timed = rules_of(format!("{bob}{}", from_until("2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z")));
    assert_eq!(timed.next_change(NOW), Some(NOW + 3_600_000));
    assert_eq!(timed.next_change(NOW + 3_600_000), Some(NOW + 7_200_000));
    assert_eq!(timed.next_change(NOW + 7_200_000), None);
}

#[test]
fn what_is_no_ruleset_is_refused() {
    assert_eq!(Rules::read(b"<ruleset/>"), Err(RulesError::NotRuleset));
    let of = |text: &str| Rules::read(document(text).as_bytes());
    assert_eq!(of("<cr:rule/>"), Err(RulesError::BadId));
    for inner in [
        "<cr:other/>",
        "text",
        "<cr:rule id='a'>text</cr:rule>",
        "<cr:rule id='a'><pr:sub-handling>allow</pr:sub-handling></cr:rule>",
        "<cr:rule id='a'><cr:conditions/><cr:conditions/></cr:rule>",
        "<cr:rule id='a'><cr:actions/><cr:conditions/></cr:rule>",
        "<cr:rule id='a'><cr:conditions><cr:other/></cr:conditions></cr:rule>",
        "<cr:rule id='a'><cr:actions><pr:sub-handling>nonsense</pr:sub-handling></cr:actions></cr:rule>",
    ] {
        assert!(matches!(of(inner), Err(RulesError::Schema(_))), "{inner}");
    }
    assert_eq!(of("<cr:rule id='a'/><cr:rule id='a'/>"), Err(RulesError::BadId));
    let many: String = (0..=super::RULES_MAX).map(|n| format!("<cr:rule id='r{n}'/>")).collect();
    assert_eq!(of(&many), Err(RulesError::TooManyRules));
}

#[test]
fn a_level_is_set_in_a_new_document() {
    let made = set_level(None, &Subject::User(address("jürgen@contoso.example")), Some(Level::Company));
    expect_test::expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <ruleset xmlns="urn:ietf:params:xml:ns:common-policy"><rule xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules" xmlns:c="urn:chancery:pres-rules" id="company"><conditions><identity><one id="sip:j%C3%BCrgen@contoso.example"/></identity></conditions><actions><pr:sub-handling>allow</pr:sub-handling></actions><transformations><pr:provide-persons><pr:all-persons/></pr:provide-persons><pr:provide-services><pr:all-services/></pr:provide-services><pr:provide-activities>true</pr:provide-activities><pr:provide-note>true</pr:provide-note><pr:provide-user-input>full</pr:provide-user-input><c:level>company</c:level></transformations></rule></ruleset>
    "#]]
    .assert_eq(&made.expect("made").replace("\r\n", "\n"));
}

#[test]
fn what_is_written_is_valid_by_the_schema() {
    let subjects = [
        Subject::User(address("jürgen@contoso.example")),
        Subject::Domain(DomainName::parse("fabrikam.example").expect("a name")),
        Subject::SameOrganisation,
        Subject::Federated,
        Subject::Everybody,
    ];
    let mut text = None;
    let mut documents = Vec::new();
    // Each is written into what the others left, and the last one taken out again.
    for level in Level::ALL.iter().map(|level| Some(*level)).chain([None]) {
        for subject in &subjects {
            let written = set_level(text.as_deref(), subject, level).expect("made");
            documents.push(written.clone().into_bytes());
            text = Some(written);
        }
    }
    validate_by(&schema("pres-rules.xsd"), &documents);
}

/// Without our own element, other servers see the same.
#[test]
fn written_levels_are_those_of_their_standard_elements() {
    for level in Level::ALL {
        let made = set_level(None, &Subject::Everybody, Some(*level)).expect("made");
        let plain = made.replace(&format!("<c:level>{}</c:level>", level.name()), "");
        for text in [&made, &plain] {
            let rules = Rules::read(text.as_bytes()).expect("read");
            check(&rules, "bob@contoso.example", &format!("{} by everybody", level.name()));
        }
    }
}

#[test]
fn a_subject_is_taken_out_of_rules_for_several() {
    let text = document(
        "\n <!-- friends -->\n <cr:rule id='friends'><cr:conditions><cr:identity>\n  <cr:one id='sip:bob@contoso.example'/>\n  \
         <cr:one id='sip:carol@contoso.example'/>\n </cr:identity></cr:conditions>\
         <cr:actions><pr:sub-handling>allow</pr:sub-handling></cr:actions></cr:rule>\n",
    );
    let bob = Subject::User(address("bob@contoso.example"));
    let changed = set_level(Some(&text), &bob, Some(Level::Blocked)).expect("made");
    let rules = Rules::read(changed.as_bytes()).expect("read");
    check(&rules, "bob@contoso.example", "blocked by blocked");
    check(&rules, "carol@contoso.example", "external by friends");
    assert!(changed.contains(
        "<!-- friends -->\n <cr:rule id='friends'><cr:conditions><cr:identity>\n  <cr:one id='sip:carol"
    ));
    let back = set_level(Some(&changed), &bob, None).expect("made");
    check(&Rules::read(back.as_bytes()).expect("read"), "bob@contoso.example", "company by default");
    assert_eq!(set_level(Some(&back), &bob, None).as_ref(), Ok(&back), "nothing to do changes nothing");
}

#[test]
fn users_and_domains_of_one_level_share_a_rule() {
    let user = |name: &str| Subject::User(address(name));
    let fabrikam = Subject::Domain(DomainName::parse("fabrikam.example").expect("a name"));
    let mut text = set_level(None, &user("bob@contoso.example"), Some(Level::Team)).expect("made");
    for subject in [user("carol@contoso.example"), fabrikam, user("bob@contoso.example")] {
        text = set_level(Some(&text), &subject, Some(Level::Team)).expect("made");
    }
    let identity = "<identity><one id=\"sip:bob@contoso.example\"/><one id=\"sip:carol@contoso.example\"/>\
        <many domain=\"fabrikam.example\"/></identity>";
    assert!(text.contains(identity), "{text}");
    assert_eq!(Rules::read(text.as_bytes()).expect("read").len(), 1);
    // A rule that looks alike but was made elsewhere, or has a condition more, is left alone.
    let foreign = document(&[rule("a", &one("eve@fabrikam.example"), "allow"), rule("b", &format!(
        "{}<cr:validity><cr:from>2026-01-01T00:00:00Z</cr:from><cr:until>2027-01-01T00:00:00Z</cr:until></cr:validity>",
        one("eve@fabrikam.example")
    ), "allow <c:level>external</c:level>")].concat());
    let changed =
        set_level(Some(&foreign), &user("bob@contoso.example"), Some(Level::External)).expect("made");
    assert_eq!(Rules::read(changed.as_bytes()).expect("read").len(), 3);
    check(&Rules::read(changed.as_bytes()).expect("read"), "bob@contoso.example", "external by external");
    // Each takes a few dozen octets, so that all contacts fit.
    let many = (0..200).try_fold(None, |text: Option<String>, n| {
        set_level(text.as_deref(), &user(&format!("user{n}@contoso.example")), Some(Level::Personal))
            .map(Some)
    });
    assert!(many.expect("made").expect("made").len() < 200 * 64 + 1024);
}

fn subject() -> impl Strategy<Value = Subject> {
    let user = |name: &str| Subject::User(address(name));
    let domain = |name: &str| Subject::Domain(DomainName::parse(name).expect("a name"));
    prop::sample::select(vec![
        user("bob@contoso.example"),
        user("carol@contoso.example"),
        user("eve@fabrikam.example"),
        domain("fabrikam.example"),
        domain("contoso.example"),
        Subject::SameOrganisation,
        Subject::Federated,
        Subject::Everybody,
    ])
}

proptest! {
    #[test]
    fn levels_that_are_set_are_those_that_count(
        steps in prop::collection::vec((subject(), prop::option::of(prop::sample::select(Level::ALL))), 1..24),
    ) {
        let foreign = "<!-- kept --><cr:rule id='other'><cr:conditions><cr:sphere value='x'/><cr:identity>\
            <cr:one id='sip:zoe@litware.example'/></cr:identity></cr:conditions></cr:rule>";
        let mut text = document(foreign);
        let mut model = std::collections::BTreeMap::new();
        for (subject, level) in steps {
            text = set_level(Some(&text), &subject, level).expect("made");
            match level {
                Some(level) => model.insert(subject, level),
                None => model.remove(&subject),
            };
            prop_assert!(text.contains(foreign));
            let rules = Rules::read(text.as_bytes()).expect("read");
            let named: std::collections::BTreeMap<_, _> = rules.subjects().map(|(subject, level, _)| (subject, level)).collect();
            prop_assert_eq!(&named, &model);
            prop_assert_eq!(rules.subjects().count(), model.len(), "once each");
            for watcher in ["bob@contoso.example", "dan@contoso.example", "eve@fabrikam.example", "fay@fabrikam.example", "zoe@litware.example"] {
                let watcher = address(watcher);
                let relation = if watcher.domain() == "contoso.example" { Relation::SameOrganisation } else { Relation::Federated };
                let of_relation = match relation {
                    Relation::SameOrganisation => Subject::SameOrganisation,
                    Relation::Federated => Subject::Federated,
                };
                let domain = Subject::Domain(DomainName::parse(watcher.domain()).expect("a name"));
                let closest = [Subject::User(watcher.clone()), domain, of_relation, Subject::Everybody];
                let expected = closest.iter().find_map(|subject| model.get(subject)).copied();
                let defaults = Defaults::default();
                let decision = rules.level(&Watcher { address: &watcher, aliases: &[], relation }, &defaults, NOW);
                prop_assert_eq!(decision.level, expected.unwrap_or(defaults.of(relation)));
                prop_assert_eq!(matches!(decision.why, Reason::Default(_)), expected.is_none());
            }
        }
    }

    #[test]
    fn nothing_that_is_read_breaks_rules(
        inner in "(<cr:(rule id='[a-c]'|conditions|identity|one id='sip:a@b.c'|many|many domain='b.c'|except id='x'|actions|validity|from)/?>|</cr:(rule|conditions|identity|one|many)>|1|<c:federated/>){0,14}",
    ) {
        let text = document(&inner);
        for subject in [Subject::User(address("a@b.c")), Subject::Everybody, Subject::Federated] {
            if let Ok(changed) = set_level(Some(&text), &subject, Some(Level::Team)) {
                let rules = Rules::read(changed.as_bytes()).expect("what was written is read");
                prop_assert!(rules.subjects().any(|(known, level, _)| known == subject && level == Level::Team));
            }
        }
    }
}

#[test]
fn what_was_said_of_somebody_holds_under_another_address() {
    let (old, new) = (address("bob@contoso.example"), address("robert@contoso.example"));
    let rules = rules(&rule("b", &one("bob@contoso.example"), "block"));
    let level = |aliases: &[SipAddress]| {
        let watcher = Watcher { address: &new, aliases, relation: Relation::SameOrganisation };
        rules.level(&watcher, &Defaults::default(), NOW).level
    };
    assert_eq!(level(&[old]), Level::Blocked);
    assert_ne!(level(&[]), Level::Blocked);
}
