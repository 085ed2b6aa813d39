//! What is a document, and what is none.

use super::*;

fn fault(text: &str) -> XmlFault {
    match Document::parse(text) {
        Err(error) => {
            assert!(error.at <= text.len());
            error.fault
        }
        Ok(_) => panic!("taken: {text}"),
    }
}

#[test]
fn well_formed_documents_are_taken() {
    for text in [
        "<a/>",
        "\u{FEFF}<?xml version='1.0'?>\n<a/>\n",
        "<?xml version=\"1.0\" encoding='utf-8' standalone=\"yes\" ?><a></a >",
        "<?pi some?><!-- c --><a>x<?pi?><!----> &lt;&#x10FFFF;&#9; ]] > <![CDATA[<&]]></a><!-- d -->",
        "<p:a xmlns:p='urn:p' p:b='1' b='1'><c xmlns='' d = \"'\"/></p:a>",
        "<a xml:lang='en' xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<été ü='ß'/>",
        LISTS,
    ] {
        if let Err(error) = Document::parse(text) {
            panic!("{error}: {text}");
        }
    }
    assert_eq!(Document::parse(LISTS).unwrap().element_count(), 10);
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for text in [
        "",
        " ",
        "text",
        "<",
        "<a",
        "<a>",
        "</a>",
        "<a></b>",
        "<a><b></a></b>",
        "<a/><b/>",
        "<a/>text",
        "text<a/>",
        "<a/>&amp;",
        " <?xml version='1.0'?><a/>",
        "<?xml?><a/>",
        "<?xml version='2.0'?><a/>",
        "<?xml version='1.0' version='1.0'?><a/>",
        "<?xml encoding='utf-8' version='1.0'?><a/>",
        "<a><?xml version='1.0'?></a>",
        "<?XML version='1.0'?><a/>",
        "<a/><![CDATA[]]>",
        "<a>&nbsp;</a>",
        "<a>&</a>",
        "<a>&;</a>",
        "<a>&#0;</a>",
        "<a>&#xD800;</a>",
        "<a>&#x110000;</a>",
        "<a>&#+65;</a>",
        "<a>&#;</a>",
        "<a>\u{1}</a>",
        "<a>]]></a>",
        "<a>\u{FFFF}</a>",
        "<a><![CDATA[\u{0}]]></a>",
        "<!-- -- --><a/>",
        "<!-- --->",
        "<!--",
        "<a><!--</a>",
        "<a b/>",
        "<a b=/>",
        "<a b=c/>",
        "<a b='c/>",
        "<a b='c' b='d'/>",
        "<a b='c'd='e'/>",
        "<a b='<'/>",
        "<a b='&x;'/>",
        "<a 1='c'/>",
        "<a / >",
        "< a/>",
        "<1/>",
        "<a:b/>",
        "<a b:c='d'/>",
        "<:a/>",
        "<a:/>",
        "<a:b:c xmlns:a='d'/>",
        "<xmlns:a/>",
        "<a xmlns:b=''/>",
        "<a xmlns:xmlns='b'/>",
        "<a xmlns:xml='b'/>",
        "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns:b='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns:b='u' xmlns:b='v'/>",
        "<a xmlns:b='u' xmlns:c='u' b:d='1' c:d='2'/>",
        "<b><c xmlns:a='u'/><a:c/></b>",
        "<?a:b c?><a/>",
        "<? ?><a/>",
        "<!ELEMENT a>",
    ] {
        assert!(matches!(fault(text), XmlFault::Malformed(_)), "{text}: {:?}", fault(text));
    }
}

#[test]
fn declarations_of_types_and_entities_are_refused() {
    for text in [
        "<!DOCTYPE a><a/>",
        "<?xml version='1.0'?>\n<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        "<!DOCTYPE a [<!ENTITY b 'c'><!ENTITY d '&b;&b;'>]><a>&d;</a>",
        "<!doctype a><a/>",
    ] {
        assert_eq!(fault(text), XmlFault::DocumentType, "{text}");
    }
    assert_eq!(fault("<?xml version='1.0' encoding='ISO-8859-1'?><a/>"), XmlFault::Encoding);
    assert_eq!(fault("<?xml version='1.0' encoding='UTF-16'?><a/>"), XmlFault::Encoding);
}

#[test]
fn what_is_huge_or_deep_is_refused() {
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    let filled = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count));
    let attributed = |count: usize| {
        let attributes: String = (0..count).map(|n| format!(" a{n}=''")).collect();
        format!("<a{attributes}/>")
    };
    let bound = |count: usize| {
        let declarations: String = (0..count).map(|n| format!("<a xmlns:p{n}='u{n}'>")).collect();
        format!("<r>{declarations}{}</r>", "</a>".repeat(count))
    };
    let spread = |count: usize| {
        let declared: String = (0..count).map(|n| format!("<a xmlns='u{n}'/>")).collect();
        format!("<r>{declared}</r>")
    };
    let long = |octets: usize| format!("<a>{}</a>", " ".repeat(octets - 7));
    for fits in [
        nested(DEPTH_MAX),
        filled(ELEMENTS_MAX - 1),
        attributed(ATTRIBUTES_MAX),
        bound(DEPTH_MAX - 1),
        spread(NAMESPACES_MAX - 1),
        long(DOCUMENT_OCTETS_MAX),
    ] {
        assert_eq!(Document::parse(&fits).err(), None);
    }
    for beyond in [
        nested(DEPTH_MAX + 1),
        nested(80_000),
        filled(ELEMENTS_MAX),
        attributed(ATTRIBUTES_MAX + 1),
        spread(NAMESPACES_MAX),
        long(DOCUMENT_OCTETS_MAX + 1),
    ] {
        assert!(matches!(fault(&beyond), XmlFault::Limit(_)));
    }
    let declared: String = (0..30).map(|n| format!(" xmlns:p{n}='u'")).collect();
    assert!(matches!(
        fault(&format!("<a{declared}><b{declared}><c{declared}/></b></a>")),
        XmlFault::Limit(_)
    ));
}
