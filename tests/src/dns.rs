//! A DNS server with a few records, on a loopback port: what RFC 3263 needs of one (RFC 1035, RFC 2782, RFC 3403). It says
//! whatever it is told: also what no honest one would.
//!
//! What it is not: it answers one question a datagram, compresses nothing, and knows neither EDNS nor TCP.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Octets of a message's header (RFC 1035 §4.1.1).
const HEADER_OCTETS: usize = 12;
/// How long a resolver may keep an answer, in seconds: longer than any test.
const TIME_TO_LIVE: u32 = 600;

/// What a name stands for.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are those of the RFCs")]
pub enum Record {
    /// An address.
    A(Ipv4Addr),
    /// A server; the lower priority is tried first (RFC 2782).
    Srv { priority: u16, port: u16, target: &'static str },
    /// Another name for it (RFC 1035 §3.3.1). Whatever is asked is answered by it alone.
    Cname(&'static str),
    /// No answer at all, whatever is asked.
    Silence,
    /// An answer that is none: octets after the header that make no sense.
    Nonsense,
    /// A transport and where its servers are listed (RFC 3263 §4.1).
    Naptr { order: u16, service: &'static str, replacement: &'static str },
}

/// A running DNS server. It ends when it is dropped.
pub struct Dns {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// Serves these records; a name may have several.
    pub fn start(zone: Vec<(&'static str, Record)>) -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("it is bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let thread = std::thread::spawn({
            let asked = asked.clone();
            move || serve(&socket, &zone, &asked)
        });
        Dns { address, asked, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether a question came, such as `SRV _sip._tcp.example.test`.
    pub fn was_asked(&self, question: &str) -> bool {
        self.asked.lock().expect("no thread panics with the lock").iter().any(|asked| asked == question)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        // Too short for a question: the thread takes it for its end.
        let told = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"", self.address));
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the DNS server panicked");
        }
    }
}

fn serve(socket: &UdpSocket, zone: &[(&'static str, Record)], asked: &Mutex<Vec<String>>) {
    let mut octets = [0; 1500];
    while let Ok((length, peer)) = socket.recv_from(&mut octets) {
        let query = &octets[..length];
        if length < HEADER_OCTETS {
            return;
        }
        let (name, kind, end) = question(query);
        asked.lock().expect("no thread panics with the lock").push(format!("{} {name}", kind_name(kind)));
        let of_name =
            |wanted: fn(&Record) -> bool| zone.iter().any(|(owner, record)| *owner == name && wanted(record));
        if of_name(|record| matches!(record, Record::Silence)) {
            continue;
        }
        if of_name(|record| matches!(record, Record::Nonsense)) {
            let nonsense = [&answer(query, end, true, &[])[..HEADER_OCTETS], &[0xc0; 40]].concat();
            drop(socket.send_to(&nonsense, peer));
            continue;
        }
        let known = of_name(|_| true);
        let records: Vec<&Record> = zone
            .iter()
            .filter(|(owner, record)| *owner == name && (record.kind() == kind || record.is_alias()))
            .map(|(_, record)| record)
            .collect();
        let answer = answer(query, end, known, &records);
        // Who asked may be gone.
        drop(socket.send_to(&answer, peer));
    }
}

/// Name in lower case, type, and where the question ends.
fn question(query: &[u8]) -> (String, u16, usize) {
    let mut labels = Vec::new();
    let mut at = HEADER_OCTETS;
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..at + 1 + length]).to_ascii_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    (labels.join("."), kind, at + 5)
}

fn answer(query: &[u8], question_end: usize, known: bool, records: &[&Record]) -> Vec<u8> {
    let mut answer = query[..2].to_vec();
    // A response, authoritative, recursion desired and available; NXDOMAIN (3) where there is no such name.
    answer.extend([0x85, if known { 0x80 } else { 0x83 }]);
    answer.extend([0, 1]);
    answer.extend((records.len() as u16).to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(&query[HEADER_OCTETS..question_end]);
    for record in records {
        let data = record.data();
        // The owner is the question's name.
        answer.extend([0xc0, HEADER_OCTETS as u8]);
        answer.extend(record.kind().to_be_bytes());
        answer.extend([0, 1]);
        answer.extend(TIME_TO_LIVE.to_be_bytes());
        answer.extend((data.len() as u16).to_be_bytes());
        answer.extend(data);
    }
    answer
}

impl Record {
    fn is_alias(&self) -> bool {
        matches!(self, Record::Cname(_))
    }

    fn kind(&self) -> u16 {
        match self {
            Record::A(_) => 1,
            Record::Cname(_) => 5,
            // Of no use to anybody (RFC 1035 §3.3.10).
            Record::Silence | Record::Nonsense => 10,
            Record::Srv { .. } => 33,
            Record::Naptr { .. } => 35,
        }
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Record::A(address) => address.octets().to_vec(),
            Record::Cname(target) => name(target),
            Record::Silence | Record::Nonsense => Vec::new(),
            Record::Srv { priority, port, target } => {
                let numbers = [*priority, 0, *port].map(u16::to_be_bytes).concat();
                [numbers, name(target)].concat()
            }
            Record::Naptr { order, service, replacement } => {
                let numbers = [*order, 0].map(u16::to_be_bytes).concat();
                let texts = ["s", service, ""].map(text).concat();
                [numbers, texts, name(replacement)].concat()
            }
        }
    }
}

fn kind_name(kind: u16) -> String {
    match kind {
        1 => "A".to_owned(),
        28 => "AAAA".to_owned(),
        33 => "SRV".to_owned(),
        35 => "NAPTR".to_owned(),
        other => format!("TYPE{other}"),
    }
}

fn text(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

/// The root is the empty name.
fn name(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut octets = labels.map(text).collect::<Vec<_>>().concat();
    octets.push(0);
    octets
}
