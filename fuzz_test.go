package ipallow

import (
	"bytes"
	"testing"

	"github.com/ipallow/ipallow/internal/gen"
	"github.com/ipallow/ipallow/internal/index"
	"github.com/ipallow/ipallow/internal/index/indextest"
	"github.com/ipallow/ipallow/internal/naive"
)

// FuzzParseEntry compares the parser with the naive one: the same code or
// the same canonical prefix; the canonical text is its own; what is
// suggested can be typed in.
func FuzzParseEntry(f *testing.F) {
	for _, text := range gen.Traps {
		f.Add(text) // each says in gen.Traps why it is there
	}
	for _, text := range []string{
		"203.0.113.5", "203.0.113.0/24", "2001:db8::1", "2001:db8::/48", // the four forms
		"255.255.255.255/32", "0.0.0.0/0", "::/0", // the ends of both families and of the lengths
		"0000:0000:0000:0000:0000:ffff:255.255.255.255/128", // the longest valid text
		"1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:1.2.3.4", // zeros and dots where parsers disagree
		"::fffe:0:0/95", "::fffe:ffff:ffff", "::1:0:0:0", // beside the mapped range
		"203.0.113.5/24%eth0", "fe80::1/64%eth0", // the zone behind the length
		"2001:db8::1%\ufffd", "2001:db8::1%\xef\xbf", // a replacement character that was written, and half of one
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { requireParse(t, text) })
}

// FuzzSuggestions compares what each of several policies says of a text with what the naive one
// says, and takes all that is suggested.
func FuzzSuggestions(f *testing.F) {
	for _, text := range gen.Traps {
		f.Add(text) // each says in gen.Traps why it is there
	}
	f.Fuzz(func(t *testing.T, text string) { requireFault(t, text) })
}

// FuzzCheckVsNaive compares a list's table, an engine that holds it, and
// Explain with the loop over netip.Prefix.Contains.
func FuzzCheckVsNaive(f *testing.F) {
	f.Add(byte(0), []byte{})                                             // the empty list
	f.Add(byte(1), []byte("one prefix, and addresses at its edges"))     // a record of one kind
	f.Add(byte(2), []byte{0, 0, 0, 9, 0, 0, 0, 9, 7, 7, 7, 7, 7})        // nested IPv4
	f.Add(byte(4), []byte{6, 1, 64, 6, 1, 65, 7, 1, 63, 5, 5, 5})        // both sides of the 64th bit
	f.Add(byte(8), []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}) // mixed families, so the order is stored
	f.Add(byte(index.MaxShort-1), []byte("the longest record but one"))
	f.Add(byte(index.MaxShort), []byte("the longest record"))
	f.Add(byte(index.MaxShort+1), []byte("the shortest table"))
	f.Add(byte(127), []byte("a table with nested and equal prefixes in it"))
	f.Add(byte(128+3), []byte{8, 255, 255, 1, 3, 3, 3, 3, 3, 9, 9, 9})               // only what an engine stores
	f.Add(byte(128+index.MaxShort), []byte{1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4})      // around the switch, in an engine
	f.Add(byte(128+index.MaxShort+1), []byte{1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5}) // one more
	f.Fuzz(func(t *testing.T, n byte, data []byte) {
		src := gen.FromBytes(data)
		var list []naive.Entry
		if size := int(n & 127); n < 128 {
			list = gen.RawList(src, size)
		} else {
			list = append(gen.ValidList(src, size%8), gen.Distinct(size)...)
		}
		l, _ := newListUnderTest(t, list)
		for range min(8+src.Left(), 64) {
			l.check(t, gen.Addr(src, list))
		}
		for _, e := range list[:min(len(list), 8)] {
			if e.Prefix.IsValid() {
				for _, a := range gen.Edges(e.Prefix) {
					l.check(t, a)
					l.check(t, gen.MappedAddr(a))
				}
			}
		}
	})
}

// FuzzUpdateSequence runs steps on an engine and on a plain map; the first
// byte chooses which parts of the hashes collide.
func FuzzUpdateSequence(f *testing.F) {
	one := []byte{4, 0, 0, 10, 0, 1, 7} // a list of one prefix without a label
	for i := range indextest.Masks {
		f.Add(byte(i), []byte("set a few keys, look, and set them again")) // each kind of hash
		f.Add(byte(i), steps(
			[]byte{13, 0, 4, 0}, one, []byte{1}, // 1,025 keys in one Update: shards split
			[]byte{15},                          // a snapshot of them
			[]byte{13, 0, 3},                    // all but three deleted: shards join
			[]byte{13, 0, 5, 0}, one, []byte{0}, // 1,281 keys in a Replace
			[]byte{6, 2, 4}, // one of them deleted
			[]byte{15, 15},  // the snapshot is as it was
		))
		f.Add(byte(i), steps(
			[]byte{0, 0, 0}, one, []byte{0, 4, 0}, one, // two keys of 300 bytes that differ in the first
			[]byte{0, 3, 0}, one, []byte{0, 7, 0}, one, // and in the last
			[]byte{15, 6, 0, 0, 15}, // one of them deleted
		))
	}
	f.Add(byte(0), append([]byte{1, 0, 0, 0, 2, 5}, one...))                              // DenyUntilLoaded: Set does not end it
	f.Add(byte(0), append([]byte{1, 0, 0, 12, 0, 0, 2, 5}, one...))                       // DenyUntilLoaded: Replace does, also of nothing
	f.Add(byte(0), append(append([]byte{0, 0, 1, 0, 0, 2, 5}, one...), 0, 3, 5, 4, 0, 0)) // MaxKeys of one, and two keys
	f.Add(byte(0), []byte{0, 1, 0, 0, 2, 5, 2, 2, 0, 3, 5, 2, 2, 0, 4, 5, 2, 1, 15})      // tables: two equal, one shorter
	f.Add(byte(0), append(steps([]byte{0, 2, 5}, one), 0, 2, 5, 1, 0, 1))                 // a faulty list for a key that has one
	f.Add(byte(0), append(steps([]byte{0, 2, 5}, one), 0, 2, 5, 0))                       // the empty list for a key that has one
	f.Fuzz(func(t *testing.T, hash byte, data []byte) {
		d := indextest.Masks[int(hash)%len(indextest.Masks)]
		src := gen.FromBytes(data)
		q := newSequence(t, src, d.Mask, min(bulkFor(d.Slow), 1500))
		// A step reads bytes of its own and leaves the rest to the next.
		for i := 0; i < 40 && src.Left() > 0; i++ {
			q.step()
		}
		q.compareHeld()
	})
}

// steps is the default options and then the given choices.
func steps(choices ...[]byte) []byte {
	return append([]byte{0, 0, 0}, bytes.Join(choices, nil)...)
}
