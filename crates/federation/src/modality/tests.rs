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
