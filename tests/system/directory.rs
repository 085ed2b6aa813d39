//! The organisation's directory: what it says is live within seconds, and what happens to it harms nobody.

use serde_json::Value;
use system_tests::{
    ActiveDirectory, Configuration, LIVE_WITHIN, OpenLdap, Server, chancery, eventually, eventually_within,
};

const WHAT: &str = "Active Directory";

/// A server that has read the whole domain once.
fn follow(domain: &ActiveDirectory) -> Server {
    let server = Configuration::following(domain).serve();
    server.replicate();
    server
}

fn name_of(entry: &Value) -> &str {
    entry["card"]["display_name"].as_str().expect("everybody has a name")
}

fn alarms(server: &Server) -> Vec<String> {
    let report = server.replication_report();
    let alarms = report["alarms"].as_array().expect("a list");
    alarms.iter().map(|alarm| alarm["alarm"].as_str().expect("a word").to_owned()).collect()
}

/// The findings about an entry.
fn findings_about(server: &Server, dn: &str) -> Vec<String> {
    let report = server.replication_report();
    let findings = report["findings"].as_array().expect("a list").iter();
    let about =
        findings.filter(|finding| finding["dn"].as_str().is_some_and(|of| of.eq_ignore_ascii_case(dn)));
    about.map(|finding| finding["finding"].as_str().expect("a word").to_owned()).collect()
}

#[test]
fn people_contacts_and_groups_of_a_domain_are_there_after_the_first_read() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let server = follow(&domain);
    for login in domain.fact("USERS").split_whitespace() {
        let account = server.account_of(&format!("{login}@corp.example"));
        assert!(account.is_some(), "{login} has an account:\n{}", server.log());
    }
    let grace = server.entry("grace@corp.example").expect("she is listed");
    assert_eq!(name_of(&grace), "Grace García");
    assert_eq!(grace["card"]["department"], "Engineering");
    let bob = server.entry("bob@corp.example").expect("he is listed");
    assert_eq!(grace["manager"], bob["id"]);
    assert!(grace["card"]["phones"].as_array().expect("phones").iter().any(|phone| {
        phone["kind"] == "work" && phone["e164"].as_str().is_some_and(|number| number.starts_with("+1425555"))
    }));
    assert!(grace["photo"].is_string(), "{grace}");
    let pat = server.entry("pat@partner.example").expect("contacts are listed");
    assert_eq!(pat["kind"], "contact");
    assert!(server.account_of("pat@partner.example").is_none(), "a contact has no account here");
    assert_eq!(server.entry("engineering@corp.example").expect("groups are listed")["kind"], "group");
    // The metrics and the status tell it.
    assert!(server.get("/metrics").contains("\nchancery_directory_accounts{state=\"active\"} "));
    let (_, status) = server.command(&["status"]);
    assert!(status.contains("directory:     corp.example at dc1.corp.example"), "{status}");
}

#[test]
fn a_change_is_live_within_seconds_and_an_old_address_still_leads_there() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let server = follow(&domain);
    let person = domain.person();
    let address = person.address();
    eventually_within(LIVE_WITHIN, "a new person", || server.account_of(&address));
    domain.replace(&person.dn, "displayName", "Renamed Person");
    eventually_within(LIVE_WITHIN, "a new name", || {
        server.entry(&address).filter(|entry| name_of(entry) == "Renamed Person")
    });
    let renamed = format!("new-{address}");
    domain.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: msRTCSIP-PrimaryUserAddress\nmsRTCSIP-PrimaryUserAddress: sip:{renamed}\n-\n\
         replace: proxyAddresses\nproxyAddresses: sip:{renamed}\n",
        person.dn
    ));
    eventually_within(LIVE_WITHIN, "a new address", || {
        server.account_of(&renamed).filter(|account| account["address"] == renamed.as_str())
    });
    let (_, explained) = server.command(&["explain", "alice@corp.example", &address]);
    assert!(explained.contains(&renamed), "the old address leads to the new one: {explained}");
}

