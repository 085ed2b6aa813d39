//! Reading Active Directory and following its changes.

use std::collections::BTreeSet;

use directory::ObjectId;
use directory_source::{FailureKind, NameKind, Named, ServerKind, Watermark};
use ldap::{Account, Security, Servers};
use system_tests::{ActiveDirectory, Person};

use super::{Driver, Plan, find, run, selection, server, texts};

const KIND: ServerKind = ServerKind::ActiveDirectory;

#[test]
fn a_domain_controller_is_found_by_dns_and_says_who_it_is() {
    let Some(domain) = ActiveDirectory::shared("the driver finds a domain controller") else { return };
    run(async {
        let facts = Plan::of_domain(&domain).start().connect().await.expect("it lets us in");
        assert_eq!(facts.host, domain.fact("HOST"));
        assert_eq!((facts.kind, facts.base.as_str()), (KIND, domain.fact("BASE_DN")));
        assert_eq!((facts.dns_domain.as_str(), facts.realm.as_str()), ("corp.example", "CORP.EXAMPLE"));
        assert_eq!(facts.netbios.as_deref(), Some("CORP"));
        assert!(facts.invocation.is_some() && facts.highest_usn.is_some_and(|usn| usn > 0));
        assert_eq!(facts.lockout_duration, None, "until an administrator unlocks");
        assert_eq!(facts.lockout_threshold, Some(5));
    });
}

#[test]
fn a_listed_controller_is_reached_with_starttls() {
    let Some(domain) = ActiveDirectory::shared("the driver speaks StartTLS") else { return };
    run(async {
        let plan = Plan {
            security: Security::StartTls,
            servers: Servers::Listed(vec![server(domain.fact("HOST"), 389)]),
            ..Plan::of_domain(&domain)
        };
        plan.start().connect().await.expect("it lets us in");
    });
}

#[test]
fn everything_is_read_whole_and_by_names_that_last() {
    let Some(domain) = ActiveDirectory::shared("the driver reads a domain") else { return };
    run(async {
        let mut driver = Plan::of_domain(&domain).start();
        driver.connect().await.expect("it lets us in");
        let all = driver.read_all(&selection(KIND)).await.expect("it can be read");
        let alice = find(&all, "samaccountname", "alice").expect("alice is there");
        assert_eq!(alice.dn, "CN=Alice Anders,OU=Staff,DC=corp,DC=example");
        assert!(alice.attributes["thumbnailphoto"][0].starts_with(b"\x89PNG"));
        let bob = find(&all, "samaccountname", "bob").expect("bob is there");
        let named = |value: &String| Named::parse(value).expect("a name").kind;
        assert_eq!(texts(bob, "manager").iter().map(named).collect::<Vec<_>>(), [NameKind::Id(alice.id)]);
        let engineering = find(&all, "samaccountname", "Engineering").expect("the group is there");
        let members: Vec<NameKind> = texts(engineering, "member").iter().map(named).collect();
        assert!(members.len() == 5 && members.contains(&NameKind::Id(bob.id)), "{members:?}");
        assert!(find(&all, "cn", "Pat Partner").is_some(), "contacts are read");
        assert!(find(&all, "cn", "DC1").is_none(), "computers are not");
        let again = driver.read(&BTreeSet::from([alice.id, ObjectId([7; 16])]), &selection(KIND)).await;
        assert_eq!(again.values().collect::<Vec<_>>(), [alice]);
    });
}

/// Samba gives all values of an attribute at once, unless it is asked for a range; Microsoft's directory gives 1,500 at most.
#[test]
fn values_that_come_in_ranges_are_completed() {
    let Some(domain) = ActiveDirectory::shared("the driver reads ranges of values") else { return };
    run(async {
        let mut driver = Plan::of_domain(&domain).start();
        driver.connect().await.expect("it lets us in");
        let chosen = selection(KIND);
        let whole = driver.read_all(&chosen).await.expect("it can be read");
        let mut in_ranges = chosen.clone();
        for attribute in &mut in_ranges.attributes {
            if attribute == "member" {
                attribute.push_str(";range=0-1");
            }
        }
        let ranges = driver.read_all(&in_ranges).await.expect("it can be read");
        let members =
            |entries| texts(find(entries, "samaccountname", "Engineering").expect("it is there"), "member");
        assert_eq!((members(&ranges).len(), members(&ranges)), (5, members(&whole)));
    });
}

/// Who of the domain this person is.
async fn id(driver: &mut Driver, person: &Person) -> ObjectId {
    let all = driver.read_all(&selection(KIND)).await.expect("it can be read");
    find(&all, "samaccountname", &person.login).expect("the person is there").id
}

