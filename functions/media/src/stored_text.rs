//! Bounds of the texts that a call stores. An item of the table holds 400 KB; a text that does not fit would keep its
//! event, and the lease, from being written at all.

/// Maximum length of a message, in bytes. The engine takes as much of a response; a turn of the caller has no bound of
/// its own.
pub(crate) const MAX_MESSAGE_BYTES: usize = 32 * 1024;
/// Maximum length of the words that the agent has yet to say, in bytes.
pub(crate) const MAX_UNHEARD_BYTES: usize = 64 * 1024;
/// Maximum length of a name or an id, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 256;
/// Maximum length of a fault, in bytes.
pub(crate) const MAX_FAULT_BYTES: usize = 512;

/// Cuts a text at the last character that fits. Returns whether it was too long.
pub(crate) fn cut(text: &mut String, max_bytes: usize) -> bool {
    let is_too_long = text.len() > max_bytes;
    text.truncate(text.floor_char_boundary(max_bytes));
    is_too_long
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character() {
        let mut text = "\u{e9}\u{e9}".to_owned();
        assert!(!cut(&mut text, 4) && text.len() == 4);
        assert!(cut(&mut text, 3));
        assert_eq!(text, "\u{e9}");
    }
}
