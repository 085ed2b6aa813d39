use super::*;

const REQUEST: &str = "INVITE sip:bob@b.example SIP/2.0\r\n\
    v: SIP/2.0/TCP a.example;branch=z9hG4bK1;rport ,\r\n SIP/2.0/UDP c.example\r\n\
    Via: SIP/2.0/UDP d.example\r\n\
    Record-Route: <sip:p.example;lr>\r\n\
    Subject: not copied\r\n\
    t: \"Bob\"\r\n <sip:bob@b.example>\r\n\
    f: <sip:a@a.example>;tag=1\r\n\
    Timestamp: 54\r\n\
    i: c\r\n\
    CSeq: 1\r\n  INVITE\r\n\
    \r\n";

fn request(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).expect("parses")
}

#[test]
fn a_response() {
    let request = request(REQUEST);
    let mut builder = ResponseBuilder::new(&request, 180);
    builder
        .to_tag("t1")
        .copy_record_route()
        .header(HeaderId::Contact, "<sip:bob@192.0.2.1>")
        .header_named("X-Y", b"z")
        .body("text/plain", b"hi");
    let wanted = "SIP/2.0 180 Ringing\r\n\
        Via: SIP/2.0/TCP a.example;branch=z9hG4bK1;rport=5062;received=192.0.2.9 ,   SIP/2.0/UDP c.example\r\n\
        Via: SIP/2.0/UDP d.example\r\n\
        Record-Route: <sip:p.example;lr>\r\n\
        f: <sip:a@a.example>;tag=1\r\n\
        To: \"Bob\"   <sip:bob@b.example>;tag=t1\r\n\
        i: c\r\n\
        CSeq: 1\r\n  INVITE\r\n\
        Contact: <sip:bob@192.0.2.1>\r\n\
        X-Y: z\r\n\
        Content-Type: text/plain\r\n\
        Content-Length: 2\r\n\r\nhi";
    let via = "SIP/2.0/TCP a.example;branch=z9hG4bK1;rport=5062;received=192.0.2.9";
    let response = builder.build_with_top_via(&request.top_via().unwrap(), via.as_bytes());
    assert_eq!(String::from_utf8(response.to_vec()).unwrap(), wanted);
}

#[test]
fn timestamp_goes_into_a_100_alone() {
    let request = request(REQUEST);
    let header = |status| {
        let response = Message::parse(ResponseBuilder::new(&request, status).build()).unwrap();
        response.validate().unwrap();
        response.header(HeaderId::Timestamp).map(<[u8]>::to_vec)
    };
    assert_eq!(header(100), Some(b"54".to_vec()));
    assert_eq!(header(200), None);
}

#[test]
fn a_tag_that_is_there_stays() {
    let request = request(&REQUEST.replace("<sip:bob@b.example>\r\nf", "<sip:bob@b.example>;TAG=x\r\nf"));
    let response = Message::parse(ResponseBuilder::new(&request, 200).to_tag("y").build()).unwrap();
    assert_eq!(response.to().unwrap().tag(), Some("x"));
}

#[test]
fn a_broken_request_is_answered_with_what_is_there() {
    let request = request("OPTIONS x:y SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nTo: \"x <y\r\nTo: z\r\n\r\n");
    assert!(request.validate().is_err());
    let response = ResponseBuilder::new(&request, 400).reason("No\r\nWay").to_tag("t").build();
    let wanted = "SIP/2.0 400 No  Way\r\nVia: SIP/2.0/UDP a\r\nTo: \"x <y;tag=t\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(String::from_utf8(response.to_vec()).unwrap(), wanted);
}

#[test]
fn a_request_of_ours() {
    let mut builder = RequestBuilder::new(Method::Message, "sip:b@b.example");
    builder.header(HeaderId::MaxForwards, "70").header_named("X", "a\nb").body("text/plain", b"x");
    let wanted = "MESSAGE sip:b@b.example SIP/2.0\r\nMax-Forwards: 70\r\nX: a b\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(String::from_utf8(builder.build().to_vec()).unwrap(), wanted);
}

#[test]
fn unknown_statuses_have_their_class_s_phrase() {
    assert_eq!(reason_phrase(404), "Not Found");
    assert_eq!(reason_phrase(499), "Bad Request");
    assert_eq!(reason_phrase(299), "OK");
    assert_eq!(reason_phrase(699), "Busy Everywhere");
}
