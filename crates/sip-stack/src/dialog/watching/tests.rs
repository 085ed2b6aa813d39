use super::*;

fn watching() -> Watching {
    let ask = Ask {
        resource: "sip:bob@fabrikam.example",
        watcher: "sip:alice@contoso.example",
        package: "presence",
        accept: "application/pidf+xml",
        contact: "<sip:sip.contoso.example:5061;transport=tls>",
    };
    Watching::new(&ask, "c1", "a")
}

fn notify(change: impl FnOnce(String) -> String) -> Message {
    let text = "NOTIFY sip:sip.contoso.example:5061;transport=tls SIP/2.0\nVia: SIP/2.0/TLS e;branch=z9hG4bKn\n\
         Record-Route: <sip:edge.contoso.example;lr>\nFrom: <sip:bob@fabrikam.example>;tag=b\n\
         To: <sip:alice@contoso.example>;tag=a\nCall-ID: c1\nCSeq: 7 NOTIFY\nContact: <sip:x@192.0.2.9>\n\
         Event: presence\nSubscription-State: active;expires=600\nContent-Type: application/pidf+xml\n\
         Content-Length: 4\n\n<x/>";
    Message::parse(Bytes::from(change(text.to_owned()).replace('\n', "\r\n"))).unwrap()
}

fn text(bytes: &Bytes) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[test]
fn the_first_notify_makes_the_dialog() {
    let mut watching = watching();
    let first = watching.subscribe(3600, "<sip:alice@contoso.example>");
    assert!(text(&first).starts_with("SUBSCRIBE sip:bob@fabrikam.example SIP/2.0\r\n"), "{}", text(&first));
    assert!(text(&first).contains("\r\nTo: <sip:bob@fabrikam.example>\r\n"));
    let told = watching.handle_notify(&notify(|n| n)).unwrap();
    assert_eq!(told.state, ToldState::Active { expires_seconds: Some(600) });
    assert_eq!(told.body, Some(("application/pidf+xml".to_owned(), Bytes::from_static(b"<x/>"))));
    let refresh = watching.subscribe(3600, "<sip:alice@contoso.example>");
    expect_test::expect![[r#"
        SUBSCRIBE sip:x@192.0.2.9 SIP/2.0
        Max-Forwards: 70
        Route: <sip:edge.contoso.example;lr>
        From: <sip:alice@contoso.example>;tag=a
        To: <sip:bob@fabrikam.example>;tag=b
        Call-ID: c1
        CSeq: 2 SUBSCRIBE
        Contact: <sip:sip.contoso.example:5061;transport=tls>
        Event: presence
        Accept: application/pidf+xml
        Expires: 3600
        P-Asserted-Identity: <sip:alice@contoso.example>
        Content-Length: 0

    "#]]
    .assert_eq(&text(&refresh).replace("\r\n", "\n"));
}

#[test]
fn what_is_not_of_the_dialog_changes_nothing() {
    let mut watching = watching();
    let status = |watching: &mut Watching, from: &str, to: &str| {
        watching.handle_notify(&notify(|n| n.replace(from, to))).unwrap_err().status
    };
    assert_eq!(status(&mut watching, "tag=a", "tag=guessed"), 481);
    assert_eq!(status(&mut watching, "Call-ID: c1", "Call-ID: c2"), 481);
    assert_eq!(status(&mut watching, "Contact: <sip:x@192.0.2.9>\n", ""), 400);
    assert_eq!(status(&mut watching, "Subscription-State: active;expires=600\n", ""), 400);
    assert!(!watching.is_confirmed());
    watching.handle_notify(&notify(|n| n)).unwrap();
    assert_eq!(status(&mut watching, "tag=b", "tag=fork"), 481, "a fork makes no second dialog");
    assert_eq!(status(&mut watching, "Event: presence", "Event: dialog"), 489);
    assert_eq!(status(&mut watching, "CSeq: 7", "CSeq: 7"), 500, "an old one tells old things");
    assert!(watching.handle_notify(&notify(|n| n.replace("CSeq: 7", "CSeq: 8"))).is_ok());
}

#[test]
fn an_end_says_why_and_when_to_come_back() {
    let state = |value: &str| {
        let message = notify(|n| n.replace("active;expires=600", value));
        watching().handle_notify(&message).map(|told| told.state)
    };
    let reason = |reason: &str| Some(reason.to_owned());
    assert_eq!(
        state("terminated;reason=probation;retry-after=30"),
        Ok(ToldState::Terminated { reason: reason("probation"), retry_after_seconds: Some(30) })
    );
    assert_eq!(state("Pending"), Ok(ToldState::Pending { expires_seconds: None }));
    assert_eq!(state("terminated"), Ok(ToldState::Terminated { reason: None, retry_after_seconds: None }));
    assert!(state("waiting").is_err());
}
