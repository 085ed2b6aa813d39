//! Text in, tree out.

use proptest::prelude::*;

use super::{Bounds, Document, Edits, Escaped, Leniency, XmlError};

const BOUNDS: Bounds = Bounds { octets_max: 4096, depth_max: 8, elements_max: 64 };

fn refusal(text: &str) -> Option<XmlError> {
    Document::read(text.as_bytes(), &BOUNDS, Leniency::None).err()
}

#[test]
fn elements_know_what_and_where_they_are() {
    let text = "<?xml version='1.0'?>\r\n<a xmlns='urn:a' xmlns:b='urn:b' x='1&amp;&#50;' y = \"'\">\r\n <b:c/>t<!-- - -->&lt;<![CDATA[<d/>]]>\r\n</a>";
    let document = Document::read(text.as_bytes(), &BOUNDS, Leniency::None).expect("well-formed");
    let root = document.root();
    assert!(root.is("urn:a", "a"));
    assert_eq!(
        (root.attribute("x"), root.attribute("y"), root.attribute("z")),
        (Some("1&2"), Some("'"), None)
    );
    assert_eq!(root.attribute_span("x").map(|span| &text[span]), Some("1&amp;&#50;"));
    assert_eq!(root.attribute_span("y").map(|span| &text[span]), Some("'"));
    assert_eq!(root.characters(), "t<<d/>");
    let child = root.child_of("urn:b", "c").expect("a child");
    assert_eq!((child.name(), child.prefix(), child.is_single_tag()), ("b:c", "b:", true));
    assert_eq!(&text[child.span()], "<b:c/>");
    assert!(text[root.content()].starts_with("\r\n <b:c/>"));
    assert!(text[root.span()].ends_with("</a>"));
    assert_eq!(child.parent().map(|parent| parent.id), Some(root.id));
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for text in [
        "",
        " ",
        "a",
        "<a>",
        "<a></b>",
        "</a>",
        "<a/><a/>",
        "<a/>x",
        "x<a/>",
        "<a>]]></a>",
        "<a b/>",
        "<a b=c/>",
        "<a b='1' b='2'/>",
        "<a b='<'/>",
        "<a>\u{1}</a>",
        "<a>&#1;</a>",
        "<a>&#xD800;</a>",
        "<a>&#-1;</a>",
        "<1/>",
        "<a:/>",
        "<:a/>",
        "<a b:c:d='1'/>",
        "<a><?xml version='1.0'?></a>",
        "<a><!-- -- --></a>",
        "<a",
        "<a>&",
        "<a>&amp</a>",
    ] {
        assert!(refusal(text).is_some(), "{text}");
    }
    assert_eq!(refusal("<b:a/>"), Some(XmlError::UnknownPrefix));
    assert_eq!(refusal("<a b:c='1'/>"), Some(XmlError::UnknownPrefix));
    assert_eq!(refusal("<a>&b;</a>"), Some(XmlError::UnknownEntity));
    assert_eq!(refusal("<a b='&b;'/>"), Some(XmlError::UnknownEntity));
    assert_eq!(refusal("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"), Some(XmlError::Dtd));
    assert!(Document::read(b"<a>\xff</a>", &BOUNDS, Leniency::None).is_err());
}

#[test]
fn bounds_hold() {
    assert_eq!(refusal(&" ".repeat(4097)), Some(XmlError::TooLarge("octets")));
    assert_eq!(refusal(&"<a>".repeat(9)), Some(XmlError::TooLarge("depth")));
    assert_eq!(refusal(&format!("<a>{}</a>", "<b/>".repeat(64))), Some(XmlError::TooLarge("elements")));
    let attributes: String = (0..65).map(|n| format!(" a{n}=''")).collect();
    assert_eq!(refusal(&format!("<a{attributes}/>")), Some(XmlError::TooLarge("attributes")));
    let namespaces: String = (0..65).map(|n| format!(" xmlns:a{n}='u'")).collect();
    assert!(matches!(refusal(&format!("<a{namespaces}/>")), Some(XmlError::TooLarge(_))));
    let wide = Bounds { elements_max: 1000, ..BOUNDS };
    let one_after_the_other: String = (0..65).map(|n| format!("<b xmlns='u{n}'/>")).collect();
    let text = format!("<a>{one_after_the_other}</a>");
    let read = Document::read(text.as_bytes(), &wide, Leniency::None);
    assert_eq!(read.err(), Some(XmlError::TooLarge("namespaces")));
}

#[test]
fn edits_leave_the_rest_alone() {
    let text = "<a>\r\n  <b/>\r\n  <c/> <d/>\r\n</a>";
    let mut edits = Edits::new(text);
    let at = |part: &str| text.find(part).map(|at| at..at + part.len()).expect("there");
    edits.remove_with_line(at("<b/>"));
    edits.remove_with_line(at("<d/>"));
    edits.replace(at("<c/>"), "<e/>");
    assert_eq!(edits.apply(), "<a>\r\n  <e/> \r\n</a>");
}

proptest! {
    #[test]
    fn what_is_escaped_is_read_again(text in "\\PC{0,40}[\t\r\n<>&'\"]{0,5}\\PC{0,4}") {
        let written = format!("<a b=\"{0}\">.{0}.</a>", Escaped(&text));
        let document = Document::read(written.as_bytes(), &BOUNDS, Leniency::None).expect("well-formed");
        prop_assert_eq!(document.root().attribute("b"), Some(&*text));
        let characters = format!(".{text}.");
        prop_assert_eq!(document.root().characters(), characters);
    }
}
