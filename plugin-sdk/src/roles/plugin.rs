//! What every plugin is, whatever its roles.

use crate::abi::op;
use crate::{Error, Map, Parameters, Result};

/// Creation and the operations that every role may answer; all but `create` have an empty default.
///
/// An instance keeps nothing between calls but what these functions gave it: the host may run several instances, on
/// several threads, and make new ones at any time. What must last is in state slots or in [`Plugin::save`].
pub trait Plugin: Sized + 'static {
    /// From resolved parameters to a working instance. Fails with `E_CONFIG` on values that the manifest cannot forbid.
    fn create(parameters: &Parameters) -> Result<Self>;

    /// LAYOUT `{len, names, shapes, roles, offsets}`: the model's tensors, once after create. A plugin with a slot of shape
    /// `piece` replies `{piece_state: List[I64]}`, the elements of such a slot for each piece in order; others an empty map.
    fn layout(&mut self, _layout: &Map) -> Result<Map> {
        Ok(Map::new())
    }

    /// SYNC: the control instance's last reply, on the instances of the data plane.
    fn sync(&mut self, _reply: &Map) -> Result<()> {
        Ok(())
    }

    /// ROUND_BEGIN `{round, cohort, num_clients, expected_cohort}` → what every client's CLIENT_BEGIN gets as `broadcast`, and
    /// what [`Plugin::sync`] brings to the data plane; at most 64 KiB.
    fn round_begin(&mut self, _message: &Map) -> Result<Map> {
        Ok(Map::new())
    }

    /// ROUND_END `{round, cohort, num_examples, train_loss}` → metrics, each an F64 or I64.
    fn round_end(&mut self, _message: &Map) -> Result<Map> {
        Ok(Map::new())
    }

    /// SAVE: small values that a resumed run needs, at most 1 MiB.
    fn save(&self) -> Result<Map> {
        Ok(Map::new())
    }

    /// LOAD: what [`Plugin::save`] gave.
    fn load(&mut self, _saved: &Map) -> Result<()> {
        Ok(())
    }
}

/// The operations of every role. The macro calls this after those of the plugin's own roles.
pub fn call<T: Plugin>(plugin: &mut T, operation: u32, message: &Map) -> Result<Map> {
    match operation {
        op::LAYOUT => plugin.layout(message),
        op::SYNC => plugin.sync(message).map(|()| Map::new()),
        op::ROUND_BEGIN => plugin.round_begin(message),
        op::ROUND_END => plugin.round_end(message),
        op::SAVE => plugin.save(),
        op::LOAD => plugin.load(message).map(|()| Map::new()),
        _ => Err(unsupported("control", operation)),
    }
}

/// The error of an operation that none of the plugin's roles has.
pub fn unsupported(plane: &str, operation: u32) -> Error {
    Error::unsupported(format!("{plane} operation {operation} belongs to none of this plugin's roles"))
}
