//! Searches as conversations with a DNS table and peers that accept, refuse or hang, under a virtual clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use node::{
    Anchors, Answers, ConnectError, ConnectToken, ConnectionId, Expected, Flow, Instant, Listener,
    ListenerId, Naptr, Peer, PeerCertificate, PeerIdentity, Question, ResolveError, ResolveToken, Side, Srv,
    Transport, UnixMillis,
};
use proptest::prelude::*;
use sip_message::Uri;

use super::{HopEvent, HopOutput, Hops, PeerHop, Place, SearchId};

struct World {
    hops: Hops,
    now: Instant,
    dns: BTreeMap<Question, Answers>,
    dns_broken: BTreeSet<Question>,
    dns_silent: bool,
    refusing: BTreeSet<SocketAddr>,
    hanging: BTreeSet<SocketAddr>,
    held: Vec<(ConnectToken, node::ConnectTarget)>,
    asked: Vec<(ResolveToken, Question)>,
    last_connection: u64,
    log: String,
}

fn listener(transport: Transport, address: &str) -> Listener {
    Listener {
        transport,
        address: address.parse().unwrap(),
        advertised_host: format!("{}.here", transport.name()),
        side: Side::Inside,
    }
}

fn certificate(names: &[&str]) -> PeerIdentity {
    let names: Vec<String> = names.iter().map(|d| d.to_string()).collect();
    PeerIdentity::Certificate(Arc::new(PeerCertificate {
        sip_domains: names.clone(),
        dns_names: names,
        ip_addresses: Vec::new(),
        sha256: [0; 32],
        not_after: UnixMillis(0),
        trusted_by: vec![Anchors::Servers],
        distrust: String::new(),
    }))
}

fn all_listeners() -> Vec<Listener> {
    vec![
        listener(Transport::Udp, "192.0.2.200:5060"),
        listener(Transport::Udp, "[2001:db8::200]:5060"),
        listener(Transport::Tcp, "192.0.2.200:5060"),
        listener(Transport::Tcp, "[2001:db8::200]:5060"),
        listener(Transport::Tls, "192.0.2.200:5061"),
        listener(Transport::Wss, "192.0.2.200:443"),
    ]
}

impl World {
    fn new() -> World {
        World::with(&all_listeners())
    }

    fn with(listeners: &[Listener]) -> World {
        World {
            hops: Hops::new(listeners, [7; 32]),
            now: Instant(0),
            dns: BTreeMap::new(),
            dns_broken: BTreeSet::new(),
            dns_silent: false,
            refusing: BTreeSet::new(),
            hanging: BTreeSet::new(),
            held: Vec::new(),
            asked: Vec::new(),
            last_connection: 0,
            log: String::new(),
        }
    }

