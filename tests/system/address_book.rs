//! The address book over HTTPS: copies that follow it by deltas, photos, and CardDAV with a program that people use.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use system_tests::{
    ActiveDirectory, Configuration, Https, HttpsAnswer, LIVE_WITHIN, Server, eventually, eventually_within,
    have, skip,
};

/// A server of local accounts, and one of them signed in.
struct Site {
    server: Server,
    web: SocketAddr,
    token: String,
}

impl Site {
    fn new(people: &[&str]) -> Site {
        let configuration = Configuration::new("contoso.example");
        // Where `localhost` leads: a program that knows the server by the name of its certificate finds it.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let listen = format!("[\"{}\"]", free.expect("a port is free"));
        let server = configuration.set_in("web", "listen", &listen).serve();
        for person in people {
            server.add_user(&format!("{person}@contoso.example"));
        }
        let web = server.web();
        let mut site = Site { server, web, token: String::new() };
        site.token = site.sign_in(people[0]);
        for person in people {
            site.until_listed(person);
        }
        site
    }

    fn sign_in(&self, person: &str) -> String {
        let account = self.server.account(person);
        let name = format!("{person}@contoso.example");
        let asked = json!({ "name": name, "password": account.password }).to_string();
        let fields = [("Content-Type", "application/json")];
        let answer = Https::connect(self.web, &self.server.ca()).ask("POST", "/v1/sign-in", &fields, &asked);
        assert_eq!(answer.status, 200, "{answer:?}");
        json_of(&answer)["token"].as_str().expect("a token").to_owned()
    }

    fn get(&self, path: &str, fields: &[(&str, &str)]) -> HttpsAnswer {
        get(&self.server, &self.token, path, fields)
    }

    fn until_listed(&self, person: &str) {
        let address = format!("{person}@contoso.example");
        eventually(&address, || {
            let found = self.get(&format!("/v1/address-book/search?q={person}"), &[]);
            (found.status == 200 && found.body.contains(&address)).then_some(())
        });
    }

    /// A name and a password for one program; with what they are good for.
    fn app_password(&self, purpose: &str) -> (String, String) {
        let bearer = format!("Bearer {}", self.token);
        let fields = [("Content-Type", "application/json"), ("Authorization", &*bearer)];
        let asked = json!({ "label": "a program", "purpose": purpose }).to_string();
        let made =
            Https::connect(self.web, &self.server.ca()).ask("POST", "/v1/app-passwords", &fields, &asked);
        let made = json_of(&made);
        let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        (text("username"), text("password"))
    }
}

fn get(server: &Server, token: &str, path: &str, fields: &[(&str, &str)]) -> HttpsAnswer {
    let bearer = format!("Bearer {token}");
    let mut fields = fields.to_vec();
    fields.push(("Authorization", &bearer));
    Https::connect(server.web(), &server.ca()).ask("GET", path, &fields, "")
}

