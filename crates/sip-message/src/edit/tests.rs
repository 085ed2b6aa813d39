use super::*;

const RECEIVED: &str = "INVITE sip:bob@b.example SIP/2.0\r\n\
    v:  SIP / 2.0 / TCP  a.example ; branch=z9hG4bK1 ,\r\n SIP/2.0/UDP c.example;branch=z9hG4bK2\r\n\
    Route: <sip:p1.example;lr>,<sip:p2.example;lr> , <sip:p3.example;lr>\r\n\
    X-Odd :  \"kept, as it is\"  \r\n\
    Route: <sip:p4.example;lr>\r\n\
    MAX-forwards: 70\r\n\
    x-odd: 2\r\n\
    l: 2\r\n\
    \r\nhi";

/// What an edit makes of the message above, told as the lines that differ: `-` gone, `+` new.
fn check(edit: impl FnOnce(&mut Edit<'_>), wanted: &str) {
    let message = Message::parse(Bytes::from_static(RECEIVED.as_bytes())).expect("parses");
    let mut changes = Edit::new(&message);
    edit(&mut changes);
    let written = changes.write();
    let again = Message::parse(written.clone()).expect("parses again");
    assert_eq!(format!("{:?}", changes.write_message().expect("indexed")), format!("{again:?}"));
    let written = String::from_utf8(written.to_vec()).expect("text");
    let mut difference = String::new();
    let (old, new): (Vec<_>, Vec<_>) = (RECEIVED.split("\r\n").collect(), written.split("\r\n").collect());
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if old.get(i) == new.get(j) {
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && !new[j.min(new.len())..].contains(&old[i]) {
            difference += &format!("-{}\n", old[i]);
            i += 1;
        } else {
            difference += &format!("+{}\n", new[j]);
            j += 1;
        }
    }
    assert_eq!(difference, wanted);
}

#[test]
fn nothing() {
    check(|_| {}, "");
}

#[test]
fn a_hop() {
    check(
        |edit| {
            edit.insert_first(HeaderId::Via, "SIP/2.0/TLS p.example;branch=z9hG4bK3")
                .insert_first(HeaderId::RecordRoute, "<sip:p.example;lr>")
                .set(HeaderId::MaxForwards, "69")
                .request_uri("sip:bob@192.0.2.1")
                .remove_elements(HeaderId::Route, 1);
        },
        "-INVITE sip:bob@b.example SIP/2.0\n\
         +INVITE sip:bob@192.0.2.1 SIP/2.0\n\
         +Via: SIP/2.0/TLS p.example;branch=z9hG4bK3\n\
         +Record-Route: <sip:p.example;lr>\n\
         -Route: <sip:p1.example;lr>,<sip:p2.example;lr> , <sip:p3.example;lr>\n\
         +Route: <sip:p2.example;lr> , <sip:p3.example;lr>\n\
         -MAX-forwards: 70\n\
         +MAX-forwards: 69\n",
    );
}

#[test]
fn elements_over_several_lines() {
    let cut = |count| {
        move |edit: &mut Edit<'_>| {
            edit.remove_elements(HeaderId::Route, count);
        }
    };
    let first = "-Route: <sip:p1.example;lr>,<sip:p2.example;lr> , <sip:p3.example;lr>\n";
    check(cut(0), "");
    check(cut(2), &format!("{first}+Route: <sip:p3.example;lr>\n"));
    check(cut(3), first);
    check(cut(4), &format!("{first}-Route: <sip:p4.example;lr>\n"));
    check(cut(9), &format!("{first}-Route: <sip:p4.example;lr>\n"));
}

#[test]
fn the_topmost_via() {
    check(
        |edit| {
            edit.replace_first_element(HeaderId::Via, "SIP/2.0/TCP a.example;received=192.0.2.1");
        },
        "-v:  SIP / 2.0 / TCP  a.example ; branch=z9hG4bK1 ,\n\
         +v:  SIP/2.0/TCP a.example;received=192.0.2.1 ,\n",
    );
    check(
        |edit| {
            edit.remove_elements(HeaderId::Via, 1);
        },
        "-v:  SIP / 2.0 / TCP  a.example ; branch=z9hG4bK1 ,\n\
         - SIP/2.0/UDP c.example;branch=z9hG4bK2\n\
         +v:  SIP/2.0/UDP c.example;branch=z9hG4bK2\n",
    );
    check(
        |edit| {
            edit.replace_first_element(HeaderId::Via, "SIP/2.0/UDP d.example")
                .remove_elements(HeaderId::Via, 1);
        },
        "-v:  SIP / 2.0 / TCP  a.example ; branch=z9hG4bK1 ,\n\
         - SIP/2.0/UDP c.example;branch=z9hG4bK2\n\
         +v:  SIP/2.0/UDP d.example\n",
    );
}

