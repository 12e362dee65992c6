//! Whether all of many values are finite.
//!
//! Where in the flow: wherever values come back from a plugin or a sum. What it never does: change a value.

/// Values that are looked at together: enough for wide registers, and one bad one is soon found among them.
const CHUNK: usize = 256;

/// The first value that is infinite or no number. Takes no longer than reading the values, since no value of a chunk waits
/// for what another one was.
pub fn first_not_finite(values: &[f32]) -> Option<usize> {
    let bad = |chunk: &[f32]| chunk.iter().fold(false, |bad, x| bad | !x.is_finite());
    let chunk = values.chunks(CHUNK).position(bad)?;
    let start = chunk * CHUNK;
    values[start..].iter().position(|x| !x.is_finite()).map(|at| start + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_value_is_found_wherever_it_stands() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let mut values = vec![f32::MAX; length];
            assert_eq!(first_not_finite(&values), None);
            for at in (0..length).rev() {
                values[at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][at % 3];
                assert_eq!(first_not_finite(&values), Some(at), "{at} of {length}");
            }
        }
    }
}
