//! The words of all entries, sorted: from the beginning of a word to the entries that have it.
//!
//! ```text
//!   table    ana ──► 7n 31n      sorted texts in one piece of memory, and for each a run of postings
//!            anna ─► 3n 9n       a prefix is one run of texts, thus one run of postings
//!            annika ► 12n
//!   overlay  the same for what changed since, as a map; merged into the table when it has grown
//! ```
//!
//! An entry that changes gets a new document; the old one is dead, and its postings go with the next merge.

use std::collections::BTreeMap;

/// Postings in the overlay before the first merge: below, a map is as quick as the table.
const OVERLAY_POSTINGS_MIN: usize = 4096;
/// The overlay is merged when it has this share of the table's postings, so that all merges of a growing book together cost no more
/// than this many times its size.
const OVERLAY_SHARE: usize = 8;

/// An entry as it was when it was indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Document(pub(crate) u32);

/// Where in an entry a word stands. The order is the order of ranking, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    Number,
    Mail,
    Name,
}

/// A word of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) field: Field,
    /// Whether administrators alone see where it stands.
    pub(crate) is_for_administrators: bool,
}

/// An occurrence of a word: 29 bits of document, two of field, one of audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Posting(u32);

impl Posting {
    const DOCUMENTS_MAX: u32 = 1 << 29;

    fn new(document: Document, word: &Word) -> Posting {
        let field = match word.field {
            Field::Number => 0,
            Field::Mail => 1,
            Field::Name => 2,
        };
        Posting(document.0 << 3 | field << 1 | u32::from(word.is_for_administrators))
    }

    fn with_document(self, document: Document) -> Posting {
        Posting(document.0 << 3 | self.0 & 7)
    }

    pub(crate) fn document(self) -> Document {
        Document(self.0 >> 3)
    }

    pub(crate) fn field(self) -> Field {
        match self.0 >> 1 & 3 {
            0 => Field::Number,
            1 => Field::Mail,
            _ => Field::Name,
        }
    }

    pub(crate) fn is_for_administrators(self) -> bool {
        self.0 & 1 == 1
    }
}

/// What is kept of each document beside its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Details {
    /// Whose it is: the book's place for the object.
    pub(crate) slot: u32,
    /// Orders names: the first 16 octets of the folded name, so that whole names need not be read to rank many.
    pub(crate) sort_key: u128,
    is_alive: bool,
}

/// Words and documents.
#[derive(Debug, Default)]
pub(crate) struct Index {
    table: Table,
    overlay: BTreeMap<Box<str>, Vec<Posting>>,
    overlay_postings: usize,
    documents: Vec<Details>,
}

#[derive(Debug, Default)]
struct Table {
    texts: String,
    /// End of each text in `texts`.
    ends: Vec<u32>,
    /// End of each text's postings.
    postings_ends: Vec<u32>,
    postings: Vec<Posting>,
}

impl Index {
    /// Adds a document. Words may come in any order and twice.
    pub(crate) fn add(&mut self, slot: u32, sort_key: u128, mut words: Vec<Word>) -> Document {
        let number = u32::try_from(self.documents.len()).expect("documents are merged long before");
        assert!(number < Posting::DOCUMENTS_MAX, "an address book has fewer entries");
        let document = Document(number);
        self.documents.push(Details { slot, sort_key, is_alive: true });
        words.sort();
        // Who sees a word twice sees it for everyone.
        words.dedup_by(|later, first| later.text == first.text && later.field == first.field);
        self.overlay_postings += words.len();
        for word in words {
            let posting = Posting::new(document, &word);
            self.overlay.entry(word.text.into()).or_default().push(posting);
        }
        document
    }

    /// Takes a document out.
    pub(crate) fn remove(&mut self, document: Document) {
        self.documents[document.0 as usize].is_alive = false;
    }

    /// Merges the overlay into the table if that is due. Documents get other numbers then: `moved` is told the slot and the new
    /// number of each.
    pub(crate) fn settle(&mut self, mut moved: impl FnMut(u32, Document)) {
        if self.overlay_postings < OVERLAY_POSTINGS_MIN.max(self.table.postings.len() / OVERLAY_SHARE) {
            return;
        }
        let mut numbers = Vec::with_capacity(self.documents.len());
        let mut alive = Vec::with_capacity(self.documents.len());
        for details in &self.documents {
            let number = Document(u32::try_from(alive.len()).expect("not more than there were"));
            numbers.push(details.is_alive.then_some(number));
            if details.is_alive {
                moved(details.slot, number);
                alive.push(*details);
            }
        }
        self.documents = alive;
        let overlay = std::mem::take(&mut self.overlay);
        self.table = self.table.merged(overlay, &numbers);
        self.overlay_postings = 0;
    }

