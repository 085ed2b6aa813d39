//! What the device says of its owner: PUBLISH for `presence` (RFC 3903 §4, RFC 3863, RFC 4480).
//!
//! The device wants something to be known, or nothing, and sends requests until its server says that it is so. After a
//! new registration it says everything again: the server may have lost it with a connection or with its process.

use std::time::Duration;

use node::Instant;
use rand::Rng;
use sip_message::{HeaderId, Message, Method, RequestBuilder};

use super::transaction::Purpose;
use super::{Alarm, CHALLENGES_MAX, Device};
use crate::event::Fact;
use crate::xml::escaped;

/// Pause before a publication that failed is tried again.
const PUBLISH_AGAIN: Duration = Duration::from_secs(3);

/// What a device publishes of its owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Posture {
    /// How its owner is.
    pub pose: Pose,
    /// What its owner does, as an element of RFC 4480 §3.2.
    pub activity: Option<&'static str>,
    /// What its owner wrote.
    pub note: Option<String>,
    /// Where, in words.
    pub place: Option<String>,
}

/// How somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pose {
    /// There.
    Available,
    /// There, and busy.
    Busy,
    /// Not there.
    Away,
}

/// A publication and how far it has come.
#[derive(Debug, Default)]
pub(super) struct Publication {
    wanted: Option<Posture>,
    /// What the server said it has, for as long as nothing is known to have taken it away.
    told: Option<Posture>,
    etag: Option<String>,
    /// The document must be sent whole.
    is_dirty: bool,
    in_flight: Option<Option<Posture>>,
    flow: usize,
    challenged: u8,
    expires_seconds: u32,
    serial: u32,
}

impl Publication {
    /// The process ended: what was wanted is a setting, and stays.
    pub(super) fn after_crash(&self) -> Publication {
        Publication { wanted: self.wanted.clone(), is_dirty: true, ..Publication::default() }
    }
}

impl Device {
    /// Says this of its owner from now on, or nothing any more.
    pub(crate) fn publish(&mut self, now: Instant, posture: Option<Posture>) {
        self.now = now;
        self.publication.wanted = posture;
        self.publication.is_dirty = true;
        self.attempt_publish();
    }

    /// What the server should know of its owner by this device.
    pub fn published(&self) -> Option<&Posture> {
        self.publication.told.as_ref().filter(|_| self.publication.told == self.publication.wanted)
    }

    /// Whether all that it wants to be known is known.
    pub fn has_published(&self) -> bool {
        self.publication.told == self.publication.wanted
    }

    /// A way to the server is there again: nobody knows what it remembers.
    pub(super) fn publish_anew(&mut self) {
        self.publication.is_dirty = true;
        self.attempt_publish();
    }

    /// What was published over a connection goes with it.
    pub(super) fn publication_flow_down(&mut self, flow: usize) {
        if self.publication.flow == flow {
            self.publication.told = None;
            self.publish_anew();
        }
    }

    pub(super) fn attempt_publish(&mut self) {
        let publication = &self.publication;
        let registered = self.flows.iter().any(|f| f.registered_until.is_some());
        if publication.in_flight.is_some() || !publication.is_dirty || !registered {
            return;
        }
        if publication.wanted.is_none() && publication.etag.is_none() {
            self.publication.is_dirty = false;
            self.publication.told = None;
            return;
        }
        self.publication.is_dirty = false;
        self.send_publish(self.publication.wanted.clone(), true);
    }

    pub(super) fn refresh_publication(&mut self, serial: u32) {
        let publication = &self.publication;
        if publication.serial == serial && publication.in_flight.is_none() && publication.wanted.is_some() {
            let whole = publication.etag.is_none();
            self.send_publish(publication.wanted.clone(), whole);
        }
    }

