//! `chancery explain` on a server with users: what stops, how it ends, and what a script reads.

use super::*;

struct Demo {
    running: Running,
    dir: tempfile::TempDir,
    tcp: String,
}

impl Demo {
    fn start() -> Demo {
        let dir = tempfile::tempdir().unwrap();
        let users = ["--user", "alice:a-secret-of-alice", "--user", "bob:a-secret-of-bob"];
        let (running, ready) = Running::demo(dir.path(), &users);
        let tcp = format!("tcp:127.0.0.1:{}", ready["tcp"]);
        Demo { running, dir, tcp }
    }

    fn run(&self, words: &str) -> (i32, String, String) {
        let dir = self.dir.path().to_str().unwrap();
        run(&[&words.split(' ').collect::<Vec<_>>()[..], &["--dir", dir]].concat())
    }

    fn done(&self, words: &str) {
        let (code, out, error) = self.run(words);
        assert_eq!(code, 0, "{words}: {out}{error}");
    }

    /// A device of bob's that stays.
    fn device(&self) -> Running {
        let file = self.dir.path().join("bob");
        std::fs::write(&file, "a-secret-of-bob\n").unwrap();
        let file = file.to_str().unwrap();
        let bob = "bob@contoso.example";
        Running::start(chancery(&[
            "probe",
            "listen",
            "--server",
            &self.tcp,
            "--as",
            bob,
            "--password-file",
            file,
        ]))
    }

    /// Exit code, the step that stops, and the level that a script reads.
    fn explained(&self, from: &str, to: &str) -> (i32, Option<(String, String)>, Value) {
        let (code, out, error) = self.run(&format!("explain {from} {to} --json"));
        let told: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON: {out}{error}"));
        let text = |step: &Value, key: &str| step[key].as_str().unwrap().to_owned();
        let steps = told["steps"].as_array().unwrap();
        let stops = steps.iter().find(|step| step["verdict"] == "stops");
        assert_eq!(told["passes"], stops.is_none(), "{told}");
        assert!(stops.is_none_or(|step| step["mend"].is_string()), "{told}");
        // What stops is told on standard error too, for whoever reads no JSON.
        match stops {
            Some(step) => assert!(error.contains(&text(step, "finding")), "{error}"),
            None => assert_eq!(error, ""),
        }
        (code, stops.map(|step| (text(step, "what"), text(step, "finding"))), told)
    }
}

fn finding(told: &Value, what: &str) -> String {
    let steps = told["steps"].as_array().unwrap();
    let step =
        steps.iter().find(|step| step["what"] == what).unwrap_or_else(|| panic!("no {what} in {told}"));
    step["finding"].as_str().unwrap().to_owned()
}

#[test]
fn the_first_step_that_stops_is_the_answer() {
    let demo = Demo::start();
    let (alice, bob) = ("alice@contoso.example", "bob@contoso.example");

    let (code, stops, told) = demo.explained(alice, bob);
    assert_eq!((code, stops.unwrap().0.as_str()), (1, "calls"), "nobody is there");
    assert!(finding(&told, "messages").starts_with("are kept (202)"), "{told}");

    let device = demo.device();
    let deadline = std::time::Instant::now() + PATIENCE;
    let told = loop {
        let (code, stops, told) = demo.explained(alice, bob);
        if code == 0 || std::time::Instant::now() > deadline {
            assert_eq!((code, stops), (0, None), "{told}");
            break told;
        }
    };
    assert_eq!(finding(&told, "calls"), "ring on one device");
    assert_eq!(finding(&told, "access level"), "company");

    demo.done(&format!("presence set {bob} --state do-not-disturb"));
    let (code, stops, told) = demo.explained(alice, bob);
    let stops = stops.unwrap();
    assert_eq!((code, stops.0.as_str()), (1, "calls"));
    assert_eq!(stops.1, "are answered 486: the user is not to be disturbed");
    assert!(finding(&told, "do-not-disturb").contains("may not interrupt it"), "{told}");
    demo.done(&format!("access set {bob} {alice} team"));
    assert_eq!(demo.explained(alice, bob).0, 0, "the team may");
    demo.done(&format!("presence clear {bob}"));

    demo.done(&format!("access set {bob} {alice} blocked"));
    let (code, _, told) = demo.explained(alice, bob);
    assert_eq!(
        finding(&told, "access level"),
        "blocked: the sender sees the recipient offline; access show says why"
    );
    assert_eq!(code, 0, "who is blocked sees nothing, and writes and calls like anybody: {told}");
    assert!(finding(&told, "presence").contains("seen as"), "{told}");
    demo.done(&format!("access unset {bob} {alice}"));

    demo.done(&format!("forward set {bob} --always {alice}"));
    let (code, stops, _) = demo.explained("dave@contoso.example", bob);
    assert_eq!((code, stops.unwrap().0.as_str()), (1, "sender"), "there is no dave");
    demo.done(&format!("forward clear {bob}"));

    demo.done(&format!("user set-permission {bob} --calls off"));
    let (code, stops, _) = demo.explained(alice, bob);
    assert_eq!((code, stops.unwrap().0.as_str()), (1, "calls"));
    demo.done(&format!("user set-permission {bob} --calls on"));

    demo.done(&format!("user disable {bob}"));
    let (code, stops, _) = demo.explained(alice, bob);
    let stops = stops.unwrap();
    assert_eq!((code, stops.0.as_str()), (1, "recipient"));
    assert!(stops.1.starts_with("bob@contoso.example is disabled"), "{}", stops.1);

    check(
        &demo.run(&format!("explain {alice} nobody@contoso.example")),
        &[],
        expect![[r#"
        from alice@contoso.example to nobody@contoso.example
          ok    sender            alice@contoso.example exists and is enabled
          note  sender's devices  none is registered: nothing comes from them now
          STOP  recipient         there is no account nobody@contoso.example; requests to it are answered 404
                                  mend: chancery user add creates it; chancery user list --containing TEXT finds how it is written
        chancery: alice@contoso.example does not reach nobody@contoso.example: recipient: there is no account nobody@contoso.example; requests to it are answered 404
        exit 1
    "#]],
    );
    check(
        &demo.run(&format!("explain {alice} erin@fabrikam.example")),
        &[],
        expect![[r#"
        from alice@contoso.example to erin@fabrikam.example
          ok    sender            alice@contoso.example exists and is enabled
          note  sender's devices  none is registered: nothing comes from them now
          ok    permission        alice@contoso.example may talk with other organisations
          STOP  route             this server has no way to other organisations: requests to them are answered 403
                                  mend: name the Access Edge in [federation] route of the configuration
        chancery: alice@contoso.example does not reach erin@fabrikam.example: route: this server has no way to other organisations: requests to them are answered 403
        exit 1
    "#]],
    );
    drop(device);
    demo.running.stop();
}

#[test]
fn what_cannot_be_explained_says_so() {
    let demo = Demo::start();
    check(
        &demo.run("explain alice bob@contoso.example"),
        &[],
        expect![[r#"
        chancery: "alice" is no SIP address: an address is written user@domain
          help: write it as alice@contoso.example
        exit 1
    "#]],
    );
    assert_eq!(demo.run("explain alice@contoso.example").0, 2);
    let dir = demo.dir.path().to_str().unwrap().to_owned();
    demo.running.stop();
    let (code, _, error) = run(&["explain", "alice@contoso.example", "bob@contoso.example", "--dir", &dir]);
    assert!(code == 4 && error.contains("no server is running"), "{error}");
}
