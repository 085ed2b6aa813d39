//! Paths and node selectors (RFC 4825 §6).

use super::*;

const FIRST: &str =
    r#"<entry uri="sip:bill@example.com" e:rank="1"><display-name>Bill Doe</display-name></entry>"#;
const NANCY: &str = r#"<entry uri="sip:nancy@example.com"/>"#;
const OTHER: &str = r#"<e:entry uri="sip:other@example.com">text &amp; <![CDATA[<more>]]></e:entry>"#;

#[test]
fn selectors_lead_to_one_node() {
    for (node, found) in [
        // By name, position, attribute, and both.
        ("/~~/resource-lists/list%5b1%5d/entry", Some(FIRST)),
        ("/~~/resource-lists/list[1]/entry[1]", Some(FIRST)),
        ("/~~/resource-lists/list[@name=%22friends%22]/entry", Some(FIRST)),
        ("/%7E~/resource-lists/list[1]/list/entry[2]", Some(NANCY)),
        ("/~~/resource-lists/list[1]/list/entry%5B@uri='sip:nancy@example.com'%5D", Some(NANCY)),
        ("/~~/resource-lists/list[1]/list/entry[2][@uri=\"sip:nancy@example.com\"]", Some(NANCY)),
        ("/~~/resource-lists/*[1]/*[2]/*[2]", Some(NANCY)),
        ("/~~/*/list[1]/*[@uri=%22sip:bill@example.com%22]", Some(FIRST)),
        ("/~~/resource-lists/list[1]/*[1][@uri='sip:bill@example.com']", Some(FIRST)),
        // References and slashes in values.
        (
            "/~~/resource-lists/list[@name='a%20%22quoted%22%2Fname']",
            Some("<list name='a \"quoted\"/name'/>"),
        ),
        (
            "/~~/resource-lists/list[@name='a%20&quot;quoted&#x22;/name']",
            Some("<list name='a \"quoted\"/name'/>"),
        ),
        // Attributes.
        ("/~~/resource-lists/list[1]/@name", Some("friends")),
        ("/~~/resource-lists/list[1]/entry/@uri", Some("sip:bill@example.com")),
        // Namespaces of the query; a prefix is the client's own.
        ("/~~/resource-lists/list[1]/x:entry?xmlns(x=urn:extension)", Some(OTHER)),
        ("/~~/resource-lists/list[1]/entry/@x:rank?xmlns(x=urn%3Aextension)", Some("1")),
        ("/~~/resource-lists/list[1]/entry[@x:rank='1']?xmlns(y=urn:y)xmlns(x=urn:extension)", Some(FIRST)),
        (
            "/~~/x:resource-lists/list[2]?xmlns(x=urn:ietf:params:xml:ns:resource-lists)",
            Some("<list name='a \"quoted\"/name'/>"),
        ),
        (
            "/~~/resource-lists/list[2]/namespace::*",
            Some(r#"<list xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:e="urn:extension"/>"#),
        ),
        // More than one, or none.
        ("/~~/resource-lists/list", None),
        ("/~~/resource-lists/list/entry", None),
        ("/~~/resource-lists/*", None),
        ("/~~/resource-lists/list[0]", None),
        ("/~~/resource-lists/list[3]", None),
        ("/~~/resource-lists/list[99999999999999999999]", None),
        ("/~~/resource-lists/list[1]/list/entry[1][@uri='sip:nancy@example.com']", None),
        ("/~~/lists/list[1]", None),
        ("/~~/resource-lists[2]/list[1]", None),
        ("/~~/resource-lists/list[1]/entry/@rank", None),
        ("/~~/resource-lists/list[1]/@xmlns", None),
        ("/~~/resource-lists/@xmlns", None),
        ("/~~/resource-lists/list[1]/x:list?xmlns(x=urn:extension)", None),
        ("/~~/resource-lists/Entry", None),
    ] {
        assert_eq!(get_node(LISTS, node).as_deref(), found, "{node}");
    }
}

#[test]
fn the_whole_document_is_a_resource_too() {
    assert_eq!(get_node(LISTS, "").as_deref(), Some(LISTS));
}

#[test]
fn wrong_selectors_are_told() {
    let deep = format!("/~~/a{}", "/a".repeat(STEPS_MAX));
    for node in [
        "/~~",
        "/~~/",
        "/~~//a",
        "/~~/a/",
        "/~~/@name",
        "/~~/namespace::*",
        "/~~/a/b[",
        "/~~/a[]",
        "/~~/a[1",
        "/~~/a[-1]",
        "/~~/a[@b]",
        "/~~/a[@b=c]",
        "/~~/a[@b='c]",
        "/~~/a[@b='c'",
        "/~~/a[@b='c'][1]",
        "/~~/a[1][2]",
        "/~~/a[@b='<']",
        "/~~/a[@b='&nbsp;']",
        "/~~/a[@b='&']",
        "/~~/1a",
        "/~~/a b",
        "/~~/a/@b/c",
        "/~~/a/@b[1]",
        "/~~/a/namespace::b",
        "/~~/a/namespace::*/b",
        "/~~/a/text()",
        "/~~/..",
        "/~~/a/child::b",
        "/~~/a:b",
        "/~~/:b?xmlns(b=c)",
        "/~~/a:b?xmlns(c=d)",
        "/~~/a/@b:c",
        "/~~/a?xmlns",
        "/~~/a?xmlns(",
        "/~~/a?xmlns()",
        "/~~/a?xmlns(a=)",
        "/~~/a?xmlns(=b)",
        "/~~/a?xmlns(a=b",
        "/~~/a?xmlns(a=(b)",
        "/~~/a?xmlns(1=b)",
        "/~~/a?xpointer(a)",
        "/~~/a%",
        "/~~/a%zz",
        "/~~/%ff",
        "/~~/a?%ff",
        "/~~/a|b",
        "/~~/a[last()]",
        "/~~/a[@*='b']",
        &deep,
    ] {
        let parsed = Resource::parse(&format!("/a/users/b/c{node}"));
        assert!(matches!(parsed, Err(PathError::Selector(_))), "{node}: {parsed:?}");
    }
    let many = "xmlns(a=b)".repeat(33);
    assert_eq!(
        Resource::parse(&format!("/a/global/c/~~/d?{many}")),
        Err(PathError::Selector(SelectorError::TooManyBindings))
    );
}

#[test]
fn the_last_binding_counts_and_parentheses_may_be_escaped() {
    let selector = NodeSelector::parse("x:a", "xmlns(x=one)xmlns( x=t^(w(o)^))").unwrap();
    let name = Name { namespace: Some("t(w(o))".to_owned()), local: "a".to_owned() };
    assert_eq!(selector.steps[0].name, NameTest::Named(name));
}

#[test]
fn paths_name_documents() {
    let parsed = Resource::parse("/pres-rules/users/sip%3abill%40example.com/in%20dex").unwrap();
    assert_eq!(parsed.auid, "pres-rules");
    assert_eq!(parsed.tree, Tree::User("sip:bill@example.com".to_owned()));
    assert_eq!((&*parsed.document, parsed.node.is_none()), ("in dex", true));
    assert_eq!(parsed.document_path(), "pres-rules/users/sip:bill@example.com/in%20dex");
    let parsed = Resource::parse("xcap-caps/global/folder/index/~~/xcap-caps").unwrap();
    assert_eq!((&parsed.tree, &*parsed.document), (&Tree::Global, "folder/index"));
    for nowhere in [
        "",
        "/",
        "/a",
        "/a/",
        "/a/b/c",
        "/a/users",
        "/a/users/",
        "/a/users/b",
        "/a/users/b/",
        "/a/users//c",
        "/a/global",
        "/a/global/",
        "/a/users/b/c/",
        "/a/users/b/../c",
        "/a/users/b/c%2Fd",
        "/a/users/b/.",
        "/a/global/%00",
        "/a/Users/b/c",
        "/~~/a",
        "/a/global/~~/b",
        "/a/global/1/2/3/4/5/6/7/8/9",
    ] {
        assert_eq!(Resource::parse(nowhere), Err(PathError::Nowhere), "{nowhere}");
    }
    assert_eq!(Resource::parse("/a/users/%4/c"), Err(PathError::Encoding));
    let long = format!("/a/global/{}", "b".repeat(TARGET_OCTETS_MAX));
    assert_eq!(Resource::parse(&long), Err(PathError::TooLong));
}
