//! Texts as they are compared: without case, accents and the ways of writing one letter.
//!
//! Latin and Greek lose their accents, ß is ss, ø is o, full-width letters are narrow. Other scripts stay as they are, but for ё, which
//! Russian writes as е most of the time. Who types `Mueller` for Müller is understood, too: see [`spelled_out`].

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// As it is compared.
pub(crate) fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(text.len());
    // What the marks that follow stand on.
    let mut base = ' ';
    for c in text.nfkd().flat_map(char::to_lowercase) {
        if is_combining_mark(c) {
            let is_dropped = is_latin_or_greek(base) || (base == 'е' && c == '\u{308}');
            if !is_dropped {
                folded.push(c);
            }
            continue;
        }
        base = c;
        match letters(c) {
            Some(letters) => folded.push_str(letters),
            None => folded.push(c),
        }
    }
    folded.nfc().collect()
}

/// As it is compared where somebody cannot type its letters: `mueller`, `aase`; `None` where that is no other text.
pub(crate) fn spelled_out(text: &str) -> Option<String> {
    let mut found = false;
    let mut spelled = String::with_capacity(text.len() + 2);
    for c in text.nfc().flat_map(char::to_lowercase) {
        let letters = match c {
            'ä' => "ae",
            'ö' | 'ø' => "oe",
            'ü' => "ue",
            'å' => "aa",
            _ => {
                spelled.push(c);
                continue;
            }
        };
        found = true;
        spelled.push_str(letters);
    }
    found.then(|| folded(&spelled))
}

/// The words of a folded text. An apostrophe belongs to its word: `o'brien` is `obrien`, found by `brien` too.
pub(crate) fn words(folded: &str) -> impl Iterator<Item = String> {
    let pieces = folded.split(|c: char| !c.is_alphanumeric() && !is_apostrophe(c) && !is_combining_mark(c));
    pieces.flat_map(|piece| {
        let parts: Vec<&str> = piece.split(is_apostrophe).filter(|part| !part.is_empty()).collect();
        let joined = (parts.len() > 1).then(|| parts.concat());
        parts.into_iter().map(str::to_owned).chain(joined).collect::<Vec<_>>()
    })
}

pub(crate) fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2019}' | '\u{2bc}' | '`')
}

/// Letters that no decomposition takes apart.
fn letters(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'ø' => "o",
        'æ' => "ae",
        'œ' => "oe",
        'đ' | 'ð' => "d",
        'ł' => "l",
        'þ' => "th",
        'ħ' => "h",
        'ı' => "i",
        'ŋ' => "n",
        'ŧ' => "t",
        'ς' => "σ",
        _ => return None,
    })
}

fn is_latin_or_greek(c: char) -> bool {
    matches!(u32::from(c), 0x41..=0x24f | 0x1e00..=0x1eff | 0x370..=0x3ff | 0x1f00..=0x1fff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_for_all_ways_of_writing_it() {
        for (text, expected) in [
            ("Müller", "muller"),
            ("Mu\u{308}ller", "muller"),
            ("GROẞ straße", "gross strasse"),
            ("Søren Ægir Łukasz", "soren aegir lukasz"),
            ("Nguyễn Đức", "nguyen duc"),
            ("İstanbul ILGIN", "istanbul ilgin"),
            ("Ｙａｍａｄａ", "yamada"),
            ("Ἀλέξανδρος", "αλεξανδροσ"),
            ("Семён Чайковский", "семен чайковский"),
            ("山田 が", "山田 が"),
            ("한국", "한국"),
        ] {
            assert_eq!(folded(text), expected);
            assert_eq!(folded(&folded(text)), expected, "folding twice changes nothing");
        }
        assert_eq!(spelled_out("Müller-Ångström").as_deref(), Some("mueller-aangstroem"));
        assert_eq!(spelled_out("Muller"), None);
    }

    #[test]
    fn names_have_words() {
        let words = |text: &str| words(&folded(text)).collect::<Vec<_>>().join("|");
        assert_eq!(words("Anna-Lena O\u{2019}Brien (Ext.)"), "anna|lena|o|brien|obrien|ext");
        assert_eq!(words("  "), "");
        assert_eq!(words("देवनागरी"), "देवनागरी");
    }
}
