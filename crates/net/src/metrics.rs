//! What a driver counts, and the text that Prometheus reads (exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;

use node::{CloseReason, Metric, MetricKind, Node, Side, Transport};
use pki::DistrustClass;

use crate::world::World;

const TRANSPORTS: [Transport; 5] =
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

/// Why a connection was not accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    Total,
    Source,
    Handshake,
    System,
}

/// Why a connection ended, in more words than [`CloseReason`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Reason(CloseReason),
    TimedOut,
}

impl End {
    pub(crate) fn reason(self) -> CloseReason {
        match self {
            End::Reason(reason) => reason,
            End::TimedOut => CloseReason::Broken,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        ENDS[self.index()]
    }

    fn index(self) -> usize {
        match self {
            End::Reason(CloseReason::PeerClosed) => 0,
            End::Reason(CloseReason::Broken) => 1,
            End::Reason(CloseReason::ProtocolError) => 2,
            End::Reason(CloseReason::SlowPeer) => 3,
            End::Reason(CloseReason::Requested) => 4,
            End::Reason(CloseReason::Shutdown) => 5,
            End::TimedOut => 6,
            End::Reason(CloseReason::Distrusted) => 7,
        }
    }
}

const ENDS: [&str; 8] = [
    "peer-closed",
    "broken",
    "protocol-error",
    "slow-peer",
    "requested",
    "shutdown",
    "timed-out",
    "distrusted",
];
const REFUSALS: [&str; 4] = ["total", "source", "handshake", "system"];

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsRefusal {
    /// We do not trust the certificate.
    Distrust(DistrustClass),
    /// It is for somebody else.
    WrongName,
    /// It is not the pinned one.
    WrongPin,
    /// The peer refused, perhaps our certificate.
    Alert,
    /// Something else: no common version, or no TLS at all.
    Protocol,
}

impl TlsRefusal {
    fn index(self) -> usize {
        let others = DistrustClass::ALL.len();
        match self {
            TlsRefusal::Distrust(class) => class as usize,
            TlsRefusal::WrongName => others,
            TlsRefusal::WrongPin => others + 1,
            TlsRefusal::Alert => others + 2,
            TlsRefusal::Protocol => others + 3,
        }
    }
}

const TLS_REFUSALS: usize = DistrustClass::ALL.len() + 4;

fn tls_refusal_names() -> impl Iterator<Item = &'static str> {
    let classes = DistrustClass::ALL.into_iter().map(DistrustClass::name);
    classes.chain(["wrong-name", "wrong-pin", "alert", "protocol"])
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    In,
    Out,
}

/// The label of a side.
pub(crate) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Inside => "inside",
        Side::Outside => "outside",
    }
}

/// What clients' certificates are worth: trusted by somebody, or a class of [`DistrustClass`].
const VERDICTS: usize = DistrustClass::ALL.len() + 1;

/// Counts of one transport.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) connections: u64,
    pub(crate) accepted: u64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) octets_in: u64,
    pub(crate) octets_out: u64,
}

/// All counts of a driver. Plain integers: one thread writes and reads them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    traffic: [Traffic; 5],
    refused: [u64; 4],
    ended: [u64; ENDS.len()],
    pub(crate) handshakes_done: u64,
    pub(crate) handshakes_failed: u64,
    /// By direction.
    tls_refused: [[u64; TLS_REFUSALS]; 2],
    /// By side.
    judged: [[u64; VERDICTS]; 2],
    pub(crate) queue_overflows: u64,
    pub(crate) incomplete_overflows: u64,
    pub(crate) datagrams_dropped: u64,
    pub(crate) reports_suppressed: u64,
}

impl Counters {
    pub(crate) fn traffic(&mut self, transport: Transport) -> &mut Traffic {
        &mut self.traffic[transport as usize]
    }

    pub(crate) fn refused(&mut self, refusal: Refusal) {
        self.refused[refusal as usize] += 1;
    }

    pub(crate) fn tls_refused(&mut self, direction: Direction, refusal: TlsRefusal) {
        self.tls_refused[direction as usize][refusal.index()] += 1;
    }

    /// A client showed a certificate.
    pub(crate) fn judged(&mut self, side: Side, distrust: Option<DistrustClass>) {
        self.judged[side as usize][distrust.map_or(0, |class| class as usize + 1)] += 1;
    }

    pub(crate) fn ended(&mut self, end: End) {
        self.ended[end.index()] += 1;
    }

