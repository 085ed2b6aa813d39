//! Every key of the configuration, with its default and its documentation. The reader, the template and the manual
//! agree because a test holds them against this table.

use super::directory_keys::{ADDRESS_BOOK, ATTRIBUTES, DIRECTORY, GROUPS, NUMBERS, SIGN_IN, WEB};

/// A section of the file.
pub(super) struct Section {
    /// As written in brackets; empty for the top of the file.
    pub(super) name: &'static str,
    /// Whether it is written `[[name]]` and may occur several times.
    pub(super) repeats: bool,
    pub(super) doc: &'static str,
    pub(super) keys: &'static [Key],
}

/// A key.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// What holds where the key is absent, in TOML.
    pub(super) default: &'static str,
    pub(super) doc: &'static str,
}

pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "",
        repeats: false,
        doc: "",
        keys: &[
            Key {
                name: "domains",
                default: "[]",
                doc: "The SIP domains of this server: what stands behind the @ of its users' addresses. At least one;\n\
                      the first is the one that is shown where one is needed. A clearinghouse has none of its own and\n\
                      names the one that it is known by.",
            },
            Key {
                name: "role",
                default: "\"standard-edition\"",
                doc: "What this server is: \"standard-edition\" (it has users), \"director\" (signs in users who come from\n\
                      outside), \"access-edge\" (stands in the perimeter network) or \"clearinghouse\" (routes among members).",
            },
        ],
    },
    Section {
        name: "server",
        repeats: false,
        doc: "The server itself.",
        keys: &[
            Key {
                name: "host",
                default: "\"\"",
                doc: "The host name that other programs reach this server by; it appears in Via and Record-Route.\n\
                      It must resolve, and the certificate must name it. Default: the first domain.",
            },
            Key {
                name: "aliases",
                default: "[]",
                doc: "Further names under which requests may address the server itself.",
            },
            Key {
                name: "data_dir",
                default: "\"data\"",
                doc: "The folder of the database. Relative paths count from the folder of this file.",
            },
            Key {
                name: "control_socket",
                default: "\"\"",
                doc: "The local socket of `chancery user` and `chancery status`.\n\
                      Default: control.sock in the data folder.",
            },
        ],
    },
    Section {
        name: "listener",
        repeats: true,
        doc: "The sockets to listen on, one section each. At least one.",
        keys: &[
            Key {
                name: "transport",
                default: "",
                doc: "\"udp\", \"tcp\", \"tls\", \"ws\" (WebSocket, RFC 7118) or \"wss\" (secure WebSocket).",
            },
            Key {
                name: "address",
                default: "",
                doc: "Address and port, such as \"192.0.2.1:5060\"; \"0.0.0.0:5060\" is every IPv4 address of the machine,\n\
                      \"[::]:5060\" every IPv6 address. A machine with several addresses names each of them for udp: answers\n\
                      must leave from the address that was asked.",
            },
            Key {
                name: "side",
                default: "\"inside\"",
                doc: "\"inside\" or \"outside\": the network that it faces. Only an access-edge and a clearinghouse have an\n\
                      outside; connections to it leave from the address of the first outside listener of their family.",
            },
            Key {
                name: "advertised_host",
                default: "\"\"",
                doc: "The host that peers of this listener are shown, where it is not the server's.",
            },
            Key {
                name: "origins",
                default: "[]",
                doc: "For ws and wss: the web sites whose pages may open WebSockets, such as [\"https://im.contoso.example\"].\n\
                      Without any, every site's may; they still need a user's password.",
            },
            Key {
                name: "client_certificates",
                default: "\"by-port\"",
                doc: "For tls: \"by-port\" asks for a certificate where partners or our own servers may come, without requiring one, but not on\n\
                      port 443: some clients of remote users cannot bear to be asked. \"never\" is for other ports that are theirs,\n\
                      such as one that a load balancer leads port 443 to.",
            },
        ],
    },
    Section {
        name: "tls",
        repeats: false,
        doc: "The certificate for the transports tls and wss, and for HTTPS. A changed file is taken over within seconds, without\n\
              closing a connection.",
        keys: &[
            Key {
                name: "certificate_file",
                default: "\"server.pem\"",
                doc: "PEM: the server's certificate first, then intermediate ones.",
            },
            Key {
                name: "key_file",
                default: "\"server.key\"",
                doc: "PEM: its private key. Only the server's account may read it (mode 0600).",
            },
            Key {
                name: "authority_file",
                default: "\"\"",
                doc: "PEM: the CAs that the certificates of other servers must lead to. Without it no certificate of\n\
                      another server is believed.",
            },
            Key {
                name: "revocation_files",
                default: "[]",
                doc: "Certificate revocation lists of these CAs, PEM or DER.",
            },
        ],
    },
    Section {
        name: "tls_outside",
        repeats: false,
        doc: "The certificate that the outside sees, of an access-edge or a clearinghouse: it names this server's outside host,\n\
              and the SIP domains where partners want to see them.",
        keys: &[
            Key { name: "certificate_file", default: "\"outside.pem\"", doc: "PEM: as in [tls]." },
            Key { name: "key_file", default: "\"outside.key\"", doc: "PEM: as in [tls]." },
            Key {
                name: "authority_file",
                default: "\"\"",
                doc: "PEM: the CAs that partners' certificates must lead to, unless the policy names others for a partner.",
            },
            Key {
                name: "revocation_files",
                default: "[]",
                doc: "Certificate revocation lists of these CAs, PEM or DER.",
            },
        ],
    },
    Section {
        name: "trusted_server",
        repeats: true,
        doc: "Our other servers, one section each. They prove their host name by a certificate of [tls] authority_file, and are\n\
              believed what their role may say: where a request came from, and who its sender is.",
        keys: &[
            Key { name: "host", default: "", doc: "The host name in its certificate." },
            Key { name: "role", default: "", doc: "\"front-end\", \"director\" or \"access-edge\"." },
        ],
    },
    Section {
        name: "federation",
        repeats: false,
        doc: "Other organisations.",
        keys: &[
            Key {
                name: "policy_file",
                default: "\"federation.toml\"",
                doc: "Who may talk with us, and how they are reached. A changed file is taken over within seconds; without one\n\
                      nobody may. Read by an access-edge and a clearinghouse; `chancery federation` changes it.",
            },
            Key {
                name: "route",
                default: "\"\"",
                doc: "The access-edge, by host name and port, that requests to other organisations go to, such as\n\
                      \"edge.contoso.example:5061\". Without it there are none. For a standard-edition and a director.",
            },
            Key {
                name: "new_users",
                default: "\"yes\"",
                doc: "Whether new users may talk with other organisations; `chancery user set-permission` changes it for one.",
            },
        ],
    },
    Section {
        name: "remote_access",
        repeats: false,
        doc: "Our users outside of our network.",
        keys: &[
            Key {
                name: "enabled",
                default: "\"yes\"",
                doc: "\"no\" shuts them all out, here: at the access-edge, the director, or the standard-edition.",
            },
            Key {
                name: "new_users",
                default: "\"yes\"",
                doc: "Whether new users may sign in from outside; `chancery user set-permission` changes it for one.",
            },
        ],
    },
    Section {
        name: "director",
        repeats: false,
        doc: "For a director.",
        keys: &[
            Key {
                name: "mode",
                default: "\"authenticate\"",
                doc: "\"authenticate\": it asks for passwords itself, so that no stranger reaches a front end; \"route\": the\n\
                      user's home asks.",
            },
            Key {
                name: "front_ends",
                default: "[]",
                doc: "The servers that users are homed on, by host name and port, such as [\"sip.contoso.example:5061\"].",
            },
        ],
    },
    Section {
        name: "access_edge",
        repeats: false,
        doc: "For an access-edge.",
        keys: &[
            Key {
                name: "next_hops",
                default: "[]",
                doc: "The directors or front ends, by host name and port, that take what comes from outside; later ones where\n\
                      earlier ones fail.",
            },
            Key {
                name: "token_key_file",
                default: "\"\"",
                doc: "32 octets in hexadecimal: the key of the tokens that hide our inner servers. Edges behind one name share\n\
                      it. Default: edge.key in the data folder, made where it is missing.",
            },
        ],
    },
    Section {
        name: "http",
        repeats: false,
        doc: "Metrics for Prometheus at /metrics, health at /health. Plain HTTP, without sign-in: keep it on loopback or\n\
              an inner network.",
        keys: &[Key {
            name: "addresses",
            default: "[\"127.0.0.1:5090\"]",
            doc: "Where to serve them; [] switches it off.",
        }],
    },
    Section {
        name: "https",
        repeats: false,
        doc: "HTTPS for clients: contact lists and access rules (XCAP, RFC 4825), with the certificate of [tls] and the\n\
              passwords of SIP.",
        keys: &[Key {
            name: "listen",
            default: "[]",
            doc: "Where to serve them, such as [\"0.0.0.0:8443\", \"[::]:8443\"]; [] switches it off.",
        }],
    },
    WEB,
    SIGN_IN,
    DIRECTORY,
    ATTRIBUTES,
    GROUPS,
    NUMBERS,
    ADDRESS_BOOK,
    Section {
        name: "registration",
        repeats: false,
        doc: "Bounds of registrations (RFC 3261 section 10.3).",
        keys: &[
            Key {
                name: "expires_default_seconds",
                default: "3600",
                doc: "Granted to a client that asks for no time of its own.",
            },
            Key {
                name: "expires_min_seconds",
                default: "60",
                doc: "Less is refused with 423 (Interval Too Brief).",
            },
            Key { name: "expires_max_seconds", default: "7200", doc: "More is cut to this." },
            Key {
                name: "bindings_per_user_max",
                default: "16",
                doc: "Devices that a user may have registered at once, 1 to 1000.",
            },
        ],
    },
    Section {
        name: "authentication",
        repeats: false,
        doc: "When users must prove who they are. REGISTER is always challenged.",
        keys: &[
            Key {
                name: "nonce_lifetime_seconds",
                default: "300",
                doc: "How long the nonce of a challenge may be used, 10 to 86400.",
            },
            Key {
                name: "connections",
                default: "\"once-per-flow\"",
                doc: "On TCP, TLS and WebSocket: \"once-per-flow\" believes a connection on which the user has registered;\n\
                      \"every-request\" challenges each request outside of a dialog.",
            },
            Key {
                name: "datagrams",
                default: "\"every-request\"",
                doc: "On UDP, whose source addresses can be forged.",
            },
        ],
    },
    Section {
        name: "presence",
        repeats: false,
        doc: "Presence: who sees how much of people whose own access rules do not speak of them, and how soon.",
        keys: &[
            Key {
                name: "same_organisation_level",
                default: "\"company\"",
                doc: "What users of this server see of each other: \"blocked\", \"external\", \"company\", \"team\" or \"personal\".",
            },
            Key { name: "federated_level", default: "\"external\"", doc: "What users of partners see." },
            Key {
                name: "coalesce_milliseconds",
                default: "50",
                doc: "Changes of a person that come within this time after one that was told are told together, up to 5000.",
            },
            Key {
                name: "list_coalesce_milliseconds",
                default: "500",
                doc: "Changes of the people in a contact list that come within this time after one that was told are told together, up to 5000. What somebody may no longer see does not wait.",
            },
        ],
    },
    Section {
        name: "calls",
        repeats: false,
        doc: "Calls: policy, and what is kept of them.",
        keys: &[
            Key {
                name: "busy_on_busy",
                default: "\"no\"",
                doc: "Whether a call that finds the callee in a call is refused as busy; people may choose otherwise.",
            },
            Key {
                name: "no_answer_after_seconds",
                default: "20",
                doc: "How long devices ring before a call that nobody answers goes elsewhere, 5 to 180; people may choose otherwise.",
            },
            Key {
                name: "log_retention_days",
                default: "90",
                doc: "How long the call log reaches back, up to 3650; 0 keeps none.",
            },
        ],
    },
    Section {
        name: "messaging",
        repeats: false,
        doc: "Bounds of instant messages.",
        keys: &[
            Key {
                name: "answer_within_seconds",
                default: "8",
                doc: "How long a sender waits for a device to take the message before it is told \"202 Accepted\", 1 to 30.",
            },
            Key {
                name: "retention_days",
                default: "7",
                doc: "How long a message is kept for devices that are away, and a resend is recognised, 1 to 365.",
            },
            Key {
                name: "waiting_per_user_max",
                default: "10000",
                doc: "Messages that may wait for one user; more are refused with 480.",
            },
        ],
    },
    Section {
        name: "dns",
        repeats: false,
        doc: "Where the hosts of registered devices and of other servers are looked up (RFC 3263).",
        keys: &[
            Key {
                name: "servers",
                default: "[]",
                doc: "The DNS servers to ask, such as [\"10.0.0.53\"], with their port where it is not 53. A network whose\n\
                      inner names are unknown outside names its own. Default: those of the system (/etc/resolv.conf).",
            },
            Key {
                name: "hosts",
                default: "[]",
                doc: "Hosts whose addresses are not asked of DNS, such as [\"10.0.0.5 sip.contoso.example\"]: an address, then its\n\
                      names, as in /etc/hosts.",
            },
        ],
    },
    Section {
        name: "limits",
        repeats: false,
        doc: "What protects the process itself.",
        keys: &[
            Key {
                name: "connections_max",
                default: "100000",
                doc: "Connections at once. Each costs a file descriptor (LimitNOFILE of the unit) and some 5 KiB.",
            },
            Key {
                name: "connections_per_source_max",
                default: "16384",
                doc: "Connections at once from one address (IPv6: from one /64).",
            },
            Key {
                name: "transactions_max",
                default: "131072",
                doc: "Requests that wait for an answer at once, some 2 KiB each; further ones are refused with 503 and\n\
                      Retry-After. The last quarter is not for calls, which ring for minutes: messages go on.",
            },
        ],
    },
    Section {
        name: "log",
        repeats: false,
        doc: "The log, on standard error.",
        keys: &[
            Key {
                name: "level",
                default: "\"info\"",
                doc: "\"error\", \"warn\", \"info\", \"debug\" or \"trace\", or a filter such as \"info,net=debug\".\n\
                      The variable RUST_LOG overrides it.",
            },
            Key { name: "format", default: "\"text\"", doc: "\"text\" for people, \"json\" for collectors." },
        ],
    },
];

/// All keys with their sections, such as `registration.expires_min_seconds`.
#[cfg(test)]
pub(super) fn all_names() -> impl Iterator<Item = String> {
    SECTIONS.iter().flat_map(|s| s.keys.iter().map(|k| full_name(s.name, k.name)))
}

pub(super) fn full_name(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}
