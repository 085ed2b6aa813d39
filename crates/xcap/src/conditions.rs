//! Conditional requests (RFC 9110 §13, RFC 4825 §7.11): If-Match and If-None-Match, decided without doing anything.
//!
//! All resources of a document have the document's entity tag (RFC 4825 §8.5), also a node that is not there yet: so a
//! client can insert a node only if the document is still the one that it knows.

/// Most entity tags in one condition. A client knows one.
pub const TAGS_MAX: usize = 64;

/// What the conditions are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<'a> {
    /// The document's entity tag, without quotes, if there is a document.
    pub tag: Option<&'a str>,
    /// Whether the resource, document or node, is there.
    pub exists: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// GET, HEAD.
    Read,
    /// PUT, DELETE.
    Write,
}

/// What the conditions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Do it.
    Go,
    /// 304.
    NotModified,
    /// 412.
    Failed,
    /// 400: a condition that is none. Doing without it could lose somebody's change.
    Malformed,
}

/// Decides. The header fields are given as they stand, `None` where there is none; several of a name joined by commas.
pub fn decide(
    intent: Intent,
    if_match: Option<&str>,
    if_none_match: Option<&str>,
    state: State<'_>,
) -> Decision {
    if let Some(condition) = if_match {
        let Some(condition) = Condition::parse(condition) else { return Decision::Malformed };
        let holds = match condition {
            Condition::Any => state.exists,
            // Strong comparison (RFC 9110 §8.8.3.2): a weak tag fits nothing.
            Condition::Tags(tags) => tags.iter().any(|(is_weak, tag)| !is_weak && state.tag == Some(tag)),
        };
        if !holds {
            return Decision::Failed;
        }
    }
    if let Some(condition) = if_none_match {
        let Some(condition) = Condition::parse(condition) else { return Decision::Malformed };
        let fits = match condition {
            Condition::Any => state.exists,
            Condition::Tags(tags) => state.exists && tags.iter().any(|(_, tag)| state.tag == Some(tag)),
        };
        if fits {
            return match intent {
                Intent::Read => Decision::NotModified,
                Intent::Write => Decision::Failed,
            };
        }
    }
    Decision::Go
}

enum Condition<'a> {
    Any,
    /// Whether it is weak, and the tag without quotes.
    Tags(Vec<(bool, &'a str)>),
}

impl<'a> Condition<'a> {
    fn parse(text: &'a str) -> Option<Condition<'a>> {
        let is_blank = |c: char| matches!(c, ' ' | '\t');
        let mut rest = text.trim_matches(is_blank);
        if rest == "*" {
            return Some(Condition::Any);
        }
        let mut tags = Vec::new();
        loop {
            // Empty elements of a list are nothing (RFC 9110 §5.6.1).
            rest = rest.trim_start_matches(|c| is_blank(c) || c == ',');
            if rest.is_empty() {
                return (!tags.is_empty()).then_some(Condition::Tags(tags));
            }
            let (is_weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |weak| (true, weak));
            let (tag, behind) = quoted.strip_prefix('"')?.split_once('"')?;
            let is_tag = tag.chars().all(|c| c == '!' || ('#'..='~').contains(&c) || c >= '\u{80}');
            rest = behind.trim_start_matches(is_blank);
            if !is_tag || !(rest.is_empty() || rest.starts_with(',')) || tags.len() == TAGS_MAX {
                return None;
            }
            tags.push((is_weak, tag));
        }
    }
}
