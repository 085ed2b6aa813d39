//! Conversations with CardDAV clients: what Apple Contacts, Thunderbird, CardBook, DAVx⁵ and vdirsyncer ask, and what must not work.

use expect_test::expect;

use super::xml::Element;
use crate::tests::{
    NOON, administrator, ask, ask_as, book, book_with, everyone, header, id, person, removal, request, row,
    shown, text,
};
use crate::{Book, BookSettings, Reply, Version};

fn small() -> Book {
    book([person(1, "Anna", "Schmidt", "030 1234567"), person(2, "Bob", "Braun", "")])
}

/// Asks, and reads the multistatus: for each href what it is, and the sync token.
fn told(book: &mut Book, text: &str) -> (Vec<String>, Option<String>) {
    let answer = ask(book, text);
    assert_eq!(answer.status, 207, "{}", shown(&answer));
    let root = super::xml::read(&answer.body).expect("our XML is well formed");
    let status = |element: &Element| element.child("DAV:", "status").map(|status| status.text.clone());
    let responses = root.children.iter().filter(|child| child.is("DAV:", "response")).map(|response| {
        let href = super::text_of(response, "DAV:", "href").expect("a response has a href");
        let status = status(response).or_else(|| response.child("DAV:", "propstat").and_then(status));
        format!("{} {}", href.trim_start_matches(super::BOOK), &status.expect("a status")[9..12])
    });
    (responses.collect(), super::text_of(&root, "DAV:", "sync-token").map(str::to_owned))
}