fn json_of(answer: &HttpsAnswer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// A program's copy of the book, kept as the manual says.
struct Copy {
    version: u64,
    /// By id, each with its end of line.
    lines: BTreeMap<String, String>,
}

impl Copy {
    fn of(whole: &HttpsAnswer) -> Copy {
        let mut copy = Copy { version: 0, lines: BTreeMap::new() };
        copy.take(whole, "version");
        copy
    }

    fn take(&mut self, answer: &HttpsAnswer, version: &str) {
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut lines = answer.body.lines();
        let header: Value = serde_json::from_str(lines.next().expect("a header")).expect("JSON");
        for line in lines {
            let entry: Value = serde_json::from_str(line).expect("JSON");
            let id = entry["id"].as_str().expect("an id").to_owned();
            match entry["removed"].as_bool() {
                Some(true) => self.lines.remove(&id),
                _ => self.lines.insert(id, format!("{line}\n")),
            };
        }
        self.version = header[version].as_u64().expect("a version");
        assert_eq!(header["sha256"], self.sha256(), "what the copy is after {answer:?}");
    }

    fn sha256(&self) -> String {
        let all: String = self.lines.values().cloned().collect();
        Sha256::digest(all).iter().map(|octet| format!("{octet:02x}")).collect()
    }

    fn has(&self, text: &str) -> bool {
        self.lines.values().any(|line| line.contains(text))
    }
}

#[test]
fn a_copy_follows_the_book_by_deltas() {
    let site = Site::new(&["anna", "bob"]);
    let whole = site.get("/v1/address-book", &[]);
    let mut copy = Copy::of(&whole);
    assert!(copy.has("anna@contoso.example") && copy.has("bob@contoso.example"));
    let tag = whole.header("etag").expect("a tag").to_owned();
    assert_eq!(site.get("/v1/address-book", &[("If-None-Match", &tag)]).status, 304);

    site.server.add_user("cleo@contoso.example");
    site.until_listed("cleo");
    let removed = site.server.user_command(&["remove", "bob@contoso.example", "--yes"], None);
    assert!(removed.status.success(), "{removed:?}");
    let followed = eventually("bob is gone", || {
        let path = format!("/v1/address-book?from={}&sha256={}", copy.version, copy.sha256());
        let delta = site.get(&path, &[]);
        delta.body.contains("\"removed\":true").then_some(delta)
    });
    assert!(!followed.body.contains("anna@"), "who did not change is not told: {followed:?}");
    copy.take(&followed, "to");
    assert!(copy.has("cleo@contoso.example") && !copy.has("bob@contoso.example"));
    // A restart changes nothing for who comes back.
    let before = copy.version;
    let path = format!("/v1/address-book?from={before}");
    let delta = site.get(&path, &[]);
    copy.take(&delta, "to");
    assert_eq!(copy.version, before);

    let other = "0".repeat(64);
    let wrong = site.get(&format!("/v1/address-book?from={before}&sha256={other}"), &[]);
    assert_eq!(wrong.status, 410, "who has something else takes the whole: {wrong:?}");
    assert_eq!(site.get("/v1/address-book?from=9999999", &[]).status, 410, "a future that never was");
    for (path, fields) in [("/v1/address-book", &[][..]), ("/v1/address-book.vcf", &[])] {
        let stranger = Https::connect(site.web, &site.server.ca()).ask("GET", path, fields, "");
        assert_eq!(stranger.status, 401, "{path}");
    }
    let cards = site.get("/v1/address-book.vcf", &[]);
    assert!(cards.body.starts_with("BEGIN:VCARD\r\nVERSION:4.0\r\n"), "{cards:?}");
    for coding in ["zstd", "gzip"] {
        let url = format!("https://localhost:{}/v1/address-book", site.web.port());
        let output = Command::new("curl")
            .args(["--silent", "--cacert"])
            .arg(site.server.ca())
            .args(["--header", &format!("Authorization: Bearer {}", site.token)])
            .args(["--header", &format!("Accept-Encoding: {coding}")])
            .args(["--output", "-", &url])
            .output()
            .expect("curl runs");
        let magic: &[u8] = if coding == "zstd" { &[0x28, 0xb5, 0x2f, 0xfd] } else { &[0x1f, 0x8b] };
        assert!(output.stdout.starts_with(magic), "{coding}: {output:?}");
    }
}

#[test]
fn photos_come_in_two_sizes_and_stay_good() {
    let Some(domain) = ActiveDirectory::shared("photos of Active Directory over HTTPS") else { return };
    let server = Configuration::following(&domain).serve();
    server.replicate();
    let person = domain.person();
    eventually_within(LIVE_WITHIN, "a new person", || server.account_of(&person.address()));
    let fields = [("Content-Type", "application/json")];
    let asked = json!({ "name": person.address(), "password": person.password }).to_string();
    let signed_in = Https::connect(server.web(), &server.ca()).ask("POST", "/v1/sign-in", &fields, &asked);
    let token = json_of(&signed_in)["token"].as_str().expect("a token").to_owned();
    let found = eventually_within(LIVE_WITHIN, "grace", || {
        let found = get(&server, &token, "/v1/address-book/search?q=grace", &[]);
        (found.status == 200 && found.body.contains("\"photo\"")).then_some(found)
    });
    let entry = &json_of(&found)["entries"][0];
    let photo = entry["photo"].as_str().expect("her photo").to_owned();
    let url = format!("https://localhost:{}/v1/photos/{photo}", server.web().port());
    for size in ["96", "240"] {
        let output = Command::new("curl")
            .args(["--silent", "--include", "--cacert"])
            .arg(server.ca())
            .args(["--connect-to", &format!("localhost:{0}:{1}:{0}", server.web().port(), server.web().ip())])
            .args(["--header", &format!("Authorization: Bearer {token}"), &format!("{url}/{size}")])
            .output()
            .expect("curl runs");
        let split = output.stdout.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&output.stdout[..split]).to_lowercase();
        assert!(head.lines().next().is_some_and(|line| line.contains(" 200")), "{head}");
        assert!(head.contains("content-type: image/jpeg"), "{head}");
        assert!(head.contains("cache-control: private, max-age=31536000, immutable"), "{head}");
        assert!(output.stdout[split + 4..].starts_with(&[0xff, 0xd8, 0xff]), "it is JPEG");
    }
    assert_eq!(get(&server, &token, &format!("/v1/photos/{photo}/97"), &[]).status, 404);
    let other = format!("/v1/photos/{}/96", "0".repeat(photo.len()));
    assert_eq!(get(&server, &token, &other, &[]).status, 404, "a photo that nobody shows");
    let id = entry["id"].as_str().expect("an id");
    let managers = get(&server, &token, &format!("/v1/address-book/entries/{id}/managers"), &[]);
    assert!(managers.body.contains("bob@corp.example"), "{managers:?}");
}

