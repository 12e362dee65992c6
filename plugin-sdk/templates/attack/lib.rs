//! Free riders: a client that did no work sends share · the mean of the honest updates. It slows
//! the training down without standing out.

use colla_plugin_sdk::{Attack, Attacked, Parameters, Plugin, Result, colla_plugin, math};

struct FreeRider {
    share: f32,
}

impl Plugin for FreeRider {
    fn create(parameters: &Parameters) -> Result<Self> {
        Ok(FreeRider {
            share: parameters.f32("share")?,
        })
    }
}

impl Attack for FreeRider {
    /// One range of the updates: all of `sent` must be written.
    fn attack(&mut self, attacked: Attacked<'_>) -> Result<()> {
        // A cohort may have no honest client.
        if attacked.honest.is_empty() {
            attacked.sent.fill(0.0);
        } else {
            math::mean(attacked.honest, attacked.sent);
            math::scale(attacked.sent, self.share);
        }
        Ok(())
    }
}

colla_plugin!(FreeRider: attack);

#[cfg(test)]
mod tests {
    use super::*;
    use colla_plugin_sdk::testing::Testbed;

    #[test]
    fn a_free_rider_sends_a_part_of_the_honest_mean() {
        let mut plugin = Testbed::<FreeRider>::new(&[("share", 0.25.into())]);
        let honest = [vec![1.0, 4.0], vec![3.0, -8.0]];
        let sent = plugin.attack(&honest, &[9.0, 9.0], 1).unwrap();
        assert_eq!(sent, [0.5, -0.5]);
        assert_eq!(plugin.attack(&[], &[9.0, 9.0], 2).unwrap(), [0.0, 0.0]);
    }
}
