//! When the faults are over, everything comes to rest in bounded time.

use node::Instant;

use super::{Checker, End};
use crate::event::Event;

/// See the module.
pub struct Settled;

impl Checker for Settled {
    fn name(&self) -> &'static str {
        "settled"
    }

    fn observe(&mut self, _event: &Event) {}

    fn finish(&mut self, end: &End<'_>) -> Vec<(Instant, String)> {
        let mut found = Vec::new();
        for device in &end.devices {
            let name = &device.resident.name;
            if device.should_be_registered && !device.is_registered {
                found.push(format!("{name} is not registered"));
            }
            if device.should_be_registered && device.unconcluded > 0 {
                found.push(format!("{name} has {} messages without a final answer", device.unconcluded));
            }
            if device.should_be_registered && !device.has_published {
                found.push(format!("{name} has not published what it wants to be known"));
            }
            if device.calls > 0 {
                found.push(format!("{name} has {} calls that do not end", device.calls));
            }
        }
        for machine in &end.machines {
            let name = &machine.name;
            let (Some(busy), Some(idle)) = (&machine.busy, &machine.idle) else {
                found.push(format!("{name} does not answer its administrator"));
                continue;
            };
            let open = machine.streams;
            if let Some(known) = busy.connections.filter(|known| *known != open) {
                found.push(format!("{name} knows {known} connections, and {open} are open"));
            }
            if !idle.storage_healthy {
                found.push(format!("{name} believes that its disk is ill"));
            }
            if idle.transactions > 0 {
                found.push(format!("{name} has {} transactions that do not end", idle.transactions));
            }
        }
        found.into_iter().map(|what| (end.now, what)).collect()
    }
}
