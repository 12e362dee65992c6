//! Labels as a client takes them: hostile clients train on flipped ones where an attack says so.
//!
//! Where in the flow: between the data and the loss of a step. What it never does: change the data, or reach an evaluation
//! of the server's.

/// For each class the one that its rows are taken for, as many as there are classes, each below their number; `None` for
/// the true labels.
pub type Relabel<'a> = Option<&'a [u32]>;

/// What a row of class `label` is taken for.
pub(super) fn taken_for(label: u32, relabel: Relabel<'_>) -> u32 {
    relabel.map_or(label, |classes| classes[label as usize])
}
