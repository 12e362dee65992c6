/**
 * The functions that the host calls: docs/abi.md section 3. A plugin's module ends with
 * `export * from "colla-plugin-sdk/assembly/exports";`.
 *
 * Contract with the host: contexts are those that `colla_create` gave and `colla_destroy` has not taken; pointers are good
 * for the lengths given, for the duration of the call.
 *
 * Memory. Create, call and block begin by collecting what earlier calls left over: at that moment no object is held by
 * the stack, and what must live is reachable from a global or from a pinned context. So memory does not grow with the
 * number of calls.
 */

import { ABI_VERSION, status } from "./abi";
import "./abort";
import { Block } from "./block";
import { Failure, fail } from "./error";
import { hostHeap } from "./heap";
import { Parameters } from "./parameters";
import { Context } from "./plugin";
import { postcard } from "./postcard";
import { utf8 } from "./utf8";

/** Of the last create that failed. */
let createError: StaticArray<u8> = [];

export function colla_abi_version(): u32 {
  return ABI_VERSION;
}

export function colla_alloc(size: usize, align: usize): usize {
  return hostHeap.allocate(size, align);
}

export function colla_free(pointer: usize, size: usize, align: usize): void {
  hostHeap.free(pointer, size);
}

export function colla_create(config: usize, len: usize, host: usize, out: usize): i32 {
  __collect();
  const parameters = postcard.decode(config, len);
  let context: Context | null = null;
  if (parameters == null) fail.config("the parameters are not an encoded map");
  else context = Context.create(new Parameters(parameters));
  const failure = Failure.take();
  if (failure != null) {
    createError = utf8.encode(failure.message);
    return failure.code;
  }
  store<usize>(out, __pin(changetype<usize>(context)));
  return status.OK;
}

export function colla_destroy(context: usize): void {
  if (context != 0) __unpin(context);
}

export function colla_call(context: usize, operation: u32, message: usize, len: usize): i32 {
  __collect();
  if (context == 0) return status.E_ARG;
  const plugin = changetype<Context>(context);
  const decoded = postcard.decode(message, len);
  let reply: StaticArray<u8> = [];
  if (decoded == null) fail.argument("the message is not an encoded map");
  else reply = postcard.encode(plugin.answer(operation, decoded));
  return finish(plugin, reply);
}

export function colla_reply(context: usize, out: usize): void {
  if (context == 0) writeSlice(out, []);
  else writeSlice(out, changetype<Context>(context).reply);
}

export function colla_block(context: usize, operation: u32, block: usize): i32 {
  __collect();
  if (context == 0) return status.E_ARG;
  const plugin = changetype<Context>(context);
  const checked = Block.check(block);
  if (checked != null) plugin.work(operation, checked);
  return finish(plugin, []);
}

export function colla_last_error(context: usize, out: usize): void {
  if (context == 0) writeSlice(out, createError);
  else writeSlice(out, changetype<Context>(context).error);
}

/** Keeps the reply of a call that succeeded, or the message of one that failed. */
function finish(plugin: Context, reply: StaticArray<u8>): i32 {
  const failure = Failure.take();
  if (failure == null) {
    plugin.reply = reply;
    return status.OK;
  }
  if (failure.code == status.SKIP) plugin.reply = [];
  else plugin.error = utf8.encode(failure.message);
  return failure.code;
}

/** `{pointer, length}`, two words. */
function writeSlice(out: usize, bytes: StaticArray<u8>): void {
  store<usize>(out, changetype<usize>(bytes));
  store<usize>(out, bytes.length, sizeof<usize>());
}
