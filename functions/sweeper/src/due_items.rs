//! Runs the work on due items, a few at a time.

use std::future::Future;

use tokio::{task::JoinSet, time::Instant};

/// Conversations, or deliveries, that are worked on at the same time. The carrier allows some hundred requests a second.
pub(crate) const AT_ONCE: usize = 10;

/// Runs `work` on each item, on `at_once` of them at the same time, and passes the results to `done` as they come, `None` for a panic. No item starts after
/// the deadline.
pub(crate) async fn run_each<I, T, F>(
    at_once: usize,
    items: Vec<I>,
    deadline: Instant,
    work: impl Fn(I) -> F,
    mut done: impl FnMut(Option<T>),
) where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut waiting = items.into_iter();
    loop {
        while tasks.len() < at_once
            && Instant::now() < deadline
            && let Some(item) = waiting.next()
        {
            tasks.spawn(work(item));
        }
        match tasks.join_next().await {
            None => return,
            Some(result) => done(result.ok()),
        }
    }
}
