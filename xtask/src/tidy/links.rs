//! Links between documents lead somewhere: to a file of the repository, and to a heading that exists.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Tree};

const RULE: &str = "link";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let documents = || tree.files.iter().filter(|(path, _)| path.ends_with(".md"));
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        documents().map(|(path, text)| (path.as_str(), anchors(text))).collect();
    let mut findings = Vec::new();
    for (path, text) in documents() {
        for (index, target) in links(text) {
            if let Some(message) = fault(tree, &anchors, path, &target) {
                let mend = "mend the path (relative to this file) or the anchor (the heading in lower case, \
                            words joined by `-`)";
                findings.push(Finding::new(path, index, RULE, message, mend));
            }
        }
    }
    findings
}

fn fault(
    tree: &Tree,
    anchors: &BTreeMap<&str, BTreeSet<String>>,
    from: &str,
    target: &str,
) -> Option<String> {
    // `https:`, `mailto:`: not ours to judge without a network.
    if target.split(['/', '#', '?']).next().is_some_and(|start| start.contains(':')) {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path = if path.is_empty() { from.to_owned() } else { resolve(from, path)? };
    let folder = format!("{path}/");
    let exists = path.is_empty()
        || tree.files.contains_key(&path)
        || tree.files.range(folder.clone()..).next().is_some_and(|(file, _)| file.starts_with(&folder));
    if !exists {
        return Some(format!("`{target}` leads to `{path}`, which does not exist"));
    }
    match (anchor, anchors.get(path.as_str())) {
        (Some(anchor), Some(known)) if !known.contains(anchor) => {
            Some(format!("`{target}`: `{path}` has no heading `#{anchor}`"))
        }
        _ => None,
    }
}

/// The path from the root of the repository. `None` leads out of it, where a README may point to a neighbour.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => from.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The targets of `[text](target)`, `![text](target)` and `[name]: target` with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in prose(text) {
        for (at, _) in line.match_indices("](") {
            if let Some(target) = line[at + 2..].split(')').next().and_then(|inside| inside.split(' ').next())
            {
                found.push((index, target.trim_matches(['<', '>']).to_owned()));
            }
        }
        let definition = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        if let Some((name, target)) = definition
            && !name.contains(']')
        {
            found.push((index, target.split_whitespace().next().unwrap_or_default().to_owned()));
        }
    }
    found
}

/// The anchors that the headings of a document make, as GitHub and mdBook do: lower case, words joined by `-`,
/// punctuation dropped, a number behind the second of the same name. Named HTML anchors count too.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (_, line) in lines_outside_fences(text) {
        for attribute in ["id=\"", "name=\""] {
            for (at, _) in line.match_indices(attribute) {
                found.extend(line[at + attribute.len()..].split('"').next().map(str::to_owned));
            }
        }
        let level = line.len() - line.trim_start_matches('#').len();
        if !(1..=6).contains(&level) || !line[level..].starts_with(' ') {
            continue;
        }
        let slug: String = line[level..]
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let count = seen.entry(slug.clone()).or_insert(0);
        found.insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
        *count += 1;
    }
    found
}

/// The lines outside of fenced code, with inline code blanked.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    lines_outside_fences(text).map(|(index, line)| {
        let mut code = false;
        let blanked = line.chars().map(|c| {
            code ^= c == '`';
            if code { ' ' } else { c }
        });
        (index, blanked.collect())
    })
}

fn lines_outside_fences(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: &str = "# The title\n## What's *new*, `now`?\n## Twice\n## Twice\n```\n# not one\n```\n";

    /// The messages for `docs/a.md` beside `docs/b.md`, `docs/img/c.png` and `README.md`.
    fn check(text: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("README.md", "# R\n"),
            ("docs/a.md", text),
            ("docs/b.md", OTHER),
            ("docs/img/c.png", ""),
        ]);
        super::check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn links_that_lead_somewhere() {
        for good in [
            "[b](b.md) ![c](img/c.png \"title\") [r](../README.md) [folder](img) [top](/docs/b.md)",
            "[b](b.md#the-title) [b](b.md#whats-new-now) [b](b.md#twice-1)",
            "# Here\n[here](#here)",
            "[x](https://a.example/b.md) [m](mailto:a@b.example)",
            "[ref]: b.md#twice",
            "`[x](gone.md)`\n```\n[x](gone.md)\n```",
            "<a id=\"mark\"></a> [x](#mark)",
        ] {
            assert_eq!(check(good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn links_that_lead_nowhere() {
        for bad in [
            "[x](gone.md)",
            "text [b](b.md) and [x](img/gone.png)",
            "[x](b.md#gone)",
            "[x](b.md#twice-2)",
            "[x](b.md#not-one)",
            "[x](#gone)",
            "[ref]: gone.md",
            "[x](README.md)",
        ] {
            assert_eq!(check(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_finding_stands_at_its_line() {
        let tree = Tree::of(&[("a.md", "one\n\n[x](gone.md)\n")]);
        assert_eq!(super::check(&tree)[0].line, 3);
    }
}