#[test]
fn a_disabled_and_a_deleted_person_lose_the_account_and_come_back_with_it() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let server = follow(&domain);
    let person = domain.person();
    let address = person.address();
    eventually_within(LIVE_WITHIN, "a new person", || server.account_of(&address));
    let standing = |wanted: &str| {
        let account = server.account_of(&address)?;
        (account["directory"]["standing"] == wanted).then_some(account)
    };
    domain.replace(&person.dn, "userAccountControl", "514");
    eventually_within(LIVE_WITHIN, "disabled", || standing("disabled"));
    domain.replace(&person.dn, "userAccountControl", "512");
    let before = eventually_within(LIVE_WITHIN, "enabled", || standing("active"));
    domain.delete(&person.dn);
    eventually_within(LIVE_WITHIN, "deleted", || standing("gone"));
    assert!(server.entry(&address).is_none(), "who is deleted is not listed");
    domain.restore(
        &person.login,
        &person.dn,
        &format!("-\nreplace: msRTCSIP-PrimaryUserAddress\nmsRTCSIP-PrimaryUserAddress: sip:{address}\n"),
    );
    let secret = "-\nreplace: userAccountControl\nuserAccountControl: 512\n";
    domain.modify(&format!("dn: {}\nchangetype: modify\n{}", person.dn, &secret[2..]));
    let after = eventually_within(LIVE_WITHIN, "restored", || standing("active"));
    assert_eq!(after["directory"]["object"], before["directory"]["object"], "it is the same account");
}

#[test]
fn what_an_administrator_disabled_here_stays_so_whatever_the_directory_says() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let server = follow(&domain);
    let person = domain.person();
    let address = person.address();
    eventually_within(LIVE_WITHIN, "a new person", || server.account_of(&address));
    assert_eq!(server.command(&["user", "disable", &address]).0, 0);
    domain.replace(&person.dn, "displayName", "Still Disabled");
    let account = eventually_within(LIVE_WITHIN, "a new name", || {
        server.account_of(&address).filter(|account| account["name"] == "Still Disabled")
    });
    assert_eq!(account["state"], "disabled");
    let (code, said) = server.command(&["replicate", "--full"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(server.account_of(&address).expect("it is there")["state"], "disabled");
}

#[test]
fn conflicts_and_illegal_values_are_in_the_report_and_harm_nobody_else() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let server = follow(&domain);
    let (first, rival, illegal) = (domain.person(), domain.person(), domain.person());
    eventually_within(LIVE_WITHIN, "the first", || server.account_of(&first.address()));
    eventually_within(LIVE_WITHIN, "the rival", || server.account_of(&rival.address()));
    domain.replace(&rival.dn, "msRTCSIP-PrimaryUserAddress", &format!("sip:{}", first.address()));
    domain.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: msRTCSIP-PrimaryUserAddress\nmsRTCSIP-PrimaryUserAddress: sip:no address\n-\n\
         replace: proxyAddresses\n-\nreplace: telephoneNumber\ntelephoneNumber: call me\n",
        illegal.dn
    ));
    let found = |dn: &str, wanted: &str| {
        let findings = findings_about(&server, dn);
        findings.iter().any(|finding| finding == wanted).then_some(findings)
    };
    eventually_within(LIVE_WITHIN, "a conflict", || found(&rival.dn, "address-taken"));
    eventually_within(LIVE_WITHIN, "an illegal address", || found(&illegal.dn, "illegal-address"));
    eventually_within(LIVE_WITHIN, "a rejected number", || found(&illegal.dn, "number-rejected"));
    let kept = server.account_of(&first.address()).expect("who had it keeps it");
    assert_eq!(kept["directory"]["standing"], "active");
    // A change of somebody else goes on being live.
    domain.replace(&first.dn, "displayName", "Unharmed");
    eventually_within(LIVE_WITHIN, "somebody else", || {
        server.account_of(&first.address()).filter(|account| account["name"] == "Unharmed")
    });
}

