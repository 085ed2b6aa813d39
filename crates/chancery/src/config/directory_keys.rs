//! The keys that the organisation's directory, the sign-in and the address book have.

use super::keys::{Key, Section};

pub(super) const DIRECTORY: Section = Section {
    name: "directory",
    repeats: false,
    doc: "The organisation's directory, which users, groups and the address book follow. For a standard-edition.",
    keys: &[
        Key {
            name: "kind",
            default: "\"none\"",
            doc: "\"active-directory\", \"ldap\" (another LDAP directory, such as OpenLDAP) or \"none\": all accounts are local ones.",
        },
        Key {
            name: "domain",
            default: "\"\"",
            doc: "The DNS name of the Active Directory domain, such as \"corp.contoso.example\"; its domain controllers are found by\n\
                  the SRV records _ldap._tcp.dc._msdcs.DOMAIN. Of another directory: its servers by _ldap._tcp.DOMAIN.",
        },
        Key {
            name: "servers",
            default: "[]",
            doc: "Its servers instead, such as [\"dc1.corp.contoso.example\"], with their port where it is not the usual one; later\n\
                  ones where earlier ones fail.",
        },
        Key {
            name: "site",
            default: "\"\"",
            doc: "The site of Active Directory that this server is in, such as \"Berlin\": its domain controllers, by\n\
                  _ldap._tcp.SITE._sites.dc._msdcs.DOMAIN, are asked before all others of the domain. With domain, without servers.",
        },
        Key {
            name: "security",
            default: "\"ldaps\"",
            doc: "\"ldaps\" (TLS from the first octet, port 636) or \"starttls\" (port 389). There is no way without TLS: passwords are\n\
                  checked over this connection.",
        },
        Key {
            name: "authority_file",
            default: "\"\"",
            doc: "PEM: the CAs that the servers' certificates must lead to. Must be given.",
        },
        Key {
            name: "account",
            default: "\"\"",
            doc: "Who reads: \"svc-chancery@corp.contoso.example\" or a distinguished name. With keytab_file a Kerberos principal.",
        },
        Key {
            name: "password_file",
            default: "\"\"",
            doc: "Its password, alone in a file that only the server's account may read (mode 0600). Read for each connection.",
        },
        Key {
            name: "keytab_file",
            default: "\"\"",
            doc: "Its keys instead of a password: the connection is bound with Kerberos (GSSAPI).",
        },
        Key {
            name: "base",
            default: "\"\"",
            doc: "The distinguished name below which is read. Default: all that the server says it has.",
        },
        Key {
            name: "rooms",
            default: "[]",
            doc: "Distinguished names: what stands below them is a room, whatever it is otherwise.",
        },
        Key { name: "equipment", default: "[]", doc: "The same for equipment." },
        Key { name: "poll_seconds", default: "2", doc: "How often changes are asked for, 1 to 3600." },
        Key {
            name: "full_read_hours",
            default: "24",
            doc: "How often everything is read and compared, whatever the changes said, 1 to 720.",
        },
        Key {
            name: "removal_percent",
            default: "10",
            doc: "When more of the directory's active users than this, and more than removal_users, would be cut off within a day, nothing\n\
                  is taken over until an administrator says `chancery replicate --accept`. 0 to 100.",
        },
        Key { name: "removal_users", default: "20", doc: "See removal_percent. 0 to 1000000." },
        Key {
            name: "keep_deleted_days",
            default: "30",
            doc: "How long the account of somebody who was deleted is kept, cut off, should the deletion be undone, 0 to 3650.",
        },
        Key {
            name: "mail_as_sip",
            default: "\"no\"",
            doc: "Whether the mail address is the SIP address of people who have no other.",
        },
        Key {
            name: "keep_old_addresses",
            default: "\"yes\"",
            doc: "Whether somebody whose SIP address changes is reached by the old one too, until somebody else gets it.",
        },
    ],
};