#[test]
fn every_kind_of_change_shows_by_dirsync() {
    let Some(domain) = ActiveDirectory::shared("the driver follows changes by DirSync") else { return };
    run(async {
        let mut driver = Plan::of_domain(&domain).start();
        driver.connect().await.expect("it lets us in");
        let mark = driver.mark(&selection(KIND)).await;
        assert_eq!(mark.way(), "dirsync");
        follow(&domain, &mut driver, mark).await;
    });
}

#[test]
fn every_kind_of_change_shows_by_numbers() {
    let Some(domain) = ActiveDirectory::shared("the driver follows changes by numbers") else { return };
    run(async {
        let mut driver = Plan::of_domain(&domain).start();
        let facts = driver.connect().await.expect("it lets us in");
        let invocation = facts.invocation.expect("a domain controller has one");
        let usn = facts.highest_usn.expect("a domain controller numbers changes");
        follow(&domain, &mut driver, Watermark::Usn { usn, invocation }).await;
    });
}

/// Makes changes one after the other, and looks for each.
async fn follow(domain: &ActiveDirectory, driver: &mut Driver, mut since: Watermark) {
    let chosen = selection(KIND);
    let nothing = driver.changes(&mut since, &chosen).await;
    assert!(nothing.changed.len() < 100, "the mark is at the end: {}", nothing.changed.len());

    let person = domain.person();
    let added = driver.changes(&mut since, &chosen).await;
    let id = id(driver, &person).await;
    assert!(added.changed.contains(&id), "added: {added:?}");

    domain.replace(&person.dn, "telephoneNumber", "+1 425 555 0199");
    let changes = driver.changes(&mut since, &chosen).await;
    assert!(changes.changed.contains(&id), "changed: {changes:?}");

    domain.replace(&person.dn, "telephoneNumber", "");
    let changes = driver.changes(&mut since, &chosen).await;
    assert!(changes.changed.contains(&id), "an attribute removed: {changes:?}");
    let entry = &driver.read(&BTreeSet::from([id]), &chosen).await[&id];
    assert!(texts(entry, "telephonenumber").is_empty());

    let group = format!("CN=Group {},OU=Groups,{}", person.login, domain.fact("BASE_DN"));
    domain.modify(&format!(
        "dn: {group}\nchangetype: add\nobjectClass: group\nsAMAccountName: g{}\n",
        person.login
    ));
    let _ = driver.changes(&mut since, &chosen).await;
    domain.modify(&format!("dn: {group}\nchangetype: modify\nadd: member\nmember: {}\n", person.dn));
    let changes = driver.changes(&mut since, &chosen).await;
    let read = driver.read(&changes.changed, &chosen).await;
    let group_entry =
        find(&read, "samaccountname", &format!("g{}", person.login)).expect("a new member shows");
    assert_eq!(texts(group_entry, "member").len(), 1);
    domain.modify(&format!("dn: {group}\nchangetype: modify\ndelete: member\nmember: {}\n", person.dn));
    let changes = driver.changes(&mut since, &chosen).await;
    assert!(changes.changed.contains(&group_entry.id), "a member who left shows: {changes:?}");

    let renamed = format!("CN=Renamed {}", person.login);
    let parent = format!("OU=States,{}", domain.fact("BASE_DN"));
    domain.modify(&format!(
        "dn: {}\nchangetype: modrdn\nnewrdn: {renamed}\ndeleteoldrdn: 1\nnewsuperior: {parent}\n",
        person.dn
    ));
    let changes = driver.changes(&mut since, &chosen).await;
    assert!(changes.changed.contains(&id), "moved: {changes:?}");
    let moved = format!("{renamed},{parent}");
    assert_eq!(driver.read(&BTreeSet::from([id]), &chosen).await[&id].dn, moved);

    let unit = format!("OU=Unit {},{}", person.login, domain.fact("BASE_DN"));
    domain.modify(&format!("dn: {unit}\nchangetype: add\nobjectClass: organizationalUnit\n"));
    domain.modify(&format!(
        "dn: {moved}\nchangetype: modrdn\nnewrdn: {renamed}\ndeleteoldrdn: 1\nnewsuperior: {unit}\n"
    ));
    let _ = driver.changes(&mut since, &chosen).await;
    domain.modify(&format!(
        "dn: {unit}\nchangetype: modrdn\nnewrdn: OU=Other {}\ndeleteoldrdn: 1\n",
        person.login
    ));
    let changes = driver.changes(&mut since, &chosen).await;
    assert!(changes.changed.contains(&id), "who is in a unit that was renamed shows: {changes:?}");
    let unit = format!("OU=Other {},{}", person.login, domain.fact("BASE_DN"));
    let moved = format!("{renamed},{unit}");
    assert_eq!(driver.read(&BTreeSet::from([id]), &chosen).await[&id].dn, moved);

    domain.delete(&moved);
    let changes = driver.changes(&mut since, &chosen).await;
    assert!(changes.deleted.contains(&id), "deleted: {changes:?}");
    assert!(driver.read(&BTreeSet::from([id]), &chosen).await.is_empty());

    domain.restore(&person.login, &person.dn, "");
    let changes = driver.changes(&mut since, &chosen).await;
    assert!(changes.changed.contains(&id) && !changes.deleted.contains(&id), "restored: {changes:?}");
    domain.delete(&person.dn);
    domain.delete(&group);
    domain.delete(&unit);
}

