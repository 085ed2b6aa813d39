//! Days of the calendar, in UTC: as long as a relationship lasts.

use std::fmt;
use std::str::FromStr;

use node::UnixMillis;

const MILLIS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

/// A day from 1970-01-01 to 9999-12-31 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// The day; `None` where the calendar has none such.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Date> {
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        ((1970..=9999).contains(&year) && (1..=days).contains(&day)).then_some(Date { year, month, day })
    }

    /// The first moment after the day.
    pub fn end(self) -> UnixMillis {
        UnixMillis((self.days_since_1970() + 1) * MILLIS_PER_DAY)
    }

    /// Counts years from March on, so that the leap day is the last of its year.
    fn days_since_1970(self) -> u64 {
        let (year, month, day) = (u64::from(self.year), u64::from(self.month), u64::from(self.day));
        let year = if month <= 2 { year - 1 } else { year };
        let month = (month + 9) % 12;
        let day_of_year = (153 * month + 2) / 5 + day - 1;
        let leap_days = year / 4 - year / 100 + year / 400;
        // 719,468 days lie between 0000-03-01 and 1970-01-01.
        year * 365 + leap_days + day_of_year - 719_468
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = NoDate;

    fn from_str(text: &str) -> Result<Date, NoDate> {
        let mut parts = text.splitn(3, '-');
        let mut number = |digits: usize| -> Option<u16> {
            let part = parts.next()?;
            let is_number = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| part.parse().ok()).flatten()
        };
        let (year, month, day) = (number(4), number(2), number(2));
        let (Some(year), Some(month), Some(day)) = (year, month, day) else { return Err(NoDate) };
        Date::new(year, month as u8, day as u8).ok_or(NoDate)
    }
}

/// The text is no day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no date such as 2027-01-31")]
pub struct NoDate;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_end_where_the_calendar_says() {
        let end = |text: &str| text.parse::<Date>().map(|date| date.end().0 / 1000).ok();
        assert_eq!(end("1970-01-01"), Some(86_400));
        assert_eq!(end("2000-02-29"), Some(951_868_800));
        assert_eq!(end("2026-11-22"), Some(1_795_392_000));
        assert_eq!(end("9999-12-31"), Some(253_402_300_800));
        for wrong in [
            "",
            "2026-11-31",
            "2025-02-29",
            "2100-02-29",
            "1969-12-31",
            "2026-1-01",
            "2026-11-22Z",
            "2026-00-10",
            "+026-11-22",
        ] {
            assert_eq!(end(wrong), None, "{wrong:?}");
        }
        assert_eq!("2027-01-05".parse::<Date>().unwrap().to_string(), "2027-01-05");
    }
}
