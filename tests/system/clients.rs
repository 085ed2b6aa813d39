//! Real clients, on every transport that they speak.

use std::process::Command;

use system_tests::{Road, Server, Transport, client_script, have, run_tap, skip};

/// Each needs the programs, which `cargo xtask test` installs.
fn play(script: &str, programs: &[&str], transport: Transport, more: &[&str]) {
    if is_missing(script, programs) {
        return;
    }
    let server = Server::start();
    run_tap(driver(&server, script, transport).args(more));
}

/// Whether a program is not here; says so.
fn is_missing(script: &str, programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| !have(program));
    missing.inspect(|missing| skip(script, &format!("{missing} is not installed"))).is_some()
}

fn driver(server: &Server, script: &str, transport: Transport) -> Command {
    let mut driver = Command::new("python3");
    driver.arg(client_script(script)).args(["--transport", transport.name()]);
    driver.arg("--port").arg(server.address(Road::v4(transport)).port().to_string());
    if transport.is_secure() {
        driver.arg("--ca").arg(server.ca());
    }
    driver
}

fn has_node_modules(what: &str) -> bool {
    let is_here = have("node") && client_script("websocket/node_modules").is_dir();
    if !is_here {
        skip(what, "run `npm ci` in tests/clients/websocket");
    }
    is_here
}

fn url(server: &Server, transport: Transport) -> String {
    format!("{}://localhost:{}/", transport.name(), server.address(Road::v4(transport)).port())
}

fn play_triangle(transport: Transport, web: Transport) {
    if is_missing(TRIANGLE.0, TRIANGLE.1) || !has_node_modules(TRIANGLE.0) {
        return;
    }
    let server = Server::start();
    run_tap(driver(&server, TRIANGLE.0, transport).args(["--ws", &url(&server, web)]));
}

fn play_in_node(transport: Transport) {
    if !has_node_modules("JsSIP and SIP.js") {
        return;
    }
    let server = Server::start();
    let mut driver = Command::new("node");
    driver.arg(client_script("websocket/ws_pair.mjs")).args(["--url", &url(&server, transport)]);
    if transport.is_secure() {
        driver.arg("--ca").arg(server.ca());
    }
    run_tap(&mut driver);
}

const BARESIP: (&str, &[&str]) = ("baresip_pair.py", &["python3", "baresip"]);
const LINPHONE: (&str, &[&str]) = ("linphone_pair.py", &["python3", "linphonec"]);
const MIXED: (&str, &[&str]) = ("mixed_pair.py", &["python3", "baresip", "linphonec"]);
const LIST: (&str, &[&str]) = ("linphone_list.py", &["python3", "baresip", "linphonec"]);
const TRIANGLE: (&str, &[&str]) = ("presence_triangle.py", &["python3", "baresip", "linphonec", "node"]);
const SIPP: (&str, &[&str]) = ("sipp_load.py", &["python3", "sipp", "socat"]);

#[test]
fn baresip_over_udp() {
    play(BARESIP.0, BARESIP.1, Transport::Udp, &[]);
}

#[test]
fn baresip_over_tcp() {
    play(BARESIP.0, BARESIP.1, Transport::Tcp, &[]);
}

#[test]
fn baresip_over_tls_with_srtp() {
    play(BARESIP.0, BARESIP.1, Transport::Tls, &["--srtp"]);
}

#[test]
fn linphone_over_udp() {
    play(LINPHONE.0, LINPHONE.1, Transport::Udp, &[]);
}

#[test]
fn linphone_over_tcp() {
    play(LINPHONE.0, LINPHONE.1, Transport::Tcp, &[]);
}

#[test]
fn linphone_over_tls_with_srtp() {
    play(LINPHONE.0, LINPHONE.1, Transport::Tls, &["--srtp"]);
}

#[test]
fn linphone_transfers_after_consultation() {
    play("linphone_transfer.py", LINPHONE.1, Transport::Tls, &[]);
}

#[test]
fn baresip_and_linphone_over_udp() {
    play(MIXED.0, MIXED.1, Transport::Udp, &[]);
}

#[test]
fn baresip_and_linphone_over_tcp() {
    play(MIXED.0, MIXED.1, Transport::Tcp, &[]);
}

#[test]
fn baresip_and_linphone_over_tls() {
    play(MIXED.0, MIXED.1, Transport::Tls, &[]);
}

#[test]
fn linphones_contact_list_over_udp() {
    play(LIST.0, LIST.1, Transport::Udp, &[]);
}

#[test]
fn linphones_contact_list_over_tcp() {
    play(LIST.0, LIST.1, Transport::Tcp, &[]);
}

#[test]
fn linphones_contact_list_over_tls() {
    play(LIST.0, LIST.1, Transport::Tls, &[]);
}

#[test]
fn baresip_linphone_and_sipjs_see_one_another_over_tcp_and_ws() {
    play_triangle(Transport::Tcp, Transport::Ws);
}

#[test]
fn baresip_linphone_and_sipjs_see_one_another_over_tls_and_wss() {
    play_triangle(Transport::Tls, Transport::Wss);
}

#[test]
fn jssip_and_sipjs_over_ws() {
    play_in_node(Transport::Ws);
}

#[test]
fn jssip_and_sipjs_over_wss() {
    play_in_node(Transport::Wss);
}

#[test]
fn sipp_over_udp() {
    play(SIPP.0, SIPP.1, Transport::Udp, &[]);
}

#[test]
fn sipp_over_tcp() {
    play(SIPP.0, SIPP.1, Transport::Tcp, &[]);
}

#[test]
fn sipp_over_tls() {
    play(SIPP.0, SIPP.1, Transport::Tls, &[]);
}
