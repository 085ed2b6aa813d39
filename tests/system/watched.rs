//! Files that an edge looks at by itself: nobody tells it that they changed, and nothing is started again.

use std::path::Path;

use rcgen::SerialNumber;
use sip_message::HeaderId;
use system_tests::{Border, Community, Device, Own, PrivateCa, eventually};

const ALICE: &str = "sip:alice@contoso.example";
/// Of the certificate that is revoked.
const SERIAL: u64 = 4711;

/// Puts a file in the place of another, whole.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("the folder is ours");
    std::fs::rename(new, file).expect("the folder is ours");
}

/// How often the edge has said this.
fn told(border: &Border, event: &str) -> usize {
    border.server().log().matches(&format!("\"event\":\"{event}\"")).count()
}

/// Changes something, and waits until the edge says that it has taken it over.
fn taken_over(border: &Border, event: &str, change: impl FnOnce()) {
    let before = told(border, event);
    change();
    eventually(event, || (told(border, event) > before).then_some(()));
}

/// A message over a connection of its own, and whether it was let in. What is let in is answered.
fn is_let_in(border: &Border, inside: &Device, own: &Own) -> bool {
    let bob = border.from_outside(Some(own), "bob", "fabrikam.example");
    inside.answer_every("MESSAGE", 200);
    let answer = bob.try_ask(bob.message(ALICE, "let me in").unanswering());
    let status = answer.and_then(|answer| answer.status());
    assert!(matches!(status, None | Some(200 | 403)), "{}", bob.ladder());
    status == Some(200)
}

/// The connection inside that the edge goes on to use.
fn inside_of(border: &Border, own: &Own) -> Device {
    let bob = border.from_outside(Some(own), "bob", "fabrikam.example");
    let sent = bob.send(bob.message(ALICE, "first"));
    let inside = border.inside();
    inside.expect_and_answer("MESSAGE", 200);
    assert_eq!(bob.answer(sent).status(), Some(200), "{}", bob.ladder());
    inside
}

#[test]
fn a_changed_policy_is_seen_without_a_reload() {
    let community = Community::start();
    let (contoso, fabrikam) = (community.member("contoso"), community.member("fabrikam"));
    let (alice, bob) = (contoso.inside("alice"), fabrikam.inside("bob"));
    bob.answer_every("MESSAGE", 200);
    let answer_is = |status: u16, why: &str| {
        eventually("the changed policy is in force", || {
            let answer = alice.ask(alice.message(&bob.uri(), "hello"));
            let warning = answer.header(HeaderId::Warning).unwrap_or_default();
            (answer.status() == Some(status) && String::from_utf8_lossy(warning).contains(why)).then_some(())
        });
    };
    answer_is(200, "");
    let mut before = String::new();
    contoso.edit_policy("access-edge", |text| {
        text.clone_into(&mut before);
        format!("{text}\n[block]\ndomains = [\"fabrikam.example\"]\n")
    });
    answer_is(403, "has blocked fabrikam.example");
    contoso.edit_policy("access-edge", |_| before);
    answer_is(200, "");
}

#[test]
fn a_revocation_list_under_a_running_edge_counts_for_the_next_connection() {
    let fabrikam = PrivateCa::new("CA of fabrikam");
    let border = Border::with_partners()
        .partner("fabrikam.example", &fabrikam, "")
        .revoked(&fabrikam.revocation_list(SERIAL + 1))
        .start();
    let folder = border.server().folder();
    let own = fabrikam.issue_with(folder, "fabrikam", &["edge.fabrikam.example"], |params| {
        params.serial_number = Some(SerialNumber::from(SERIAL));
    });
    let inside = inside_of(&border, &own);
    assert!(is_let_in(&border, &inside, &own));
    let before = border.from_outside(Some(&own), "bob", "fabrikam.example");
    assert_eq!(before.ask(before.message(ALICE, "before")).status(), Some(200), "{}", before.ladder());
    let another = fabrikam.issue(folder, "another", &["edge.fabrikam.example"]);
    let another = border.from_outside(Some(&another), "bob", "fabrikam.example");
    taken_over(&border, "trust-reloaded", || {
        replace(&folder.join("revoked.pem"), &fabrikam.revocation_list(SERIAL));
    });
    assert!(!is_let_in(&border, &inside, &own), "it is revoked");
    border.server().expect_log("it was revoked by");
    // Who is there with it is sent away, and nobody else is.
    before.closed();
    assert_eq!(another.ask(another.message(ALICE, "after")).status(), Some(200), "{}", another.ladder());
    // A list that cannot be read changes nothing.
    taken_over(&border, "trust-refused", || replace(&folder.join("revoked.pem"), "no list\n"));
    assert!(!is_let_in(&border, &inside, &own), "the list before it is in force");
    taken_over(&border, "trust-reloaded", || {
        replace(&folder.join("revoked.pem"), &fabrikam.revocation_list(SERIAL + 1));
    });
    assert!(is_let_in(&border, &inside, &own));
}

