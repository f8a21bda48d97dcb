//! The engine's settings: the agent, its transcriber, and the call so far.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{call_time::as_micros, types::HistoryItem};

/// The settings of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineSettings {
    /// The agent says it before anything else, and nothing interrupts it: what the user says meanwhile is replied to
    /// afterwards. In a call that is taken over it is said again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disclosure: Option<String>,
    /// The agent says it as soon as media flows; without one it waits for the user.
    pub greeting: Option<String>,
    /// The agent ends the conversation after this long; `None` sets no limit.
    pub max_duration: Option<Duration>,
    /// The user's language, as a BCP-47 tag. It decides which words are backchannel, and in which language the
    /// agent says its fixed [`phrases()`](crate::phrases()).
    pub language: String,
    /// The state that the previous worker left; `None` for a new call. The agent does not greet in a call that is taken
    /// over.
    pub takeover: Option<Takeover>,
    /// Properties of the transcriber that the engine's decisions depend on.
    #[serde(default)]
    pub transcriber: TranscriberProfile,
    /// Whether a response that leaves the caller waiting is a fault of the model: no words after functions have
    /// returned, or too many rounds of functions. It is then recorded and retried, and the agent apologises, also if it
    /// has said "One moment". False in the logs of engines before version 3, which ended such a turn in silence.
    #[serde(default)]
    pub watches_model: bool,
    /// Whether sounds are told from words: the agent speaks on after two false interruptions, asks only once about a
    /// sound without words, lets the caller answer the telephone while it greets, and takes a lone `#` for a message.
    /// False in the logs of engines before version 4.
    #[serde(default)]
    pub weighs_sounds: bool,
}

/// The state of a call that is taken over from another worker.
///
/// If the history ends with the user, or with function calls, the caller is waiting for a reply: unless something
/// is `unspoken`, a generation starts as soon as media flows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// The conversation so far. It need not be tidy: a function call without a result gets one that says so;
    /// results without a call, notes and empty texts are left out.
    pub history: Vec<HistoryItem>,
    /// The agent's words that the previous worker left unsaid. The agent says them if the caller says nothing
    /// first. A greeting of which the caller heard nothing belongs here: the agent does not say
    /// [`EngineSettings::greeting`] again.
    pub unspoken: Option<String>,
    /// How long the conversation had lasted at [`CallTime`](crate::CallTime) zero. The maximum duration counts
    /// from the conversation's beginning. So do the seconds that are reported: reporting goes on with the next
    /// whole one. Earlier ones were reported or passed while no worker held the call, and none is reported twice.
    pub elapsed: Duration,
}

/// Properties of a transcriber. The defaults are those of the first one that was measured; replay logs without
/// properties rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscriberProfile {
    /// Maximum time from an interim to its final. Afterwards the same words count as said again.
    #[serde(with = "as_micros")]
    pub settles_within: Duration,
    /// Usual maximum time from the end of speech to its words.
    #[serde(with = "as_micros")]
    pub words_within: Duration,
    /// Whether the transcriber reports the end of a turn. If it does not, a second without words ends one.
    pub detects_turns: bool,
    /// Whether the worker carries [`Output::FinalizeTranscript`](crate::Output::FinalizeTranscript) out, as it does for
    /// every transcriber since November 2026. Logs before that do not have it, and replay without.
    #[serde(default)]
    pub can_finalize: bool,
    /// Whether it reports the end by what is said: then a turn that sounds unfinished ends at once, too. Logs before
    /// December 2026 do not have it.
    #[serde(default)]
    pub understands_turns: bool,
}

impl Default for TranscriberProfile {
    fn default() -> Self {
        Self {
            settles_within: Duration::from_secs(5),
            words_within: Duration::from_millis(700),
            detects_turns: true,
            can_finalize: false,
            understands_turns: false,
        }
    }
}

impl TranscriberProfile {
    /// After this long the words of some speech are no longer expected.
    pub(crate) fn words_overdue_after(&self) -> Duration {
        self.words_within + Duration::from_millis(300)
    }
}
