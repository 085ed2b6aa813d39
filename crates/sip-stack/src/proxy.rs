//! What a proxy decides about responses (RFC 3261 §16.7): which of several is the best, and what a final response of one branch means
//! for the others. Pure choices over statuses; [`crate::stack`] carries them out.

/// Why a branch ended, as a status: what it answered, or what its failure counts as (RFC 3261 §16.7 step 6, §16.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The status.
    pub status: u16,
    /// Whether we made it up (timeout, broken flow) and no response stands behind it.
    pub local: bool,
}

/// Whether `new` is a better final response than `old` (RFC 3261 §16.7 step 6): any 6xx before all others, else the lowest class; within 4xx
/// those first that help the caller to try again; within a class real answers before those we made up, then the first.
pub fn is_better(new: Verdict, old: Verdict) -> bool {
    rank(new) < rank(old)
}

fn rank(verdict: Verdict) -> (u16, u8, bool) {
    let class = verdict.status / 100;
    let class_rank = if class == 6 { 0 } else { class };
    let within = match verdict.status {
        401 | 407 | 415 | 420 | 484 => 0,
        // Says only that this device is not there: any other answer says more.
        // 481 to an INVITE with Replaces: it is another device that has the dialog (RFC 3891 §3).
        408 | 410 | 430 | 480 | 481 | 487 | 503 => 2,
        _ => 1,
    };
    (class_rank, within, verdict.local)
}

/// The status under which a final response is passed upstream: 503 is about our own neighbour, not about us (RFC 3261 §16.7 step 6), and 430
/// is between an edge and its registrar (RFC 5626 §11.5).
pub fn upstream_status(status: u16) -> u16 {
    match status {
        503 => 500,
        430 => 480,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_response_is_chosen_as_the_rfc_says() {
        let best = |statuses: &[u16]| {
            let verdicts = statuses.iter().map(|s| Verdict { status: *s, local: false });
            verdicts.reduce(|best, v| if is_better(v, best) { v } else { best }).unwrap().status
        };
        assert_eq!(best(&[486, 603, 404]), 603, "6xx wins");
        assert_eq!(best(&[503, 486]), 486, "the lowest class wins");
        assert_eq!(best(&[486, 302]), 302);
        assert_eq!(best(&[404, 407, 486]), 407, "a challenge helps the caller");
        assert_eq!(best(&[480, 486]), 486, "busy says more than not there");
        assert_eq!(best(&[481, 603]), 603);
        assert_eq!(best(&[481, 486]), 486, "who does not have the dialog says nothing about who has it");
        assert_eq!(best(&[486, 404]), 486, "else the first");
    }

    #[test]
    fn a_real_answer_is_better_than_one_made_up() {
        let real = Verdict { status: 408, local: false };
        assert!(is_better(real, Verdict { local: true, ..real }));
        assert!(!is_better(real, real));
    }
}
