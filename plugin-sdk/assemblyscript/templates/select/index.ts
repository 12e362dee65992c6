/**
 * Round robin: the clients that took part longest ago train next, those that never did before all others, ties to the lower
 * id. With a fixed cohort size everyone trains equally often.
 */

import { Clients, Parameters, Select, plugin } from "colla-plugin-sdk/assembly";
export * from "colla-plugin-sdk/assembly/exports";

class RoundRobin extends Select {
  private readonly minExamples: f64;

  constructor(parameters: Parameters) {
    super();
    this.minExamples = parameters.f64("min-examples");
  }

  select(clients: Clients, size: i32): i32[] {
    // The last round in the upper half and the id in the lower one; the last round of those that never took part is 0.
    const queue: u64[] = [];
    for (let id = 0; id < clients.length; id++) {
      if (clients.numExamples(id) >= this.minExamples) queue.push((clients.lastRound(id) << 32) | <u64>id);
    }
    queue.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    const chosen: i32[] = [];
    for (let i = 0; i < min(size, queue.length); i++) chosen.push(<i32>(queue[i] & 0xffffffff));
    return chosen;
  }
}

plugin((parameters) => [new RoundRobin(parameters)]);
