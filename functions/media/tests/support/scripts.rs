//! The script of the providers: responses and faults.

/// The next response of the language model.
#[derive(Debug, Clone)]
pub(crate) enum Response {
    /// Only words.
    Words(&'static str),
    /// Words, and a call of a function without arguments.
    Call(&'static str, &'static str),
    /// Words, and calls of several functions.
    Calls(&'static str, &'static [&'static str]),
    /// A call of a function with these arguments.
    CallWith(&'static str, &'static str),
    /// No output, until the model's time-out.
    Silence,
    /// Status 500.
    Failure,
    /// Status 429.
    Busy,
    /// Status 401.
    Refused,
    /// Words, and then the connection breaks.
    Broken(&'static str),
    /// Words, and then no output, until the model's time-out.
    Stalled(&'static str),
    /// The same words without end, as fast as they are read.
    Endless(&'static str),
    /// A few words each second, without end.
    Dripping(&'static str),
    /// A panic in the worker, as a defect would cause. Only scripted providers can cause it.
    Panic,
}

/// The next fault of the voice.
#[derive(Debug, Clone, Copy)]
pub(crate) enum VoiceFault {
    /// No audio, until the voice's time-out.
    Silent,
    /// Status 503.
    Refused,
    /// Status 429.
    Busy,
    /// Half a second of audio, and then the connection breaks.
    Broken,
    /// Half a second of audio, and then nothing, until the voice's time-out.
    Stalled,
}
