//! The stream of one request to a chain: the events of one candidate after the other, until one begins to serve.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, timeout_at};

use super::{Chain, attempts::Attempts};
use crate::{Error, stand_in_report::StandInReport};

/// An event of a provider's stream.
pub(super) trait ChainEvent: Send + 'static {
    /// The report that another provider serves.
    fn fallback(fallback: StandInReport) -> Self;

    /// How far the provider is.
    fn stage(&self) -> Stage;
}

/// How far a provider is with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It accepted the request.
    Accepted,
    /// The request waits for its turn, which is no silence.
    Waiting,
    /// Its words or its audio have begun: no other provider may begin again.
    Serving,
}

type Events<E> = BoxStream<'static, Result<E, Error>>;

/// The events of the first candidate that serves. `ask` sends the request to the candidate at a place. While another one
/// can be asked, a candidate has at most `limit` for the first of them.
pub(super) fn in_turn<P, E>(
    chain: Arc<Chain<P>>,
    ask: impl FnMut(usize) -> Events<E> + Send + 'static,
    limit: Duration,
) -> Events<E>
where
    P: ?Sized + Send + Sync + 'static,
    E: ChainEvent,
{
    let request = async move {
        // Like any provider's stream, it does nothing until it is polled.
        Request {
            attempts: None,
            chain,
            ask,
            limit,
            events: None,
            is_served: false,
            is_over: false,
            ready: VecDeque::new(),
        }
    };
    stream::once(request)
        .flat_map(|request| {
            stream::unfold(request, |mut request| async move {
                let event = request.next().await?;
                Some((event, request))
            })
        })
        .boxed()
}

struct Request<P: ?Sized, E, A> {
    chain: Arc<Chain<P>>,
    ask: A,
    limit: Duration,
    /// Present from the first poll on.
    attempts: Option<Attempts<P>>,
    /// The stream of the present candidate, and when it must have begun.
    events: Option<(Events<E>, Instant)>,
    is_served: bool,
    is_over: bool,
    ready: VecDeque<E>,
}

impl<P: ?Sized, E: ChainEvent, A: FnMut(usize) -> Events<E>> Request<P, E, A> {
    async fn next(&mut self) -> Option<Result<E, Error>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.is_over {
                return None;
            }
            let attempts = self.attempts.get_or_insert_with(|| Attempts::new(Arc::clone(&self.chain)));
            let place = attempts.place();
            let Some((events, begins_by)) = &mut self.events else {
                let fallback = self.chain.report(place);
                if fallback != StandInReport::default() {
                    self.ready.push_back(E::fallback(fallback));
                }
                self.events = Some(((self.ask)(place), Instant::now() + self.limit));
                continue;
            };
            let event = if self.is_served || !attempts.has_other() {
                events.next().await
            } else if let Ok(event) = timeout_at(*begins_by, events.next()).await {
                event
            } else {
                attempts.time_out(self.limit);
                self.events = None;
                continue;
            };
            match event {
                Some(Ok(event)) => {
                    match event.stage() {
                        Stage::Serving if !self.is_served => {
                            self.is_served = true;
                            self.chain.record_success(place);
                        }
                        Stage::Waiting => *begins_by = Instant::now() + self.limit,
                        Stage::Accepted | Stage::Serving => {}
                    }
                    return Some(Ok(event));
                }
                Some(Err(error)) if !self.is_served && attempts.fail(&error) => self.events = None,
                Some(Err(error)) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
                None => self.is_over = true,
            }
        }
    }
}
