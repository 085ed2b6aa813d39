//! Documents over HTTP and by commands, told as conversations.

use node::http::{HttpRequest, HttpResponse};
use node::{CallToken, Input, StoreError, UnixMillis};
use presence::Level;
use presence::rules::Subject;
use records::{Document, Query, Rows};
use sip_message::AuthParams;
use sip_message::digest::{Algorithm, ResponseInput, ha1, response};

use super::schemas::validate;
use super::world::{PASSWORD, World};
use crate::admin::{Answer, Call, ContactEdit, Refusal};
use directory::{SipAddress, UserId, UserState};

const LISTS: &str = "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list name=\"friends\">\
                     <entry uri=\"sip:bob@contoso.example\"/></list></resource-lists>";
const LISTS_TYPE: &str = "application/resource-lists+xml";
const RULES: &str = "<ruleset xmlns=\"urn:ietf:params:xml:ns:common-policy\"/>";
const SERVICES_TYPE: &str = "application/rls-services+xml";
const ELEMENT: &str = "application/xcap-el+xml";
const MINE: &str = "/xcap/resource-lists/users/sip:alice@contoso.example/index";

/// A client that signs in once and counts on.
struct Client {
    user: &'static str,
    password: &'static str,
    algorithm: Algorithm,
    nonce: String,
    count: u32,
}

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> HttpRequest {
    let mut fields = vec![("host".to_owned(), "sip.contoso.example:8443".to_owned().into())];
    fields.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_string().into())));
    HttpRequest {
        method: method.to_owned(),
        target: target.to_owned(),
        host: "sip.contoso.example".to_owned(),
        headers: fields,
        body: body.to_owned().into(),
        remote: "198.51.100.9:50000".parse().unwrap(),
        is_secure: true,
    }
}

fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(field, _)| *field == name).map(|(_, value)| &**value)
}

fn tag(response: &HttpResponse) -> String {
    header(response, "etag").expect("an entity tag").to_owned()
}

fn text(response: &HttpResponse) -> &str {
    std::str::from_utf8(&response.body).unwrap()
}

