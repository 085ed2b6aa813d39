//! From attributes to what an entry says of itself, as tables.

use directory::numbers::{NumberRules, NumberSettings};
use directory::{DomainName, ObjectId};
use directory_source::{Dn, Entry, ServerKind};
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{Field, PHOTO_OCTETS_MAX, read};
use crate::settings::Settings;

fn settings(kind: ServerKind) -> Settings {
    let country_code = Some("49".to_owned());
    let numbers =
        NumberSettings { country_code, trunk_prefix: Some("0".to_owned()), ..NumberSettings::default() };
    Settings {
        numbers: NumberRules::new(&numbers).unwrap(),
        rooms: vec![Dn::parse("OU=Rooms,DC=x").unwrap()],
        ..Settings::new(kind, vec![DomainName::parse("corp.example").unwrap()])
    }
}

/// An entry of lines `attribute: value`; `dn` is its name. What no account is without it has unless it says otherwise.
fn entry(text: &str) -> Entry {
    let mut entry =
        Entry { id: ObjectId([1; 16]), dn: "CN=a,DC=x".to_owned(), attributes: Default::default() };
    if text.contains("objectclass: user") && !text.contains("useraccountcontrol: ") {
        entry.attributes.insert("useraccountcontrol".to_owned(), vec![b"512".to_vec()]);
    }
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "dn" {
            entry.dn = value.to_owned();
        } else {
            entry.attributes.entry(name.to_owned()).or_default().push(value.as_bytes().to_vec());
        }
    }
    entry
}

/// What is read of it, as JSON without what is always there.
fn shown(settings: &Settings, entry: &Entry) -> String {
    let Some(mapped) = read(settings, entry) else { return "nothing\n".to_owned() };
    let mut object = serde_json::to_value(&mapped.object).unwrap();
    object.as_object_mut().unwrap().remove("id");
    let mut lines = vec![object.to_string()];
    lines.extend(mapped.claim.iter().map(|claim| {
        format!("claims {}{}", claim.address, if claim.is_explicit { " explicitly" } else { "" })
    }));
    lines.extend(mapped.secondaries.iter().map(|address| format!("also {address}")));
    lines.extend(mapped.foreign.iter().map(|address| format!("elsewhere {address}")));
    lines.extend(mapped.primary_group.iter().map(|rid| format!("primary group {rid}")));
    lines.extend(mapped.manager.iter().map(|_| "has a manager".to_owned()));
    lines.extend((!mapped.members.is_empty()).then(|| format!("{} members", mapped.members.len())));
    let gates = mapped.gates;
    lines.extend(gates.is_disabled.then(|| "disabled".to_owned()));
    lines.extend(gates.is_unreadable.then(|| "unreadable".to_owned()));
    lines.extend(gates.is_switched_off.then(|| "switched off".to_owned()));
    lines.extend(gates.expires_unix_ms.map(|time| format!("expires {time}")));
    lines.extend(gates.locked_unix_ms.map(|time| format!("locked {time}")));
    lines.extend(mapped.findings.iter().map(|finding| format!("! {finding}")));
    lines.join("\n") + "\n"
}

fn check(text: &str, expected: &Expect) {
    check_with(&settings(ServerKind::ActiveDirectory), text, expected);
}

fn check_with(settings: &Settings, text: &str, expected: &Expect) {
    expected.assert_eq(&shown(settings, &entry(text)));
}