#[test]
fn groups_say_who_may_what_through_groups_within_groups() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let base = domain.fact("BASE_DN").to_owned();
    let person = domain.person();
    let (outer, inner) = (
        format!("CN=outer-{},OU=Groups,{base}", person.login),
        format!("CN=inner-{},OU=Groups,{base}", person.login),
    );
    for dn in [&outer, &inner] {
        let name = dn[3..].split(',').next().expect("a name");
        domain.modify(&format!(
            "dn: {dn}\nchangetype: add\nobjectClass: group\nsAMAccountName: {name}\ngroupType: -2147483646\n"
        ));
    }
    domain.modify(&format!("dn: {outer}\nchangetype: modify\nadd: member\nmember: {inner}\n"));
    let server = Configuration::following(&domain)
        .set_in("directory.groups", "enabled", &format!("{outer:?}"))
        .set_in("directory.groups", "federation", &format!("\"CN=Technical,OU=Groups,{base}\""))
        .set_in("directory.groups", "administrators", &format!("{inner:?}"))
        .serve();
    server.replicate();
    let address = person.address();
    assert!(
        server.account_of(&address).is_none_or(|account| account["directory"]["standing"] == "not-enabled")
    );
    // Others stay: that nobody at all is left would be held.
    for member in [&person, &domain.person(), &domain.person()] {
        domain.modify(&format!("dn: {inner}\nchangetype: modify\nadd: member\nmember: {}\n", member.dn));
    }
    let account = eventually_within(LIVE_WITHIN, "a member of a member group", || {
        server.account_of(&address).filter(|account| account["directory"]["standing"] == "active")
    });
    assert_eq!(account["role"], "administrator");
    assert_eq!(account["permissions"]["federation"], false);
    domain.modify(&format!("dn: {inner}\nchangetype: modify\ndelete: member\nmember: {}\n", person.dn));
    eventually_within(LIVE_WITHIN, "no member any more", || {
        server.account_of(&address).filter(|account| account["directory"]["standing"] == "not-enabled")
    });
}

#[test]
fn many_who_leave_at_once_stay_until_somebody_says_so() {
    let Some(domain) = ActiveDirectory::own(WHAT) else { return };
    let staff = format!("CN=All Staff,OU=Groups,{}", domain.fact("BASE_DN"));
    let server = Configuration::following(&domain)
        .set_in("directory", "removal_users", "3")
        .set_in("directory", "removal_percent", "5")
        .set_in("directory.groups", "enabled", &format!("{staff:?}"))
        .serve();
    server.replicate();
    let before = server.replication_report()["totals"]["accounts_active"].as_u64().expect("a number");
    assert_eq!(before, domain.fact("USERS").split_whitespace().count() as u64);
    // One slip of an administrator, and at once: everybody leaves the group but alice.
    domain.replace(&staff, "member", &format!("CN=Alice Anders,OU=Staff,{}", domain.fact("BASE_DN")));
    eventually("an alarm", || alarms(&server).contains(&"held".to_owned()).then_some(()));
    let report = server.replication_report();
    assert_eq!(report["totals"]["accounts_active"].as_u64(), Some(before), "nobody was cut off");
    assert!(server.get("/health").contains("accounts would be cut off"), "{}", server.get("/health"));
    let (code, said) = server.command(&["replicate", "--once"]);
    assert_eq!(code, 1, "{said}");
    let (code, said) = server.command(&["replicate", "--accept"]);
    assert_eq!(code, 0, "{said}");
    let report = server.replication_report();
    let after = report["totals"]["accounts_active"].as_u64().expect("a number");
    assert_eq!(after, 1, "{report}");
    assert!(alarms(&server).is_empty(), "{report}");
    // The last one goes as fast as any, where the directory says in so many words that she was deleted.
    domain.delete(&format!("CN=Alice Anders,OU=Staff,{}", domain.fact("BASE_DN")));
    eventually_within(LIVE_WITHIN, "a deletion", || {
        let account = server.account_of("alice@corp.example")?;
        (account["directory"]["standing"] == "gone").then_some(())
    });
    assert!(alarms(&server).is_empty(), "{}", server.replication_report());
}

#[test]
fn a_domain_that_is_away_is_an_alarm_and_nothing_else() {
    let Some(domain) = ActiveDirectory::own(WHAT) else { return };
    let server = follow(&domain);
    domain.stop();
    eventually("an alarm", || alarms(&server).contains(&"unreachable".to_owned()).then_some(()));
    let account = server.account_of("alice@corp.example").expect("she is there");
    assert_eq!(account["directory"]["standing"], "active");
    assert!(server.get("/health").starts_with("HTTP/1.1 200"), "SIP goes on");
    domain.start();
    let person = domain.person();
    eventually("a new person", || {
        server.command(&["replicate", "--once"]);
        server.account_of(&person.address())
    });
    assert!(alarms(&server).is_empty());
}

