//! Telephone numbers: from what people write into a directory to `+` and digits (E.164), by rules.
//!
//! ```text
//!  "+49 (0)30 1234-567 ext. 12"
//!      │ read: other scripts' digits, blanks, separators, `tel:` (RFC 3966 §3), extension, the (0) behind a country code
//!      ▼
//!  "+49301234567", "12"
//!      │ the rules of the configuration in order, then +, international prefix, trunk prefix, area code
//!      ▼
//!  Normalised { e164: "+49301234567", extension: Some("12") }
//! ```
//!
//! A number is never guessed. `030 1234567` is rejected where no country code is configured, and `4711` where no rule takes it:
//! the reason says what is missing. What it is not: a table of the world's numbering plans, which change every month. It knows
//! what E.164 fixes (fifteen digits, no country code begins with 0), the handful of countries for which the common notation means
//! something else, and what the configuration says.

mod reading;
#[cfg(test)]
mod tests;

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use reading::Reading;

/// Most digits of an international number, with its country code (E.164 §6.2.1).
pub const E164_DIGITS_MAX: usize = 15;
/// Fewest digits of an international number that is believed: those of Niue (`+683 4000`) are the shortest that are in use.
pub const E164_DIGITS_MIN: usize = 7;
/// Most digits of an extension. RFC 3966 sets no bound; no exchange has longer ones than a national number.
pub const EXTENSION_DIGITS_MAX: usize = 11;
/// Most rules: each number is held against all of them, and hundreds are a sign of a list of numbers.
pub const RULES_MAX: usize = 500;

/// Fewest digits that are believed to be a local or a national number where nothing stands before them. Shorter ones are as likely
/// to be internal numbers; a rule says which.
const UNPREFIXED_DIGITS_MIN: usize = 6;
/// Memory for one rule's compiled pattern, in octets: far above any telephone rule, far below what would be felt.
const PATTERN_OCTETS_MAX: usize = 1 << 20;
/// Where the zero in front of the area code belongs to the international number, too: Italy and the Vatican, San Marino,
/// Côte d'Ivoire, the Republic of the Congo.
const COUNTRIES_WITH_ZERO: [&str; 4] = ["39", "378", "225", "242"];
/// Where calls abroad do not begin with 00: North America, Russia and Kazakhstan, Australia, Japan, South Korea, Singapore,
/// Hong Kong, Thailand, Indonesia, Cambodia, Taiwan. Their prefixes differ, partly by carrier, and have to be configured.
const COUNTRIES_WITHOUT_00: [&str; 11] = ["1", "7", "61", "81", "82", "65", "852", "66", "62", "855", "886"];

/// The section `[numbers]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NumberSettings {
    /// Of numbers that have none, without `+`: `"49"`.
    pub country_code: Option<String>,
    /// Of numbers that have none, without trunk prefix: `"30"`.
    pub area_code: Option<String>,
    /// What is dialled before an area code: `"0"` in most countries, `"1"` in North America, `"8"` in Russia. `""` where numbers have
    /// no such prefix and are always dialled whole, as in Denmark, Spain or Italy.
    pub trunk_prefix: Option<String>,
    /// What is dialled before a country code. Without: `00` where that is the country's.
    pub international_prefixes: Option<Vec<String>>,
    /// Held against the number in this order; the first that matches decides.
    pub rules: Vec<RuleSettings>,
}

/// One rule of [`NumberSettings`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// How it is called in explanations.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// A regular expression that the whole number has to match: digits, perhaps a `+` before them, letters in lower case if there
    /// were any; blanks, separators and the extension are gone already.
    #[serde(rename = "match")]
    pub pattern: String,
    /// What the number becomes: `+` and digits, perhaps `;ext=` and digits behind it. `$1` and `${name}` stand for groups of the match.
    /// Empty: it is no number, and is rejected.
    pub to: String,
}

/// What is wrong with [`NumberSettings`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A code or prefix is not made of digits alone.
    #[error("`{setting}` is made of digits alone, and {value:?} is not")]
    NotDigits {
        /// Its name in the configuration.
        setting: &'static str,
        /// What it is.
        value: String,
    },
    /// A country code has one to three digits and does not begin with 0.
    #[error("{0:?} is no country code: one to three digits, the first of them not 0")]
    NotACountryCode(String),
    /// An area code or a trunk prefix means nothing without the country's code.
    #[error("`{0}` needs `country_code`")]
    NeedsCountryCode(&'static str),
    /// More than [`RULES_MAX`].
    #[error("{0} rules are more than {RULES_MAX}")]
    TooManyRules(usize),
    /// The pattern is no regular expression.
    #[error("rule {rule}: {error}")]
    BadPattern {
        /// Which, for people.
        rule: String,
        /// What the expression's parser says.
        error: String,
    },
}

