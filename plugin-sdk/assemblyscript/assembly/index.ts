/**
 * The CollA plugin interface in AssemblyScript: one abstract class per role, and one function that names the roles.
 *
 * ```ts
 * import { Client, ClientBegin, Parameters, Plan, Term, plugin } from "colla-plugin-sdk/assembly";
 * export * from "colla-plugin-sdk/assembly/exports";
 *
 * class FedProx extends Client {
 *   private readonly mu: f64;
 *
 *   constructor(parameters: Parameters) {
 *     super();
 *     this.mu = parameters.f64("mu");
 *   }
 *
 *   plan(client: ClientBegin): Plan {
 *     return Plan.withTerms([Term.prox(this.mu)]);
 *   }
 * }
 *
 * plugin((parameters) => [new FedProx(parameters)]);
 * ```
 */

export { FRAME } from "./abi";
export { Input, Output } from "./codec";
export { fail, failed } from "./error";
export { log } from "./log";
export { Sorted, SortedRule, clipFactor, mean, reduceSorted, scale } from "./math";
export { Parameters } from "./parameters";
export { Plan, Term } from "./plan";
export { plugin } from "./plugin";
export { Scope, random } from "./random";
export { Aggregate, Cohort, Sums } from "./roles/aggregate";
export { Client, ClientBegin } from "./roles/client";
export { Compress } from "./roles/compress";
export { Normalize } from "./roles/normalize";
export { Post } from "./roles/post";
export { Role } from "./roles/role";
export { ServerStep, Step, StepBegin } from "./roles/server_step";
export { Piece } from "./roles/stage";
export { KthAbs, Measures, ScanPlan } from "./scan";
export { Kind, Message, Value } from "./value";
export { Bytes, Doubles, Floats, Rows } from "./views";
