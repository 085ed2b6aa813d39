//! Tests of the number rules: tables of what people write, and what holds for every text.

use std::sync::LazyLock;

use expect_test::expect;
use proptest::prelude::*;

use super::*;

fn rules(settings: &str) -> NumberRules {
    NumberRules::new(&read(settings)).expect("the settings are right")
}

fn read(settings: &str) -> NumberSettings {
    toml::from_str(settings).expect("the settings are read")
}

const BERLIN: &str = r#"
country_code = "49"
area_code = "30"
trunk_prefix = "0"
rules = [
    { name = "internal", match = '([1-8]\d{3})', to = "+4930123400;ext=$1" },
    { match = '\+490(\d+)', to = "+49$1" },
    { name = "none", match = '0+', to = "" },
    { name = "broken", match = '999(\d*)', to = "$1" },
]
"#;

/// One line for each number: what it became, and who decided.
fn table(settings: &str, numbers: &[&str]) -> String {
    let rules = rules(settings);
    let mut text = String::new();
    for number in numbers {
        let verdict = rules.explain(number);
        let result = match &verdict.result {
            Ok(normalised) => normalised.to_string(),
            Err(rejected) => format!("- {rejected}"),
        };
        text.push_str(&format!("{number:?} {result} [{}]\n", verdict.decided_by));
    }
    text
}

