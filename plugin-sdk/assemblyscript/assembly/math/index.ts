/**
 * Kernels on ranges of memory: vectors of four elements, and the same bits as the Rust SDK's `math`.
 *
 * All are elementwise over parameters, so neither range size nor vector width matters. Precision: `f32` throughout.
 * AssemblyScript's own `Math` is compiled into the plugin and so gives the same bits everywhere, but its `exp`, `log` and
 * `pow` are not Rust's `libm` and may differ from a Rust twin in the last bit; `sqrt`, `abs` and `floor` are exact.
 */

export { mean } from "./mean";
export { clipFactor, scale } from "./scale";
export { Sorted, SortedRule, reduceSorted } from "./sorted";
