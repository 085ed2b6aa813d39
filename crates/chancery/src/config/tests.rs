use std::path::Path;

use expect_test::{Expect, expect};

use super::directory::{DirectoryPlaces, DirectoryProof, DirectoryServer};
use super::keys::{SECTIONS, all_names};
use super::*;

fn filling() -> Filling {
    Filling {
        domains: vec!["contoso.example".into()],
        host: "sip.contoso.example".into(),
        listeners: vec![(Transport::Udp, "0.0.0.0:5060".into()), (Transport::Tls, "[::]:5061".into())],
        https: Vec::new(),
        data_dir: None,
        control_socket: None,
        authority_file: None,
        directory: Vec::new(),
    }
}

const MINIMAL: &str = "domains = [\"contoso.example\"]\n\
    server.host = \"sip.contoso.example\"\n\
    [[listener]]\ntransport = \"udp\"\naddress = \"0.0.0.0:5060\"\n\
    [[listener]]\ntransport = \"tls\"\naddress = \"[::]:5061\"\n";

fn parse(text: &str) -> Result<Settings, ConfigError> {
    Settings::parse(text, Path::new("chancery.toml"), Path::new("/etc/chancery"))
}

fn check(text: &str, expected: Expect) {
    match parse(text) {
        Ok(settings) => panic!("no problem was found: {settings:?}"),
        Err(error) => expected.assert_eq(&error.to_string()),
    }
}

