//! How often a watcher is notified (RFC 6446): what it asks for in Event, and what it gets.

use std::fmt::Write as _;
use std::time::Duration;

use node::Instant;
use sip_message::Params;

use super::Policy;

/// Notifications per second, in units of 10^-10: the parameter has up to ten decimal places (RFC 6446 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rate(u64);

const DECIMALS: usize = 10;
const UNITS: u64 = 10_000_000_000;

impl Rate {
    /// `None` for what is no positive number of at most two digits before the point and ten behind it.
    fn parse(text: &str) -> Option<Rate> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |text: &str, digits_max: usize| {
            (1..=digits_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !is_number(whole, 2) || !is_number(part, DECIMALS) {
            return None;
        }
        let part = part.bytes().chain(std::iter::repeat(b'0')).take(DECIMALS);
        let units = whole.bytes().chain(part).fold(0, |units, digit| units * 10 + u64::from(digit - b'0'));
        (units > 0).then_some(Rate(units))
    }

    fn of_interval(interval: Duration) -> Rate {
        let units = u128::from(UNITS) * 1_000_000 / interval.as_micros().max(1);
        Rate(u64::try_from(units).unwrap_or(u64::MAX).clamp(1, 100 * UNITS - 1))
    }

    /// The time between two notifications, rounded up: never more often than asked for.
    fn interval(self) -> Duration {
        let microseconds = (u128::from(UNITS) * 1_000_000).div_ceil(u128::from(self.0));
        Duration::from_micros(u64::try_from(microseconds).expect("10^16 microseconds fit"))
    }

    /// Without zeros at the end.
    fn write(self, out: &mut String) {
        let (whole, part) = (self.0 / UNITS, self.0 % UNITS);
        let _ = write!(out, "{whole}");
        if part > 0 {
            let digits = format!("{part:010}");
            let _ = write!(out, ".{}", digits.trim_end_matches('0'));
        }
    }
}

/// What a watcher asks for. A parameter that is no rate is as if it were not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedRates {
    max: Option<Rate>,
    min: Option<Rate>,
    adaptive_min: Option<Rate>,
}

impl AskedRates {
    pub(super) fn read(event: &Params<'_>) -> AskedRates {
        let rate = |name| event.get(name).and_then(Rate::parse);
        AskedRates { max: rate("max-rate"), min: rate("min-rate"), adaptive_min: rate("adaptive-min-rate") }
    }
}

/// What a watcher that asked for rates gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rates {
    max: Option<Rate>,
    min: Option<Rate>,
    adaptive: Option<Adaptive>,
    /// The last NOTIFY.
    notified: Instant,
}

/// RFC 6446 §7: a rate that holds on average.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Adaptive {
    rate: Rate,
    /// It waits no less than this, however few NOTIFYs there were.
    wait_min: Duration,
    /// NOTIFYs are counted in spans of one period; the present span began here.
    span_began: Instant,
    in_span: u32,
    in_span_before: u32,
}

/// The period over which an adaptive rate is an average holds so many NOTIFYs at that rate.
const NOTIFIES_PER_PERIOD: u32 = 8;

impl Rates {
    /// `None` where nothing is asked for. A rate that the policy does not allow is brought to the nearest that it does
    /// (RFC 6446 §5.2, §6.2, §7.2).
    pub(super) fn granted(asked: &AskedRates, policy: &Policy, now: Instant) -> Option<Box<Rates>> {
        if *asked == AskedRates::default() {
            return None;
        }
        let fastest = |rate: Rate, interval: Duration| {
            if rate.interval() < interval { Rate::of_interval(interval) } else { rate }
        };
        let max = asked.max.map(|rate| fastest(rate, policy.interval_min));
        let below_max = |rate: Rate| max.map_or(rate, |max| rate.min(max));
        let kept_up = |rate| below_max(fastest(rate, policy.interval_unchanged_min));
        let wait_min = policy.interval_unchanged_min.max(max.map_or(Duration::ZERO, Rate::interval));
        let adaptive = asked.adaptive_min.map(kept_up).map(|rate| Adaptive {
            rate,
            wait_min,
            span_began: now,
            in_span: 0,
            in_span_before: 0,
        });
        Some(Box::new(Rates { max, min: asked.min.map(kept_up), adaptive, notified: now }))
    }

