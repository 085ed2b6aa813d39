//! The web against a home and a directory that do what they are told. Every answer is held against the OpenAPI document.

mod book;
mod credentials;
mod document;
mod listener;
mod sign_in;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ::sign_in::token::TokenError;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Request};
use directory::{
    ClientCertificate, ObjectId, Permissions, Purpose, Role, SipAddress, Standing, UserId, UserState,
};
use frontend::admin::{
    Answer, AppPasswordLine, Call, Holder, IssuedAppPassword, IssuedToken, PresenceDetails, Refusal, Secret,
    SignInFacts, TokenHolder, UserDetails, UserSummary, Way, Whom,
};
use net::https::{Answering, WholeRequest};
use presence::Manual;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use super::organisation::{Change, Changed, Colleague, Judged, Judgement, Locks, Organisation};
use super::server::Web;
use super::settings::Settings;
use super::{Accounts, Meter, Office, Parts, Wishes};
use crate::config;

const STRANGER: &str = "192.0.2.66:4000";
const HOME: &str = "192.0.2.1:4000";
const RIGHT: &str = "User-Passw0rd";

/// A person of the home.
#[derive(Clone)]
struct User {
    id: UserId,
    address: SipAddress,
    state: UserState,
    standing: Standing,
    way: Way,
    /// Of a local account.
    password: String,
    app_passwords: Vec<AppPasswordLine>,
    certificates: Vec<ClientCertificate>,
}

/// What the home and the directory hold.
#[derive(Default)]
struct World {
    users: Vec<User>,
    tokens: BTreeMap<String, TokenHolder>,
    /// By bind name: the password, and what a right one is worth.
    accounts: BTreeMap<String, (String, Judgement)>,
    /// By bind name: at how many wrong passwords the directory locks, where it is not as for everybody.
    locks: BTreeMap<String, u32>,
    /// What the directory was asked.
    asked: Vec<(String, String)>,
    /// What a change comes to.
    change: Option<Change>,
    issued: u64,
    objects: Vec<records::ObjectRow>,
    /// How often somebody waited for objects.
    waits: usize,
    is_starting: bool,
}

/// The web with its world.
struct Site {
    web: Web,
    office: Arc<Office>,
    wishes: Wishes,
    document: Value,
    world: Arc<Mutex<World>>,
    /// How many questions the directory may answer.
    gate: Arc<Semaphore>,
    /// There are other objects.
    told: Arc<Notify>,
    _dir: tempfile::TempDir,
}

