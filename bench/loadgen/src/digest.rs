//! HTTP digest authentication (RFC 2617/7616) as SIP uses it: MD5 and SHA-256, qop=auth.

use md5::{Digest, Md5};
use std::fmt::Write;

#[derive(Clone, Debug, Default)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    pub opaque: Option<String>,
    pub qop_auth: bool,
    pub sha256: bool,
    pub stale: bool,
    pub proxy: bool,
}

/// Splits `Digest a="b", c=d` into pairs; quoted strings may hold commas.
fn params(s: &str) -> Vec<(String, String)> {
    let b = s.as_bytes();
    let (mut i, mut out) = (0, Vec::new());
    while i < b.len() {
        while i < b.len() && (b[i] == b' ' || b[i] == b',' || b[i] == b'\t') {
            i += 1;
        }
        let k0 = i;
        while i < b.len() && b[i] != b'=' {
            i += 1;
        }
        if i >= b.len() {
            break;
        }
        let key = s[k0..i].trim().to_ascii_lowercase();
        i += 1;
        let val;
        if i < b.len() && b[i] == b'"' {
            i += 1;
            let v0 = i;
            while i < b.len() && b[i] != b'"' {
                i += if b[i] == b'\\' { 2 } else { 1 };
            }
            val = s[v0..i.min(b.len())].to_string();
            i += 1;
        } else {
            let v0 = i;
            while i < b.len() && b[i] != b',' {
                i += 1;
            }
            val = s[v0..i].trim().to_string();
        }
        out.push((key, val));
    }
    out
}

impl Challenge {
    pub fn parse(value: &[u8], proxy: bool) -> Option<Challenge> {
        let s = std::str::from_utf8(value).ok()?.trim();
        if s.len() < 7 || !s[..7].eq_ignore_ascii_case("digest ") {
            return None;
        }
        let mut c = Challenge { proxy, ..Default::default() };
        for (k, v) in params(&s[7..]) {
            match k.as_str() {
                "realm" => c.realm = v,
                "nonce" => c.nonce = v,
                "opaque" => c.opaque = Some(v),
                "qop" => c.qop_auth = v.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth")),
                "algorithm" => {
                    if v.eq_ignore_ascii_case("SHA-256") {
                        c.sha256 = true
                    } else if !v.eq_ignore_ascii_case("MD5") {
                        return None;
                    }
                }
                "stale" => c.stale = v.eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        Some(c)
    }

    fn hash(&self, parts: &[&str]) -> String {
        if self.sha256 {
            let mut h = ring::digest::Context::new(&ring::digest::SHA256);
            for (i, p) in parts.iter().enumerate() {
                if i > 0 {
                    h.update(b":");
                }
                h.update(p.as_bytes());
            }
            hex(h.finish().as_ref())
        } else {
            let mut h = Md5::new();
            for (i, p) in parts.iter().enumerate() {
                if i > 0 {
                    h.update(b":");
                }
                h.update(p.as_bytes());
            }
            hex(&h.finalize())
        }
    }

    pub fn ha1(&self, user: &str, pass: &str) -> String {
        self.hash(&[user, &self.realm, pass])
    }

    /// The whole `Authorization`/`Proxy-Authorization` header line.
    pub fn answer(&self, user: &str, ha1: &str, method: &str, uri: &str, nc: u32) -> String {
        let ha2 = self.hash(&[method, uri]);
        let name = if self.proxy { "Proxy-Authorization" } else { "Authorization" };
        let mut out = String::with_capacity(300);
        let _ = write!(
            out,
            "{name}: Digest username=\"{user}\",realm=\"{}\",nonce=\"{}\",uri=\"{uri}\",algorithm={}",
            self.realm,
            self.nonce,
            if self.sha256 { "SHA-256" } else { "MD5" }
        );
        if self.qop_auth {
            let nc = format!("{nc:08x}");
            let cnonce = "0a4f113b";
            let r = self.hash(&[ha1, &self.nonce, &nc, cnonce, "auth", &ha2]);
            let _ = write!(out, ",qop=auth,nc={nc},cnonce=\"{cnonce}\",response=\"{r}\"");
        } else {
            let r = self.hash(&[ha1, &self.nonce, &ha2]);
            let _ = write!(out, ",response=\"{r}\"");
        }
        if let Some(o) = &self.opaque {
            let _ = write!(out, ",opaque=\"{o}\"");
        }
        out.push_str("\r\n");
        out
    }
}

pub fn md5_raw(parts: &[&str]) -> [u8; 16] {
    let mut h = Md5::new();
    for (i, p) in parts.iter().enumerate() {
        if i > 0 {
            h.update(b":");
        }
        h.update(p.as_bytes());
    }
    h.finalize().into()
}

fn hex(b: &[u8]) -> String {
    const D: &[u8; 16] = b"0123456789abcdef";
    let mut s = String::with_capacity(b.len() * 2);
    for x in b {
        s.push(D[(x >> 4) as usize] as char);
        s.push(D[(x & 15) as usize] as char);
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc2617_example() {
        let c = Challenge::parse(
            b"Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
            false,
        )
        .unwrap();
        assert!(c.qop_auth && !c.sha256);
        let ha1 = c.ha1("Mufasa", "Circle Of Life");
        assert_eq!(ha1, "939e7578ed9e3c518a452acee763bce9");
        assert!(
            c.answer("Mufasa", &ha1, "GET", "/dir/index.html", 1)
                .contains("6629fae49393a05397450978507c4ef1")
        );
    }
}
