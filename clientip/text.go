package clientip

import "unsafe"

// textOf returns b as a text without copying it. Nothing in this package keeps
// a text beyond the call that it came with: addresses have no zone, which is
// the only part of one that [netip.ParseAddr] would keep.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