#[test]
fn local_accounts_stand_beside_those_of_the_directory_and_win() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let person = domain.person();
    let server = Configuration::following(&domain).serve();
    // Before or after the first read: whichever it was, the address belongs to somebody.
    server.add_user("local-only@corp.example");
    server.replicate();
    let local = server.account_of("local-only@corp.example").expect("it is there");
    assert!(local["directory"].is_null(), "{local}");
    assert!(server.account_of(&person.address()).expect("it is there")["directory"].is_object());
    let rival = domain.person();
    domain.replace(&rival.dn, "msRTCSIP-PrimaryUserAddress", "sip:local-only@corp.example");
    eventually_within(LIVE_WITHIN, "a finding", || {
        findings_about(&server, &rival.dn).contains(&"address-taken".to_owned()).then_some(())
    });
    assert!(server.account_of("local-only@corp.example").expect("it is there")["directory"].is_null());
}

#[test]
fn another_directory_than_active_directory_is_followed() {
    let Some(slapd) = OpenLdap::start("OpenLDAP") else { return };
    let server = Configuration::following_ldap(&slapd).serve();
    server.replicate();
    let ada = server.entry("ada@ldap.example").expect("she is listed");
    assert_eq!(name_of(&ada), "Ada Lovelace");
    assert!(server.account_of("kurt@ldap.example").is_some());
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: displayName\ndisplayName: Countess of Lovelace\n",
        OpenLdap::dn("ada")
    ));
    eventually_within(LIVE_WITHIN, "a new name", || {
        server.entry("ada@ldap.example").filter(|entry| name_of(entry) == "Countess of Lovelace")
    });
    slapd.modify(&format!("dn: {}\nchangetype: delete\n", OpenLdap::dn("kurt")));
    eventually("a deletion", || {
        server.command(&["replicate", "--full"]);
        let account = server.account_of("kurt@ldap.example")?;
        (account["directory"]["standing"] == "gone").then_some(())
    });
}

#[test]
fn a_dry_run_changes_nothing_and_a_server_without_a_directory_says_so() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let server = Configuration::following(&domain).set_in("directory", "poll_seconds", "3600").serve();
    server.replicate();
    let person = domain.person();
    let (code, said) = server.command(&["replicate", "--dry-run"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("would be done"), "{said}");
    let alone = Configuration::new("alone.example").serve();
    let (code, said) = alone.command(&["replicate", "--report"]);
    assert_eq!(code, 1);
    assert!(said.contains("[directory] kind"), "{said}");
    drop(person);
}

#[test]
fn the_check_takes_each_step_and_says_what_to_mend() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let server = follow(&domain);
    let check = || {
        let mut command = std::process::Command::new(chancery());
        command.args(["check", "--config"]).arg(server.folder().join("chancery.toml"));
        String::from_utf8_lossy(&command.output().expect("chancery runs").stdout).into_owned()
    };
    let said = check();
    for found in
        ["lets svc-sync@corp.example in over TLS", "changes are found (dirsync)", "deletions are seen"]
    {
        assert!(said.contains(found), "{said}");
    }
    let group = "CN=Nobody,DC=corp,DC=example";
    server.edit_configuration(|text| text.replacen("# enabled = \"\"", &format!("enabled = {group:?}"), 1));
    let said = check();
    assert!(said.contains("enabled: there is no cn=nobody,dc=corp,dc=example"), "{said}");
    let ours = server.folder().join("ca.pem");
    server.edit_configuration(|text| text.replace(&format!("{:?}", domain.ca()), &format!("{ours:?}")));
    let said = check();
    assert!(said.contains("must hold the CA that issued the server's certificate"), "{said}");
}

#[test]
fn a_directory_that_cannot_be_begun_with_is_an_alarm_and_a_reload_that_fails_ends_nothing() {
    let Some(slapd) = OpenLdap::start("OpenLDAP") else { return };
    // At the start there is no CA yet.
    let configuration = Configuration::following_ldap(&slapd);
    let ca = configuration.folder().join("directory-ca.pem");
    let missing = configuration.folder().join("missing.pem");
    let server = configuration.set_in("directory", "authority_file", &format!("{ca:?}")).serve();
    eventually("an alarm", || server.get("/health").contains("the directory is not followed").then_some(()));
    assert!(server.get("/metrics").contains("chancery_directory_alarms{alarm=\"not-followed\"} 1\n"));
    let (code, said) = server.command(&["replicate", "--once"]);
    assert!(code != 0 && said.contains("directory-ca.pem"), "{code} {said}");
    std::fs::copy(slapd.ca(), &ca).expect("the folder is ours");
    eventually("somebody", || server.account_of("ada@ldap.example"));
    assert!(alarms(&server).is_empty());
    // Other settings that cannot be used: the ones before stay, and somebody is told.
    let reload = |from: &std::path::Path, to: &std::path::Path| {
        server.edit_configuration(|text| text.replace(&format!("{from:?}"), &format!("{to:?}")));
        server.hang_up_signal();
    };
    reload(&ca, &missing);
    eventually("an alarm", || alarms(&server).contains(&"not-followed".to_owned()).then_some(()));
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: displayName\ndisplayName: Still Followed\n",
        OpenLdap::dn("ada")
    ));
    eventually("a change", || {
        server.entry("ada@ldap.example").filter(|entry| name_of(entry) == "Still Followed")
    });
    reload(&missing, &ca);
    eventually("no alarm", || alarms(&server).is_empty().then_some(()));
}

