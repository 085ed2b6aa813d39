//! Real clients, on every transport that they speak.

use std::process::Command;

use system_tests::{Road, Server, Transport, client_script, have, run_tap, skip};

/// Each needs the programs, which `cargo xtask test` installs.
fn play(script: &str, programs: &[&str], transport: Transport, more: &[&str]) {
    if let Some(missing) = programs.iter().find(|program| !have(program)) {
        return skip(script, &format!("{missing} is not installed"));
    }
    let server = Server::start();
    let mut driver = Command::new("python3");
    driver.arg(client_script(script)).args(["--transport", transport.name()]);
    driver.arg("--port").arg(server.address(Road::v4(transport)).port().to_string()).args(more);
    if transport.is_secure() {
        driver.arg("--ca").arg(server.ca());
    }
    run_tap(&mut driver);
}

fn play_in_node(transport: Transport) {
    if !have("node") || !client_script("websocket/node_modules").is_dir() {
        return skip("JsSIP and SIP.js", "run `npm ci` in tests/clients/websocket");
    }
    let server = Server::start();
    let url = format!("{}://localhost:{}/", transport.name(), server.address(Road::v4(transport)).port());
    let mut driver = Command::new("node");
    driver.arg(client_script("websocket/ws_pair.mjs")).args(["--url", &url]);
    if transport.is_secure() {
        driver.arg("--ca").arg(server.ca());
    }
    run_tap(&mut driver);
}

const BARESIP: (&str, &[&str]) = ("baresip_pair.py", &["python3", "baresip"]);
const LINPHONE: (&str, &[&str]) = ("linphone_pair.py", &["python3", "linphonec"]);
const MIXED: (&str, &[&str]) = ("mixed_pair.py", &["python3", "baresip", "linphonec"]);
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