    /// Lines of `NAPTR name order preference flags service replacement`, `SRV name priority weight port target`,
    /// `A name address`, `BROKEN type name`.
    fn zone(mut self, text: &str) -> World {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let name = words[1].to_owned();
            match words[0] {
                "NAPTR" => {
                    let record = Naptr {
                        order: words[2].parse().unwrap(),
                        preference: words[3].parse().unwrap(),
                        flags: words[4].to_owned(),
                        service: words[5].to_owned(),
                        replacement: words[6].to_owned(),
                    };
                    let entry = self.dns.entry(Question::Naptr(name)).or_insert(Answers::Naptr(Vec::new()));
                    let Answers::Naptr(records) = entry else { unreachable!() };
                    records.push(record);
                }
                "SRV" => {
                    let record = Srv {
                        priority: words[2].parse().unwrap(),
                        weight: words[3].parse().unwrap(),
                        port: words[4].parse().unwrap(),
                        target: words[5].to_owned(),
                    };
                    let entry = self.dns.entry(Question::Srv(name)).or_insert(Answers::Srv(Vec::new()));
                    let Answers::Srv(records) = entry else { unreachable!() };
                    records.push(record);
                }
                "A" => {
                    let entry =
                        self.dns.entry(Question::Addresses(name)).or_insert(Answers::Addresses(Vec::new()));
                    let Answers::Addresses(ips) = entry else { unreachable!() };
                    ips.push(words[2].parse().unwrap());
                }
                "BROKEN" => {
                    let name = words[2].to_owned();
                    self.dns_broken.insert(match words[1] {
                        "NAPTR" => Question::Naptr(name),
                        "SRV" => Question::Srv(name),
                        _ => Question::Addresses(name),
                    });
                }
                other => panic!("{other} is no record"),
            }
        }
        self
    }

    fn refusing(mut self, addresses: &[&str]) -> World {
        self.refusing.extend(addresses.iter().map(|a| a.parse::<SocketAddr>().unwrap()));
        self
    }

    fn hanging(mut self, addresses: &[&str]) -> World {
        self.hanging.extend(addresses.iter().map(|a| a.parse::<SocketAddr>().unwrap()));
        self
    }

    fn find(&mut self, search: u64, uri: &str) -> &mut World {
        writeln!(self.log, "{search} find {uri}").unwrap();
        self.hops.find(self.now, SearchId(search), &Uri::parse(uri).unwrap());
        self.drain();
        self
    }

    fn find_peer(&mut self, search: u64, place: Place, name: &str) -> &mut World {
        writeln!(self.log, "{search} find server {name}").unwrap();
        let peer = PeerHop { side: Side::Inside, place, expected: Expected::host(name) };
        self.hops.find_peer(self.now, SearchId(search), &Arc::new(peer));
        self.drain();
        self
    }

    fn failed(&mut self, search: u64) -> &mut World {
        writeln!(self.log, "{search} failed").unwrap();
        self.hops.find_next(self.now, SearchId(search));
        self.drain();
        self
    }

    fn pass(&mut self, seconds: u64) -> &mut World {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.hops.next_deadline().filter(|due| *due <= end) {
            self.now = due;
            self.hops.handle_timer(due);
            let before = self.log.len();
            self.drain();
            if self.log.len() > before {
                self.log.insert_str(before, &format!("- at {} s\n", due.0 / 1_000_000));
            }
        }
        self.now = end;
        self
    }

    fn accept(
        &mut self,
        transport: Transport,
        listener: u16,
        remote: &str,
        domains: &[&str],
    ) -> ConnectionId {
        self.last_connection += 1;
        let connection = ConnectionId(self.last_connection);
        let identity = match domains {
            [] => PeerIdentity::Anonymous,
            _ => certificate(domains),
        };
        let peer = Peer {
            transport,
            listener: Some(ListenerId(listener)),
            local: "192.0.2.200:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
            side: Side::Inside,
            identity,
        };
        writeln!(self.log, "- {} from {remote} is connection {}", transport.name(), connection.0).unwrap();
        self.hops.handle_connected(self.now, connection, &peer, None);
        connection
    }

    fn close(&mut self, connection: u64) -> &mut World {
        writeln!(self.log, "- connection {connection} closed").unwrap();
        self.hops.handle_closed(ConnectionId(connection));
        self.drain();
        self
    }

    fn open_held(&mut self) -> &mut World {
        for (token, target) in std::mem::take(&mut self.held) {
            self.opened(token, &target);
        }
        self.drain();
        self
    }

    fn opened(&mut self, token: ConnectToken, target: &node::ConnectTarget) {
        self.last_connection += 1;
        let connection = ConnectionId(self.last_connection);
        let peer = Peer {
            transport: target.transport,
            listener: None,
            local: "192.0.2.200:49152".parse().unwrap(),
            remote: target.address,
            side: target.side,
            identity: PeerIdentity::Anonymous,
        };
        writeln!(self.log, "  up: connection {}", connection.0).unwrap();
        self.hops.handle_connected(self.now, connection, &peer, Some(token));
    }

    fn drain(&mut self) {
        loop {
            while let Some(HopEvent { search, result }) = self.hops.poll_event() {
                let shown = match result {
                    Ok(reached) => {
                        let (transport, remote) = self.hops.flow_facts(reached.flow).unwrap();
                        assert_eq!(transport, reached.transport);
                        let way = match reached.flow {
                            Flow::Connection(connection) => format!("connection {}", connection.0),
                            Flow::Datagram { listener, .. } => format!("listener {}", listener.0),
                        };
                        let sent_by = self.hops.sent_by(reached.flow).unwrap();
                        format!("{} {remote} by {way}, sent-by {sent_by}", transport.name())
                    }
                    Err(error) => format!("{error}"),
                };
                writeln!(self.log, "{} = {shown}", search.0).unwrap();
            }
            match self.hops.poll_output() {
                None => break,
                Some(HopOutput::Resolve(token, question)) => {
                    writeln!(self.log, "  dns {question:?}").unwrap();
                    if self.dns_silent {
                        self.asked.push((token, question));
                        continue;
                    }
                    let answer = if self.dns_broken.contains(&question) {
                        Err(ResolveError::Failed)
                    } else {
                        self.dns.get(&question).cloned().ok_or(ResolveError::NotFound)
                    };
                    self.hops.handle_resolved(self.now, token, answer);
                }
                Some(HopOutput::Connect(token, target)) => {
                    let name = target
                        .expected
                        .as_ref()
                        .map(|e| format!(" as {}", e.server_name))
                        .unwrap_or_default();
                    writeln!(self.log, "  connect {} {}{name}", target.transport.name(), target.address)
                        .unwrap();
                    if self.hanging.contains(&target.address) {
                        self.held.push((token, target));
                    } else if self.refusing.contains(&target.address) {
                        writeln!(self.log, "  refused").unwrap();
                        let error = ConnectError::Unreachable("refused".to_owned());
                        self.hops.handle_connect_failed(self.now, token, &error);
                    } else {
                        self.opened(token, &target);
                    }
                }
            }
        }
    }

    fn check(&self, expected: Expect) {
        expected.assert_eq(&self.log);
    }
}