/// An account without any right finds changes, and misses those who are deleted by counting.
#[test]
fn an_ordinary_account_finds_out_who_is_gone() {
    let Some(domain) = ActiveDirectory::shared("the driver reads with an ordinary account") else { return };
    run(async {
        let reader = domain.person();
        let mut driver = Plan::of_somebody(&domain, &reader.address(), &reader.password).start();
        driver.connect().await.expect("it lets us in");
        let chosen = selection(KIND);
        let mut since = driver.mark(&chosen).await;
        let person = domain.person();
        let id = id(&mut driver, &person).await;
        assert!(driver.changes(&mut since, &chosen).await.changed.contains(&id));
        domain.delete(&person.dn);
        let until = tokio::time::Instant::now() + 3 * system_tests::PATIENCE;
        while !driver.changes(&mut since, &chosen).await.changed.contains(&id) {
            assert!(tokio::time::Instant::now() < until, "the deletion shows");
            tokio::task::yield_now().await;
        }
        domain.delete(&reader.dn);
    });
}

#[test]
fn a_notification_hints_at_a_change() {
    let Some(domain) = ActiveDirectory::shared("the driver is notified") else { return };
    run(async {
        let mut driver = Plan::of_domain(&domain).start();
        driver.connect().await.expect("it lets us in");
        let person = domain.person();
        for number in 0.. {
            // It is heard of once the search has begun, which is not seen from here.
            domain.replace(&person.dn, "department", &format!("Number {number}"));
            let hint = tokio::time::timeout(system_tests::PATIENCE / 4, driver.source.next()).await;
            match hint {
                Ok(directory_source::Event::Hint) => break,
                Ok(other) => panic!("{other:?}"),
                Err(_) => assert!(number < 10, "no hint comes"),
            }
        }
        domain.delete(&person.dn);
    });
}

#[test]
fn a_cookie_of_nobody_is_a_watermark_that_is_refused() {
    let Some(domain) = ActiveDirectory::shared("the driver shows a wrong cookie") else { return };
    run(async {
        let mut driver = Plan::of_domain(&domain).start();
        let facts = driver.connect().await.expect("it lets us in");
        let invocation = facts.invocation.expect("a domain controller has one");
        let mut nonsense =
            Watermark::DirSync { cookie: b"nonsense".to_vec(), invocation, host: facts.host, usn: None };
        let failure = driver.try_changes(&mut nonsense, &selection(KIND)).await.expect_err("it is refused");
        assert_eq!(failure.kind, FailureKind::WatermarkRefused, "{failure}");
        let mut ahead = Watermark::Usn { usn: u64::MAX / 2, invocation };
        driver.connect().await.expect("it lets us in again");
        let failure = driver.try_changes(&mut ahead, &selection(KIND)).await.expect_err("it is refused");
        assert_eq!(failure.kind, FailureKind::WatermarkRefused, "{failure}");
    });
}

#[test]
fn a_new_password_in_the_file_needs_no_restart_and_an_empty_one_is_never_sent() {
    let Some(domain) = ActiveDirectory::shared("the driver reads its password anew") else { return };
    run(async {
        let plan = Plan::of_domain(&domain);
        let Account::Simple { password_file, .. } = &plan.account else { unreachable!("it has a password") };
        let mut driver = plan.start();
        for (text, expected) in [
            ("wrong", Some(FailureKind::Denied)),
            ("", Some(FailureKind::Denied)),
            (domain.fact("SYNC_PASSWORD"), None),
        ] {
            std::fs::write(password_file, text).expect("the folder is ours");
            let failure = driver.connect().await.err();
            assert_eq!(failure.as_ref().map(|failure| failure.kind), expected, "{failure:?}");
            assert!(!failure.is_some_and(|failure| failure.text.contains("wrong")), "no password is shown");
        }
    });
}
