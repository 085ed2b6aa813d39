//! What a verdict costs with a large policy.

use criterion::{Criterion, criterion_group, criterion_main};
use federation::{Direction, Facts, Member, Modality, Policy, Provenance, identify, judge};
use node::{Anchors, PeerCertificate, UnixMillis};
use sip_message::Method;

const PARTNERS: usize = 10_000;
const NOW: UnixMillis = UnixMillis(1_795_334_400_000);

fn policy() -> Policy {
    let mut text = String::new();
    for n in 0..PARTNERS / 2 {
        text += &format!("[[partner]]\ndomain = \"p{n}.example\"\nnext_hop = \"edge.p{n}.example:5061\"\n");
    }
    let members: Vec<String> = (PARTNERS / 2..PARTNERS).map(|n| format!("\"p{n}.example\"")).collect();
    text += &format!("[[clearinghouse]]\nname = \"hub.trade.example\"\nmembers = [{}]\n", members.join(", "));
    Policy::parse(&text, &["contoso.example"]).expect("a policy")
}

fn certificate(host: &str) -> PeerCertificate {
    PeerCertificate {
        sip_domains: vec![host.into()],
        dns_names: vec![host.into()],
        ip_addresses: vec![],
        sha256: [0; 32],
        not_after: NOW,
        trusted_by: vec![Anchors::Partners],
        distrust: String::new(),
    }
}

fn verdict(c: &mut Criterion) {
    let policy = policy();
    let (edge, hub) = (certificate("edge.p4000.example"), certificate("hub.trade.example"));
    let member = Member::new("p9000.example").expect("a domain");
    let facts = |direction, remote| Facts {
        direction,
        local: "contoso.example",
        remote,
        modalities: Modality::Im.into(),
        method: Method::Message,
        within_dialog: false,
    };
    let direct = Provenance::Outside { certificate: Some(&edge), member: None };
    let through = Provenance::Outside { certificate: Some(&hub), member: Some(&member) };
    let cases = [
        ("inbound, direct", direct, facts(Direction::Inbound, "p4000.example"), true),
        ("inbound, hub", through, facts(Direction::Inbound, "P9000.Example"), true),
        ("outbound, hub", Provenance::Inside, facts(Direction::Outbound, "p9000.example"), true),
        ("inbound, spoofed", direct, facts(Direction::Inbound, "p4001.example"), false),
        ("inbound, unlisted", direct, facts(Direction::Inbound, "nobody.example"), false),
    ];
    for (name, provenance, facts, is_allowed) in cases {
        let judged = || judge(&policy, &provenance, &facts, NOW).into_result();
        assert_eq!(judged().is_ok(), is_allowed, "{name}: {:?}", judged());
        c.bench_function(name, |b| b.iter(judged));
    }
    c.bench_function("identify", |b| b.iter(|| identify(&policy, &edge)));
}

criterion_group!(benches, verdict);
criterion_main!(benches);
