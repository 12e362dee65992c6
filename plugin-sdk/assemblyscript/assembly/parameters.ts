/**
 * The plugin's parameters as the host resolved them: defaults filled in, types and ranges checked against the manifest.
 * So a parameter that is missing here means that code and manifest name it differently.
 */

import { fail } from "./error";
import { Kind, Message } from "./value";

/** Typed access by name. Every getter fails with E_CONFIG if the parameter is missing or of another type. */
export class Parameters {
  constructor(private readonly resolved: Message) {}

  /** Manifest type `float` (an integer converts). */
  f64(name: string): f64 {
    const value = this.resolved.get(name);
    if (value != null && value.kind == Kind.F64) return reinterpret<f64>(value.bits);
    if (value != null && value.kind == Kind.I64) return <f64>(<i64>value.bits);
    this.unusable(name, "a float");
    return 0;
  }

  /** Manifest type `float`, rounded to the precision in which kernels compute. */
  f32(name: string): f32 {
    return <f32>this.f64(name);
  }

  /** Manifest type `int`. */
  i64(name: string): i64 {
    const value = this.resolved.get(name);
    if (value != null && value.kind == Kind.I64) return <i64>value.bits;
    this.unusable(name, "an int");
    return 0;
  }

  /** Manifest type `bool`. */
  bool(name: string): bool {
    const value = this.resolved.get(name);
    if (value != null && value.kind == Kind.Bool) return value.bits != 0;
    this.unusable(name, "a bool");
    return false;
  }

  /** Manifest type `choice`: one of its words. */
  choice(name: string): string {
    const value = this.resolved.get(name);
    if (value != null && value.kind == Kind.Str) return value.text;
    this.unusable(name, "a choice");
    return "";
  }

  private unusable(name: string, wanted: string): void {
    const given = this.resolved.get(name);
    fail.config(
      given == null
        ? "parameter `" + name + "` was not given; declare it in manifest.json"
        : "parameter `" + name + "` is " + given.describe() + ", the plugin reads " + wanted,
    );
  }
}
