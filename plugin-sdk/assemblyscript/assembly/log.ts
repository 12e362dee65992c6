/** Messages to the host's log, which adds the plugin's name, strips control characters and limits the rate. */

import { importLog } from "./host";
import { utf8 } from "./utf8";

export namespace log {
  /** Seen with the host's verbose option only. */
  export function debug(text: string): void {
    send(0, text);
  }
  export function info(text: string): void {
    send(1, text);
  }
  export function warning(text: string): void {
    send(2, text);
  }
  /** Does not stop anything: that is `fail`. */
  export function error(text: string): void {
    send(3, text);
  }
}

function send(level: u32, text: string): void {
  const bytes = utf8.encode(text);
  importLog(level, changetype<usize>(bytes), bytes.length);
}
