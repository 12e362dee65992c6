/** Text on the wire is UTF-8, in AssemblyScript UTF-16. */

export namespace utf8 {
  /** Lone surrogates, which no UTF-8 can hold, become U+FFFD. */
  export function encode(text: string): StaticArray<u8> {
    const bytes = new StaticArray<u8>(length(text));
    write(text, changetype<usize>(bytes));
    return bytes;
  }

  /** Bytes that `write` takes. */
  export function length(text: string): i32 {
    return String.UTF8.byteLength(text, false);
  }

  export function write(text: string, to: usize): void {
    String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, to, false, String.UTF8.ErrorMode.REPLACE);
  }

  /** Whether the bytes are UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF, nothing cut off. */
  export function isValid(from: usize, len: usize): bool {
    const end = from + len;
    while (from < end) {
      const first = load<u8>(from++);
      if (first < 0x80) continue;
      let more = 0, lowest: u8 = 0x80, highest: u8 = 0xbf;
      if (first >= 0xc2 && first <= 0xdf) more = 1;
      else if (first >= 0xe0 && first <= 0xef) {
        more = 2;
        if (first == 0xe0) lowest = 0xa0;
        if (first == 0xed) highest = 0x9f;
      } else if (first >= 0xf0 && first <= 0xf4) {
        more = 3;
        if (first == 0xf0) lowest = 0x90;
        if (first == 0xf4) highest = 0x8f;
      } else return false;
      if (from + more > end) return false;
      for (; more > 0; more--) {
        const next = load<u8>(from++);
        if (next < lowest || next > highest) return false;
        lowest = 0x80;
        highest = 0xbf;
      }
    }
    return true;
  }

  /** The text of bytes that `isValid` has accepted. */
  export function decode(from: usize, len: usize): string {
    return String.UTF8.decodeUnsafe(from, len, false);
  }
}