#[test]
fn changed_cas_under_a_running_edge_count_for_the_next_connection() {
    let (old, new) = (PrivateCa::new("old CA"), PrivateCa::new("new CA"));
    let border = Border::with_partners().believing(&old).partner_of_all("fabrikam.example").start();
    let folder = border.server().folder();
    let own = |ca: &PrivateCa, stem| ca.issue(folder, stem, &["edge.fabrikam.example"]);
    let (before, after) = (own(&old, "before"), own(&new, "after"));
    let inside = inside_of(&border, &before);
    assert!(is_let_in(&border, &inside, &before) && !is_let_in(&border, &inside, &after));
    let file = folder.join("partners.pem");
    // Both, as while partners move from one to the other; then the new one alone.
    let early = border.from_outside(Some(&after), "bob", "fabrikam.example");
    let there = border.from_outside(Some(&before), "bob", "fabrikam.example");
    taken_over(&border, "trust-reloaded", || replace(&file, &(old.pem() + &new.pem())));
    assert!(is_let_in(&border, &inside, &before) && is_let_in(&border, &inside, &after));
    // Who came too early comes again, and is judged anew; who is trusted as before stays.
    early.closed();
    assert_eq!(there.ask(there.message(ALICE, "here still")).status(), Some(200), "{}", there.ladder());
    taken_over(&border, "trust-reloaded", || replace(&file, &new.pem()));
    assert!(!is_let_in(&border, &inside, &before) && is_let_in(&border, &inside, &after));
    there.closed();
}

/// Its CA is believed, for another partner alone, when it comes; then the policy lets it in.
#[test]
fn a_newcomer_whose_ca_another_partner_uses_is_known_at_once() {
    let shared = PrivateCa::new("CA of many");
    let border = Border::with_partners().partner("tailspin.example", &shared, "").start();
    let folder = border.server().folder();
    let tailspin = shared.issue(folder, "tailspin", &["edge.tailspin.example"]);
    let own = shared.issue(folder, "fabrikam", &["edge.fabrikam.example"]);
    let partner = border.from_outside(Some(&tailspin), "tim", "tailspin.example");
    let sent = partner.send(partner.message(ALICE, "first"));
    let inside = border.inside();
    inside.expect_and_answer("MESSAGE", 200);
    assert_eq!(partner.answer(sent).status(), Some(200), "{}", partner.ladder());
    let early = border.from_outside(Some(&own), "bob", "fabrikam.example");
    assert_eq!(early.ask(early.message(ALICE, "too early").unanswering()).status(), Some(403));
    let file = folder.join("federation.toml");
    let text = std::fs::read_to_string(&file).expect("the policy is there");
    let entry = "[[partner]]\ndomain = \"fabrikam.example\"\nmode = \"direct\"\nnext_hop = \"edge.fabrikam.example:5061\"\n\
                 authority_file = \"tailspin.example-ca.pem\"\n";
    taken_over(&border, "policy", || replace(&file, &format!("{text}\n{entry}")));
    early.closed();
    assert!(is_let_in(&border, &inside, &own));
    assert_eq!(partner.ask(partner.message(ALICE, "here still")).status(), Some(200), "{}", partner.ladder());
}

#[test]
fn a_renewed_certificate_under_a_running_edge_is_shown_to_the_next_connection() {
    let fabrikam = PrivateCa::new("CA of fabrikam");
    let border = Border::with_partners().partner("fabrikam.example", &fabrikam, "").start();
    let own = fabrikam.issue(border.server().folder(), "fabrikam", &["edge.fabrikam.example"]);
    let bob = border.from_outside(Some(&own), "bob", "fabrikam.example");
    let sent = bob.send(bob.message(ALICE, "before"));
    let inside = border.inside();
    inside.expect_and_answer("MESSAGE", 200);
    inside.answer_every("MESSAGE", 200);
    assert_eq!(bob.answer(sent).status(), Some(200), "{}", bob.ladder());
    let mut ca = border.ca();
    taken_over(&border, "certificate-reloaded", || ca = border.renew_outside());
    let after = border.from_outside_believing(&ca, Some(&own), "bob", "fabrikam.example");
    assert_ne!(after.server_certificate(), bob.server_certificate());
    for device in [&bob, &after] {
        let answer = device.ask(device.message(ALICE, "after"));
        assert_eq!(answer.status(), Some(200), "no connection was closed: {}", device.ladder());
    }
}