#[test]
fn numeric_hosts_need_no_dns() {
    let mut w = World::new();
    w.find(1, "sip:192.0.2.1").find(2, "sip:192.0.2.1:5070").find(3, "sip:[2001:db8::1];transport=udp");
    w.find(4, "sip:192.0.2.1;transport=TCP")
        .find(5, "sips:192.0.2.1")
        .find(6, "sips:192.0.2.1;transport=tcp");
    w.find(7, "sip:192.0.2.1:5060;transport=tls").find(8, "sip:[::ffff:192.0.2.9]");
    w.check(expect![[r#"
        1 find sip:192.0.2.1
        1 = udp 192.0.2.1:5060 by listener 0, sent-by udp.here:5060
        2 find sip:192.0.2.1:5070
        2 = udp 192.0.2.1:5070 by listener 0, sent-by udp.here:5060
        3 find sip:[2001:db8::1];transport=udp
        3 = udp [2001:db8::1]:5060 by listener 1, sent-by udp.here:5060
        4 find sip:192.0.2.1;transport=TCP
          connect tcp 192.0.2.1:5060
          up: connection 1
        4 = tcp 192.0.2.1:5060 by connection 1, sent-by tcp.here:5060
        5 find sips:192.0.2.1
          connect tls 192.0.2.1:5061 as 192.0.2.1
          up: connection 2
        5 = tls 192.0.2.1:5061 by connection 2, sent-by tls.here:5061
        6 find sips:192.0.2.1;transport=tcp
        6 = tls 192.0.2.1:5061 by connection 2, sent-by tls.here:5061
        7 find sip:192.0.2.1:5060;transport=tls
          connect tls 192.0.2.1:5060 as 192.0.2.1
          up: connection 3
        7 = tls 192.0.2.1:5060 by connection 3, sent-by tls.here:5061
        8 find sip:[::ffff:192.0.2.9]
        8 = udp 192.0.2.9:5060 by listener 0, sent-by udp.here:5060
    "#]]);
}

#[test]
fn naptr_chooses_the_transport() {
    let zone = "
        NAPTR example.com 20 50 s SIP+D2U _sip._udp.example.com
        NAPTR example.com 10 60 S sip+d2t _sip._tcp.Example.Com.
        NAPTR example.com 10 50 s SIPS+D2T _sips._tcp.elsewhere.net
        NAPTR example.com 10 10 s SIP+D2W _sip._ws.example.com
        NAPTR example.com 10 10 u SIP+D2U _sip._wrong.example.com
        SRV _sips._tcp.elsewhere.net 1 0 5071 one.elsewhere.net
        A one.elsewhere.net 192.0.2.1
        SRV _sip._tcp.example.com 1 0 5070 two.example.com
        A two.example.com 192.0.2.2
        SRV _sip._udp.example.com 1 0 5080 three.example.com
        A three.example.com 192.0.2.3";
    let mut w = World::new().zone(zone).refusing(&["192.0.2.1:5071", "192.0.2.2:5070"]);
    w.find(1, "sip:EXAMPLE.com.").find(2, "sips:alice@example.com");
    w.check(expect![[r#"
        1 find sip:EXAMPLE.com.
          dns Naptr("example.com")
          dns Srv("_sips._tcp.elsewhere.net")
          dns Addresses("one.elsewhere.net")
          connect tls 192.0.2.1:5071 as example.com
          refused
          dns Srv("_sip._tcp.example.com")
          dns Addresses("two.example.com")
          connect tcp 192.0.2.2:5070
          refused
          dns Srv("_sip._udp.example.com")
          dns Addresses("three.example.com")
        1 = udp 192.0.2.3:5080 by listener 0, sent-by udp.here:5060
        2 find sips:alice@example.com
          dns Naptr("example.com")
          dns Srv("_sips._tcp.elsewhere.net")
          dns Addresses("one.elsewhere.net")
          connect tls 192.0.2.1:5071 as example.com
          refused
        2 = example.com cannot be reached
    "#]]);
}

#[test]
fn without_naptr_srv_is_asked_and_without_srv_addresses() {
    let mut w = World::new().zone(
        "SRV _sip._udp.example.com 1 0 5070 a.example.com
         A a.example.com 192.0.2.1
         A bare.example.com 2001:db8::7
         BROKEN NAPTR bare.example.com",
    );
    w.find(1, "sip:example.com").find(2, "sip:bare.example.com").find(3, "sip:none.example.com");
    w.find(4, "sip:bare.example.com;transport=tcp").find(5, "sip:bare.example.com:5099");
    w.check(expect![[r#"
        1 find sip:example.com
          dns Naptr("example.com")
          dns Srv("_sips._tcp.example.com")
          dns Srv("_sip._tcp.example.com")
          dns Srv("_sip._udp.example.com")
          dns Addresses("a.example.com")
        1 = udp 192.0.2.1:5070 by listener 0, sent-by udp.here:5060
        2 find sip:bare.example.com
          dns Naptr("bare.example.com")
          dns Srv("_sips._tcp.bare.example.com")
          dns Srv("_sip._tcp.bare.example.com")
          dns Srv("_sip._udp.bare.example.com")
          dns Addresses("bare.example.com")
        2 = udp [2001:db8::7]:5060 by listener 1, sent-by udp.here:5060
        3 find sip:none.example.com
          dns Naptr("none.example.com")
          dns Srv("_sips._tcp.none.example.com")
          dns Srv("_sip._tcp.none.example.com")
          dns Srv("_sip._udp.none.example.com")
          dns Addresses("none.example.com")
        3 = none.example.com does not exist
        4 find sip:bare.example.com;transport=tcp
          dns Srv("_sip._tcp.bare.example.com")
          dns Addresses("bare.example.com")
          connect tcp [2001:db8::7]:5060
          up: connection 1
        4 = tcp [2001:db8::7]:5060 by connection 1, sent-by tcp.here:5060
        5 find sip:bare.example.com:5099
          dns Addresses("bare.example.com")
        5 = udp [2001:db8::7]:5099 by listener 1, sent-by udp.here:5060
    "#]]);
}

#[test]
fn srv_fails_over_by_priority_and_through_all_addresses() {
    let zone = "
        SRV _sip._tcp.example.com 20 0 5060 backup.example.com
        SRV _sip._tcp.example.com 10 0 5060 main.example.com
        A main.example.com 2001:db8::1
        A main.example.com 192.0.2.1
        A backup.example.com 192.0.2.2";
    let mut w = World::new().zone(zone).refusing(&["[2001:db8::1]:5060"]);
    w.find(1, "sip:example.com;transport=tcp").failed(1).failed(1).failed(1);
    w.check(expect![[r#"
        1 find sip:example.com;transport=tcp
          dns Srv("_sip._tcp.example.com")
          dns Addresses("main.example.com")
          connect tcp [2001:db8::1]:5060
          refused
          connect tcp 192.0.2.1:5060
          up: connection 1
        1 = tcp 192.0.2.1:5060 by connection 1, sent-by tcp.here:5060
        1 failed
          dns Addresses("backup.example.com")
          connect tcp 192.0.2.2:5060
          up: connection 2
        1 = tcp 192.0.2.2:5060 by connection 2, sent-by tcp.here:5060
        1 failed
        1 = example.com cannot be reached
        1 failed
        1 = the target of an ended search cannot be reached
    "#]]);
}

#[test]
fn failed_candidates_come_last_until_their_mark_expires() {
    let zone = "
        SRV _sip._udp.example.com 10 0 5060 main.example.com
        SRV _sip._udp.example.com 20 0 5060 backup.example.com
        A main.example.com 192.0.2.1
        A backup.example.com 192.0.2.2";
    let mut w = World::new().zone(zone);
    w.find(1, "sip:example.com;transport=udp").failed(1).pass(31);
    w.find(2, "sip:example.com;transport=udp").failed(2).failed(2).pass(1);
    w.find(3, "sip:example.com;transport=udp").find(4, "sip:192.0.2.2").pass(32);
    assert_eq!(w.hops.next_deadline(), None);
    w.check(expect![[r#"
        1 find sip:example.com;transport=udp
          dns Srv("_sip._udp.example.com")
          dns Addresses("main.example.com")
        1 = udp 192.0.2.1:5060 by listener 0, sent-by udp.here:5060
        1 failed
          dns Addresses("backup.example.com")
        1 = udp 192.0.2.2:5060 by listener 0, sent-by udp.here:5060
        2 find sip:example.com;transport=udp
          dns Srv("_sip._udp.example.com")
          dns Addresses("main.example.com")
          dns Addresses("backup.example.com")
        2 = udp 192.0.2.2:5060 by listener 0, sent-by udp.here:5060
        2 failed
        2 = udp 192.0.2.1:5060 by listener 0, sent-by udp.here:5060
        2 failed
        2 = example.com cannot be reached
        3 find sip:example.com;transport=udp
          dns Srv("_sip._udp.example.com")
          dns Addresses("main.example.com")
          dns Addresses("backup.example.com")
        3 = udp 192.0.2.1:5060 by listener 0, sent-by udp.here:5060
        4 find sip:192.0.2.2
        4 = udp 192.0.2.2:5060 by listener 0, sent-by udp.here:5060
    "#]]);
}

#[test]
fn dns_trouble_is_not_absence() {
    let mut w = World::new()
        .zone("BROKEN SRV _sip._udp.example.com\nA example.com 192.0.2.1\nBROKEN A host.example.com");
    w.find(1, "sip:example.com;transport=udp")
        .find(2, "sip:host.example.com:5060")
        .find(3, "sip:nobody.example.com:5060");
    w.check(expect![[r#"
        1 find sip:example.com;transport=udp
          dns Srv("_sip._udp.example.com")
        1 = example.com cannot be reached
        2 find sip:host.example.com:5060
          dns Addresses("host.example.com")
        2 = host.example.com cannot be reached
        3 find sip:nobody.example.com:5060
          dns Addresses("nobody.example.com")
        3 = nobody.example.com does not exist
    "#]]);
}

#[test]
fn a_root_target_says_that_the_service_is_not_there() {
    let mut w = World::new().zone("SRV _sip._udp.example.com 0 0 0 .\nA example.com 192.0.2.1");
    w.find(1, "sip:example.com;transport=udp");
    w.check(expect![[r#"
        1 find sip:example.com;transport=udp
          dns Srv("_sip._udp.example.com")
        1 = example.com does not exist
    "#]]);
}

#[test]
fn weights_are_drawn_in_proportion_and_by_seed() {
    let zone = "
        SRV _sip._udp.example.com 1 70 5060 a.example.com
        SRV _sip._udp.example.com 1 20 5060 b.example.com
        SRV _sip._udp.example.com 1 10 5060 c.example.com
        SRV _sip._udp.example.com 1 0 5060 d.example.com
        A a.example.com 192.0.2.1
        A b.example.com 192.0.2.2
        A c.example.com 192.0.2.3
        A d.example.com 192.0.2.4";
    let run = || {
        let mut w = World::new().zone(zone);
        let mut first = BTreeMap::<SocketAddr, u32>::new();
        for search in 0..1000 {
            w.hops.find(w.now, SearchId(search), &Uri::parse("sip:example.com;transport=udp").unwrap());
            while let Some(HopOutput::Resolve(token, question)) = w.hops.poll_output() {
                w.hops.handle_resolved(w.now, token, Ok(w.dns[&question].clone()));
            }
            let Some(HopEvent { result: Ok(reached), .. }) = w.hops.poll_event() else { panic!("no hop") };
            *first.entry(w.hops.flow_facts(reached.flow).unwrap().1).or_default() += 1;
            w.hops.end(SearchId(search));
        }
        first
    };
    let first = run();
    assert_eq!(first, run(), "the same seed draws the same");
    expect![[r#"
        {
            192.0.2.1:5060: 693,
            192.0.2.2:5060: 202,
            192.0.2.3:5060: 96,
            192.0.2.4:5060: 9,
        }
    "#]]
    .assert_debug_eq(&first);
}

#[test]
fn searches_for_one_target_share_questions_and_connection() {
    let mut w = World::new().zone("A a.example.com 192.0.2.1").hanging(&["192.0.2.1:5060"]);
    w.dns_silent = true;
    w.find(1, "sip:a.example.com:5060;transport=tcp").find(2, "sip:A.example.com:5060;transport=tcp");
    w.dns_silent = false;
    for (token, question) in std::mem::take(&mut w.asked) {
        w.hops.handle_resolved(w.now, token, Ok(w.dns[&question].clone()));
    }
    w.drain();
    w.find(3, "sip:192.0.2.1;transport=tcp");
    w.hops.end(SearchId(2));
    w.open_held().find(4, "sip:192.0.2.1;transport=tcp");
    assert_eq!(w.hops.connections(), 1);
    w.check(expect![[r#"
        1 find sip:a.example.com:5060;transport=tcp
          dns Addresses("a.example.com")
        2 find sip:A.example.com:5060;transport=tcp
          connect tcp 192.0.2.1:5060
        3 find sip:192.0.2.1;transport=tcp
          up: connection 1
        1 = tcp 192.0.2.1:5060 by connection 1, sent-by tcp.here:5060
        3 = tcp 192.0.2.1:5060 by connection 1, sent-by tcp.here:5060
        4 find sip:192.0.2.1;transport=tcp
        4 = tcp 192.0.2.1:5060 by connection 1, sent-by tcp.here:5060
    "#]]);
}

#[test]
fn tls_is_shared_only_under_the_same_name() {
    let mut w = World::new().zone("A a.example.com 192.0.2.1\nA b.example.com 192.0.2.1");
    w.find(1, "sips:x@a.example.com:5061")
        .find(2, "sips:x@b.example.com:5061")
        .find(3, "sips:y@A.example.com:5061");
    w.find(4, "sips:192.0.2.1");
    w.check(expect![[r#"
        1 find sips:x@a.example.com:5061
          dns Addresses("a.example.com")
          connect tls 192.0.2.1:5061 as a.example.com
          up: connection 1
        1 = tls 192.0.2.1:5061 by connection 1, sent-by tls.here:5061
        2 find sips:x@b.example.com:5061
          dns Addresses("b.example.com")
          connect tls 192.0.2.1:5061 as b.example.com
          up: connection 2
        2 = tls 192.0.2.1:5061 by connection 2, sent-by tls.here:5061
        3 find sips:y@A.example.com:5061
          dns Addresses("a.example.com")
        3 = tls 192.0.2.1:5061 by connection 1, sent-by tls.here:5061
        4 find sips:192.0.2.1
          connect tls 192.0.2.1:5061 as 192.0.2.1
          up: connection 3
        4 = tls 192.0.2.1:5061 by connection 3, sent-by tls.here:5061
    "#]]);
}

#[test]
fn accepted_connections_are_reused_for_exactly_their_address() {
    let mut w = World::new().zone("A a.example.com 192.0.2.2");
    w.accept(Transport::Tcp, 2, "192.0.2.1:49000", &[]);
    w.accept(Transport::Tcp, 3, "[::ffff:192.0.2.9]:49000", &[]);
    w.accept(Transport::Tls, 4, "192.0.2.2:5061", &["a.example.com"]);
    w.accept(Transport::Tls, 4, "192.0.2.3:5061", &[]);
    w.find(1, "sip:192.0.2.1:49000;transport=tcp").find(2, "sip:192.0.2.1;transport=tcp");
    w.find(3, "sip:192.0.2.9:49000;transport=tcp")
        .find(4, "sips:a.example.com:5061")
        .find(5, "sips:192.0.2.3");
    w.check(expect![[r#"
        - tcp from 192.0.2.1:49000 is connection 1
        - tcp from [::ffff:192.0.2.9]:49000 is connection 2
        - tls from 192.0.2.2:5061 is connection 3
        - tls from 192.0.2.3:5061 is connection 4
        1 find sip:192.0.2.1:49000;transport=tcp
        1 = tcp 192.0.2.1:49000 by connection 1, sent-by tcp.here:5060
        2 find sip:192.0.2.1;transport=tcp
          connect tcp 192.0.2.1:5060
          up: connection 5
        2 = tcp 192.0.2.1:5060 by connection 5, sent-by tcp.here:5060
        3 find sip:192.0.2.9:49000;transport=tcp
        3 = tcp [::ffff:192.0.2.9]:49000 by connection 2, sent-by tcp.here:5060
        4 find sips:a.example.com:5061
          dns Addresses("a.example.com")
        4 = tls 192.0.2.2:5061 by connection 3, sent-by tls.here:5061
        5 find sips:192.0.2.3
          connect tls 192.0.2.3:5061 as 192.0.2.3
          up: connection 6
        5 = tls 192.0.2.3:5061 by connection 6, sent-by tls.here:5061
    "#]]);
}

#[test]
fn a_stale_connection_is_replaced_before_its_address_is_blamed() {
    let mut w = World::new();
    w.find(1, "sip:192.0.2.1;transport=tcp")
        .find(2, "sip:192.0.2.1;transport=tcp")
        .close(1)
        .failed(2)
        .failed(2)
        .failed(1);
    w.check(expect![[r#"
        1 find sip:192.0.2.1;transport=tcp
          connect tcp 192.0.2.1:5060
          up: connection 1
        1 = tcp 192.0.2.1:5060 by connection 1, sent-by tcp.here:5060
        2 find sip:192.0.2.1;transport=tcp
        2 = tcp 192.0.2.1:5060 by connection 1, sent-by tcp.here:5060
        - connection 1 closed
        2 failed
          connect tcp 192.0.2.1:5060
          up: connection 2
        2 = tcp 192.0.2.1:5060 by connection 2, sent-by tcp.here:5060
        2 failed
        2 = 192.0.2.1 cannot be reached
        1 failed
        1 = 192.0.2.1 cannot be reached
    "#]]);
}

#[test]
fn a_peer_that_hangs_costs_five_seconds_where_there_is_another() {
    let zone = "
        A two.example.com 192.0.2.1
        A two.example.com 192.0.2.2
        A one.example.com 192.0.2.3";
    let mut w = World::new().zone(zone).hanging(&["192.0.2.1:5060", "192.0.2.3:5060"]);
    w.find(1, "sip:two.example.com:5060;transport=tcp")
        .find(2, "sip:one.example.com:5060;transport=tcp")
        .pass(40);
    assert_eq!(w.hops.next_deadline(), Some(Instant(64_000_000)), "the mark of the second host");
    w.open_held().find(3, "sip:192.0.2.1;transport=tcp");
    w.check(expect![[r#"
        1 find sip:two.example.com:5060;transport=tcp
          dns Addresses("two.example.com")
          connect tcp 192.0.2.1:5060
        2 find sip:one.example.com:5060;transport=tcp
          dns Addresses("one.example.com")
          connect tcp 192.0.2.3:5060
        - at 5 s
          connect tcp 192.0.2.2:5060
          up: connection 1
        1 = tcp 192.0.2.2:5060 by connection 1, sent-by tcp.here:5060
        - at 32 s
        2 = one.example.com cannot be reached
          up: connection 2
          up: connection 3
        3 find sip:192.0.2.1;transport=tcp
        3 = tcp 192.0.2.1:5060 by connection 2, sent-by tcp.here:5060
    "#]]);
}

#[test]
fn silent_dns_ends_a_search() {
    let mut w = World::new();
    w.dns_silent = true;
    w.find(1, "sip:example.com").pass(40);
    let (token, _) = w.asked[0].clone();
    w.hops.handle_resolved(w.now, token, Err(ResolveError::NotFound));
    w.drain();
    w.check(expect![[r#"
        1 find sip:example.com
          dns Naptr("example.com")
        - at 32 s
        1 = example.com cannot be reached
    "#]]);
}

#[test]
fn unsupported_wishes_are_refused() {
    let mut w = World::new();
    for (search, uri) in [
        "sip:192.0.2.1;transport=sctp",
        "sip:192.0.2.1;transport=ws",
        "sips:192.0.2.1;transport=udp",
        "sip:192.0.2.1;transport",
        "tel:+15551234",
        "mailto:a@example.com",
        "sips:[2001:db8::1]",
    ]
    .into_iter()
    .enumerate()
    {
        w.find(search as u64, uri);
    }
    let mut datagrams_only = World::with(&[listener(Transport::Udp, "192.0.2.200:5060")]);
    datagrams_only
        .find(10, "sips:192.0.2.1")
        .find(11, "sip:192.0.2.1;transport=tcp")
        .find(12, "sip:[2001:db8::1]");
    w.log.push_str(&datagrams_only.log);
    w.check(expect![[r#"
        0 find sip:192.0.2.1;transport=sctp
        0 = the URI asks for a transport that we do not have
        1 find sip:192.0.2.1;transport=ws
        1 = a WebSocket client is reached through its own connection only
        2 find sips:192.0.2.1;transport=udp
        2 = sips never goes over UDP
        3 find sip:192.0.2.1;transport
        3 = the URI asks for a transport that we do not have
        4 find tel:+15551234
        4 = only sip and sips URIs have a next hop
        5 find mailto:a@example.com
        5 = only sip and sips URIs have a next hop
        6 find sips:[2001:db8::1]
        6 = no listener has the transport and family of the address
        10 find sips:192.0.2.1
        10 = no listener speaks a transport that fits the URI
        11 find sip:192.0.2.1;transport=tcp
        11 = no listener speaks the transport that the URI asks for
        12 find sip:[2001:db8::1]
        12 = no listener has the transport and family of the address
    "#]]);
}

#[test]
fn special_addresses_are_refused_in_every_spelling() {
    let hosts = [
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[0:0:0:0:0:0:0:0]",
        "[::0.0.0.0]",
        "[::127.0.0.1]",
        "[::ffff:0.0.0.0]",
        "[::ffff:224.0.0.1]",
        "[::FFFF:ffff:ffff]",
        "[64:ff9b::e000:1]",
        "[ff02::1]",
        "[ff0e::1]",
    ];
    for transport in ["udp", "tcp"] {
        for host in hosts {
            let uri = format!("sip:x@{host};transport={transport}");
            let mut w = World::new();
            w.find(1, &uri);
            assert!(w.log.ends_with("= the address is no single peer's\n"), "{}", w.log);
        }
    }
    // Names that some resolvers would read as addresses never reach one.
    for host in ["0", "1", "0x7f.1", "127.1", "2130706433", "example.0x7f", "a..b", "1.2.3.4.5"] {
        let uri = format!("sip:x@{host}");
        if let Ok(uri) = Uri::parse(&uri) {
            let mut w = World::new();
            w.hops.find(w.now, SearchId(1), &uri);
            w.drain();
            assert_eq!(w.log, "1 = the host is no name that DNS could know\n", "{host}");
        }
    }
    // What DNS says is judged like what a URI says.
    let mut w = World::new().zone(
        "A evil.example.com 0.0.0.0
         A evil.example.com ::
         A evil.example.com ::ffff:255.255.255.255
         SRV _sip._udp.zero.example.com 0 0 0 a.example.com
         A a.example.com 192.0.2.1
         A mixed.example.com ff02::1
         A mixed.example.com 192.0.2.1
         SRV _sip._udp.sly.example.com 0 0 5060 0x7f000001",
    );
    w.find(1, "sip:evil.example.com:5060").find(2, "sip:zero.example.com;transport=udp");
    w.find(3, "sip:mixed.example.com:5060").find(4, "sip:sly.example.com;transport=udp");
    if let Ok(zero) = Uri::parse("sip:192.0.2.1:0") {
        w.hops.find(w.now, SearchId(5), &zero);
        w.drain();
    }
    w.check(expect![[r#"
        1 find sip:evil.example.com:5060
          dns Addresses("evil.example.com")
        1 = the address is no single peer's
        2 find sip:zero.example.com;transport=udp
          dns Srv("_sip._udp.zero.example.com")
        2 = port 0 is no destination
        3 find sip:mixed.example.com:5060
          dns Addresses("mixed.example.com")
        3 = udp 192.0.2.1:5060 by listener 0, sent-by udp.here:5060
        4 find sip:sly.example.com;transport=udp
          dns Srv("_sip._udp.sly.example.com")
        4 = sly.example.com does not exist
        5 = port 0 is no destination
    "#]]);
}

#[test]
fn our_own_listeners_are_peers_like_others() {
    let mut w = World::new();
    w.find(1, "sip:192.0.2.200:5060").find(2, "sip:127.0.0.1").find(3, "sip:[::1]");
    w.check(expect![[r#"
        1 find sip:192.0.2.200:5060
        1 = udp 192.0.2.200:5060 by listener 0, sent-by udp.here:5060
        2 find sip:127.0.0.1
        2 = udp 127.0.0.1:5060 by listener 0, sent-by udp.here:5060
        3 find sip:[::1]
        3 = udp [::1]:5060 by listener 1, sent-by udp.here:5060
    "#]]);
}

#[test]
fn maddr_is_not_followed() {
    let mut w = World::new();
    w.find(1, "sip:192.0.2.1;maddr=192.0.2.66");
    w.check(expect![[r#"
        1 find sip:192.0.2.1;maddr=192.0.2.66
        1 = udp 192.0.2.1:5060 by listener 0, sent-by udp.here:5060
    "#]]);
}

#[test]
fn candidates_and_lookups_are_bounded() {
    let mut w = World::new();
    let ips = (1..=40).map(|n| format!("A many.example.com 192.0.2.{n}\n")).collect::<String>();
    w = w.zone(&ips);
    w.find(1, "sip:many.example.com:5060");
    for _ in 1..super::CANDIDATES_MAX {
        w.log.clear();
        w.failed(1);
        assert!(w.log.contains(" = udp "), "{}", w.log);
    }
    w.log.clear();
    w.failed(1);
    w.check(expect![[r#"
        1 failed
        1 = many.example.com cannot be reached
    "#]]);

    let srv = (1..=200)
        .map(|n| format!("SRV _sip._udp.wide.example.com 1 1 5060 h{n}.example.com\n"))
        .collect::<String>();
    let mut w = World::new().zone(&srv);
    w.find(1, "sip:wide.example.com;transport=udp");
    assert_eq!(w.log.matches("  dns Addresses").count(), super::CANDIDATES_MAX);
}

#[test]
fn pending_searches_are_bounded_but_known_addresses_go_on() {
    let mut w = World::new();
    w.dns_silent = true;
    for search in 0..super::SEARCHES_PENDING_MAX as u64 {
        let uri = format!("sip:h{search}.example.com");
        w.hops.find(w.now, SearchId(search), &Uri::parse(&uri).unwrap());
    }
    w.drain();
    w.log.clear();
    w.find(9001, "sip:late.example.com")
        .find(9002, "sip:192.0.2.1")
        .find(9003, "sip:192.0.2.1;transport=tcp");
    w.hops.end(SearchId(0));
    w.find(9004, "sip:192.0.2.1;transport=tcp");
    w.check(expect![[r#"
        9001 find sip:late.example.com
        9001 = late.example.com cannot be reached
        9002 find sip:192.0.2.1
        9002 = udp 192.0.2.1:5060 by listener 0, sent-by udp.here:5060
        9003 find sip:192.0.2.1;transport=tcp
        9003 = 192.0.2.1 cannot be reached
        9004 find sip:192.0.2.1;transport=tcp
          connect tcp 192.0.2.1:5060
          up: connection 1
        9004 = tcp 192.0.2.1:5060 by connection 1, sent-by tcp.here:5060
    "#]]);
}

#[test]
fn marks_are_bounded() {
    let mut w = World::new();
    for n in 0..3 * super::MARKS_MAX as u64 {
        let uri = format!("sip:10.0.{}.{}", n / 256, n % 256);
        w.hops.find(w.now, SearchId(n), &Uri::parse(&uri).unwrap());
        w.hops.find_next(w.now, SearchId(n));
        w.now.0 += 1;
    }
    assert_eq!(w.hops.marks.len(), super::MARKS_MAX);
    assert_eq!(w.hops.marks_by_age.len(), super::MARKS_MAX);
    assert!(w.hops.searches.is_empty());
}

#[test]
fn void_names_are_harmless() {
    let mut w = World::new();
    w.failed(77);
    w.hops.end(SearchId(77));
    w.hops.handle_closed(ConnectionId(77));
    w.hops.handle_resolved(w.now, ResolveToken(77), Err(ResolveError::Failed));
    w.hops.handle_connect_failed(w.now, ConnectToken(77), &ConnectError::TimedOut);
    assert_eq!(w.hops.flow_facts(Flow::Connection(ConnectionId(77))), None);
    let remote = "192.0.2.1:5060".parse().unwrap();
    assert_eq!(w.hops.flow_facts(Flow::Datagram { listener: ListenerId(77), remote }), None);
    assert_eq!(w.hops.sent_by(Flow::Datagram { listener: ListenerId(77), remote }), None);
    assert_eq!(w.hops.flow_facts(Flow::Datagram { listener: ListenerId(2), remote }), None, "a TCP listener");
    w.drain();
    w.check(expect![[r#"
        77 failed
        77 = the target of an ended search cannot be reached
    "#]]);
}

/// What the world may do to a table, in any order.
#[derive(Clone, Debug)]
enum Step {
    Find { search: u64, uri: usize },
    FindNext { search: u64 },
    End { search: u64 },
    Resolve { which: usize, answer: u8 },
    Connect { which: usize, up: bool },
    Accept { host: u8 },
    Close { which: usize },
    Pass { seconds: u64 },
}

const URIS: [&str; 8] = [
    "sip:example.com",
    "sips:example.com",
    "sip:example.com;transport=tcp",
    "sip:192.0.2.1;transport=tcp",
    "sip:192.0.2.2",
    "sip:a.example.com:5060;transport=tcp",
    "sip:0.0.0.0",
    "sip:example.com;transport=sctp",
];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6u64, 0..URIS.len()).prop_map(|(search, uri)| Step::Find { search, uri }),
        2 => (0..6u64).prop_map(|search| Step::FindNext { search }),
        1 => (0..6u64).prop_map(|search| Step::End { search }),
        8 => (0..8usize, any::<u8>()).prop_map(|(which, answer)| Step::Resolve { which, answer }),
        4 => (0..8usize, any::<bool>()).prop_map(|(which, up)| Step::Connect { which, up }),
        1 => (0..4u8).prop_map(|host| Step::Accept { host }),
        2 => (0..8usize).prop_map(|which| Step::Close { which }),
        2 => (0..20u64).prop_map(|seconds| Step::Pass { seconds }),
    ];
    prop::collection::vec(step, 0..120)
}

fn answer_to(question: &Question, answer: u8) -> Result<Answers, ResolveError> {
    let srv = |priority, target: &str| Srv { priority, weight: 1, port: 5060, target: target.to_owned() };
    match (answer % 4, question) {
        (0, _) => Err(ResolveError::NotFound),
        (1, _) => Err(ResolveError::Failed),
        (_, Question::Naptr(_)) => Ok(Answers::Naptr(vec![Naptr {
            order: 1,
            preference: 1,
            flags: "s".to_owned(),
            service: if answer % 8 < 4 { "SIP+D2T" } else { "SIPS+D2T" }.to_owned(),
            replacement: "_x._tcp.example.com".to_owned(),
        }])),
        (_, Question::Srv(_)) => {
            Ok(Answers::Srv(vec![srv(1, "a.example.com"), srv(1, "b.example.com"), srv(2, "."), srv(3, "0")]))
        }
        (2, Question::Addresses(_)) => {
            Ok(Answers::Addresses(vec!["192.0.2.1".parse().unwrap(), "::".parse().unwrap()]))
        }
        // Of the wrong kind, too: a table does not trust its driver's memory.
        (_, Question::Addresses(_)) if answer > 250 => Ok(Answers::Srv(Vec::new())),
        (_, Question::Addresses(_)) => {
            Ok(Answers::Addresses(vec!["192.0.2.3".parse().unwrap(), "2001:db8::1".parse().unwrap()]))
        }
    }
}

proptest! {
    /// Whatever the order: each `find` and each `find_next` of a search that reached a hop has one event unless it is ended, the
    /// flow of the event is there, and when time has passed no search waits.
    #[test]
    fn every_search_ends_once(steps in steps()) {
        let mut w = World::new();
        let mut open: BTreeMap<u64, u32> = BTreeMap::new();
        let mut asked: Vec<(ResolveToken, Question)> = Vec::new();
        let mut connecting: Vec<(ConnectToken, node::ConnectTarget)> = Vec::new();
        let mut up: Vec<ConnectionId> = Vec::new();
        for step in steps.into_iter().chain([Step::Pass { seconds: 64 }]) {
            match step {
                Step::Find { search, uri } => {
                    w.hops.find(w.now, SearchId(search), &Uri::parse(URIS[uri]).unwrap());
                    open.insert(search, 1);
                }
                Step::FindNext { search } => {
                    open.entry(search).or_insert_with(|| {
                        w.hops.find_next(w.now, SearchId(search));
                        1
                    });
                }
                Step::End { search } => {
                    w.hops.end(SearchId(search));
                    open.remove(&search);
                }
                Step::Resolve { which, answer } if !asked.is_empty() => {
                    let (token, question) = asked.remove(which % asked.len());
                    w.hops.handle_resolved(w.now, token, answer_to(&question, answer));
                }
                Step::Connect { which, up: true } if !connecting.is_empty() => {
                    let (token, target) = connecting.remove(which % connecting.len());
                    w.opened(token, &target);
                    up.push(ConnectionId(w.last_connection));
                }
                Step::Connect { which, up: false } if !connecting.is_empty() => {
                    let (token, _) = connecting.remove(which % connecting.len());
                    w.hops.handle_connect_failed(w.now, token, &ConnectError::TimedOut);
                }
                Step::Accept { host } => {
                    up.push(w.accept(Transport::Tcp, 2, &format!("192.0.2.{host}:5060"), &[]));
                }
                Step::Close { which } if !up.is_empty() => {
                    let closed = up.remove(which % up.len());
                    w.hops.handle_closed(closed);
                }
                Step::Pass { seconds } => {
                    let end = w.now + Duration::from_secs(seconds);
                    while let Some(due) = w.hops.next_deadline().filter(|due| *due <= end) {
                        w.now = due;
                        w.hops.handle_timer(due);
                        prop_assert!(w.hops.next_deadline().is_none_or(|next| next > due));
                    }
                    w.now = end;
                }
                _ => {}
            }
            while let Some(HopEvent { search, result }) = w.hops.poll_event() {
                prop_assert_eq!(open.remove(&search.0), Some(1), "an event that nobody waits for");
                if let Ok(reached) = result {
                    prop_assert_eq!(w.hops.flow_facts(reached.flow).map(|facts| facts.0), Some(reached.transport));
                    prop_assert!(w.hops.sent_by(reached.flow).is_some());
                }
            }
            while let Some(output) = w.hops.poll_output() {
                match output {
                    HopOutput::Resolve(token, question) => {
                        prop_assert!(asked.iter().all(|(_, other)| *other != question), "asked twice");
                        asked.push((token, question));
                    }
                    HopOutput::Connect(token, target) => {
                        prop_assert!(connecting.iter().all(|(_, other)| *other != target), "opened twice");
                        connecting.push((token, target));
                    }
                }
            }
        }
        prop_assert!(open.is_empty(), "{open:?} wait");
        prop_assert!(w.hops.deadlines.is_empty());
        prop_assert!(w.hops.lookups.values().all(|lookup| lookup.waiting.is_empty()));
        prop_assert!(w.hops.connects.values().all(|connect| connect.waiting.is_empty()));
        prop_assert_eq!(w.hops.connections(), up.len());
    }
}

#[test]
fn a_server_that_is_connected_is_not_looked_for_again() {
    let zone = "
        SRV _sipfederationtls._tcp.fabrikam.example 1 0 5061 edge.fabrikam.example
        A edge.fabrikam.example 192.0.2.1
        A edge.fabrikam.example 192.0.2.2";
    let service = || Place::Service("_sipfederationtls._tcp.fabrikam.example".to_owned());
    let host = || Place::Host { name: "edge.fabrikam.example".to_owned(), port: 5061 };
    let mut w = World::new().zone(zone);
    w.find_peer(1, service(), "edge.fabrikam.example").find_peer(2, service(), "edge.fabrikam.example");
    // Another way to say where it is, and another proof, are another search.
    w.find_peer(3, host(), "edge.fabrikam.example").find_peer(4, host(), "fabrikam.example");
    // The connection fails under a request: everything is looked for anew, its address first of all.
    w.close(1);
    w.failed(2).find_peer(5, service(), "edge.fabrikam.example");
    // It lives, but refuses: the others are tried, and then there are none.
    w.failed(5).failed(5);
    w.check(expect![[r#"
        1 find server edge.fabrikam.example
          dns Srv("_sipfederationtls._tcp.fabrikam.example")
          dns Addresses("edge.fabrikam.example")
          connect tls 192.0.2.1:5061 as edge.fabrikam.example
          up: connection 1
        1 = tls 192.0.2.1:5061 by connection 1, sent-by tls.here:5061
        2 find server edge.fabrikam.example
        2 = tls 192.0.2.1:5061 by connection 1, sent-by tls.here:5061
        3 find server edge.fabrikam.example
          dns Addresses("edge.fabrikam.example")
        3 = tls 192.0.2.1:5061 by connection 1, sent-by tls.here:5061
        4 find server fabrikam.example
          dns Addresses("edge.fabrikam.example")
          connect tls 192.0.2.1:5061 as fabrikam.example
          up: connection 2
        4 = tls 192.0.2.1:5061 by connection 2, sent-by tls.here:5061
        - connection 1 closed
        2 failed
          connect tls 192.0.2.1:5061 as edge.fabrikam.example
          up: connection 3
        2 = tls 192.0.2.1:5061 by connection 3, sent-by tls.here:5061
        5 find server edge.fabrikam.example
        5 = tls 192.0.2.1:5061 by connection 3, sent-by tls.here:5061
        5 failed
          dns Srv("_sipfederationtls._tcp.fabrikam.example")
          dns Addresses("edge.fabrikam.example")
          connect tls 192.0.2.2:5061 as edge.fabrikam.example
          up: connection 4
        5 = tls 192.0.2.2:5061 by connection 4, sent-by tls.here:5061
        5 failed
        5 = _sipfederationtls._tcp.fabrikam.example cannot be reached
    "#]]);
}
