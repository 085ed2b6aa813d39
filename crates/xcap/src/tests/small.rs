//! Conditions, error bodies, capabilities, changes.

use expect_test::expect;

use super::*;
use crate::conditions::{Decision, Intent, State, decide};
use crate::diff::Changed;

#[test]
fn conditions_are_decided() {
    use Decision::{Failed, Go, Malformed, NotModified};
    let there = State { tag: Some("x"), exists: true };
    let node_absent = State { tag: Some("x"), exists: false };
    let absent = State { tag: None, exists: false };
    for (state, if_match, if_none_match, read, write) in [
        (there, None, None, Go, Go),
        (absent, None, None, Go, Go),
        (there, Some("\"x\""), None, Go, Go),
        (there, Some("\"y\", \"x\""), None, Go, Go),
        (there, Some(" ,\"y\" , \"x\","), None, Go, Go),
        (there, Some("\"y\""), None, Failed, Failed),
        (there, Some("W/\"x\""), None, Failed, Failed),
        (there, Some("*"), None, Go, Go),
        (absent, Some("*"), None, Failed, Failed),
        (absent, Some("\"x\""), None, Failed, Failed),
        // A node is inserted into the document that the client knows.
        (node_absent, Some("\"x\""), None, Go, Go),
        (node_absent, Some("\"y\""), None, Failed, Failed),
        (node_absent, Some("*"), None, Failed, Failed),
        (node_absent, None, Some("*"), Go, Go),
        (node_absent, None, Some("\"x\""), Go, Go),
        (there, None, Some("*"), NotModified, Failed),
        (absent, None, Some("*"), Go, Go),
        (there, None, Some("\"x\""), NotModified, Failed),
        (there, None, Some("\"y\", W/\"x\""), NotModified, Failed),
        (there, None, Some("\"y\""), Go, Go),
        (there, Some("\"x\""), Some("\"x\""), NotModified, Failed),
        (there, Some("\"y\""), Some("\"x\""), Failed, Failed),
        (there, Some("x"), None, Malformed, Malformed),
        (there, Some(""), None, Malformed, Malformed),
        (there, Some("\"x"), None, Malformed, Malformed),
        (there, Some("\"x\" \"y\""), None, Malformed, Malformed),
        (there, Some("*, \"x\""), None, Malformed, Malformed),
        (there, None, Some("w/\"x\""), Malformed, Malformed),
        (there, None, Some("\"a b\""), Malformed, Malformed),
    ] {
        let told = format!("{if_match:?} {if_none_match:?} {state:?}");
        assert_eq!(decide(Intent::Read, if_match, if_none_match, state), read, "{told}");
        assert_eq!(decide(Intent::Write, if_match, if_none_match, state), write, "{told}");
    }
    let many = vec!["\"x\""; conditions::TAGS_MAX + 1].join(",");
    assert_eq!(decide(Intent::Write, Some(&many), None, there), Malformed);
}

#[test]
fn conflicts_are_told_as_documents() {
    let taken = Conflict::Uniqueness(vec![Taken {
        field: "rls-services/service[@uri=\"sip:a@example.com\"]/@uri".to_owned(),
        alternatives: vec!["sip:a&b@example.com".to_owned()],
    }]);
    expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <xcap-error xmlns="urn:ietf:params:xml:ns:xcap-error"><uniqueness-failure phrase="something else has this already"><exists field="rls-services/service[@uri=&quot;sip:a@example.com&quot;]/@uri"><alt-value>sip:a&amp;b@example.com</alt-value></exists></uniqueness-failure></xcap-error>
    "#]]
    .assert_eq(&taken.body());
    for (conflict, name) in [
        (Conflict::NotWellFormed("a\u{0}<".to_owned()), "not-well-formed"),
        (Conflict::NotXmlFragment("a".to_owned()), "not-xml-frag"),
        (Conflict::NoParent { ancestor: "http://a/?b&c".to_owned() }, "no-parent"),
        (Conflict::Schema("a".to_owned()), "schema-validation-error"),
        (Conflict::NotAttributeValue, "not-xml-att-value"),
        (Conflict::CannotInsert("a"), "cannot-insert"),
        (Conflict::CannotDelete("a"), "cannot-delete"),
        (taken, "uniqueness-failure"),
        (Conflict::Constraint("a".to_owned()), "constraint-failure"),
        (Conflict::NotUtf8, "not-utf-8"),
    ] {
        let body = conflict.body();
        let selector = NodeSelector::parse(&format!("xcap-error/{name}/@phrase"), "").unwrap();
        let found = get(&body, Some(&selector), "urn:ietf:params:xml:ns:xcap-error");
        assert!(found.is_some_and(|found| !found.body.is_empty()), "{body}");
    }
}

#[test]
fn what_the_server_knows_is_told() {
    let text = caps::document(&["xcap-caps", "resource-lists"], &[caps::NAMESPACE, "urn:a&b"]);
    expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <xcap-caps xmlns="urn:ietf:params:xml:ns:xcap-caps">
          <auids>
            <auid>xcap-caps</auid>
            <auid>resource-lists</auid>
          </auids>
          <namespaces>
            <namespace>urn:ietf:params:xml:ns:xcap-caps</namespace>
            <namespace>urn:a&amp;b</namespace>
          </namespaces>
        </xcap-caps>
    "#]]
    .assert_eq(&text);
    assert!(Document::parse(&text).is_ok());
}

#[test]
fn what_has_changed_is_told() {
    let changed = |path: &str, previous: Option<&str>, new: Option<&str>| Changed {
        path: path.to_owned(),
        previous_tag: previous.map(str::to_owned),
        new_tag: new.map(str::to_owned),
    };
    let text = diff::document(
        ROOT,
        &[
            changed("resource-lists/users/sip:a@example.com/index", None, Some("1")),
            changed("pres-rules/users/sip:a@example.com/index", Some("2"), Some("3")),
            changed("rls-services/users/sip:a@example.com/a'b", Some("4"), None),
        ],
    );
    expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <xcap-diff xmlns="urn:ietf:params:xml:ns:xcap-diff" xcap-root="https://xcap.example.com/xcap/">
          <document new-etag="1" sel="resource-lists/users/sip:a@example.com/index"/>
          <document new-etag="3" sel="pres-rules/users/sip:a@example.com/index" previous-etag="2"/>
          <document sel="rls-services/users/sip:a@example.com/a&apos;b" previous-etag="4"/>
        </xcap-diff>
    "#]]
    .assert_eq(&text);
    assert!(Document::parse(&text).is_ok());
}
