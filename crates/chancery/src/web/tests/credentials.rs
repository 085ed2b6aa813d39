//! App passwords and certificates.

use base64::Engine;

use super::*;

#[tokio::test(start_paused = true)]
async fn app_passwords_are_made_listed_and_taken_back() {
    let site = Site::new();
    let token = site.token("alice").await;
    for purpose in ["sip", "address-book"] {
        let asked = json!({ "label": "desk phone", "purpose": purpose });
        let made = site.with_token(&token, "POST", "/v1/app-passwords", Some(asked)).await;
        assert_eq!(made.status, 201);
        let made = made.json();
        assert_eq!(
            (&made["realm"], &made["address"]),
            (&json!("corp.example"), &json!("alice@corp.example"))
        );
        assert!(made["password"].as_str().unwrap().contains('-'));
    }
    let listed = site.with_token(&token, "GET", "/v1/app-passwords", None).await.json();
    assert_eq!(listed["app_passwords"][1]["purpose"], "address-book");
    assert_eq!(purpose_name(&site.world().users[1].app_passwords[1]), "address-book");
    assert!(!listed.to_string().contains("abcd-efgh"), "a password is shown once");
    let gone = site.with_token(&token, "DELETE", "/v1/app-passwords/alice~0", None).await;
    assert_eq!(gone.status, 204);
    let again = site.with_token(&token, "DELETE", "/v1/app-passwords/alice~0", None).await;
    assert_eq!((again.status, again.problem().as_str()), (404, "no-such-thing"));
    let other = site.token("erin@corp.example").await;
    let others = site.with_token(&other, "DELETE", "/v1/app-passwords/alice~1", None).await;
    assert_eq!(others.status, 404, "somebody else's");
}

#[tokio::test(start_paused = true)]
async fn app_passwords_are_bounded_and_labelled() {
    let site = Site::new();
    let token = site.token("alice").await;
    let make = |label: &str, purpose: &str| json!({ "label": label, "purpose": purpose });
    let answer = site.with_token(&token, "POST", "/v1/app-passwords", Some(make("", "sip"))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (422, "bad-label"));
    let answer = site.with_token(&token, "POST", "/v1/app-passwords", Some(make("x", "everything"))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "malformed"));
    for n in 0..=16 {
        let answer = site.with_token(&token, "POST", "/v1/app-passwords", Some(make("x", "sip"))).await;
        assert_eq!(answer.status, if n < 16 { 201 } else { 409 });
    }
}

fn asked() -> rcgen::CertificateSigningRequest {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().serialize_request(&key).unwrap()
}

#[tokio::test(start_paused = true)]
async fn certificates_are_made_registered_listed_and_taken_back() {
    let site = Site::new();
    let token = site.token("alice").await;
    let content = json!({ "signing_request": asked().pem().unwrap() });
    let made = site.with_token(&token, "POST", "/v1/certificates", Some(content)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let chain = pki::certificates_in_pem(made["certificate"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(chain.len(), 2);
    let facts = pki::CertificateFacts::read(&chain[0]).unwrap();
    assert_eq!(facts.persons, ["alice@corp.example"]);
    assert!(facts.usages.client && !facts.usages.server);
    let known = site.world().users[1].certificates.clone();
    assert_eq!(known.len(), 1, "it signs in at once");
    assert_eq!(known[0].digest.0, facts.sha256);
    assert_eq!(known[0].expires_unix_ms, facts.not_after_unix_seconds as u64 * 1000);
    let sha256 = made["sha256"].as_str().unwrap();
    let listed = site.with_token(&token, "GET", "/v1/certificates", None).await.json();
    assert_eq!(
        (&listed["certificates"][0]["sha256"], &listed["certificates"][0]["expires"]),
        (&made["sha256"], &made["expires"])
    );
    let path = format!("/v1/certificates/{sha256}");
    let other = site.token("erin@corp.example").await;
    assert_eq!(site.with_token(&other, "DELETE", &path, None).await.status, 404, "somebody else's");
    assert_eq!(site.with_token(&token, "DELETE", &path, None).await.status, 204);
    assert_eq!(site.with_token(&token, "DELETE", &path, None).await.problem(), "no-such-thing");
    assert_eq!(
        site.with_token(&token, "DELETE", "/v1/certificates/nonsense", None).await.problem(),
        "no-such-thing"
    );
}

/// The directory disables somebody between the judging of the token and what it was shown for.
#[tokio::test(start_paused = true)]
async fn a_leaver_is_told_so_and_gets_nothing() {
    let site = Site::new();
    let token = site.token("alice").await;
    site.set("alice", |user| user.standing = Standing::Disabled);
    let password = json!({ "label": "desk phone", "purpose": "sip" });
    let certificate = json!({ "signing_request": asked().pem().unwrap() });
    for (path, content) in [("/v1/app-passwords", password), ("/v1/certificates", certificate)] {
        let answer = site.with_token(&token, "POST", path, Some(content)).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "account-disabled"), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_signing_request_comes_as_json_pem_or_der() {
    let site = Site::new();
    let bearer = format!("Bearer {}", site.token("alice").await);
    let cases = [
        ("application/pkcs10", asked().der().to_vec(), 201),
        ("application/x-pem-file", asked().pem().unwrap().into_bytes(), 201),
        ("Application/PKCS10; x=y", asked().der().to_vec(), 201),
        ("text/plain", asked().pem().unwrap().into_bytes(), 415),
        ("application/pkcs10", b"nonsense".to_vec(), 422),
        ("application/json", asked().der().to_vec(), 400),
    ];
    for (kind, content, status) in cases {
        let fields = [("authorization", bearer.as_str()), ("content-type", kind)];
        let answer = site.ask(HOME, "POST", "/v1/certificates", &fields, content).await;
        assert_eq!(answer.status, status, "{kind}: {}", answer.text());
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_a_certificate_for_a_key_of_somebody_else() {
    let site = Site::new();
    let token = site.token("alice").await;
    let mut der = asked().der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    let text = base64::engine::general_purpose::STANDARD.encode(&der);
    let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n");
    let answer =
        site.with_token(&token, "POST", "/v1/certificates", Some(json!({ "signing_request": pem }))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (422, "signing-request-refused"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("does not prove"));
    assert!(site.world().users[1].certificates.is_empty());
}

#[tokio::test(start_paused = true)]
async fn certificates_are_bounded_and_can_be_switched_off() {
    let site = Site::with(|settings| settings.certificate_days = Some(1));
    let token = site.token("alice").await;
    for n in 0..=16 {
        let content = json!({ "signing_request": asked().pem().unwrap() });
        let answer = site.with_token(&token, "POST", "/v1/certificates", Some(content)).await;
        assert_eq!(answer.status, if n < 16 { 201 } else { 409 });
    }
    let site = Site::with(|settings| settings.certificate_days = None);
    let token = site.token("alice").await;
    let content = json!({ "signing_request": asked().pem().unwrap() });
    let answer = site.with_token(&token, "POST", "/v1/certificates", Some(content)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (403, "switched-off"));
}
