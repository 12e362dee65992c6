use super::arguments::{InspectArguments, ListArguments};
use anyhow::Result;
pub(super) fn inspect(_a: &InspectArguments) -> Result<()> {
    anyhow::bail!("{}", _a.plugin)
}
pub(super) fn list(_a: &ListArguments) -> Result<()> {
    anyhow::bail!("x")
}