/// The template with every commented key made a setting.
fn uncommented() -> String {
    let names: Vec<String> =
        SECTIONS.iter().flat_map(|s| s.keys).map(|k| format!("# {} = ", k.name)).collect();
    let uncomment = |line: &str| match names.iter().any(|name| line.starts_with(name)) {
        true => line[2..].to_owned(),
        false => line.to_owned(),
    };
    template(&filling()).lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_template_means_the_defaults() {
    let minimal = parse(MINIMAL).unwrap();
    assert_eq!(parse(&template(&filling())).unwrap(), minimal);
    assert_eq!(parse(&uncommented()).unwrap(), minimal);
}

#[test]
fn a_template_is_filled_with_the_directory() {
    let directory = [
        ("kind", "\"active-directory\""),
        ("domain", "\"corp.example\""),
        ("site", "\"Berlin\""),
        ("authority_file", "\"/etc/corp-ca.pem\""),
        ("account", "\"svc@corp.example\""),
        ("keytab_file", "\"svc.keytab\""),
    ];
    let directory: Vec<_> = directory.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    let text = template(&Filling { directory: directory.clone(), ..filling() });
    let keys: String = directory.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    assert_eq!(parse(&text).unwrap(), parse(&format!("{MINIMAL}[directory]\n{keys}")).unwrap());
}

#[test]
fn every_key_stands_in_the_template_and_is_read() {
    let text = template(&filling());
    for section in SECTIONS {
        for key in section.keys {
            let written = [format!("\n# {} = ", key.name), format!("\n{} = ", key.name)];
            let explained = format!("#   {}: ", key.name);
            let found =
                written.iter().any(|w| text.contains(w)) || section.repeats && text.contains(&explained);
            assert!(found, "{} is not in the template", key.name);
        }
    }
    let asked = read::keys_asked_for(&format!(
        "{}\n[[trusted_server]]\nhost = \"a.example\"\nrole = \"director\"\n",
        uncommented()
    ));
    let documented: std::collections::BTreeSet<String> = all_names().collect();
    assert_eq!(asked, documented);
}

#[test]
fn the_manual_tells_every_key_in_its_section() {
    let manual = include_str!("../../../../docs/configuration.md");
    for section in SECTIONS {
        let head = match (section.name, section.repeats) {
            ("", _) => "## The top of the file".to_owned(),
            (name, true) => format!("## `[[{name}]]`"),
            (name, false) => format!("## `[{name}]`"),
        };
        let told = manual.split("\n## ").find(|told| format!("## {told}").starts_with(&head));
        let told = told.unwrap_or_else(|| panic!("the manual has no section {head}"));
        for key in section.keys {
            assert!(told.contains(&format!("| `{}` |", key.name)), "{head} does not tell {}", key.name);
        }
    }
}

#[test]
fn paths_count_from_the_folder_of_the_file() {
    let settings = parse(&format!("{MINIMAL}[tls]\nkey_file = \"/run/key.pem\"\n")).unwrap();
    let tls = settings.tls.unwrap();
    assert_eq!(settings.data_dir, Path::new("/etc/chancery/data"));
    assert_eq!(settings.control_socket, Path::new("/etc/chancery/data/control.sock"));
    assert_eq!(tls.certificate_file, Path::new("/etc/chancery/server.pem"));
    assert_eq!(tls.key_file, Path::new("/run/key.pem"));
}

#[test]
fn the_host_is_the_first_domain_unless_given() {
    let text = "domains = [\"a.example\", \"b.example\"]\n[[listener]]\ntransport=\"udp\"\naddress=\"[::1]:5060\"\n\
        advertised_host = \"[2001:db8::1]\"\n";
    let settings = parse(text).unwrap();
    assert_eq!(settings.host, "a.example");
    assert_eq!(settings.listeners[0].advertised_host, "[2001:db8::1]");
    assert_eq!(settings.tls, None, "no listener speaks TLS");
}

#[test]
fn unknown_keys_name_the_nearest_right_one() {
    check(
        &format!("{MINIMAL}[registration]\nexpire_max_seconds = 60\nhost = \"x\"\nblah = 1\n[serverr]\n"),
        expect![[r#"
            chancery.toml:10: registration.expire_max_seconds: there is no such key
              help: did you mean `expires_max_seconds`?
            chancery.toml:11: registration.host: there is no such key
              help: `host` belongs in [server]
            chancery.toml:12: registration.blah: there is no such key
              help: known here: expires_default_seconds, expires_min_seconds, expires_max_seconds, bindings_per_user_max
            chancery.toml:13: serverr: there is no such key
              help: did you mean `server`?"#]],
    );
    check(
        "domain = [\"contoso.example\"]\n",
        expect![[r#"
        chancery.toml:1: domain: there is no such key
          help: did you mean `domains`?
        chancery.toml:1: domains: no SIP domain is given
          help: domains = ["contoso.example"], above the first section
        chancery.toml:1: listener: there is no listener
          help: add a section: [[listener]] with transport = "udp" and address = "0.0.0.0:5060""#]],
    );
}

#[test]
fn wrong_values_are_all_reported_with_their_lines() {
    check(
        "domains = [\"contoso.example\", \"Contoso.example.\", \"192.0.2.1\", \"a b\"]\n\
         [server]\nhost = \"sip contoso\"\naliases = [\"x y\"]\n\
         [[listener]]\ntransport = \"udp\"\naddress = \"0.0.0.0:5060\"\n\
         [[listener]]\ntransport = \"udp\"\naddress = \"0.0.0.0:5060\"\n\
         [[listener]]\ntransport = \"tsl\"\naddress = \"::1\"\nadvertised_host = \"::1\"\n\
         origins = [\"im.example/chat\"]\n\
         [[listener]]\naddress = \"192.0.2.1:0\"\n\
         [registration]\nexpires_min_seconds = 9999\nexpires_max_seconds = -1\nbindings_per_user_max = \"many\"\n\
         [authentication]\ndatagrams = \"never\"\n\
         [log]\nlevel = \"inof\"\nformat = \"xml\"\n\
         [http]\naddresses = [\"localhost\"]\n",
        expect![[r#"
            chancery.toml:1: domains: contoso.example stands here twice
              help: name each domain once
            chancery.toml:1: domains: "192.0.2.1" is an IP address
              help: a SIP domain is a name, such as "contoso.example"
            chancery.toml:1: domains: "a b" is no domain name
              help: write the part behind @ of the users' addresses, such as "contoso.example"
            chancery.toml:3: server.host: "sip contoso" is neither a host name nor an address
              help: write a name such as "sip.contoso.example", without port
            chancery.toml:4: server.aliases: "x y" is neither a host name nor an address
            chancery.toml:10: listener.address: 0.0.0.0:5060 is taken by the listener of line 7
              help: give each listener a port of its own
            chancery.toml:12: listener.transport: "tsl" is none of "udp", "tcp", "tls", "ws", "wss"
              help: did you mean "tls"?
            chancery.toml:13: listener.address: "::1" is no address with a port
              help: add brackets and the port: "[::1]:5060"
            chancery.toml:14: listener.advertised_host: "::1" is neither a host name nor an address
              help: write an IPv6 address in brackets: "[::1]"
            chancery.toml:15: listener.origins: "im.example/chat" is no web origin
              help: write https:// and the host, without a path: "https://im.contoso.example"
            chancery.toml:16: listener.transport: is missing
            chancery.toml:17: listener.address: "192.0.2.1:0" has no port that clients could find
              help: write the port, such as 5060
            chancery.toml:19: registration.expires_min_seconds: expires_min_seconds (9999) is more than expires_max_seconds (7200)
              help: they must rise: expires_min_seconds, expires_default_seconds, expires_max_seconds
            chancery.toml:20: registration.expires_max_seconds: -1 is not from 10 to 86400
              help: the default is 7200
            chancery.toml:21: registration.bindings_per_user_max: must be a whole number without quotes, not a value of type string
            chancery.toml:23: authentication.datagrams: "never" is none of "every-request", "once-per-flow"
              help: choose "every-request", "once-per-flow"
            chancery.toml:25: log.level: "inof" is no log level
              help: did you mean "info"?
            chancery.toml:26: log.format: "xml" is none of "text", "json"
              help: choose "text", "json"
            chancery.toml:28: http.addresses: "localhost" is no address with a port
              help: write address and port, such as "0.0.0.0:5060" or "[::]:5060""#]],
    );
}

#[test]
fn what_is_missing_is_said() {
    check(
        "",
        expect![[r#"
        chancery.toml:1: domains: no SIP domain is given
          help: domains = ["contoso.example"], above the first section
        chancery.toml:1: listener: there is no listener
          help: add a section: [[listener]] with transport = "udp" and address = "0.0.0.0:5060""#]],
    );
    check(
        "domains = \"contoso.example\"\nlistener = 5060\ntls = true\n",
        expect![[r#"
            chancery.toml:1: domains: must be a list of strings, such as ["a", "b"], not a value of type string
            chancery.toml:2: listener: must be a list of sections
              help: write [[listener]], with two brackets, before each one
            chancery.toml:3: tls: must be a section
              help: write a line [tls] and the section's keys below it"#]],
    );
    check(
        "domains = [\n",
        expect![[r#"
        chancery.toml:1: unclosed array, expected `]`
          help: the file must be TOML 1.0"#]],
    );
}

#[test]
fn each_role_has_what_it_needs() {
    check(
        "domains = [\"contoso.example\"]\nrole = \"access-edge\"\n\
         [[listener]]\ntransport = \"tls\"\naddress = \"192.0.2.1:5061\"\n\
         [[trusted_server]]\nhost = \"sip.contoso.example\"\nrole = \"frontend\"\n",
        expect![[r#"
            chancery.toml:1: access_edge.next_hops: an access-edge needs a server inside
              help: next_hops = ["director.contoso.example:5061"] in [access_edge]
            chancery.toml:3: listener.side: an access-edge must be told which network it faces
              help: write side = "inside" or side = "outside"
            chancery.toml:8: trusted_server.role: "frontend" is none of "front-end", "director", "access-edge"
              help: did you mean "front-end"?"#]],
    );
    check(
        "domains = [\"contoso.example\"]\nrole = \"director\"\n\
         [[listener]]\ntransport = \"tls\"\naddress = \"192.0.2.1:5061\"\nside = \"outside\"\n\
         [federation]\nroute = \"edge.contoso.example:0\"\n",
        expect![[r#"
            chancery.toml:1: director.front_ends: a director needs a front end
              help: front_ends = ["sip.contoso.example:5061"] in [director]
            chancery.toml:6: listener.side: a director has no outside
              help: an access-edge stands between it and the outside
            chancery.toml:8: federation.route: "edge.contoso.example:0" is no server
              help: write its host name and port, such as "edge.contoso.example:5061""#]],
    );
    let edge = parse(
        "domains = [\"contoso.example\"]\nrole = \"access-edge\"\nserver.host = \"edge.contoso.example\"\n\
         [[listener]]\ntransport = \"tls\"\naddress = \"192.0.2.1:5061\"\nside = \"outside\"\n\
         [[listener]]\ntransport = \"tls\"\naddress = \"10.0.0.1:5061\"\nside = \"inside\"\n\
         [[trusted_server]]\nhost = \"Director.contoso.example\"\nrole = \"director\"\n\
         [access_edge]\nnext_hops = [\"director.contoso.example\"]\n",
    )
    .unwrap();
    assert!(edge.tls.is_some() && edge.tls_outside.is_some());
    assert_eq!(edge.trusted_servers[0].host, "director.contoso.example");
    assert_eq!(edge.access_edge.next_hops[0].port, 5061);
    assert_eq!(edge.access_edge.token_key_file, Path::new("/etc/chancery/data/edge.key"));
    assert_eq!(edge.federation.policy_file, Path::new("/etc/chancery/federation.toml"));
}

#[test]
fn bounds_must_rise() {
    check(
        &format!("{MINIMAL}[registration]\nexpires_max_seconds = 1800\n"),
        expect![[r#"
        chancery.toml:10: registration.expires_max_seconds: expires_default_seconds (3600) is more than expires_max_seconds (1800)
          help: they must rise: expires_min_seconds, expires_default_seconds, expires_max_seconds"#]],
    );
}

#[test]
fn a_running_server_says_what_needs_a_restart() {
    let old = parse(MINIMAL).unwrap();
    let new = format!(
        "{MINIMAL}[tls]\ncertificate_file = \"new.pem\"\n[log]\nlevel = \"debug\"\nformat = \"json\"\n\
         [messaging]\nretention_days = 3\n[http]\naddresses = []\n[presence]\nfederated_level = \"blocked\"\n"
    );
    let new = parse(&new).unwrap();
    assert_eq!(old.restart_needed_for(&new), ["[http]", "[log] format"]);
    assert_eq!(old.changed_at_run_time(&new), ["[messaging]", "[presence]", "[log] level"]);
    assert!(old.restart_needed_for(&old).is_empty() && old.changed_at_run_time(&old).is_empty());
    // What is taken over is the same from then on; the rest is still to come.
    let mut in_force = old.clone();
    in_force.take_over(new.clone());
    assert!(in_force.changed_at_run_time(&new).is_empty());
    assert_eq!(in_force.restart_needed_for(&new), ["[http]", "[log] format"]);
}

#[test]
fn each_role_says_what_it_takes_over_while_it_runs() {
    let edge = |next_hop: &str, enabled: &str| {
        let text = format!(
            "domains = [\"contoso.example\"]\nrole = \"access-edge\"\n\
             [[listener]]\ntransport = \"tls\"\naddress = \"10.0.0.1:5061\"\nside = \"inside\"\n\
             [remote_access]\nenabled = \"{enabled}\"\n[access_edge]\nnext_hops = [\"{next_hop}\"]\n"
        );
        parse(&text).unwrap()
    };
    let (old, new) = (edge("a.contoso.example", "yes"), edge("b.contoso.example", "no"));
    assert_eq!(old.changed_at_run_time(&new), ["[remote_access]", "[access_edge] next_hops"]);
    assert!(old.restart_needed_for(&new).is_empty());
    let home = |more: &str| parse(&format!("{MINIMAL}{more}")).unwrap();
    let (old, new) = (
        home(""),
        home(
            "[federation]\nroute = \"edge.contoso.example\"\n\
             [[trusted_server]]\nhost = \"edge.contoso.example\"\nrole = \"access-edge\"\n",
        ),
    );
    assert_eq!(old.changed_at_run_time(&new), ["[federation]"]);
    assert_eq!(old.restart_needed_for(&new), ["[[trusted_server]]"]);
    let mut in_force = old.clone();
    in_force.take_over(new.clone());
    assert!(in_force.changed_at_run_time(&new).is_empty());
    assert_eq!(in_force.restart_needed_for(&new), ["[[trusted_server]]"]);
}

#[test]
fn hosts_are_written_as_in_etc_hosts() {
    let text = format!(
        "{MINIMAL}[dns]\nhosts = [\"10.0.0.5 SIP.contoso.example sip\", \"fd00::5 sip.contoso.example\"]\n"
    );
    let hosts = parse(&text).unwrap().dns.hosts;
    let addresses: Vec<String> = hosts["sip.contoso.example"].iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.5", "fd00::5"]);
    check(
        &format!("{MINIMAL}[dns]\nhosts = [\"sip.contoso.example 10.0.0.5\", \"10.0.0.5\"]\n"),
        expect![[r#"
            chancery.toml:10: dns.hosts: "sip.contoso.example 10.0.0.5" is no line of hosts
              help: write an address and then names: "10.0.0.5 sip.contoso.example"
            chancery.toml:10: dns.hosts: "10.0.0.5" is no line of hosts
              help: write an address and then names: "10.0.0.5 sip.contoso.example""#]],
    );
}

#[test]
fn who_sees_how_much_without_a_rule_is_policy() {
    let of = |keys: &str| parse(&format!("{MINIMAL}[presence]\n{keys}")).map(|settings| settings.presence);
    let wide = of("same_organisation_level = \"team\"\ncoalesce_milliseconds = 0\n").unwrap();
    assert_eq!(wide.levels.same_organisation, presence::Level::Team);
    assert_eq!(wide.levels.federated, presence::Level::External);
    assert_eq!(wide.window, std::time::Duration::ZERO);
    assert!(of("federated_level = \"everything\"\n").is_err());
    assert_eq!(wide.list_window, std::time::Duration::from_millis(500));
    let at_once = of("list_coalesce_milliseconds = 0\n").unwrap();
    assert_eq!(at_once.list_window, std::time::Duration::ZERO);
    assert!(of("coalesce_milliseconds = 5001\n").is_err());
    assert!(of("list_coalesce_milliseconds = 5001\n").is_err());
}

#[test]
fn a_dns_server_listens_where_they_all_do_unless_said() {
    let text = format!("{MINIMAL}[dns]\nservers = [\"10.0.0.53\", \"fd00::53\", \"127.0.0.1:5353\"]\n");
    let servers: Vec<String> = parse(&text).unwrap().dns.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.53:53", "[fd00::53]:53", "127.0.0.1:5353"]);
    check(
        &format!("{MINIMAL}[dns]\nservers = [\"ns.contoso.example\", \"10.0.0.53:0\"]\n"),
        expect![[r#"
            chancery.toml:10: dns.servers: "ns.contoso.example" is no address
              help: write "10.0.0.53", or with its port "10.0.0.53:5353"
            chancery.toml:10: dns.servers: "10.0.0.53:0" is no address
              help: write "10.0.0.53", or with its port "10.0.0.53:5353""#]],
    );
}

#[test]
fn a_directory_says_where_it_is_and_who_reads_it() {
    let of = |keys: &str| parse(&format!("{MINIMAL}[directory]\n{keys}")).unwrap().directory;
    assert_eq!(of("servers = [\"dc1.corp.example\"]\n"), None, "a kind makes it");
    let directory = of("kind = \"active-directory\"\ndomain = \"Corp.example\"\naccount = \"svc@corp.example\"\nauthority_file = \"ca.pem\"\n\
                        password_file = \"svc.password\"\n[directory.attributes]\nwork_phone = [\"telephoneNumber\", \"ipPhone\"]\n\
                        pager = \"-\"\ntitle = \"personalTitle\"\n[directory.groups]\ndirectors = \"CN=Directors,DC=corp,DC=example\"\n")
    .expect("there is one");
    assert_eq!(
        directory.places,
        DirectoryPlaces::Domain(::directory::DomainName::parse("corp.example").unwrap(), None)
    );
    assert_eq!(
        directory.account.proof,
        DirectoryProof::PasswordFile(Path::new("/etc/chancery/svc.password").into())
    );
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        directory.attributes,
        [
            ("title", names(&["personalTitle"])),
            ("work_phone", names(&["telephoneNumber", "ipPhone"])),
            ("pager", Vec::new())
        ]
    );
    assert_eq!(directory.groups.servers.len(), 1);
    let servers = of("kind = \"ldap\"\nauthority_file = \"ca.pem\"\nservers = [\"LDAP.example\", \"[::1]:6360\", \"127.0.0.1\"]\naccount = \"cn=reader\"\n\
                      keytab_file = \"reader.keytab\"\n")
    .expect("there is one");
    let server = |host: &str, port| DirectoryServer { host: host.to_owned(), port };
    let expected = vec![server("ldap.example", None), server("[::1]", Some(6360)), server("127.0.0.1", None)];
    assert_eq!(servers.places, DirectoryPlaces::Servers(expected, None));
    check(
        &format!(
            "{MINIMAL}[directory]\nkind = \"active-directory\"\nservers = [\"a b\"]\nkeytab_file = \"k\"\npassword_file = \"p\"\n\
                  [directory.attributes]\ntitel = \"title\"\ntitle = \"a b\"\n[directory.groops]\n"
        ),
        expect![[r#"
            chancery.toml:9: directory.account: nobody is named who reads the directory
              help: account = "svc-chancery@corp.contoso.example", with password_file or keytab_file
            chancery.toml:9: directory.authority_file: nothing says whose certificates are believed
              help: authority_file = "directory-ca.pem": the CA that issued the servers' certificates
            chancery.toml:11: directory.servers: "a b" is no server
              help: write a host, such as "dc1.corp.contoso.example", with its port behind a colon if need be
            chancery.toml:12: directory.keytab_file: the account has a password_file already
              help: keep one of the two
            chancery.toml:15: directory.attributes.titel: there is no such key
              help: did you mean `title`?
            chancery.toml:16: directory.attributes.title: "a b" is no attribute
              help: write the attribute's name, such as "telephoneNumber"
            chancery.toml:17: directory.groops: there is no such key
              help: did you mean `groups`?"#]],
    );
}

#[test]
fn a_site_counts_where_servers_are_found_by_dns() {
    let of = |keys: &str| {
        let account = "account = \"a\"\nauthority_file = \"ca.pem\"\npassword_file = \"p\"\n";
        parse(&format!("{MINIMAL}[directory]\n{account}{keys}"))
    };
    let settings =
        of("kind = \"active-directory\"\ndomain = \"corp.example\"\nsite = \"Head_Office-1\"\n").unwrap();
    let domain = ::directory::DomainName::parse("corp.example").unwrap();
    assert_eq!(
        settings.directory.expect("there is one").places,
        DirectoryPlaces::Domain(domain, Some("Head_Office-1".to_owned()))
    );
    let long = "x".repeat(64);
    for (keys, expected) in [
        ("domain = \"corp.example\"\nsite = \"Head Office\"\n", "is no site"),
        ("domain = \"corp.example\"\nsite = \"a.b\"\n", "is no site"),
        (&format!("domain = \"corp.example\"\nsite = \"{long}\"\n"), "is no site"),
        ("servers = [\"dc1\"]\nsite = \"Berlin\"\n", "servers are listed"),
    ] {
        let error = of(&format!("kind = \"active-directory\"\n{keys}")).unwrap_err().to_string();
        assert!(error.contains("directory.site: ") && error.contains(expected), "{error}");
    }
    let error =
        of("kind = \"ldap\"\ndomain = \"corp.example\"\nsite = \"Berlin\"\n").unwrap_err().to_string();
    assert!(error.contains("only Active Directory has sites"), "{error}");
}

#[test]
fn another_directory_is_taken_over_where_there_is_one() {
    let of = |keys: &str| parse(&format!("{MINIMAL}{keys}")).unwrap();
    let section =
        "[directory]\nkind = \"ldap\"\nauthority_file = \"ca.pem\"\naccount = \"a\"\npassword_file = \"p\"\n";
    let (none, one) = (of(""), of(&format!("{section}domain = \"a.example\"\n")));
    let other = of(&format!("{section}domain = \"b.example\"\n"));
    assert_eq!(none.restart_needed_for(&one), ["[directory]"]);
    assert_eq!(one.changed_at_run_time(&other), ["[directory]"]);
    let mut in_force = one.clone();
    in_force.take_over(other.clone());
    assert_eq!(in_force.directory, other.directory);
    in_force.take_over(none);
    assert_eq!(in_force.directory, other.directory, "its thread goes on until a restart");
}

#[test]
fn rules_of_numbers_and_levels_of_sight_are_proved() {
    let numbers =
        "[numbers]\ncountry_code = \"49\"\nrules = [{ match = \"6(\\\\d{3})\", to = \"+4930$1\" }]\n";
    let settings = parse(&format!("{MINIMAL}{numbers}")).unwrap().numbers;
    assert_eq!((settings.country_code.as_deref(), settings.rules.len()), (Some("49"), 1));
    check(
        &format!(
            "{MINIMAL}[numbers]\narea_code = \"30\"\nrules = [{{ match = \"(\", to = \"\", nam = \"x\" }}, {{ to = \"\" }}]\n\
                  [address_book]\nnobody = [\"home_fone\"]\n[web]\nurl = \"http://a.example\"\n"
        ),
        expect![[r#"
            chancery.toml:10: numbers.area_code: `area_code` needs `country_code`
            chancery.toml:11: numbers.rules: a rule has no `nam`
              help: a rule has match, to and name
            chancery.toml:11: numbers.rules: a rule needs match and to
              help: write { match = "...", to = "+49..." }
            chancery.toml:13: address_book.nobody: "home_fone" is nothing that the address book shows
              help: did you mean "home_phone"?
            chancery.toml:15: web.url: "http://a.example" is no address of a web site
              help: write https:// and the host, such as "https://sip.contoso.example""#]],
    );
}
