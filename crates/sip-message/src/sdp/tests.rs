use super::*;

const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 192.0.2.3\r\ns=caf\u{e9}\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\n\
    a=ice-ufrag:sess\r\na=ice-pwd:sesspassword\r\na=recvonly\r\n\
    m=audio 49217/2 RTP/AVP 0 12\r\na=sendonly\r\na=ice-ufrag:F7gI\r\na=ice-pwd:x9cml/YzichV2+XlhiMu8g\r\n\
    a=candidate:1 1 UDP 2130706431 10.0.1.1 8998 typ host\r\n\
    a=candidate:2 2 udp 1694498815 2001:db8::3 45664 typ srflx raddr 10.0.1.1 rport 8998 generation 0\r\n\
    a=candidate:3 1 udp 1 x.local 1 typ host\r\n\
    m=video 0 UDP/TLS/RTP/SAVPF 31\r\nc=IN IP6 2001:db8::1\r\n";

#[test]
fn an_offer() {
    for text in [OFFER.to_owned(), OFFER.replace("\r\n", "\n"), OFFER.trim_end().to_owned()] {
        let session = Session::parse(text.as_bytes()).unwrap();
        let [audio, video] = &session.media[..] else { panic!("two media") };
        assert_eq!((audio.kind, audio.port, audio.port_count), ("audio", 49217, 2));
        assert_eq!((audio.protocol, audio.formats), ("RTP/AVP", "0 12"));
        assert_eq!(session.connection(audio), Some(Connection::Address("192.0.2.4".parse().unwrap())));
        assert_eq!(session.direction(audio), Direction::SendOnly);
        assert_eq!(session.ice_credentials(audio), Some(("F7gI", "x9cml/YzichV2+XlhiMu8g")));
        let candidates: Vec<_> = audio.candidates().map(Result::unwrap).collect();
        assert_eq!(candidates.len(), 3);
        assert_eq!((candidates[0].kind, candidates[0].port, candidates[0].related), ("host", 8998, None));
        assert_eq!(candidates[1].related, Some((Connection::Address("10.0.1.1".parse().unwrap()), 8998)));
        assert_eq!(candidates[2].address, Connection::Name("x.local"));
        assert_eq!((video.port, video.protocol), (0, "UDP/TLS/RTP/SAVPF"));
        assert_eq!(session.connection(video), Some(Connection::Address("2001:db8::1".parse().unwrap())));
        assert_eq!(session.direction(video), Direction::ReceiveOnly);
        assert_eq!(session.ice_credentials(video), Some(("sess", "sesspassword")));
        assert_eq!(video.candidates().count(), 0);
    }
}

#[test]
fn other_lines_may_hold_any_octets() {
    let session =
        Session::parse(b"v=0\ns=\xff\x00\nb=\xfe\na=\xff\na=x:y\n\nm=message 5060 sip null\n").unwrap();
    assert_eq!(session.head.attribute("x"), Some("y"));
    assert_eq!(session.media[0].kind, "message");
}

#[test]
fn what_is_no_session_description() {
    for text in [
        "",
        "v=1\r\n",
        "s=-\r\nv=0\r\n",
        "v=0\r\nx\r\n",
        "v=0\r\nX=\r\n",
        "v=0\r\nm=audio\r\n",
        "v=0\r\nm=audio 65536 RTP/AVP 0\r\n",
        "v=0\r\nm=audio +1 RTP/AVP 0\r\n",
        "v=0\r\nm=audio 1 RTP/AVP\r\n",
        "v=0\r\nm= 1 RTP/AVP 0\r\n",
        "v=0\r\nc=IN IP4 2001:db8::1\r\n",
        "v=0\r\nc=IN IP6 192.0.2.1\r\n",
        "v=0\r\nc=IN IP4\r\n",
        "v=0\r\nc=IN IP4 999.1.1.1\r\n",
        "v=0\r\nc=IN IP4 a b\r\n",
        "v=0\r\nc=TN IP4 192.0.2.1\r\n",
    ] {
        assert!(Session::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    let multicast = Session::parse(b"v=0\r\nc=IN IP4 224.2.1.1/127/3\r\n").unwrap();
    assert_eq!(multicast.head.connection, Some(Connection::Address("224.2.1.1".parse().unwrap())));
    let media = |count: usize| "v=0\r\n".to_owned() + &"m=audio 1 x y\r\n".repeat(count);
    assert!(Session::parse(media(SDP_MEDIA_MAX).as_bytes()).is_ok());
    assert!(Session::parse(media(SDP_MEDIA_MAX + 1).as_bytes()).is_err());
    let lines = "v=0\r\n".to_owned() + &"a=x\r\n".repeat(SDP_LINES_MAX);
    assert!(Session::parse(lines.as_bytes()).is_err());
    let octets = "v=0\r\ns=".to_owned() + &"x".repeat(SDP_OCTETS_MAX);
    assert!(Session::parse(octets.as_bytes()).is_err());
}

#[test]
fn candidates_that_are_none() {
    for value in [
        "1 1 UDP 1 10.0.1.1 8998",
        "1 1 UDP 1 10.0.1.1 8998 host",
        "1 1 UDP 4294967296 10.0.1.1 8998 typ host",
        "1 1 UDP 1 10.0.1.1.1 8998 typ host",
        "1 1 UDP 1 10.0.1.1 x typ host",
        "",
    ] {
        let text = format!("v=0\nm=audio 1 x y\na=candidate:{value}\n");
        let session = Session::parse(text.as_bytes()).unwrap();
        assert!(session.media[0].candidates().all(|candidate| candidate.is_err()), "{value}");
    }
}