#[test]
fn whole_headers() {
    check(
        |edit| {
            edit.remove(HeaderId::Route)
                .remove_named("X-ODD")
                .append(HeaderId::Subject, "s")
                .append_named("X-New", "n");
        },
        "-Route: <sip:p1.example;lr>,<sip:p2.example;lr> , <sip:p3.example;lr>\n\
         -X-Odd :  \"kept, as it is\"  \n\
         -Route: <sip:p4.example;lr>\n\
         -x-odd: 2\n\
         +Subject: s\n\
         +X-New: n\n",
    );
    check(
        |edit| {
            edit.set(HeaderId::Route, "<sip:q.example;lr>")
                .set(HeaderId::Expires, "9")
                .remove_named("max-FORWARDS");
        },
        "-Route: <sip:p1.example;lr>,<sip:p2.example;lr> , <sip:p3.example;lr>\n\
         +Route: <sip:q.example;lr>\n\
         -Route: <sip:p4.example;lr>\n\
         -MAX-forwards: 70\n\
         +Expires: 9\n",
    );
}

#[test]
fn bodies() {
    check(
        |edit| {
            edit.body(Some("text/plain"), Bytes::from_static(b"hello"));
        },
        "-l: 2\n+l: 5\n+Content-Type: text/plain\n-hi\n+hello\n",
    );
    check(
        |edit| {
            edit.body(None, Bytes::new()).remove(HeaderId::ContentType);
        },
        "-l: 2\n+l: 0\n-hi\n+\n",
    );
}

#[test]
fn a_value_brings_no_line_of_its_own() {
    check(
        |edit| {
            edit.append(HeaderId::Subject, "a\r\nX-Evil: 1").request_uri("sip:b\r\nX-Evil:1");
        },
        "-INVITE sip:bob@b.example SIP/2.0\n+INVITE sip:bX-Evil:1 SIP/2.0\n+Subject: a  X-Evil: 1\n",
    );
}

#[test]
fn a_missing_content_length_is_added() {
    let message = Message::parse(Bytes::from_static(b"X y:z SIP/2.0\r\nA: b\r\n\r\nbody")).expect("parses");
    assert_eq!(&Edit::new(&message).write()[..], b"X y:z SIP/2.0\r\nA: b\r\nContent-Length: 4\r\n\r\nbody");
    let written = Edit::new(&message).body(None, Bytes::from_static(b"xyz")).write();
    assert_eq!(&written[..], b"X y:z SIP/2.0\r\nA: b\r\nContent-Length: 3\r\n\r\nxyz");
    let message =
        Message::parse(Bytes::from_static(b"X y:z SIP/2.0\r\nl: 1\r\nA: b\r\n\r\nq")).expect("parses");
    let written = Edit::new(&message)
        .remove(HeaderId::ContentLength)
        .set(HeaderId::ContentLength, "7")
        .append(HeaderId::ContentLength, "7")
        .insert_first(HeaderId::ContentLength, "7")
        .write();
    assert_eq!(&written[..], b"X y:z SIP/2.0\r\nl: 1\r\nA: b\r\n\r\nq");
}

#[test]
fn a_message_that_outgrows_its_limits_is_none() {
    let long = "x".repeat(crate::HEADER_BLOCK_OCTETS_MAX);
    let message = Message::parse(Bytes::from_static(RECEIVED.as_bytes())).expect("parses");
    let error = Edit::new(&message).append(HeaderId::Subject, &long).write_message();
    assert_eq!(error.expect_err("too long").status, 513);
    let error = Edit::new(&message).request_uri("").write_message();
    assert_eq!(error.expect_err("no request line").status, 400);
    let lines = (0..crate::HEADER_LINES_MAX).fold(String::new(), |lines, _| lines + "A: b\r\n");
    let many = Message::parse(Bytes::from(format!("X y:z SIP/2.0\r\n{lines}\r\n"))).expect("just fits");
    let error = Edit::new(&many).write_message();
    assert_eq!(error.expect_err("one more for Content-Length").status, 513);
}
