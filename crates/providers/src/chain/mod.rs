//! Chains of providers: when one fails before its first word, the next one serves in the same turn.
//!
//! A chain plays the role of its providers ([`ChainedModel`], [`ChainedTranscriber`], [`ChainedVoice`]), so the owner of a
//! call has one provider for each role. Which provider is next, and for how long a failed one is skipped, is decided in
//! [`switchboard_model::failover`]. A call does not return to a provider that failed it while another one serves;
//! [`ProviderOutages`] has what the calls of a process share.
//!
//! A failure after the first word is the owner's: part of the turn was heard, so nothing is repeated here.

mod attempts;
mod language_model;
mod stream;
mod transcriber;
mod voice;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use switchboard_model::{
    catalogue::{Service, StandIn},
    failover::{self, Failure, Outages, Standing},
    ids::CredentialId,
};
use tokio::time::Instant;

pub use self::{language_model::ChainedModel, transcriber::ChainedTranscriber, voice::ChainedVoice};
use crate::{Error, stand_in_report::StandInReport};

/// A provider with one key, as the outages know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProviderId {
    /// Its part.
    pub service: Service,
    /// Its name in the catalogue.
    pub provider: String,
    /// The vendor's name of the model.
    pub model: String,
    /// The voice or speaker; empty for other parts.
    pub voice: String,
    /// Whose key it uses; none: the deployment's.
    pub credential: Option<CredentialId>,
}

/// A provider of a chain.
pub struct Candidate<P: ?Sized> {
    /// The provider.
    pub provider: Arc<P>,
    /// Its name among the outages.
    pub id: ProviderId,
    /// Which stand-in it is; none: the one that the agent names.
    pub stand_in: Option<StandIn>,
}

/// The providers that failed calls of this process a short time ago. Clones share them.
#[derive(Debug, Clone)]
pub struct ProviderOutages {
    outages: Arc<Mutex<Outages<ProviderId>>>,
    origin: Instant,
}

impl Default for ProviderOutages {
    fn default() -> Self {
        Self { outages: Arc::default(), origin: Instant::now() }
    }
}

impl ProviderOutages {
    fn locked(&self) -> (MutexGuard<'_, Outages<ProviderId>>, Duration) {
        // No operation under the lock can leave the map half changed.
        (self.outages.lock().unwrap_or_else(PoisonError::into_inner), self.origin.elapsed())
    }

    fn reason(&self, id: &ProviderId) -> Option<String> {
        let (outages, now) = self.locked();
        let of_voice = outages.reason(id, now);
        of_voice.or_else(|| outages.reason(&id.any_voice(), now)).map(str::to_owned)
    }
}

impl ProviderId {
    /// All voices of the model.
    fn any_voice(&self) -> Self {
        Self { voice: String::new(), ..self.clone() }
    }
}

/// A chain of one role in one call.
struct Chain<P: ?Sized> {
    candidates: Vec<Candidate<P>>,
    outages: ProviderOutages,
    memory: Mutex<Memory>,
}

/// The knowledge of a call about its chain.
#[derive(Debug, Default)]
struct Memory {
    /// The candidates that failed this call.
    failed: Vec<bool>,
    /// The candidates whose failure was reported, or is about to be.
    noted: Vec<bool>,
    /// The same for those that were asked again.
    repeated: Vec<bool>,
    /// Failures that were not reported yet.
    notes: Vec<String>,
}

impl<P: ?Sized> Chain<P> {
    fn new(candidates: Vec<Candidate<P>>, outages: ProviderOutages) -> Arc<Self> {
        let none = vec![false; candidates.len()];
        let memory = Memory { failed: none.clone(), noted: none.clone(), repeated: none, notes: vec![] };
        Arc::new(Self { candidates, outages, memory: Mutex::new(memory) })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // No operation under the lock can leave the memory half changed.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The standing of each candidate, and why those that failed other calls are skipped.
    fn standings(&self) -> Vec<(Standing, Option<String>)> {
        let failed = self.memory().failed.clone();
        let standing = |(candidate, failed): (&Candidate<P>, bool)| {
            let reason = self.outages.reason(&candidate.id);
            let standing = match (failed, &reason) {
                (true, _) => Standing::Failed,
                (false, Some(_)) => Standing::Out,
                (false, None) => Standing::Ready,
            };
            (standing, reason)
        };
        self.candidates.iter().zip(failed).map(standing).collect()
    }

    /// The place of the candidate that the next request asks first.
    fn best(&self) -> usize {
        let standings: Vec<_> = self.standings().into_iter().map(|(standing, _)| standing).collect();
        failover::next(&standings, &[]).unwrap_or_default()
    }

    /// Whether a candidate failed this call.
    fn has_failed(&self, place: usize) -> bool {
        self.memory().failed[place]
    }

    /// Remembers that a candidate failed this call.
    fn record_failure(&self, place: usize, cause: &Cause, reason: &str) {
        let id = &self.candidates[place].id;
        let id = if cause.is_of_voice { id.clone() } else { id.any_voice() };
        let (mut outages, now) = self.outages.locked();
        outages.record(id, cause.failure, reason, now);
        drop(outages);
        self.memory().failed[place] = true;
        self.note(place, reason);
    }

    /// Notes once in the call why a candidate does not serve.
    fn note(&self, place: usize, reason: &str) {
        let mut memory = self.memory();
        if !std::mem::replace(&mut memory.noted[place], true) {
            memory.notes.push(self.fault(place, reason));
        }
    }

    /// Notes once in the call that a candidate failed, and is asked again.
    fn note_repetition(&self, place: usize, reason: &str) {
        let mut memory = self.memory();
        if !std::mem::replace(&mut memory.repeated[place], true) {
            memory.notes.push(self.fault(place, &format!("{reason}, and was asked again")));
        }
    }

    fn fault(&self, place: usize, reason: &str) -> String {
        let ProviderId { provider, credential, .. } = &self.candidates[place].id;
        match credential {
            Some(own) => format!("{provider} with {own}: {reason}"),
            None => format!("{provider}: {reason}"),
        }
    }

    /// A candidate has begun to serve.
    fn record_success(&self, place: usize) {
        let mut memory = self.memory();
        if std::mem::replace(&mut memory.failed[place], false) {
            // It may fail, and be noted, again.
            memory.noted[place] = false;
        }
        drop(memory);
        let (mut outages, _) = self.outages.locked();
        let id = &self.candidates[place].id;
        outages.clear(id);
        outages.clear(&id.any_voice());
    }

    /// The report that this candidate serves.
    fn report(&self, place: usize) -> StandInReport {
        let failed = std::mem::take(&mut self.memory().notes);
        StandInReport { stand_in: self.candidates[place].stand_in.clone(), failed }
    }
}

/// The cause of a failed attempt.
struct Cause {
    failure: Failure,
    /// Whether the vendor may serve other voices.
    is_of_voice: bool,
}

impl Cause {
    const SILENT: Self = Self { failure: Failure::Silent, is_of_voice: false };

    fn of(error: &Error, service: Service) -> Self {
        let is_of_voice = service == Service::Voice && error.is_unknown_voice();
        let failure = match error {
            Error::Unavailable { retry_after, .. } => Failure::Unavailable { retry_after: *retry_after },
            Error::Rejected { .. } if is_of_voice || error.concerns_all_calls() => Failure::Refused,
            // Settings of an agent, or the words of a call: another call's may be accepted.
            Error::Rejected { .. } => Failure::RefusedHere,
        };
        Self { failure, is_of_voice }
    }
}

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod voice_tests;
