use proptest::prelude::*;

use super::*;

/// A movable clock.
struct Clock(Timestamp);

impl Clock {
    fn new() -> Self {
        Self(Timestamp::from_millis(1_795_339_800_000))
    }

    fn advance(&mut self, by: Duration) {
        self.0 = self.0.after(by);
    }

    fn attempt(&self, status: u16) -> Attempt {
        Attempt { at: self.0, status: Some(status), latency_ms: 100, answer: None }
    }
}

fn conversation() -> ConversationId {
    ConversationId::new(Clock::new().0, 1)
}

fn fresh(clock: &Clock) -> Delivery {
    Delivery::new(EventId::of(conversation(), 1, clock.0), 1, 0, clock.0)
}

const MIDDLE: Jitter = Jitter::new(u32::MAX / 2 + 1);
/// The least jitter.
const NONE: Jitter = Jitter::new(0);
const HOUR: Duration = Duration::from_hours(1);

#[test]
fn ten_attempts_follow_the_schedule() {
    let mut clock = Clock::new();
    let began = clock.0;
    let mut known = None;
    let mut waits = vec![];
    for number in 1..=10 {
        // The message of the queue or of the sweeper that comes at the time.
        let Step::Try(delivery) = step(known.take(), fresh(&clock), number, clock.0) else {
            panic!("attempt {number} is not tried");
        };
        assert_eq!(delivery.attempt, number);
        let after = delivery.after(clock.attempt(500), None, MIDDLE);
        clock.advance(Duration::from_millis(100));
        if let Some(next) = after.next_attempt_at {
            assert_eq!(after.status, DeliveryStatus::Pending);
            let wait = next.since(clock.0);
            assert_eq!(after.queue_delay(clock.0).is_some(), wait <= MAX_QUEUED, "{wait:?}");
            let due = after.due_at().unwrap();
            assert_eq!(due, if wait <= MAX_QUEUED { next.after(MAX_QUEUED) } else { next });
            // The message of the last attempt comes again, since its successor may be lost.
            let again = step(Some(after.clone()), fresh(&clock), number, clock.0);
            let expected = if wait <= MAX_QUEUED { Step::SendAgain(after.clone()) } else { Step::Drop };
            assert_eq!(again, expected, "after {number}");
            waits.push(wait);
            clock.advance(wait);
        }
        known = Some(after);
    }
    assert_eq!(waits, SCHEDULE);
    let exhausted = known.unwrap();
    assert_eq!((exhausted.status, exhausted.next_attempt_at), (DeliveryStatus::Exhausted, None));
    assert_eq!(exhausted.attempts.len(), 10);
    assert_eq!((exhausted.due_at(), exhausted.queue_delay(clock.0)), (None, None));
    let took = clock.0.since(began);
    assert!(took > HOUR * 22 && took < HOUR * 24, "about a day: {took:?}");
    assert_eq!(step(Some(exhausted.clone()), fresh(&clock), 10, clock.0), Step::Drop);
    assert_eq!(step(Some(exhausted), fresh(&clock), 9, clock.0), Step::Drop);
}

#[test]
fn a_message_for_another_attempt_is_dropped() {
    let clock = Clock::new();
    assert_eq!(step(None, fresh(&clock), 2, clock.0), Step::Drop, "of what is gone");
    let second = fresh(&clock).after(clock.attempt(500), None, NONE);
    assert_eq!(step(Some(second.clone()), fresh(&clock), 3, clock.0), Step::Drop, "too early");
    let third = second.after(clock.attempt(500), None, NONE);
    assert_eq!(step(Some(third.clone()), fresh(&clock), 1, clock.0), Step::Drop, "too late");
    let delivered = third.after(clock.attempt(204), None, NONE);
    assert_eq!((delivered.status, delivered.next_attempt_at), (DeliveryStatus::Delivered, None));
    for number in 0..6 {
        assert_eq!(step(Some(delivered.clone()), fresh(&clock), number, clock.0), Step::Drop);
    }
}

