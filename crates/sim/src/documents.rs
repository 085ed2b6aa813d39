//! The documents that people of these worlds keep on their server, as a plain client writes them (RFC 5025, RFC 4826),
//! and how it puts them there (RFC 4825).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use frontend::admin::{Answer, Call};
use node::http::{HttpRequest, HttpResponse};
use presence::Level;
use records::{Change, Document};
use sip_message::AuthParams;
use sip_message::digest::{self, Algorithm, ResponseInput};

use crate::world::World;
use crate::xml::escaped;

/// Who asks over HTTP, as far as the server can see.
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 2, 0, 1)), 40_000);

/// A document's application and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Application {
    /// Contacts in groups.
    ResourceLists,
    /// Who may see how much.
    PresRules,
}

impl Application {
    /// AUID (RFC 4825 §5).
    pub fn name(self) -> &'static str {
        match self {
            Application::ResourceLists => "resource-lists",
            Application::PresRules => "pres-rules",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Application::ResourceLists => "application/resource-lists+xml",
            Application::PresRules => "application/auth-policy+xml",
        }
    }
}

/// To whom an access rule applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grantee {
    /// `user@domain`.
    User(String),
    /// All of a domain.
    Domain(String),
    /// All of the organisation.
    SameOrganisation,
    /// All of other organisations.
    Federated,
    /// Everybody.
    Everybody,
}

/// Access rules.
pub fn rules(grants: &[(Grantee, Level)]) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<cp:ruleset xmlns:cp=\"urn:ietf:params:xml:ns:common-policy\" \
         xmlns:pr=\"urn:ietf:params:xml:ns:pres-rules\" xmlns:c=\"urn:chancery:pres-rules\">\r\n",
    );
    for (number, (grantee, level)) in grants.iter().enumerate() {
        let condition = match grantee {
            Grantee::User(address) => {
                format!("<cp:identity><cp:one id=\"sip:{}\"/></cp:identity>", escaped(address))
            }
            Grantee::Domain(domain) => {
                format!("<cp:identity><cp:many domain=\"{}\"/></cp:identity>", escaped(domain))
            }
            Grantee::SameOrganisation => "<c:same-organisation/>".into(),
            Grantee::Federated => "<c:federated/>".into(),
            Grantee::Everybody => "<cp:identity><cp:many/></cp:identity>".into(),
        };
        let (handling, transformation) = match level {
            Level::Blocked => ("polite-block", String::new()),
            level => ("allow", format!("<c:level>{}</c:level>", level.name())),
        };
        text += &format!(
            "<cp:rule id=\"r{number}\"><cp:conditions>{condition}</cp:conditions><cp:actions>\
             <pr:sub-handling>{handling}</pr:sub-handling></cp:actions>\
             <cp:transformations>{transformation}</cp:transformations></cp:rule>\r\n"
        );
    }
    text + "</cp:ruleset>\r\n"
}

/// A contact list.
pub fn contacts(addresses: &[String]) -> String {
    let entry = |address: &String| format!("<entry uri=\"sip:{}\"/>\r\n", escaped(address));
    let entries: String = addresses.iter().map(entry).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
         <resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list name=\"all\">\r\n{entries}</list></resource-lists>\r\n"
    )
}

impl World {
    /// Puts a user's document onto a machine's disk as if it had always been there. The machine must not run.
    pub fn provision_document(&mut self, machine: usize, user: &str, application: Application, body: &str) {
        self.provision(
            machine,
            Change::PutDocument(Document {
                owner: self.user_id(user),
                application: application.name().into(),
                name: "index".into(),
                etag: format!("provisioned{}", self.events().len()),
                body: body.into(),
            }),
        );
    }

    /// Puts a user's document over HTTP, as its owner; returns the status, or nothing where no answer came.
    pub fn put_document(
        &mut self,
        machine: usize,
        address: &str,
        password: &str,
        application: Application,
        body: &str,
    ) -> Option<u16> {
        let (user, domain) = address.split_once('@').unwrap_or((address, ""));
        let mut request = HttpRequest {
            method: "PUT".into(),
            target: format!("/xcap/{}/users/sip:{address}/index", application.name()),
            host: domain.into(),
            headers: vec![("content-type".into(), Bytes::from_static(application.content_type().as_bytes()))],
            body: Bytes::copy_from_slice(body.as_bytes()),
            remote: CLIENT,
            is_secure: true,
        };
        let first = self.http(machine, request.clone())?;
        if first.status != 401 {
            return Some(first.status);
        }
        let signature = signature(&first, &request, user, password)?;
        request.headers.push(("authorization".into(), Bytes::from(signature)));
        Some(self.http(machine, request)?.status)
    }

    fn http(&mut self, machine: usize, request: HttpRequest) -> Option<HttpResponse> {
        match self.ask(machine, Call::Http(Box::new(request)))? {
            Answer::Http(response) => Some(response),
            _ => None,
        }
    }
}

/// Answers a challenge (RFC 7616 §3.4).
fn signature(challenged: &HttpResponse, request: &HttpRequest, user: &str, password: &str) -> Option<String> {
    let challenges =
        challenged.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate"));
    let challenge = challenges.map(|(_, value)| value.as_bytes()).find_map(|value| {
        let params = AuthParams::parse(value).ok()?;
        let digest = params.scheme.eq_ignore_ascii_case("Digest");
        let sha256 = params.get("algorithm").is_some_and(|a| a == "SHA-256");
        (digest && sha256).then_some(params)
    })?;
    let (realm, nonce) = (challenge.get("realm")?.into_owned(), challenge.get("nonce")?.into_owned());
    let ha1 = digest::ha1(Algorithm::Sha256, user, &realm, password);
    let (nc, cnonce, uri) = ("00000001", "c0ffee", &request.target);
    let (method, qop) = (request.method.as_str(), Some("auth"));
    let input = ResponseInput { method, uri, nonce: &nonce, qop, nc, cnonce, body: b"" };
    let response = digest::response(&ha1, &input);
    let opaque = challenge.get("opaque").map(|o| format!(", opaque=\"{o}\"")).unwrap_or_default();
    Some(format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
         algorithm=SHA-256, cnonce=\"{cnonce}\", qop=auth, nc={nc}{opaque}"
    ))
}