    /// A NOTIFY leaves.
    pub(super) fn notified(&mut self, now: Instant) {
        self.notified = now;
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.count(now);
        }
    }

    /// Least time between NOTIFYs about changes.
    pub(super) fn interval_min(&self) -> Option<Duration> {
        self.max.map(Rate::interval)
    }

    /// When a NOTIFY is due although nothing changed.
    pub(super) fn due_unchanged(&self) -> Option<Instant> {
        let at_least = self.min.map(Rate::interval);
        let adaptive = self.adaptive.as_ref().map(|adaptive| adaptive.wait(self.notified));
        at_least.into_iter().chain(adaptive).min().map(|wait| self.notified + wait)
    }

    /// The parameters of Subscription-State (RFC 6446 §9.2).
    pub(super) fn parameters(&self) -> String {
        let mut text = String::new();
        let adaptive = self.adaptive.as_ref().map(|adaptive| adaptive.rate);
        for (name, rate) in
            [(";max-rate=", self.max), (";min-rate=", self.min), (";adaptive-min-rate=", adaptive)]
        {
            if let Some(rate) = rate {
                text.push_str(name);
                rate.write(&mut text);
            }
        }
        text
    }
}

impl Adaptive {
    fn period(&self) -> Duration {
        self.rate.interval() * NOTIFIES_PER_PERIOD
    }

    fn count(&mut self, now: Instant) {
        let period = self.period();
        let passed = now.since(self.span_began);
        if passed >= period * 2 {
            (self.span_began, self.in_span_before, self.in_span) = (now, 0, 0);
        } else if passed >= period {
            self.span_began = self.span_began + period;
            (self.in_span_before, self.in_span) = (self.in_span, 0);
        }
        self.in_span += 1;
    }

    /// RFC 6446 §7.4: `count / (rate^2 * period)`; with a period of n intervals that is `count / n` intervals. The count is that of
    /// the last period: the present span, and of the one before it as much as the period still covers.
    fn wait(&self, notified: Instant) -> Duration {
        let period = self.period().as_micros().max(1);
        let passed = notified.since(self.span_began).as_micros().min(period);
        let before = u128::from(self.in_span_before) * (period - passed);
        let count_times_period = u128::from(self.in_span) * period + before;
        let interval = self.rate.interval().as_micros();
        let wait = interval * count_times_period / (u128::from(NOTIFIES_PER_PERIOD) * period);
        Duration::from_micros(u64::try_from(wait).unwrap_or(u64::MAX)).max(self.wait_min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_positive_decimal_numbers() {
        for (text, microseconds, written) in [
            ("1", 1_000_000, "1"),
            ("0.05", 20_000_000, "0.05"),
            ("10", 100_000, "10"),
            ("99.9999999999", 10_001, "99.9999999999"),
            ("0.0000000001", 10_000_000_000_000_000, "0.0000000001"),
            ("0.3", 3_333_334, "0.3"),
            ("00.50", 2_000_000, "0.5"),
        ] {
            let rate = Rate::parse(text).expect(text);
            let mut again = String::new();
            rate.write(&mut again);
            assert_eq!((rate.interval(), again.as_str()), (Duration::from_micros(microseconds), written));
        }
        for text in ["", "0", "0.0", ".5", "1.", "100", "-1", "1e3", "1.00000000001", " 1", "1,5"] {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_steady_stream_waits_one_interval_and_a_burst_earns_silence() {
        let mut adaptive = Adaptive {
            rate: Rate(UNITS / 10),
            wait_min: Duration::from_secs(2),
            span_began: Instant(0),
            in_span: 0,
            in_span_before: 0,
        };
        adaptive.count(Instant(0));
        assert_eq!(adaptive.wait(Instant(0)), Duration::from_secs(2));
        adaptive.in_span = 0;
        let mut now = Instant(0);
        for _ in 0..30 {
            adaptive.count(now);
            now = now + Duration::from_secs(10);
        }
        let wait = adaptive.wait(now);
        assert!((9..=12).contains(&wait.as_secs()), "{wait:?}");
        for _ in 0..24 {
            adaptive.count(now);
        }
        assert!(adaptive.wait(now) >= Duration::from_secs(30));
    }
}