#[test]
fn every_answer_but_2xx_fails_and_410_stops() {
    let clock = Clock::new();
    for status in [100, 199, 300, 301, 302, 304, 400, 404, 429, 500, 503, 599] {
        let after = fresh(&clock).after(clock.attempt(status), None, NONE);
        assert_eq!(after.status, DeliveryStatus::Pending, "{status}");
    }
    for status in [200, 201, 202, 204, 299] {
        let after = fresh(&clock).after(clock.attempt(status), None, NONE);
        assert_eq!(after.status, DeliveryStatus::Delivered, "{status}");
    }
    let none = Attempt { status: None, ..clock.attempt(0) };
    assert_eq!(fresh(&clock).after(none, None, NONE).status, DeliveryStatus::Pending);
    let gone = fresh(&clock).after(clock.attempt(410), None, NONE);
    assert_eq!((gone.status, gone.next_attempt_at), (DeliveryStatus::Stopped, None));
    let not_tried = fresh(&clock).stopped();
    assert_eq!((not_tried.status, not_tried.attempts.len()), (DeliveryStatus::Stopped, 0));
    assert_eq!(step(Some(not_tried), fresh(&clock), 1, clock.0), Step::Drop);
}

#[test]
fn retry_after_is_honoured_up_to_twice_the_step() {
    let clock = Clock::new();
    for (asked, waited) in [(0, 5), (3, 5), (7, 7), (10, 10), (11, 10), (86_400, 10)] {
        let after = fresh(&clock).after(clock.attempt(429), Some(Duration::from_secs(asked)), MIDDLE);
        let wait = after.next_attempt_at.unwrap().since(clock.attempt(429).ended_at());
        assert_eq!(wait, Duration::from_secs(waited), "asked for {asked} s");
    }
}

#[test]
fn a_redelivery_restarts_the_schedule_and_keeps_the_attempts() {
    let mut clock = Clock::new();
    let mut delivery = fresh(&clock);
    for _ in 0..10 {
        delivery = delivery.after(clock.attempt(500), None, NONE);
    }
    clock.advance(HOUR);
    assert!(!delivery.was_asked_for());
    let stale = delivery.attempt;
    let again = delivery.again(clock.0);
    assert!(again.was_asked_for());
    assert_eq!((again.status, again.queue_delay(clock.0)), (DeliveryStatus::Pending, Some(Duration::ZERO)));
    assert_eq!(again.attempts.len(), 10);
    assert_eq!(step(Some(again.clone()), fresh(&clock), stale, clock.0), Step::Drop);
    let number = again.attempt;
    assert_eq!(step(Some(again.clone()), fresh(&clock), number, clock.0), Step::Try(again.clone()));
    let mut again = again.after(clock.attempt(500), None, MIDDLE);
    assert_eq!(again.next_attempt_at.unwrap().since(clock.attempt(500).ended_at()), SCHEDULE[0]);
    for _ in 0..100 {
        again = again.again(clock.0).after(clock.attempt(503), None, NONE);
    }
    assert_eq!(again.attempts.len(), MAX_ATTEMPTS_KEPT);
}

#[test]
fn an_event_with_an_immediate_response_has_one_attempt() {
    let clock = Clock::new();
    let id = EventId::of(conversation(), 1, clock.0);
    for (status, expected) in [(200, DeliveryStatus::Delivered), (500, DeliveryStatus::Failed)] {
        let delivery = Delivery::at_once(id, 1, 0, clock.attempt(status));
        assert_eq!((delivery.status, delivery.attempts.len()), (expected, 1));
        assert_eq!(delivery.next_attempt_at, None);
    }
}

