use super::ber::{Malformed, Reader, Tag, Writer, frame_octets};
use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

fn encoded(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    write(&mut writer);
    writer.finish()
}

#[test]
fn integers_take_as_few_octets_as_they_need_and_come_back() {
    for (value, octets) in [
        (0, "02 01 00"),
        (127, "02 01 7f"),
        (128, "02 02 00 80"),
        (1000, "02 02 03 e8"),
        (-1, "02 01 ff"),
        (-128, "02 01 80"),
        (-129, "02 02 ff 7f"),
        (i64::MIN, "02 08 80 00 00 00 00 00 00 00"),
        (i64::MAX, "02 08 7f ff ff ff ff ff ff ff"),
    ] {
        let written = encoded(|w| {
            w.integer(value);
        });
        assert_eq!(written, hex(octets), "{value}");
        assert_eq!(Reader::new(&written).integer(), Ok(value));
    }
}

#[test]
fn long_lengths_are_written_short_and_read_in_any_form() {
    let written = encoded(|w| {
        w.octets(vec![7; 300]);
    });
    assert_eq!(written[..4], hex("04 82 01 2c"));
    assert_eq!(Reader::new(&written).octets(), Ok(&[7; 300][..]));
    // BER, other than DER, allows more octets than needed; Active Directory uses four everywhere.
    assert_eq!(
        Reader::new(&hex("30 84 00 00 00 03 02 01 05")).within(Tag::SEQUENCE).unwrap().integer(),
        Ok(5)
    );
}

#[test]
fn what_is_cut_off_or_of_another_kind_is_refused() {
    for octets in ["", "04", "04 05 61", "04 82 01", "1f 81 00 00", "30 80 00 00", "04 85 00 00 00 00 01 61"]
    {
        assert!(Reader::new(&hex(octets)).element().is_err(), "{octets}");
    }
    assert!(Reader::new(&hex("02 00")).integer().is_err());
    assert!(Reader::new(&hex("02 09 01 00 00 00 00 00 00 00 00")).integer().is_err());
    assert!(Reader::new(&hex("01 02 00 00")).boolean().is_err());
    assert!(Reader::new(&hex("04 02 c3 28")).text().is_err());
}

#[test]
fn frames_are_known_as_soon_as_their_length_is() {
    assert_eq!(frame_octets(b""), Ok(None));
    assert_eq!(frame_octets(&hex("30")), Ok(None));
    assert_eq!(frame_octets(&hex("30 84 00 01")), Ok(None));
    assert_eq!(frame_octets(&hex("30 84 00 01 00 00")), Ok(Some(6 + 65_536)));
    assert_eq!(frame_octets(&hex("30 0c 02")), Ok(Some(14)));
    assert_eq!(
        frame_octets(&hex("30 80")),
        Err(Malformed("a length that is indefinite, or of too many octets"))
    );
}

#[test]
fn a_bind_is_written_as_the_rfc_says_and_never_shows_more_than_asked() {
    let bind = Request::SimpleBind { name: "cn=a", password: b"pw" };
    assert_eq!(
        bind.write(MessageId(1), &[]).as_slice(),
        hex("30 12 02 01 01 60 0d 02 01 03 04 04 63 6e 3d 61 80 02 70 77")
    );
    let sasl = Request::SaslBind { mechanism: "GSSAPI", credentials: None };
    assert_eq!(
        sasl.write(MessageId(2), &[]).as_slice(),
        hex("30 14 02 01 02 60 0f 02 01 03 04 00 a3 08 04 06 47 53 53 41 50 49")
    );
    assert_eq!(
        Request::Abandon(MessageId(300)).write(MessageId(301), &[]).as_slice(),
        hex("30 08 02 02 01 2d 50 02 01 2c")
    );
    assert_eq!(Request::Unbind.write(MessageId(3), &[]).as_slice(), hex("30 05 02 01 03 42 00"));
}

