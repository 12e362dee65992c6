//! Which inputs of a batch are not blank.
//!
//! Where in the flow: between the marks that a batch leaves and what is read of it. What it never does: look at a
//! value.

use super::scratch::sized;

/// Indices of what is marked, ascending.
#[derive(Debug, Default)]
pub struct Marked {
    /// The first `count` are listed; behind them is room.
    indices: Vec<u32>,
    count: usize,
}

impl Marked {
    /// Lists what is not zero.
    pub fn list(&mut self, marks: &[u8]) {
        let indices = sized(&mut self.indices, marks.len());
        let mut count = 0;
        // Without a branch, which nobody could foresee: what is not marked, the next one writes over.
        for (index, &mark) in marks.iter().enumerate() {
            indices[count] = index as u32;
            count += usize::from(mark != 0);
        }
        self.count = count;
    }

    pub fn indices(&self) -> &[u32] {
        &self.indices[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_listed_whatever_was_before() {
        let mut marked = Marked::default();
        for (marks, expected) in
            [(&[1, 1, 1, 1][..], &[0, 1, 2, 3][..]), (&[0, 7, 0], &[1]), (&[0, 0], &[]), (&[], &[])]
        {
            marked.list(marks);
            assert_eq!(marked.indices(), expected);
        }
    }
}
