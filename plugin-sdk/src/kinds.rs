//! `kinds` of `manifest.json`, read while the plugin compiles.
//!
//! Where in the flow: [`crate::colla_plugin!`] compares it with the roles that it is given; a host would believe the
//! manifest and then get `E_UNSUPPORTED`. What it never does: judge the rest of the manifest, or say where JSON is broken;
//! the host does, and `plugin build` before that.

/// Whether the manifest's `kinds` name this role.
pub const fn has(manifest: &[u8], kind: &str) -> bool {
    let mut at = start(manifest);
    while let Some((word, next)) = element(manifest, at) {
        if same(manifest, word, kind) {
            return true;
        }
        at = next;
    }
    false
}

/// Whether every role that the manifest's `kinds` name is one of these.
pub const fn are_all_in(manifest: &[u8], kinds: &[&str]) -> bool {
    let mut at = start(manifest);
    while let Some((word, next)) = element(manifest, at) {
        let (mut index, mut found) = (0, false);
        while index < kinds.len() {
            found |= same(manifest, word, kinds[index]);
            index += 1;
        }
        if !found {
            return false;
        }
        at = next;
    }
    true
}

/// Position behind the `[` of the array at the top-level key `kinds`, or the end if there is none.
const fn start(json: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0i64);
    while at < json.len() {
        match json[at] {
            b'"' => {
                let word = string(json, at);
                at = past_space(json, word.1 + 1);
                let is_key = depth == 1 && at < json.len() && json[at] == b':';
                if is_key && same(json, word, "kinds") {
                    at = past_space(json, at + 1);
                    return if at < json.len() && json[at] == b'[' { at + 1 } else { json.len() };
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    json.len()
}

/// The next string of an array of strings, and the position behind it.
const fn element(json: &[u8], at: usize) -> Option<((usize, usize), usize)> {
    let mut at = past_space(json, at);
    if at < json.len() && json[at] == b',' {
        at = past_space(json, at + 1);
    }
    if at >= json.len() || json[at] != b'"' {
        return None;
    }
    let word = string(json, at);
    Some((word, word.1 + 1))
}

/// Start and end of the text between the quote at `at` and the one that closes it.
const fn string(json: &[u8], at: usize) -> (usize, usize) {
    let mut end = at + 1;
    while end < json.len() && json[end] != b'"' {
        end += if json[end] == b'\\' { 2 } else { 1 };
    }
    (at + 1, if end < json.len() { end } else { json.len() })
}

const fn past_space(json: &[u8], mut at: usize) -> usize {
    while at < json.len() && json[at].is_ascii_whitespace() {
        at += 1;
    }
    at
}

const fn same(json: &[u8], (start, end): (usize, usize), word: &str) -> bool {
    let word = word.as_bytes();
    if start > end || end - start != word.len() {
        return false;
    }
    let mut index = 0;
    while index < word.len() {
        if json[start + index] != word[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kinds that the reader finds among these four words.
    fn found(json: &str) -> Vec<&'static str> {
        let json = json.as_bytes();
        let words: Vec<&str> =
            ["client", "server-step", "mix", "x"].into_iter().filter(|kind| has(json, kind)).collect();
        assert!(are_all_in(json, &["x", "mix", "server-step", "client", "other"]));
        for &word in &words {
            assert!(!are_all_in(json, &["x", "mix", "server-step", "client"].map(|w| if w == word { "" } else { w })));
        }
        words
    }

    #[test]
    fn kinds_are_found_wherever_they_stand_and_however_they_are_spaced() {
        assert_eq!(found(r#"{"kinds":["client"]}"#), ["client"]);
        assert_eq!(
            found("{ \"name\" : \"a\",\n\t\"kinds\" : [\r\n \"server-step\" , \"client\" ]\n}"),
            ["client", "server-step"]
        );
        assert_eq!(found(r#"{"state":[{"kinds":["x"]}],"kinds":["mix"],"more":{"kinds":["client"]}}"#), ["mix"]);
    }

    #[test]
    fn words_that_only_look_like_kinds_are_none() {
        assert_eq!(found(r#"{"summary":"kinds","paper":"\"kinds\":[\"mix\"]","kinds":["client"]}"#), ["client"]);
        assert_eq!(found(r#"{"summary":"{[\\","kinds":["mix"]}"#), ["mix"]);
        assert!(!has(br#"{"kinds":["clients","clien"]}"#, "client"));
        assert!(!are_all_in(br#"{"kinds":["client","clients"]}"#, &["client"]));
    }

    #[test]
    fn broken_manifests_have_no_kinds_and_do_no_harm() {
        for json in [
            "",
            "{",
            "\"",
            "{\"kinds\"",
            "{\"kinds\":",
            "{\"kinds\":\"client\"}",
            "{\"kinds\":[",
            "]]}}\"kinds\":[\"mix\"]",
        ] {
            assert_eq!(found(json), [""; 0], "{json}");
        }
        // Cut short inside a word, and behind a backslash.
        assert!(!has(br#"{"kinds":["clien"#, "client") && !has(br#"{"kinds":["client\"#, "client"));
    }
}