struct Answered {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Site {
    fn new() -> Site {
        Site::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let text =
            "domains = [\"corp.example\"]\n[[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:5060\"\n";
        let configured = config::Settings::parse(text, "chancery.toml".as_ref(), dir.path()).unwrap();
        let (mut settings, wishes) = (Settings::of(&configured), Wishes::of(&configured));
        change(&mut settings);
        let world = Arc::new(Mutex::new(World::default()));
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let home = Arc::clone(&world);
        let told = Arc::new(Notify::new());
        let objects_told = Arc::clone(&told);
        let accounts = Accounts::asking(Box::new(move |call| {
            let mut world = home.lock().unwrap();
            if let Call::WaitForObjects { .. } = call {
                world.waits += 1;
                let told = Arc::clone(&objects_told);
                return Box::pin(async move {
                    told.notified().await;
                    Some(Answer::ObjectsBehind(true))
                });
            }
            let answer = world.answer(call);
            Box::pin(std::future::ready(Some(answer)))
        }));
        let organisation = Fake { world: Arc::clone(&world), gate: Arc::clone(&gate) };
        let office = Arc::new(Office::new(Parts {
            settings,
            wishes: wishes.clone(),
            accounts,
            organisation: Some(Arc::new(organisation)),
            data_dir: dir.path().to_owned(),
            seed: [5; 32],
            meter: Arc::new(Meter::default()),
        }));
        let (_, document) = super::router::router(&office);
        let document = serde_json::to_value(&document).unwrap();
        let site = Site {
            web: Web::new(Arc::clone(&office)),
            office,
            wishes,
            document,
            world,
            gate,
            told,
            _dir: dir,
        };
        site.local("erin", RIGHT);
        site.follows("alice", Judgement::Right);
        site
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// A local account.
    fn local(&self, name: &str, password: &str) -> UserId {
        self.add(name, Way::Local, password)
    }

    /// An account that follows the directory, and what its right password is worth there.
    fn follows(&self, name: &str, worth: Judgement) -> UserId {
        let bind_name = format!("{name}@corp.example");
        self.world().accounts.insert(bind_name.clone(), (RIGHT.to_owned(), worth));
        let sign_in_names = vec![format!("corp\\{name}"), name.to_owned()];
        self.add(name, Way::Directory { bind_name, object: ObjectId([7; 16]), sign_in_names }, "")
    }

    fn add(&self, name: &str, way: Way, password: &str) -> UserId {
        let mut world = self.world();
        let id = UserId(world.users.len() as u64 + 1);
        world.users.push(User {
            id,
            address: SipAddress::parse(&format!("{name}@corp.example")).unwrap(),
            state: UserState::Enabled,
            standing: Standing::Active,
            way,
            password: password.to_owned(),
            app_passwords: Vec::new(),
            certificates: Vec::new(),
        });
        id
    }

    fn set(&self, name: &str, change: impl FnOnce(&mut User)) {
        let mut world = self.world();
        let user = world.users.iter_mut().find(|user| user.address.user() == name).unwrap();
        change(user);
    }

    /// Questions about passwords that reached the directory.
    fn asked(&self) -> usize {
        self.world().asked.len()
    }

    async fn sign_in(&self, from: &str, name: &str, password: &str) -> Answered {
        self.post_from(from, "/v1/sign-in", &json!({ "name": name, "password": password })).await
    }

    /// A token of somebody's.
    async fn token(&self, name: &str) -> String {
        let answer = self.sign_in(HOME, name, RIGHT).await;
        answer.json()["token"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
    }

    async fn post_from(&self, from: &str, path: &str, content: &Value) -> Answered {
        let fields = [("content-type", "application/json")];
        self.ask(from, "POST", path, &fields, content.to_string().into_bytes()).await
    }

    async fn with_token(&self, token: &str, method: &str, path: &str, content: Option<Value>) -> Answered {
        let bearer = format!("Bearer {token}");
        let mut fields = vec![("authorization", bearer.as_str())];
        if content.is_some() {
            fields.push(("content-type", "application/json"));
        }
        let body = content.map(|content| content.to_string().into_bytes()).unwrap_or_default();
        self.ask(HOME, method, path, &fields, body).await
    }

    /// Any request. Its answer must be one that the document tells of.
    async fn ask(
        &self,
        from: &str,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let method: Method = parts.method.clone();
        let remote: SocketAddr = from.parse().unwrap();
        let peer = net::https::Peer { remote, end_point: None };
        let request = WholeRequest { parts, host: "sip.corp.example".to_owned(), body: body.into(), peer };
        let (parts, body) = self.web.answer(request).await.expect("it answers").into_parts();
        let answered = Answered { status: parts.status.as_u16(), headers: parts.headers, body };
        document::hold(&self.document, &method, path, &answered);
        answered
    }
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The end of a problem's type.
    fn problem(&self) -> String {
        assert_eq!(self.field("content-type"), "application/problem+json", "{}", self.text());
        let json = self.json();
        assert_eq!(json["status"], self.status);
        json["type"].as_str().unwrap().strip_prefix("/v1/problems/").unwrap().to_owned()
    }
}

impl World {
    fn user(&mut self, whom: &Whom) -> Option<&mut User> {
        self.users.iter_mut().find(|user| match whom {
            Whom::Id(id) => user.id == *id,
            Whom::Address(address) => user.address == *address,
        })
    }

    fn answer(&mut self, call: Call) -> Answer {
        if self.is_starting {
            return Answer::Refused(Refusal::Starting);
        }
        self.answer_or_refuse(call).unwrap_or_else(Answer::Refused)
    }

    fn answer_or_refuse(&mut self, call: Call) -> Result<Answer, Refusal> {
        let now =
            || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        Ok(match call {
            Call::FindForSignIn(name) => {
                let is_theirs = |user: &&User| {
                    let names = match &user.way {
                        Way::Local => &[][..],
                        Way::Directory { sign_in_names, .. } => sign_in_names,
                    };
                    user.address.to_string() == name.to_lowercase() || names.contains(&name.to_lowercase())
                };
                let nobody = || Refusal::NobodyOfThatName { counts_as: name.to_lowercase() };
                let user = self.users.iter().find(is_theirs).ok_or_else(nobody)?.clone();
                Answer::SignInFacts(Box::new(SignInFacts {
                    user: user.id,
                    address: user.address,
                    display_name: "Somebody".to_owned(),
                    is_enabled: user.state == UserState::Enabled && user.standing == Standing::Active,
                    state: user.state,
                    standing: user.standing,
                    role: Role::Person,
                    way: user.way,
                }))
            }
            Call::CheckPassword { user, password, .. } => {
                let user = self.user(&Whom::Id(user)).ok_or(Refusal::NoSuchId)?;
                if user.password != password.0 {
                    return Err(Refusal::WrongPassword);
                }
                match user.state {
                    UserState::Enabled => Answer::Done,
                    UserState::Disabled => return Err(Refusal::Disabled),
                }
            }
            Call::IssueToken { user, lifetime, renewed } => {
                let user = self.user(&Whom::Id(user)).ok_or(Refusal::NoSuchId)?.clone();
                if user.state == UserState::Disabled {
                    return Err(Refusal::Disabled);
                }
                let expires_unix_ms = now() + lifetime.as_millis() as u64;
                self.issued += 1;
                let text = format!("token{}", self.issued);
                let holder = Holder {
                    user: user.id,
                    address: user.address,
                    display_name: "Somebody".to_owned(),
                    role: Role::Person,
                };
                self.tokens.insert(
                    text.clone(),
                    TokenHolder {
                        holder,
                        issued_unix_ms: now(),
                        signed_in_unix_ms: renewed.map_or_else(now, |renewed| renewed.signed_in_unix_ms),
                        expires_unix_ms,
                    },
                );
                Answer::IssuedToken(IssuedToken { token: Secret(text), expires_unix_ms })
            }
            Call::JudgeToken(token) => {
                let holder = self.tokens.get(&token.0).ok_or(Refusal::Token(TokenError::Forged))?;
                Answer::TokenHolder(Box::new(holder.clone()))
            }
            Call::RevokeTokens(Whom::Id(user)) => {
                self.tokens.retain(|_, token| token.holder.user != user);
                Answer::Done
            }
            Call::SetPassword(address, password) => {
                if password.len() < 8 {
                    return Err(Refusal::WeakPassword);
                }
                let user = self.user(&Whom::Address(address.clone())).ok_or(Refusal::NoSuchUser(address))?;
                user.password = password;
                Answer::Done
            }
            Call::ListAppPasswords(whom) => {
                Answer::AppPasswords(self.user(&whom).ok_or(Refusal::NoSuchId)?.app_passwords.clone())
            }
            Call::AddAppPassword { user, label, purpose } => {
                let user = self.user(&user).ok_or(Refusal::NoSuchId)?;
                if label.is_empty() {
                    return Err(Refusal::BadLabel);
                }
                if user.standing.ends_credentials() {
                    return Err(Refusal::Disabled);
                }
                if user.app_passwords.len() >= 16 {
                    return Err(Refusal::TooManyAppPasswords(user.address.clone()));
                }
                let username = format!("{}~{}", user.address.user(), user.app_passwords.len());
                let line = AppPasswordLine { username: username.clone(), purpose, label, created_unix_ms: 0 };
                user.app_passwords.push(line);
                let (realm, password) = (user.address.domain().to_owned(), Secret("abcd-efgh".to_owned()));
                Answer::IssuedAppPassword(Box::new(IssuedAppPassword { username, realm, password }))
            }
            Call::RemoveAppPassword { user, username } => {
                let user = self.user(&user).ok_or(Refusal::NoSuchId)?;
                let before = user.app_passwords.len();
                user.app_passwords.retain(|line| line.username != username);
                match user.app_passwords.len() < before {
                    true => Answer::Done,
                    false => return Err(Refusal::NoSuchAppPassword),
                }
            }
            Call::ShowUser(address) => {
                let user = self.user(&Whom::Address(address.clone())).ok_or(Refusal::NoSuchUser(address))?;
                Answer::User(Box::new(details(user)))
            }
            Call::AddCertificate(address, certificate) => {
                let user =
                    self.user(&Whom::Address(address.clone())).ok_or(Refusal::NoSuchUser(address.clone()))?;
                if user.standing.ends_credentials() {
                    return Err(Refusal::Disabled);
                }
                if user.certificates.len() >= 16 {
                    return Err(Refusal::TooManyCertificates(address));
                }
                user.certificates.push(certificate);
                Answer::Done
            }
            Call::RemoveCertificate(address, digest) => {
                let user =
                    self.user(&Whom::Address(address.clone())).ok_or(Refusal::NoSuchUser(address.clone()))?;
                let before = user.certificates.len();
                user.certificates.retain(|certificate| certificate.digest != digest);
                match user.certificates.len() < before {
                    true => Answer::Done,
                    false => return Err(Refusal::NoSuchCertificate { user: address, digest }),
                }
            }
            Call::Objects { after, .. } => {
                Answer::Objects(self.objects.iter().filter(|row| row.revision > after).cloned().collect())
            }
            Call::CheckAppPassword { username, password, purpose, .. } => {
                let is_it = |line: &AppPasswordLine| line.username == username && line.purpose == purpose;
                let user = self.users.iter().find(|user| user.app_passwords.iter().any(is_it));
                let user = user.filter(|_| password.0 == "abcd-efgh").ok_or(Refusal::WrongPassword)?;
                Answer::Holder(Box::new(Holder {
                    user: user.id,
                    address: user.address.clone(),
                    display_name: String::new(),
                    role: Role::Person,
                }))
            }
            _ => panic!("the web asks nothing else"),
        })
    }
}

fn details(user: &User) -> UserDetails {
    let manual = Manual::default();
    let inputs = presence::Inputs { devices: &[], manual: &manual, calls: 0, now_unix_ms: 0 };
    let state = presence::compose(&inputs);
    let presence =
        PresenceDetails { address: user.address.clone(), state, manual, devices: Vec::new(), watchers: 0 };
    UserDetails {
        aliases: Vec::new(),
        account: None,
        app_passwords: Vec::new(),
        summary: UserSummary {
            standing: None,
            address: user.address.clone(),
            display_name: String::new(),
            state: user.state,
            role: Role::Person,
            devices: 0,
            waiting_messages: 0,
        },
        permissions: Permissions::default(),
        certificates: user.certificates.clone(),
        devices: Vec::new(),
        presence,
    }
}

/// The directory.
struct Fake {
    world: Arc<Mutex<World>>,
    gate: Arc<Semaphore>,
}

impl Organisation for Fake {
    fn check<'a>(&'a self, person: &'a Colleague, password: &'a str) -> Judged<'a> {
        assert!(!password.is_empty(), "an empty password is never asked");
        self.world.lock().unwrap().asked.push((person.bind_name.clone(), password.to_owned()));
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            let world = self.world.lock().unwrap();
            let (right, worth) = &world.accounts[&person.bind_name];
            match worth {
                Judgement::Locked | Judgement::Unreachable { .. } | Judgement::Unanswered { .. } => {
                    worth.clone()
                }
                _ if right == password => worth.clone(),
                _ => Judgement::Wrong,
            }
        })
    }

    fn locks_person_at<'a>(&'a self, person: &'a Colleague) -> Locks<'a> {
        let locks_at = self.world.lock().unwrap().locks.get(&person.bind_name).copied();
        Box::pin(std::future::ready(Some(locks_at.unwrap_or(0))))
    }

    fn change<'a>(&'a self, person: &'a Colleague, old: &'a str, new: &'a str) -> Changed<'a> {
        Box::pin(async move {
            let mut world = self.world.lock().unwrap();
            let change = world.change.clone().unwrap_or(Change::Done);
            let (right, worth) = world.accounts.get_mut(&person.bind_name).unwrap();
            if right != old {
                return Change::WrongOld;
            }
            if change == Change::Done {
                (*right, *worth) = (new.to_owned(), Judgement::Right);
            }
            change
        })
    }
}

fn unreachable() -> Judgement {
    Judgement::Unreachable { reason: "no route".to_owned(), retry_after: Duration::from_secs(5) }
}

fn purpose_name(line: &AppPasswordLine) -> &'static str {
    match line.purpose {
        Purpose::Sip => "sip",
        Purpose::AddressBook => "address-book",
    }
}
