//! A server as an administrator sets one up: `chancery init`, a few keys of its file, `chancery serve`.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use tempfile::TempDir;

use crate::{Server, chancery};

/// A configuration that `chancery init` wrote, on addresses of this test alone.
pub struct Configuration {
    folder: TempDir,
    text: String,
    address: Ipv4Addr,
    environment: Vec<(String, String)>,
}

impl Configuration {
    /// Writes one for a domain. Its listeners have their usual ports, on loopback addresses that nobody else uses: of
    /// those there are 16 million.
    pub fn new(domain: &str) -> Configuration {
        let folder = TempDir::with_prefix("chancery-").expect("a temporary folder");
        let init = Command::new(chancery())
            .args(["init", "--domain", domain, "--host", "localhost", "--dir"])
            .arg(folder.path())
            .output()
            .expect("chancery runs");
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        let mut text = std::fs::read_to_string(folder.path().join("chancery.toml")).expect("init wrote it");
        let [first, second] = own_addresses();
        text = text.replace("\"0.0.0.0:", &format!("\"{first}:")).replace("\"[::]:", &format!("\"{second}:"));
        let configuration = Configuration { folder, text, address: first, environment: Vec::new() };
        configuration.set("addresses", &format!("[\"{first}:5090\"]"))
    }

    /// Sets a key, which stands in the file once, as a comment or not.
    pub fn set(mut self, key: &str, value: &str) -> Configuration {
        let (plain, comment) = (format!("{key} = "), format!("# {key} = "));
        let mut found = 0;
        let lines: Vec<String> = self
            .text
            .lines()
            .map(|line| match line.starts_with(&plain) || line.starts_with(&comment) {
                true => {
                    found += 1;
                    format!("{key} = {value}")
                }
                false => line.to_owned(),
            })
            .collect();
        assert_eq!(found, 1, "{key} in:\n{}", self.text);
        self.text = lines.join("\n") + "\n";
        self
    }

    /// Sets a key of a section. A section that `chancery init` did not write is added.
    pub fn set_in(mut self, section: &str, key: &str, value: &str) -> Configuration {
        let head = format!("[{section}]");
        let mut lines: Vec<String> = self.text.lines().map(str::to_owned).collect();
        let Some(start) = lines.iter().position(|line| *line == head) else {
            self.text += &format!("\n{head}\n{key} = {value}\n");
            return self;
        };
        let end = lines[start + 1..].iter().position(|line| line.starts_with('['));
        let end = end.map_or(lines.len(), |behind| start + 1 + behind);
        let (plain, comment) = (format!("{key} = "), format!("# {key} = "));
        let is_key = |line: &String| line.starts_with(&plain) || line.starts_with(&comment);
        let found = lines[start..end].iter().position(is_key);
        let at = found.unwrap_or_else(|| panic!("{key} in {head}:\n{}", self.text));
        lines[start + at] = format!("{key} = {value}");
        self.text = lines.join("\n") + "\n";
        self
    }

    /// The folder, for files that the configuration names.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The first of its addresses.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A variable of the server's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Configuration {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts an Access Edge before it, with certificates of the CA that `chancery init` made: this one, which trusts the edge now, and the edge's.
    /// The edge is started second.
    pub fn behind_an_edge(mut self, domain: &str) -> (Configuration, Configuration) {
        const PORT: u16 = 5061;
        let (inside_host, outside_host) = (format!("edge.{domain}"), format!("access.{domain}"));
        let folder = TempDir::with_prefix("chancery-").expect("a temporary folder");
        let ca = self.folder().join("ca");
        for (kind, host) in [("edge-inside", &inside_host), ("edge-outside", &outside_host)] {
            let mut issue = Command::new(chancery());
            issue
                .args(["ca", "issue", "--kind", kind, "--name", host, "--dir"])
                .arg(&ca)
                .arg("--out")
                .arg(folder.path());
            if kind == "edge-outside" {
                issue.args(["--domain", domain]);
            }
            let output = issue.output().expect("chancery runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        self.text += &format!("\n[[trusted_server]]\nhost = \"{inside_host}\"\nrole = \"access-edge\"\n");
        let [inside, outside] = own_addresses();
        let text = format!(
            "domains = [\"{domain}\"]\nrole = \"access-edge\"\n\n[server]\nhost = \"{outside_host}\"\n\n\
             [[listener]]\ntransport = \"tls\"\naddress = \"{outside}:{PORT}\"\nside = \"outside\"\n\
             advertised_host = \"{outside_host}\"\n\n\
             [[listener]]\ntransport = \"tls\"\naddress = \"{inside}:{PORT}\"\nside = \"inside\"\n\
             advertised_host = \"{inside_host}\"\n\n\
             [tls]\nauthority_file = \"ca.pem\"\n\n[tls_outside]\n\n[http]\naddresses = [\"{inside}:5090\"]\n\n\
             [[trusted_server]]\nhost = \"localhost\"\nrole = \"front-end\"\n\n\
             [access_edge]\nnext_hops = [\"localhost:{PORT}\"]\n\n\
             [dns]\nservers = [\"127.0.0.1:9\"]\nhosts = [\"{} localhost\"]\n",
            self.address
        );
        let edge = Configuration { folder, text, address: outside, environment: Vec::new() };
        (self, edge)
    }

    /// Starts it.
    pub fn serve(self) -> Server {
        std::fs::write(self.folder.path().join("chancery.toml"), self.text).expect("the file is ours");
        Server::serve(self.folder, self.environment)
    }
}

/// Addresses of 127.0.0.0/8 that belong to this process and call alone, nearly: processes that run at one time have
/// numbers that are closer than 60,000.
pub(crate) fn own_addresses<const COUNT: usize>() -> [Ipv4Addr; COUNT] {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    [(); COUNT].map(|()| Ipv4Addr::new(127, high.max(1), low, 1 + NEXT.fetch_add(1, Ordering::Relaxed) % 254))
}