#[test]
fn what_people_write_becomes_an_international_number() {
    let numbers = [
        "+49 (30) 1234-567 ext. 12",
        "+49 (0) 30 1234567",
        "+49(0)(30)1234567",
        "0049 30 1234567",
        "0049 (0)30/1234567",
        "(0049) 30 1234567",
        "(+49) 30-1234567",
        "(0) 30 1234567",
        "030 1234567",
        "1234567",
        "+1 (212) 555-0123 x4711",
        "+1.212.555.0123#99",
        "+49 30 1234567 DW 12",
        "+49 30 1234567 (ext. 12)",
        "+49 30 1234567, Durchwahl: 12",
        "+7 495 123-45-67 доб. 890",
        "tel:+49-30-1234567;ext=12",
        "TEL:+49.30.1234567;isub=7;EXT=1-2;phone-context=ignored.example",
        "+49301234567;ext=12",
        "＋４９　（３０）　１２３４５６７",
        "+٤٩ ٣٠ ١٢٣٤٥٦٧",
        "\u{202a}+49 30 1234567\u{202c}",
        "+49\u{a0}30\u{2011}1234567",
        "+39 (0)6 12345678",
        "4711",
        "+49 030 1234567",
        "+683 4000",
    ];
    expect![[r#"
        "+49 (30) 1234-567 ext. 12" +49301234567;ext=12 [the + at its beginning]
        "+49 (0) 30 1234567" +49301234567 [the + at its beginning]
        "+49(0)(30)1234567" +49301234567 [the + at its beginning]
        "0049 30 1234567" +49301234567 [the international prefix 00]
        "0049 (0)30/1234567" +49301234567 [the international prefix 00]
        "(0049) 30 1234567" +49301234567 [the international prefix 00]
        "(+49) 30-1234567" +49301234567 [the + at its beginning]
        "(0) 30 1234567" +49301234567 [the trunk prefix 0]
        "030 1234567" +49301234567 [the trunk prefix 0]
        "1234567" +49301234567 [the area code 30]
        "+1 (212) 555-0123 x4711" +12125550123;ext=4711 [the + at its beginning]
        "+1.212.555.0123#99" +12125550123;ext=99 [the + at its beginning]
        "+49 30 1234567 DW 12" +49301234567;ext=12 [the + at its beginning]
        "+49 30 1234567 (ext. 12)" +49301234567;ext=12 [the + at its beginning]
        "+49 30 1234567, Durchwahl: 12" +49301234567;ext=12 [the + at its beginning]
        "+7 495 123-45-67 доб. 890" +74951234567;ext=890 [the + at its beginning]
        "tel:+49-30-1234567;ext=12" +49301234567;ext=12 [the + at its beginning]
        "TEL:+49.30.1234567;isub=7;EXT=1-2;phone-context=ignored.example" +49301234567;ext=12 [the + at its beginning]
        "+49301234567;ext=12" +49301234567;ext=12 [the + at its beginning]
        "＋４９\u{3000}（３０）\u{3000}１２３４５６７" +49301234567 [the + at its beginning]
        "+٤٩ ٣٠ ١٢٣٤٥٦٧" +49301234567 [the + at its beginning]
        "\u{202a}+49 30 1234567\u{202c}" +49301234567 [the + at its beginning]
        "+49\u{a0}30‑1234567" +49301234567 [the + at its beginning]
        "+39 (0)6 12345678" +390612345678 [the + at its beginning]
        "4711" +4930123400;ext=4711 [rule 1 (internal)]
        "+49 030 1234567" +49301234567 [rule 2]
        "+683 4000" +6834000 [the + at its beginning]
    "#]]
    .assert_eq(&table(BERLIN, &numbers));
}

#[test]
fn what_is_no_number_is_rejected_with_the_reason() {
    let numbers = [
        "",
        "n/a",
        "ask Bob",
        "0",
        "0000",
        "999 12",
        "12345",
        "0 12345",
        "030 1234, 030 5678",
        "+49 30 1234567 +49 30 7654321",
        "030 1234; 030 5678",
        "0800 FLOWERS 1",
        "+49 30 123456 ext. 123456789012",
        "+49 30 12345;ext=abc",
        "+49 30 12345 x1;ext=2",
        "+0 30 1234567",
        "00 0 30 1234567",
        "+49 30",
        "+49 30 1234 5678 9012 3",
        "*21*030123#",
        "bob@corp.example 1",
        "tel:863-1234;phone-context=+1-914-555",
        "tel:4711;phone-context=pbx.example",
        "+++49301234567",
    ];
    expect![[r#"
        "" - there is no digit in it [reading it]
        "n/a" - there is no digit in it [reading it]
        "ask Bob" - there is no digit in it [reading it]
        "0" - the rule says that it is no number [rule 3 (none)]
        "0000" - the rule says that it is no number [rule 3 (none)]
        "999 12" - the rule made "12" of it, which is no international number [rule 4 (broken)]
        "12345" - it is so short that it may be internal; a rule could say what it is part of [the area code 30]
        "0 12345" - it is so short that it may be internal; a rule could say what it is part of [the trunk prefix 0]
        "030 1234, 030 5678" - it looks like more than one number [no rule]
        "+49 30 1234567 +49 30 7654321" - it looks like more than one number [no rule]
        "030 1234; 030 5678" - it looks like more than one number [reading it]
        "0800 FLOWERS 1" - it holds letters, and no rule takes it [no rule]
        "+49 30 123456 ext. 123456789012" - its extension is not made of at most 11 digits [reading it]
        "+49 30 12345;ext=abc" - its extension is not made of at most 11 digits [reading it]
        "+49 30 12345 x1;ext=2" - its extension is not made of at most 11 digits [reading it]
        "+0 30 1234567" - no country code begins with 0 [the + at its beginning]
        "00 0 30 1234567" - no country code begins with 0 [the international prefix 00]
        "+49 30" - 4 digits with the country code are too few [the + at its beginning]
        "+49 30 1234 5678 9012 3" - 17 digits with the country code are too many: E.164 allows 15 [the + at its beginning]
        "*21*030123#" - it holds '*' [no rule]
        "bob@corp.example 1" - it holds letters, and no rule takes it [no rule]
        "tel:863-1234;phone-context=+1-914-555" - it is local to "+1-914-555" [no rule]
        "tel:4711;phone-context=pbx.example" +4930123400;ext=4711 [rule 1 (internal)]
        "+++49301234567" - it looks like more than one number [no rule]
    "#]]
    .assert_eq(&table(BERLIN, &numbers));
}

#[test]
fn without_a_country_code_nothing_is_guessed() {
    let numbers = ["030 1234567", "0049 30 1234567", "1234567", "+49 30 1234567", "tel:+49301234567"];
    expect![[r#"
        "030 1234567" - it begins with 0, and no country code, trunk prefix or international prefix is configured that says what for [no rule]
        "0049 30 1234567" - it begins with 0, and no country code, trunk prefix or international prefix is configured that says what for [no rule]
        "1234567" - it has neither country code nor prefix, and no rule, `area_code` or empty `trunk_prefix` says what it is [no rule]
        "+49 30 1234567" +49301234567 [the + at its beginning]
        "tel:+49301234567" +49301234567 [the + at its beginning]
    "#]]
    .assert_eq(&table("", &numbers));
}

#[test]
fn countries_differ() {
    let denmark = "country_code = \"45\"\ntrunk_prefix = \"\"";
    expect![[r#"
        "32 12 34 56" +4532123456 [the country code 45, whose numbers have no trunk prefix]
        "0046 8 123456" +468123456 [the international prefix 00]
        "4711" - it is so short that it may be internal; a rule could say what it is part of [the country code 45, whose numbers have no trunk prefix]
        "032123456" - it begins with 0, and no country code, trunk prefix or international prefix is configured that says what for [the country code 45, whose numbers have no trunk prefix]
    "#]]
    .assert_eq(&table(denmark, &["32 12 34 56", "0046 8 123456", "4711", "032123456"]));

    let italy = "country_code = \"39\"\ntrunk_prefix = \"\"";
    expect![[r#"
        "06 12345678" +390612345678 [the country code 39, whose numbers have no trunk prefix]
        "348 1234567" +393481234567 [the country code 39, whose numbers have no trunk prefix]
    "#]]
    .assert_eq(&table(italy, &["06 12345678", "348 1234567"]));

    let america = r#"
country_code = "1"
trunk_prefix = "1"
international_prefixes = ["011"]
rules = [{ name = "ten digits", match = '[2-9]\d{9}', to = "+1$0" }]
"#;
    expect![[r#"
        "1 212 555 0123" +12125550123 [the trunk prefix 1]
        "(212) 555-0123" +12125550123 [rule 1 (ten digits)]
        "011 49 30 1234567" +49301234567 [the international prefix 011]
        "0049 30 1234567" - it begins with 0, and no country code, trunk prefix or international prefix is configured that says what for [no rule]
        "555-0123" - it has neither country code nor prefix, and no rule, `area_code` or empty `trunk_prefix` says what it is [no rule]
    "#]]
    .assert_eq(&table(
        america,
        &["1 212 555 0123", "(212) 555-0123", "011 49 30 1234567", "0049 30 1234567", "555-0123"],
    ));

    // 0011 is what Australians dial, so that 00 proves nothing.
    let australia = "country_code = \"61\"\ntrunk_prefix = \"0\"";
    expect![[r#"
        "0011 49 30 1234567" - it begins with 0, and no country code, trunk prefix or international prefix is configured that says what for [the trunk prefix 0]
        "02 1234 5678" +61212345678 [the trunk prefix 0]
    "#]]
    .assert_eq(&table(australia, &["0011 49 30 1234567", "02 1234 5678"]));
}

#[test]
fn wrong_settings_are_told() {
    let told =
        |settings: &str| NumberRules::new(&read(settings)).map(|_| ()).expect_err("it is wrong").to_string();
    for (settings, expected) in [
        (
            "country_code = \"+49\"",
            "\"+49\" is no country code: one to three digits, the first of them not 0",
        ),
        (
            "country_code = \"049\"",
            "\"049\" is no country code: one to three digits, the first of them not 0",
        ),
        ("area_code = \"30\"", "`area_code` needs `country_code`"),
        ("trunk_prefix = \"\"", "`trunk_prefix` needs `country_code`"),
        ("country_code = \"49\"\narea_code = \"\"", "`area_code` is made of digits alone, and \"\" is not"),
        (
            "international_prefixes = [\"+\"]",
            "`international_prefixes` is made of digits alone, and \"+\" is not",
        ),
    ] {
        assert_eq!(told(settings), expected);
    }
    assert!(
        told("rules = [{ name = \"a\", match = '(', to = \"\" }]").starts_with("rule a: regex parse error")
    );
    assert!(told(r"rules = [{ match = '\d{100}{100}{100}', to = '' }]").starts_with("rule 1: "));
    let many = NumberSettings {
        rules: vec![
            RuleSettings { name: String::new(), pattern: "1".to_owned(), to: String::new() };
            RULES_MAX + 1
        ],
        ..NumberSettings::default()
    };
    assert_eq!(NumberRules::new(&many).map(|_| ()), Err(SettingsError::TooManyRules(501)));
    assert!(toml::from_str::<NumberSettings>("country = \"49\"").is_err());
}

#[test]
fn a_text_of_any_length_is_refused_early() {
    assert_eq!(rules(BERLIN).normalise(&"1".repeat(129)), Err(Rejected::TooLong));
    assert_eq!(rules(BERLIN).normalise(&"1".repeat(128)), Err(Rejected::TooManyDigits(132)));
}

fn check_holds(rules: &NumberRules, written: &str) -> Result<(), TestCaseError> {
    let Ok(normalised) = rules.normalise(written) else { return Ok(()) };
    let digits = normalised.e164.strip_prefix('+').expect("it begins with +");
    prop_assert!(is_digits(digits) && !digits.starts_with('0'));
    prop_assert!((E164_DIGITS_MIN..=E164_DIGITS_MAX).contains(&digits.len()));
    prop_assert!(normalised.extension.as_deref().is_none_or(is_extension));
    for again in [normalised.to_string(), format!("tel:{normalised}")] {
        prop_assert_eq!(rules.normalise(&again), Ok(normalised.clone()), "{} is not kept", again);
    }
    Ok(())
}

/// Compiled once: patterns take longer than numbers.
static SEVERAL: LazyLock<[NumberRules; 4]> = LazyLock::new(|| {
    let italy = "country_code = \"39\"\ntrunk_prefix = \"\"";
    let america = "country_code = \"1\"\ntrunk_prefix = \"1\"";
    [BERLIN, "", italy, america].map(rules)
});

proptest! {
    #[test]
    fn what_was_normalised_stays_as_it_is(written in r"(tel:)?[+＋]?[0-9 ()/.x#-]{1,24}(;ext=[0-9]{1,4}|ext\. ?[0-9]{1,12})?") {
        for rules in &*SEVERAL {
            check_holds(rules, &written)?;
        }
    }

    #[test]
    fn any_text_is_answered(written in any::<String>()) {
        check_holds(&SEVERAL[0], &written)?;
    }

    #[test]
    fn layout_changes_nothing(national in "[1-9][0-9]{6,10}", blanks in prop::collection::vec(0usize..7, 12)) {
        let separators = ["", " ", "-", ".", "/", "\u{a0}", "\u{2011}"];
        let laid_out: String = national.chars().zip(&blanks).map(|(digit, blank)| format!("{digit}{}", separators[*blank])).collect();
        let expected = Ok(Normalised { e164: format!("+49{national}"), extension: None });
        for written in [format!("+49 {laid_out}"), format!("+49 (0) {laid_out}"), format!("0049{laid_out}"), format!("0{laid_out}")] {
            prop_assert_eq!(SEVERAL[0].normalise(&written), expected.clone(), "{}", written);
        }
    }
}
