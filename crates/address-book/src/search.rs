//! Search by the beginnings of words, mail and SIP addresses, and numbers.
//!
//! All words of a query have to be found in an entry. A word is found in a name, as the beginning of an address, or, where it is made
//! of digits, as the beginning of a number: of the whole international one, of what is dialled within the country or the area, or of
//! an extension. A query of digits and separators alone is one number.
//!
//! Ranking adds up over the words: a whole word of a name, the beginning of one, a whole address, its beginning, a whole number, its
//! beginning. Among equals the order of names decides. A page is continued behind the last entry's place in that order, so that pages
//! neither repeat nor leave out an entry that did not change between them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use directory::numbers::NumberSettings;
use directory::{ObjectId, ObjectKind};

use crate::book::{Book, Version};
use crate::entry::{Entry, Line};
use crate::fold::{self, folded, spelled_out};
use crate::index::{Field, Posting, Word};
use crate::settings::Audience;

/// Longest query, in characters: the longest address that an account may have.
pub const QUERY_CHARACTERS_MAX: usize = 256;
/// Most words of a query: more than any name has.
pub const QUERY_WORDS_MAX: usize = 8;
/// Entries of a page, where the request does not say how many.
pub const PAGE_DEFAULT: usize = 20;
/// Most entries of a page.
pub const PAGE_MAX: usize = 100;

/// A search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// What somebody typed.
    pub text: &'a str,
    /// Only these kinds; empty: all.
    pub kinds: &'a [ObjectKind],
    /// Entries of the page, at most [`PAGE_MAX`].
    pub limit: usize,
    /// Where the page before ended ([`Page::next`]).
    pub cursor: Option<&'a str>,
}

/// A page of what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// What was searched. Another than that of the page before: the book has changed in between.
    pub version: Version,
    /// How many entries match, on all pages.
    pub total: usize,
    /// Lines of entries, the best first.
    pub lines: Vec<Line>,
    /// Continues behind the last entry.
    pub next: Option<String>,
}

/// Why a search is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Neither letters nor digits.
    #[error("there is nothing to search for in the query")]
    Empty,
    /// Longer than [`QUERY_CHARACTERS_MAX`], or more words than [`QUERY_WORDS_MAX`].
    #[error("a query has at most {QUERY_WORDS_MAX} words and {QUERY_CHARACTERS_MAX} characters")]
    TooLong,
    /// Not one that we gave out.
    #[error("the cursor is none that was given out")]
    BadCursor,
}

/// Memory that searches use again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Score of each document by the words before, and by this word.
    total: Vec<u16>,
    word: Vec<u16>,
    part: Vec<u16>,
}

/// An entry's place in the order of results; the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Higher scores come first.
    score: std::cmp::Reverse<u16>,
    sort_key: u128,
    id: ObjectId,
}

/// A word of the query.
enum Sought {
    /// Any of these beginnings.
    Text(Vec<String>),
    /// Each of these parts, or the whole: `anna-lena`, `anna.schmidt@corp`.
    Parts { whole: String, parts: Vec<Vec<String>> },
    /// Beginnings of a number.
    Number(Vec<String>),
}

impl Book {
    /// Searches.
    pub fn search(&mut self, audience: Audience, query: &Query<'_>) -> Result<Page, QueryError> {
        let sought = self.sought(query.text)?;
        let behind = query.cursor.map(|cursor| Rank::of_cursor(cursor).ok_or(QueryError::BadCursor));
        let behind = behind.transpose()?;
        let mut scratch = std::mem::take(&mut self.scratch);
        self.score(audience, &sought, &mut scratch);
        let page = self.page(audience, query, behind, &scratch.total);
        self.scratch = scratch;
        Ok(page)
    }

    fn sought(&self, text: &str) -> Result<Vec<Sought>, QueryError> {
        if text.chars().nth(QUERY_CHARACTERS_MAX).is_some() {
            return Err(QueryError::TooLong);
        }
        // Without this, `+49 30 1234` would be three numbers.
        if let Some(number) = as_number(text) {
            return Ok(vec![Sought::Number(number_prefixes(&number, &self.numbers))]);
        }
        let mut sought = Vec::new();
        for word in text.split_whitespace() {
            if let Some(number) = as_number(word) {
                sought.push(Sought::Number(number_prefixes(&number, &self.numbers)));
                continue;
            }
            let whole =
                folded(word.trim_matches(|c: char| matches!(c, ',' | ';' | '<' | '>' | '(' | ')' | '"')));
            let whole = whole.strip_prefix("sip:").unwrap_or(&whole).to_owned();
            let bare: String = whole.chars().filter(|c| !fold::is_apostrophe(*c)).collect();
            let parts: Vec<String> = fold::words(&bare).collect();
            match parts.as_slice() {
                [] => {}
                [one] if *one == whole => {
                    sought
                        .push(Sought::Text([Some(whole), spelled_out(word)].into_iter().flatten().collect()));
                }
                [one] if *one == bare => sought.push(Sought::Text(vec![bare, whole])),
                _ => {
                    let parts = parts.into_iter().map(|part| vec![part]).collect();
                    sought.push(Sought::Parts { whole, parts });
                }
            }
        }
        match sought.len() {
            0 => Err(QueryError::Empty),
            1..=QUERY_WORDS_MAX => Ok(sought),
            _ => Err(QueryError::TooLong),
        }
    }