#[test]
fn a_search_with_a_page_is_written_as_the_rfcs_say() {
    let search = Search {
        base: "dc=x".into(),
        scope: Scope::Subtree,
        filter: Filter::everything(),
        attributes: vec!["cn".into()],
        size_limit: 0,
        time_limit_seconds: 30,
    };
    let written = Request::Search(&search).write(MessageId(2), &[Control::paged(1000, b"")]);
    assert_eq!(
        written.as_slice(),
        hex("30 56 02 01 02 63 28 04 04 64 63 3d 78 0a 01 02 0a 01 00 02 01 00 02 01 1e 01 01 00
             87 0b 6f 62 6a 65 63 74 43 6c 61 73 73 30 04 04 02 63 6e
             a0 27 30 25 04 16 31 2e 32 2e 38 34 30 2e 31 31 33 35 35 36 2e 31 2e 34 2e 33 31 39
             01 01 ff 04 08 30 06 02 02 03 e8 04 00")
    );
}

/// Lengths of four octets everywhere, as Active Directory sends them.
#[test]
fn an_entry_is_read_with_its_options() {
    fn long(tag: u8, content: &[&[u8]]) -> Vec<u8> {
        let content = content.concat();
        let mut octets = vec![tag, 0x84];
        octets.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        octets.extend(content);
        octets
    }
    let member = long(0x30, &[&long(4, &[b"member;range=0-*"]), &long(0x31, &[&long(4, &[b"x"])])]);
    let entry = long(0x64, &[&long(4, &[b"cn=a"]), &long(0x30, &[&member])]);
    let octets = long(0x30, &[&[2, 1, 5], &entry]);
    let response = Response::parse(&octets).unwrap();
    let ResponseOperation::Entry(entry) = response.operation else { panic!("{response:?}") };
    assert_eq!((response.id, entry.dn.as_str()), (MessageId(5), "cn=a"));
    assert_eq!(entry.attributes, [("member;range=0-*".to_owned(), vec![b"x".to_vec()])]);
    assert_eq!(entry.text("MEMBER"), Some("x"));
    assert_eq!(entry.first("cn"), None);
}

fn done(code: i64, message: &str, controls: impl Fn(&mut Writer)) -> Vec<u8> {
    encoded(|w| {
        w.sequence(|body| {
            body.integer(9).constructed(Tag(0x65), |done| {
                done.enumerated(code).octets("").octets(message);
            });
            body.constructed(Tag(0xa0), |list| controls(list));
        });
    })
}

#[test]
fn the_end_of_a_page_carries_its_cookie() {
    let octets = done(0, "", |list| {
        list.sequence(|control| {
            control
                .octets("1.2.840.113556.1.4.319")
                .octets(hex("30 84 00 00 00 09 02 01 00 04 04 63 6f 6f 6b"));
        });
    });
    let response = Response::parse(&octets).unwrap();
    assert!(matches!(&response.operation, ResponseOperation::Done(outcome) if outcome.is_success()));
    assert_eq!(response.controls[0].as_page(), Some(Ok(Page { cookie: b"cook".to_vec() })));
    assert_eq!(response.controls[0].as_synced(), None);
}

#[test]
fn dirsync_says_whether_more_waits() {
    for (more, flag) in [("00", false), ("01", true)] {
        let control = Control {
            name: Control::DIRSYNC.to_owned(),
            is_critical: false,
            value: Some(hex(&format!("30 0b 02 01 {more} 02 01 00 04 03 6d 73 64"))),
        };
        assert_eq!(control.as_synced(), Some(Ok(Synced { has_more: flag, cookie: b"msd".to_vec() })));
    }
    let flags = DirSyncFlags::OBJECT_SECURITY.with(DirSyncFlags::INCREMENTAL_VALUES);
    let value = Control::dirsync(flags, 0, b"").value.unwrap();
    assert_eq!(value, hex("30 0b 02 04 80 00 00 01 02 01 00 04 00"));
}

#[test]
fn controls_with_wrong_values_are_refused() {
    let of = |name: &str, value: Option<&str>| Control {
        name: name.to_owned(),
        is_critical: false,
        value: value.map(hex),
    };
    for value in [None, Some(""), Some("30 03 02 01 00"), Some("04 00"), Some("30 06 04 01 00 04 01 61")] {
        assert!(matches!(of(Control::PAGED, value).as_page(), Some(Err(_))), "{value:?}");
        assert!(matches!(of(Control::DIRSYNC, value).as_synced(), Some(Err(_))), "{value:?}");
    }
    let huge = encoded(|w| {
        w.sequence(|body| {
            body.integer(0).octets(vec![0; COOKIE_OCTETS_MAX + 1]);
        });
    });
    let control = Control { name: Control::PAGED.to_owned(), is_critical: false, value: Some(huge) };
    assert!(matches!(control.as_page(), Some(Err(_))));
}

#[test]
fn a_notice_of_disconnection_is_read_in_both_forms() {
    let inside = encoded(|w| {
        w.sequence(|message| {
            message.integer(0).constructed(Tag(0x78), |body| {
                body.enumerated(52).octets("").octets("bye").element(Tag(0x8a), b"1.3.6.1.4.1.1466.20036");
            });
        });
    });
    let outside = encoded(|w| {
        w.sequence(|message| {
            message.integer(0).constructed(Tag(0x78), |body| {
                body.enumerated(52).octets("").octets("bye");
            });
            message.element(Tag(0x8a), b"1.3.6.1.4.1.1466.20036");
        });
    });
    for (octets, known) in [(inside, true), (outside, false)] {
        let response = Response::parse(&octets).unwrap();
        let ResponseOperation::Extended { result, name, .. } = response.operation else { panic!() };
        assert_eq!(
            (response.id, result.code, name.is_some()),
            (MessageId::UNSOLICITED, ResultCode::UNAVAILABLE, known)
        );
    }
}

#[test]
fn referrals_are_read_over() {
    let octets = encoded(|w| {
        w.sequence(|message| {
            message.integer(3).constructed(Tag(0x65), |body| {
                body.enumerated(10).octets("").octets("0000202B").constructed(Tag(0xa3), |uris| {
                    uris.octets("ldap://corp.example");
                });
            });
        });
    });
    let ResponseOperation::Done(outcome) = Response::parse(&octets).unwrap().operation else { panic!() };
    assert_eq!((outcome.code, outcome.message.as_str()), (ResultCode::REFERRAL, "0000202B"));
}

#[test]
fn responses_with_something_missing_are_refused() {
    let whole = done(0, "m", |_| {});
    assert!(Response::parse(&whole).is_ok());
    for length in 0..whole.len() {
        assert!(Response::parse(&whole[..length]).is_err(), "{length}");
    }
    // A request is no response, and an id has no sign.
    assert!(Response::parse(&Request::Unbind.write(MessageId(1), &[])).is_err());
    assert!(Response::parse(&hex("30 0c 02 01 ff 65 07 0a 01 00 04 00 04 00")).is_err());
}

#[test]
fn nesting_costs_no_stack() {
    let mut octets = Vec::new();
    for _ in 0..200_000 {
        let length = u32::try_from(octets.len()).unwrap().to_le_bytes();
        octets.extend(length);
        octets.extend([0x84, 0x30]);
    }
    octets.reverse();
    assert!(Response::parse(&octets).is_err());
}

#[test]
fn filters_are_written_as_the_rfc_says() {
    let filter = Filter::And(vec![
        Filter::equal("cn", "a"),
        Filter::Not(Box::new(Filter::Or(vec![Filter::present("cn"), Filter::at_least("n", "5")]))),
    ]);
    assert_eq!(filter.to_string(), "(&(cn=a)(!(|(cn=*)(n>=5))))");
    let written = encoded(|w| filter.write(w));
    assert_eq!(
        written,
        hex("a0 19 a3 07 04 02 63 6e 04 01 61 a2 0e a1 0c 87 02 63 6e a5 06 04 01 6e 04 01 35")
    );
}

#[test]
fn values_cannot_change_what_is_asked() {
    for (value, shown) in [
        (&b"x)(objectClass=*"[..], "(cn=x\\29\\28objectClass=\\2a)"),
        (b"Smith, Jr. \\ \0 \xc3\xa9", "(cn=Smith, Jr. \\5c \\00 é)"),
        (b"\xff\xfe", "(cn=\\ff\\fe)"),
    ] {
        let filter = Filter::equal("cn", value);
        assert_eq!(filter.to_string(), shown);
        let written = encoded(|w| filter.write(w));
        let mut parts = Reader::new(&written).within(Tag(0xa3)).unwrap();
        assert_eq!((parts.octets(), parts.octets(), parts.is_empty()), (Ok(&b"cn"[..]), Ok(value), true));
    }
}
