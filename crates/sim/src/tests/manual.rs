//! The ladders of the manual are what happens: printed here, and held against what stands in `docs`.
//! `UPDATE_EXPECT=1` writes them there.

use std::path::Path;

use super::support::ms;
use crate::Conditions;
use crate::federated::{Behind, Federated, HubMake, Road, honest};

/// What stands between the marks of a ladder must be this, in a block of code.
fn holds(file: &str, ladder: &str, printed: &str) {
    const END: &str = "<!-- end of ladder -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    let text = std::fs::read_to_string(&path).expect("the manual is there");
    let mark = format!("<!-- ladder {ladder}: printed by a test of the crate `sim` -->\n");
    let (before, rest) = text.split_once(&mark).unwrap_or_else(|| panic!("no {mark}"));
    let (kept, after) = rest.split_once(END).expect("it ends");
    let rows = printed.lines().map(|row| format!("    {row}\n")).collect::<String>();
    let wanted = format!("\n{rows}\n");
    if kept == wanted {
        return;
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, format!("{before}{mark}{wanted}{END}{after}")).expect("the manual is ours");
        return;
    }
    panic!("docs/{file}, the ladder {ladder}; UPDATE_EXPECT=1 writes it:\n{wanted}");
}

fn world(behind: Behind, road: Road) -> Federated {
    let mut world = Federated::new(1, Conditions::calm(), honest);
    let contoso = world.found("contoso.example", 1, behind, &["alice", "carol"]);
    let fabrikam = world.found("fabrikam.example", 1, behind, &["bob"]);
    world.found_hub(HubMake::Ours);
    world.agree(contoso, fabrikam, road);
    world.start();
    // A Director needs the home's accounts first.
    world.world.run_for(ms(2_000));
    world
}

fn register(world: &mut Federated, device: usize) {
    world.world.register(device);
    world.world.run_for(ms(1_000));
    assert!(world.world.device(device).is_registered(), "{}", world.world.ladder(0));
}

#[test]
fn a_remote_user_signs_in_and_writes() {
    let mut world = world(Behind::Director, Road::Blocked);
    let (remote, colleague) = (world.remote_device(0, "alice"), world.device(0, "carol"));
    register(&mut world, colleague);
    let from = world.world.events().len();
    register(&mut world, remote);
    world.world.send_message(remote, "carol@contoso.example", None);
    world.world.run_for(ms(2_000));
    let parties = [
        ("alice", "client outside"),
        ("contoso-edge", "edge"),
        ("contoso-director", "Director"),
        ("contoso-home", "Front End"),
    ];
    holds("perimeter.md", "remote-user", &world.world.picture_between(from, &parties));
}

/// A message from Alice to Bob.
fn message(road: Road, hub: Option<(&str, &str)>) -> String {
    let mut world = world(Behind::Home, road);
    for organisation in [0, 1] {
        let device = world.device(organisation, if organisation == 0 { "alice" } else { "bob" });
        register(&mut world, device);
    }
    let from = world.world.events().len();
    world.world.send_message(0, "bob@fabrikam.example", None);
    world.world.run_for(ms(2_000));
    let ours = [("alice", "alice"), ("contoso-home", "Front End"), ("contoso-edge", "edge")];
    let theirs = [("fabrikam-edge", "edge"), ("fabrikam-home", "Front End"), ("bob", "bob")];
    let parties: Vec<_> = ours.into_iter().chain(hub).chain(theirs).collect();
    world.world.picture_between(from, &parties)
}

#[test]
fn a_message_crosses_directly_and_through_a_clearinghouse() {
    holds("federation.md", "direct", &message(Road::Direct, None));
    holds("federation.md", "clearinghouse", &message(Road::Hub, Some(("hub", "hub"))));
}
