//! What a world shows of what happened: ladders, messages, notices.

use bytes::Bytes;
use node::Instant;
use records::Change;
use sip_message::HeaderId;

use super::World;
use crate::event::{Event, Party, Payload, What};
use crate::ladder;
use crate::notice::Notice;

impl World {
    /// The ladder of the events from `from` on, with a column for each machine and device.
    pub fn ladder(&self, from: usize) -> String {
        ladder::print(&self.events[from.min(self.events.len())..], &self.columns(), ladder::Detail::Hidden)
    }

    /// The ladder of everything up to `until`.
    pub fn ladder_until(&self, until: Instant) -> String {
        let events: Vec<Event> = self.events.iter().filter(|e| e.at <= until).cloned().collect();
        ladder::print(&events, &self.columns(), ladder::Detail::Hidden)
    }

    /// The ladder of the messages that contain `text`, on the wire and on disks, with all crashes and faults.
    pub fn ladder_about(&self, text: &str) -> String {
        let about = |event: &&Event| match &event.what {
            What::Sent { payload: Payload::Sip(message), .. } => {
                message.bytes().windows(text.len()).any(|w| w == text.as_bytes())
            }
            What::Durable { change, .. }
            | What::Refused { change, .. }
            | What::LostInCrash { change, .. } => {
                matches!(&**change, Change::AppendMessage(m) if m.request.windows(text.len()).any(|w| w == text.as_bytes()))
            }
            _ => true,
        };
        let events: Vec<Event> = self.events.iter().filter(about).cloned().collect();
        ladder::print(&events, &self.columns(), ladder::Detail::Shown)
    }

    /// Every message that was sent and contains `text`, as it is.
    pub fn raw_about(&self, text: &str) -> String {
        let columns = self.columns();
        let name = |party: &Party| columns.iter().find(|(own, _)| own == party).map_or("?", |(_, name)| name);
        let mut out = String::new();
        for event in &self.events {
            let What::Sent { from, to, payload: Payload::Sip(message), .. } = &event.what else { continue };
            if message.bytes().windows(text.len()).any(|w| w == text.as_bytes()) {
                let to = to.as_ref().map_or("nobody", name);
                out += &format!("--- {} ms, {} to {to}\n", event.at.0 / 1000, name(from));
                out += &String::from_utf8_lossy(message.bytes());
            }
        }
        out
    }

    /// The ladder of the events from `from` on among these machines and devices, with columns in their order.
    pub fn ladder_between(&self, from: usize, names: &[&str]) -> String {
        let columns = self.columns();
        let column = |name: &&str| columns.iter().find(|(_, own)| own == name).cloned();
        let columns: Vec<_> = names.iter().filter_map(column).collect();
        ladder::print(&self.events[from.min(self.events.len())..], &columns, ladder::Detail::Hidden)
    }

    /// The messages from `from` on among these machines and devices, as a picture: names and the titles of their columns.
    pub fn picture_between(&self, from: usize, parties: &[(&str, &str)]) -> String {
        let own = self.columns();
        let column = |(name, title): &(&str, &str)| {
            let (party, _) = own.iter().find(|(_, own)| own == name)?;
            Some((*party, (*title).to_owned()))
        };
        let columns: Vec<_> = parties.iter().filter_map(column).collect();
        ladder::picture(&self.events[from.min(self.events.len())..], &columns)
    }

    /// The ladder of one device and the machines, with what disks did.
    pub fn ladder_of(&self, device: &str) -> String {
        let concerned =
            |(party, name): &(Party, String)| matches!(party, Party::Machine(_)) || name == device;
        let columns: Vec<_> = self.columns().into_iter().filter(concerned).collect();
        ladder::print(&self.events, &columns, ladder::Detail::Shown)
    }

    /// What the machines notified a device of, in lines.
    pub fn notices_to(&self, device: &str) -> String {
        let wanted = self.devices.iter().position(|d| d.device.config.name == device).map(Party::Device);
        let mut text = String::from("ms\n");
        for event in &self.events {
            let What::Sent { to, payload: Payload::Sip(message), .. } = &event.what else { continue };
            if !message.is_request() || *to != wanted || message.method() != sip_message::Method::Notify {
                continue;
            }
            let header = |id| String::from_utf8_lossy(message.header(id).unwrap_or_default()).into_owned();
            let (call, state) = (message.call_id().unwrap_or_default(), header(HeaderId::SubscriptionState));
            text += &format!("{:>7} {call} {} {state}\n", event.at.0 / 1000, header(HeaderId::CSeq));
            let body = Bytes::copy_from_slice(message.body());
            match Notice::read(&header(HeaderId::ContentType), &body) {
                Ok(notice) => text += &format!("{notice}"),
                Err(reason) => text += &format!("        {reason}\n"),
            }
        }
        text
    }

    /// The first device stands left of the machines, all others right of them.
    fn columns(&self) -> Vec<(Party, String)> {
        let machines = self.machines.iter().enumerate().map(|(i, m)| (Party::Machine(i), m.name.clone()));
        let devices = self.devices.iter().enumerate();
        let devices = devices.map(|(i, d)| (Party::Device(i), d.device.config.name.clone()));
        devices.clone().take(1).chain(machines).chain(devices.skip(1)).collect()
    }
}