#[test]
fn a_host_has_ten_slots_and_an_attempt_takes_one() {
    let mut clock = Clock::new();
    let mut host = Host::default();
    let slot = |n: usize| slot_name(conversation(), 1, n, 1);
    for n in 0..MAX_IN_FLIGHT {
        assert_eq!(host.admit(&slot(n), clock.0), Admission::Admitted);
    }
    assert_eq!(host.admit(&slot(99), clock.0), Admission::Full);
    host.done(&slot(0), true, clock.0);
    assert_eq!(host.admit(&slot(1), clock.0), Admission::Full, "it is under way already");
    assert_eq!(host.admit(&slot(99), clock.0), Admission::Admitted);
    // The functions that made these attempts died.
    clock.advance(IN_FLIGHT);
    assert_eq!(host.admit(&slot(100), clock.0), Admission::Admitted);
    assert_eq!(host.in_flight.len(), 1);
}

#[test]
fn the_breaker_opens_and_admits_one_probe() {
    let mut clock = Clock::new();
    let mut host = Host::default();
    for n in 0..BREAKER_FAILURES {
        let slot = n.to_string();
        assert_eq!(host.admit(&slot, clock.0), Admission::Admitted);
        clock.advance(Duration::from_secs(15));
        host.done(&slot, false, clock.0);
    }
    let open = Admission::Open(clock.0.after(BREAKER_OPEN));
    assert_eq!(host.admit("a", clock.0), open);
    clock.advance(BREAKER_OPEN);
    assert_eq!(host.admit("a", clock.0), Admission::Admitted, "one probes");
    assert_eq!(host.admit("b", clock.0), Admission::Open(clock.0.after(BREAKER_OPEN)), "the others wait");
    clock.advance(Duration::from_secs(15));
    host.done("a", false, clock.0);
    assert_eq!(host.admit("b", clock.0), Admission::Open(clock.0.after(BREAKER_OPEN)));
    clock.advance(BREAKER_OPEN);
    assert_eq!(host.admit("b", clock.0), Admission::Admitted);
    host.done("b", true, clock.0);
    assert_eq!(host, Host::default(), "one answer closes the breaker");
}

#[test]
fn an_accounts_window_grows_with_responses_and_shrinks_with_silence() {
    let mut clock = Clock::new();
    let mut window = Window::default();
    let admitted = |window: &mut Window, now: Timestamp| {
        (0..200).filter(|n| window.admit(&n.to_string(), now) == Admission::Admitted).count()
    };
    assert_eq!(admitted(&mut window, clock.0), SMALLEST_WINDOW);
    assert_eq!(window.admit("0", clock.0), Admission::Full, "it is under way already");
    for n in 0..SMALLEST_WINDOW {
        window.done(&n.to_string(), true);
    }
    assert_eq!(admitted(&mut window, clock.0), 2 * SMALLEST_WINDOW);
    for _ in 0..200 {
        window.done("0", true);
    }
    assert_eq!(window.size, LARGEST_WINDOW);
    window.done("0", false);
    assert_eq!(window.size, LARGEST_WINDOW / 2);
    for _ in 0..10 {
        window.done("0", false);
    }
    assert_eq!(window.size, SMALLEST_WINDOW);
    // The functions that made these attempts died.
    clock.advance(IN_FLIGHT);
    assert_eq!(admitted(&mut window, clock.0), SMALLEST_WINDOW);
}

#[test]
fn a_postponed_attempt_waits_longer_each_time_and_ends_after_a_day() {
    let now = Clock::new().0;
    let open = Admission::Open(now.after(Duration::from_secs(20)));
    let seconds = Duration::from_secs;
    for (admission, waited, expected) in [
        (Admission::Full, seconds(0), seconds(1)),
        (Admission::Full, seconds(40), seconds(20)),
        (Admission::Full, HOUR * 24, seconds(60)),
        (open, seconds(0), seconds(20)),
        (open, seconds(400), seconds(200)),
        (open, HOUR * 24, seconds(900)),
    ] {
        assert_eq!(held_for(admission, waited, now, NONE), Some(expected), "{admission:?} {waited:?}");
        let longest = held_for(admission, waited, now, Jitter::new(u32::MAX)).unwrap();
        let most = expected.mul_f64(1.5);
        assert!(longest < most && longest > most.mul_f64(0.999_999), "{longest:?} of {most:?}");
    }
    for admission in [open, Admission::Full] {
        assert_eq!(held_for(admission, HOUR * 24 + seconds(1), now, NONE), None);
    }
    let given_up = fresh(&Clock::new()).given_up(now);
    assert_eq!((given_up.status, given_up.attempts.len()), (DeliveryStatus::Exhausted, 1));
}