    pub(crate) fn visit(&self, visit: &mut dyn FnMut(Metric<'_>)) {
        type Field = fn(&Traffic) -> u64;
        const GAUGE: MetricKind = MetricKind::Gauge;
        const COUNTER: MetricKind = MetricKind::Counter;
        for transport in TRANSPORTS {
            let traffic = &self.traffic[transport as usize];
            let mut one = |name, help, kind, direction: Option<&str>, field: Field| {
                let labels = [("transport", transport.name()), ("direction", direction.unwrap_or_default())];
                let labels = &labels[..if direction.is_some() { 2 } else { 1 }];
                visit(Metric { name, help, kind, labels, value: field(traffic) as f64 });
            };
            if transport != Transport::Udp {
                one("chancery_net_connections", "Connections that are open", GAUGE, None, |t| t.connections);
                one("chancery_net_accepted_total", "Connections accepted", COUNTER, None, |t| t.accepted);
            }
            let (name, help) = ("chancery_net_messages_total", "Messages received and sent");
            one(name, help, COUNTER, Some("in"), |t| t.messages_in);
            one(name, help, COUNTER, Some("out"), |t| t.messages_out);
            let (name, help) = ("chancery_net_octets_total", "Octets received and sent, before encryption");
            one(name, help, COUNTER, Some("in"), |t| t.octets_in);
            one(name, help, COUNTER, Some("out"), |t| t.octets_out);
        }
        let mut counter = |name, help, labels: &[(&'static str, &str)], value: u64| {
            visit(Metric { name, help, kind: COUNTER, labels, value: value as f64 });
        };
        for (reason, value) in REFUSALS.iter().zip(self.refused) {
            let help = "Connections not accepted: too many in all or from one source, bad handshake, out of resources";
            counter("chancery_net_refused_total", help, &[("reason", reason)], value);
        }
        for (reason, value) in ENDS.iter().zip(self.ended) {
            counter("chancery_net_closed_total", "Connections ended", &[("reason", reason)], value);
        }
        for (result, value) in [("ok", self.handshakes_done), ("failed", self.handshakes_failed)] {
            counter("chancery_net_tls_handshakes_total", "TLS handshakes", &[("result", result)], value);
        }
        for (direction, counts) in ["in", "out"].into_iter().zip(self.tls_refused) {
            for (reason, value) in tls_refusal_names().zip(counts) {
                let help = "TLS handshakes that failed, by who opened the connection and why";
                let labels = [("direction", direction), ("reason", reason)];
                counter("chancery_net_tls_refused_total", help, &labels, value);
            }
        }
        for (side, counts) in [Side::Inside, Side::Outside].into_iter().zip(self.judged) {
            let names = DistrustClass::ALL.into_iter().map(DistrustClass::name);
            for (verdict, value) in std::iter::once("trusted").chain(names).zip(counts) {
                let help = "Certificates that TLS clients showed, by side and what they are worth";
                let labels = [("side", side_name(side)), ("verdict", verdict)];
                counter("chancery_net_client_certificates_total", help, &labels, value);
            }
        }
        let help = "Connections closed because their peer read too slowly";
        counter("chancery_net_queue_overflows_total", help, &[], self.queue_overflows);
        let help = "Connections closed because too much was incomplete on all of them";
        counter("chancery_net_incomplete_overflows_total", help, &[], self.incomplete_overflows);
        let help = "Datagrams that the kernel did not take";
        counter("chancery_net_datagrams_dropped_total", help, &[], self.datagrams_dropped);
        let help = "Log lines left out because their event came too often";
        counter("chancery_net_reports_suppressed_total", help, &[], self.reports_suppressed);
    }
}

/// The text of a node's and its driver's metrics.
pub(crate) fn render<N: Node + 'static>(world: &World<N>) -> String {
    let mut text = Exposition::default();
    world.node.visit_metrics(&mut |metric| text.add(&metric));
    world.metrics.visit(&mut |metric| text.add(&metric));
    world.visit_certificates(&mut |metric| text.add(&metric));
    text.finish()
}

/// Collects samples; all samples of one name stand together in the text, whatever the order they came in.
#[derive(Debug, Default)]
pub struct Exposition {
    families: BTreeMap<&'static str, String>,
}

impl Exposition {
    /// Adds one sample.
    pub fn add(&mut self, metric: &Metric<'_>) {
        let family = self.families.entry(metric.name).or_insert_with(|| {
            let kind = match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
            };
            let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
            format!("# HELP {0} {help}\n# TYPE {0} {kind}\n", metric.name)
        });
        family.push_str(metric.name);
        for (at, (name, value)) in metric.labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let open = if at == 0 { '{' } else { ',' };
            write!(family, "{open}{name}=\"{value}\"").expect("writing to a string does not fail");
        }
        let close = if metric.labels.is_empty() { "" } else { "}" };
        writeln!(family, "{close} {}", metric.value).expect("writing to a string does not fail");
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.families.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_name_stand_together_and_are_escaped() {
        let mut text = Exposition::default();
        let mut add = |name, labels: &[(&'static str, &str)], value| {
            text.add(&Metric { name, help: "Help", kind: MetricKind::Gauge, labels, value });
        };
        add("b", &[("l", "x\"y\\z\n")], 1.0);
        add("a", &[], 0.5);
        add("b", &[("l", "2"), ("m", "3")], 2.0);
        let expected = "# HELP a Help\n# TYPE a gauge\na 0.5\n\
            # HELP b Help\n# TYPE b gauge\nb{l=\"x\\\"y\\\\z\\n\"} 1\nb{l=\"2\",m=\"3\"} 2\n";
        assert_eq!(text.finish(), expected);
    }
}
