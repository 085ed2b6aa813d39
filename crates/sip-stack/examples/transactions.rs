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
const BATCHES: usize = 2_000;
/// Virtual time between two batches: 20,000 MESSAGEs a second, so that 640,000 answers are remembered over UDP.
const BATCH_PERIOD: Duration = Duration::from_millis(10);

fn main() {
    for transport in [Transport::Udp, Transport::Tls] {
        let spent = measure(transport);
        let rounds = (BATCH * BATCHES) as u32;
        println!("{:>4}: {:>5} ns a round", transport.name(), (spent / rounds).as_nanos());
    }
}

fn measure(transport: Transport) -> Duration {
    let limits = Limits { server_pending_max: 100_000, client_pending_max: 100_000, ended_max: 1_000_000 };
    let mut layer = Transactions::new([1; 32], TimerValues::STANDARD, limits);
    let remote = ([192, 0, 2, 1], 5060).into();
    let flow = match transport {
        Transport::Udp => Flow::Datagram { listener: ListenerId(0), remote },
        _ => Flow::Connection(ConnectionId(1)),
    };
    let arrival = Arrival { flow, transport, remote };
    let mut now = Instant(0);
    let mut spent = Duration::ZERO;
    for batch in 0..BATCHES {
        let requests: Vec<Message> =
            (0..BATCH).map(|place| parse(request(&format!("c{batch}x{place}")))).collect();

        let began = Clock::now();
        layer.handle_timer(now);
        let mut rounds = Vec::with_capacity(BATCH);
        for message in &requests {
            let Incoming::New(server) = layer.handle_request(now, message, arrival) else {
                panic!("every request is new")
            };
            let (client, branch) = layer.reserve();
            rounds.push((server, client, branch));
        }
        spent += began.elapsed();

        let forwarded: Vec<Bytes> = rounds.iter().map(|(_, _, branch)| request(&branch[7..])).collect();
        let responses: Vec<Message> =
            rounds.iter().map(|(_, _, branch)| parse(response(&branch[7..]))).collect();
        let answer = response("c");

        let began = Clock::now();
        for (place, (_, client, _)) in rounds.iter().enumerate() {
            let outgoing = Outgoing {
                flow,
                transport,
                bytes: forwarded[place].clone(),
                invite: false,
                owner: Owner(place as u64),
            };
            layer.send(now, *client, outgoing);
            layer.poll_send().expect("the request leaves");
        }
        for response in &responses {
            let (_, owner) = layer.handle_response(now, response).expect("the response is ours");
            layer.respond(now, rounds[owner.0 as usize].0, 200, answer.clone());
            layer.poll_send().expect("the response leaves");
        }
        spent += began.elapsed();
        now = now + BATCH_PERIOD;
    }
    spent
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
    Message::parse(bytes).expect("the message is whole")
}
