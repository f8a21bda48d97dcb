//! The times at which first attempts at an event are queued again: a quarter of an hour after the event, since their first
//! messages were lost then, and after pauses that double up to twelve hours. So an event whose attempts crash the function
//! does not keep it busy.

use std::time::Duration;

use super::MAX_QUEUED;
use crate::time::Timestamp;

/// Maximum pause.
const LONGEST_PAUSE: Duration = Duration::from_hours(12);
/// Number of pauses that double.
const DOUBLED: u32 = 6;

/// Whether a check at `now` queues the first attempts that no delivery records of an event that was created at
/// `created_at`. `before` is the time of the check before.
#[must_use]
pub fn are_first_attempts_due(created_at: Timestamp, before: Option<Timestamp>, now: Timestamp) -> bool {
    let passed = |at: Timestamp| last_passed(at.since(created_at));
    passed(now).is_some() && passed(now) != before.and_then(passed)
}

/// The next time after `now` at which they are queued.
#[must_use]
pub fn first_attempts_due_after(created_at: Timestamp, now: Timestamp) -> Timestamp {
    let next = last_passed(now.since(created_at)).map_or(MAX_QUEUED, |age| age + age.min(LONGEST_PAUSE));
    created_at.after(next)
}

/// The age at which the attempts at an event of this `age` were queued last.
fn last_passed(age: Duration) -> Option<Duration> {
    let doublings = (age.as_millis() / MAX_QUEUED.as_millis()).checked_ilog2()?.min(DOUBLED);
    let doubled = MAX_QUEUED * 2_u32.pow(doublings);
    if doublings < DOUBLED {
        return Some(doubled);
    }
    let pauses = age.saturating_sub(doubled).as_millis() / LONGEST_PAUSE.as_millis();
    Some(doubled + LONGEST_PAUSE * u32::try_from(pauses).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(1_795_339_800_000 + minutes * MINUTE)
    }

    #[test]
    fn the_pauses_double_up_to_twelve_hours() {
        let mut due = vec![];
        let mut now = at(0);
        while due.len() < 10 {
            now = first_attempts_due_after(at(0), now);
            due.push(now.since(at(0)).as_secs() / 60);
        }
        assert_eq!(due, [15, 30, 60, 120, 240, 480, 960, 1_680, 2_400, 3_120]);
        assert_eq!(first_attempts_due_after(at(0), at(-1)), at(15));
        assert_eq!(first_attempts_due_after(at(0), at(1_679)), at(1_680));
    }

    #[test]
    fn they_are_queued_in_the_first_check_after_such_a_time_and_in_no_other() {
        let mut before = None;
        let mut queued = vec![];
        for minutes in (1..2_000).step_by(15) {
            if are_first_attempts_due(at(0), before, at(minutes)) {
                queued.push(minutes);
            }
            before = Some(at(minutes));
        }
        assert_eq!(queued, [16, 31, 61, 121, 241, 481, 961, 1_681]);
        assert!(are_first_attempts_due(at(0), None, at(20)), "there was no check before");
        assert!(!are_first_attempts_due(at(0), None, at(14)));
    }
}
