//! The words for an update that diverged: where, how far, and what to do about it.
//!
//! Where in the flow: on the agent, once it found a value that an update must not have. What it never does: look for one.

use crate::error::{Fault, Kind};

/// What an update goes through, in this order.
pub(super) const TRAINING: &str = "local training";
pub(super) const STAGES: &str = "the stages";

/// Weights beyond this, the default of `federation.update-bound`, are none that training made.
const HUGE: f32 = 64.0;

/// A value that an update must not have, and what may have led to it.
pub(super) struct Divergence<'a> {
    /// What the update went through last, [`TRAINING`] or [`STAGES`].
    pub after: &'a str,
    pub tensor: &'a str,
    /// Not finite, or beyond `update_bound` in magnitude.
    pub value: f32,
    /// `federation.update-bound`.
    pub update_bound: f32,
    /// Largest magnitude among the weights that the client received.
    pub received: f32,
    /// The compressor that adds what it lost of one upload to the next, if it does.
    pub feedback: Option<&'a str>,
}

impl Divergence<'_> {
    pub fn fault(&self) -> anyhow::Error {
        let Divergence { after, tensor, value, update_bound, .. } = self;
        let beyond = match value.is_finite() {
            true => format!(", beyond `federation.update-bound = {update_bound}`"),
            false => String::new(),
        };
        let remedy = self.remedy();
        Fault::new(
            Kind::Diverged,
            format!("the update diverged — after {after}, an element of `{tensor}` is {value}{beyond}; {remedy}"),
        )
    }

    fn remedy(&self) -> String {
        // Whoever starts from huge weights is not to blame for what becomes of them.
        let remedy = if self.received > HUGE.max(self.update_bound) {
            let received = self.received;
            format!("the weights that it received hold {received:e} already: look at what the server made of them")
        } else if self.value.is_finite() {
            "lower `train.learning-rate`, or raise the bound".to_owned()
        } else {
            "lower `train.learning-rate`".to_owned()
        };
        let Some(name) = self.feedback else { return remedy };
        let off = format!("turn the `error-feedback` of `{name}` off");
        let why = "what it adds grows from round to round where the codec loses as much as it is given";
        match self.after {
            STAGES => format!("{off}, since {why}; or else {remedy}"),
            _ => format!("{remedy}; or {off}, since {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;

    const MILD: Divergence<'_> = Divergence {
        after: TRAINING,
        tensor: "layers.0.weight",
        value: 70.5,
        update_bound: 64.0,
        received: 0.125,
        feedback: None,
    };

    #[track_caller]
    fn told(divergence: Divergence<'_>, expected: &str) {
        let start = format!("the update diverged — after {}, an element of `layers.0.weight` is ", divergence.after);
        let fault = divergence.fault();
        assert_eq!(fault.to_string(), start + expected);
        assert_eq!(exit_code(&fault), 7);
    }

    #[test]
    fn the_learning_rate_is_blamed_and_the_bound_where_it_stands_in_the_way() {
        let bounded = "70.5, beyond `federation.update-bound = 64`; lower `train.learning-rate`, or raise the bound";
        told(MILD, bounded);
        told(Divergence { value: f32::NAN, ..MILD }, "NaN; lower `train.learning-rate`");
    }

    #[test]
    fn the_server_is_blamed_for_weights_that_are_huge_and_not_for_those_beyond_a_narrow_bound() {
        let narrow = "0.5, beyond `federation.update-bound = 0.001`; lower `train.learning-rate`, or raise the bound";
        told(Divergence { value: 0.5, update_bound: 1e-3, ..MILD }, narrow);
        let server = "the weights that it received hold 6.5e1 already: look at what the server made of them";
        told(Divergence { value: f32::INFINITY, received: 65.0, ..MILD }, &format!("inf; {server}"));
        let wide = Divergence { value: f32::NAN, received: 65.0, update_bound: 1000.0, ..MILD };
        told(wide, "NaN; lower `train.learning-rate`");
    }

    #[test]
    fn error_feedback_is_named_and_first_where_the_codec_made_the_value() {
        let why = "since what it adds grows from round to round where the codec loses as much as it is given";
        let (off, rate) = ("turn the `error-feedback` of `randk` off", "lower `train.learning-rate`");
        let fed_back = |after| Divergence { after, value: f32::NAN, feedback: Some("randk"), ..MILD };
        told(fed_back(STAGES), &format!("NaN; {off}, {why}; or else {rate}"));
        told(fed_back(TRAINING), &format!("NaN; {rate}; or {off}, {why}"));
    }
}
