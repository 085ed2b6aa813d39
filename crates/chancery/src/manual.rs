//! What is written of the command line, held against it: the manual, the examples of `--help`, and the commands that messages name.
//!
//! A whole command (a line of a code block, an example of `--help`) must be one that the program takes. What stands amid words, as
//! `chancery user add ADDRESS`, names a command and options that there are, with or without its arguments.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// Words that stand before the program's name in a line of a shell, and how many words of their own they bring.
const BEFORE: [(&str, usize); 4] = [("sudo", 0), ("-u", 1), ("$", 0), ("xargs", 0)];

/// Everything that is wrong with what was looked at, and how many commands that were.
#[derive(Default)]
struct Findings {
    commands: usize,
    wrong: Vec<String>,
}

impl Findings {
    fn none(&self, at_least: usize) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        assert!(self.commands >= at_least, "only {} commands were found", self.commands);
    }

    fn take(&mut self, at: &str, text: &str, result: Result<(), String>) {
        self.commands += 1;
        if let Err(why) = result {
            self.wrong.push(format!("{at}: `{text}`: {why}"));
        }
    }

    /// A line of a shell: each command of ours in it.
    fn line(&mut self, at: &str, line: &str) {
        for Segment { words, is_whole } in segments(line) {
            let text = words.join(" ");
            let result = if is_whole { parsed(&words) } else { named(&words).map(drop) };
            self.take(at, &format!("chancery {text}"), result);
        }
    }

    /// Commands within back quotes.
    fn spans(&mut self, at: &str, text: &str) {
        for span in spans(text) {
            let Some(rest) = span.strip_prefix("chancery ") else { continue };
            for words in alternatives(&words(&rest.replace('|', "/"))) {
                self.take(at, span, named(&words).map(drop));
            }
        }
    }

    /// A row of a table that begins with a command: the options beside it are the command's.
    fn row(&mut self, at: &str, row: &str) {
        let row = row.replace("\\|", "/");
        let mut cells = row.trim().trim_matches('|').split('|');
        let Some(first) = cells.next() else { return };
        let commands: Vec<Vec<String>> = spans(first)
            .filter_map(|span| span.strip_prefix("chancery "))
            .flat_map(|rest| alternatives(&words(rest)))
            .collect();
        for words in &commands {
            self.take(at, &words.join(" "), named(words).map(drop));
        }
        let rest: Vec<&str> = cells.collect();
        for option in rest.iter().flat_map(|cell| spans(cell)).filter(|span| span.starts_with("--")) {
            let has = |words: &Vec<String>| {
                named(words)
                    .is_ok_and(|command| options_in(&self::words(option)).all(|o| has_option(&command, &o)))
            };
            // Amid prose options of other commands may be named together with them.
            if !commands.is_empty() && !commands.iter().any(has) {
                self.wrong.push(format!("{at}: {option} is no option of {}", commands[0].join(" ")));
            }
        }
    }
}

/// One command of a line.
struct Segment {
    words: Vec<String>,
    /// Whether all of it is written down.
    is_whole: bool,
}

/// Our commands of a line, without the program's name.
fn segments(line: &str) -> Vec<Segment> {
    let mut found = Vec::new();
    for segment in unquoted_split(line) {
        let mut words = words(&segment);
        let mut is_whole = true;
        while let Some(first) = words.first().cloned() {
            let before = BEFORE.iter().find(|(word, _)| *word == first);
            let skipped = match before {
                Some((_, more)) => 1 + more,
                None if first.contains('=') && !first.starts_with('-') => 1,
                None => break,
            };
            is_whole &= first != "xargs";
            words.drain(..skipped.min(words.len()));
        }
        if words.first().is_some_and(|word| word == "chancery") {
            words.remove(0);
            is_whole &= !words.iter().any(|word| word.contains("..."));
            found.push(Segment { words, is_whole });
        }
    }
    found
}

