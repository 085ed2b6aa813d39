//! What administrators do for people: permissions, app passwords, tokens, contacts and groups, presence, access.

use super::*;

const ERIN: &str = "erin@contoso.example";

/// A demo with erin and frank, and what runs a command on it.
fn demo(dir: &Path) -> (Running, impl Fn(&[&str]) -> (i32, String, String)) {
    let (running, _) =
        Running::demo(dir, &["--user", "erin:a-secret-of-erin", "--user", "frank:a-secret-of-frank"]);
    let dir = dir.to_str().unwrap().to_owned();
    (running, move |words: &[&str]| run(&[words, &["--dir", &dir]].concat()))
}

#[test]
fn permissions_are_given_and_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (running, run) = demo(dir.path());
    check(
        &run(&["user", "set-permission", ERIN, "--calls", "off", "--federation", "off"]),
        &[],
        expect![[r#"
            erin@contoso.example: federation off, calls off
            exit 0
        "#]],
    );
    let shown = run(&["user", "show", ERIN]).1;
    assert!(shown.contains("may:       federation off, remote access on, calls off\n"), "{shown}");
    check(
        &run(&["user", "set-permission", ERIN, "--calls", "on", "--json"]),
        &[],
        expect![[r#"
        {
          "result": "done"
        }
        exit 0
    "#]],
    );
    let shown: Value = serde_json::from_str(&run(&["user", "show", ERIN, "--json"]).1).unwrap();
    let permissions = serde_json::json!({ "federation": false, "remote_access": true, "calls": true });
    assert_eq!(shown["permissions"], permissions, "what is not named stays");
    check(
        &run(&["user", "set-permission", "nobody@contoso.example", "--calls", "off"]),
        &[],
        expect![[r#"
            chancery: there is no user nobody@contoso.example
              help: `chancery user list` shows all accounts
            exit 1
        "#]],
    );
    assert_eq!(run(&["user", "set-permission", ERIN]).0, 2, "nothing is named");
    assert_eq!(run(&["user", "set-permission", ERIN, "--calls", "maybe"]).0, 2);
    running.stop();
}

#[test]
fn app_passwords_are_made_listed_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let (running, run) = demo(dir.path());
    let added = run(&["user", "app-password", "add", ERIN, "--label", "desk phone"]);
    let told = |label: &str| {
        let rest = added.1.split(label).nth(1).unwrap_or_else(|| panic!("{added:?}"));
        rest.trim_start().split('\n').next().unwrap().to_owned()
    };
    let (username, password) = (told("user name:"), told("password:"));
    check(
        &added,
        &[(&username, "USERNAME"), (&password, "PASSWORD")],
        expect![[r#"
        user name: USERNAME
        realm:     contoso.example
        password:  PASSWORD
        (shown once, stored nowhere)
        exit 0
    "#]],
    );
    assert!(username.starts_with("erin~") && password.len() >= 20, "{username} {password}");
    let book =
        ["user", "app-password", "add", ERIN, "--label", "Thunderbird", "--for", "address-book", "--json"];
    let (code, out, error) = run(&book);
    assert_eq!((code, error.as_str()), (0, ""));
    let book: Value = serde_json::from_str(&out).unwrap();
    let book = book["username"].as_str().unwrap().to_owned();

    let listed = run(&["user", "app-password", "list", ERIN]);
    let lines: Vec<&str> = listed.1.lines().collect();
    assert!(lines[0].starts_with(&username) && lines[0].ends_with(": desk phone"), "{listed:?}");
    assert!(lines[1].starts_with(&book) && lines[1].contains("address-book"), "{listed:?}");
    assert_eq!(lines[2], "2 app passwords");
    assert!(!listed.1.contains(&password), "it was shown once");
    let listed: Value =
        serde_json::from_str(&run(&["user", "app-password", "list", ERIN, "--json"]).1).unwrap();
    assert_eq!(listed["app_passwords"].as_array().unwrap().len(), 2, "{listed}");

    check(
        &run(&["user", "app-password", "remove", ERIN, &username]),
        &[(&username, "USERNAME")],
        expect![[r#"
            USERNAME signs erin@contoso.example in no more
            exit 0
        "#]],
    );
    check(
        &run(&["user", "app-password", "remove", ERIN, &username]),
        &[(&username, "USERNAME")],
        expect![[r#"
            chancery: there is no such app password
              help: `chancery user app-password list` shows a user's app passwords
            exit 1
        "#]],
    );
    check(
        &run(&["user", "app-password", "add", "nobody@contoso.example", "--label", "x"]),
        &[],
        expect![[r#"
            chancery: there is no user nobody@contoso.example
              help: `chancery user list` shows all accounts
            exit 1
        "#]],
    );
    check(
        &run(&["user", "app-password", "add", ERIN, "--label", ""]),
        &[],
        expect![[r#"
        chancery: a label has 1 to 64 characters, none of them a control character
          help: `chancery user app-password list` shows a user's app passwords
        exit 1
    "#]],
    );
    let listed = run(&["user", "app-password", "list", ERIN]).1;
    assert!(listed.ends_with("\n1 app password\n"), "{listed}");
    check(
        &run(&["user", "app-password", "list", "frank@contoso.example"]),
        &[],
        expect![[r#"
        0 app passwords
        exit 0
    "#]],
    );
    check(
        &run(&["user", "revoke-tokens", ERIN]),
        &[],
        expect![[r#"
        no token issued so far signs erin@contoso.example in
        exit 0
    "#]],
    );
    check(
        &run(&["user", "revoke-tokens", "nobody@contoso.example"]),
        &[],
        expect![[r#"
        chancery: there is no user nobody@contoso.example
          help: `chancery user list` shows all accounts
        exit 1
    "#]],
    );
    running.stop();
}

#[test]
fn contacts_are_kept_in_groups() {
    let dir = tempfile::tempdir().unwrap();
    let (running, run) = demo(dir.path());
    let (erin, frank) = (ERIN, "frank@contoso.example");
    check(
        &run(&["contact", "list", erin]),
        &[],
        expect![[r#"
        no contacts
        exit 0
    "#]],
    );
    check(
        &run(&["contact", "add", erin, frank, "--group", "team"]),
        &[],
        expect![[r#"
        chancery: erin@contoso.example has no group "team"
          help: `chancery group list USER` shows the groups there are, `chancery group add USER GROUP` adds one
        exit 1
    "#]],
    );
    check(
        &run(&["group", "add", erin, "team"]),
        &[],
        expect![[r#"
        erin@contoso.example has a group team
        exit 0
    "#]],
    );
    check(
        &run(&["group", "add", erin, "team"]),
        &[],
        expect![[r#"
        chancery: erin@contoso.example has a group "team" already
          help: `chancery group list USER` shows the groups there are
        exit 1
    "#]],
    );
    check(
        &run(&["contact", "add", erin, frank, "--group", "team", "--name", "Frank"]),
        &[],
        expect![[r#"
            frank@contoso.example is a contact of erin@contoso.example
            exit 0
        "#]],
    );
    check(
        &run(&["contact", "list", erin]),
        &[],
        expect![[r#"
        team
          frank@contoso.example  Frank
        exit 0
    "#]],
    );
    check(
        &run(&["contact", "list", erin, "--json"]),
        &[],
        expect![[r#"
        {
          "groups": [
            {
              "contacts": [
                {
                  "address": "frank@contoso.example",
                  "name": "Frank"
                }
              ],
              "name": "team"
            }
          ]
        }
        exit 0
    "#]],
    );
    check(
        &run(&["contact", "remove", erin, "grace@contoso.example"]),
        &[],
        expect![[r#"
        chancery: grace@contoso.example is not among those contacts of erin@contoso.example
          help: `chancery contact list USER` shows the contacts there are
        exit 1
    "#]],
    );
    check(
        &run(&["contact", "add", erin, "frank"]),
        &[],
        expect![[r#"
        chancery: "frank" is no SIP address: an address is written user@domain
          help: write it as alice@contoso.example
        exit 1
    "#]],
    );
    check(
        &run(&["group", "rename", erin, "crew", "team"]),
        &[],
        expect![[r#"
        chancery: erin@contoso.example has no group "crew"
          help: `chancery group list USER` shows the groups there are, `chancery group add USER GROUP` adds one
        exit 1
    "#]],
    );
    check(
        &run(&["group", "rename", erin, "team", "crew"]),
        &[],
        expect![[r#"
        the group team of erin@contoso.example is called crew now
        exit 0
    "#]],
    );
    check(
        &run(&["group", "list", erin, "--json"]),
        &[],
        expect![[r#"
        {
          "groups": [
            {
              "contacts": 1,
              "name": "crew"
            }
          ]
        }
        exit 0
    "#]],
    );
    check(
        &run(&["group", "remove", erin, "crew"]),
        &[],
        expect![[r#"
        erin@contoso.example has no group crew any more
        exit 0
    "#]],
    );
    check(
        &run(&["group", "remove", erin, "crew"]),
        &[],
        expect![[r#"
        chancery: erin@contoso.example has no group "crew"
          help: `chancery group list USER` shows the groups there are, `chancery group add USER GROUP` adds one
        exit 1
    "#]],
    );
    running.stop();
}

#[test]
fn presence_and_access_are_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let (running, run) = demo(dir.path());
    check(
        &run(&["presence", "set", ERIN, "--state", "away", "--note", "lunch"]),
        &[],
        expect![[r#"
        erin@contoso.example chose away
        exit 0
    "#]],
    );
    check(
        &run(&["presence", "show", ERIN]),
        &[],
        expect![[r#"
        address:   erin@contoso.example
        presence:  offline (18500), "lunch"
        why:       no device is there
        chosen:    away
        own note:  "lunch"
        watchers:  0
        exit 0
    "#]],
    );
    check(
        &run(&["presence", "set", ERIN, "--state", "asleep"]),
        &[],
        expect![[r#"
        error: invalid value 'asleep' for '--state <STATE>': write one of available, busy, do-not-disturb, be-right-back, away, appear-offline

        For more information, try '--help'.
        exit 2
    "#]],
    );
    check(
        &run(&["presence", "set", ERIN, "--state", "busy", "--until", "soon"]),
        &[],
        expect![[r#"
        chancery: "soon" is no time
          help: write 90m, 2h, 17:30, 2026-12-24T12:00 or 2026-12-24T12:00:00Z
        exit 1
    "#]],
    );
    check(
        &run(&["presence", "set", ERIN, "--state", "busy", "--until", "2020-01-01T00:00"]),
        &[],
        expect![[r#"
            chancery: "2020-01-01T00:00" is over already
              help: give a time to come, or leave --until out
            exit 1
        "#]],
    );
    check(
        &run(&["presence", "clear", ERIN]),
        &[],
        expect![[r#"
        erin@contoso.example is seen as devices and calls say
        exit 0
    "#]],
    );
    check(
        &run(&["access", "set", ERIN, "frank@contoso.example", "team"]),
        &[],
        expect![[r#"
        frank@contoso.example sees erin@contoso.example at the level team
        exit 0
    "#]],
    );
    check(
        &run(&["access", "set", ERIN, "fabrikam.example", "friend"]),
        &[],
        expect![[r#"
        chancery: "friend" is no access level; there are blocked, external, company, team, personal
        exit 1
    "#]],
    );
    check(
        &run(&["access", "set", ERIN, "not a subject", "team"]),
        &[],
        expect![[r#"
        chancery: "not a subject" is nobody: write user@domain, a domain, same-organisation, federated or everybody
        exit 1
    "#]],
    );
    check(
        &run(&["access", "show", ERIN]),
        &[],
        expect![[r#"
        frank@contoso.example  team      rule team
        same-organisation      company   without a rule
        federated              external  without a rule
        exit 0
    "#]],
    );
    check(
        &run(&["access", "unset", ERIN, "frank@contoso.example"]),
        &[],
        expect![[r#"
        erin@contoso.example says nothing of frank@contoso.example any more
        exit 0
    "#]],
    );
    check(
        &run(&["access", "unset", ERIN, "frank@contoso.example"]),
        &[],
        expect![[r#"
        erin@contoso.example says nothing of frank@contoso.example any more
        exit 0
    "#]],
    );
    running.stop();
}

#[test]
fn the_address_book_is_read_by_people_and_by_programs() {
    let dir = tempfile::tempdir().unwrap();
    let (running, run) = demo(dir.path());
    let shown = run(&["addressbook", "show", ERIN, "--json"]);
    let shown: Value = serde_json::from_str(&shown.1).unwrap_or_else(|_| panic!("{shown:?}"));
    let id = shown["id"].as_str().unwrap();
    check(
        &run(&["addressbook", "show", ERIN]),
        &[(id, "ID")],
        expect![[r#"
        address:          erin@contoso.example
        display name:     Erin
        id:               ID
        kind:             person
        exit 0
    "#]],
    );
    check(
        &run(&["addressbook", "show", "grace"]),
        &[],
        expect![[r#"
        chancery: grace is not in the address book; `chancery addressbook search` finds names
        exit 1
    "#]],
    );
    check(
        &run(&["addressbook", "search", "fra"]),
        &[],
        expect![[r#"
        Frank                          frank@contoso.example
        exit 0
    "#]],
    );
    check(
        &run(&["addressbook", "search", "grace"]),
        &[],
        expect![[r#"
        nobody is found
        exit 0
    "#]],
    );
    let (code, cards, _) = run(&["addressbook", "export"]);
    assert_eq!((code, cards.matches("BEGIN:VCARD").count()), (0, 2), "{cards}");
    let (code, lines, _) = run(&["addressbook", "export", "--json"]);
    assert!(code == 0 && lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{lines}");
    running.stop();
}