    /// Calls with every posting of a living document whose word begins with the prefix, and with whether the word is the prefix.
    pub(crate) fn each(&self, prefix: &str, mut found: impl FnMut(Posting, bool)) {
        let mut found = |posting: Posting, is_whole| {
            if self.details(posting.document()).is_alive {
                found(posting, is_whole);
            }
        };
        let (whole, rest) = self.table.beginning_with(prefix);
        whole.iter().for_each(|posting| found(*posting, true));
        rest.iter().for_each(|posting| found(*posting, false));
        let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        for (text, postings) in self.overlay.range::<str, _>(from) {
            if !text.starts_with(prefix) {
                break;
            }
            let is_whole = text.len() == prefix.len();
            postings.iter().for_each(|posting| found(*posting, is_whole));
        }
    }

    pub(crate) fn details(&self, document: Document) -> &Details {
        &self.documents[document.0 as usize]
    }

    /// Documents, dead ones with them: numbers are below this.
    pub(crate) fn documents(&self) -> usize {
        self.documents.len()
    }
}

impl Table {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn text(&self, place: usize) -> &str {
        let begin = if place == 0 { 0 } else { self.ends[place - 1] as usize };
        &self.texts[begin..self.ends[place] as usize]
    }

    fn postings_begin(&self, place: usize) -> usize {
        if place == 0 { 0 } else { self.postings_ends[place - 1] as usize }
    }

    /// The postings of the text that is the prefix, and those of all longer ones that begin with it.
    fn beginning_with(&self, prefix: &str) -> (&[Posting], &[Posting]) {
        let first = self.place_of(|text| text < prefix);
        let behind = self.place_of(|text| text < prefix || text.starts_with(prefix));
        let is_whole = first < behind && self.text(first).len() == prefix.len();
        let begin = self.postings_begin(first);
        let middle = if is_whole { self.postings_ends[first] as usize } else { begin };
        (&self.postings[begin..middle], &self.postings[middle..self.postings_begin(behind)])
    }

    /// The first text that is not `before`.
    fn place_of(&self, before: impl Fn(&str) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if before(self.text(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Both, without the dead: `numbers` has the new number of each document that lives.
    fn merged(&self, overlay: BTreeMap<Box<str>, Vec<Posting>>, numbers: &[Option<Document>]) -> Table {
        let mut merged = Table {
            texts: String::with_capacity(self.texts.len()),
            ends: Vec::with_capacity(self.len() + overlay.len()),
            postings_ends: Vec::with_capacity(self.len() + overlay.len()),
            postings: Vec::with_capacity(self.postings.len()),
        };
        let mut overlay = overlay.into_iter().peekable();
        let mut place = 0;
        loop {
            let old = (place < self.len()).then(|| self.text(place));
            let new = overlay.peek().map(|(text, _)| &**text);
            let Some(text) = [old, new].into_iter().flatten().min() else { break };
            let old = if old == Some(text) {
                &self.postings[self.postings_begin(place)..self.postings_ends[place] as usize]
            } else {
                &[]
            };
            let takes_new = new == Some(text);
            merged.texts.push_str(text);
            if !old.is_empty() {
                place += 1;
            }
            let new = if takes_new { overlay.next().map(|(_, postings)| postings) } else { None };
            let all = old.iter().chain(new.iter().flatten());
            let living = all.filter_map(|posting| {
                numbers[posting.document().0 as usize].map(|document| posting.with_document(document))
            });
            let before = merged.postings.len();
            merged.postings.extend(living);
            if merged.postings.len() == before {
                let length = merged.ends.last().map_or(0, |end| *end as usize);
                merged.texts.truncate(length);
                continue;
            }
            merged.ends.push(u32::try_from(merged.texts.len()).expect("words are a few megabytes"));
            merged.postings_ends.push(u32::try_from(merged.postings.len()).expect("fewer than 2^32 words"));
        }
        merged.texts.shrink_to_fit();
        merged.ends.shrink_to_fit();
        merged.postings_ends.shrink_to_fit();
        merged.postings.shrink_to_fit();
        merged
    }
}

impl Index {
    /// What it takes in memory, in octets; the overlay's by estimate.
    pub(crate) fn octets(&self) -> usize {
        self.table.texts.capacity()
            + (self.table.ends.capacity() + self.table.postings_ends.capacity()) * size_of::<u32>()
            + self.table.postings.capacity() * size_of::<Posting>()
            + self.documents.capacity() * size_of::<Details>()
            + self.overlay_postings * 64
    }
}
