//! What a proxy's hop costs: prints nanoseconds per step for a MESSAGE of some 750 octets.
//!
//! `cargo run --release -p sip-message --example hop [ROUNDS]`; few rounds are for a run under a profiler.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use sip_message::framing::{Frame, Scan, next_frame};
use sip_message::{Edit, HeaderId, Message};

const MESSAGE: &[u8] = b"MESSAGE sip:bob@contoso.example;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6 SIP/2.0\r\n\
Via: SIP/2.0/TLS 192.0.2.17:49152;branch=z9hG4bK776asdhds8fhw3;rport;alias\r\n\
Max-Forwards: 70\r\n\
Route: <sip:frontend.contoso.example:5061;transport=tls;lr>\r\n\
From: \"Alice Anders\" <sip:alice@contoso.example>;tag=49583aa1;epid=01010101\r\n\
To: <sip:bob@contoso.example>\r\n\
Call-ID: asd88asd77a-1829387123@192.0.2.17\r\n\
CSeq: 314159 MESSAGE\r\n\
Contact: <sip:alice@192.0.2.17:49152;transport=tls>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"\r\n\
Supported: outbound, path, gruu\r\n\
User-Agent: Chancery measurement\r\n\
Content-Type: text/plain;charset=UTF-8\r\n\
Content-Length: 60\r\n\
\r\n\
Shall we meet at ten in the small room? The large one leaks.";

/// Rounds of one measurement; the best of several is printed, as other load only ever adds.
const ROUNDS: u32 = 200_000;
const MEASUREMENTS: u32 = 5;

fn main() {
    let rounds = std::env::args().nth(1).map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let measure = |step: &str, run: &mut dyn FnMut() -> usize| measure(step, rounds, run);
    let bytes = Bytes::from_static(MESSAGE);
    let message = Message::parse(bytes.clone()).expect("the sample is a SIP message");
    message.validate().expect("the sample is well formed");
    println!("MESSAGE of {} octets, {} header lines", MESSAGE.len(), message.headers().count());

    measure("frame", &mut || {
        matches!(next_frame(&mut Scan::default(), black_box(MESSAGE)), Frame::Message { .. }).into()
    });
    measure("parse", &mut || Message::parse(black_box(&bytes).clone()).is_ok().into());
    // A message remembers that it was found valid, so each round has one that was not asked yet.
    measure("+validate", &mut || {
        let message = Message::parse(black_box(&bytes).clone()).expect("still one");
        message.validate().is_ok().into()
    });
    measure("clone", &mut || black_box(&message).clone().body().len());
    measure("read", &mut || read(black_box(&message)).into());
    measure("edit", &mut || edit(black_box(&message), 69).len());
    measure("hop", &mut || {
        let message = Message::parse(black_box(&bytes).clone()).expect("still one");
        message.validate().expect("still well formed");
        let max_forwards = read(&message);
        edit(&message, max_forwards - 1).len()
    });
}

/// Via, From, To, Call-ID, CSeq and Max-Forwards, as a proxy needs them.
fn read(message: &Message) -> u8 {
    let via = message.top_via().expect("Via");
    black_box((via.branch(), via.host, via.port, via.params.has("rport")));
    black_box((message.from().expect("From").tag(), message.to().expect("To").tag()));
    black_box((message.call_id().expect("Call-ID"), message.cseq().expect("CSeq")));
    message.max_forwards().expect("well formed").expect("there")
}

fn edit(message: &Message, max_forwards: u8) -> Bytes {
    Edit::new(message)
        .insert_first(
            HeaderId::Via,
            "SIP/2.0/TLS frontend.contoso.example:5061;branch=z9hG4bKd8f1a5d3c3b2a190",
        )
        .insert_first(HeaderId::RecordRoute, "<sip:5f3a@frontend.contoso.example:5061;transport=tls;lr>")
        .set(HeaderId::MaxForwards, max_forwards.to_string())
        .remove_elements(HeaderId::Route, 1)
        .write()
}

fn measure(step: &str, rounds: u32, run: &mut dyn FnMut() -> usize) {
    let best = (0..MEASUREMENTS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..rounds {
                black_box(run());
            }
            start.elapsed()
        })
        .min()
        .expect("measured at least once");
    println!("{step:>10}: {:>5} ns", (best / rounds).as_nanos());
}