/// Every key names attributes; the default `""` means what the documentation says, by kind.
pub(super) const ATTRIBUTES: Section = Section {
    name: "directory.attributes",
    repeats: false,
    doc: "Which attributes of the directory say what, where it is not the default of the kind (docs/directory.md tells them): a name, or\n\
          a list of which the first that has a value counts; of numbers and members all count. \"-\" reads none.",
    keys: &[
        attribute(
            "sip_address",
            "The SIP address. Of proxyAddresses the value that begins with sip: counts.",
        ),
        attribute("sip_enabled", "TRUE or FALSE: whether the SIP address may be used."),
        attribute("account_name", "What people may sign in as, without a domain."),
        attribute("principal_name", "What people may sign in as, with a domain."),
        attribute("display_name", "The name that people see."),
        attribute("given_name", "Given name."),
        attribute("surname", "Family name."),
        attribute("phonetic_name", "The name as it is spoken."),
        attribute("title", "What the person does."),
        attribute("department", "Department."),
        attribute("company", "Company."),
        attribute("office", "Room or desk."),
        attribute("street", "Street and number."),
        attribute("city", "City."),
        attribute("region", "State or province."),
        attribute("postal_code", "Postal code."),
        attribute("country", "Country, as people write it."),
        attribute("mail", "Addresses of electronic mail."),
        attribute("web_page", "A page."),
        attribute("notes", "What else is written."),
        attribute("work_phone", "Telephone at work."),
        attribute("mobile_phone", "Mobile telephone."),
        attribute("home_phone", "Telephone at home."),
        attribute("ip_phone", "Telephone over IP."),
        attribute("fax", "Facsimile."),
        attribute("pager", "Pager."),
        attribute("other_phone", "Other numbers."),
        attribute("photo", "The photo, JPEG or PNG."),
        attribute("manager", "The manager, by distinguished name."),
        attribute("members", "The members of a group, by distinguished name."),
        attribute("member_names", "The members of a group, by account name."),
        attribute("hidden", "TRUE or FALSE: whether it is kept out of the address book."),
        attribute("recipient_type", "Exchange's kind of mailbox: 16 is a room, 32 equipment."),
        attribute("host", "The host name of a computer."),
    ],
};

const fn attribute(name: &'static str, doc: &'static str) -> Key {
    Key { name, default: "\"\"", doc }
}

pub(super) const GROUPS: Section = Section {
    name: "directory.groups",
    repeats: false,
    doc: "Policy by groups of the directory, by distinguished name; members of member groups count. Without a group the\n\
          configuration and `chancery user` decide.",
    keys: &[
        group(
            "enabled",
            "Who may use the server at all. Default: everybody who has a SIP address in one of our domains.",
        ),
        group("federation", "Who may talk with other organisations."),
        group("remote_access", "Who may sign in from outside."),
        group("calls", "Who may call."),
        group("administrators", "Who may administer the server."),
        group(
            "access_edges",
            "Computers that are trusted as access-edges, beside those of [[trusted_server]].",
        ),
        group("directors", "Computers that are trusted as directors."),
        group("front_ends", "Computers that are trusted as front ends."),
    ],
};

const fn group(name: &'static str, doc: &'static str) -> Key {
    Key { name, default: "\"\"", doc }
}

pub(super) const NUMBERS: Section = Section {
    name: "numbers",
    repeats: false,
    doc: "How the telephone numbers of the directory become international ones (E.164). `chancery addressbook test-number`\n\
          shows it for one; those that none of it takes are in `chancery replicate --report`.",
    keys: &[
        Key {
            name: "country_code",
            default: "\"\"",
            doc: "Of numbers that have none, without +, such as \"49\". Without it only numbers with + are taken.",
        },
        Key {
            name: "area_code",
            default: "\"\"",
            doc: "Of numbers that have none, without the trunk prefix, such as \"30\".",
        },
        Key {
            name: "trunk_prefix",
            default: "\"none\"",
            doc: "What is dialled before an area code: \"0\" in most countries, \"1\" in North America; \"\" where numbers are always\n\
                  dialled whole. \"none\": nothing is known of it.",
        },
        Key {
            name: "international_prefixes",
            default: "[]",
            doc: "What is dialled before a country code, such as [\"00\"]. Default: \"00\" where that is the country's.",
        },
        Key {
            name: "rules",
            default: "[]",
            doc: "Held against each number in this order, ahead of the codes; the first that matches the whole number decides:\n\
                  [{ match = \"[67](\\\\d{3})\", to = \"+49301234$1\", name = \"extensions of Berlin\" }]. An empty `to` rejects it.",
        },
    ],
};