    /// Leaves in `total` the score of each document that has all words, and 0 for all others.
    fn score(&self, audience: Audience, sought: &[Sought], scratch: &mut Scratch) {
        let documents = self.index.documents();
        let Scratch { total, word, part } = scratch;
        for (place, one) in sought.iter().enumerate() {
            reset(word, documents);
            match one {
                Sought::Text(prefixes) | Sought::Number(prefixes) => {
                    self.mark(audience, prefixes, one.fields(), word)
                }
                Sought::Parts { whole, parts } => {
                    for (place, prefixes) in parts.iter().enumerate() {
                        reset(part, documents);
                        self.mark(audience, prefixes, &[Field::Name], part);
                        if place == 0 { std::mem::swap(word, part) } else { both(word, part, u16::min) }
                    }
                    self.mark(audience, std::slice::from_ref(whole), &[Field::Mail, Field::Name], word);
                }
            }
            if place == 0 { std::mem::swap(total, word) } else { both(total, word, u16::saturating_add) }
        }
    }

    /// Raises the scores of the documents in which a word begins so.
    fn mark(&self, audience: Audience, prefixes: &[String], fields: &[Field], scores: &mut [u16]) {
        let sees_all = audience == Audience::Administrators;
        for prefix in prefixes {
            self.index.each(prefix, |posting, is_whole| {
                if (sees_all || !posting.is_for_administrators()) && fields.contains(&posting.field()) {
                    let held = &mut scores[posting.document().0 as usize];
                    *held = (*held).max(score(posting, is_whole));
                }
            });
        }
    }

    fn page(&self, audience: Audience, query: &Query<'_>, behind: Option<Rank>, scores: &[u16]) -> Page {
        let limit = query.limit.clamp(1, PAGE_MAX);
        let mut total = 0;
        // The worst of the best on top.
        let mut best: BinaryHeap<(Rank, u32)> = BinaryHeap::with_capacity(limit + 2);
        for (document, score) in scores.iter().enumerate().filter(|(_, score)| **score > 0) {
            let document = u32::try_from(document).expect("documents are counted by 32 bits");
            let details = self.index.details(crate::index::Document(document));
            if !query.kinds.is_empty() && !query.kinds.contains(&self.kind_of_slot(details.slot)) {
                continue;
            }
            total += 1;
            let score = std::cmp::Reverse(*score);
            // Ids are looked up for those alone that can still win.
            if let Some((worst, _)) = best.peek()
                && best.len() > limit
                && (score, details.sort_key).cmp(&(worst.score, worst.sort_key)) == Ordering::Greater
            {
                continue;
            }
            let rank = Rank { score, sort_key: details.sort_key, id: self.id_of_slot(details.slot) };
            if behind.is_some_and(|behind| rank <= behind) {
                continue;
            }
            best.push((rank, details.slot));
            // One more than the page, to know whether there is a next one.
            if best.len() > limit + 1 {
                best.pop();
            }
        }
        let mut found = best.into_sorted_vec();
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|(rank, _)| rank.to_cursor());
        let lines = found.iter().filter_map(|(_, slot)| self.line_of_slot(audience, *slot).cloned());
        Page { version: self.version(audience), total, lines: lines.collect(), next }
    }
}

impl Sought {
    fn fields(&self) -> &'static [Field] {
        match self {
            Sought::Number(_) => &[Field::Number, Field::Mail, Field::Name],
            Sought::Text(_) | Sought::Parts { .. } => &[Field::Mail, Field::Name],
        }
    }
}

impl Rank {
    /// Octets of a cursor: score, name, id.
    const CURSOR_OCTETS: usize = 2 + 16 + 16;

    fn to_cursor(self) -> String {
        let mut octets = Vec::with_capacity(Rank::CURSOR_OCTETS);
        octets.extend(self.score.0.to_be_bytes());
        octets.extend(self.sort_key.to_be_bytes());
        octets.extend(self.id.0);
        URL_SAFE_NO_PAD.encode(octets)
    }

    fn of_cursor(text: &str) -> Option<Rank> {
        let octets = URL_SAFE_NO_PAD.decode(text).ok()?;
        let octets: [u8; Rank::CURSOR_OCTETS] = octets.try_into().ok()?;
        let (score, rest) = octets.split_first_chunk::<2>()?;
        let (sort_key, id) = rest.split_first_chunk::<16>()?;
        Some(Rank {
            score: std::cmp::Reverse(u16::from_be_bytes(*score)),
            sort_key: u128::from_be_bytes(*sort_key),
            id: ObjectId(id.try_into().ok()?),
        })
    }
}

