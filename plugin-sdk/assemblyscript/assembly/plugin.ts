/** A plugin is its roles; this is where a module says which. */

import { Block } from "./block";
import { fail, failed } from "./error";
import { Parameters } from "./parameters";
import { Role } from "./roles/role";
import { Message } from "./value";

let create: ((parameters: Parameters) => Role[]) | null = null;

/**
 * Says how the module's plugin is made, from resolved parameters to one object for each of its roles:
 * `plugin((parameters) => [new FedProx(parameters)]);`. Once per module, at its end.
 */
export function plugin(make: (parameters: Parameters) => Role[]): void {
  create = make;
}

/** What a context pointer points to. For the export glue. */
export class Context {
  reply: StaticArray<u8> = [];
  error: StaticArray<u8> = [];

  private constructor(private readonly roles: Role[]) {}

  static create(parameters: Parameters): Context | null {
    const make = create;
    if (make == null) {
      fail.internal("the module never called `plugin`");
      return null;
    }
    const roles = make(parameters);
    let stages = 0, deciding = 0;
    for (let i = 0; i < roles.length; i++) {
      stages += i32(roles[i].isStage());
      deciding += i32(roles[i].decides());
    }
    if (stages > 1) fail.internal("normalize, compress and post share operations: a plugin can be only one of them");
    if (deciding > 1) fail.internal("mix and aggregate share operations: a plugin can be only one of them");
    return failed() ? null : new Context(roles);
  }

  /** A control operation. One of a role goes to it alone; those of every role to each, and the replies are joined. */
  answer(operation: u32, message: Message): Message {
    for (let i = 0; i < this.roles.length; i++) {
      const reply = this.roles[i].call(operation, message);
      if (reply != null) return reply;
    }
    const joined = new Message();
    let known = false;
    for (let i = 0; i < this.roles.length; i++) {
      const reply = this.roles[i].common(operation, message);
      if (reply == null) continue;
      known = true;
      for (let entry = 0; entry < reply.length; entry++) joined.with(reply.names[entry], reply.values[entry]);
    }
    if (!known) unsupported("control", operation);
    return joined;
  }

  /** A data operation. */
  work(operation: u32, block: Block): void {
    for (let i = 0; i < this.roles.length; i++) if (this.roles[i].work(operation, block)) return;
    unsupported("data", operation);
  }
}

function unsupported(plane: string, operation: u32): void {
  fail.unsupported(plane + " operation " + operation.toString() + " belongs to none of this plugin's roles");
}