/// The names of everybody whom a test bed has, and one change after that: what following is.
fn is_followed(domain: &ActiveDirectory, server: &Server) {
    server.replicate();
    assert!(server.account_of("alice@corp.example").is_some(), "{}", server.log());
    let person = domain.person();
    eventually_within(LIVE_WITHIN, "a new person", || server.account_of(&person.address()));
}

#[test]
fn a_domain_is_followed_over_starttls() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let server = Configuration::following(&domain).set_in("directory", "security", "\"starttls\"").serve();
    is_followed(&domain, &server);
}

#[test]
fn a_domain_is_followed_with_keys_instead_of_a_password() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    let configuration = Configuration::following(&domain);
    let principal = format!("{}@{}", domain.fact("SYNC_USER"), domain.fact("REALM"));
    let keytab = configuration.folder().join("directory.keytab");
    domain.keytab(&principal, domain.fact("SYNC_PASSWORD"), &keytab);
    let (name, file) = domain.kerberos();
    let server = configuration
        .set_in("directory", "account", &format!("{principal:?}"))
        .set_in("directory", "password_file", "\"\"")
        .set_in("directory", "keytab_file", &format!("{keytab:?}"))
        .environment(name, file)
        .serve();
    is_followed(&domain, &server);
}

#[test]
fn the_servers_of_a_domain_are_found_by_dns() {
    let Some(domain) = ActiveDirectory::shared(WHAT) else { return };
    // A site that nobody is in is no reason to find nobody.
    for site in ["Default-First-Site-Name", "Nowhere"] {
        let server = Configuration::following(&domain)
            .set_in("directory", "servers", "[]")
            .set_in("directory", "site", &format!("{site:?}"))
            .set_in("dns", "hosts", "[]")
            .set_in("dns", "servers", &format!("[\"{}\"]", domain.ip()))
            .serve();
        is_followed(&domain, &server);
        assert_eq!(server.replication_report()["server"]["host"], "dc1.corp.example", "{site}");
    }
}

#[test]
fn another_domain_behind_the_same_name_is_taken_when_somebody_says_so() {
    let Some(first) = ActiveDirectory::own(WHAT) else { return };
    let server = follow(&first);
    let object = |address: &str| {
        let account = server.account_of(address)?;
        account["directory"]["object"].as_str().map(str::to_owned)
    };
    let before = object("alice@corp.example").expect("she has an account");
    let second = ActiveDirectory::own(WHAT).expect("there was one already");
    first.stop();
    server.edit_configuration(|text| {
        let text = text.replace(&format!("{:?}", first.ca()), &format!("{:?}", second.ca()));
        text.replace(&format!("{} dc1", first.ip()), &format!("{} dc1", second.ip()))
    });
    server.hang_up_signal();
    eventually("an alarm", || alarms(&server).contains(&"another-domain".to_owned()).then_some(()));
    assert_eq!(object("alice@corp.example").as_ref(), Some(&before), "nothing of it is taken over");
    let (code, said) = server.command(&["replicate", "--once"]);
    assert!(code != 0 && said.contains("another domain"), "{said}");
    let (code, said) = server.command(&["replicate", "--accept"]);
    assert_eq!(code, 0, "{said}\n{}", server.log());
    let after = object("alice@corp.example").expect("she of the other domain");
    assert_ne!(after, before);
    assert!(alarms(&server).is_empty(), "{}", server.replication_report());
    let person = second.person();
    eventually_within(LIVE_WITHIN, "a new person", || server.account_of(&person.address()));
}
