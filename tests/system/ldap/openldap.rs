//! Reading OpenLDAP and following its changes.

use std::collections::BTreeSet;

use directory_source::ServerKind;
use ldap::{Security, Servers};
use system_tests::{OpenLdap, PATIENCE};

use super::{Plan, find, run, selection, server, texts};

const KIND: ServerKind = ServerKind::Ldap;

#[test]
fn a_directory_without_windows_is_read_and_followed() {
    let Some(slapd) = OpenLdap::start("the driver reads OpenLDAP") else { return };
    run(async {
        let chosen = selection(KIND);
        let mut driver = Plan::of_openldap(&slapd).start();
        let facts = driver.connect().await.expect("it lets us in");
        assert_eq!((facts.base.as_str(), facts.dns_domain.as_str()), (OpenLdap::BASE, "ldap.example"));
        let mut since = driver.mark(&chosen).await;
        let all = driver.read_all(&chosen).await.expect("it can be read");
        assert_eq!(all.len(), 5, "three people, two groups: {all:?}");
        let ada = find(&all, "uid", "ada").expect("ada is there").id;
        let kurt = find(&all, "uid", "kurt").expect("kurt is there").id;
        let group = find(&all, "cn", "everybody").expect("the group is there");
        assert_eq!(texts(group, "member").len(), 3);
        // What lies a few minutes back may show once more.
        driver.changes(&mut since, &chosen).await;
        let quiet = driver.changes(&mut since, &chosen).await;
        assert!(quiet.changed.is_empty() && quiet.deleted.is_empty(), "{quiet:?}");

        slapd.modify(&format!(
            "dn: {}\nchangetype: modify\nreplace: title\ntitle: Countess\n",
            OpenLdap::dn("ada")
        ));
        let changes = driver.changes(&mut since, &chosen).await;
        assert_eq!(changes.changed, BTreeSet::from([ada]));
        let entry = &driver.read(&changes.changed, &chosen).await[&ada];
        assert_eq!(texts(entry, "title"), ["Countess"]);

        slapd.modify(&format!(
            "dn: {}\nchangetype: modrdn\nnewrdn: uid=lovelace\ndeleteoldrdn: 1\n",
            OpenLdap::dn("ada")
        ));
        assert_eq!(driver.changes(&mut since, &chosen).await.changed, BTreeSet::from([ada]));
        assert_eq!(driver.read(&BTreeSet::from([ada]), &chosen).await[&ada].dn, OpenLdap::dn("lovelace"));

        slapd.modify(&format!(
            "dn: ou=people,{}\nchangetype: modrdn\nnewrdn: ou=folk\ndeleteoldrdn: 1\n",
            OpenLdap::BASE
        ));
        assert_eq!(driver.changes(&mut since, &chosen).await.changed.len(), 3, "whoever is in there");

        slapd.modify(&format!("dn: uid=kurt,ou=folk,{}\nchangetype: delete\n", OpenLdap::BASE));
        let until = tokio::time::Instant::now() + 3 * PATIENCE;
        loop {
            let changes = driver.changes(&mut since, &chosen).await;
            assert!(changes.deleted.is_empty(), "it tells nobody: {changes:?}");
            if changes.changed.contains(&kurt) {
                break;
            }
            assert!(tokio::time::Instant::now() < until, "{changes:?}");
            tokio::task::yield_now().await;
        }
        assert!(driver.read(&BTreeSet::from([kurt]), &chosen).await.is_empty());
    });
}

#[test]
fn starttls_and_a_base_below_the_head_work() {
    let Some(slapd) = OpenLdap::start("the driver reads a part of OpenLDAP") else { return };
    run(async {
        let plan = Plan {
            security: Security::StartTls,
            servers: Servers::Listed(vec![server("ldap.ldap.example", slapd.ldap().port())]),
            base: Some(format!("ou=groups,{}", OpenLdap::BASE)),
            ..Plan::of_openldap(&slapd)
        };
        let mut driver = plan.start();
        driver.connect().await.expect("it lets us in");
        let all = driver.read_all(&selection(KIND)).await.expect("it can be read");
        assert_eq!(all.len(), 2, "{all:?}");
    });
}
