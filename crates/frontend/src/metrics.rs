//! What is counted. Labels come from closed sets.

use node::{Metric, MetricKind};
use sip_message::Method;
use sip_stack::publication::Step;

use crate::events::Package;
use crate::frontend::FrontEnd;

const METHODS: [&str; 15] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "OPTIONS",
    "MESSAGE",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "REFER",
    "INFO",
    "PRACK",
    "UPDATE",
    "other",
];
/// Statuses of refusals are counted one by one up to 699.
const CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "6xx"];

/// What a PUBLISH did.
const STEPS: [&str; 4] = ["began", "refreshed", "modified", "removed"];

/// Counters of the front end.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: [u64; METHODS.len()],
    forwarded: [u64; CLASSES.len()],
    refused: std::collections::BTreeMap<&'static str, u64>,
    pub(crate) malformed: u64,
    pub(crate) stray_responses: u64,
    pub(crate) challenges: u64,
    pub(crate) sign_ins: u64,
    pub(crate) sign_ins_by_certificate: u64,
    pub(crate) sign_ins_by_app_password: u64,
    pub(crate) sign_ins_by_token: u64,
    pub(crate) sign_ins_refused: u64,
    pub(crate) sign_ins_slowed: u64,
    pub(crate) sign_ins_put_off: u64,
    pub(crate) sign_in_missed: u64,
    pub(crate) registrations: u64,
    pub(crate) messages_accepted: u64,
    pub(crate) messages_repeated: u64,
    pub(crate) messages_delivered: u64,
    pub(crate) messages_refused: u64,
    published: [u64; STEPS.len()],
    pub(crate) publications_ended: u64,
    pub(crate) calls_not_logged: u64,
    pub(crate) notified: u64,
}

/// Where a method stands in [`METHODS`].
fn place(method: Method<'_>) -> usize {
    match method {
        Method::Invite => 0,
        Method::Ack => 1,
        Method::Bye => 2,
        Method::Cancel => 3,
        Method::Register => 4,
        Method::Options => 5,
        Method::Message => 6,
        Method::Subscribe => 7,
        Method::Notify => 8,
        Method::Publish => 9,
        Method::Refer => 10,
        Method::Info => 11,
        Method::Prack => 12,
        Method::Update => 13,
        Method::Other(_) => 14,
    }
}

impl Counters {
    pub(crate) fn request(&mut self, method: Method<'_>) {
        self.requests[place(method)] += 1;
    }

    pub(crate) fn forwarded(&mut self, status: u16) {
        let class = usize::from(status / 100).clamp(2, 6) - 2;
        self.forwarded[class] += 1;
    }

    pub(crate) fn published(&mut self, step: Step) {
        let at = match step {
            Step::Began => 0,
            Step::Refreshed => 1,
            Step::Modified => 2,
            Step::Removed => 3,
        };
        self.published[at] += 1;
    }

    /// `reason` is a constant of the code: the set is closed.
    pub(crate) fn refused(&mut self, reason: &'static str) {
        *self.refused.entry(reason).or_default() += 1;
    }

