//! The attempts of one request: one candidate after the other, until one serves.

use std::{sync::Arc, time::Duration};

use switchboard_model::failover;
use tokio::time::Instant;

use super::{Cause, Chain};
use crate::Error;

/// The attempts of one request.
pub(super) struct Attempts<P: ?Sized> {
    chain: Arc<Chain<P>>,
    /// The candidates that were asked, the present one last.
    asked: Vec<usize>,
    /// Earlier attempts at the present candidate.
    repeated: u32,
    began: Instant,
}

impl<P: ?Sized> Attempts<P> {
    /// Begins with the best candidate.
    pub(super) fn new(chain: Arc<Chain<P>>) -> Self {
        let mut attempts = Self { chain, asked: vec![], repeated: 0, began: Instant::now() };
        attempts.advance();
        attempts
    }

    /// The place of the present candidate.
    pub(super) fn place(&self) -> usize {
        self.asked.last().copied().unwrap_or_default()
    }

    /// Whether another candidate can be asked.
    pub(super) fn has_other(&self) -> bool {
        self.asked.len() < self.chain.candidates.len()
    }

    /// The present candidate failed. Returns whether the request goes on, with the same candidate or the next one.
    pub(super) fn fail(&mut self, error: &Error) -> bool {
        let cause = Cause::of(error, self.chain.candidates[self.place()].id.service);
        if failover::retries(cause.failure, self.repeated, self.began.elapsed()) {
            self.chain.note_repetition(self.place(), &error.without_explanation());
            self.repeated += 1;
            self.began = Instant::now();
            return true;
        }
        self.give_up(&cause, &error.without_explanation())
    }

    /// The present candidate sent nothing in time.
    pub(super) fn time_out(&mut self, waited: Duration) -> bool {
        self.give_up(&Cause::SILENT, &format!("it sent nothing for {} ms", waited.as_millis()))
    }

    /// The present candidate fails this call, and no other.
    pub(super) fn leave(&mut self, reason: &str) {
        let place = self.place();
        self.chain.memory().failed[place] = true;
        self.chain.note(place, reason);
        self.advance();
    }

    fn give_up(&mut self, cause: &Cause, reason: &str) -> bool {
        let place = self.place();
        if !self.has_other() {
            // Its owner reports the error of the last one.
            return false;
        }
        self.chain.record_failure(place, cause, reason);
        self.advance()
    }

    /// Goes on with the next candidate. False if there is none.
    fn advance(&mut self) -> bool {
        let standings = self.chain.standings();
        let order: Vec<_> = standings.iter().map(|(standing, _)| *standing).collect();
        let Some(next) = failover::next(&order, &self.asked) else { return false };
        // Better places of the chain that are skipped without being asked.
        for (place, (_, reason)) in standings.iter().enumerate().take(next) {
            if let Some(reason) = reason.as_ref().filter(|_| !self.asked.contains(&place)) {
                self.chain.note(place, &format!("{reason}, a short time ago"));
            }
        }
        self.asked.push(next);
        self.repeated = 0;
        self.began = Instant::now();
        true
    }
}
