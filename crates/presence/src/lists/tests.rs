//! Documents in, documents out.

use proptest::prelude::*;

use super::{CONTACTS_MAX, Contact, Edit, EditError, GROUPS_MAX, Group, Lists, ListsError, Member, edit};
use crate::testing::validate;
use crate::xml::XmlError;

const DOCUMENT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- kept -->
<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:x="urn:example:x">
  <list name="friends" x:colour="red">
    <display-name xml:lang="en">Friends</display-name>
    <entry uri="sip:bob@contoso.example">
      <display-name>Bob</display-name>
      <x:since>2007</x:since>
    </entry>
    <external anchor="https://elsewhere.example/list"/>
    <list name="close">
      <entry uri="sip:carol@contoso.example"/>
      <entry uri="sip:Bob@contoso.example;transport=tls"/>
    </list>
    <entry uri="tel:+4930123"/>
    <x:extension/>
  </list>
  <list><display-name>Colleagues</display-name></list>
</resource-lists>
"#;

/// Groups with their contacts, indented.
fn outline(document: &str) -> String {
    fn write(out: &mut String, group: &Group, indent: usize) {
        let name = group.name.as_deref().unwrap_or("-");
        let shown = group.display_name.as_deref().unwrap_or("-");
        *out += &format!("{:indent$}{name} [{shown}]\n", "");
        for member in &group.members {
            match member {
                Member::Contact(contact) => {
                    let shown = contact.display_name.as_deref().unwrap_or("-");
                    *out += &format!("{:indent$}  {} [{shown}]\n", "", contact.uri);
                }
                Member::Group(inner) => write(out, inner, indent + 2),
            }
        }
    }
    let mut out = String::new();
    let lists = Lists::read(document.as_bytes()).expect("it is taken");
    lists.groups.iter().for_each(|group| write(&mut out, group, 0));
    out
}

fn contact(uri: &str) -> Contact {
    Contact::new(uri, None)
}

/// The lines that a change takes away and adds.
#[track_caller]
fn check(change: &Edit<'_>, expected: expect_test::Expect) {
    let changed = edit(Some(DOCUMENT), change).expect("it is made");
    validate("resource-lists.xsd", &[changed.clone().into_bytes()]);
    let (old, new): (Vec<_>, Vec<_>) = (DOCUMENT.lines().collect(), changed.lines().collect());
    let mut diff = String::new();
    old.iter().filter(|line| !new.contains(line)).for_each(|line| diff += &format!("-{line}\n"));
    new.iter().filter(|line| !old.contains(line)).for_each(|line| diff += &format!("+{line}\n"));
    expected.assert_eq(&diff);
}

