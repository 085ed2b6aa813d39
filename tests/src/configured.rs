//! A server as an administrator sets one up: `chancery init`, a few keys of its file, `chancery serve`.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use tempfile::TempDir;

use crate::{Server, chancery};

/// A configuration that `chancery init` wrote, on addresses of this test alone.
pub struct Configuration {
    folder: TempDir,
    text: String,
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
        let configuration = Configuration { folder, text };
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

    /// Starts it.
    pub fn serve(self) -> Server {
        std::fs::write(self.folder.path().join("chancery.toml"), self.text).expect("the file is ours");
        Server::serve(self.folder)
    }
}

/// Addresses of 127.0.0.0/8 that belong to this process and call alone, nearly: processes that run at one time have
/// numbers that are closer than 60,000.
pub(crate) fn own_addresses<const COUNT: usize>() -> [Ipv4Addr; COUNT] {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    [(); COUNT].map(|()| Ipv4Addr::new(127, high.max(1), low, 1 + NEXT.fetch_add(1, Ordering::Relaxed) % 254))
}
