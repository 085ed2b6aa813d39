//! The directories that other tests use are what they say: each is started, changed and read with the tools of OpenLDAP, so that
//! a fault of the test bed is not taken for one of the server.

use std::process::Command;

use system_tests::{ActiveDirectory, OpenLdap};

#[test]
fn active_directory_takes_changes_and_gives_deleted_people_back() {
    let Some(domain) = ActiveDirectory::shared("a test bed of Active Directory") else { return };
    let person = domain.person();
    let of = |attribute: &str| domain.search(&format!("(sAMAccountName={})", person.login), &[attribute]);
    assert!(of("mail").contains(&format!("mail: {}", person.address())), "{}", of("mail"));
    domain.replace(&person.dn, "department", "Changed");
    assert!(of("department").contains("department: Changed"));
    domain.replace(&person.dn, "department", "");
    assert!(!of("department").contains("department:"));
    let identity = of("objectGUID");
    domain.delete(&person.dn);
    assert!(!of("dn").contains("dn:"), "{}", of("dn"));
    domain.restore(&person.login, &person.dn, "");
    assert_eq!(of("objectGUID"), identity);
}

#[test]
fn active_directory_of_ones_own_comes_back_as_it_was() {
    let Some(domain) = ActiveDirectory::own("a test bed of Active Directory") else { return };
    let person = domain.person();
    domain.stop();
    assert!(std::net::TcpStream::connect((domain.ip(), 636)).is_err());
    domain.start();
    assert!(domain.search(&format!("(sAMAccountName={})", person.login), &["dn"]).contains(&person.dn));
}

#[test]
fn openldap_serves_its_people_over_tls() {
    let Some(slapd) = OpenLdap::start("a test bed of OpenLDAP") else { return };
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: title\ntitle: Countess\n",
        OpenLdap::dn("ada")
    ));
    let output = Command::new("ldapsearch")
        .args(["-LLL", "-x", "-H", &format!("ldaps://{}", slapd.ldaps()), "-b", OpenLdap::BASE])
        .args(["-D", OpenLdap::READER, "-w", OpenLdap::READER_PASSWORD])
        .args(["(uid=ada)", "title", "entryUUID", "entryCSN", "userPassword"])
        .env("LDAPTLS_CACERT", slapd.ca())
        .output()
        .expect("ldapsearch runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("title: Countess") && said.contains("entryUUID: ") && said.contains("entryCSN: "));
    assert!(!said.contains("userPassword"), "{said}");
}