/// A line cut at what a shell cuts it at, and at a remark: behind `#`, or behind three blanks that do not align an option.
fn unquoted_split(line: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut quote = None;
    let mut redirected = false;
    let line = line.trim();
    for (at, character) in line.char_indices() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, ' ') if line[at..].starts_with("   ") && !line[at..].trim_start().starts_with('-') => {
                break;
            }
            (None, '#') if line[..at].ends_with(' ') => break,
            (None, '|' | '&' | ';') => {
                redirected = false;
                segments.push(String::new());
                continue;
            }
            (None, '>' | '<') => redirected = true,
            _ => {}
        }
        if !redirected {
            segments.last_mut().expect("there is one").push(character);
        }
    }
    segments
}

/// Words as a shell cuts them.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut quote, mut is_open) = (None, false);
    for character in text.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                if !is_open {
                    words.push(String::new());
                    is_open = true;
                }
            }
            (None, _) if character.is_whitespace() => is_open = false,
            _ => {
                if !is_open {
                    words.push(String::new());
                    is_open = true;
                }
                words.last_mut().expect("one is open").push(character);
            }
        }
    }
    words
}

/// What stands within back quotes.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// `add/list/remove` is three commands.
fn alternatives(words: &[String]) -> Vec<Vec<String>> {
    let Some(at) = words.iter().position(|word| {
        word.contains('/') && word.chars().all(|c| c == '/' || c == '-' || c.is_ascii_lowercase())
    }) else {
        return vec![words.to_vec()];
    };
    let one = |word: &str| [&words[..at], &[word.to_owned()], &words[at + 1..]].concat();
    words[at].split('/').map(one).collect()
}

