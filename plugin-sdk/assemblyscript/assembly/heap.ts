/**
 * The memory that the host asks for: buffers, blocks, messages.
 *
 * It lies apart from the garbage-collected heap, for two reasons: the host's buffers are large and stay where they are,
 * and when memory is short the host must get null, where the collected heap would trap. Pages are added as needed, never
 * more; what is freed is merged with its neighbours and used again.
 *
 * A free range holds its own size and the next free range: the list is ordered by address and cannot run out of room.
 */

const GRAIN: u64 = 64;
const PAGE: u64 = 65_536;

@unmanaged
class Free {
  next: usize;
  size: usize;
}

let first: usize = 0;

// The collected heap takes all memory that is there when it is first used. That must be before a page is added here.
heap.free(heap.alloc(1));

export namespace hostHeap {
  /** Null for a size of zero, an impossible alignment or size, or when memory is short. */
  export function allocate(size: usize, align: usize): usize {
    if (size == 0 || align == 0 || (align & (align - 1)) != 0) return 0;
    if (<u64>size + align > <u64>i32.MAX_VALUE) return 0;
    const wanted = (<u64>size + GRAIN - 1) & ~(GRAIN - 1);
    const found = fit(<usize>wanted, max<usize>(align, <usize>GRAIN));
    if (found != 0) return found;
    // A larger alignment than a page's may cost up to itself.
    if (!grow(wanted + (<u64>align > PAGE ? <u64>align : 0))) return 0;
    return fit(<usize>wanted, max<usize>(align, <usize>GRAIN));
  }

  /** Takes back what `allocate` gave for this size. */
  export function free(pointer: usize, size: usize): void {
    if (pointer != 0 && size != 0) insert(pointer, <usize>((<u64>size + GRAIN - 1) & ~(GRAIN - 1)));
  }
}

/** The first free range that has room, cut down to what is left of it. */
function fit(size: usize, align: usize): usize {
  let previous: usize = 0;
  for (let at = first; at != 0; at = changetype<Free>(at).next) {
    const range = changetype<Free>(at);
    const start = (at + align - 1) & ~(align - 1);
    const before = start - at;
    if (start >= at && before <= range.size && range.size - before >= size) {
      const after = range.size - before - size;
      let next = range.next;
      if (after > 0) next = place(start + size, after, next);
      if (before > 0) next = place(at, before, next);
      link(previous, next);
      return start;
    }
    previous = at;
  }
  return 0;
}

function place(at: usize, size: usize, next: usize): usize {
  changetype<Free>(at).size = size;
  changetype<Free>(at).next = next;
  return at;
}

function link(previous: usize, next: usize): void {
  if (previous == 0) first = next;
  else changetype<Free>(previous).next = next;
}

function grow(bytes: u64): bool {
  const pages = memory.grow(<i32>((bytes + PAGE - 1) / PAGE));
  if (pages < 0) return false;
  const start = (<usize>pages) << 16;
  insert(start, <usize>((bytes + PAGE - 1) / PAGE * PAGE));
  return true;
}

/** Adds a range to the list and merges it with the ranges that it touches. */
function insert(at: usize, size: usize): void {
  let previous: usize = 0;
  let next = first;
  while (next != 0 && next < at) {
    previous = next;
    next = changetype<Free>(next).next;
  }
  if (next != 0 && at + size == next) {
    size += changetype<Free>(next).size;
    next = changetype<Free>(next).next;
  }
  if (previous != 0 && previous + changetype<Free>(previous).size == at) {
    place(previous, changetype<Free>(previous).size + size, next);
  } else {
    link(previous, place(at, size, next));
  }
}
