//! Admission of those who come back all at once: after a cut line or a restart every device signs in again, and who is in
//! already must not notice.
//!
//! The measure is how late a timer of ours comes: that is the work which stands before us on this thread, whatever made it
//! (handshakes, messages, sign-ins). While it comes in time nothing is limited. When it is late, each period may begin
//! only so many sign-ins, half of what began in the one before; the number grows again while timers come in time, until
//! nobody has been put off for a while. Who is put off gets 503 and a Retry-After drawn from a span that is as long as
//! the queue is, so that they do not come back together (RFC 3261 §21.5.4).
//!
//! A sign-in begins with the challenge of a REGISTER. Whoever has been challenged may answer, and the refresh of a
//! registration over its own flow is nobody's beginning.

use std::time::Duration;

use node::Instant;

/// How often the timer is looked at, while somebody signs in.
pub(crate) const PERIOD: Duration = Duration::from_millis(100);
/// Lateness from which less is admitted: a message that waits so long twice is still within the 250 ms that people with
/// a conversation under way may notice.
const LATE: Duration = Duration::from_millis(100);
/// Lateness below which more is admitted.
const IN_TIME: Duration = Duration::from_millis(25);
/// Least sign-ins that a period may begin: ten devices a second come in however bad it is.
const BUDGET_MIN: u32 = 1;
/// Periods in a row without anybody put off, after which nothing is limited any more: 2 s.
const CALM_PERIODS: u32 = 20;
/// Shortest and longest span to draw a Retry-After from. Beyond a minute people ask for help.
const SPREAD_SECONDS: std::ops::RangeInclusive<u64> = 4..=60;

/// How many may sign in.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    limit: Option<Limit>,
    /// Begun in this period.
    begun: u32,
    /// Put off in this period.
    put_off: u32,
    /// When the timer is due; `None` while nobody signs in.
    pub(crate) probe: Option<Instant>,
}

#[derive(Debug)]
struct Limit {
    /// Sign-ins that a period may begin.
    budget: u32,
    /// Periods in a row without anybody put off.
    calm: u32,
}

/// Somebody is put off.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PutOff {
    /// The span in which all of them shall come back.
    pub(crate) spread_seconds: u64,
}

impl Admission {
    /// Somebody wants to sign in.
    pub(crate) fn admit(&mut self) -> Result<(), PutOff> {
        match &self.limit {
            Some(limit) if self.begun >= limit.budget => {
                self.put_off += 1;
                // Who is put off in one period would fill so many, and others are put off in the next ones.
                let periods = u64::from(self.put_off / limit.budget);
                let spread_seconds = periods.clamp(*SPREAD_SECONDS.start(), *SPREAD_SECONDS.end());
                Err(PutOff { spread_seconds })
            }
            Some(_) | None => {
                self.begun += 1;
                Ok(())
            }
        }
    }

    /// The timer came, so much too late. Gives whether it is wanted again.
    pub(crate) fn probed(&mut self, lateness: Duration) -> bool {
        let (begun, put_off) = (std::mem::take(&mut self.begun), std::mem::take(&mut self.put_off));
        self.limit = match self.limit.take() {
            None if lateness >= LATE => Some(Limit { budget: (begun / 2).max(BUDGET_MIN), calm: 0 }),
            None => None,
            Some(Limit { budget, calm }) => {
                let budget = match lateness {
                    late if late >= LATE => (budget / 2).max(BUDGET_MIN),
                    late if late < IN_TIME && put_off > 0 => budget + budget / 4 + 1,
                    _ => budget,
                };
                let calm = if put_off == 0 && lateness < LATE { calm + 1 } else { 0 };
                (calm < CALM_PERIODS).then_some(Limit { budget, calm })
            }
        };
        self.limit.is_some() || begun > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many want to sign in; how many may.
    fn period(admission: &mut Admission, wanting: u32, lateness_ms: u64) -> u32 {
        let admitted = (0..wanting).filter(|_| admission.admit().is_ok()).count();
        admission.probed(Duration::from_millis(lateness_ms));
        u32::try_from(admitted).expect("a count")
    }

    #[test]
    fn who_is_late_admits_fewer_and_then_more_again() {
        let mut admission = Admission::default();
        assert_eq!(period(&mut admission, 1000, 30), 1000, "nothing is limited in time");
        assert_eq!(period(&mut admission, 1000, 400), 1000);
        assert_eq!(period(&mut admission, 1000, 200), 500);
        assert_eq!(period(&mut admission, 1000, 50), 250);
        assert_eq!(period(&mut admission, 1000, 5), 250, "neither late nor in time changes nothing");
        assert_eq!(period(&mut admission, 1000, 5), 313);
        assert_eq!(period(&mut admission, 1000, 5), 392);
        for _ in 0..50 {
            period(&mut admission, 1000, 1000);
        }
        assert_eq!(period(&mut admission, 1000, 1000), BUDGET_MIN, "somebody always comes in");
    }

    #[test]
    fn the_limit_goes_when_nobody_is_put_off_any_more() {
        let mut admission = Admission::default();
        period(&mut admission, 100, 500);
        assert!(admission.probed(Duration::ZERO), "the timer is wanted while there is a limit");
        for _ in 0..CALM_PERIODS {
            period(&mut admission, 10, 0);
        }
        assert_eq!(period(&mut admission, 1000, 0), 1000);
        assert!(!admission.probed(Duration::ZERO), "and not when there is none");
    }

    #[test]
    fn the_longer_the_queue_the_later_they_come_back() {
        let mut admission = Admission::default();
        period(&mut admission, 20, 500);
        let spreads: Vec<u64> =
            (0..5000).filter_map(|_| admission.admit().err()).map(|put_off| put_off.spread_seconds).collect();
        assert_eq!((spreads[0], *spreads.last().expect("some were put off")), (4, 60));
        assert!(spreads.is_sorted());
    }
}
