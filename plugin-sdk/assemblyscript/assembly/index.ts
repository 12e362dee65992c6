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
export { Cohort } from "./cohort";
export { fail, failed, skip } from "./error";
export { log } from "./log";
export { Sorted, SortedRule, clipFactor, mean, reduceSorted, scale } from "./math";
export { Parameters } from "./parameters";
export { Phase, Plan, Term } from "./plan";
export { plugin } from "./plugin";
export { Scope, random } from "./random";
export { Aggregate, Sums } from "./roles/aggregate";
export { Attack, AttackBegin, Attacked } from "./roles/attack";
export { Client, ClientBegin, ClientEnd } from "./roles/client";
export { Compress } from "./roles/compress";
export { Decision, DecisionPlan, Gram, extraRow } from "./roles/decide";
export { Mix } from "./roles/mix";
export { Normalize } from "./roles/normalize";
export { Post, PostBegin } from "./roles/post";
export { Role } from "./roles/role";
export { Clients, Select } from "./roles/select";
export { ServerStep, Step, StepBegin } from "./roles/server_step";
export { Piece, ScanFrame } from "./roles/stage";
export { KthAbs, Measures, ScanPlan } from "./scan";
export { Kind, Message, Value } from "./value";
export { Bytes, Doubles, Floats, Rows } from "./views";
