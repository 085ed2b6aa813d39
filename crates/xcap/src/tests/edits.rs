//! PUT and DELETE (RFC 4825 §8.2).

use expect_test::{Expect, expect};

use super::*;

/// What an edit makes of a list, and what the same URI then gives.
fn check_put(document: &str, node: &str, body: &str, expected: Expect) {
    let is_attribute = node.split('?').next().unwrap().rsplit('/').next().unwrap().starts_with('@');
    let put = if is_attribute { put_attribute } else { put_element };
    match put(document, node, body) {
        Ok(edited) => {
            expected.assert_eq(&format!("{} {}", if edited.is_new { 201 } else { 200 }, edited.document));
            assert_eq!(get_node(&edited.document, node).as_deref(), Some(body.trim()));
        }
        Err(failure) => expected.assert_eq(&format!("{} {failure}", failure.status())),
    }
}

fn check_delete(document: &str, node: &str, expected: Expect) {
    match delete_node(document, node) {
        Ok(edited) => {
            let edited = edited.expect("a node was removed");
            assert_eq!(get_node(&edited, node), None);
            expected.assert_eq(&edited);
        }
        Err(failure) => expected.assert_eq(&format!("{} {failure}", failure.status())),
    }
}

const LIST: &str =
    r#"<l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/><b/> <a n="2" /><e></e></l>"#;

