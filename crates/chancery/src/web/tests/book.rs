//! The address book: filled from the home, for people who are signed in.

use base64::Engine;
use directory::Object;
use records::{ObjectRow, Revision};

use super::*;

/// A site whose home has these people as objects, and whose book is followed.
async fn filled(names: &[&str]) -> Site {
    let site = Site::new();
    for name in names {
        site.object(name);
    }
    let office = Arc::clone(&site.office);
    tokio::spawn(async move { office.shelf.follow(&office.accounts, || 0).await });
    while site.world().waits == 0 {
        tokio::task::yield_now().await;
    }
    site
}

impl Site {
    fn object(&self, name: &str) {
        let mut world = self.world();
        let revision = Revision(world.objects.len() as u64 + 1);
        let address = SipAddress::parse(&format!("{name}@corp.example")).unwrap();
        let mut user = directory::User::local(UserId(1000 + revision.0), address);
        user.display_name = name.to_owned();
        let object = Object::of_local(&user);
        world.objects.push(ObjectRow {
            revision,
            at_unix_ms: 1,
            id: object.id,
            object: Some(Box::new(object)),
        });
    }
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}")))
}

#[tokio::test(start_paused = true)]
async fn whoever_has_a_token_reads_and_searches() {
    let site = filled(&["Anna", "Bernd"]).await;
    let token = site.token("alice").await;
    let whole = site.with_token(&token, "GET", "/v1/address-book", None).await;
    assert_eq!(whole.status, 200, "{}", whole.text());
    assert!(whole.text().contains("Anna") && whole.text().contains("Bernd"));
    assert!(!whole.field("etag").is_empty() && whole.field("cache-control") != "no-store");
    let found = site.with_token(&token, "GET", "/v1/address-book/search?q=ann", None).await;
    assert!(found.text().contains("Anna") && !found.text().contains("Bernd"), "{}", found.text());
    let cards = site.with_token(&token, "GET", "/v1/address-book.vcf", None).await;
    assert!(cards.text().starts_with("BEGIN:VCARD"), "{}", cards.text());
}

#[tokio::test(start_paused = true)]
async fn strangers_are_asked_who_they_are() {
    let site = filled(&["Anna"]).await;
    for (path, challenge) in [
        ("/v1/address-book", "Bearer "),
        ("/v1/address-book/search?q=a", "Bearer "),
        ("/v1/photos/x/96", "Bearer "),
        ("/dav/", "Basic "),
        ("/.well-known/carddav", "Basic "),
    ] {
        for field in ["", "Bearer nonsense", "Basic", "Basic !", "Basic YTpi", "Digest x"] {
            let answer = site.ask(STRANGER, "GET", path, &[("authorization", field)], Vec::new()).await;
            assert_eq!((answer.status, answer.problem().as_str()), (401, "not-signed-in"), "{path} {field}");
            let expected = if field == "Bearer nonsense" { "Bearer " } else { challenge };
            assert!(answer.field("www-authenticate").starts_with(expected), "{path} {field}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_password_opens_what_it_is_for() {
    let site = filled(&["Anna"]).await;
    let token = site.token("alice").await;
    let mut usernames = Vec::new();
    for purpose in ["address-book", "sip"] {
        let asked = json!({ "label": "phone", "purpose": purpose });
        let made = site.with_token(&token, "POST", "/v1/app-passwords", Some(asked)).await.json();
        usernames.push((
            made["username"].as_str().unwrap().to_owned(),
            made["password"].as_str().unwrap().to_owned(),
        ));
    }
    let body = b"<propfind xmlns=\"DAV:\"><prop><current-user-principal/></prop></propfind>";
    for ((username, password), status) in usernames.iter().zip([207, 401]) {
        let field = basic(username, password);
        let fields = [("authorization", field.as_str()), ("content-type", "application/xml"), ("depth", "0")];
        let answer = site.ask(HOME, "PROPFIND", "/dav/", &fields, body.to_vec()).await;
        assert_eq!(answer.status, status, "{username}: {}", answer.text());
    }
    let field = basic(&usernames[0].0, "wrong");
    let answer = site.ask(HOME, "PROPFIND", "/dav/", &[("authorization", &field)], body.to_vec()).await;
    assert_eq!(answer.status, 401);
    // The password of the account opens nothing here: it is for signing in alone.
    let field = basic("erin@corp.example", RIGHT);
    let answer = site.ask(HOME, "PROPFIND", "/dav/", &[("authorization", &field)], body.to_vec()).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test(start_paused = true)]
async fn a_book_that_is_not_whole_yet_shows_nothing() {
    let site = Site::new();
    let token = site.token("alice").await;
    let answer = site.with_token(&token, "GET", "/v1/address-book", None).await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "busy"));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_there_when_the_home_tells_of_it() {
    let site = filled(&["Anna"]).await;
    let token = site.token("alice").await;
    site.object("Clara");
    site.told.notify_waiters();
    let waits = site.world().waits;
    while site.world().waits == waits {
        tokio::task::yield_now().await;
    }
    let whole = site.with_token(&token, "GET", "/v1/address-book", None).await;
    assert!(whole.text().contains("Clara"), "{}", whole.text());
}
