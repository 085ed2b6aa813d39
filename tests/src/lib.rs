//! The harness of the system tests: it starts the real server, speaks to it over real sockets and runs foreign clients
//! against it. The tests themselves stand in `tests/system`, the drivers of the foreign clients in `tests/clients`.
//!
//! What this crate is not: it knows nothing of the server but its command line, its ports and its certificates; and
//! its [`Device`] is no client for people: it does what a test scripts, and nothing that would hide a fault.
//!
//! Nothing here waits for time to pass. A test waits for an event, up to [`PATIENCE`], and to show that something did
//! *not* happen it sends a later request on the same road and waits for the answer ([`Device::settle`]).

mod ad;
mod authority;
mod border;
mod community;
mod configured;
mod device;
mod dialog;
mod digest;
mod dns;
mod draft;
mod followed;
mod https;
mod ldap_proxy;
mod presence;
mod program;
mod realm;
mod scene;
mod server;
mod slapd;
mod websocket;
mod wire;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use ad::{ActiveDirectory, Person};
pub use authority::PrivateCa;
pub use border::{Border, BorderBuilder, CONNECTIONS_PER_SOURCE_MAX, Crowd, CrowdDoing, CrowdFrom};
pub use community::{Community, Member};
pub use configured::Configuration;
pub use device::{Account, Device, Transaction, contacts, sdp};
pub use dialog::Dialog;
pub use digest::{Answer, Challenge, challenges};
pub use dns::{Dns, Record};
pub use draft::Draft;
pub use followed::{LIVE_WITHIN, eventually, eventually_within};
pub use https::{Https, HttpsAnswer};
pub use ldap_proxy::{Fault, LdapProxy};
pub use presence::{Watch, activity, note, pidf, seen};
pub use program::{
    client_script, conformance, descriptors_max, have, may_make_networks, may_mount, run_tap, skip,
};
pub use realm::{Realm, again, in_realm, in_realm_of_program, this_program};
pub use scene::{Scene, in_parallel, on_each, on_every_road};
pub use server::{Server, ServerBuilder, chancery};
pub use slapd::OpenLdap;
pub use websocket::{Opcode, WebSocketError, client_frame, upgrade_request};
pub use wire::{Family, Incoming, Link, LinkReader, Own, Road, Transport};

/// How long a test waits for an event before it fails: far above what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A text that no other test, run or device uses.
pub fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let start =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos() as u64;
    format!("{start:x}{:x}{count:x}", std::process::id())
}
