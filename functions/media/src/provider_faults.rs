//! The provider faults of a call, on their way to the conversation's event log.
//!
//! A fault names the role and the provider, and never holds a transcript or a key. Faults wait here for the next event
//! that is stored, at the latest the end of the conversation.

use std::{fmt::Display, sync::Arc};

use switchboard_dialogue::{ModelFault, ProviderRole};
use switchboard_model::{
    catalogue::{self, Adjustment, ResolvedProviders, Service},
    ids::CredentialId,
};
use switchboard_providers::{Error, stand_in_report::StandInReport};

use crate::fleet_counts::FleetCounts;
use crate::stored_text::{self, MAX_FAULT_BYTES};

/// Maximum number of faults on one call's events: more of them would repeat the first ones.
const MAX_FAULTS: usize = 20;

/// The faults of one call.
#[derive(Debug)]
pub(crate) struct ProviderFaults {
    transcriber: RoleProvider,
    language_model: RoleProvider,
    voice: RoleProvider,
    waiting: Vec<String>,
    recorded: usize,
    /// Where failures are counted for the worker's metrics.
    counts: Arc<FleetCounts>,
}

/// The provider of a role.
#[derive(Debug)]
struct RoleProvider {
    /// The one that the catalogue chooses, and the customer's key for it.
    named: (&'static str, Option<CredentialId>),
    /// The one that serves in its place.
    stand_in: Option<&'static str>,
}

impl ProviderFaults {
    /// No faults yet.
    pub(crate) fn new(resolved: &ResolvedProviders) -> Self {
        let ResolvedProviders { language_model, transcriber, voice, .. } = resolved;
        let role = |provider, own| RoleProvider { named: (provider, own), stand_in: None };
        Self {
            transcriber: role(transcriber.provider(), transcriber.credential_id()),
            language_model: role(language_model.provider(), language_model.settings().credential_id),
            voice: role(voice.provider(), voice.credential_id()),
            waiting: vec![],
            recorded: 0,
            counts: Arc::default(),
        }
    }

    /// Counts failures there, too.
    pub(crate) fn count_in(&mut self, counts: Arc<FleetCounts>) {
        self.counts = counts;
    }

    fn count(&self, role: ProviderRole) {
        self.counts.count_fault(self.provider(role));
    }

    /// Records an error of a provider, with the customer's key that it was asked with.
    pub(crate) fn record_error(&mut self, role: ProviderRole, error: &Error) {
        self.count(role);
        match self.role(role) {
            RoleProvider { named: (provider, Some(own)), stand_in: None } => {
                self.push(format!("{} {provider} with {own}: {}", role_name(role), fault(error)));
            }
            _ => self.record(role, fault(error)),
        }
    }

    /// Records that a provider sent nothing in time.
    pub(crate) fn record_timeout(&mut self, role: ProviderRole) {
        self.count(role);
        self.record(
            role,
            match role {
                ProviderRole::Transcriber => "no transcript while the caller spoke",
                ProviderRole::LanguageModel => "no words in time",
                ProviderRole::Synthesizer => "no audio in time",
            },
        );
    }

    /// Records that a response of the language model could not be used as it was.
    pub(crate) fn record_model(&mut self, fault: ModelFault) {
        let fault = match fault {
            ModelFault::NoWords => "its response had no words",
            ModelFault::TooManyRounds => "it called functions again and again, and was stopped",
            ModelFault::TooLong => "its response was too long, and was cut",
        };
        self.record(ProviderRole::LanguageModel, fault);
    }

    /// The provider that serves a role now.
    pub(crate) fn provider(&self, role: ProviderRole) -> &'static str {
        let role = self.role(role);
        role.stand_in.unwrap_or(role.named.0)
    }

    /// Records the providers that failed, and which one serves in their place. Later faults name that one.
    pub(crate) fn record_fallback(&mut self, role: ProviderRole, fallback: &StandInReport) {
        let StandInReport { stand_in, failed } = fallback;
        let row = stand_in.as_ref().and_then(|one| catalogue::row(one.service, &one.provider));
        let state = match role {
            ProviderRole::Transcriber => &mut self.transcriber,
            ProviderRole::LanguageModel => &mut self.language_model,
            ProviderRole::Synthesizer => &mut self.voice,
        };
        state.stand_in = row.map(|row| row.provider);
        let named = state.named.0;
        let serving = stand_in.as_ref().map_or_else(|| named.to_owned(), ToString::to_string);
        for failed in failed {
            tracing::warn!(role = role_name(role), failed, serving, "provider failed, and this one serves");
            self.push(format!("{} {failed}; {serving} serves", role_name(role)));
        }
    }

    fn role(&self, role: ProviderRole) -> &RoleProvider {
        match role {
            ProviderRole::Transcriber => &self.transcriber,
            ProviderRole::LanguageModel => &self.language_model,
            ProviderRole::Synthesizer => &self.voice,
        }
    }

    /// Records something about a provider.
    pub(crate) fn record(&mut self, role: ProviderRole, fault: impl Display) {
        self.push(format!("{} {}: {fault}", role_name(role), self.provider(role)));
    }