/// A number that can be called from everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Normalised {
    /// `+` and 7 to 15 digits.
    pub e164: String,
    /// Digits to dial behind it.
    pub extension: Option<String>,
}

/// Why a text became no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Nothing, or no digit.
    #[error("there is no digit in it")]
    NoDigits,
    /// Longer than any number that is written.
    #[error("it is longer than a telephone number")]
    TooLong,
    /// Letters that are no extension's mark.
    #[error("it holds letters, and no rule takes it")]
    Letters,
    /// What no number holds.
    #[error("it holds {0:?}")]
    Character(char),
    /// More than one number, or a `+` in the middle.
    #[error("it looks like more than one number")]
    SeveralNumbers,
    /// An extension that is not made of digits, or is too long.
    #[error("its extension is not made of at most {EXTENSION_DIGITS_MAX} digits")]
    BadExtension,
    /// A `tel:` URI that is local to somewhere (RFC 3966 §5.1.5), which no rule takes.
    #[error("it is local to {0:?}")]
    LocalTo(String),
    /// `+0`, or what an international prefix made so.
    #[error("no country code begins with 0")]
    CountryCodeZero,
    /// `+49 030 ...`: whether that 0 is wrong or belongs to the number depends on the country.
    #[error("the trunk prefix stands behind the country code; write it as (0), leave it out, or give a rule")]
    TrunkPrefixBehindCountryCode,
    /// Fewer than [`E164_DIGITS_MIN`].
    #[error("{0} digits with the country code are too few")]
    TooFewDigits(usize),
    /// More than [`E164_DIGITS_MAX`].
    #[error("{0} digits with the country code are too many: E.164 allows {E164_DIGITS_MAX}")]
    TooManyDigits(usize),
    /// It begins with 0, and nothing says what that stands for.
    #[error(
        "it begins with 0, and no country code, trunk prefix or international prefix is configured that says what for"
    )]
    UnknownPrefix,
    /// It could be a local, a national or an internal number.
    #[error(
        "it has neither country code nor prefix, and no rule, `area_code` or empty `trunk_prefix` says what it is"
    )]
    Ambiguous,
    /// So short that it is likely internal.
    #[error("it is so short that it may be internal; a rule could say what it is part of")]
    MaybeInternal,
    /// A rule with an empty `to`.
    #[error("the rule says that it is no number")]
    ByRule,
    /// What a rule made is not `+` and digits.
    #[error("the rule made {0:?} of it, which is no international number")]
    RuleMadeNone(String),
}

/// Who decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    /// It could not be read; no rule was asked.
    Reading,
    /// A rule: its place, counted from 1, and its name.
    Rule(usize, String),
    /// It begins with `+`.
    International,
    /// It begins with an international prefix.
    InternationalPrefix(String),
    /// It begins with the trunk prefix.
    TrunkPrefix(String),
    /// It has no prefix, and an area code is configured.
    AreaCode(String),
    /// It has no prefix, and the country's numbers have none.
    Country(String),
    /// Nothing applies.
    Nothing,
}

/// What became of a number, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the rules were held against.
    pub compact: String,
    /// Who decided.
    pub decided_by: DecidedBy,
    /// What it became.
    pub result: Result<Normalised, Rejected>,
}

/// Rules, checked and compiled.
#[derive(Clone, Debug, Default)]
pub struct NumberRules {
    country_code: Option<String>,
    area_code: Option<String>,
    trunk_prefix: Option<String>,
    /// The longest first.
    international_prefixes: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    name: String,
    pattern: Regex,
    to: String,
}