impl World {
    fn ask(&mut self, request: HttpRequest) -> HttpResponse {
        match self.call(Call::Http(Box::new(request))) {
            Answer::Http(response) => {
                if header(&response, "content-type") == Some("application/xcap-error+xml") {
                    validate("xcap/test_data/schemas/xcap-error.xsd", &response.body);
                }
                response
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Client {
    fn new(user: &'static str) -> Client {
        Client { user, password: PASSWORD, algorithm: Algorithm::Sha256, nonce: String::new(), count: 0 }
    }

    /// Takes a nonce from a challenge.
    fn learn(&mut self, challenge: &HttpResponse) {
        let values = challenge.headers.iter().filter(|(name, _)| *name == "www-authenticate");
        let offers: Vec<_> = values.map(|(_, value)| AuthParams::parse(value.as_bytes()).unwrap()).collect();
        let algorithms: Vec<_> = offers.iter().map(|o| o.get("algorithm").unwrap().into_owned()).collect();
        assert_eq!(algorithms, ["SHA-256", "MD5"], "the stronger is offered first");
        assert!(offers.iter().all(|o| o.get("realm").as_deref() == Some("contoso.example")));
        self.nonce = offers[0].get("nonce").unwrap().into_owned();
        self.count = 0;
    }

    fn sign(&mut self, mut request: HttpRequest) -> HttpRequest {
        self.count += 1;
        let nc = format!("{:08x}", self.count);
        let Client { user, password, algorithm, nonce, .. } = self;
        let uri = request.target.clone();
        let input = ResponseInput {
            method: &request.method,
            uri: &uri,
            nonce,
            qop: Some("auth"),
            nc: &nc,
            cnonce: "c",
            body: b"",
        };
        let answer = response(&ha1(*algorithm, user, "contoso.example", password), &input);
        let name = algorithm.name();
        let value = format!(
            "Digest username=\"{user}\", realm=\"contoso.example\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{answer}\", algorithm={name}, qop=auth, nc={nc}, cnonce=\"c\""
        );
        request.headers.push(("authorization".to_owned(), value.into()));
        request
    }

    /// Asks, answering a challenge once.
    fn send(&mut self, world: &mut World, request: HttpRequest) -> HttpResponse {
        if self.nonce.is_empty() {
            let challenge = world.ask(request.clone());
            assert_eq!(challenge.status, 401);
            self.learn(&challenge);
        }
        let signed = self.sign(request);
        world.ask(signed)
    }

    fn get(&mut self, world: &mut World, target: &str) -> HttpResponse {
        self.send(world, request("GET", target, &[], ""))
    }

    fn put(&mut self, world: &mut World, target: &str, media_type: &str, body: &str) -> HttpResponse {
        self.send(world, request("PUT", target, &[("content-type", media_type)], body))
    }

    fn delete(&mut self, world: &mut World, target: &str) -> HttpResponse {
        self.send(world, request("DELETE", target, &[], ""))
    }
}

fn address(text: &str) -> SipAddress {
    SipAddress::parse(text).unwrap()
}

/// What storage has of a user's documents.
fn stored(world: &World, user: u64) -> Vec<Document> {
    match world.query(&Query::LoadUser(UserId(user))) {
        Rows::LoadedUser(record) => record.map(|record| record.documents).unwrap_or_default(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_document_is_put_read_edited_and_removed() {
    let mut world = World::new();
    let mut alice = Client::new("alice");
    assert_eq!(alice.get(&mut world, MINE).status, 404);
    let created = alice.put(&mut world, MINE, LISTS_TYPE, LISTS);
    assert_eq!(created.status, 201);
    let read = alice.get(&mut world, MINE);
    assert_eq!((read.status, text(&read), tag(&read)), (200, LISTS, tag(&created)));
    assert_eq!(header(&read, "content-type"), Some(LISTS_TYPE));
    assert_eq!(header(&read, "cache-control"), Some("private, no-cache"));

    let entry =
        format!("{MINE}/~~/resource-lists/list%5b1%5d/entry%5b@uri=%22sip:carol@contoso.example%22%5d");
    let inserted = alice.put(&mut world, &entry, ELEMENT, "<entry uri=\"sip:carol@contoso.example\"/>");
    assert_eq!(inserted.status, 201);
    assert_ne!(tag(&inserted), tag(&created));
    let read = alice.get(&mut world, &entry);
    assert_eq!(text(&read), "<entry uri=\"sip:carol@contoso.example\"/>");
    assert_eq!((header(&read, "content-type"), tag(&read)), (Some(ELEMENT), tag(&inserted)));
    assert_eq!(
        alice.put(&mut world, &entry, ELEMENT, "<entry uri=\"sip:carol@contoso.example\"></entry>").status,
        200
    );
    let attribute = alice.put(
        &mut world,
        &format!("{MINE}/~~/resource-lists/list/@name"),
        "application/xcap-att+xml",
        "a",
    );
    assert_eq!(attribute.status, 200);

    let removed = alice.delete(&mut world, &entry);
    assert_eq!((removed.status, alice.get(&mut world, &entry).status), (200, 404));
    assert_eq!(text(&alice.get(&mut world, MINE)), LISTS.replace("friends", "a"));
    assert_eq!(stored(&world, 1)[0].body, LISTS.replace("friends", "a").into_bytes());
    assert_eq!(format!("\"{}\"", stored(&world, 1)[0].etag), tag(&removed));

    assert_eq!(alice.delete(&mut world, MINE).status, 200);
    assert_eq!((alice.get(&mut world, MINE).status, alice.delete(&mut world, MINE).status), (404, 404));
    assert_eq!(stored(&world, 1), []);
}

#[test]
fn documents_outlive_a_restart() {
    let mut world = World::new();
    let mut alice = Client::new("alice");
    let put = alice.put(&mut world, MINE, LISTS_TYPE, LISTS);
    let mut world = World::on(world.tables, 2, |_| ());
    let mut alice = Client::new("alice");
    let read = alice.get(&mut world, MINE);
    assert_eq!((text(&read), tag(&read)), (LISTS, tag(&put)));
    assert_eq!(world.call(Call::ShowContacts(address("alice@contoso.example"))), {
        let contact =
            crate::admin::ContactSummary { address: "bob@contoso.example".to_owned(), name: String::new() };
        Answer::Contacts(vec![crate::admin::ContactGroup {
            name: "friends".to_owned(),
            contacts: vec![contact],
        }])
    });
}

#[test]
fn only_the_owner_is_answered_anything_but_absence() {
    let mut world = World::new();
    let (mut alice, mut bob) = (Client::new("alice"), Client::new("bob"));
    alice.put(&mut world, MINE, LISTS_TYPE, LISTS);
    let nobody = MINE.replace("alice", "nobody");
    let elsewhere = MINE.replace("contoso.example", "fabrikam.example");
    for method in ["GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS"] {
        let headers = [("content-type", LISTS_TYPE)];
        let answers: Vec<_> = [MINE, &nobody, &elsewhere, &MINE.replace("resource-lists", "unknown")]
            .iter()
            .map(|target| bob.send(&mut world, request(method, target, &headers, LISTS)))
            .collect();
        assert!(answers.iter().all(|answer| *answer == HttpResponse::empty(404)), "{method} {answers:?}");
        // Without credentials they are the same too, but for the nonce.
        for target in [MINE, &nobody] {
            let challenge = world.ask(request(method, target, &headers, LISTS));
            let fields: Vec<_> = challenge.headers.iter().map(|(name, _)| *name).collect();
            assert_eq!((challenge.status, &fields[..]), (401, &["www-authenticate"; 2][..]));
        }
    }
    let conditional = request("PUT", MINE, &[("content-type", LISTS_TYPE), ("if-match", "*")], LISTS);
    assert_eq!(bob.send(&mut world, conditional), HttpResponse::empty(404));
    assert_eq!(text(&alice.get(&mut world, MINE)), LISTS);
}

#[test]
fn the_ways_to_say_who_one_is() {
    let mut world = World::new();
    let mut alice = Client::new("alice");
    alice.put(&mut world, MINE, LISTS_TYPE, LISTS);
    for mine in [
        "/xcap/resource-lists/users/sip%3Aalice%40contoso.example/index",
        "/xcap/resource-lists/users/sip:Alice@CONTOSO.example/index",
        "/xcap/resource-lists/users/sips:alice@contoso.example/index",
        "/xcap/resource-lists/users/alice@contoso.example/index",
    ] {
        assert_eq!(alice.get(&mut world, mine).status, 200, "{mine}");
    }
    let mut alice = Client { algorithm: Algorithm::Md5, ..Client::new("alice") };
    assert_eq!(alice.get(&mut world, MINE).status, 200);
    for (target, status) in [
        ("/xcap/", 404),
        ("/xcap/resource-lists", 404),
        ("/xcap/resource-lists/users/sip:alice@contoso.example", 404),
        ("/xcap/resource-lists/users/sip:alice@contoso.example/folder/index", 404),
        ("/xcap/resource-lists/global/index", 404),
        ("/xcap/resource-lists/users/sip:alice@contoso.example/index/~~/a:b", 400),
        ("/xcap/resource-lists/users/sip:alice@contoso.example/%", 400),
    ] {
        assert_eq!(alice.get(&mut world, target).status, status, "{target}");
    }
    assert_eq!(alice.get(&mut world, &format!("{MINE}/{}", "a".repeat(8192))).status, 414);
    // What is not XCAP is not there, for nobody.
    assert_eq!(world.ask(request("GET", "/", &[], "")), HttpResponse::empty(404));
    assert_eq!(world.ask(request("GET", "/xcapital", &[], "")), HttpResponse::empty(404));
}

#[test]
fn wrong_credentials_prove_nothing() {
    let mut world = World::new();
    let mut guess = Client { password: "a wrong password", ..Client::new("alice") };
    assert_eq!(guess.get(&mut world, MINE).status, 401);
    // Somebody who signed another request.
    let mut alice = Client::new("alice");
    alice.put(&mut world, MINE, LISTS_TYPE, LISTS);
    let mut signed = alice.sign(request("GET", MINE, &[], ""));
    signed.target = format!("{MINE}/~~/resource-lists");
    assert_eq!(world.ask(signed).status, 400);
    let mut signed = alice.sign(request("GET", MINE, &[], ""));
    signed.method = "DELETE".to_owned();
    assert_eq!(world.ask(signed).status, 401);
    // What was sent once is not taken again.
    let signed = alice.sign(request("DELETE", MINE, &[], ""));
    assert_eq!(world.ask(signed.clone()).status, 200);
    alice.put(&mut world, MINE, LISTS_TYPE, LISTS);
    let again = world.ask(signed);
    assert_eq!(again.status, 401);
    assert!(header(&again, "www-authenticate").unwrap().contains("stale=true"));
    // In the clear nobody is asked, but on the machine itself.
    let mut clear = request("GET", MINE, &[], "");
    clear.is_secure = false;
    assert_eq!(world.ask(clear.clone()), HttpResponse::empty(403));
    clear.remote = "127.0.0.1:5000".parse().unwrap();
    assert_eq!(world.ask(clear).status, 401);
    // An account that is disabled is none.
    world.call(Call::SetUserState(address("alice@contoso.example"), UserState::Disabled));
    assert_eq!(alice.get(&mut world, MINE).status, 401);
}

#[test]
fn who_guesses_is_slowed_down() {
    let mut world = World::new();
    let mut guess = Client { password: "a wrong password", ..Client::new("alice") };
    let slowed = (0..100).find_map(|_| {
        let answer = guess.get(&mut world, MINE);
        (answer.status != 401).then_some(answer)
    });
    let slowed = slowed.expect("in the end it must wait");
    assert_eq!(slowed.status, 503);
    assert!(header(&slowed, "retry-after").unwrap().parse::<u64>().unwrap() > 0);
}

#[test]
fn conditions_are_exact() {
    let mut world = World::new();
    let mut alice = Client::new("alice");
    let mut put = |world: &mut World, condition: (&str, &str), target: &str, media_type: &str, body: &str| {
        alice.send(world, request("PUT", target, &[("content-type", media_type), condition], body))
    };
    let first = put(&mut world, ("if-none-match", "*"), MINE, LISTS_TYPE, LISTS);
    assert_eq!(first.status, 201);
    assert_eq!(put(&mut world, ("if-none-match", "*"), MINE, LISTS_TYPE, LISTS).status, 412);
    let second = put(&mut world, ("if-match", &tag(&first)), MINE, LISTS_TYPE, LISTS);
    assert_eq!(second.status, 200);
    assert_eq!(put(&mut world, ("if-match", &tag(&first)), MINE, LISTS_TYPE, LISTS).status, 412);
    assert_eq!(put(&mut world, ("if-match", "nonsense"), MINE, LISTS_TYPE, LISTS).status, 400);
    // A node that is not there, in a document that is known.
    let node = format!("{MINE}/~~/resource-lists/list%5b2%5d");
    let group = "<list name=\"b\"/>";
    assert_eq!(put(&mut world, ("if-match", &tag(&first)), &node, ELEMENT, group).status, 412);
    let third = put(&mut world, ("if-match", &tag(&second)), &node, ELEMENT, group);
    assert_eq!(third.status, 201);
    assert_eq!(put(&mut world, ("if-none-match", "*"), &node, ELEMENT, group).status, 412);
    let unchanged = alice.send(&mut world, request("GET", MINE, &[("if-none-match", &tag(&third))], ""));
    assert_eq!((unchanged.status, tag(&unchanged), unchanged.body.len()), (304, tag(&third), 0));
    let stale = alice.send(&mut world, request("DELETE", MINE, &[("if-match", &tag(&first))], ""));
    assert_eq!(stale.status, 412);
}

#[test]
fn a_change_is_answered_when_it_is_durable_and_the_next_one_waits() {
    let mut world = World::new();
    let mut alice = Client::new("alice");
    let first = tag(&alice.put(&mut world, MINE, LISTS_TYPE, LISTS));
    world.holds_commits = true;
    // Two clients that know the same document: the second one comes too late.
    for name in ["b", "c"] {
        let headers = [("content-type", LISTS_TYPE), ("if-match", &*first)];
        let change = alice.sign(request("PUT", MINE, &headers, &LISTS.replace("friends", name)));
        let token = CallToken(if name == "b" { 10 } else { 11 });
        world.handle(Input::Called { token, call: Call::Http(Box::new(change)) });
        assert_eq!(world.answers_left(), 0, "nothing is durable yet");
    }
    assert_eq!(text(&alice.get(&mut world, MINE)), LISTS, "what is not durable is not seen");
    world.commit();
    let answers: Vec<_> = std::iter::from_fn(|| world.next_answer())
        .map(|answer| match answer {
            Answer::Http(response) => response.status,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(answers, [200, 412]);
    assert_eq!(text(&alice.get(&mut world, MINE)), LISTS.replace("friends", "b"));

    // What waits is bounded.
    let edits = (0..10).map(|_| alice.sign(request("PUT", MINE, &[("content-type", LISTS_TYPE)], LISTS)));
    for (token, change) in edits.collect::<Vec<_>>().into_iter().enumerate() {
        let token = CallToken(20 + token as u64);
        world.handle(Input::Called { token, call: Call::Http(Box::new(change)) });
    }
    assert_eq!(world.answers_left(), 1);
    let Some(Answer::Http(busy)) = world.next_answer() else { panic!("no answer") };
    assert_eq!((busy.status, header(&busy, "retry-after")), (503, Some("1")));
    for done in 1..=9 {
        world.commit();
        assert_eq!(world.answers_left(), done, "one after the other");
    }
}

#[test]
fn what_cannot_be_written_has_not_happened() {
    let mut world = World::new();
    let mut alice = Client::new("alice");
    let before = alice.put(&mut world, MINE, LISTS_TYPE, LISTS);
    world.disk = Err(StoreError::Full);
    assert_eq!(alice.put(&mut world, MINE, LISTS_TYPE, &LISTS.replace("friends", "b")).status, 500);
    assert_eq!(alice.delete(&mut world, MINE).status, 500);
    let services = services(&["friends"]);
    let mine = MINE.replace("resource-lists", "rls-services");
    assert_eq!(alice.put(&mut world, &mine, SERVICES_TYPE, &services).status, 500);
    let edit = ContactEdit::AddGroup("b".to_owned());
    let call = Call::EditContacts { user: address("alice@contoso.example"), edit };
    assert!(matches!(world.call(call), Answer::Refused(Refusal::Storage(_))));
    let read = alice.get(&mut world, MINE);
    assert_eq!((text(&read), tag(&read)), (LISTS, tag(&before)));
    // Nor is the address of the service taken.
    world.disk = Ok(());
    let mut bob = Client::new("bob");
    let bobs = mine.replace("alice", "bob");
    assert_eq!(bob.put(&mut world, &bobs, SERVICES_TYPE, &services).status, 201);
}

#[test]
fn a_user_who_goes_while_a_change_is_written_leaves_nothing() {
    let mut world = World::new();
    let mut alice = Client::new("alice");
    assert_eq!(alice.get(&mut world, MINE).status, 404);
    world.holds_commits = true;
    let mine = MINE.replace("resource-lists", "rls-services");
    for (token, target, media_type, body) in [
        (10, &mine, SERVICES_TYPE, services(&["friends"])),
        (11, &MINE.to_owned(), LISTS_TYPE, LISTS.to_owned()),
    ] {
        let change = alice.sign(request("PUT", target, &[("content-type", media_type)], &body));
        world.handle(Input::Called { token: CallToken(token), call: Call::Http(Box::new(change)) });
    }
    let remove = Call::RemoveUser(address("alice@contoso.example"));
    world.handle(Input::Called { token: CallToken(12), call: remove });
    // Storage is in order; a driver may still tell in another.
    world.commit_newest_first();
    let answers: Vec<_> = std::iter::from_fn(|| world.next_answer()).collect();
    let gone = || Answer::Http(HttpResponse::empty(404));
    assert_eq!(answers, [Answer::Done, gone(), gone()]);
    world.holds_commits = false;
    let mut bob = Client::new("bob");
    let bobs = mine.replace("alice", "bob");
    assert_eq!(bob.put(&mut world, &bobs, SERVICES_TYPE, &services(&["friends"])).status, 201);
}

#[test]
fn documents_must_be_what_their_application_asks_for() {
    let mut world = World::new();
    let mut alice = Client::new("alice");
    let lists = |inner: &str| {
        format!("<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\">{inner}</resource-lists>")
    };
    let long = lists(&" ".repeat(256 * 1024));
    for (body, status, told) in [
        (RULES.to_owned(), 409, "<schema-validation-error "),
        ("<resource-lists xmlns=\"urn:other\"/>".to_owned(), 409, "<schema-validation-error "),
        (lists("<list><entry/></list>"), 409, "<schema-validation-error "),
        (lists("<list"), 409, "<not-well-formed "),
        (format!("<!DOCTYPE a [<!ENTITY b 'c'>]>{LISTS}"), 409, "<constraint-failure "),
        (lists("<list name='a'/><list name='a'/>"), 409, "<exists field=\"resource-lists/list[2]/@name\">"),
        (
            lists("<list><list><entry uri='a:a'/><entry uri='a:b'/><entry uri='a:a'/></list></list>"),
            409,
            "<exists field=\"resource-lists/list[1]/list[1]/entry[3]/@uri\">",
        ),
        (long, 413, ""),
    ] {
        let answer = alice.put(&mut world, MINE, LISTS_TYPE, &body);
        assert_eq!(answer.status, status);
        assert!(text(&answer).contains(told), "{}", text(&answer));
        if status == 409 {
            assert_eq!(header(&answer, "content-type"), Some("application/xcap-error+xml"));
        }
    }
    assert_eq!(alice.put(&mut world, MINE, "application/xml", LISTS).status, 415);
    let rules = MINE.replace("resource-lists", "pres-rules");
    assert_eq!(alice.put(&mut world, &rules, "application/auth-policy+xml", RULES).status, 201);
    let other = rules.replace("index", "other");
    let refused = alice.put(&mut world, &other, "application/auth-policy+xml", RULES);
    assert!(text(&refused).contains("<constraint-failure "), "{}", text(&refused));
    // An edit is judged like a document.
    alice.put(&mut world, MINE, LISTS_TYPE, LISTS);
    let again = alice.put(
        &mut world,
        &format!("{MINE}/~~/*/*/*%5b2%5d"),
        ELEMENT,
        "<entry uri=\"sip:bob@contoso.example\"/>",
    );
    assert!(text(&again).contains("<uniqueness-failure "), "{}", text(&again));
    let parentless = alice.put(
        &mut world,
        &format!("{MINE}/~~/resource-lists/list%5b7%5d/entry"),
        ELEMENT,
        "<entry uri=\"a:b\"/>",
    );
    let ancestor = "<ancestor>https://sip.contoso.example:8443/xcap/resource-lists/users/sip:alice@contoso.example/index/~~/resource-lists</ancestor>";
    assert!(text(&parentless).contains(ancestor), "{}", text(&parentless));
    let namespaces = format!("{MINE}/~~/resource-lists/namespace::*");
    assert_eq!(alice.get(&mut world, &namespaces).status, 200);
    let refused = alice.delete(&mut world, &namespaces);
    assert_eq!((refused.status, header(&refused, "allow")), (405, Some("GET, HEAD")));
    let refused = alice.send(&mut world, request("POST", MINE, &[], ""));
    assert_eq!((refused.status, header(&refused, "allow")), (405, Some("GET, HEAD, PUT, DELETE")));
}

#[test]
fn nobody_keeps_more_than_the_limits() {
    let mut world = World::new();
    let mut alice = Client::new("alice");
    let name = |n: usize| MINE.replace("index", &format!("list{n}"));
    for n in 0..crate::documents::DOCUMENTS_PER_USER_MAX {
        assert_eq!(alice.put(&mut world, &name(n), LISTS_TYPE, LISTS).status, 201);
    }
    assert_eq!(alice.put(&mut world, MINE, LISTS_TYPE, LISTS).status, 409);
    assert_eq!(alice.put(&mut world, &name(3), LISTS_TYPE, LISTS).status, 200);
    assert_eq!(alice.delete(&mut world, &name(3)).status, 200);
    assert_eq!(alice.put(&mut world, MINE, LISTS_TYPE, LISTS).status, 201);
    let long = LISTS.replace("<list ", &format!("<!--{}--><list ", "x".repeat(255 * 1024)));
    let statuses: Vec<_> =
        (4..9).map(|n| alice.put(&mut world, &name(n), LISTS_TYPE, &long).status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 409]);
}

fn services(names: &[&str]) -> String {
    let services: String = names
        .iter()
        .map(|name| {
            let uri =
                if name.contains('@') { (*name).to_owned() } else { format!("sip:{name}@contoso.example") };
            format!("<service uri=\"{uri}\"><list/></service>")
        })
        .collect();
    format!("<rls-services xmlns=\"urn:ietf:params:xml:ns:rls-services\">{services}</rls-services>")
}

#[test]
fn an_address_of_a_list_service_is_one_users() {
    let mut world = World::new();
    let (mut alice, mut bob) = (Client::new("alice"), Client::new("bob"));
    let alices = MINE.replace("resource-lists", "rls-services");
    let bobs = alices.replace("alice", "bob");
    assert_eq!(alice.put(&mut world, &alices, SERVICES_TYPE, &services(&["friends", "team"])).status, 201);
    for (names, told) in [
        (&["mine", "friends"][..], "<exists field=\"rls-services/service[2]/@uri\">"),
        (&["carol"], "<exists field=\"rls-services/service[1]/@uri\">"),
        (&["rls"], "<exists field=\"rls-services/service[1]/@uri\">"),
        (&["mine", "Mine"], "<exists field=\"rls-services/service[2]/@uri\">"),
        (&["sip:friends@fabrikam.example"], "<constraint-failure "),
        (&["tel:+1@2"], "<constraint-failure "),
    ] {
        let refused = bob.put(&mut world, &bobs, SERVICES_TYPE, &services(names));
        assert_eq!(refused.status, 409);
        assert!(text(&refused).contains(told), "{}", text(&refused));
    }
    // Nor can an account have it.
    let account = |name: &str| Call::AddUser {
        address: address(&format!("{name}@contoso.example")),
        display_name: String::new(),
        password: PASSWORD.to_owned(),
        role: directory::Role::Person,
    };
    let taken = address("team@contoso.example");
    assert_eq!(world.call(account("team")), Answer::Refused(Refusal::Exists(taken)));
    // What is given back is free, also after a restart.
    assert_eq!(alice.put(&mut world, &alices, SERVICES_TYPE, &services(&["team"])).status, 200);
    assert_eq!(bob.put(&mut world, &bobs, SERVICES_TYPE, &services(&["friends"])).status, 201);
    let mut world = World::on(world.tables, 2, |_| ());
    let (mut alice, mut bob) = (Client::new("alice"), Client::new("bob"));
    assert_eq!(bob.put(&mut world, &bobs, SERVICES_TYPE, &services(&["team"])).status, 409);
    assert_eq!(alice.delete(&mut world, &alices).status, 200);
    assert_eq!(bob.put(&mut world, &bobs, SERVICES_TYPE, &services(&["team"])).status, 200);
    assert_eq!(world.call(Call::RemoveUser(address("bob@contoso.example"))), Answer::Done);
    assert_eq!(world.call(account("team")), Answer::Done);
}

#[test]
fn what_the_server_knows_is_told() {
    let mut world = World::new();
    let mut bob = Client::new("bob");
    let capabilities = bob.get(&mut world, "/xcap/xcap-caps/global/index");
    assert_eq!(
        (capabilities.status, header(&capabilities, "content-type")),
        (200, Some("application/xcap-caps+xml"))
    );
    assert!(text(&capabilities).contains("<auid>resource-lists</auid>"));
    validate("xcap/test_data/schemas/xcap-caps.xsd", &capabilities.body);
    let node = bob.get(&mut world, "/xcap/xcap-caps/global/index/~~/xcap-caps/auids/auid%5b2%5d");
    assert_eq!(text(&node), "<auid>pres-rules</auid>");
    assert_eq!(bob.get(&mut world, "/xcap/xcap-caps/global/index/~~/xcap-caps/none").status, 404);
    let refused = bob.put(&mut world, "/xcap/xcap-caps/global/index", "application/xcap-caps+xml", "<a/>");
    assert_eq!((refused.status, header(&refused, "allow")), (405, Some("GET, HEAD")));
    let known = [("if-none-match", &*tag(&capabilities))];
    assert_eq!(bob.send(&mut world, request("GET", "/xcap/xcap-caps/global/index", &known, "")).status, 304);
}

#[test]
fn commands_edit_the_same_document() {
    let mut world = World::new();
    let mut alice = Client::new("alice");
    let user = || address("alice@contoso.example");
    let mut edit = |edit| world.call(Call::EditContacts { user: user(), edit });
    let add = |group: Option<&str>, contact: &str| ContactEdit::AddContact {
        group: group.map(str::to_owned),
        contact: address(contact),
        name: Some("A Name".to_owned()),
    };
    assert_eq!(edit(add(None, "bob@contoso.example")), Answer::Done);
    assert_eq!(edit(ContactEdit::AddGroup("team".to_owned())), Answer::Done);
    assert_eq!(edit(add(Some("team"), "dave@fabrikam.example")), Answer::Done);
    let group = || "nobody".to_owned();
    assert_eq!(
        edit(add(Some("nobody"), "dave@fabrikam.example")),
        Answer::Refused(Refusal::NoSuchGroup { user: user(), group: group() })
    );
    assert_eq!(
        edit(ContactEdit::AddGroup("team".to_owned())),
        Answer::Refused(Refusal::GroupExists { user: user(), group: "team".to_owned() })
    );
    let contact = || address("carol@contoso.example");
    assert_eq!(
        edit(ContactEdit::RemoveContact { group: None, contact: contact() }),
        Answer::Refused(Refusal::NoSuchContact { user: user(), contact: contact() })
    );
    assert_eq!(
        edit(ContactEdit::RenameGroup { group: "team".to_owned(), name: "crew".to_owned() }),
        Answer::Done
    );
    let refused = edit(ContactEdit::RenameGroup { group: "crew".to_owned(), name: String::new() });
    assert!(matches!(refused, Answer::Refused(Refusal::Document { .. })), "{refused:?}");
    let nobody = address("nobody@contoso.example");
    let call = Call::EditContacts { user: nobody.clone(), edit: ContactEdit::AddGroup("a".to_owned()) };
    assert_eq!(world.call(call), Answer::Refused(Refusal::NoSuchUser(nobody)));

    let read = alice.get(&mut world, &format!("{MINE}/~~/resource-lists/list%5b@name='crew'%5d/entry/@uri"));
    assert_eq!(text(&read), "sip:dave@fabrikam.example");
    let Answer::Contacts(groups) = world.call(Call::ShowContacts(user())) else { panic!("no contacts") };
    let shown: Vec<_> =
        groups.iter().map(|g| (&*g.name, &*g.contacts[0].address, &*g.contacts[0].name)).collect();
    assert_eq!(
        shown,
        [("contacts", "bob@contoso.example", "A Name"), ("crew", "dave@fabrikam.example", "A Name")]
    );

    let subject = Subject::User(address("bob@contoso.example"));
    let set = |level| Call::SetAccess { user: user(), subject: subject.clone(), level };
    assert_eq!(world.call(set(Some(Level::Team))), Answer::Done);
    let Answer::Access(access) = world.call(Call::ShowAccess(user())) else { panic!("no access") };
    assert_eq!(
        (access.rules.len(), &access.rules[0].subject, access.rules[0].level),
        (1, &subject, Level::Team)
    );
    let rules = MINE.replace("resource-lists", "pres-rules");
    assert!(text(&alice.get(&mut world, &rules)).contains("bob@contoso.example"));
    assert_eq!(world.call(set(None)), Answer::Done);
    let Answer::Access(access) = world.call(Call::ShowAccess(user())) else { panic!("no access") };
    assert_eq!(access.rules, []);
}

#[test]
fn rules_that_cannot_be_read_allow_nobody() {
    let mut world = World::new();
    world.tables.apply(&records::Change::PutDocument(Document {
        owner: UserId(1),
        application: "pres-rules".to_owned(),
        name: "index".to_owned(),
        etag: "a".to_owned(),
        body: b"<ruleset".to_vec(),
    }));
    let mut world = World::on(world.tables, 2, |_| ());
    let Answer::Access(access) = world.call(Call::ShowAccess(address("alice@contoso.example"))) else {
        panic!("no access")
    };
    assert_eq!((&access.rules[0].subject, access.rules[0].level), (&Subject::Everybody, Level::Blocked));
    // The owner can mend it.
    let mut alice = Client::new("alice");
    let rules = MINE.replace("resource-lists", "pres-rules");
    assert_eq!(text(&alice.get(&mut world, &rules)), "<ruleset");
    assert_eq!(alice.put(&mut world, &rules, "application/auth-policy+xml", RULES).status, 200);
}

#[test]
fn nobody_is_served_while_users_are_loaded() {
    let config = {
        let world = World::new();
        world.node.config.clone()
    };
    let mut node = crate::FrontEnd::new(config);
    let call = Call::Http(Box::new(request("GET", MINE, &[], "")));
    let now = node::Now { monotonic: node::Instant(1), wall: UnixMillis(1) };
    node::Node::handle(&mut node, now, Input::Called { token: CallToken(1), call });
    let answer = std::iter::from_fn(|| node::Node::poll_output(&mut node)).find_map(|output| match output {
        node::Output::Answer { answer: Answer::Http(response), .. } => Some(response),
        _ => None,
    });
    assert_eq!(answer.map(|answer| answer.status), Some(503));
}

/// A SUBSCRIBE of a user who is signed in, to somebody's documents; gives the answer's status.
fn watch(world: &mut World, flow: node::Flow, from: &str, to: &str, entries: &[&str]) -> u16 {
    let uri = format!("sip:{to}@contoso.example");
    let head = world.head("SUBSCRIBE", from, &uri, &uri);
    let head = format!(
        "{head}\nContact: <sip:{from}@{from}-pc.invalid;transport=tls>\nEvent: xcap-diff; diff-processing=aggregate\n\
         Accept: application/xcap-diff+xml\nExpires: 600"
    );
    let entries: String = entries.iter().map(|entry| format!("<entry uri=\"{entry}\"/>")).collect();
    let body = format!(
        "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>{entries}</list></resource-lists>"
    );
    match entries.is_empty() {
        true => world.receive(flow, &head, ""),
        false => world.receive(flow, &format!("{head}\nContent-Type: {LISTS_TYPE}"), &body),
    }
    world.status_to(flow)
}

/// What the next NOTIFY tells of documents: `SEL PREVIOUS NEW`, a line each, with entity tags cut to `+` where there is one.
fn told(world: &mut World, flow: node::Flow, status: u16) -> Option<Vec<String>> {
    let notify = world.sent_to(flow)?;
    assert_eq!(notify.header(sip_message::HeaderId::ContentType), Some(&b"application/xcap-diff+xml"[..]));
    let body = String::from_utf8(notify.body().to_vec()).unwrap();
    validate("xcap/test_data/schemas/xcap-diff.xsd", notify.body());
    world.respond(flow, &notify, status);
    assert!(body.contains("xcap-root=\"https://sip.contoso.example/xcap/\""), "{body}");
    let attribute = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let line = |line: &str| {
        let has = |name| if attribute(line, name).is_some() { "+" } else { "-" };
        let sel = attribute(line, "sel").unwrap().replace("users/sip:alice@contoso.example/", "");
        format!("{sel} {} {}", has("previous-etag"), has("new-etag"))
    };
    Some(body.lines().filter(|text| text.contains("<document")).map(line).collect())
}

#[test]
fn devices_hear_of_changes_of_their_documents() {
    use std::time::Duration;
    let mut world = World::new();
    let mut alice = Client::new("alice");
    alice.put(&mut world, MINE, LISTS_TYPE, LISTS);
    let flow = world.sign_in("alice");
    assert_eq!(watch(&mut world, flow, "alice", "alice", &[]), 200);
    let lines = |lines: &[&str]| Some(lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
    assert_eq!(told(&mut world, flow, 200), lines(&["resource-lists/index - +"]));

    // Several changes within the least interval are told together.
    world.pass(Duration::from_secs(6));
    let rules = MINE.replace("resource-lists", "pres-rules");
    alice.put(&mut world, &rules, "application/auth-policy+xml", RULES);
    assert_eq!(told(&mut world, flow, 200), lines(&["pres-rules/index - +"]));
    alice.put(&mut world, MINE, LISTS_TYPE, LISTS);
    alice.delete(&mut world, &rules);
    assert!(world.is_silent());
    world.pass(Duration::from_secs(6));
    assert_eq!(told(&mut world, flow, 200), lines(&["pres-rules/index + -", "resource-lists/index + +"]));

    // A command changes the same documents.
    let call = Call::EditContacts {
        user: address("alice@contoso.example"),
        edit: ContactEdit::AddGroup("team".to_owned()),
    };
    world.pass(Duration::from_secs(6));
    assert_eq!(world.call(call), Answer::Done);
    assert_eq!(told(&mut world, flow, 200), lines(&["resource-lists/index + +"]));
}

#[test]
fn a_watcher_of_documents_chooses_and_sees_its_own_alone() {
    let mut world = World::new();
    let mut alice = Client::new("alice");
    alice.put(&mut world, MINE, LISTS_TYPE, LISTS);
    alice.put(&mut world, &MINE.replace("index", "other"), LISTS_TYPE, LISTS);
    let rules = MINE.replace("resource-lists", "pres-rules");
    alice.put(&mut world, &rules, "application/auth-policy+xml", RULES);
    let (hers, his) = (world.sign_in("alice"), world.sign_in("bob"));
    let below = "resource-lists/users/sip:alice@contoso.example";
    for (entries, expected) in [
        (&["resource-lists/"][..], &["resource-lists/index - +", "resource-lists/other - +"][..]),
        (&[&format!("{below}/other"), "unknown/"], &["resource-lists/other - +"]),
        (&["pres-rules/users/sip:bob@contoso.example/index"], &[]),
    ] {
        assert_eq!(watch(&mut world, hers, "alice", "alice", entries), 200);
        assert_eq!(told(&mut world, hers, 200).unwrap(), expected, "{entries:?}");
    }
    assert_eq!(watch(&mut world, his, "bob", "alice", &["resource-lists/"]), 403);
    assert_eq!(watch(&mut world, his, "bob", "bob", &[below]), 200);
    assert_eq!(told(&mut world, his, 200).unwrap(), [""; 0]);
    // What is not watched is not told.
    world.pass(std::time::Duration::from_secs(6));
    alice.delete(&mut world, &rules);
    assert!(world.is_silent());
}