    pub(crate) fn visit(&self, visit: &mut dyn FnMut(Metric<'_>)) {
        let mut counter = |name, help, labels: &[(&'static str, &str)], value: u64| {
            #[allow(clippy::cast_precision_loss, reason = "a metric is a float by its format")]
            visit(Metric { name, help, kind: MetricKind::Counter, labels, value: value as f64 });
        };
        for (method, value) in METHODS.iter().zip(self.requests) {
            counter(
                "chancery_sip_requests_total",
                "SIP requests received, by method",
                &[("method", method)],
                value,
            );
        }
        for (class, value) in CLASSES.iter().zip(self.forwarded) {
            counter(
                "chancery_sip_forwarded_total",
                "Forwarded requests that were answered, by class of status",
                &[("status", class)],
                value,
            );
        }
        for (reason, value) in &self.refused {
            counter(
                "chancery_sip_refused_total",
                "Requests refused, by reason",
                &[("reason", reason)],
                *value,
            );
        }
        for (step, value) in STEPS.iter().zip(self.published) {
            counter(
                "chancery_presence_published_total",
                "PUBLISH requests that were accepted, by what they did",
                &[("step", step)],
                value,
            );
        }
        for (name, help, value) in [
            (
                "chancery_presence_publications_ended_total",
                "Publications that ran out, or whose device or connection went",
                self.publications_ended,
            ),
            ("chancery_notifies_total", "NOTIFY requests sent", self.notified),
            ("chancery_sip_malformed_total", "Messages that were no SIP", self.malformed),
            (
                "chancery_sip_stray_responses_total",
                "Responses that belonged to no request",
                self.stray_responses,
            ),
            ("chancery_sip_challenges_total", "Requests answered with a challenge", self.challenges),
            ("chancery_sign_ins_total", "Digest answers that were right", self.sign_ins),
            (
                "chancery_sign_ins_by_certificate_total",
                "Registrations with a user's certificate",
                self.sign_ins_by_certificate,
            ),
            (
                "chancery_sign_ins_by_app_password_total",
                "Digest answers that were right and of an app password",
                self.sign_ins_by_app_password,
            ),
            (
                "chancery_sign_ins_by_token_total",
                "Requests with a token that was good",
                self.sign_ins_by_token,
            ),
            ("chancery_sign_ins_refused_total", "Digest answers that were wrong", self.sign_ins_refused),
            (
                "chancery_sign_ins_slowed_total",
                "Digest answers not looked at after too many wrong ones",
                self.sign_ins_slowed,
            ),
            (
                "chancery_sign_ins_put_off_total",
                "REGISTER requests put off because too many came back at once",
                self.sign_ins_put_off,
            ),
            (
                "chancery_sign_ins_missed_total",
                "Connections closed because nobody signed in",
                self.sign_in_missed,
            ),
            ("chancery_registrations_total", "REGISTER requests that changed a binding", self.registrations),
            ("chancery_messages_accepted_total", "Messages made durable", self.messages_accepted),
            (
                "chancery_messages_repeated_total",
                "Messages recognised as sent before",
                self.messages_repeated,
            ),
            ("chancery_messages_delivered_total", "Messages taken by a device", self.messages_delivered),
            ("chancery_messages_refused_total", "Messages that every device refused", self.messages_refused),
            (
                "chancery_calls_not_logged_total",
                "Entries of call logs that storage could not take",
                self.calls_not_logged,
            ),
        ] {
            counter(name, help, &[], value);
        }
    }
}

impl FrontEnd {
    pub(crate) fn visit_gauges(&self, visit: &mut dyn FnMut(Metric<'_>)) {
        let mut by_package = [0_u32; Package::ALL.len()];
        for watcher in self.watchers.values() {
            by_package[watcher.watched.package() as usize] += 1;
        }
        for (package, count) in Package::ALL.iter().zip(by_package) {
            visit(Metric {
                name: "chancery_subscriptions",
                help: "Subscriptions in force, by event package",
                kind: MetricKind::Gauge,
                labels: &[("package", package.name())],
                value: f64::from(count),
            });
        }
        let (lists, rows) = self.lists.len();
        #[allow(clippy::cast_precision_loss, reason = "a metric is a float by its format")]
        for (name, help, value) in [
            ("chancery_users", "Accounts", self.users.len() as f64),
            ("chancery_bindings", "Registered contacts in force", self.binding_owners.len() as f64),
            ("chancery_presence_publications", "Publications in force", self.publications.len() as f64),
            ("chancery_presence_lists", "Subscriptions to lists in force", lists as f64),
            ("chancery_presence_list_members", "Members of all lists that are watched", rows as f64),
            (
                "chancery_presence_watched_elsewhere",
                "People of other organisations whom the server watches for lists",
                self.abroad.len() as f64,
            ),
            ("chancery_sip_transactions", "Transactions under way", self.stack.pending() as f64),
            (
                "chancery_sip_contexts",
                "Forwarded requests under way or remembered",
                self.stack.contexts() as f64,
            ),
            (
                "chancery_messages_accepting",
                "Messages whose sender waits for an answer",
                self.accepting.len() as f64,
            ),
            ("chancery_calls", "Calls that ring or are up", self.calls.len() as f64),
            (
                "chancery_storage_healthy",
                "1 while the last write succeeded",
                f64::from(u8::from(self.storage_healthy)),
            ),
        ] {
            visit(Metric { name, help, kind: MetricKind::Gauge, labels: &[], value });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_counted_in_its_own_place() {
        for (at, name) in METHODS.iter().enumerate() {
            assert_eq!(place(Method::from_token(name)), at, "{name}");
        }
    }
}