    fn send_publish(&mut self, posture: Option<Posture>, whole: bool) {
        let Some(flow) = self.best_flow() else {
            self.publication.is_dirty = true;
            return;
        };
        let (branch, tag, call_id) = (self.branch(), self.token("p"), self.token("pub-"));
        let me = self.address_of_record();
        let uri = format!("sip:{me}");
        let document = posture.as_ref().filter(|_| whole).map(|posture| pidf(&me, posture));
        let expires = match posture {
            Some(_) => self.publication.expires_seconds.max(self.config.presence_expires_seconds),
            None => 0,
        };
        let mut request = RequestBuilder::new(Method::Publish, &uri);
        request.header(HeaderId::Via, self.via(&branch));
        for route in &self.flows[flow].service_route {
            request.header(HeaderId::Route, route);
        }
        request
            .header(HeaderId::MaxForwards, "70")
            .header(HeaderId::From, format!("<{uri}>;tag={tag}"))
            .header(HeaderId::To, format!("<{uri}>"))
            .header(HeaderId::CallId, call_id)
            .header(HeaderId::CSeq, "1 PUBLISH")
            .header(HeaderId::Event, "presence")
            .header(HeaderId::Expires, expires.to_string());
        if let Some(etag) = &self.publication.etag {
            request.header(HeaderId::SipIfMatch, etag);
        }
        let body = document.unwrap_or_default();
        self.sign(&mut request, "PUBLISH", &uri, body.as_bytes());
        if !body.is_empty() {
            request.body("application/pidf+xml", body.as_bytes());
        }
        self.publication.flow = flow;
        self.publication.in_flight = Some(posture);
        self.begin(flow, &branch, "PUBLISH", request.build(), Purpose::Publish);
    }

    pub(super) fn publish_concluded(&mut self, response: Option<&Message>, status: u16) {
        let Some(sent) = self.publication.in_flight.take() else { return };
        let publication = &mut self.publication;
        match (status, response) {
            (200..=299, Some(response)) => {
                publication.challenged = 0;
                let etag =
                    response.header(HeaderId::SipEtag).map(|e| String::from_utf8_lossy(e).into_owned());
                publication.etag = etag.filter(|_| sent.is_some());
                let news = publication.told != sent;
                publication.told = sent.clone();
                publication.serial += 1;
                let serial = publication.serial;
                if sent.is_some() {
                    let asked = self.config.presence_expires_seconds;
                    let granted = response.number(HeaderId::Expires).ok().flatten().unwrap_or(asked).max(2);
                    let share = self.rng.random_range(0.5..0.9);
                    let refresh = Duration::from_secs_f64(f64::from(granted) * share);
                    self.alarm(refresh, Alarm::RefreshPublication(serial));
                }
                if news {
                    self.fact(Fact::Published { posture: sent });
                }
            }
            (401 | 407, Some(_)) if publication.challenged < CHALLENGES_MAX => {
                publication.challenged += 1;
                publication.is_dirty = true;
            }
            (412, Some(_)) => {
                // RFC 3903 §4.1: the tag is forgotten, and the document is sent as if for the first time.
                publication.etag = None;
                publication.told = None;
                publication.is_dirty = true;
            }
            (423, Some(response)) => {
                let least = response.number(HeaderId::MinExpires).ok().flatten();
                publication.expires_seconds = least.unwrap_or(3600);
                publication.is_dirty = true;
            }
            _ => {
                publication.challenged = 0;
                let pause = PUBLISH_AGAIN.mul_f64(self.rng.random_range(0.5..1.5));
                self.publication.is_dirty = true;
                return self.alarm(pause, Alarm::PublishAgain);
            }
        }
        self.attempt_publish();
    }
}

fn pidf(me: &str, posture: &Posture) -> String {
    let mut activities = String::new();
    if posture.pose == Pose::Busy {
        activities += "<r:busy/>";
    }
    if posture.pose == Pose::Away {
        activities += "<r:away/>";
    }
    if let Some(activity) = posture.activity {
        activities += &format!("<r:{activity}/>");
    }
    let note = posture.note.as_ref().map(|n| format!("<d:note>{}</d:note>", escaped(n))).unwrap_or_default();
    let place = posture
        .place
        .as_ref()
        .map(|p| format!("<r:place-type><r:other>{}</r:other></r:place-type>", escaped(p)));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:d=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:r=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         entity=\"sip:{}\">\r\n<tuple id=\"t\"><status><basic>open</basic></status></tuple>\r\n\
         <d:person id=\"p\"><r:activities>{activities}</r:activities>{}{note}</d:person>\r\n</presence>\r\n",
        escaped(me),
        place.unwrap_or_default(),
    )
}