pub(super) const ADDRESS_BOOK: Section = Section {
    name: "address_book",
    repeats: false,
    doc: "The address book, served over the listeners of [web] (and CardDAV, for mail programs and phones).",
    keys: &[
        Key {
            name: "keep_days",
            default: "30",
            doc: "How far back a client may be that asks for changes only, 1 to 365.",
        },
        Key {
            name: "kinds",
            default: "[\"person\", \"contact\", \"group\", \"room\", \"equipment\"]",
            doc: "Which entries are listed; \"server\" is one more.",
        },
        Key {
            name: "everyone",
            default: "[]",
            doc: "What everybody sees, by the keys of [directory.attributes], where it is otherwise by default: \"home_phone\", \"notes\"\n\
                  and \"host\" are for administrators, everything else is for everyone.",
        },
        Key { name: "administrators", default: "[]", doc: "What only administrators see." },
        Key {
            name: "nobody",
            default: "[]",
            doc: "What nobody sees, such as [\"photo\", \"mobile_phone\"].",
        },
        Key {
            name: "members_max",
            default: "5000",
            doc: "The largest group whose members are told; those of larger ones are counted.",
        },
        Key { name: "carddav", default: "\"yes\"", doc: "Whether CardDAV is offered." },
    ],
};

pub(super) const SIGN_IN: Section = Section {
    name: "sign_in",
    repeats: false,
    doc: "How people sign in over the listeners of [web].",
    keys: &[
        Key {
            name: "token_minutes",
            default: "60",
            doc: "How long a token is good for, 5 to 1440; programs renew it in time.",
        },
        Key {
            name: "token_renewable_hours",
            default: "8",
            doc: "How long it can be renewed without signing in again, 1 to 720.",
        },
        Key {
            name: "certificate_days",
            default: "30",
            doc: "How long certificates are good for that people make for their phones, 1 to 365; 0 makes none.",
        },
        Key {
            name: "app_passwords",
            default: "\"yes\"",
            doc: "Whether people may make passwords for their phones and SIP programs.",
        },
        Key {
            name: "keytab_file",
            default: "\"\"",
            doc: "The keys of the service HTTP/HOST of the domain: with them browsers sign people in with their Kerberos ticket\n\
                  (Negotiate, RFC 4559).",
        },
        Key {
            name: "wrong_passwords_max",
            default: "3",
            doc: "Wrong passwords for one account that are passed on to the directory within wrong_passwords_minutes; further ones are\n\
                  refused here, so that nobody can be locked out of the domain from outside. Less than the domain's own threshold, 1 to 100.",
        },
        Key { name: "wrong_passwords_minutes", default: "30", doc: "See wrong_passwords_max. 1 to 1440." },
    ],
};

pub(super) const WEB: Section = Section {
    name: "web",
    repeats: false,
    doc: "Sign-in and address book over HTTPS, with the certificate of [tls], on listeners of their own.",
    keys: &[
        Key {
            name: "listen",
            default: "[]",
            doc: "Where, such as [\"0.0.0.0:443\", \"[::]:443\"]; [] switches it off.",
        },
        Key {
            name: "url",
            default: "\"\"",
            doc: "How clients reach it, such as \"https://sip.contoso.example\"; they are told it when they are asked for a token.\n\
                  Default: the server's host and the first port.",
        },
    ],
};