/// Orders names: the beginning of what is compared.
pub(crate) fn sort_key(name: &str) -> u128 {
    let folded = folded(name);
    let mut octets = [0; 16];
    let length = folded.len().min(octets.len());
    octets[..length].copy_from_slice(&folded.as_bytes()[..length]);
    u128::from_be_bytes(octets)
}

/// The words of an entry, as everyone sees it and as administrators do.
pub(crate) fn words_of(
    everyone: Option<&Entry>,
    administrators: &Entry,
    numbers: &NumberSettings,
) -> Vec<Word> {
    let mut words = Vec::new();
    if let Some(entry) = everyone {
        add_words(entry, false, numbers, &mut words);
    }
    // What everyone sees is found again and falls out.
    if everyone != Some(administrators) {
        add_words(administrators, true, numbers, &mut words);
    }
    words
}

fn add_words(entry: &Entry, is_for_administrators: bool, numbers: &NumberSettings, words: &mut Vec<Word>) {
    let mut add = |text: String, field| {
        if !text.is_empty() {
            words.push(Word { text, field, is_for_administrators });
        }
    };
    let card = &entry.card;
    for name in [entry.name(), &card.given_name, &card.surname, &card.phonetic_name] {
        for text in [Some(folded(name)), spelled_out(name)].into_iter().flatten() {
            fold::words(&text).for_each(|word| add(word, Field::Name));
        }
    }
    for address in card.mail.iter().map(String::as_str).chain(entry.address.as_ref().map(|a| a.as_str())) {
        add(folded(address), Field::Mail);
    }
    for phone in &card.phones {
        match &phone.e164 {
            Some(e164) => number_words(e164, numbers, &mut |text| add(text, Field::Number)),
            None => add(digits(&phone.written), Field::Number),
        }
        phone.extension.iter().for_each(|extension| add(extension.clone(), Field::Number));
    }
}

/// What somebody may begin to type of a number.
fn number_words(e164: &str, numbers: &NumberSettings, add: &mut dyn FnMut(String)) {
    let whole = digits(e164);
    let national =
        numbers.country_code.as_deref().and_then(|code| whole.strip_prefix(code)).map(str::to_owned);
    add(whole);
    let Some(national) = national else { return };
    if let Some(local) = numbers.area_code.as_deref().and_then(|code| national.strip_prefix(code)) {
        add(local.to_owned());
    }
    add(national);
}

/// Digits, and what people lay them out with, and nothing else: without its layout.
fn as_number(text: &str) -> Option<String> {
    let is_layout = |c: char| c.is_whitespace() || "+-./()".contains(c);
    let text: String = text.chars().filter(|c| !is_layout(*c) || *c == '+').collect();
    let all = text.strip_prefix('+').unwrap_or(&text);
    (!all.is_empty() && all.bytes().all(|octet| octet.is_ascii_digit())).then_some(text)
}

/// With which digits a number may begin that was typed so.
fn number_prefixes(typed: &str, numbers: &NumberSettings) -> Vec<String> {
    if let Some(international) = typed.strip_prefix('+') {
        return vec![international.to_owned()];
    }
    let mut prefixes = vec![typed.to_owned()];
    let configured = numbers.international_prefixes.clone().unwrap_or_else(|| vec!["00".to_owned()]);
    if let Some(rest) = configured.iter().find_map(|prefix| typed.strip_prefix(prefix.as_str())) {
        prefixes.extend((!rest.is_empty()).then(|| rest.to_owned()));
    } else if let (Some(country), Some(trunk)) = (&numbers.country_code, &numbers.trunk_prefix)
        && let Some(national) = typed.strip_prefix(trunk.as_str())
    {
        // A country's whole numbers, so that 030 finds nothing in Madrid.
        prefixes.extend((!trunk.is_empty() && !national.is_empty()).then(|| format!("{country}{national}")));
    }
    prefixes
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn score(posting: Posting, is_whole: bool) -> u16 {
    let beginning = match posting.field() {
        Field::Number => 1,
        Field::Mail => 3,
        Field::Name => 5,
    };
    beginning + u16::from(is_whole)
}

fn reset(scores: &mut Vec<u16>, documents: usize) {
    scores.clear();
    scores.resize(documents, 0);
}

/// Leaves a score where both have one.
fn both(scores: &mut [u16], others: &[u16], joined: impl Fn(u16, u16) -> u16) {
    for (score, other) in scores.iter_mut().zip(others) {
        *score = if *score > 0 && *other > 0 { joined(*score, *other) } else { 0 };
    }
}