impl NumberRules {
    /// Checks the settings.
    pub fn new(settings: &NumberSettings) -> Result<NumberRules, SettingsError> {
        let country_code = settings.country_code.clone();
        if let Some(code) = &country_code
            && !((1..=3).contains(&code.len()) && is_digits(code) && !code.starts_with('0'))
        {
            return Err(SettingsError::NotACountryCode(code.clone()));
        }
        for (setting, value) in [("area_code", &settings.area_code), ("trunk_prefix", &settings.trunk_prefix)]
        {
            let Some(value) = value else { continue };
            let is_none = setting == "trunk_prefix" && value.is_empty();
            if !is_none && !is_digits(value) {
                return Err(SettingsError::NotDigits { setting, value: value.clone() });
            }
            if country_code.is_none() {
                return Err(SettingsError::NeedsCountryCode(setting));
            }
        }
        let mut international_prefixes = match (&settings.international_prefixes, &country_code) {
            (Some(prefixes), _) => prefixes.clone(),
            (None, Some(code)) if !COUNTRIES_WITHOUT_00.contains(&code.as_str()) => vec!["00".to_owned()],
            (None, _) => Vec::new(),
        };
        if let Some(wrong) = international_prefixes.iter().find(|prefix| !is_digits(prefix)) {
            let setting = "international_prefixes";
            return Err(SettingsError::NotDigits { setting, value: wrong.clone() });
        }
        international_prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        if settings.rules.len() > RULES_MAX {
            return Err(SettingsError::TooManyRules(settings.rules.len()));
        }
        let rules = settings.rules.iter().enumerate().map(|(index, rule)| Rule::new(index, rule));
        Ok(NumberRules {
            country_code,
            area_code: settings.area_code.clone(),
            trunk_prefix: settings.trunk_prefix.clone(),
            international_prefixes,
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// What a number becomes.
    pub fn normalise(&self, written: &str) -> Result<Normalised, Rejected> {
        self.explain(written).result
    }

    /// What a number becomes, and who decided.
    pub fn explain(&self, written: &str) -> Verdict {
        let reading = match Reading::of(written, &self.international_prefixes) {
            Ok(reading) => reading,
            Err(rejected) => {
                return Verdict {
                    compact: String::new(),
                    decided_by: DecidedBy::Reading,
                    result: Err(rejected),
                };
            }
        };
        let (decided_by, result) = self.decide(&reading);
        Verdict { compact: reading.compact, decided_by, result }
    }

    fn decide(&self, reading: &Reading) -> (DecidedBy, Result<Normalised, Rejected>) {
        for (index, rule) in self.rules.iter().enumerate() {
            if let Some(result) = rule.apply(reading) {
                return (DecidedBy::Rule(index + 1, rule.name.clone()), result);
            }
        }
        if let Some(rejected) = &reading.needs_rule {
            return (DecidedBy::Nothing, Err(rejected.clone()));
        }
        let (decided_by, digits) = match self.international(&reading.compact) {
            Ok(found) => found,
            Err((decided_by, rejected)) => return (decided_by, Err(rejected)),
        };
        let result =
            self.checked(&digits).map(|e164| Normalised { e164, extension: reading.extension.clone() });
        (decided_by, result)
    }

    /// The international number's digits, unchecked.
    fn international(&self, compact: &str) -> Result<(DecidedBy, String), (DecidedBy, Rejected)> {
        if let Some(digits) = compact.strip_prefix('+') {
            return Ok((DecidedBy::International, digits.to_owned()));
        }
        for prefix in &self.international_prefixes {
            if let Some(digits) = compact.strip_prefix(prefix.as_str()) {
                return Ok((DecidedBy::InternationalPrefix(prefix.clone()), digits.to_owned()));
            }
        }
        let Some(country) = &self.country_code else {
            let rejected =
                if compact.starts_with('0') { Rejected::UnknownPrefix } else { Rejected::Ambiguous };
            return Err((DecidedBy::Nothing, rejected));
        };
        match self.trunk_prefix.as_deref() {
            Some("") => {
                let decided_by = DecidedBy::Country(country.clone());
                unprefixed(compact, &decided_by)?;
                // `0...` is whole only where numbers begin with 0.
                if compact.starts_with('0') && !COUNTRIES_WITH_ZERO.contains(&country.as_str()) {
                    return Err((decided_by, Rejected::UnknownPrefix));
                }
                return Ok((decided_by, format!("{country}{compact}")));
            }
            Some(trunk) => {
                if let Some(national) = compact.strip_prefix(trunk) {
                    let decided_by = DecidedBy::TrunkPrefix(trunk.to_owned());
                    if national.starts_with('0') {
                        return Err((decided_by, Rejected::UnknownPrefix));
                    }
                    unprefixed(national, &decided_by)?;
                    return Ok((decided_by, format!("{country}{national}")));
                }
            }
            None => {}
        }
        if compact.starts_with('0') {
            return Err((DecidedBy::Nothing, Rejected::UnknownPrefix));
        }
        let Some(area) = &self.area_code else { return Err((DecidedBy::Nothing, Rejected::Ambiguous)) };
        let decided_by = DecidedBy::AreaCode(area.clone());
        unprefixed(compact, &decided_by)?;
        Ok((decided_by, format!("{country}{area}{compact}")))
    }

    /// With `+`, if E.164 allows it.
    fn checked(&self, digits: &str) -> Result<String, Rejected> {
        if digits.starts_with('0') {
            return Err(Rejected::CountryCodeZero);
        }
        let trunk = self.trunk_prefix.as_deref().filter(|trunk| trunk.starts_with('0'));
        let national = self.country_code.as_deref().and_then(|code| digits.strip_prefix(code));
        if let (Some(trunk), Some(national)) = (trunk, national)
            && national.starts_with(trunk)
        {
            return Err(Rejected::TrunkPrefixBehindCountryCode);
        }
        match digits.len() {
            few @ ..E164_DIGITS_MIN => Err(Rejected::TooFewDigits(few)),
            E164_DIGITS_MIN..=E164_DIGITS_MAX => Ok(format!("+{digits}")),
            many => Err(Rejected::TooManyDigits(many)),
        }
    }
}

impl Rule {
    fn new(index: usize, settings: &RuleSettings) -> Result<Rule, SettingsError> {
        // The whole number has to match, whether the pattern says so or not.
        let pattern = RegexBuilder::new(&format!(r"\A(?:{})\z", settings.pattern))
            .size_limit(PATTERN_OCTETS_MAX)
            .build()
            .map_err(|error| SettingsError::BadPattern {
                rule: if settings.name.is_empty() { (index + 1).to_string() } else { settings.name.clone() },
                error: error.to_string(),
            })?;
        Ok(Rule { name: settings.name.clone(), pattern, to: settings.to.clone() })
    }

    /// `None`: it does not match.
    fn apply(&self, reading: &Reading) -> Option<Result<Normalised, Rejected>> {
        let captures = self.pattern.captures(&reading.compact)?;
        if self.to.is_empty() {
            return Some(Err(Rejected::ByRule));
        }
        let mut made = String::new();
        captures.expand(&self.to, &mut made);
        let (e164, extension) = match made.split_once(";ext=") {
            Some((e164, extension)) => (e164, Some(extension.to_owned())),
            None => (made.as_str(), reading.extension.clone()),
        };
        let is_e164 = e164.strip_prefix('+').is_some_and(|digits| {
            is_digits(digits)
                && !digits.starts_with('0')
                && (E164_DIGITS_MIN..=E164_DIGITS_MAX).contains(&digits.len())
        });
        if !is_e164 || extension.as_deref().is_some_and(|digits| !is_extension(digits)) {
            return Some(Err(Rejected::RuleMadeNone(made)));
        }
        Some(Ok(Normalised { e164: e164.to_owned(), extension }))
    }
}

fn unprefixed(digits: &str, decided_by: &DecidedBy) -> Result<(), (DecidedBy, Rejected)> {
    let is_long_enough = digits.len() >= UNPREFIXED_DIGITS_MIN;
    is_long_enough.then_some(()).ok_or_else(|| (decided_by.clone(), Rejected::MaybeInternal))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

fn is_extension(text: &str) -> bool {
    is_digits(text) && text.len() <= EXTENSION_DIGITS_MAX
}

/// As in a `tel:` URI, without its scheme (RFC 3966 §3).
impl fmt::Display for Normalised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.e164)?;
        match &self.extension {
            Some(extension) => write!(f, ";ext={extension}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for DecidedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecidedBy::Reading => f.write_str("reading it"),
            DecidedBy::Rule(place, name) if name.is_empty() => write!(f, "rule {place}"),
            DecidedBy::Rule(place, name) => write!(f, "rule {place} ({name})"),
            DecidedBy::International => f.write_str("the + at its beginning"),
            DecidedBy::InternationalPrefix(prefix) => write!(f, "the international prefix {prefix}"),
            DecidedBy::TrunkPrefix(prefix) => write!(f, "the trunk prefix {prefix}"),
            DecidedBy::AreaCode(code) => write!(f, "the area code {code}"),
            DecidedBy::Country(code) => {
                write!(f, "the country code {code}, whose numbers have no trunk prefix")
            }
            DecidedBy::Nothing => f.write_str("no rule"),
        }
    }
}
