//! The input of every measure: who spoke when. Times are milliseconds since the start of the recording.

/// Speech that resumes before this many milliseconds of silence have passed is one segment.
pub const SEGMENT_GAP_MS: u32 = 300;

/// One of the two sides of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The agent.
    Agent,
    /// The caller.
    Caller,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Its beginning.
    pub from_ms: u32,
    /// Its end, exclusive.
    pub to_ms: u32,
}

impl Span {
    /// A span; one that would end before it begins is empty.
    pub fn new(from_ms: u32, to_ms: u32) -> Self {
        Self { from_ms, to_ms: to_ms.max(from_ms) }
    }

    /// Milliseconds that it has in common with another span.
    pub fn overlap_ms(self, other: Self) -> u32 {
        self.to_ms.min(other.to_ms).saturating_sub(self.from_ms.max(other.from_ms))
    }

    /// Whether it contains a time.
    pub fn contains(self, ms: u32) -> bool {
        (self.from_ms..self.to_ms).contains(&ms)
    }
}

/// The meaning of a sound of the caller. The order is that in which tau-voice classifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SoundKind {
    /// Words for the agent: a turn, or a real interruption.
    Turn,
    /// "Uh-huh": the caller listens.
    Backchannel,
    /// A cough, a sneeze, "um".
    VocalTic,
    /// Speech for another person, television.
    NonDirected,
    /// Any other sound.
    Noise,
}

impl SoundKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Turn, Self::Backchannel, Self::VocalTic, Self::NonDirected, Self::Noise];
}

/// A sound of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sound {
    /// When it is heard.
    pub span: Span,
    /// Its meaning.
    pub kind: SoundKind,
    /// The next sound belongs to the same turn: the silence between them is a pause of the caller, not its end.
    pub continues: bool,
}

impl Sound {
    /// A sound that is complete in itself.
    pub fn new(kind: SoundKind, from_ms: u32, to_ms: u32) -> Self {
        Self { span: Span::new(from_ms, to_ms), kind, continues: false }
    }
}

/// Both sides of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    /// The sounds of the caller, in the order of their beginnings.
    pub caller: Vec<Sound>,
    /// The speech of the agent, in order.
    pub agent: Vec<Span>,
    /// When the agent called functions.
    pub function_calls_ms: Vec<u32>,
    /// The length of the recording.
    pub length_ms: u32,
}

impl Timeline {
    /// The agent's speech, without pauses that lie within a segment.
    pub fn agent_speech(&self) -> Vec<Span> {
        let mut merged: Vec<Span> = Vec::with_capacity(self.agent.len());
        for span in &self.agent {
            match merged.last_mut() {
                Some(last) if span.from_ms < last.to_ms.saturating_add(SEGMENT_GAP_MS) => {
                    last.to_ms = last.to_ms.max(span.to_ms);
                }
                _ => merged.push(*span),
            }
        }
        merged
    }

    /// The caller's words for the agent, without pauses that lie within a segment or a turn.
    pub fn caller_turns(&self) -> Vec<Span> {
        let mut merged: Vec<Span> = vec![];
        let mut continues = false;
        for sound in self.caller.iter().filter(|sound| sound.kind == SoundKind::Turn) {
            let Span { from_ms, to_ms } = sound.span;
            match merged.last_mut() {
                Some(last) if continues || from_ms < last.to_ms.saturating_add(SEGMENT_GAP_MS) => {
                    last.to_ms = last.to_ms.max(to_ms);
                }
                _ => merged.push(sound.span),
            }
            continues = sound.continues;
        }
        merged
    }
}
