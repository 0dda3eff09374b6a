// Package ipallow decides, inside a server's hot path, whether a request made
// with an API key comes from an address on that key's allowlist.
//
//	engine := ipallow.New(nil)
//	entries, err := ipallow.DefaultPolicy().ParseList([]string{"203.0.113.0/24", "2001:db8:1::/48"})
//	if err != nil {
//		return err // a *ValidationError with every fault of the list
//	}
//	if err := engine.Set("key-1", entries); err != nil {
//		return err
//	}
//	if !engine.Check("key-1", clientAddr).OK() {
//		// answer 403
//	}
//
// # Matching rules
//
// A key without an allowlist, or with an empty one, is [Unrestricted]: every
// address is served. A key with entries is [Allowed] from the addresses that
// at least one entry contains, and [Denied] from all others and where the
// address is not known. A key that is empty or longer than [MaxKeyLen] is
// Denied. An IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2) is the IPv4
// address, in entries and in requests. A zone (RFC 4007) on a client address
// is ignored; in an entry it is a fault.
//
// Faulty lists are refused whole, and the list that was there stays in force:
// bad data never opens a key. The zero [Verdict] is Denied, the nil and zero
// values of all types deny or refuse, and an engine with
// Options.DenyUntilLoaded opens nothing before its first load.
//
// # Concurrency
//
// [Engine.Check] may be called from any number of goroutines, also during Set,
// Update and Replace. It does one atomic load of an immutable [Snapshot], takes
// no lock, allocates nothing and writes no shared memory. Each change is one
// atomic step with a revision of its own: a Check sees all of it or none.
//
// # Cost
//
// A Check of a short list touches about three cache lines however many keys
// there are. A list of up to 28 entries is stored with its key in a record
// without pointers, which the garbage collector need not scan: about 80 bytes
// for a key of 33 characters and five IPv4 entries. A longer list has a table
// of its own, which keys with equal lists share. A change copies a few hundred
// records. docs/performance.md has figures with their commands, and says where
// others are faster. The document of internal/index has a drawing of a lookup.
package ipallow
