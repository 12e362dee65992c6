//! Text that a plugin chose, made safe to print.
//!
//! Where in the flow: log lines, error texts, and words of a manifest, on their way to a terminal.
//! What it never does: pass on a control character; a terminal obeys those.

/// Longest quotation from a plugin in an error message, in bytes.
const MAX_LINE: usize = 2_000;

/// One printable line of at most `limit` bytes of `bytes`: invalid UTF-8 replaced, line breaks and tabs to spaces,
/// other control characters and the ones that reorder or hide text removed. A cut is marked with `…`.
pub(super) fn printable(bytes: &[u8], limit: usize) -> String {
    let cut = bytes.len() > limit;
    // A cut may fall into a character; the lossy conversion turns the rest of it into one replacement mark.
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(limit)]);
    let mut line: String = text.chars().filter_map(printable_char).collect();
    line.truncate(line.trim_end().len());
    if cut {
        line.push('…');
    }
    line
}

/// A quotation for an error message.
pub(super) fn line(text: &str) -> String {
    printable(text.as_bytes(), MAX_LINE)
}

/// Whether the text prints as it stands, on one line.
pub(super) fn is_plain(text: &str) -> bool {
    text.chars().all(|c| printable_char(c) == Some(c))
}

fn printable_char(c: char) -> Option<char> {
    match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => Some(' '),
        // Zero-width and bidirectional format characters: text would not read as it is.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => None,
        c if c.is_control() => None,
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_reordering_marks_do_not_reach_the_terminal() {
        assert_eq!(printable(b"\x1b[2Jred\x07 one\ntwo\0\r\n", 100), "[2Jred one two");
        assert_eq!(printable("abc\u{202e}def\u{85}".as_bytes(), 100), "abcdef");
        assert!(is_plain("Δ = Σ nₖ·Δₖ, 5 %") && !is_plain("two\nlines") && !is_plain("re\u{202e}versed"));
    }

    #[test]
    fn invalid_bytes_are_marked_and_long_text_is_cut_inside_a_character_without_panic() {
        assert_eq!(printable(b"a\xffb", 100), "a\u{fffd}b");
        assert_eq!(printable("aéé".as_bytes(), 2), "a\u{fffd}…");
        assert_eq!(printable(b"", 0), "");
    }
}