#[test]
fn an_element_is_replaced_in_its_place() {
    check_put(
        LIST,
        "/~~/l/b",
        "<b>new</b>",
        expect![[
            r#"200 <l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/><b>new</b> <a n="2" /><e></e></l>"#
        ]],
    );
    check_put(
        LIST,
        "/~~/l/a[2]",
        " <a n=\"3\"/>\n",
        expect![[
            r#"200 <l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/><b/> <a n="3"/><e></e></l>"#
        ]],
    );
    check_put(
        LIST,
        "/~~/l",
        r#"<l xmlns="urn:ietf:params:xml:ns:resource-lists"/>"#,
        expect![[r#"200 <l xmlns="urn:ietf:params:xml:ns:resource-lists"/>"#]],
    );
}

#[test]
fn an_element_is_inserted_where_the_selector_says() {
    // Behind the last one of its name, else behind all.
    check_put(
        LIST,
        "/~~/l/a[@n='3']",
        "<a n='3'/>",
        expect![[
            r#"201 <l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/><b/> <a n="2" /><a n='3'/><e></e></l>"#
        ]],
    );
    check_put(
        LIST,
        "/~~/l/c",
        "<c/>",
        expect![[
            r#"201 <l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/><b/> <a n="2" /><e></e><c/></l>"#
        ]],
    );
    check_put(
        LIST,
        "/~~/l/*[@n='3']",
        "<c n='3'/>",
        expect![[
            r#"201 <l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/><b/> <a n="2" /><e></e><c n='3'/></l>"#
        ]],
    );
    // At its position among those of its name, or among all.
    check_put(
        LIST,
        "/~~/l/a[3]",
        "<a/>",
        expect![[
            r#"201 <l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/><b/> <a n="2" /><a/><e></e></l>"#
        ]],
    );
    check_put(
        LIST,
        "/~~/l/a[1][@n='0']",
        "<a n='0'/>",
        expect![[
            r#"201 <l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n='0'/><a n="1"/><b/> <a n="2" /><e></e></l>"#
        ]],
    );
    check_put(
        LIST,
        "/~~/l/*[5]",
        "<c/>",
        expect![[
            r#"201 <l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/><b/> <a n="2" /><e></e><c/></l>"#
        ]],
    );
    // Into what was empty.
    check_put(
        LIST,
        "/~~/l/b/c",
        "<c/>",
        expect![[
            r#"201 <l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/><b><c/></b> <a n="2" /><e></e></l>"#
        ]],
    );
    check_put(
        LIST,
        "/~~/l/e/c[1]",
        "<c/>",
        expect![[
            r#"201 <l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/><b/> <a n="2" /><e><c/></e></l>"#
        ]],
    );
}

#[test]
fn prefixes_of_a_fragment_are_those_of_its_place() {
    let document =
        r#"<l xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:e="urn:e"><a xmlns:f="urn:f"/></l>"#;
    check_put(
        document,
        "/~~/l/x:b?xmlns(x=urn:e)",
        "<e:b/>",
        expect![[
            r#"201 <l xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:e="urn:e"><a xmlns:f="urn:f"/><e:b/></l>"#
        ]],
    );
    check_put(
        document,
        "/~~/l/a/x:b?xmlns(x=urn:f)",
        "<f:b/>",
        expect![[
            r#"201 <l xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:e="urn:e"><a xmlns:f="urn:f"><f:b/></a></l>"#
        ]],
    );
    check_put(
        document,
        "/~~/l/b",
        "<f:b/>",
        expect!["409 not well-formed: a prefix that is not bound, at octet 0"],
    );
    check_put(
        document,
        "/~~/l/b",
        "<b xmlns='urn:other'/>",
        expect!["409 the same URI would not lead to the element that was put"],
    );
}

#[test]
fn what_would_not_be_found_again_is_not_inserted() {
    check_put(
        LIST,
        "/~~/l/b",
        "<c/>",
        expect!["409 the same URI would not lead to the element that was put"],
    );
    check_put(
        LIST,
        "/~~/l/a[@n='3']",
        "<a n='4'/>",
        expect!["409 the same URI would not lead to the element that was put"],
    );
    check_put(
        LIST,
        "/~~/l/a[@n='1']",
        "<a/>",
        expect!["409 the same URI would not lead to the element that was put"],
    );
    // Which of the two?
    check_put(
        LIST,
        "/~~/l/a",
        "<a/>",
        expect!["409 the same URI would not lead to the element that was put"],
    );
    check_put(
        LIST,
        "/~~/l/c[1][@n='1']",
        "<c n='2'/>",
        expect!["409 the same URI would not lead to the element that was put"],
    );
    check_put(LIST, "/~~/l/a[4]", "<a/>", expect!["409 too few elements stand before the position"]);
    check_put(LIST, "/~~/l/a[0]", "<a/>", expect!["409 too few elements stand before the position"]);
    check_put(LIST, "/~~/m", "<m/>", expect!["409 the document has another root"]);
}

#[test]
fn what_has_no_parent_is_told_how_far_its_path_leads() {
    for (node, ancestor) in [
        ("/~~/m/b", "/index"),
        ("/~~/l/c/d", "/index/~~/l"),
        ("/~~/l/a[@n='1']/c%2Fd/e", "/index/~~/l/a%5B@n='1'%5D"),
        ("/~~/l/a/c", "/index/~~/l"),
        ("/~~/l/b/c/@d", "/index/~~/l/b"),
        ("/~~/l/b/x:c/d?xmlns(x=urn:x)", "/index/~~/l/b?xmlns(x=urn:x)"),
    ] {
        let failure = if node.contains("/@") {
            put_attribute(LIST, node, "v")
        } else {
            put_element(LIST, node, "<d/>")
        };
        let ancestor = format!("{ROOT}resource-lists/users/sip:bill@example.com{ancestor}");
        assert_eq!(failure, Err(Failure::Conflict(Conflict::NoParent { ancestor })), "{node}");
    }
    let body = Body { media_type: ELEMENT_TYPE, octets: b"<l/>" };
    let ancestor = format!("{ROOT}resource-lists/users/sip:bill@example.com");
    assert_eq!(
        put(ROOT, &resource("/~~/l"), None, body, &application(&anything)),
        Err(Failure::Conflict(Conflict::NoParent { ancestor }))
    );
}

#[test]
fn what_is_no_element_is_no_fragment() {
    for body in [
        "",
        "text",
        "<b>",
        "</l><l>",
        "<b/><b/>",
        "<b/>text",
        "<!-- c --><b/>",
        "<b/><?pi?>",
        "<b a='1' a='2'/>",
        "<b>&x;</b>",
        "<?xml version='1.0'?><b/>",
        "<![CDATA[<b/>]]>",
        "<b></b></l><l>",
    ] {
        let failure = put_element(LIST, "/~~/l/b", body);
        assert!(
            matches!(failure, Err(Failure::Conflict(Conflict::NotXmlFragment(_)))),
            "{body}: {failure:?}"
        );
    }
    let deep = format!("{}{}", "<b>".repeat(DEPTH_MAX), "</b>".repeat(DEPTH_MAX));
    for body in ["<!DOCTYPE b><b/>", &deep] {
        let failure = put_element(LIST, "/~~/l/b", body);
        assert!(matches!(failure, Err(Failure::Conflict(Conflict::Constraint(_)))), "{failure:?}");
    }
}

#[test]
fn attributes_are_put() {
    let l = |inner: &str| {
        format!(r#"<l xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:e="urn:e">{inner}</l>"#)
    };
    for (before, node, value, after, is_new) in [
        ("<a n='1'/>", "/~~/l/a/@n", "2", "<a n=\"2\"/>", false),
        ("<a/>", "/~~/l/a/@n", "2", "<a n=\"2\"/>", true),
        ("<a >x</a>", "/~~/l/a/@n", "", "<a n=\"\" >x</a>", true),
        ("<a m = '1' />", "/~~/l/a/@n", "2", "<a m = '1' n=\"2\" />", true),
        ("<a/>", "/~~/l/a/@n", "\"", "<a n='\"'/>", true),
        ("<a n='1'/>", "/~~/l/a/@n", "\"'", "<a n=\"&quot;'\"/>", false),
        ("<a/>", "/~~/l/a/@n", "&lt;&#65;", "<a n=\"&lt;&#65;\"/>", true),
        ("<a/>", "/~~/l/a/@x:n?xmlns(x=urn:e)", "2", "<a e:n=\"2\"/>", true),
        ("<a n='1' e:n='1'/>", "/~~/l/a/@x:n?xmlns(x=urn:e)", "2", "<a n='1' e:n=\"2\"/>", false),
        ("<a/>", "/~~/l/a/@xml:lang", "de", "<a xml:lang=\"de\"/>", true),
        ("<a n='1'/><a n='2'/>", "/~~/l/a[@n='2']/@m", "3", "<a n='1'/><a n='2' m=\"3\"/>", true),
    ] {
        let edited = put_attribute(&l(before), node, value);
        assert_eq!(edited, Ok(Edited { document: l(after), is_new }), "{before} {node} {value}");
    }
    for value in ["<", "&", "&nbsp;", "a\u{1}b"] {
        assert_eq!(
            put_attribute(&l("<a/>"), "/~~/l/a/@n", value),
            Err(Failure::Conflict(Conflict::NotAttributeValue)),
            "{value}"
        );
    }
    for (inner, node) in [
        // The selector would lead nowhere, or elsewhere.
        ("<a n='1'/>", "/~~/l/a[@n='1']/@n"),
        ("<a n='1'/><a n='3'/>", "/~~/l/a[@n='1']/@n"),
        ("<a/>", "/~~/l/a/@xmlns"),
        ("<a/>", "/~~/l/a/@x:n?xmlns(x=urn:unbound)"),
    ] {
        let failure = put_attribute(&l(inner), node, "2");
        assert!(matches!(failure, Err(Failure::Conflict(Conflict::CannotInsert(_)))), "{node} {failure:?}");
    }
}

#[test]
fn what_is_removed_is_gone() {
    check_delete(
        LIST,
        "/~~/l/b",
        expect![[r#"<l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/> <a n="2" /><e></e></l>"#]],
    );
    check_delete(
        LIST,
        "/~~/l/a[@n='1']",
        expect![[r#"<l xmlns="urn:ietf:params:xml:ns:resource-lists"><b/> <a n="2" /><e></e></l>"#]],
    );
    check_delete(
        LIST,
        "/~~/l/a[2]",
        expect![[r#"<l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/><b/> <e></e></l>"#]],
    );
    check_delete(
        LIST,
        "/~~/l/a[2]/@n",
        expect![[r#"<l xmlns="urn:ietf:params:xml:ns:resource-lists"><a n="1"/><b/> <a /><e></e></l>"#]],
    );
    check_delete(LIST, "/~~/l/a[1]", expect!["409 the same URI would lead to another node"]);
    check_delete(LIST, "/~~/l", expect!["409 a document has a root"]);
    check_delete(LIST, "/~~/l/c", expect!["404 there is no such resource"]);
    check_delete(LIST, "/~~/l/b/@n", expect!["404 there is no such resource"]);
    check_delete(LIST, "/~~/l/a", expect!["404 there is no such resource"]);
    check_delete(LIST, "/~~/l/b/namespace::*", expect!["405 namespace bindings can only be read"]);
    assert_eq!(delete_node(LIST, ""), Ok(None));
    assert_eq!(delete(&resource(""), None, &application(&anything)), Err(Failure::NotFound));
}

#[test]
fn documents_are_put_whole() {
    let put_document = |current: Option<&str>, media_type: &str, octets: &[u8]| {
        put(ROOT, &resource(""), current, Body { media_type, octets }, &application(&anything))
    };
    let edited = put_document(None, "Application/Resource-Lists+XML; charset=\"utf-8\"", LISTS.as_bytes());
    assert_eq!(edited, Ok(Edited { document: LISTS.to_owned(), is_new: true }));
    assert!(!put_document(Some("<a/>"), DOCUMENT_TYPE, LISTS.as_bytes()).unwrap().is_new);
    for (media_type, octets, status, told) in [
        ("", "<a/>".as_bytes(), 415, ""),
        ("application/xml", b"<a/>", 415, ""),
        (ELEMENT_TYPE, b"<a/>", 415, ""),
        (DOCUMENT_TYPE, b"<a>\xFF</a>", 409, "<not-utf-8 "),
        (DOCUMENT_TYPE, b"\xFF\xFE<\0a\0/\0>\0", 409, "<not-utf-8 "),
        (DOCUMENT_TYPE, b"<?xml version='1.0' encoding='latin1'?><a/>", 409, "<not-utf-8 "),
        (DOCUMENT_TYPE, b"<a>", 409, "<not-well-formed "),
        (DOCUMENT_TYPE, b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", 409, "<constraint-failure "),
        (DOCUMENT_TYPE, &[b' '; DOCUMENT_OCTETS_MAX + 1], 413, ""),
    ] {
        let failure = put_document(None, media_type, octets).unwrap_err();
        assert_eq!(failure.status(), status, "{failure}");
        if let Failure::Conflict(conflict) = failure {
            assert!(conflict.body().contains(told), "{}", conflict.body());
        }
    }
}

#[test]
fn the_application_has_the_last_word() {
    let only_short = |document: &Document<'_>| match document.element_count() {
        0..=4 => Ok(()),
        count => Err(Conflict::Schema(format!("{count} elements"))),
    };
    let of = |node: &str, body: &[u8], media_type| {
        put(
            ROOT,
            &resource(node),
            Some("<a><b/><b/></a>"),
            Body { media_type, octets: body },
            &Application { namespace: "", ..application(&only_short) },
        )
    };
    assert!(of("/~~/a/c", b"<c/>", ELEMENT_TYPE).is_ok());
    let refused = Err(Failure::Conflict(Conflict::Schema("5 elements".to_owned())));
    assert_eq!(of("/~~/a/c", b"<c><d/></c>", ELEMENT_TYPE), refused);
    assert_eq!(of("", b"<a><b/><b/><b/><b/></a>", DOCUMENT_TYPE), refused);
    let never = |_: &Document<'_>| Err(Conflict::Constraint("no".to_owned()));
    let application = Application { namespace: "", ..application(&never) };
    let refused = Failure::Conflict(Conflict::Constraint("no".to_owned()));
    assert_eq!(delete(&resource("/~~/a/b"), Some("<a><b/></a>"), &application), Err(refused));
}

#[test]
fn parts_are_of_their_types_and_bounded() {
    assert_eq!(put_attribute(LIST, "/~~/l/b", "<b/>").unwrap_err().status(), 415);
    assert_eq!(put_element(LIST, "/~~/l/b/@n", "1").unwrap_err().status(), 415);
    assert_eq!(put_node(LIST, "/~~/l/b", DOCUMENT_TYPE, "<b/>").unwrap_err().status(), 415);
    assert_eq!(put_node(LIST, "/~~/l/namespace::*", NAMESPACES_TYPE, "<l/>").unwrap_err().status(), 405);
    let long = format!("<b>{}</b>", "x".repeat(DOCUMENT_OCTETS_MAX - 20));
    assert_eq!(put_element(LIST, "/~~/l/b", &long).unwrap_err(), Failure::TooLarge);
    assert_eq!(put_attribute(LIST, "/~~/l/b/@n", &"x".repeat(DOCUMENT_OCTETS_MAX)), Err(Failure::TooLarge));
    let octets = b"\xC3";
    let failure = put(
        ROOT,
        &resource("/~~/l/b"),
        Some(LIST),
        Body { media_type: ELEMENT_TYPE, octets },
        &application(&anything),
    );
    assert_eq!(failure, Err(Failure::Conflict(Conflict::NotUtf8)));
}
