use super::*;

/// The example of RFC 2617 §3.5 and RFC 7616 §3.9.1.
#[test]
fn examples_of_the_rfcs() {
    let check = |algorithm, password, nonce, cnonce, realm, wanted: &str| {
        let ha1 = ha1(algorithm, "Mufasa", realm, password);
        let input = ResponseInput {
            method: "GET",
            uri: "/dir/index.html",
            nonce,
            qop: Some("auth"),
            nc: "00000001",
            cnonce,
            body: b"",
        };
        assert_eq!(response(&ha1, &input), wanted);
        assert!(verify(&ha1, &input, wanted));
        assert!(verify(&ha1, &input, &wanted.to_uppercase()));
        assert!(!verify(&ha1, &input, &wanted[2..]));
        assert!(!verify(&ha1, &input, &wanted.replace('3', "4")));
        assert!(!verify(&ha1, &input, &format!("{wanted}0")));
        assert!(!verify(&ha1, &input, ""));
        assert!(!verify(&ha1, &ResponseInput { method: "PUT", ..input }, wanted));
    };
    check(
        Algorithm::Md5,
        "Circle Of Life",
        "dcd98b7102dd2f0e8b11d0f600bfb0c093",
        "0a4f113b",
        "testrealm@host.com",
        "6629fae49393a05397450978507c4ef1",
    );
    check(
        Algorithm::Sha256,
        "Circle of Life",
        "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        "http-auth@example.org",
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    );
}

#[test]
fn names() {
    for algorithm in [Algorithm::Sha256, Algorithm::Md5, Algorithm::Sha512_256] {
        assert_eq!(Algorithm::from_name(&algorithm.name().to_lowercase()), Some(algorithm));
        assert_eq!(ha1(algorithm, "u", "r", "p").algorithm(), algorithm);
    }
    assert_eq!(Algorithm::from_name("MD5-sess"), None);
}
