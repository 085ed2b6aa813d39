//! Points in time as documents write them (RFC 3339, XML Schema `dateTime`).

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Reads `2026-11-22T08:00:00.5Z`, with an offset or `Z`; without either it counts as UTC, as clients mean it. `None` where
/// it is no such time, or one before 1970.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (date, time) = text.trim().split_once(['T', 't'])?;
    let mut date = date.split('-').map(digits);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    if date.next().is_some() || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    if !(1..=days_of_month(year, month)).contains(&day) {
        return None;
    }
    let zone_at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (time, zone) = time.split_at(zone_at);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.split(':').map(digits);
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if time.next().is_some() || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let millis = match fraction {
        "" => 0,
        _ if !fraction.bytes().all(|b| b.is_ascii_digit()) => return None,
        _ => digits(&format!("{fraction:0<3}")[..3])?,
    };
    let offset_minutes = match zone {
        "" | "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let minutes = digits(hours)? * 60 + digits(minutes)?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let seconds = (hour * 60 + minute - offset_minutes) * 60 + second;
    u64::try_from(days_since_1970(year, month, day) * DAY_MS + seconds * 1000 + millis).ok()
}

/// Writes a time in UTC, to the second.
pub(crate) fn format(unix_ms: u64) -> String {
    let unix_ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    // RFC 3339 has years of four digits.
    let seconds = (unix_ms / 1000).min(253_402_300_799);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970 + days / 366;
    while days_since_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_since_1970(year, month + 1, 1) <= days {
        month += 1;
    }
    let day = days - days_since_1970(year, month, 1) + 1;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// A number of one to four digits.
fn digits(text: &str) -> Option<i64> {
    let fits = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    let months: i64 = (1..month).map(|month| days_of_month(year, month)).sum();
    (year - 1970) * 365 + leap_days + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::{format, parse};

    #[test]
    fn times_are_read_and_written() {
        for (text, unix_ms, written) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
            ("2026-11-21T23:07:32Z", 1_795_302_452_000, "2026-11-21T23:07:32Z"),
            ("2026-11-22T00:07:32.25+01:00", 1_795_302_452_250, "2026-11-21T23:07:32Z"),
            ("2024-02-29T12:00:00-05:30", 1_709_227_800_000, "2024-02-29T17:30:00Z"),
            ("2000-12-31T23:59:59", 978_307_199_000, "2000-12-31T23:59:59Z"),
        ] {
            assert_eq!(parse(text), Some(unix_ms), "{text}");
            assert_eq!(format(unix_ms), written);
        }
        for day in (0..60_000).map(|day| day * 86_400_000) {
            assert_eq!(parse(&format(day)), Some(day));
        }
        assert_eq!(format(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "T",
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-01T25:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "2026-01-01T00:00:00+1",
            "+2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.xZ",
            "99999-01-01T00:00:00Z",
            "2026-01-01T00:00:00+é:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
