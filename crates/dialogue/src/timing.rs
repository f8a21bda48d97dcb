//! Durations that more than one part of the engine decides with. A duration that one part uses stands in its file.

use std::time::Duration;

/// Speech this long is more than a click or a breath.
pub(crate) const SPEECH: Duration = Duration::from_millis(200);
/// Maximum silence after the last words of a turn: then it ends, even if the transcriber reports no end.
pub(crate) const TURN_SILENCE: Duration = Duration::from_secs(3);
/// The longest wait for a reply before the agent says something else: callers wonder after about two seconds.
pub(crate) const MAX_CALLER_WAIT: Duration = Duration::from_millis(2300);
/// Maximum time for which sound without words keeps the agent from speaking.
pub(crate) const LONGEST_HESITATION: Duration = Duration::from_secs(3);
/// Maximum time for the agent to finish speaking when the conversation is to end.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(5);
/// Maximum time for the agent's goodbye, including one failure of the synthesizer.
pub(crate) const GOODBYE: Duration = Duration::from_secs(10);
