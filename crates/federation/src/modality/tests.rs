//! What messages need.

use bytes::Bytes;

use super::*;

fn needs(start: &str, headers: &str, body: &str) -> String {
    let text = format!("{start}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
    let message = Message::parse(Bytes::from(text)).unwrap();
    Modalities::of(&message).iter().map(Modality::name).collect::<Vec<_>>().join(" ")
}

fn request(method: &str, headers: &str, body: &str) -> String {
    needs(&format!("{method} sip:b@b.example SIP/2.0"), headers, body)
}

fn session(streams: &[&str]) -> String {
    let mut text = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n".to_owned();
    for stream in streams {
        text += &format!("m={stream}\r\n");
    }
    text
}

const SDP: &str = "Content-Type: application/sdp\r\n";
const SOUND: &str = "audio 4000 RTP/AVP 0";
const PICTURE: &str = "video 4002 RTP/AVP 96";
const NO_PICTURE: &str = "video 0 RTP/AVP 96";
const CHAT: &str = "message 4004 TCP/MSRP *";

#[test]
fn methods() {
    assert_eq!(request("MESSAGE", "", ""), "im");
    assert_eq!(request("MESSAGE", SDP, &session(&[SOUND])), "im", "an attachment is no call");
    assert_eq!(request("SUBSCRIBE", "Event: presence\r\n", ""), "presence");
    assert_eq!(request("SUBSCRIBE", "Event: dialog\r\n", ""), "presence", "who talks with whom is presence");
    assert_eq!(request("NOTIFY", "Event: refer;id=1\r\n", ""), "");
    assert_eq!(request("NOTIFY", "o: referral\r\n", ""), "presence");
    assert_eq!(request("OPTIONS", "", ""), "");
    assert_eq!(request("BYE", "", ""), "");
    assert_eq!(request("REFER", "", ""), "");
}

#[test]
fn calls() {
    assert_eq!(request("INVITE", "", ""), "audio", "without an offer it is a call still");
    assert_eq!(request("INVITE", SDP, &session(&[SOUND])), "audio");
    assert_eq!(request("INVITE", SDP, &session(&[PICTURE])), "audio video");
    assert_eq!(request("INVITE", SDP, &session(&[SOUND, PICTURE])), "audio video");
    assert_eq!(request("INVITE", SDP, &session(&[SOUND, NO_PICTURE])), "audio");
    assert_eq!(request("INVITE", SDP, &session(&[CHAT])), "im");
    assert_eq!(request("INVITE", SDP, &session(&[CHAT, SOUND])), "im audio");
    assert_eq!(request("UPDATE", SDP, &session(&[SOUND, PICTURE])), "audio video");
    assert_eq!(request("ACK", SDP, &session(&[PICTURE])), "video");
    assert_eq!(needs("SIP/2.0 200 OK", SDP, &session(&[SOUND, PICTURE])), "audio video");
    assert_eq!(needs("SIP/2.0 200 OK", "", ""), "");
}

#[test]
fn a_stream_that_goes_along_with_another_is_one_without_a_port_of_its_own() {
    let bundled = format!("{NO_PICTURE}\r\na=bundle-only");
    assert_eq!(request("INVITE", SDP, &session(&[SOUND, &bundled])), "audio video");
}

#[test]
fn responses_lose_the_streams_that_may_not_pass() {
    let passes = |content_type: &str, body: &str, allowed: &[Modality]| {
        let text = format!("SIP/2.0 200 OK\r\n{content_type}Content-Length: {}\r\n\r\n{body}", body.len());
        let message = Message::parse(Bytes::from(text)).unwrap();
        let body = with_streams_refused(&message, allowed.iter().copied().collect());
        body.map(|body| String::from_utf8(body).unwrap())
    };
    let call = session(&[SOUND, PICTURE]);
    assert_eq!(passes(SDP, &call, &[Modality::Audio, Modality::Video]), None);
    assert_eq!(passes(SDP, &session(&[SOUND, NO_PICTURE]), &[Modality::Audio]), None);
    assert_eq!(passes("Content-Type: text/plain\r\n", &call, &[]), None);
    assert_eq!(passes(SDP, &call, &[Modality::Audio]).unwrap(), session(&[SOUND, NO_PICTURE]));
    assert_eq!(passes(SDP, &call, &[]).unwrap(), session(&["audio 0 RTP/AVP 0", NO_PICTURE]));
    // What stands in the sections of others stays to the octet, and nothing of the refused one but its place.
    let head = session(&[]) + "a=group:BUNDLE 0 1\r\na=x:";
    let sound = "\r\nm=audio 4000/2 RTP/AVP 0 8\r\na=mid:0\r\na=rtpmap:0 PCMU/8000\r\n";
    let picture = "m=video 4002 RTP/AVP 96\r\nc=IN IP4 192.0.2.7\r\na=candidate:1 1 UDP 1 10.0.0.7 9 typ host\r\na=mid:1\r\n";
    let rest = "m=message 4004 TCP/MSRP *\r\n";
    assert_eq!(
        passes(SDP, &[&*head, sound, picture, rest].concat(), &[Modality::Audio, Modality::Im]).unwrap(),
        [
            &head.replace("0 1\r", "0\r"),
            sound,
            "m=video 0 RTP/AVP 96\r\nc=IN IP4 192.0.2.7\r\na=mid:1\r\n",
            rest
        ]
        .concat()
    );
    // What cannot be read goes as a whole.
    let multipart = "Content-Type: multipart/mixed;boundary=x\r\n";
    assert_eq!(passes(multipart, "--x\r\n", &[Modality::Audio]).as_deref(), Some(""));
    assert_eq!(passes(multipart, "--x\r\n", &[Modality::Audio, Modality::Video]), None);
}

#[test]
fn what_cannot_be_read_needs_everything() {
    assert_eq!(request("INVITE", SDP, "v=1\r\nnonsense"), "audio video");
    let multipart = "Content-Type: Multipart/Mixed;boundary=x\r\n";
    assert_eq!(request("INVITE", multipart, "--x\r\n"), "audio video");
    assert_eq!(request("INFO", multipart, "--x\r\n"), "audio video");
}

#[test]
fn a_set_is_read_and_printed() {
    assert_eq!(Modalities::ALL.to_string(), "presence, instant messages, calls, video");
    assert_eq!(Modalities::NONE.to_string(), "signalling");
    assert_eq!(Modality::ALL.map(|m| Modality::from_name(m.name())), Modality::ALL.map(Some));
    assert_eq!(Modality::ALL.into_iter().collect::<Modalities>(), Modalities::ALL);
}