#[test]
fn a_program_reads_the_book_by_carddav_and_follows_it() {
    if !have("vdirsyncer") {
        return skip("the address book by CardDAV with vdirsyncer", "vdirsyncer is not there");
    }
    let site = Site::new(&["anna", "bob"]);
    let (name, password) = site.app_password("address-book");
    let folder = site.server.folder().join("cards");
    let configuration = site.server.folder().join("vdirsyncer.conf");
    let text = format!(
        "[general]\nstatus_path = {status:?}\n\n\
         [pair book]\na = \"here\"\nb = \"there\"\ncollections = [\"from b\"]\nconflict_resolution = \"b wins\"\n\n\
         [storage here]\ntype = \"filesystem\"\npath = {folder:?}\nfileext = \".vcf\"\n\n\
         [storage there]\ntype = \"carddav\"\nread_only = true\nurl = \"https://localhost:{port}/\"\n\
         username = {name:?}\npassword = {password:?}\nverify = {ca:?}\n",
        status = site.server.folder().join("vdirsyncer.status"),
        port = site.web.port(),
        ca = site.server.ca(),
    );
    std::fs::write(&configuration, text).expect("the folder is ours");
    let run = |words: &[&str]| {
        let output = Command::new("vdirsyncer")
            .arg("--config")
            .arg(&configuration)
            .args(words)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("vdirsyncer runs");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&said), site.server.log());
    };
    std::fs::create_dir_all(folder.join("company")).expect("the folder is ours");
    run(&["discover"]);
    run(&["sync"]);
    let cards = cards_below(&folder);
    assert_eq!(cards.len(), 3, "the administrator too: {cards:?}");
    assert!(cards.iter().all(|card| card.starts_with("BEGIN:VCARD\r\nVERSION:3.0\r\n")), "{cards:?}");

    site.server.add_user("cleo@contoso.example");
    site.until_listed("cleo");
    let removed = site.server.user_command(&["remove", "bob@contoso.example", "--yes"], None);
    assert!(removed.status.success(), "{removed:?}");
    eventually("bob is not listed", || {
        let found = site.get("/v1/address-book/search?q=bob", &[]);
        found.body.contains("\"total\":0").then_some(())
    });
    run(&["sync"]);
    let cards = cards_below(&folder).concat();
    assert!(cards.contains("cleo@contoso.example") && !cards.contains("bob@contoso.example"), "{cards}");

    // What is made for a phone reads no address book, and the other way round nothing of the account.
    let (name, password) = site.app_password("sip");
    let basic = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
    let refused = Https::connect(site.web, &site.server.ca()).ask(
        "GET",
        "/dav/addressbooks/company/",
        &[("Authorization", &basic)],
        "",
    );
    assert_eq!(refused.status, 401, "{refused:?}");
}

fn cards_below(folder: &Path) -> Vec<String> {
    let mut cards = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder is ours") {
            let path = entry.expect("the folder is ours").path();
            match path.is_dir() {
                true => folders.push(path),
                false => cards.push(std::fs::read_to_string(path).expect("a card is text")),
            }
        }
    }
    cards
}
