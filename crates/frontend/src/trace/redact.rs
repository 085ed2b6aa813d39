//! What an administrator may see of a message: who talks to whom and how it is routed, but neither what people write
//! nor what signs them in.
//!
//! Of credentials and challenges only parameters of a short list stay, so that what a later RFC adds is hidden until
//! somebody has thought about it. A header that cannot be taken apart is hidden whole.

use std::fmt::Write as _;

use sign_in::replica;
use sip_message::{AuthParams, Header, HeaderId, Message};

use super::Bodies;

/// What of Authorization and Proxy-Authorization says nothing about the password, nor lets anybody use the answer again.
const CREDENTIALS_SHOWN: [&str; 6] = ["username", "realm", "uri", "algorithm", "qop", "nc"];
/// The same of challenges.
const CHALLENGE_SHOWN: [&str; 4] = ["realm", "algorithm", "qop", "stale"];
/// Headers that nobody here knows but that sound like a secret.
const SECRET_SOUNDS: [&str; 4] = ["auth", "cookie", "token", "secret"];
const HIDDEN: &str = "[hidden]";

/// The message as text, redacted. Control characters, which could play with a terminal, are replaced.
pub(super) fn shown(message: &Message, bodies: Bodies) -> String {
    let mut text = String::with_capacity(message.bytes().len());
    let start = message.bytes().split(|octet| *octet == b'\r' || *octet == b'\n').next().unwrap_or_default();
    let _ = write!(text, "{}\r\n", plain(start));
    for header in message.headers() {
        let _ = write!(text, "{}: {}\r\n", String::from_utf8_lossy(header.name), value(&header, bodies));
    }
    text.push_str("\r\n");
    match (message.body(), bodies) {
        ([], _) => {}
        // What Directors are told of accounts is shown to nobody.
        (body, bodies) if bodies == Bodies::Hidden || message.content_type() == replica::CONTENT_TYPE => {
            let kind = clean(message.content_type());
            let _ = write!(text, "[{} octets of {kind} hidden]", body.len());
        }
        (body, _) => text.push_str(&clean(&String::from_utf8_lossy(body))),
    }
    text
}

fn value(header: &Header<'_>, bodies: Bodies) -> String {
    let name = String::from_utf8_lossy(header.name).to_ascii_lowercase();
    match header.id {
        HeaderId::Authorization | HeaderId::ProxyAuthorization => {
            parameters(header.value, &CREDENTIALS_SHOWN)
        }
        HeaderId::WwwAuthenticate | HeaderId::ProxyAuthenticate => parameters(header.value, &CHALLENGE_SHOWN),
        HeaderId::AuthenticationInfo => HIDDEN.to_owned(),
        // What a message is about is part of what people write.
        HeaderId::Subject if bodies == Bodies::Hidden => HIDDEN.to_owned(),
        HeaderId::Other if SECRET_SOUNDS.iter().any(|sound| name.contains(sound)) => HIDDEN.to_owned(),
        _ => plain(header.value),
    }
}

fn parameters(value: &[u8], shown: &[&str]) -> String {
    let Ok(params) = AuthParams::parse(value) else { return HIDDEN.to_owned() };
    let mut text = clean(params.scheme);
    let mut separator = " ";
    for name in shown {
        if let Some(value) = params.get(name) {
            let _ = write!(text, "{separator}{name}=\"{}\"", clean(&value));
            separator = ", ";
        }
    }
    let _ = write!(text, "{separator}{HIDDEN}");
    text
}

/// A value without the passwords that URIs may bear (RFC 3261 §19.1.1).
fn plain(value: &[u8]) -> String {
    let text = clean(&String::from_utf8_lossy(value));
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = scheme_end(rest) {
        let (before, uri) = rest.split_at(at);
        shown.push_str(before);
        let end = uri.find(|c: char| c.is_whitespace() || "<>\",@".contains(c)).unwrap_or(uri.len());
        let (user, behind) = uri.split_at(end);
        match user.split_once(':') {
            Some((name, _)) if behind.starts_with('@') => {
                let _ = write!(shown, "{name}:{HIDDEN}");
            }
            _ => shown.push_str(user),
        }
        rest = behind;
    }
    shown + rest
}

/// Where the next `sip:` or `sips:` ends.
fn scheme_end(text: &str) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    let ends = ["sip:", "sips:"].map(|scheme| lower.find(scheme).map(|at| at + scheme.len()));
    ends.into_iter().flatten().min()
}

fn clean(text: &str) -> String {
    let is_harmless = |c: char| !c.is_control() || matches!(c, '\r' | '\n' | '\t');
    text.chars().map(|c| if is_harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use expect_test::{Expect, expect};

    use super::*;

    fn check(bodies: Bodies, message: &str, expected: Expect) {
        let message = Message::parse(Bytes::from(message.replace('\n', "\r\n"))).expect("it is SIP");
        expected.assert_eq(&shown(&message, bodies).replace("\r\n", "\n"));
    }

    const REGISTER: &str = "REGISTER sip:alice:pass@contoso.example SIP/2.0
f: \"sip:a\" <sips:alice:secret:more@contoso.example;transport=tls>;tag=1
t: <sip:alice@contoso.example:5061>
s: about us
Authorization: Digest username=\"alice\", realm=\"contoso.example\", nonce=\"NONCE\", uri=\"sip:contoso.example\",
 response=\"RESPONSE\", opaque=\"OPAQUE\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"CNONCE\", new=\"NEW\"
Proxy-Authorization: Bearer TOKEN
X-Auth-Info: KEY
X-Plain: a\u{1b}[2Jb
c: text/plain
l: 5

hello";

    #[test]
    fn credentials_passwords_and_content_are_hidden() {
        check(
            Bodies::Hidden,
            REGISTER,
            expect![[r#"
                REGISTER sip:alice:[hidden]@contoso.example SIP/2.0
                f: "sip:a" <sips:alice:[hidden]@contoso.example;transport=tls>;tag=1
                t: <sip:alice@contoso.example:5061>
                s: [hidden]
                Authorization: Digest username="alice", realm="contoso.example", uri="sip:contoso.example", algorithm="MD5", qop="auth", nc="00000001", [hidden]
                Proxy-Authorization: Bearer [hidden]
                X-Auth-Info: [hidden]
                X-Plain: a�[2Jb
                c: text/plain
                l: 5

                [5 octets of text/plain hidden]"#]],
        );
    }

    #[test]
    fn bodies_are_shown_when_asked_for_and_secrets_never() {
        let text = "SIP/2.0 401 No\nWWW-Authenticate: Digest realm=\"r\", nonce=\"NONCE\", stale=true, opaque=\"O\"\n\
                    Proxy-Authenticate: what is this\nAuthentication-Info: nextnonce=\"NONCE\"\n\
                    Proxy-Authentication-Info: nextnonce=\"NONCE\"\nSubject: about us\n\nhello\u{7}";
        check(
            Bodies::Shown,
            text,
            expect![[r#"
                SIP/2.0 401 No
                WWW-Authenticate: Digest realm="r", stale="true", [hidden]
                Proxy-Authenticate: what [hidden]
                Authentication-Info: [hidden]
                Proxy-Authentication-Info: [hidden]
                Subject: about us

                hello�"#]],
        );
    }
}