#[test]
fn davx5_finds_the_book() {
    let mut book = small();
    let answer = ask(&mut book, "PROPFIND /.well-known/carddav\ndepth: 0");
    assert_eq!((answer.status, header(&answer, "location")), (301, Some("/dav/")));
    expect![[r#"
        200
        dav: 1, 3, access-control, addressbook
        allow: OPTIONS, GET, HEAD, PROPFIND, REPORT


    "#]]
    .assert_eq(&shown(&ask(&mut book, "OPTIONS /dav/")));
    let principal = r#"PROPFIND /dav/
depth: 0
content-type: application/xml; charset=utf-8

<?xml version='1.0' encoding='UTF-8' ?><propfind xmlns="DAV:" xmlns:CAL="urn:ietf:params:xml:ns:caldav"><prop><current-user-principal /><CAL:calendar-home-set/></prop></propfind>"#;
    expect![[r#"
        207
        content-type: application/xml; charset=utf-8
        cache-control: private, no-cache
        vary: accept-encoding, prefer, brief

        <?xml version="1.0" encoding="utf-8"?>
        <D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav" xmlns:S="http://calendarserver.org/ns/">
        <D:response><D:href>/dav/</D:href><D:propstat><D:prop><D:current-user-principal><D:href>/dav/principals/me/</D:href></D:current-user-principal></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat><D:propstat><D:prop><x:calendar-home-set xmlns:x="urn:ietf:params:xml:ns:caldav"/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat></D:response>
        </D:multistatus>

    "#]].assert_eq(&shown(&ask(&mut book, principal)));
    let home = r#"PROPFIND /dav/principals/me/
depth: 0

<propfind xmlns="DAV:" xmlns:CARD="urn:ietf:params:xml:ns:carddav"><prop><displayname/><CARD:addressbook-home-set/><group-membership/></prop></propfind>"#;
    expect![[r#"
        207
        content-type: application/xml; charset=utf-8
        cache-control: private, no-cache
        vary: accept-encoding, prefer, brief

        <?xml version="1.0" encoding="utf-8"?>
        <D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav" xmlns:S="http://calendarserver.org/ns/">
        <D:response><D:href>/dav/principals/me/</D:href><D:propstat><D:prop><D:displayname>anna@corp.example</D:displayname><C:addressbook-home-set><D:href>/dav/addressbooks/</D:href></C:addressbook-home-set></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat><D:propstat><D:prop><D:group-membership/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat></D:response>
        </D:multistatus>

    "#]].assert_eq(&shown(&ask(&mut book, home)));
    let books = r#"PROPFIND /dav/addressbooks/
depth: 1
prefer: return=minimal

<propfind xmlns="DAV:" xmlns:CARD="urn:ietf:params:xml:ns:carddav" xmlns:CS="http://calendarserver.org/ns/"><prop><resourcetype/><displayname/><CARD:addressbook-description/><current-user-privilege-set/><CS:getctag/><sync-token/><supported-report-set/><CARD:supported-address-data/></prop></propfind>"#;
    expect![[r#"
        207
        content-type: application/xml; charset=utf-8
        cache-control: private, no-cache
        vary: accept-encoding, prefer, brief

        <?xml version="1.0" encoding="utf-8"?>
        <D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav" xmlns:S="http://calendarserver.org/ns/">
        <D:response><D:href>/dav/addressbooks/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/></D:resourcetype><D:displayname>Company address book</D:displayname><D:current-user-privilege-set><D:privilege><D:read/></D:privilege><D:privilege><D:read-current-user-privilege-set/></D:privilege></D:current-user-privilege-set><D:supported-report-set></D:supported-report-set></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
        <D:response><D:href>/dav/addressbooks/company/</D:href><D:propstat><D:prop><D:resourcetype><D:collection/><C:addressbook/></D:resourcetype><D:displayname>Company address book</D:displayname><C:addressbook-description>People, groups and rooms of the organisation</C:addressbook-description><D:current-user-privilege-set><D:privilege><D:read/></D:privilege><D:privilege><D:read-current-user-privilege-set/></D:privilege></D:current-user-privilege-set><S:getctag>&quot;32310e699d2b25713df73316f890c556&quot;</S:getctag><D:sync-token>urn:x-chancery:address-book:819e862b:2</D:sync-token><D:supported-report-set><D:supported-report><D:report><C:addressbook-query/></D:report></D:supported-report><D:supported-report><D:report><C:addressbook-multiget/></D:report></D:supported-report><D:supported-report><D:report><D:sync-collection/></D:report></D:supported-report></D:supported-report-set><C:supported-address-data><C:address-data-type content-type="text/vcard" version="3.0"/><C:address-data-type content-type="text/vcard" version="4.0"/></C:supported-address-data></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
        </D:multistatus>

    "#]].assert_eq(&shown(&ask(&mut book, books)));
}

#[test]
fn davx5_keeps_in_step() {
    let mut book = small();
    let sync = |token: &str| {
        format!(
            "REPORT /dav/addressbooks/company/\ndepth: 0\n\n<sync-collection xmlns=\"DAV:\"><sync-token>{token}</sync-token>\
             <sync-level>1</sync-level><prop><getetag/></prop></sync-collection>"
        )
    };
    let card = |number| format!("{}.vcf", id(number));
    let (all, token) = told(&mut book, &sync(""));
    assert_eq!(all, [format!("{} 200", card(1)), format!("{} 200", card(2))]);
    let token = token.expect("there is a token");
    assert_eq!(told(&mut book, &sync(&token)), (vec![], Some(token.clone())));
    book.apply(&[
        removal(3, NOON, id(1)),
        row(4, NOON, person(3, "Cleo", "Cruz", "")),
        row(5, NOON, person(2, "Bob", "Schwarz", "")),
    ]);
    let (changes, next) = told(&mut book, &sync(&token));
    assert_eq!(changes, [format!("{} 404", card(1)), format!("{} 200", card(2)), format!("{} 200", card(3))]);
    assert_ne!(next.as_deref(), Some(token.as_str()));
    let multiget = format!(
        "REPORT /dav/addressbooks/company/\ndepth: 1\n\n<CARD:addressbook-multiget xmlns=\"DAV:\" xmlns:CARD=\"urn:ietf:params:xml:ns:carddav\">\
         <prop><getcontenttype/><getetag/><CARD:address-data/></prop><href>/dav/addressbooks/company/{}</href>\
         <href>https://sip.corp.example/dav/addressbooks/company/{}</href><href>/elsewhere</href></CARD:addressbook-multiget>",
        card(3),
        card(1),
    );
    expect![[r#"
        207
        content-type: application/xml; charset=utf-8
        cache-control: private, no-cache
        vary: accept-encoding, prefer, brief

        <?xml version="1.0" encoding="utf-8"?>
        <D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav" xmlns:S="http://calendarserver.org/ns/">
        <D:response><D:href>/elsewhere</D:href><D:status>HTTP/1.1 404 Not Found</D:status></D:response>
        <D:response><D:href>/dav/addressbooks/company/03030303-0303-0303-0303-030303030303.vcf</D:href><D:propstat><D:prop><D:getcontenttype>text/vcard; charset=utf-8</D:getcontenttype><D:getetag>&quot;b85e8551ee474ee33237734c9efa1d20&quot;</D:getetag><C:address-data>BEGIN:VCARD&#13;
        VERSION:3.0&#13;
        PRODID:-//Chancery//Address Book//EN&#13;
        UID:03030303-0303-0303-0303-030303030303&#13;
        FN:Cleo Cruz&#13;
        N:Cruz;Cleo;;;&#13;
        EMAIL;TYPE=INTERNET,WORK,PREF:cleo.cruz@corp.example&#13;
        IMPP;X-SERVICE-TYPE=SIP:sip:cleo.cruz@corp.example&#13;
        X-SIP:sip:cleo.cruz@corp.example&#13;
        END:VCARD&#13;
        </C:address-data></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
        <D:response><D:href>/dav/addressbooks/company/01010101-0101-0101-0101-010101010101.vcf</D:href><D:status>HTTP/1.1 404 Not Found</D:status></D:response>
        </D:multistatus>

    "#]].assert_eq(&shown(&ask(&mut book, &multiget)));
    for wrong in
        ["x", "urn:x-chancery:address-book:00000000:1", &token.replace(":2", ":99"), &format!("{token}:1")]
    {
        let answer = ask(&mut book, &sync(wrong));
        assert_eq!(answer.status, 403, "{wrong}");
        assert!(text(&answer).contains("<D:valid-sync-token/>"));
    }
}

#[test]
fn a_token_of_another_policy_is_none() {
    let mut before = small();
    let token = before.sync_token(everyone().audience());
    let settings = BookSettings {
        visible: [(crate::Attribute::Title, crate::Visibility::Nobody)].into(),
        ..BookSettings::default()
    };
    let after = book_with(settings, []);
    assert!(before.point(everyone().audience(), &token).is_some());
    assert_eq!(before.point(administrator().audience(), &token), None);
    assert_eq!(after.point(everyone().audience(), &token), None);
    let of_the_past = "REPORT /dav/addressbooks/company/\n\n<sync-collection xmlns=\"DAV:\"><sync-token>TOKEN</sync-token><prop/></sync-collection>";
    before.apply(&[removal(3, NOON, id(1)), removal(4, NOON + 1, id(2))]);
    before.prune(NOON + 40 * crate::tests::DAY);
    assert_eq!(ask(&mut before, &of_the_past.replace("TOKEN", &token)).status, 403, "it is no longer kept");
}

/// However small the pieces, and whatever changes meanwhile: at the end the client has what is there.
#[test]
fn a_long_synchronisation_comes_in_pieces() {
    let mut book = book((1..=20).map(|number| person(number, "Anna", "Schmidt", "")));
    let mut has = std::collections::BTreeSet::new();
    let (mut token, mut pieces, mut cuts, mut revision) = (String::new(), 0, 0, 20);
    loop {
        let sync = format!(
            "REPORT /dav/addressbooks/company/\n\n<D:sync-collection xmlns:D=\"DAV:\"><D:sync-token>{token}</D:sync-token>\
             <D:sync-level>1</D:sync-level><D:limit><D:nresults>3</D:nresults></D:limit><D:prop><D:getetag/></D:prop></D:sync-collection>"
        );
        let (told, next) = told(&mut book, &sync);
        let is_quiet = told.is_empty();
        let mut was_cut = false;
        for one in told {
            match one.split_once(' ') {
                Some(("", "507")) => was_cut = true,
                Some((href, "200")) => {
                    has.insert(href.to_owned());
                }
                Some((href, "404")) => {
                    has.remove(href);
                }
                other => panic!("{other:?}"),
            }
        }
        cuts += u32::from(was_cut);
        token = next.expect("there is always a token");
        pieces += 1;
        // Things change while it is under way.
        if pieces <= 4 {
            revision += 2;
            let number = u8::try_from(pieces).expect("few");
            book.apply(&[
                removal(revision - 1, NOON, id(number)),
                row(revision, NOON, person(100 + number, "New", "One", "")),
            ]);
        } else if is_quiet {
            break;
        }
    }
    let expected = (5..=20).chain(101..=104).map(|number| format!("{}.vcf", id(number))).collect();
    assert_eq!(has, expected);
    assert!(cuts >= 6, "{cuts} of {pieces} pieces were cut short");
}

#[test]
fn apple_contacts_reads_the_book() {
    let mut book = small();
    let discovery = r#"PROPFIND /dav/
depth: 0
brief: t
user-agent: macOS/14.5 (23F79) AddressBookCore/2658.3

<?xml version="1.0" encoding="UTF-8"?>
<A:propfind xmlns:A="DAV:">
  <A:prop>
    <A:current-user-principal/>
    <A:principal-URL/>
    <A:resourcetype/>
  </A:prop>
</A:propfind>"#;
    expect![[r#"
        207
        content-type: application/xml; charset=utf-8
        cache-control: private, no-cache
        vary: accept-encoding, prefer, brief

        <?xml version="1.0" encoding="utf-8"?>
        <D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav" xmlns:S="http://calendarserver.org/ns/">
        <D:response><D:href>/dav/</D:href><D:propstat><D:prop><D:current-user-principal><D:href>/dav/principals/me/</D:href></D:current-user-principal><D:resourcetype><D:collection/></D:resourcetype></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
        </D:multistatus>

    "#]].assert_eq(&shown(&ask(&mut book, discovery)));
    let listing = r#"PROPFIND /dav/addressbooks/company/
depth: 1
brief: t

<A:propfind xmlns:A="DAV:"><A:prop><A:getetag/><D:getctag xmlns:D="http://calendarserver.org/ns/"/><E:me-card xmlns:E="http://calendarserver.org/ns/"/></A:prop></A:propfind>"#;
    expect![[r#"
        207
        content-type: application/xml; charset=utf-8
        cache-control: private, no-cache
        vary: accept-encoding, prefer, brief

        <?xml version="1.0" encoding="utf-8"?>
        <D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav" xmlns:S="http://calendarserver.org/ns/">
        <D:response><D:href>/dav/addressbooks/company/</D:href><D:propstat><D:prop><D:getetag>&quot;32310e699d2b25713df73316f890c556&quot;</D:getetag><S:getctag>&quot;32310e699d2b25713df73316f890c556&quot;</S:getctag></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
        <D:response><D:href>/dav/addressbooks/company/01010101-0101-0101-0101-010101010101.vcf</D:href><D:propstat><D:prop><D:getetag>&quot;72ead91380944e0a5a33bd93ba85361c&quot;</D:getetag></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
        <D:response><D:href>/dav/addressbooks/company/02020202-0202-0202-0202-020202020202.vcf</D:href><D:propstat><D:prop><D:getetag>&quot;85aafc98b3ace111ff497b86b631f588&quot;</D:getetag></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
        </D:multistatus>

    "#]].assert_eq(&shown(&ask(&mut book, listing)));
    let expand = "REPORT /dav/principals/me/\n\n<A:expand-property xmlns:A=\"DAV:\"/>";
    let refused = ask(&mut book, expand);
    assert_eq!(refused.status, 403);
    assert!(text(&refused).contains("<D:supported-report/>"));
}

#[test]
fn thunderbird_reads_an_entry() {
    let mut book = small();
    let path = format!("/dav/addressbooks/company/{}.vcf", id(1));
    let card = ask(&mut book, &format!("GET {path}\naccept: text/vcard"));
    expect![[r#"
        200
        content-type: text/vcard; charset=utf-8
        cache-control: private, no-cache
        etag: "72ead91380944e0a5a33bd93ba85361c"
        vary: accept

        BEGIN:VCARD
        VERSION:3.0
        PRODID:-//Chancery//Address Book//EN
        UID:01010101-0101-0101-0101-010101010101
        FN:Anna Schmidt
        N:Schmidt;Anna;;;
        EMAIL;TYPE=INTERNET,WORK,PREF:anna.schmidt@corp.example
        TEL;TYPE=WORK,VOICE:+49301234567
        IMPP;X-SERVICE-TYPE=SIP:sip:anna.schmidt@corp.example
        X-SIP:sip:anna.schmidt@corp.example
        END:VCARD

    "#]]
    .assert_eq(&shown(&card));
    let etag = header(&card, "etag").expect("it has one").to_owned();
    assert_eq!(ask(&mut book, &format!("GET {path}\nif-none-match: {etag}")).status, 304);
    let newer = ask(&mut book, &format!("GET {path}\naccept: text/vcard;version=4.0"));
    assert!(text(&newer).contains("VERSION:4.0"));
    let found = ask(&mut book, &format!("PROPFIND {path}\ndepth: 0"));
    assert!(text(&found).contains(&etag.replace('"', "&quot;")), "a listing tells the tag of what is read");
    assert_eq!(ask(&mut book, &format!("GET /dav/addressbooks/company/{}.vcf", id(9))).status, 404);
    assert_eq!(ask(&mut book, "GET /dav/addressbooks/company/").status, 405);
}

#[test]
fn a_query_finds_by_properties() {
    let mut cleo = person(3, "Cleo", "Älvström", "+49 30 7654321");
    cleo.card.company = "Corp".to_owned();
    let mut book = book([person(1, "Anna", "Schmidt", "030 1234567"), person(2, "Bob", "Braun", ""), cleo]);
    let mut query = |filter: &str| {
        let query = format!(
            "REPORT /dav/addressbooks/company/\ndepth: 1\n\n<C:addressbook-query xmlns:D=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:carddav\">\
             <D:prop><D:getetag/></D:prop>{filter}</C:addressbook-query>"
        );
        let answer = ask(&mut book, &query);
        if answer.status != 207 {
            let inner =
                text(&answer).split_once("carddav\">").and_then(|(_, rest)| rest.strip_suffix("</D:error>"));
            return format!("{} {}", answer.status, inner.unwrap_or_default());
        }
        let (responses, _) = told(&mut book, &query);
        let numbers = responses.iter().map(|one| if one.starts_with(' ') { "cut" } else { &one[..2] });
        numbers.collect::<Vec<_>>().join(" ")
    };
    let prop = |name: &str, inner: &str| format!("<C:prop-filter name=\"{name}\">{inner}</C:prop-filter>");
    let filter = |inner: &str| format!("<C:filter>{inner}</C:filter>");
    let matching = |attributes: &str, text: &str| format!("<C:text-match {attributes}>{text}</C:text-match>");
    for (asked, expected) in [
        (String::new(), "01 02 03"),
        (filter(""), "01 02 03"),
        (filter(&prop("FN", &matching("", "ANN"))), "01"),
        (filter(&prop("fn", &matching("match-type=\"starts-with\"", "b"))), "02"),
        (filter(&prop("N", &matching("match-type=\"starts-with\"", "älv"))), "03"),
        (
            filter(&prop("N", &matching("collation=\"i;ascii-casemap\" match-type=\"starts-with\"", "älv"))),
            "",
        ),
        (filter(&prop("EMAIL", &matching("match-type=\"equals\"", "bob.braun@corp.example"))), "02"),
        (filter(&prop("EMAIL", &matching("match-type=\"ends-with\"", "corp.example"))), "01 02 03"),
        (filter(&prop("TEL", &matching("", "+4930123"))), "01"),
        (filter(&prop("TEL", "<C:is-not-defined/>")), "02"),
        (filter(&prop("ORG", "")), "03"),
        (filter(&prop("NICKNAME", "")), ""),
        (filter(&prop("FN", &matching("negate-condition=\"yes\"", "anna"))), "02 03"),
        (filter(&format!("{}{}", prop("FN", &matching("", "anna")), prop("ORG", ""))), "01 03"),
        (
            format!(
                "<C:filter test=\"allof\">{}{}</C:filter>",
                prop("FN", &matching("", "e")),
                prop("ORG", "")
            ),
            "03",
        ),
        (format!("<C:limit><C:nresults>2</C:nresults></C:limit>{}", filter("")), "01 02 cut"),
        (format!("<C:limit><C:nresults>3</C:nresults></C:limit>{}", filter("")), "01 02 03"),
        (filter(&prop("FN", "<C:param-filter name=\"TYPE\"/>")), "403 <C:supported-filter/>"),
        (filter(&prop("FN", &matching("collation=\"i;octet\"", "x"))), "403 <C:supported-collation/>"),
        (filter("<C:prop-filter/>"), "400 "),
        (format!("<C:limit><C:nresults>0</C:nresults></C:limit>{}", filter("")), "400 "),
    ] {
        assert_eq!(query(&asked), expected, "{asked}");
    }
}

#[test]
fn nobody_writes() {
    let mut book = small();
    let path = format!("/dav/addressbooks/company/{}.vcf", id(1));
    for method in ["PUT", "DELETE", "POST", "PROPPATCH", "MKCOL", "MOVE", "COPY", "LOCK", "ACL"] {
        let answer = ask(&mut book, &format!("{method} {path}\n\nBEGIN:VCARD"));
        assert_eq!(answer.status, 403, "{method}");
        assert!(text(&answer).contains("<D:need-privileges/>"));
    }
    assert_eq!(ask(&mut book, &format!("BREW {path}")).status, 405);
    assert_eq!(ask(&mut book, &format!("GET {path}")).status, 200);
    assert_eq!(book.version(everyone().audience()), Version(2));
}

#[test]
fn what_is_wrong_is_refused() {
    let mut book = small();
    for (asked, status) in [
        ("PROPFIND /dav/\ndepth: infinity", 403),
        ("PROPFIND /dav/", 403),
        ("PROPFIND /dav/nowhere/\ndepth: 0", 404),
        ("PROPFIND /dav/addressbooks/company/x.vcf\ndepth: 0", 404),
        ("PROPFIND /dav/\ndepth: 0\n\n<", 400),
        ("PROPFIND /dav/\ndepth: 0\n\n<propfind xmlns=\"DAV:\"/>", 400),
        ("PROPFIND /dav/\ndepth: 0\n\n<prop xmlns=\"DAV:\"/>", 400),
        ("PROPFIND /dav/\ndepth: 0\n\n<!DOCTYPE a><propfind xmlns=\"DAV:\"><allprop/></propfind>", 400),
        ("PROPFIND /dav/\ndepth: 0\n\n<propfind xmlns=\"DAV:\"><allprop/></propfind>", 207),
        ("PROPFIND /dav/\ndepth: 1\n\n<propfind xmlns=\"DAV:\"><propname/></propfind>", 207),
        ("PROPFIND /dav/addressbooks/company\ndepth: 0", 207),
        ("REPORT /dav/addressbooks/company/\n\n<a/>", 403),
        ("REPORT /dav/addressbooks/company/", 400),
        (
            "REPORT /dav/addressbooks/company/\n\n<C:addressbook-multiget xmlns=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:carddav\">\
             <prop><C:address-data version=\"2.1\"/></prop></C:addressbook-multiget>",
            403,
        ),
    ] {
        assert_eq!(ask(&mut book, asked).status, status, "{asked}");
    }
    let strange = "PROPFIND /dav/\ndepth: 0\n\n<propfind xmlns=\"DAV:\"><prop><x xmlns=\"a&amp;&lt;&quot;\"/><y xmlns=\"\"/></prop></propfind>";
    let (responses, _) = told(&mut book, strange);
    assert_eq!(responses, ["/dav/ 200"], "strange names come back well formed");
    let many = format!(
        "REPORT /dav/addressbooks/company/\n\n<C:addressbook-multiget xmlns=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:carddav\">{}</C:addressbook-multiget>",
        "<href>/dav/addressbooks/company/01010101-0101-0101-0101-010101010101.vcf</href>".repeat(5001)
    );
    assert_eq!(ask(&mut book, &many).status, 413);

    let mut closed = book_with(BookSettings { carddav: false, ..BookSettings::default() }, []);
    assert_eq!(ask(&mut closed, "OPTIONS /dav/").status, 404);
    assert_eq!(ask(&mut closed, "GET /.well-known/carddav").status, 404);
}

#[test]
fn each_audience_has_its_own_book() {
    let mut anna = person(1, "Anna", "Schmidt", "");
    anna.card.notes = "secret".to_owned();
    let mut book = book([anna]);
    let path = format!("GET /dav/addressbooks/company/{}.vcf", id(1));
    let [one, other] = [everyone(), administrator()].map(|viewer| ask_as(&viewer, &mut book, &path));
    assert!(!text(&one).contains("secret") && text(&other).contains("secret"));
    assert_ne!(header(&one, "etag"), header(&other, "etag"));
    assert!(matches!(
        book.handle(&everyone(), &request("PROPFIND /dav/addressbooks/company/\ndepth: 1"), NOON),
        Reply::Work(_)
    ));
}
