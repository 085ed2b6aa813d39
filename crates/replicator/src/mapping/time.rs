//! Times as directories write them.

/// From 1601-01-01, where FILETIME ([MS-DTYP] 2.3.3) begins, to 1970-01-01, in milliseconds.
const FILETIME_TO_UNIX_MS: i64 = 11_644_473_600_000;
/// FILETIME counts tenths of a microsecond.
const FILETIME_PER_MS: i64 = 10_000;
const MS_PER_DAY: i64 = 86_400_000;

/// Milliseconds since 1970 of a FILETIME; `None`: never. accountExpires says never with 0 and with the greatest number
/// ([MS-ADA1] 2.1), lockoutTime says with 0 that there was none. What lies before 1970 is long past.
pub(super) fn of_filetime(value: i64) -> Option<u64> {
    match value {
        0 | i64::MAX => None,
        value => Some(u64::try_from(value / FILETIME_PER_MS - FILETIME_TO_UNIX_MS).unwrap_or(0)),
    }
}

/// Milliseconds since 1970 of shadowExpire, which counts days; `None`: never (-1).
pub(super) fn of_days(value: i64) -> Option<u64> {
    u64::try_from(value.checked_mul(MS_PER_DAY)?).ok()
}

/// Milliseconds since 1970 of a GeneralizedTime (RFC 4517 §3.3.13); `Some(0)` for what lies before, `None` for what is none.
pub(super) fn of_generalized(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if !matches!(digits, 10 | 12 | 14) {
        return None;
    }
    let (time, rest) = text.split_at(digits);
    let part =
        |from: usize, to: usize| time.get(from..to).map_or(Some(0), |digits| digits.parse::<i64>().ok());
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    // 60 is a leap second.
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // A fraction is less than anybody's patience.
    let zone = rest.trim_start_matches(|c: char| matches!(c, '.' | ',') || c.is_ascii_digit());
    let fraction = &rest[..rest.len() - zone.len()];
    let is_fraction = fraction.is_empty() || fraction.starts_with(['.', ',']) && fraction.len() > 1;
    if !is_fraction {
        return None;
    }
    let east_minutes = match zone.split_at_checked(1)? {
        ("Z", "") => 0,
        (sign @ ("+" | "-"), offset) if matches!(offset.len(), 2 | 4) => {
            if !offset.bytes().all(|octet| octet.is_ascii_digit()) {
                return None;
            }
            let hours: i64 = offset[..2].parse().ok()?;
            let minutes: i64 = if offset.len() == 4 { offset[2..].parse().ok()? } else { 0 };
            (hours * 60 + minutes) * if sign == "+" { 1 } else { -1 }
        }
        _ => return None,
    };
    let seconds =
        days_since_1970(year, month, day) * 86_400 + hour * 3_600 + (minute - east_minutes) * 60 + second;
    Some(u64::try_from(seconds * 1_000).unwrap_or(0))
}

/// Days of the Gregorian calendar; years begin with March here, so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filetimes() {
        // 2026-11-22T00:00:00Z is 1,795,305,600 s after 1970.
        assert_eq!(of_filetime(134_397_792_000_000_000), Some(1_795_305_600_000));
        assert_eq!(of_filetime(0), None);
        assert_eq!(of_filetime(i64::MAX), None);
        assert_eq!(of_filetime(1), Some(0));
        assert_eq!(of_filetime(-1), Some(0));
        assert_eq!(of_filetime(i64::MIN), Some(0));
        assert!(of_filetime(i64::MAX - 1).is_some());
    }

    #[test]
    fn days() {
        assert_eq!(of_days(-1), None);
        assert_eq!(of_days(20_779), Some(1_795_305_600_000));
        assert_eq!(of_days(i64::MAX), None);
    }

    #[test]
    fn generalized_times() {
        for (text, unix_ms) in [
            ("20261122000000Z", 1_795_305_600_000),
            ("20261122000000.5Z", 1_795_305_600_000),
            ("202611220000Z", 1_795_305_600_000),
            ("2026112202+0200", 1_795_305_600_000),
            ("20261121220000-02", 1_795_305_600_000),
            ("19700101000000Z", 0),
            ("00000101000000Z", 0),
            ("20240229000000Z", 1_709_164_800_000),
        ] {
            assert_eq!(of_generalized(text), Some(unix_ms), "{text}");
        }
        for text in
            ["", "Z", "20261122", "20261322000000Z", "20261122000000", "20261122000000.Z", "20261122000000Q"]
        {
            assert_eq!(of_generalized(text), None, "{text}");
        }
    }
}