/// Whether the program takes the command.
fn parsed(words: &[String]) -> Result<(), String> {
    let all = std::iter::once("chancery").chain(words.iter().map(String::as_str));
    match Cli::command().try_get_matches_from(all) {
        Ok(_) => Ok(()),
        Err(error) if error.exit_code() == 0 => Ok(()),
        Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

/// The command that words begin with, if it has all the options that they name.
fn named(words: &[String]) -> Result<Command, String> {
    let mut command = Cli::command();
    // What holds for all commands, as `--help`, is only there once it is built.
    command.build();
    let mut rest = words;
    while let [first, more @ ..] = rest {
        if !command.has_subcommands() {
            break;
        }
        // `chancery COMMAND --help`.
        if first.chars().all(|c| c.is_ascii_uppercase()) || first == "..." {
            return Ok(command);
        }
        if first.starts_with('-') {
            break;
        }
        command = command.find_subcommand(first).ok_or(format!("{first:?} is no command"))?.clone();
        rest = more;
    }
    match options_in(rest).find(|option| !has_option(&command, option)) {
        Some(option) => Err(format!("{option} is no option of {}", command.get_name())),
        None => Ok(command),
    }
}

fn options_in(words: &[String]) -> impl Iterator<Item = String> {
    let option = |word: &String| {
        let word = word.trim_start_matches('[').trim_end_matches([']', ',']);
        let name = word.split('=').next().unwrap_or(word);
        (name.len() > 2 && name.starts_with("--")).then(|| name.to_owned())
    };
    words.iter().filter_map(option)
}

fn has_option(command: &Command, option: &str) -> bool {
    let name = option.trim_start_matches("--");
    command.get_arguments().any(|argument| argument.get_long() == Some(name))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Files below a folder whose names end so, in order.
fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Lines that end with a backslash go on in the next.
fn joined(text: &str) -> String {
    let mut parts = text.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| whole.trim_end().to_owned() + " " + part.trim_start())
}

fn look_at_page(findings: &mut Findings, at: &str, page: &str) {
    let page = joined(page);
    let mut is_fenced = false;
    let mut prose = String::new();
    for (number, line) in page.lines().enumerate() {
        let at = format!("{at}:{}", number + 1);
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced || line.starts_with("    ") {
            findings.line(&at, line);
        } else if line.starts_with('|') {
            findings.row(&at, line);
            // The cells behind the first.
            let behind = line.replace("\\|", "/");
            let behind = behind.splitn(3, '|').nth(2).unwrap_or_default().to_owned();
            findings.spans(&at, &behind);
        } else {
            // A span may go on in the next line.
            prose.push_str(line);
            prose.push(if line.is_empty() { '\n' } else { ' ' });
        }
    }
    for paragraph in prose.lines() {
        findings.spans(at, paragraph);
    }
}

#[test]
fn every_command_of_the_manual_is_one() {
    let mut findings = Findings::default();
    let mut pages = files_below(&repository().join("docs"), "md");
    pages.extend(
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(|page| repository().join(page)),
    );
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("a page");
        look_at_page(&mut findings, &page.file_name().expect("a name").to_string_lossy(), &text);
    }
    findings.none(150);
}

#[test]
fn every_example_of_the_help_is_a_command() {
    /// The width at which `--help` is broken: an example that is wider cannot be copied.
    const HELP_WIDTH: usize = 100;
    fn look(findings: &mut Findings, command: &Command) {
        let texts = [command.get_after_help(), command.get_after_long_help()];
        for text in texts.into_iter().flatten() {
            let text = text.to_string();
            let wide = text.lines().filter(|line| line.chars().count() > HELP_WIDTH);
            findings
                .wrong
                .extend(wide.map(|line| format!("{}: wider than a page: {line}", command.get_name())));
            for line in joined(&text).lines() {
                findings.line(command.get_name(), line.trim_start_matches("Then: "));
                findings.spans(command.get_name(), line);
            }
        }
        command.get_subcommands().for_each(|command| look(findings, command));
    }
    let mut findings = Findings::default();
    look(&mut findings, &Cli::command());
    findings.none(60);
}

/// What the program, and the template of its configuration, tell people to do.
#[test]
fn every_command_that_a_message_names_is_one() {
    let mut findings = Findings::default();
    for crate_folder in std::fs::read_dir(repository().join("crates")).expect("crates") {
        let folder = crate_folder.expect("an entry").path().join("src");
        let sources = files_below(&folder, "rs");
        for file in sources.into_iter().filter(|file| !file.ends_with("chancery/src/manual.rs")) {
            let text = std::fs::read_to_string(&file).expect("a source file");
            for (number, line) in text.lines().enumerate() {
                findings.spans(&format!("{}:{}", file.display(), number + 1), line);
            }
        }
    }
    findings.none(80);
}

#[test]
fn lines_are_cut_as_a_shell_does() {
    let commands = |line: &str| -> Vec<(String, bool)> {
        segments(line).into_iter().map(|segment| (segment.words.join("|"), segment.is_whole)).collect()
    };
    let whole = |text: &str| (text.to_owned(), true);
    assert_eq!(commands("sudo -u chancery sqlite3 x"), []);
    assert_eq!(
        commands("pass show erin | sudo chancery user list  --json # all"),
        [whole("user|list|--json")]
    );
    assert_eq!(commands("$ chancery user add a@b --name 'A B'    words"), [whole("user|add|a@b|--name|A B")]);
    assert_eq!(
        commands("chancery backup | xargs chancery restore --verify"),
        [whole("backup"), ("restore|--verify".to_owned(), false)]
    );
    assert_eq!(commands("RUST_LOG=debug chancery serve > log"), [whole("serve")]);
    for wrong in ["user lists", "backup --too x", "explain a@b.example"] {
        assert!(parsed(&words(wrong)).is_err(), "{wrong}");
    }
    assert!(named(&words("user add ADDRESS --name")).is_ok() && named(&words("user add --nam")).is_err());
    let mut findings = Findings::default();
    findings
        .row("here", "| `chancery user app-password add\\|list ADDRESS` | `add --label TEXT`; `--labels` |");
    assert_eq!(findings.wrong, ["here: --labels is no option of user app-password add ADDRESS"]);
}
