use super::*;

const MESSAGE: &[u8] = b"OPTIONS sip:b@b.example SIP/2.0\r\nX: y\r\nl: 4\r\n\r\nbody";

/// Feeds a stream in pieces of a size and tells what came of it.
fn frames(stream: &[u8], piece: usize) -> Vec<Frame> {
    let mut seen = Vec::new();
    let mut buffer = Vec::new();
    let mut scan = Scan::default();
    for piece in stream.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            let frame = next_frame(&mut scan, &buffer);
            let consumed = match frame {
                Frame::Partial { needed } => {
                    assert!(needed > 0);
                    break;
                }
                Frame::Message { length } | Frame::Ping { length } | Frame::Padding { length } => length,
                Frame::Lost { .. } => {
                    seen.push(frame);
                    return seen;
                }
            };
            assert!(consumed > 0 && consumed <= buffer.len());
            assert_eq!(scan, Scan::default());
            buffer.drain(..consumed);
            seen.push(frame);
        }
    }
    seen
}

#[test]
fn a_stream() {
    let stream = [MESSAGE, b"\r\n\r\n", MESSAGE, b"\r\n", MESSAGE, b"\r\n\r\n\r\n", MESSAGE].concat();
    let message = Frame::Message { length: MESSAGE.len() };
    let (ping, pong) = (Frame::Ping { length: 4 }, Frame::Padding { length: 2 });
    for piece in 1..stream.len() {
        assert_eq!(
            frames(&stream, piece),
            [message, ping, message, pong, message, ping, pong, message],
            "{piece}"
        );
    }
}

#[test]
fn what_is_still_coming() {
    let partial = |octets: &[u8]| next_frame(&mut Scan::default(), octets);
    for octets in [&b""[..], b"\r", b"\r\n", b"\r\n\r", b"OPT", b"SIP", b"SIP/2.0 200 OK\r\n"] {
        assert_eq!(partial(octets), Frame::Partial { needed: 1 }, "{octets:?}");
    }
    assert_eq!(partial(&MESSAGE[..MESSAGE.len() - 3]), Frame::Partial { needed: 3 });
}

#[test]
fn what_is_lost() {
    let lost = |octets: &str| match next_frame(&mut Scan::default(), octets.as_bytes()) {
        Frame::Lost { status, header_octets, .. } => (status, header_octets == octets.len()),
        other => panic!("{octets:?}: {other:?}"),
    };
    for octets in
        ["\0", "\u{16}\u{3}\u{1}", " ", "{", "HTTP/1.1 200 OK", "GET:", "\rX", "X/", "O\n", "O x SIP/2.0\n"]
    {
        assert_eq!(lost(octets), (400, false), "{octets:?}");
    }
    for lines in [
        "",
        "X: l: 1\r\n",
        "X: y\r\n l: 1\r\n",
        "l: x\r\n",
        "l:\r\n",
        "l: -1\r\n",
        "l: 1 2\r\n",
        "l: 1\r\n 2\r\n",
        "l: 1\r\nContent-Length: 1\r\n",
        "l\r\n",
        "X: y\nl: 1\r\n",
    ] {
        assert_eq!(lost(&format!("O x:y SIP/2.0\r\n{lines}\r\n")), (400, true), "{lines:?}");
    }
    assert_eq!(lost("O x:y SIP/2.0\r\nl: 99999999999999999999\r\n\r\n"), (513, true));
    assert_eq!(lost(&format!("O x:y SIP/2.0\r\nl: {MESSAGE_OCTETS_MAX}\r\n\r\n")), (513, true));
    assert_eq!(lost(&format!("O x:y SIP/2.0\r\nX: {}", "y".repeat(HEADER_BLOCK_OCTETS_MAX))), (513, false));
}

#[test]
fn content_lengths_in_odd_dress() {
    for line in ["Content-Length: 4", "CONTENT-LENGTH \t:4", "L:\r\n 4", "l: 04 \r\n\t"] {
        let message = format!("O x:y SIP/2.0\r\nLocation: 9\r\n{line}\r\nC: x/y\r\n\r\nbody");
        let frame = next_frame(&mut Scan::default(), message.as_bytes());
        assert_eq!(frame, Frame::Message { length: message.len() }, "{line:?}");
    }
}

/// An octet at a time costs no more than looking at each a few times.
#[test]
fn slow_senders_cost_linear_time() {
    let mut stream = b"O x:y SIP/2.0\r\n".to_vec();
    while stream.len() < HEADER_BLOCK_OCTETS_MAX - 100 {
        stream.extend_from_slice(b"X: yyyyyyyy\r\n");
    }
    let mut scan = Scan::default();
    for length in 20..=stream.len() {
        assert_eq!(next_frame(&mut scan, &stream[..length]), Frame::Partial { needed: 1 });
        assert_eq!(scan.scanned, length, "the next look begins where this one ended");
    }
}

mod walks {
    use proptest::prelude::*;

    use super::super::{END_OF_HEADERS, content_length, usual_block};

    /// Lines of all kinds, whole or torn, Content-Length among them more often than not.
    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            4 => "(Content-Length|l|L|cONTENT-lENGTH|Content-Type|CSeq|Via)[ \t]{0,2}:[ ]?(\r\n )?[0-9]{0,3}(\r\n[ \t])?[a ]?\r\n",
            2 => "[a-zA-Z:-]{0,40}\r\n",
            1 => "[CcLl\r\n :1]{0,6}",
            1 => Just("\r\n".to_owned()),
        ];
        proptest::collection::vec(line, 0..8).prop_map(|lines| format!("{}\r\n", lines.concat()).into_bytes())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// The short way says nothing but what the long one does, and is taken wherever nothing is wrong.
        #[test]
        fn one_walk_sees_what_two_do(octets in octets()) {
            let two = END_OF_HEADERS.find(&octets).map(|end| end + 4).and_then(|end| {
                content_length(&octets[..end]).ok().map(|length| (end, length))
            });
            prop_assert_eq!(usual_block(&octets), two);
        }
    }
}
