//! `chancery demo-federation` prints what to try. Each command is run here as it is printed, and does what is said of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use system_tests::{Community, PATIENCE, eventually};

/// The page's commands, with what is said of each.
fn commands(page: &str) -> Vec<(String, String)> {
    let (_, tries) =
        page.split_once("Try, each in a terminal of its own:").expect("there is something to try");
    let lines: Vec<&str> = tries.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut commands = Vec::new();
    for pair in lines.windows(2) {
        // Two blanks before what is said of it, four before the command.
        if let Some(command) = pair[1].strip_prefix("    ") {
            commands.push((pair[0].trim().to_owned(), command.to_owned()));
        }
    }
    commands
}

/// What a shell makes of a line; it becomes the program.
fn shell(line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("exec {line}")).stdin(Stdio::null());
    shell
}

fn run(line: &str) -> Output {
    shell(line).output().expect("sh runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// Somebody who listens until the end of the test.
struct Listener {
    child: Child,
    lines: Receiver<String>,
}

impl Listener {
    fn start(line: &str) -> Listener {
        let mut child = shell(line).stdout(Stdio::piped()).spawn().expect("sh runs");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Listener { child, lines }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn what_the_page_says_is_what_happens() {
    let (_community, page) = Community::start_for_people();
    let commands = commands(&page);
    let [listen, direct, hub, remote, spoof, block] = &commands[..] else { panic!("{commands:#?}") };
    let succeeds = |(title, command): &(String, String)| {
        let output = run(command);
        assert!(output.status.success(), "{title}\n{command}\n{}", said(&output));
    };

    assert!(listen.0.contains("listens"), "{listen:?}");
    let listener = Listener::start(&listen.1);
    assert!(direct.0.contains("federated directly") && direct.1.contains("'hello over there'"), "{direct:?}");
    succeeds(direct);
    // Where she was there first, her message waited for him.
    let heard = listener.lines.recv_timeout(PATIENCE).expect("the message crosses");
    assert_eq!(heard, "alice@contoso.example: hello over there");
    assert!(hub.0.contains("through the clearinghouse"), "{hub:?}");
    succeeds(hub);
    assert!(remote.0.contains("abroad"), "{remote:?}");
    succeeds(remote);

    assert!(spoof.0.contains("claims to be bob: refused"), "{spoof:?}");
    let output = run(&spoof.1);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("the message was refused: 403 Forbidden"), "{}", said(&output));
    assert!(!said(&output).contains("federated"), "a stranger is told no reason: {}", said(&output));

    assert!(block.0.contains("alice's next message is refused, and she is told why"), "{block:?}");
    succeeds(block);
    let refused = eventually("the policy is in force", || {
        let output = run(&direct.1);
        (!output.status.success()).then_some(output)
    });
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let why = "the message was refused: 403 Forbidden (Your organisation has blocked fabrikam.example)";
    assert!(said(&refused).contains(why), "{}", said(&refused));
}