#[test]
fn a_user_of_active_directory() {
    check(
        "objectclass: top
        objectclass: user
        displayname: Ada Müller
        givenname: Ada
        sn: Müller
        title: Director
        department: Engineering
        physicaldeliveryofficename: 4.12
        streetaddress: Hauptstr. 1
        l: Berlin
        co: Germany
        mail: ada@corp.example
        telephonenumber: +49 (30) 1234-567 ext. 12
        msrtcsip-line: tel:+49301234567;ext=12
        mobile: 0171 123 45 67
        samaccountname: ada
        userprincipalname: ada@corp.example
        msrtcsip-primaryuseraddress: sip:Ada@corp.example
        msrtcsip-userenabled: TRUE
        proxyaddresses: SMTP:ada@corp.example
        proxyaddresses: sip:ada@corp.example
        proxyaddresses: SIP:ada.mueller@corp.example
        manager: <GUID=a9d1ca15-7688-11d1-aded-00c04fd8d5cd>;CN=Boss,DC=x
        useraccountcontrol: 512
        accountexpires: 9223372036854775807
        lockouttime: 0
        primarygroupid: 513",
        &expect![[r#"
            {"card":{"city":"Berlin","country":"Germany","department":"Engineering","display_name":"Ada Müller","given_name":"Ada","mail":["ada@corp.example"],"office":"4.12","phones":[{"e164":"+49301234567","extension":"12","kind":"work","written":"+49 (30) 1234-567 ext. 12"},{"e164":"+491711234567","kind":"mobile","written":"0171 123 45 67"}],"street":"Hauptstr. 1","surname":"Müller","title":"Director"},"kind":"person"}
            claims ada@corp.example explicitly
            also ada.mueller@corp.example
            primary group 513
            has a manager
        "#]],
    );
}

#[test]
fn what_an_entry_is() {
    for (text, expected) in [
        (
            "objectclass: organizationalUnit",
            expect![[r#"
            nothing
        "#]],
        ),
        (
            "objectclass: user\nisdeleted: TRUE",
            expect![[r#"
            nothing
        "#]],
        ),
        (
            "objectclass: user\ncn: Room 1\nmsexchrecipienttypedetails: 16",
            expect![[r#"
            {"card":{"display_name":"Room 1"},"kind":"room"}
        "#]],
        ),
        (
            "objectclass: user\ncn: Beamer\nmsexchrecipienttypedetails: 32",
            expect![[r#"
            {"card":{"display_name":"Beamer"},"kind":"equipment"}
        "#]],
        ),
        (
            "objectclass: user\ncn: Room 2\ndn: CN=Room 2,OU=Berlin,OU=Rooms,DC=x",
            expect![[r#"
            {"card":{"display_name":"Room 2"},"kind":"room"}
        "#]],
        ),
        (
            "objectclass: user\nobjectclass: computer\ncn: DIR1\ndnshostname: Dir1.corp.example",
            expect![[r#"
            {"card":{"display_name":"DIR1","host":"dir1.corp.example"},"kind":"server"}
        "#]],
        ),
        (
            "objectclass: group\ncn: Domain Admins\niscriticalsystemobject: TRUE",
            expect![[r#"
            {"card":{"display_name":"Domain Admins"},"is_hidden":true,"kind":"group"}
        "#]],
        ),
        (
            "objectclass: person\nobjectclass: contact\ncn: Pat\nproxyaddresses: sip:pat@partner.example",
            expect![[r#"
            {"card":{"display_name":"Pat"},"kind":"contact"}
            elsewhere pat@partner.example
        "#]],
        ),
        (
            "objectclass: user\ncn: Guest\nmsrtcsip-primaryuseraddress: sip:guest@partner.example",
            expect![[r#"
            {"card":{"display_name":"Guest"},"kind":"contact"}
            elsewhere guest@partner.example
        "#]],
        ),
        (
            "objectclass: user\nsamaccountname: bob\nmsexchhidefromaddresslists: TRUE",
            expect![[r#"
            {"card":{"display_name":"bob"},"is_hidden":true,"kind":"person"}
        "#]],
        ),
    ] {
        check(text, &expected);
    }
}

#[test]
fn addresses() {
    for (text, expected) in [
        (
            "msrtcsip-primaryuseraddress: ada@corp.example",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
            claims ada@corp.example explicitly
        "#]],
        ),
        (
            "msrtcsip-primaryuseraddress: sip:ada@",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
            ! msrtcsip-primaryuseraddress: "ada@" is no SIP address: the part behind @ is not a domain name
        "#]],
        ),
        (
            "msrtcsip-primaryuseraddress: sips:ada@corp.example",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
        "#]],
        ),
        (
            "msrtcsip-primaryuseraddress: sip:a d a@corp.example\nproxyaddresses: sip:ada@corp.example",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
            claims ada@corp.example
            ! msrtcsip-primaryuseraddress: "a d a@corp.example" is no SIP address: the part before @ holds a character that an address may not have
        "#]],
        ),
        (
            "proxyaddresses: ada@corp.example\nproxyaddresses: x400:C=US",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
        "#]],
        ),
        (
            "mail: ada@corp.example",
            expect![[r#"
            {"card":{"display_name":"Ada","mail":["ada@corp.example"]},"kind":"person"}
        "#]],
        ),
    ] {
        check(&format!("objectclass: user\ncn: Ada\n{text}"), &expected);
    }
    let by_mail = Settings { mail_as_sip: true, ..settings(ServerKind::ActiveDirectory) };
    for (text, expected) in [
        (
            "mail: Ada@corp.example",
            expect![[r#"
            {"card":{"display_name":"Ada","mail":["Ada@corp.example"]},"kind":"person"}
            claims ada@corp.example
        "#]],
        ),
        (
            "mail: ada@elsewhere.example",
            expect![[r#"
            {"card":{"display_name":"Ada","mail":["ada@elsewhere.example"]},"kind":"person"}
        "#]],
        ),
        (
            "mail: ada@corp.example\nproxyaddresses: sip:ada@partner.example",
            expect![[r#"
            {"card":{"display_name":"Ada","mail":["ada@corp.example"]},"kind":"contact"}
            elsewhere ada@partner.example
        "#]],
        ),
    ] {
        check_with(&by_mail, &format!("objectclass: user\ncn: Ada\n{text}"), &expected);
    }
}

#[test]
fn what_stands_in_the_way() {
    for (text, expected) in [
        (
            "useraccountcontrol: 514",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
            disabled
        "#]],
        ),
        (
            "msrtcsip-userenabled: false",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
            switched off
        "#]],
        ),
        (
            "msrtcsip-userenabled: perhaps",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
            ! msrtcsip-userenabled: "perhaps" cannot be read
        "#]],
        ),
        (
            "accountexpires: 134397792000000000",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
            expires 1795305600000
        "#]],
        ),
        (
            "accountexpires: soon",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
            ! accountexpires: "soon" cannot be read
        "#]],
        ),
        (
            "lockouttime: 134397792000000000",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
            locked 1795305600000
        "#]],
        ),
    ] {
        check(&format!("objectclass: user\ncn: Ada\n{text}"), &expected);
    }
}

#[test]
fn what_cannot_be_used_is_found_and_passed_over() {
    for (text, expected) in [
        (
            "telephonenumber: ask at the desk\ntelephonenumber: 030 1234567",
            expect![[r#"
            {"card":{"display_name":"Ada","phones":[{"kind":"work","written":"ask at the desk"},{"e164":"+49301234567","kind":"work","written":"030 1234567"}]},"kind":"person"}
            ! telephonenumber: "ask at the desk" cannot be written as an international number: there is no digit in it
        "#]],
        ),
        (
            "mail: nobody\nmail: a b@corp.example\nmail: ada@corp.example\nmail: ADA@corp.example",
            expect![[r#"
            {"card":{"display_name":"Ada","mail":["ada@corp.example"]},"kind":"person"}
            ! mail: "nobody" cannot be read
            ! mail: "a b@corp.example" cannot be read
        "#]],
        ),
        (
            "manager: the boss",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
            ! manager: "the boss" cannot be read
        "#]],
        ),
        (
            "thumbnailphoto: GIF89a",
            expect![[r#"
            {"card":{"display_name":"Ada"},"kind":"person"}
            ! thumbnailphoto: it is neither JPEG nor PNG
        "#]],
        ),
    ] {
        check(&format!("objectclass: user\ncn: Ada\n{text}"), &expected);
    }
    let settings = settings(ServerKind::ActiveDirectory);
    let mut bad = entry("objectclass: user\ncn: Ada");
    bad.attributes.insert("title".to_owned(), vec![vec![0xff, 0xfe]]);
    bad.attributes.insert("department".to_owned(), vec!["ü".repeat(300).into_bytes()]);
    bad.attributes.insert("company".to_owned(), vec![b"two\r\nlines\0".to_vec()]);
    let mut photo = vec![0xff, 0xd8, 0xff];
    photo.resize(PHOTO_OCTETS_MAX + 1, 0);
    bad.attributes.insert("thumbnailphoto".to_owned(), vec![photo]);
    bad.attributes.insert(
        "telephonenumber".to_owned(),
        (0..40).map(|n| format!("030 12345{n:02}").into_bytes()).collect(),
    );
    let mapped = read(&settings, &bad).unwrap();
    assert_eq!(
        (mapped.object.card.department.chars().count(), mapped.object.card.company.as_str()),
        (256, "two lines ")
    );
    assert_eq!((mapped.object.card.phones.len(), mapped.photo), (32, None));
    let findings: Vec<String> = mapped.findings.iter().map(ToString::to_string).collect();
    expect![[r#"
        title: a value is no UTF-8
        department: a value is longer than 256
        telephonenumber: there are more than 32 values
        thumbnailphoto: a value is longer than 524288"#]]
    .assert_eq(&findings.join("\n"));
}

#[test]
fn other_directories() {
    let ldap = Settings { mail_as_sip: true, ..settings(ServerKind::Ldap) };
    for (text, expected) in [
        (
            "objectclass: inetOrgPerson
            uid: ada
            cn: Ada Müller
            sn: Müller
            givenname: Ada
            ou: Engineering
            mail: ada@corp.example
            telephonenumber: 030 1234567
            manager: uid=boss,dc=x
            shadowexpire: 20779
            pwdaccountlockedtime: 20261122000000Z",
            expect![[r#"
                {"card":{"department":"Engineering","display_name":"Ada Müller","given_name":"Ada","mail":["ada@corp.example"],"phones":[{"e164":"+49301234567","kind":"work","written":"030 1234567"}],"surname":"Müller"},"kind":"person"}
                claims ada@corp.example
                has a manager
                expires 1795305600000
                locked 1795305600000
            "#]],
        ),
        (
            "objectclass: inetOrgPerson\nuid: bob\npwdaccountlockedtime: 000001010000Z",
            expect![[r#"
            {"card":{"display_name":"bob"},"kind":"person"}
            disabled
        "#]],
        ),
        (
            "objectclass: inetOrgPerson\nuid: bob\npwdaccountlockedtime: then",
            expect![[r#"
            {"card":{"display_name":"bob"},"kind":"person"}
            ! pwdaccountlockedtime: "then" cannot be read
        "#]],
        ),
        (
            "objectclass: inetOrgPerson\nuid: bob\nnsaccountlock: TRUE",
            expect![[r#"
            {"card":{"display_name":"bob"},"kind":"person"}
            disabled
        "#]],
        ),
        (
            "objectclass: groupOfNames\ncn: staff\nmember: uid=ada,dc=x\nmember: UID=Ada, DC=x\nmember: ?",
            expect![[r#"
            {"card":{"display_name":"staff"},"kind":"group"}
            1 members
            ! member: "?" cannot be read
        "#]],
        ),
        (
            "objectclass: posixGroup\ncn: staff\nmemberuid: ada\nmemberuid: bob",
            expect![[r#"
            {"card":{"display_name":"staff"},"kind":"group"}
            2 members
        "#]],
        ),
    ] {
        check_with(&ldap, text, &expected);
    }
}

#[test]
fn attributes_are_the_operators_choice() {
    let mut settings = settings(ServerKind::ActiveDirectory);
    settings.mapping.set(Field::WorkPhone, &["extensionAttribute1".to_owned()]);
    settings.mapping.set(Field::Title, &[]);
    check_with(
        &settings,
        "objectclass: user
        cn: Ada
        title: Director
        telephonenumber: 030 7654321
        extensionattribute1: 030 1234567",
        &expect![[r#"
            {"card":{"display_name":"Ada","phones":[{"e164":"+49301234567","kind":"work","written":"030 1234567"}]},"kind":"person"}
        "#]],
    );
    assert!(
        settings
            .mapping
            .selection(ServerKind::ActiveDirectory, false)
            .attributes
            .contains(&"extensionattribute1".to_owned())
    );
    for field in Field::all() {
        assert_eq!(Field::from_name(field.name()), Some(field));
    }
    assert_eq!(Field::from_name("shoe_size"), None);
}

#[test]
fn computers_are_asked_for_only_where_they_matter() {
    let mapping = super::Mapping::new(ServerKind::ActiveDirectory);
    assert_eq!(mapping.selection(ServerKind::ActiveDirectory, false).no_class, ["computer"]);
    assert!(mapping.selection(ServerKind::ActiveDirectory, true).no_class.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_read_panics(
        values in prop::collection::vec((prop::sample::select(vec![
            "objectclass", "displayname", "telephonenumber", "mail", "proxyaddresses", "manager", "member", "accountexpires",
            "objectsid", "primarygroupid", "thumbnailphoto", "useraccountcontrol", "pwdaccountlockedtime", "shadowexpire", "memberuid",
        ]), prop::collection::vec(any::<u8>(), 0..24)), 0..12),
        text in "[ -~ü]{0,40}",
        is_ldap in any::<bool>(),
    ) {
        let settings = settings(if is_ldap { ServerKind::Ldap } else { ServerKind::ActiveDirectory });
        let mut entry = entry("objectclass: user\nobjectclass: inetOrgPerson");
        for (name, value) in values {
            entry.attributes.entry(name.to_owned()).or_default().push(value);
            entry.attributes.entry(name.to_owned()).or_default().push(text.clone().into_bytes());
        }
        entry.dn = text;
        shown(&settings, &entry);
    }
}

#[test]
fn who_may_be_disabled_without_our_seeing_it_is_not_taken_for_enabled() {
    let active_directory = settings(ServerKind::ActiveDirectory);
    let without = |class: &str| {
        let mut entry =
            entry(&format!("objectclass: {class}\nmsrtcsip-primaryuseraddress: sip:a@corp.example"));
        entry.attributes.remove("useraccountcontrol");
        read(&active_directory, &entry).unwrap()
    };
    assert!(without("user").gates.is_unreadable);
    assert_eq!(
        without("user").findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "useraccountcontrol: it cannot be read, so that nobody knows whether the account is disabled; it may not be used"
        ]
    );
    assert!(!without("contact").gates.is_unreadable, "contacts have none");
    check(
        "objectclass: user\nuseraccountcontrol: perhaps",
        &expect![[r#"
        {"card":{},"kind":"person"}
        unreadable
        ! useraccountcontrol: "perhaps" cannot be read
        ! useraccountcontrol: it cannot be read, so that nobody knows whether the account is disabled; it may not be used
    "#]],
    );
}
