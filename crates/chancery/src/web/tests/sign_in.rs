//! Who is let in, who is not, and what they are told.

use super::*;

#[tokio::test(start_paused = true)]
async fn any_name_of_a_person_signs_in() {
    let site = Site::new();
    for name in ["alice@corp.example", "CORP\\alice", "alice", "Alice@Corp.Example", "erin@corp.example"] {
        let answer = site.sign_in(HOME, name, RIGHT).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let json = answer.json();
        assert!(json["token"].as_str().unwrap().starts_with("token"));
        assert!(json["expires"].as_str().unwrap().ends_with('Z'));
        assert_eq!(json["display_name"], "Somebody");
    }
    assert_eq!(site.asked(), 4, "the local account is none of the directory's business");
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_closed_to_caches_and_other_sites() {
    let site = Site::new();
    let answers = [
        site.sign_in(HOME, "alice", RIGHT).await,
        site.sign_in(HOME, "alice", "wrong").await,
        site.ask(HOME, "GET", "/", &[("origin", "https://evil.example")], Vec::new()).await,
        site.ask(
            HOME,
            "OPTIONS",
            "/v1/sign-in",
            &[("origin", "https://evil.example"), ("access-control-request-method", "POST")],
            Vec::new(),
        )
        .await,
    ];
    let mut ids = std::collections::BTreeSet::new();
    for answer in answers {
        assert_eq!(answer.field("cache-control"), "no-store");
        assert_eq!(answer.field("x-content-type-options"), "nosniff");
        assert_eq!(answer.field("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
        assert!(answer.field("strict-transport-security").starts_with("max-age="));
        assert_eq!(answer.field("set-cookie"), "");
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control-")));
        ids.insert(answer.field("x-request-id").to_owned());
    }
    assert_eq!(ids.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn each_refusal_of_the_directory_is_a_clear_one() {
    let site = Site::new();
    let cases = [
        ("locked", Judgement::Locked, 403, "account-locked"),
        ("disabled", Judgement::Disabled, 403, "account-disabled"),
        ("acctexpired", Judgement::AccountExpired, 403, "account-expired"),
        ("pwexpired", Judgement::PasswordExpired, 403, "password-expired"),
        ("mustchange", Judgement::MustChange, 403, "password-must-change"),
        ("restricted", Judgement::Restricted, 403, "sign-in-restricted"),
        ("away", unreachable(), 503, "directory-unreachable"),
        ("silent", Judgement::Unanswered { reason: "timeout".to_owned() }, 503, "directory-unreachable"),
    ];
    for (name, worth, status, problem) in cases {
        site.follows(name, worth);
        let answer = site.sign_in(HOME, name, RIGHT).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{name}");
        assert!(status != 503 || !answer.field("retry-after").is_empty(), "{name}");
        assert!(
            !answer.text().contains("no route") && !answer.text().contains("timeout"),
            "the operator's words"
        );
    }
    assert!(site.world().tokens.is_empty());
}

/// States that the owner may know, and a stranger not.
#[tokio::test(start_paused = true)]
async fn a_state_is_told_to_who_has_the_password() {
    let site = Site::new();
    for name in ["disabled", "pwexpired"] {
        site.follows(name, if name == "disabled" { Judgement::Disabled } else { Judgement::PasswordExpired });
        assert_eq!(site.sign_in(HOME, name, "wrong").await.problem(), "wrong-name-or-password");
    }
    site.follows("bob", Judgement::Right);
    site.set("bob", |user| user.standing = Standing::NotEnabled);
    assert_eq!(site.sign_in(HOME, "bob", "wrong").await.problem(), "wrong-name-or-password");
    assert_eq!(site.sign_in(HOME, "bob", RIGHT).await.problem(), "not-enabled-here");
    site.set("erin", |user| user.state = UserState::Disabled);
    assert_eq!(site.sign_in(HOME, "erin@corp.example", "wrong").await.problem(), "wrong-name-or-password");
    assert_eq!(site.sign_in(HOME, "erin@corp.example", RIGHT).await.problem(), "account-disabled");
}

#[tokio::test(start_paused = true)]
async fn an_empty_password_is_refused_before_anything() {
    let site = Site::new();
    let answer = site.sign_in(HOME, "alice", "").await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "empty-password"));
    let change = json!({ "name": "alice", "old": "", "new": "Other-Passw0rd" });
    assert_eq!(site.post_from(HOME, "/v1/password", &change).await.problem(), "empty-password");
    let change = json!({ "name": "alice", "old": RIGHT, "new": "" });
    assert_eq!(site.post_from(HOME, "/v1/password", &change).await.problem(), "empty-password");
    assert_eq!(site.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_directory_is_asked_three_times_and_no_more() {
    let site = Site::new();
    for n in 0..10 {
        let answer = site.sign_in(STRANGER, "alice", &format!("guess{n}")).await;
        match n {
            0..3 => assert_eq!((answer.status, answer.problem().as_str()), (403, "wrong-name-or-password")),
            _ => {
                assert_eq!((answer.status, answer.problem().as_str()), (429, "too-many-wrong-passwords"));
                let seconds: u64 = answer.field("retry-after").parse().unwrap();
                assert!((1700..=1800).contains(&seconds), "{seconds}");
                assert_eq!(answer.json()["retry_after"], seconds);
            }
        }
    }
    assert_eq!(site.asked(), 3);
    assert_eq!(
        site.sign_in(HOME, "corp\\alice", RIGHT).await.problem(),
        "too-many-wrong-passwords",
        "by any name"
    );
    tokio::time::advance(Duration::from_secs(1800)).await;
    assert_eq!(site.sign_in(HOME, "alice", RIGHT).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn who_signed_in_before_from_there_still_gets_in() {
    let site = Site::new();
    assert_eq!(site.sign_in(HOME, "alice", RIGHT).await.status, 200);
    for n in 0..5 {
        site.sign_in(STRANGER, "alice", &format!("guess{n}")).await;
    }
    assert_eq!(site.sign_in(HOME, "alice", RIGHT).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_old_password_on_a_telephone_is_asked_once() {
    let site = Site::new();
    for _ in 0..20 {
        assert_eq!(site.sign_in(HOME, "alice", "Old-Passw0rd").await.problem(), "wrong-name-or-password");
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    assert_eq!(site.asked(), 1);
}

/// A name that nobody has is refused in the same words, after the same time, and blocked alike.
#[tokio::test(start_paused = true)]
async fn a_stranger_cannot_tell_who_is_there() {
    let site = Site::new();
    let mut told = Vec::new();
    for name in ["alice@corp.example", "mallory@corp.example", "erin@corp.example"] {
        let mut answers = Vec::new();
        for n in 0..4 {
            let began = tokio::time::Instant::now();
            let answer = site.sign_in(STRANGER, name, &format!("guess{n}")).await;
            let fields: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
            answers.push((answer.status, answer.json()["type"].clone(), fields, began.elapsed()));
        }
        told.push(answers);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
    assert!(told[0].iter().all(|(.., after)| *after >= Duration::from_millis(250)));
}

/// A hundred at once: what is being asked counts, and who hangs up takes nothing back.
#[tokio::test(start_paused = true)]
async fn many_at_once_are_no_way_around() {
    let site = Site::new();
    site.gate.forget_permits(Semaphore::MAX_PERMITS);
    let passwords: Vec<String> = (0..100).map(|n| format!("guess{n}")).collect();
    {
        let mut tries: Vec<_> =
            passwords.iter().map(|password| Box::pin(site.sign_in(STRANGER, "alice", password))).collect();
        for one in &mut tries {
            // Each has been asked, or waits for its turn.
            assert!(tokio::time::timeout(Duration::from_millis(1), one).await.is_err());
        }
        assert_eq!(site.asked(), 1, "what it says tells how many may be wrong");
    }
    // All of them hung up.
    site.gate.add_permits(100);
    while site.gate.available_permits() > 99 {
        tokio::task::yield_now().await;
    }
    for more in ["one", "two"] {
        assert_eq!(site.sign_in(STRANGER, "alice", more).await.problem(), "wrong-name-or-password");
    }
    let answer = site.sign_in(STRANGER, "alice", "one more").await;
    assert_eq!(answer.problem(), "too-many-wrong-passwords");
    assert_eq!(site.asked(), 3);
}

/// A password policy of few people locks them earlier than the domain locks everybody.
#[tokio::test(start_paused = true)]
async fn who_is_locked_earlier_is_asked_less() {
    let site = Site::new();
    site.follows("bob", Judgement::Right);
    site.world().locks.insert("bob@corp.example".to_owned(), 2);
    let mut told = Vec::new();
    for n in 0..3 {
        for name in ["alice", "bob"] {
            told.push((name, site.sign_in(STRANGER, name, &format!("guess{n}")).await.problem()));
        }
    }
    let (wrong, enough) = ("wrong-name-or-password", "too-many-wrong-passwords");
    let expected = [
        ("alice", wrong),
        ("bob", wrong),
        ("alice", wrong),
        ("bob", enough),
        ("alice", wrong),
        ("bob", enough),
    ];
    assert_eq!(told, expected.map(|(name, problem)| (name, problem.to_owned())));
    assert_eq!(site.asked(), 4);
    tokio::time::advance(Duration::from_secs(1800)).await;
    assert_eq!(site.sign_in(HOME, "bob", RIGHT).await.status, 200);
}

/// All devices of a person come back at once, with the right password: they wait for each other, and all get in.
#[tokio::test(start_paused = true)]
async fn devices_of_one_person_wait_for_each_other() {
    let site = Site::new();
    site.gate.forget_permits(Semaphore::MAX_PERMITS);
    let tries: Vec<_> = (0..8).map(|_| site.sign_in(HOME, "alice", RIGHT)).collect();
    let opened = async {
        tokio::time::advance(Duration::from_millis(50)).await;
        site.gate.add_permits(8);
    };
    let mut all = Vec::new();
    let answers = async {
        let mut tries: Vec<_> = tries.into_iter().map(Box::pin).collect();
        std::future::poll_fn(|context| {
            tries.retain_mut(|one| match one.as_mut().poll(context) {
                std::task::Poll::Ready(answer) => {
                    all.push(answer.status);
                    false
                }
                std::task::Poll::Pending => true,
            });
            if tries.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    };
    tokio::join!(answers, opened);
    assert_eq!(all, [200; 8]);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_directory_costs_nobody_a_try() {
    let site = Site::new();
    let bob = site.follows("bob", unreachable());
    for n in 0..10 {
        let answer = site.sign_in(STRANGER, "bob", &format!("guess{n}")).await;
        assert_eq!((answer.status, answer.field("retry-after")), (503, "5"), "{bob:?}");
    }
    site.world().accounts.get_mut("bob@corp.example").unwrap().1 = Judgement::Right;
    assert_eq!(site.sign_in(STRANGER, "bob", RIGHT).await.status, 200);
    assert_eq!(site.sign_in(STRANGER, "erin@corp.example", RIGHT).await.status, 200, "local accounts go on");
}

/// While it cannot be asked, some names are told so and some are told that they are wrong: nobody's are among both.
#[tokio::test(start_paused = true)]
async fn an_unreachable_directory_tells_nobody_who_is_there() {
    let site = Site::new();
    let before = site.sign_in(STRANGER, "name0", "guess").await;
    assert_eq!(before.problem(), "wrong-name-or-password", "while nothing is known of it");
    site.follows("bob", unreachable());
    let of_bob = site.sign_in(STRANGER, "bob", "guess").await;
    assert_eq!(of_bob.problem(), "directory-unreachable");
    let mut told = BTreeMap::<String, usize>::new();
    for n in 1..=40 {
        let name = format!("name{n}");
        let first = site.sign_in(STRANGER, &name, "guess").await;
        assert_eq!(first.problem(), site.sign_in(STRANGER, &name, "other").await.problem(), "always alike");
        if first.status == of_bob.status {
            assert_eq!(
                (first.text(), first.field("retry-after")),
                (of_bob.text(), of_bob.field("retry-after"))
            );
        }
        *told.entry(first.problem()).or_default() += 1;
    }
    let problems: Vec<&str> = told.keys().map(String::as_str).collect();
    assert_eq!(problems, ["directory-unreachable", "wrong-name-or-password"]);
    assert!(told.values().all(|count| *count >= 10), "{told:?}");
    // It answers again.
    assert_eq!(site.sign_in(HOME, "alice", RIGHT).await.status, 200);
    for n in 41..=60 {
        assert_eq!(
            site.sign_in(STRANGER, &format!("name{n}"), "guess").await.problem(),
            "wrong-name-or-password"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_starting_server_says_when_to_come_back() {
    let site = Site::new();
    site.world().is_starting = true;
    let answer = site.sign_in(HOME, "alice", RIGHT).await;
    assert_eq!((answer.status, answer.problem().as_str(), answer.field("retry-after")), (503, "busy", "2"));
}

#[tokio::test(start_paused = true)]
async fn an_expired_password_is_changed_by_its_owner() {
    let site = Site::new();
    site.follows("bob", Judgement::PasswordExpired);
    let other = site.token("alice").await;
    let change = |old: &str, new: &str| json!({ "name": "bob", "old": old, "new": new });
    let answer = site.post_from(HOME, "/v1/password", &change("wrong", "Other-Passw0rd")).await;
    assert_eq!(answer.problem(), "wrong-name-or-password");
    site.world().change = Some(Change::NewRefused("it was used before".to_owned()));
    let answer = site.post_from(HOME, "/v1/password", &change(RIGHT, "Other-Passw0rd")).await;
    assert_eq!((answer.status, answer.problem().as_str()), (422, "new-password-refused"));
    assert_eq!(answer.json()["detail"], "it was used before");
    site.world().change = None;
    assert_eq!(site.post_from(HOME, "/v1/password", &change(RIGHT, "Other-Passw0rd")).await.status, 204);
    assert_eq!(site.sign_in(HOME, "bob", "Other-Passw0rd").await.status, 200);
    assert_eq!(site.with_token(&other, "GET", "/v1/app-passwords", None).await.status, 200, "alice stays");
    site.world().change = Some(Change::Forbidden("no right".to_owned()));
    let answer = site.post_from(HOME, "/v1/password", &change("Other-Passw0rd", "X")).await;
    assert_eq!((answer.status, answer.problem().as_str()), (403, "cannot-change-password"));
}

#[tokio::test(start_paused = true)]
async fn guesses_at_the_old_password_count_too() {
    let site = Site::new();
    for n in 0..10 {
        let change = json!({ "name": "alice", "old": format!("guess{n}"), "new": "Other-Passw0rd" });
        site.post_from(STRANGER, "/v1/password", &change).await;
    }
    assert_eq!(site.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_local_password_is_changed_and_ends_tokens() {
    let site = Site::new();
    let token = site.token("erin@corp.example").await;
    let change = |old: &str, new: &str| json!({ "name": "erin@corp.example", "old": old, "new": new });
    assert_eq!(
        site.post_from(HOME, "/v1/password", &change(RIGHT, "short")).await.problem(),
        "new-password-refused"
    );
    assert_eq!(site.post_from(HOME, "/v1/password", &change(RIGHT, "Other-Passw0rd")).await.status, 204);
    assert_eq!(site.sign_in(HOME, "erin@corp.example", "Other-Passw0rd").await.status, 200);
    let answer = site.with_token(&token, "GET", "/v1/app-passwords", None).await;
    assert_eq!((answer.status, answer.problem().as_str()), (401, "not-signed-in"));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_until_the_sign_in_is_too_old() {
    let site = Site::new();
    let token = site.token("alice").await;
    let renewed = site.with_token(&token, "POST", "/v1/sign-in/renew", None).await;
    assert_eq!(renewed.status, 200);
    assert_ne!(renewed.json()["token"], token.as_str());
    let age = |site: &Site, token: &str, minutes: u64| {
        let mut world = site.world();
        world.tokens.get_mut(token).unwrap().signed_in_unix_ms -= minutes * 60_000;
    };
    age(&site, &token, 7 * 60 + 30);
    let renewed = site.with_token(&token, "POST", "/v1/sign-in/renew", None).await.json();
    assert_eq!(renewed["expires"], renewed["renewable_until"], "half an hour is left");
    age(&site, &token, 31);
    let answer = site.with_token(&token, "POST", "/v1/sign-in/renew", None).await;
    assert_eq!((answer.status, answer.problem().as_str()), (401, "sign-in-over"));
    assert!(answer.field("www-authenticate").starts_with("Bearer "));
}

#[tokio::test(start_paused = true)]
async fn signing_out_ends_all_tokens_of_the_person() {
    let site = Site::new();
    let (one, two, other) =
        (site.token("alice").await, site.token("alice").await, site.token("erin@corp.example").await);
    assert_eq!(site.with_token(&one, "DELETE", "/v1/sign-in", None).await.status, 204);
    for (token, status) in [(&one, 401), (&two, 401), (&other, 200)] {
        assert_eq!(site.with_token(token, "GET", "/v1/certificates", None).await.status, status);
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_good_bearer_is_somebody() {
    let site = Site::new();
    let token = site.token("alice").await;
    let paths = [
        ("GET", "/v1/app-passwords"),
        ("POST", "/v1/app-passwords"),
        ("DELETE", "/v1/app-passwords/x"),
        ("GET", "/v1/certificates"),
        ("POST", "/v1/certificates"),
        ("DELETE", "/v1/certificates/x"),
        ("POST", "/v1/sign-in/renew"),
        ("DELETE", "/v1/sign-in"),
    ];
    for (method, path) in paths {
        for field in ["", "Bearer", "Bearer ", "Bearer nonsense", "Basic YTpi", "Negotiate YII="] {
            let fields = [("authorization", field)];
            let answer = site.ask(HOME, method, path, &fields, Vec::new()).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (401, "not-signed-in"),
                "{method} {path} {field}"
            );
            assert!(answer.field("www-authenticate").starts_with("Bearer "));
        }
        let query = format!("{path}?access_token={token}");
        let answer = site.ask(HOME, method, &query, &[], Vec::new()).await;
        assert_eq!(answer.status, 401, "never in a query");
        let bearer = format!("Bearer {token}");
        let twice = [("authorization", bearer.as_str()), ("authorization", "Bearer other")];
        assert_eq!(site.ask(HOME, method, path, &twice, Vec::new()).await.status, 400, "two fields");
    }
    let answer = site
        .ask(HOME, "GET", "/v1/certificates", &[("authorization", &format!("bEaReR {token}"))], Vec::new())
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(start_paused = true)]
async fn tickets_need_a_keytab() {
    let site = Site::new();
    let answer = site.ask(HOME, "POST", "/v1/sign-in/negotiate", &[], Vec::new()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (501, "no-kerberos-here"));
}

#[tokio::test(start_paused = true)]
async fn what_changed_in_the_configuration_holds_from_then_on() {
    let site = Site::new();
    let mut settings = (*site.office.settings()).clone();
    settings.guard.wrong_passwords_max = 1;
    settings.app_passwords = false;
    site.office.configure(settings, site.wishes.clone());
    assert_eq!(site.sign_in(STRANGER, "alice", "a").await.problem(), "wrong-name-or-password");
    assert_eq!(site.sign_in(STRANGER, "alice", "b").await.problem(), "too-many-wrong-passwords");
    let token = site.token("erin@corp.example").await;
    let asked = json!({ "label": "desk phone", "purpose": "sip" });
    let answer = site.with_token(&token, "POST", "/v1/app-passwords", Some(asked)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (403, "switched-off"));
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_counted() {
    let site = Site::new();
    let token = site.token("alice").await;
    site.sign_in(STRANGER, "alice", "wrong").await;
    site.with_token(&token, "POST", "/v1/sign-in/renew", None).await;
    let mut text = net::Exposition::default();
    site.office.meter.show(&mut text);
    let text = text.finish();
    for line in [
        "chancery_web_sign_ins_total{by=\"password\"} 1",
        "chancery_web_sign_ins_total{by=\"renewal\"} 1",
        "chancery_web_problems_total{type=\"wrong-name-or-password\"} 1",
        "chancery_web_guarded{whose=\"account\"} 1",
        "chancery_web_guarded{whose=\"source\"} 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is missing in\n{text}");
    }
}
