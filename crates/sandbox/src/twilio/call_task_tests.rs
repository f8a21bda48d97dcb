//! The durations of calls, in virtual time.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Carrier, OWNED_NUMBER,
    call_record::{Direction, Instructions, Request},
    call_task::run,
    tests,
};

/// Runs a call without callbacks in virtual time; returns its final status and its duration.
async fn lone_call(to: &str, timeout: Duration) -> (String, Duration) {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let carrier = Carrier::new(tests::account(), tests::callers(), tasks, stop).unwrap();
    let request = Request {
        to: to.to_owned(),
        from: OWNED_NUMBER.to_owned(),
        instructions: Instructions::Inline(r#"<Response><Pause length="60"/></Response>"#.to_owned()),
        fallback: None,
        status_callback: None,
        events: vec![],
        timeout,
        time_limit: Duration::from_secs(30),
        detection: None,
    };
    let (call, commands) = carrier.calls().create(
        carrier.accounts[0].clone(),
        Direction::Outbound,
        request,
        jiff::Timestamp::UNIX_EPOCH,
    );
    let begun = Instant::now();
    run(Arc::new(carrier), call.clone(), commands).await;
    let call = call.inspection();
    assert_eq!(call["settled"], true);
    (call["status"].as_str().unwrap().to_owned(), begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_call_is_given_up_after_five_seconds_or_its_timeout() {
    let minute = Duration::from_mins(1);
    for (timeout, seconds) in [(minute, 5), (Duration::from_secs(2), 2)] {
        let (status, took) = lone_call("+14155550151", timeout).await;
        assert_eq!((&*status, took.as_secs()), ("no-answer", seconds));
    }
    let (status, took) = lone_call("+14155550150", minute).await;
    assert_eq!((&*status, took.as_millis()), ("busy", 500));
}

#[tokio::test(start_paused = true)]
async fn a_call_lasts_no_longer_than_its_time_limit() {
    let (status, took) = lone_call("+14155550100", Duration::from_mins(1)).await;
    assert_eq!((&*status, took.as_secs()), ("completed", 31), "a second of ringing, then 30");
}
