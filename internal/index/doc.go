// Package index holds the allowlists of all keys: what Check reads and what writers build.
//
// It must answer what a loop over netip.Prefix.Contains answers: a key with a list is Allowed from
// the addresses that at least one entry contains and Denied from all others; a key without a list
// is Unrestricted. Addresses and entries are compared in their canonical form (internal/canon).
// Everything below is faster than that loop, and nothing may differ from it.
//
// An [Index] is immutable and persistent: a change copies one shard and the path to it, and shares
// the rest with the index before. So readers need no lock, and a snapshot costs nothing.
//
// # A lookup
//
// With a million keys a lookup is mostly cache misses. Loads 2 and 3 usually hit the second-level
// cache; loads 4 and 5 are issued together, so that Check waits for main memory about once.
//
//	key ─(1)─> hash, 64 bits
//
//	 63                 64-bits          32 31                  6 5    0
//	┌──────────────────┬───────────────────┬─────────────────────┬──────┐
//	│ slot             │                   │ pilot number (×φ)   │ tag  │   all bits: cell
//	└────────┬─────────┴───────────────────┴──────────┬──────────┴──┬───┘
//	         │                                        │             │
//	        (2) root[slot>>4]: *node                  │             │
//	         v                                        │             │
//	 node, 1,536 bytes, for 16 slots                  │             │
//	┌───────────────────────────────────────────┐     │             │
//	│    0  base     [17] 8 bytes each          │     │             │
//	│  136  more     [16] 8 bytes each          │     │             │
//	│  312  headers  [16] 64 bytes each ──┐     │     │             │
//	│ 1336  rest     [16] 12 bytes each   │     │     │             │
//	│ 1528  own, blockDepth               │     │     │             │
//	└─────────────────────────────────────┼─────┘     │             │
//	        (3) headers[slot%16]          v           │             │
//	 header, one cache line                           │             │
//	┌───────────────────────────────────────────┐     │             │
//	│  0 offset   of the records in the buffer  │     │             │
//	│  4 tagsAt   of the tags in the buffer     │     │             │
//	│  8 cells    how many                      │     │             │
//	│ 10 unit     bytes in a cell               │     │             │
//	│ 12 base     number of the buffer          │     │             │
//	│ 16 pilots   [48] 1 byte each  <───────────┼─────┘             │
//	└──────────────────┬────────────────────────┘                   │
//	                   │ cell = (hash × factors[pilot] >> 32) × cells >> 32
//	                   v                                            │
//	 buffer base[header.base]                                       │
//	┌───────────────────────────────────────────┐                   │
//	│ tags     2 bytes a cell ─────────────(4)──┼─> tag: 6 bits of the hash, n4, n6
//	│ records  unit bytes a cell ──────────(5)──┼─> record
//	└───────────────────────────────────────────┘
//
//	 record, up to 5 IPv4 and 7 IPv6 entries         more entries of a family
//	┌───────────────────────────────────────┐       ┌───────────────────────────────────────┐
//	│ 0  n4, n6, nw, flagLabels    2 bytes  │       │ 0  the same                           │
//	│ 2  key length, flagScan      2 bytes  │       │ 2                                     │
//	│ 4  key                                │       │ 4  key                                │
//	│    start4  4 bytes × n4          (6)  │       │    shift4  1 byte × n4           (6)  │
//	│    start6  8 bytes × n6               │       │    shift6  1 byte × n6                │
//	│    shift4  1 byte × n4                │       │    start4  4 bytes × n4               │
//	│    shift6  1 byte × n6                │       │    start6  8 bytes × n6               │
//	│    lo      9 bytes × nw               │       │    lo      9 bytes × nw               │
//	│    order   0 to 28 bytes              │       │    order   0 to 28 bytes              │
//	│    labels  4 bytes, if flagLabels     │       │    labels  4 bytes, if flagLabels     │
//	└───────────────────────────────────────┘       └───────────────────────────────────────┘
//
// (1) hash.go hashes the key with the seeds of the engine. (2) directory.go: the upper bits are a
// slot, and the root has a pointer to the slot's node. (3) The node has the header of the slot's
// shard. (4) pilots.go: the hash chooses one of 48 pilots, and hash and pilot give the cell. Its
// tag says whether a record whose hash has these bits begins there. If not, the key has no list.
// (5) record.go: the record has the key, which is compared in full, and its list. (6)
// search_fast.go finds the last entry that begins at or before the address, without a branch that
// depends on it, and compares that one: (address^start)>>shift is 0 if the entry contains the
// address.
//
// A list of more than [MaxShort] entries is not in the record. Its record has n4, n6 and nw of 0, 0
// and 1, and 4 bytes after the key that number the shard's long lists (long.go). Where entries
// of a list contain one another the record is marked flagScan and is read entry by entry.
//
// # Why it is right
//
//   - Keys are compared in full, and so a collision of hashes costs time and no wrong verdict.
//   - A tag and its record are written together, when a shard is built, and never after.
//   - Every key of a shard has a cell of its own, or the shard has no cells (linear) and all of its
//     records are compared.
//   - Among sorted entries of which none contains another, only the last one that begins at or
//     before an address can contain it.
//   - [CheckInvariants] walks all of it after each step of the tests, with the build tag
//     ipallowcheck; internal/naive is the loop that verdicts are compared with.
//
// # Words
//
//   - slot: a place in the directory, chosen by the upper bits of a hash. A shard of few keys has
//     several slots side by side.
//   - node: 16 slots. What a change copies of the directory is the root and one node.
//   - shard: the records of the keys whose hashes share their upper depth bits, 100 to 200 of them.
//   - header: what Check reads of a shard before its records, one cache line.
//   - cell: a part of a shard's buffer, of unit bytes. A record begins where a cell does.
//   - pilot: a byte that was chosen so that the keys which share it have free cells.
//   - tag: 2 bytes for each cell, read instead of the record by the keys that have none.
//   - record: a key and its list in one run of bytes.
//   - buffer, block: a buffer is a shard's bytes; a block the bytes of many shards, built by a
//     Load.
//   - long list: a list of more than MaxShort entries, as sets of intervals and as a bart.Lite.
//
// # Prior art
//
//   - Extendible hashing, the directory: Fagin, Nievergelt, Pippenger, Strong, "Extendible
//     Hashing—a Fast Access Method for Dynamic Files", ACM TODS 4(3), 1979.
//   - Perfect hashing by pilots: Belazzougui, Botelho, Dietzfelbinger, "Hash, Displace, and
//     Compress", ESA 2009; Pibiri, Trani, "PTHash", SIGIR 2021 (https://arxiv.org/abs/2104.10402).
//   - The hash: wyhash by Wang Yi (https://github.com/wangyi-fudan/wyhash).
//   - The search without branches: Khuong, Morin, "Array Layouts for Comparison-Based Searching",
//     JEA 22, 2017 (https://arxiv.org/abs/1509.05053).
//   - The order of a list, a Lehmer code: Knuth, The Art of Computer Programming, volume 2, section
//     3.3.2.
//   - The trie of long lists: https://github.com/gaissmai/bart, after Hariguchi's allotment routing
//     table.
package index
