//! What a demo says when it is ready.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::control::protocol::ServerFacts;

/// Accounts shown to people; more are counted.
const ACCOUNTS_SHOWN_MAX: usize = 8;

/// Everything that a person, or a script, needs to try the server.
pub(super) struct Page {
    /// Port by name.
    pub(super) ports: Vec<(&'static str, u16)>,
    /// The first address, as a URI shows it.
    pub(super) host: String,
    pub(super) notes: Vec<String>,
    pub(super) authority: PathBuf,
    pub(super) domain: String,
    pub(super) dir: PathBuf,
    /// Address and password.
    pub(super) shown: Vec<(String, String)>,
    /// Of all accounts that are stored.
    pub(super) total: usize,
}

impl Page {
    /// One line.
    pub(super) fn json(&self, facts: &ServerFacts) -> String {
        let mut line = Map::new();
        line.insert("pid".to_owned(), json!(facts.pid));
        for (name, port) in &self.ports {
            line.insert((*name).to_owned(), json!(port));
        }
        let users: Vec<Value> = self
            .shown
            .iter()
            .map(|(address, password)| json!({ "address": address, "password": password }))
            .collect();
        line.insert("host".to_owned(), json!(self.host));
        line.insert("domain".to_owned(), json!(self.domain));
        line.insert("ca".to_owned(), json!(self.authority));
        line.insert("dir".to_owned(), json!(self.dir));
        line.insert("users".to_owned(), json!(users));
        line.insert("users_total".to_owned(), json!(self.total));
        line.insert("listeners".to_owned(), json!(facts.listeners));
        line.insert("notes".to_owned(), json!(self.notes));
        format!("{}\n", Value::Object(line))
    }

    /// A page for people.
    pub(super) fn text(&self, facts: &ServerFacts) -> String {
        let (dir, authority, host) = (self.dir.display(), self.authority.display(), &self.host);
        let mut text =
            format!("\nChancery {} is ready: {} (process {})\n\n", facts.version, self.domain, facts.pid);
        for note in &self.notes {
            let _ = writeln!(text, "  note       {note}");
        }
        for listener in &facts.listeners {
            let _ = writeln!(text, "  {:10} {}", listener.transport, listener.address);
        }
        let _ = writeln!(text, "  CA         {authority}\n  folder     {dir}\n");
        for (address, password) in self.shown.iter().take(ACCOUNTS_SHOWN_MAX) {
            let _ = writeln!(text, "  {address:32} {password}");
        }
        let _ = writeln!(text, "  {} accounts in all; passwords of a demo are no secret\n", self.total);
        let (udp, tls, http) = (self.port("udp"), self.port("tls"), self.port("http"));
        let https = self.port("https");
        if let [(first, first_password), rest @ ..] = self.shown.as_slice() {
            let user = first.split('@').next().unwrap_or_default();
            let other = rest.first().map_or(first.as_str(), |(address, _)| address);
            let _ = write!(
                text,
                "Try\n  \
                 linphonec        register sip:{first} sip:{host}:{udp} {first_password}\n                   \
                 chat sip:{other} hello\n  \
                 baresip          /uanew <sip:{first};transport=tcp>;auth_pass={first_password};outbound=\"sip:{host}:{udp};transport=tcp\"\n  \
                 XCAP             curl --cacert {authority} --digest -u {user}:{first_password} \
                 https://{host}:{https}/xcap/xcap-caps/global/index\n  \
                 metrics          curl http://{host}:{http}/metrics\n  \
                 certificate      openssl s_client -connect {host}:{tls} -CAfile {authority} </dev/null\n  \
                 accounts         chancery user list --dir {dir}\n\n"
            );
        }
        text + LADDER
    }

    fn port(&self, name: &str) -> u16 {
        self.ports.iter().find(|(known, _)| *known == name).map_or(0, |(_, port)| *port)
    }
}

const LADDER: &str = "\
A message, from a device that has signed in over TCP:

  alice                 Chancery                  bob
    |  MESSAGE             |                       |
    |--------------------->|  stored on disk       |
    |                      |  MESSAGE              |
    |                      |---------------------->|
    |                      |               200 OK  |
    |              200 OK  |<----------------------|
    |<---------------------|                       |

Nobody at home: 202 Accepted, and bob gets it when he signs in.

Ctrl-C ends the server; started again on the same folder it continues.
";