#[test]
fn a_document_is_read() {
    expect_test::expect![[r#"
        friends [Friends]
          sip:bob@contoso.example [Bob]
          close [-]
            sip:carol@contoso.example [-]
            sip:Bob@contoso.example;transport=tls [-]
          tel:+4930123 [-]
        - [Colleagues]
    "#]]
    .assert_eq(&outline(DOCUMENT));
    let lists = Lists::read(DOCUMENT.as_bytes()).expect("it is taken");
    let uris: Vec<_> = lists.entries().iter().map(|contact| &*contact.uri).collect();
    assert_eq!(uris, ["sip:bob@contoso.example", "sip:carol@contoso.example", "tel:+4930123"]);
    assert_eq!(lists.all_groups().count(), 3);
    assert!(
        lists.group("Colleagues").is_some() && lists.group("close").is_some() && lists.group("x").is_none()
    );
    let carol = contact("sip:carol@contoso.example").address.expect("an address");
    assert!(lists.has(&carol));
}

#[test]
fn groups_are_changed() {
    check(
        &Edit::AddGroup { group: "A & B" },
        expect_test::expect![[r#"
            +  <list name="A &amp; B"><display-name>A &amp; B</display-name></list>
        "#]],
    );
    check(
        &Edit::RemoveGroup { group: "close" },
        expect_test::expect![[r#"
            -    <list name="close">
            -      <entry uri="sip:carol@contoso.example"/>
            -      <entry uri="sip:Bob@contoso.example;transport=tls"/>
            -    </list>
        "#]],
    );
    check(
        &Edit::RenameGroup { group: "friends", name: "Pals" },
        expect_test::expect![[r#"
            -  <list name="friends" x:colour="red">
            -    <display-name xml:lang="en">Friends</display-name>
            +  <list name="Pals" x:colour="red">
            +    <display-name xml:lang="en">Pals</display-name>
        "#]],
    );
    check(
        &Edit::RenameGroup { group: "Colleagues", name: "Work" },
        expect_test::expect![[r#"
            -  <list><display-name>Colleagues</display-name></list>
            +  <list name="Work"><display-name>Work</display-name></list>
        "#]],
    );
}

#[test]
fn contacts_are_changed() {
    let dave = Contact::new("sip:dave@contoso.example", Some("Dave <3"));
    check(
        &Edit::AddContact { group: Some("friends"), contact: &dave },
        expect_test::expect![[r#"
            +    <entry uri="sip:dave@contoso.example"><display-name>Dave &lt;3</display-name></entry>
        "#]],
    );
    let bob = Contact::new("sip:bob@contoso.example", Some("Robert"));
    check(
        &Edit::AddContact { group: None, contact: &bob },
        expect_test::expect![[r#"
            -      <display-name>Bob</display-name>
            +      <display-name>Robert</display-name>
        "#]],
    );
    check(
        &Edit::MoveContact { contact: &contact("sip:carol@contoso.example"), group: "Colleagues" },
        expect_test::expect![[r#"
            -      <entry uri="sip:carol@contoso.example"/>
            -  <list><display-name>Colleagues</display-name></list>
            +  <list><display-name>Colleagues</display-name><entry uri="sip:carol@contoso.example"/></list>
        "#]],
    );
    check(
        &Edit::MoveContact { contact: &bob, group: "close" },
        expect_test::expect![[r#"
            -    <entry uri="sip:bob@contoso.example">
            -      <display-name>Bob</display-name>
            -      <x:since>2007</x:since>
            -    </entry>
        "#]],
    );
    check(
        &Edit::RemoveContact { group: None, contact: &bob },
        expect_test::expect![[r#"
            -    <entry uri="sip:bob@contoso.example">
            -      <display-name>Bob</display-name>
            -      <x:since>2007</x:since>
            -    </entry>
            -      <entry uri="sip:Bob@contoso.example;transport=tls"/>
        "#]],
    );
    check(
        &Edit::RemoveContact { group: Some("close"), contact: &bob },
        expect_test::expect![[r#"
            -      <entry uri="sip:Bob@contoso.example;transport=tls"/>
        "#]],
    );
}

#[test]
fn a_document_is_made_where_there_is_none() {
    let bob = Contact::new("sip:bob@contoso.example", Some("Bob"));
    let made = edit(None, &Edit::AddContact { group: None, contact: &bob }).expect("made");
    expect_test::expect![[r#"
        contacts [contacts]
          sip:bob@contoso.example [Bob]
    "#]]
    .assert_eq(&outline(&made));
    let grouped = edit(Some(&made), &Edit::AddGroup { group: "Work" }).expect("made");
    let moved = edit(Some(&grouped), &Edit::MoveContact { contact: &bob, group: "Work" }).expect("made");
    expect_test::expect![[r#"
        contacts [contacts]
        Work [Work]
          sip:bob@contoso.example [Bob]
    "#]]
    .assert_eq(&outline(&moved));
    validate("resource-lists.xsd", &[made.into_bytes(), grouped.into_bytes(), moved.into_bytes()]);
}

#[test]
fn an_entry_that_moves_keeps_what_it_says() {
    let of = |on_root: &str, on_list: &str| {
        format!(
            "<resource-lists xmlns='urn:ietf:params:xml:ns:resource-lists'{on_root}><list name='a'{on_list}>\
             <entry uri='sip:bob@b.example' x:since='2007'><x:y/></entry></list><list name='b'/></resource-lists>"
        )
    };
    let bob = contact("sip:bob@b.example");
    let moved =
        |text: &str| edit(Some(text), &Edit::MoveContact { contact: &bob, group: "b" }).expect("made");
    let whole = moved(&of(" xmlns:x='urn:x'", ""));
    assert!(
        whole.contains("<list name='b'><entry uri='sip:bob@b.example' x:since='2007'><x:y/></entry></list>")
    );
    // Where the prefix would mean nothing, the contact moves and its extension is lost.
    let plain = moved(&of("", " xmlns:x='urn:x'"));
    assert!(plain.contains("<list name='b'><entry uri=\"sip:bob@b.example\"/></list>"));
}

#[test]
fn prefixes_are_those_of_the_document() {
    let text = "<rl:resource-lists xmlns:rl='urn:ietf:params:xml:ns:resource-lists'><rl:list name='a'/></rl:resource-lists>";
    let bob = Contact::new("sip:bob@contoso.example", Some("Bob"));
    let changed = edit(Some(text), &Edit::AddContact { group: Some("a"), contact: &bob }).expect("made");
    assert_eq!(
        changed,
        "<rl:resource-lists xmlns:rl='urn:ietf:params:xml:ns:resource-lists'><rl:list name='a'>\
         <rl:entry uri=\"sip:bob@contoso.example\"><rl:display-name>Bob</rl:display-name></rl:entry></rl:list></rl:resource-lists>"
    );
}

#[test]
fn what_cannot_be_changed_is_said() {
    let nobody = contact("sip:nobody@contoso.example");
    for (change, error) in [
        (Edit::RemoveGroup { group: "x" }, EditError::NoSuchGroup),
        (Edit::AddGroup { group: "friends" }, EditError::GroupExists),
        (Edit::AddGroup { group: "" }, EditError::BadName),
        (Edit::AddGroup { group: "a\nb" }, EditError::BadName),
        (Edit::RenameGroup { group: "close", name: "friends" }, EditError::GroupExists),
        (Edit::RemoveContact { group: None, contact: &nobody }, EditError::NoSuchContact),
        (Edit::MoveContact { group: "close", contact: &nobody }, EditError::NoSuchContact),
        (Edit::AddContact { group: None, contact: &contact("bob") }, EditError::BadName),
        (Edit::AddContact { group: None, contact: &contact("sip:a b") }, EditError::BadName),
    ] {
        assert_eq!(edit(Some(DOCUMENT), &change), Err(error), "{change:?}");
    }
    let broken = edit(Some("<a"), &Edit::AddGroup { group: "x" });
    assert!(matches!(broken, Err(EditError::Lists(ListsError::Xml(XmlError::NotWellFormed(_))))));
}

#[test]
fn limits_hold() {
    let of = |inner: &str| {
        let text =
            format!("<resource-lists xmlns='urn:ietf:params:xml:ns:resource-lists'>{inner}</resource-lists>");
        Lists::read(text.as_bytes())
    };
    let entries: String = (0..CONTACTS_MAX).map(|n| format!("<entry uri='sip:u{n}@a.example'/>")).collect();
    assert_eq!(of(&format!("<list>{entries}</list>")).expect("allowed").entries().len(), CONTACTS_MAX);
    let more = of(&format!("<list>{entries}<entry uri='sip:x@a.example'/></list>"));
    assert_eq!(more, Err(ListsError::TooManyContacts));
    assert!(of(&"<list/>".repeat(GROUPS_MAX)).is_ok());
    assert_eq!(of(&"<list/>".repeat(GROUPS_MAX + 1)), Err(ListsError::TooManyGroups));
    assert_eq!(of("<list><entry/></list>"), Err(ListsError::BadEntry));
    for inner in [
        "<entry uri='sip:a@b.example'/>",
        "<list>text</list>",
        "<list><resource-lists/></list>",
        "<list><display-name>a</display-name><display-name>b</display-name></list>",
        "<list><entry uri='sip:a@b.example'><entry uri='sip:a@b.example'/></entry></list>",
        "<list><entry-ref/></list>",
    ] {
        assert!(matches!(of(inner), Err(ListsError::Schema(_))), "{inner}");
    }
    assert!(of("<list><entry-ref ref='x'/><x:y xmlns:x='urn:x'/><external/></list>").is_ok());
    assert_eq!(Lists::read(b"<resource-lists/>"), Err(ListsError::NotResourceLists));
}

#[test]
fn lists_in_requests_may_lack_their_end() {
    let body = "<resource-lists xmlns='urn:ietf:params:xml:ns:resource-lists'><list><entry uri='sip:a@b.example'/></list></re";
    assert_eq!(Lists::read_recipients(body.as_bytes()).expect("taken").entries().len(), 1);
    assert!(Lists::read(body.as_bytes()).is_err());
}

/// What the operations must do, on a model of their own.
#[derive(Clone, Debug)]
enum Step {
    AddGroup(usize),
    RemoveGroup(usize),
    Rename(usize, usize),
    Add(usize, usize),
    Move(usize, usize),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..4).prop_map(Step::AddGroup),
        (0usize..4).prop_map(Step::RemoveGroup),
        (0usize..4, 0usize..4).prop_map(|(a, b)| Step::Rename(a, b)),
        (0usize..4, 0usize..5).prop_map(|(g, c)| Step::Add(g, c)),
        (0usize..5, 0usize..4).prop_map(|(c, g)| Step::Move(c, g)),
        (0usize..5).prop_map(Step::Remove),
    ]
}

proptest! {
    #[test]
    fn edits_do_what_a_model_does_and_touch_nothing_else(steps in prop::collection::vec(step(), 1..20)) {
        let foreign = ["<!-- one -->", "<x:note xmlns:x='urn:x'>  kept &amp; </x:note>", "<?keep this?>"];
        let mut text = format!(
            "{}\n<resource-lists xmlns='urn:ietf:params:xml:ns:resource-lists'>\n {}\n <list name='kept'>{}</list>\n</resource-lists>",
            foreign[0], foreign[2], foreign[1]
        );
        let mut model: Vec<(usize, Vec<usize>)> = Vec::new();
        let name = |n: usize| format!("g{n}");
        let who = |n: usize| Contact::new(&format!("sip:u{n}@a.example"), n.is_multiple_of(2).then_some("N"));
        for step in steps {
            let at = |model: &[(usize, Vec<usize>)], group: usize| model.iter().position(|(g, _)| *g == group);
            let (made, expected) = match step {
                Step::AddGroup(g) => {
                    let is_new = at(&model, g).is_none();
                    if is_new { model.push((g, Vec::new())) }
                    (edit(Some(&text), &Edit::AddGroup { group: &name(g) }), is_new)
                }
                Step::RemoveGroup(g) => {
                    let found = at(&model, g);
                    if let Some(at) = found { model.remove(at); }
                    (edit(Some(&text), &Edit::RemoveGroup { group: &name(g) }), found.is_some())
                }
                Step::Rename(g, to) => {
                    let found = at(&model, g).filter(|_| g == to || at(&model, to).is_none());
                    if let Some(at) = found { model[at].0 = to; }
                    (edit(Some(&text), &Edit::RenameGroup { group: &name(g), name: &name(to) }), found.is_some())
                }
                Step::Add(g, c) => {
                    let found = at(&model, g);
                    if let Some(at) = found && !model[at].1.contains(&c) { model[at].1.push(c); }
                    (edit(Some(&text), &Edit::AddContact { group: Some(&name(g)), contact: &who(c) }), found.is_some())
                }
                Step::Move(c, g) => {
                    let found = at(&model, g).filter(|_| model.iter().any(|(_, cs)| cs.contains(&c)));
                    if let Some(at) = found {
                        let stays = model[at].1.contains(&c);
                        for (n, (_, contacts)) in model.iter_mut().enumerate() {
                            contacts.retain(|other| *other != c || (stays && n == at));
                        }
                        if !stays { model[at].1.push(c); }
                    }
                    (edit(Some(&text), &Edit::MoveContact { contact: &who(c), group: &name(g) }), found.is_some())
                }
                Step::Remove(c) => {
                    let is_found = model.iter().any(|(_, cs)| cs.contains(&c));
                    model.iter_mut().for_each(|(_, cs)| cs.retain(|other| *other != c));
                    (edit(Some(&text), &Edit::RemoveContact { group: None, contact: &who(c) }), is_found)
                }
            };
            prop_assert_eq!(made.is_ok(), expected, "{:?}", made);
            text = made.unwrap_or(text);
            let lists = Lists::read(text.as_bytes()).expect("what an edit makes is read");
            let groups: Vec<_> = lists.groups[1..]
                .iter()
                .map(|g| (g.name.clone().expect("named").into_string(), g.contacts().cloned().collect::<Vec<_>>()))
                .collect();
            let expected: Vec<_> =
                model.iter().map(|(g, cs)| (name(*g), cs.iter().map(|c| who(*c)).collect::<Vec<_>>())).collect();
            prop_assert_eq!(groups, expected);
            prop_assert!(foreign.iter().all(|part| text.contains(part)), "{}", text);
        }
    }

    #[test]
    fn nothing_that_is_read_breaks_reader_or_edits(inner in "(<(list|entry|display-name|x)( (name|uri)='[a-z:]{0,5}')?/?>|</(list|entry|display-name|x)>|[a-z ]{0,3}){0,14}") {
        let text = format!("<resource-lists xmlns='urn:ietf:params:xml:ns:resource-lists'>{inner}</resource-lists>");
        let who = contact("a:b");
        for change in [
            Edit::AddGroup { group: "a" },
            Edit::RemoveGroup { group: "a" },
            Edit::RenameGroup { group: "a", name: "b" },
            Edit::AddContact { group: None, contact: &who },
            Edit::MoveContact { group: "a", contact: &who },
            Edit::RemoveContact { group: None, contact: &who },
        ] {
            if let Ok(changed) = edit(Some(&text), &change) {
                prop_assert!(Lists::read(changed.as_bytes()).is_ok());
            }
        }
    }
}
