//! A client of HTTPS, one request at a time on one connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use rustls::{ClientConnection, StreamOwned};

use crate::{Account, Answer, PATIENCE, challenges, wire};

/// A connection.
pub struct Https {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsAnswer {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: String,
}

impl HttpsAnswer {
    /// The value of the first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

impl Https {
    /// Connects. `ca` is the PEM file of the CA that must have signed the server's certificate.
    pub fn connect(server: SocketAddr, ca: &Path) -> Https {
        let stream = TcpStream::connect_timeout(&server, PATIENCE).expect("HTTPS is there");
        stream.set_nodelay(true).expect("it can");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let tls = wire::handshake(&stream, ca).expect("TLS comes up");
        Https { stream: StreamOwned::new(tls, stream) }
    }

    /// The server's certificate, DER.
    pub fn server_certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().expect("the server has one")[0].to_vec()
    }

    /// Sends what may be no request at all.
    pub fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets)?;
        self.stream.flush()
    }

    /// Sends a request and reads the answer.
    pub fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> HttpsAnswer {
        self.try_ask(method, target, headers, body).expect("the server answers")
    }

    /// The same where the server may be gone.
    pub fn try_ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<HttpsAnswer> {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || method == "PUT" {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += body;
        self.send(request.as_bytes())?;
        self.answer()
    }

    /// The same as a user: the challenge is answered with the account's password.
    pub fn ask_as(
        &mut self,
        account: &Account,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> HttpsAnswer {
        self.try_ask_as(account, method, target, headers, body).expect("the server answers")
    }

    /// The same where the server may be gone.
    pub fn try_ask_as(
        &mut self,
        account: &Account,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<HttpsAnswer> {
        let challenged = self.try_ask(method, target, headers, body)?;
        assert_eq!(challenged.status, 401, "{challenged:?}");
        // The header is the same as in SIP, and so is the arithmetic.
        let mut message = "SIP/2.0 401 Unauthorized\r\n".to_owned();
        for (_, value) in challenged.headers.iter().filter(|(name, _)| name == "www-authenticate") {
            message += &format!("WWW-Authenticate: {value}\r\n");
        }
        message += "\r\n";
        let message = sip_message::Message::parse(message.into()).expect("a challenge");
        let challenge = challenges(&message).into_iter().next().expect("a challenge");
        let (user, password) = (account.user.as_str(), account.password.as_str());
        let answer = Answer { challenge: &challenge, user, password, method, uri: target, nc: 1 };
        let value = answer.value();
        let mut headers = headers.to_vec();
        headers.push((answer.header_name(), &value));
        self.try_ask(method, target, &headers, body)
    }

    /// Reads an answer.
    pub fn answer(&mut self) -> io::Result<HttpsAnswer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            self.stream.read_exact(&mut octet)?;
            head.push(octet[0]);
        }
        let head = String::from_utf8(head).map_err(io::Error::other)?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|s| s.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(head.clone()))?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = HttpsAnswer { status, headers, body: String::new() };
        let length = answer.header("content-length").map_or(Ok(0), str::parse).map_err(io::Error::other)?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        answer.body = String::from_utf8(body).map_err(io::Error::other)?;
        Ok(answer)
    }

    /// Whether the server has ended the connection, or does so now, without another octet.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }
}
