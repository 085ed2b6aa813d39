//! Prints what the transaction layer costs for one proxied MESSAGE: a server and a client transaction from the request to
//! the forwarded 200, and the end of what is remembered of them. Without I/O, parsing and rewriting.
//!
//! `cargo run --release -p sip-stack --example transactions`

use std::time::{Duration, Instant as Clock};

use bytes::Bytes;
use node::{ConnectionId, Flow, Instant, ListenerId, Transport};
use sip_message::Message;
use sip_stack::transaction::{Arrival, Incoming, Limits, Outgoing, Owner, TimerValues, Transactions};

/// Rounds whose transactions overlap; their messages are made beforehand.
const BATCH: usize = 200;
/// Batches before the measurement, so that tables have grown and memories end as fast as they are made: 40 s of virtual time.
const WARM_UP: usize = 400;
const BATCHES: usize = 2_000;
/// Virtual time between two batches: 2,000 MESSAGEs a second, so that 64,000 answers are remembered over UDP.
const BATCH_PERIOD: Duration = Duration::from_millis(100);

/// What is timed, one loop over the batch each.
const STEPS: [&str; 6] = ["timers", "handle_request", "reserve", "send", "handle_response", "respond"];
type Spent = [Duration; STEPS.len()];

fn main() {
    for transport in [Transport::Udp, Transport::Tls] {
        let batches = measure(transport).split_off(WARM_UP);
        // The median of the batches: others may use the machine at the same time.
        let median = |spent: &dyn Fn(&Spent) -> Duration| {
            let mut all: Vec<Duration> = batches.iter().map(spent).collect();
            all.sort_unstable();
            (all[all.len() / 2] / BATCH as u32).as_nanos()
        };
        print!("{}: {} ns a round:", transport.name(), median(&|spent| spent.iter().sum()));
        for (step, name) in STEPS.iter().enumerate() {
            print!(" {name} {}", median(&|spent| spent[step]));
        }
        println!();
    }
}

/// The time that each batch took.
fn measure(transport: Transport) -> Vec<Spent> {
    let limits = Limits { server_pending_max: 100_000, client_pending_max: 100_000, ended_max: 1_000_000 };
    let mut layer = Transactions::new([1; 32], TimerValues::STANDARD, limits);
    let remote = ([192, 0, 2, 1], 5060).into();
    let flow = match transport {
        Transport::Udp => Flow::Datagram { listener: ListenerId(0), remote },
        _ => Flow::Connection(ConnectionId(1)),
    };
    let arrival = Arrival { flow, transport, remote };
    let mut now = Instant(0);
    let mut batches = Vec::new();
    for batch in 0..WARM_UP + BATCHES {
        let requests: Vec<Message> =
            (0..BATCH).map(|place| parse(request(&format!("c{batch}x{place}")))).collect();
        let mut servers = Vec::with_capacity(BATCH);
        let mut clients = Vec::with_capacity(BATCH);
        let mut spent = Spent::default();

        let began = Clock::now();
        layer.handle_timer(now);
        spent[0] = began.elapsed();

        let began = Clock::now();
        for message in &requests {
            match layer.handle_request(now, message, arrival) {
                Incoming::New(server) => servers.push(server),
                other => panic!("every request is new, not {other:?}"),
            }
        }
        spent[1] = began.elapsed();

        let began = Clock::now();
        for _ in 0..BATCH {
            clients.push(layer.reserve());
        }
        spent[2] = began.elapsed();

        let forwarded: Vec<Bytes> = clients.iter().map(|(_, branch)| request(&branch[7..])).collect();
        let responses: Vec<Message> =
            clients.iter().map(|(_, branch)| parse(response(&branch[7..]))).collect();
        let answers: Vec<Bytes> = (0..BATCH).map(|_| response("c")).collect();

        let began = Clock::now();
        for (place, (bytes, (client, _))) in forwarded.into_iter().zip(&clients).enumerate() {
            let owner = Owner(place as u64);
            layer.send(now, *client, Outgoing { flow, transport, bytes, invite: false, owner });
            layer.poll_send().expect("the request leaves");
        }
        spent[3] = began.elapsed();

        let began = Clock::now();
        for response in &responses {
            layer.handle_response(now, response).expect("the response is ours");
        }
        spent[4] = began.elapsed();

        let began = Clock::now();
        for (server, answer) in servers.iter().zip(answers) {
            layer.respond(now, *server, 200, answer);
            layer.poll_send().expect("the response leaves");
        }
        spent[5] = began.elapsed();

        batches.push(spent);
        now = now + BATCH_PERIOD;
    }
    batches
}

fn request(branch: &str) -> Bytes {
    Bytes::from(format!(
        "MESSAGE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@a.example>;tag=49583\r\nTo: <sip:bob@b.example>\r\nCall-ID: asd88asd77a@a.example\r\n\
         CSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 18\r\n\r\nWatson, come here."
    ))
}

fn response(branch: &str) -> Bytes {
    Bytes::from(format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch}\r\nFrom: <sip:alice@a.example>;tag=49583\r\n\
         To: <sip:bob@b.example>;tag=1\r\nCall-ID: asd88asd77a@a.example\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
    ))
}

fn parse(bytes: Bytes) -> Message {
    let message = Message::parse(bytes).expect("the message is whole");
    message.validate().expect("the message is well formed");
    message
}
