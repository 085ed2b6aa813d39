//! People's passwords, checked and changed in real directories.

use directory_source::ServerKind;
use ldap::{BindRefusal, ChangeRefusal, Checker, CheckerConfig, Password};
use system_tests::{ActiveDirectory, OpenLdap};

use super::{Plan, find, run, selection};

fn checker(plan: &Plan) -> Checker {
    Checker::new(CheckerConfig { locator: plan.locator(), kind: plan.kind, account: plan.account.clone() })
}

fn password(text: &str) -> Password {
    Password::new(text).expect("a password")
}

#[test]
fn each_refusal_of_active_directory_has_its_name() {
    let Some(domain) = ActiveDirectory::shared("refusals of Active Directory") else { return };
    run(async {
        let plan = Plan::of_domain(&domain);
        let checker = checker(&plan);
        let right = password(domain.fact("USER_PASSWORD"));
        for (login, expected) in [
            ("alice", None),
            ("disabled", Some(BindRefusal::Disabled)),
            ("lockedout", Some(BindRefusal::LockedOut)),
            ("pwexpired", Some(BindRefusal::PasswordExpired)),
            ("mustchange", Some(BindRefusal::MustChange)),
            ("acctexpired", Some(BindRefusal::AccountExpired)),
        ] {
            let name = format!("{login}@{}", domain.fact("DNS_DOMAIN"));
            assert_eq!(checker.check(&name, &right).await.err(), expected, "{login}");
        }
        let person = domain.person();
        let wrong = checker.check(&person.address(), &password("wrong")).await;
        assert_eq!(wrong, Err(BindRefusal::WrongPassword));
        let nobody = checker.check("nobody@corp.example", &right).await;
        assert!(matches!(nobody, Err(BindRefusal::WrongPassword | BindRefusal::NoSuchUser)), "{nobody:?}");
        assert_eq!(checker.check("", &right).await, Err(BindRefusal::NoSuchUser));
        domain.delete(&person.dn);
    });
}

#[test]
fn a_password_is_changed_by_its_owner_even_when_it_must_be() {
    let Some(domain) = ActiveDirectory::shared("changing passwords of Active Directory") else { return };
    run(async {
        let plan = Plan::of_domain(&domain);
        let checker = checker(&plan);
        let mut driver = plan.start();
        driver.connect().await.expect("it lets us in");
        for must_change in [false, true] {
            let somebody = domain.person();
            let all = driver.read_all(&selection(ServerKind::ActiveDirectory)).await.expect("it can be read");
            let object = find(&all, "samaccountname", &somebody.login).expect("the person is there").id;
            let person = ldap::Person { bind_name: somebody.address(), object };
            if must_change {
                domain.replace(&somebody.dn, "pwdLastSet", "0");
            }
            let (old, new) = (password(&somebody.password), password("Another-Passw0rd"));
            assert_eq!(
                checker.change(&person, &password("wrong"), &new).await,
                Err(ChangeRefusal::Old(BindRefusal::WrongPassword))
            );
            assert_eq!(checker.change(&person, &old, &password("short")).await, Err(ChangeRefusal::Rules));
            assert_eq!(checker.change(&person, &old, &new).await, Ok(()), "must change: {must_change}");
            assert_eq!(checker.check(&person.bind_name, &new).await, Ok(()));
            domain.delete(&somebody.dn);
        }
    });
}

#[test]
fn passwords_of_openldap_are_checked_and_changed() {
    let Some(slapd) = OpenLdap::start("passwords of OpenLDAP") else { return };
    run(async {
        let plan = Plan::of_openldap(&slapd);
        let checker = checker(&plan);
        let ada = OpenLdap::dn("ada");
        let (old, new) = (password("ada-secret"), password("ada-other-secret"));
        assert_eq!(checker.check(&ada, &old).await, Ok(()));
        assert_eq!(checker.check(&ada, &new).await, Err(BindRefusal::WrongPassword));
        let nobody = checker.check(&OpenLdap::dn("nobody"), &old).await;
        assert_eq!(nobody, Err(BindRefusal::WrongPassword), "a careful server does not say who is there");
        let person = ldap::Person { bind_name: ada.clone(), object: directory::ObjectId([0; 16]) };
        let changed = checker.change(&person, &new, &old).await;
        assert_eq!(changed, Err(ChangeRefusal::Old(BindRefusal::WrongPassword)));
        assert_eq!(checker.change(&person, &old, &new).await, Ok(()));
        assert_eq!(checker.check(&ada, &new).await, Ok(()));
        assert_eq!(checker.check(&ada, &old).await, Err(BindRefusal::WrongPassword));
    });
}

/// What OpenLDAP's password policy says in its control (draft-behera-ldap-password-policy-10).
#[test]
fn a_password_policy_of_openldap_is_heard() {
    let Some(slapd) = OpenLdap::start("a password policy of OpenLDAP") else { return };
    run(async {
        let checker = checker(&Plan::of_openldap(&slapd));
        let [ada, emmy] = ["ada", "emmy"].map(OpenLdap::dn);
        slapd.modify(&format!("dn: {emmy}\nchangetype: modify\nreplace: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n"));
        assert_eq!(checker.check(&emmy, &password("emmy-secret")).await, Err(BindRefusal::LockedOut));
        slapd.modify(&format!("dn: {ada}\nchangetype: modify\nreplace: pwdReset\npwdReset: TRUE\n"));
        let (old, new) = (password("ada-secret"), password("ada-other-secret"));
        assert_eq!(checker.check(&ada, &old).await, Err(BindRefusal::MustChange));
        let person = ldap::Person { bind_name: ada.clone(), object: directory::ObjectId([0; 16]) };
        assert_eq!(checker.change(&person, &old, &new).await, Ok(()));
        assert_eq!(checker.check(&ada, &new).await, Ok(()));
    });
}
