//! Numbers with a behaviour of the carrier, in the range reserved for fiction. [`crate::callers`] has the difficult
//! people.

/// Is always busy.
pub(super) const BUSY: &str = "+14155550150";
/// Rings, and is never answered.
pub(super) const NO_ANSWER: &str = "+14155550151";
/// The carrier refuses to create a call to it.
pub(super) const REFUSED: &str = "+14155550152";
/// The call is dialled and answered, but the request that created it gets no answer.
pub(super) const UNANSWERED: &str = "+14155550160";
/// The call is accepted, and then rings without a single callback.
pub(super) const LOST: &str = "+14155550161";

/// Whether the carrier itself decides the outcome of a call to this number.
pub(super) fn is_never_answered(number: &str) -> bool {
    matches!(number, BUSY | NO_ANSWER | LOST)
}