#[test]
fn a_host_is_a_name_and_a_port() {
    for (url, host) in [
        ("https://Example.com/a?b", "example.com:443"),
        ("http://example.com", "example.com:80"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
        ("https://[2606:4700::1]/", "[2606:4700::1]:443"),
        ("nonsense", ""),
    ] {
        assert_eq!(host_of(url), host);
    }
}

proptest! {
    #[test]
    fn every_wait_is_within_a_fifth_of_its_step(step in 0..SCHEDULE.len(), random: u32) {
        let step = SCHEDULE[step];
        let wait = wait(step, None, Jitter::new(random));
        prop_assert!(wait >= step.mul_f64(0.8) && wait <= step.mul_f64(1.2), "{wait:?} of {step:?}");
    }

    #[test]
    fn exactly_the_pending_deliveries_are_due(
        statuses in prop::collection::vec(prop::option::of(0_u16..1_000), 0..40),
        random: u32,
    ) {
        let clock = Clock::new();
        let mut delivery = fresh(&clock);
        for status in statuses {
            if delivery.status != DeliveryStatus::Pending {
                delivery = delivery.again(clock.0);
            }
            let before = delivery.attempt;
            delivery = delivery.after(Attempt { status, ..clock.attempt(0) }, None, Jitter::new(random));
            prop_assert!(delivery.attempt > before);
            let pending = delivery.status == DeliveryStatus::Pending;
            prop_assert_eq!(pending, delivery.next_attempt_at.is_some());
            prop_assert_eq!(pending, delivery.due_at().is_some());
        }
    }
}

#[test]
fn a_withdrawn_probe_leaves_the_next_attempt_to_probe() {
    let (mut host, begun) = (Host::default(), Timestamp::from_millis(1_795_339_800_000));
    for _ in 0..BREAKER_FAILURES {
        assert_eq!(host.admit("a", begun), Admission::Admitted);
        host.done("a", false, begun);
    }
    let later = begun.after(BREAKER_OPEN);
    assert_eq!(host.admit("probe", later), Admission::Admitted);
    assert!(matches!(host.admit("other", later), Admission::Open(_)));
    host.withdraw("probe");
    assert_eq!(host.admit("other", later), Admission::Admitted);
}

#[test]
fn slots_are_kept_only_where_no_receiver_waits_for_them() {
    let (clock, mut later) = (Clock::new(), Clock::new());
    later.advance(Duration::from_secs(1));
    let mut window = Window::default();
    assert!(!window.may_keep_slots(), "it has to grow first");
    for n in 0..30 {
        let slot = n.to_string();
        assert_eq!(window.admit(&slot, clock.0), Admission::Admitted);
        window.done(&slot, true);
    }
    assert!(window.may_keep_slots());
    for n in 0..20 {
        assert_eq!(window.admit(&n.to_string(), clock.0), Admission::Admitted);
    }
    assert!(window.may_keep_slots());
    assert_eq!(window.admit("more", clock.0), Admission::Admitted);
    assert!(!window.may_keep_slots(), "half of them are in use");
    window.done("more", false);
    assert!(!window.may_keep_slots(), "a host gave no response");

    let mut host = Host::default();
    let keeps: Vec<_> = (0..MAX_IN_FLIGHT)
        .map(|n| {
            assert_eq!(host.admit(&n.to_string(), clock.0), Admission::Admitted);
            host.may_keep_slots()
        })
        .collect();
    assert_eq!(keeps.iter().filter(|keeps| **keeps).count(), 7);
    host.done("0", false, later.0);
    assert!(!host.may_keep_slots());
}
