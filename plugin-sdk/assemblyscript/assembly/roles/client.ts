/** Role client: how a client trains, besides its loss and its optimizer. */

import { op } from "../abi";
import { failed } from "../error";
import { Plan } from "../plan";
import { Message } from "../value";
import { Role } from "./role";

/** Whom the plan is for. */
export class ClientBegin {
  constructor(
    /** Counted from 1. */
    public readonly round: u64,
    public readonly client: u64,
    public readonly numExamples: u64,
    /** What `roundBegin` replied this round. */
    public readonly broadcast: Message,
  ) {}
}

export abstract class Client extends Role {
  /** CLIENT_BEGIN, before a client trains. Must depend on nothing but the instance's parameters and `client`. */
  abstract plan(client: ClientBegin): Plan;

  call(operation: u32, message: Message): Message | null {
    if (operation != op.CLIENT_BEGIN) return null;
    const broadcast = message.map("broadcast");
    const client = new ClientBegin(
      message.u64("round"),
      message.u64("client"),
      message.u64("num_examples"),
      broadcast == null ? new Message() : broadcast,
    );
    return failed() ? new Message() : this.plan(client).encode();
  }
}