    fn push(&mut self, mut fault: String) {
        self.recorded += 1;
        match self.recorded {
            ..MAX_FAULTS => {
                stored_text::cut(&mut fault, MAX_FAULT_BYTES);
                self.waiting.push(fault);
            }
            MAX_FAULTS => self.waiting.push("more faults are not recorded".to_owned()),
            _ => {}
        }
    }

    /// Records the settings that are served differently from what the agent asks for.
    pub(crate) fn record_adjustments(&mut self, adjustments: &[Adjustment]) {
        for Adjustment { service, text } in adjustments {
            let role = match service {
                Service::Transcriber => ProviderRole::Transcriber,
                Service::LanguageModel => ProviderRole::LanguageModel,
                Service::Voice => ProviderRole::Synthesizer,
                Service::Carrier => continue,
            };
            self.record(role, text);
        }
    }

    /// Records that the call goes on here after another stream.
    pub(crate) fn record_takeover(&mut self) {
        self.waiting.push("the call was taken over from another stream".to_owned());
    }

    /// Takes the faults that wait.
    pub(crate) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.waiting)
    }
}

/// An error without the vendor's explanation: fit for logs and events.
pub(crate) fn fault(error: &Error) -> String {
    error.without_explanation()
}

fn role_name(role: ProviderRole) -> &'static str {
    match role {
        ProviderRole::Transcriber => "transcriber",
        ProviderRole::LanguageModel => "language model",
        ProviderRole::Synthesizer => "voice",
    }
}

#[cfg(test)]
mod tests {
    use switchboard_model::{agents::AgentConfig, catalogue::StandIn, time::Timestamp};

    use super::*;

    fn faults() -> ProviderFaults {
        let today = Timestamp::from_millis(0).date();
        ProviderFaults::new(&catalogue::resolve(&AgentConfig::default(), today))
    }

    #[test]
    fn a_fault_names_role_and_provider_without_the_vendors_explanation() {
        let mut faults = faults();
        let message = "Incorrect API key provided: sk-1234".to_owned();
        let rejected = Error::Rejected { vendor: "openai", code: "invalid_api_key".to_owned(), message };
        faults.record_error(ProviderRole::LanguageModel, &rejected);
        let (reason, source) = ("it sent nothing for 2000 ms".to_owned(), None);
        let silent = Error::Unavailable { vendor: "deepgram", reason, retry_after: None, source };
        faults.record_error(ProviderRole::Synthesizer, &silent);
        let reason = "rate_limit_exceeded (429): too many requests of org-1234, last: my card".to_owned();
        let busy = Error::Unavailable { vendor: "openai", reason, retry_after: None, source: None };
        faults.record_error(ProviderRole::LanguageModel, &busy);
        faults.record(ProviderRole::Transcriber, "connected again after 120 ms");
        let expected = [
            "language model openai: refused the request (invalid_api_key)",
            "voice deepgram: it sent nothing for 2000 ms",
            "language model openai: rate_limit_exceeded (429)",
            "transcriber deepgram: connected again after 120 ms",
        ];
        assert_eq!(faults.take(), expected);
        assert_eq!(faults.take(), [""; 0]);
    }

    #[test]
    fn a_setting_that_is_served_differently_is_recorded() {
        let mut faults = faults();
        let text = "fr-FR is served by fr".to_owned();
        faults.record_adjustments(&[Adjustment { service: Service::Transcriber, text }]);
        assert_eq!(faults.take(), ["transcriber deepgram: fr-FR is served by fr"]);
    }

    #[test]
    fn a_fallback_names_who_failed_and_who_serves() {
        let mut faults = faults();
        let model = "gemini-3.5-flash-lite".to_owned();
        let stand_in = StandIn { service: Service::LanguageModel, provider: "google".to_owned(), model };
        let failed = vec!["openai with crd_1: refused the request (401)".to_owned()];
        let fallback = StandInReport { stand_in: Some(stand_in), failed };
        faults.record_fallback(ProviderRole::LanguageModel, &fallback);
        faults.record(ProviderRole::LanguageModel, "no words in time");
        faults.record_fallback(ProviderRole::LanguageModel, &StandInReport::default());
        assert_eq!(faults.provider(ProviderRole::LanguageModel), "openai", "it serves again");
        let expected = [
            "language model openai with crd_1: refused the request (401); google (gemini-3.5-flash-lite) serves",
            "language model google: no words in time",
        ];
        assert_eq!(faults.take(), expected);
    }

    #[test]
    fn at_most_twenty_faults_are_recorded() {
        let mut faults = faults();
        let mut recorded = vec![];
        for _ in 0..100 {
            faults.record(ProviderRole::Synthesizer, "failed");
            recorded.extend(faults.take());
        }
        assert_eq!((recorded.len(), recorded[18].as_str()), (MAX_FAULTS, "voice deepgram: failed"));
        assert_eq!(recorded.last().unwrap(), "more faults are not recorded");
    }
}
