package logstore

import (
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/ipallow/ipallow/cmd/internal/binrec"
	"github.com/ipallow/ipallow/usagelog"
)

// A term is the hash of something a filter can ask for by its exact value. The
// hash is part of the file's format. Two keys with the same term would be
// counted as one in tallies: with a million keys, that happens in one of 30
// million logs.
type term uint64

func keyTerm[S string | []byte](id S) term { return term(xxhash.Sum64([]byte(id))) }

func methodTerm[S string | []byte](method S) term {
	return term(xxhash.Sum64([]byte(method)))*0x9e3779b97f4a7c15 + 1
}

// requestTerm is the one term that is not in the Bloom filter of the block's row
// but in one of its own: there are as many as records.
func requestTerm[S string | []byte](id S) term { return term(xxhash.Sum64([]byte(id))) | 1 }

// smallTerm is for numbers; the kinds are 's' for a status, 'c' for its class
// and 'v' for a verdict.
func smallTerm(kind byte, n int) term {
	var b [16]byte
	return term(xxhash.Sum64(strconv.AppendInt(append(b[:0], 0xff, kind), int64(n), 10)))
}

// filterTerms returns the terms of which a block that has a record for f has
// every one. That of the key is the first.
func filterTerms(f *usagelog.Filter) []term {
	var ts []term
	if f.KeyID != "" {
		ts = append(ts, keyTerm(f.KeyID))
	}
	if f.Method != "" {
		ts = append(ts, methodTerm(f.Method))
	}
	if f.Status != 0 {
		ts = append(ts, smallTerm('s', f.Status))
	}
	if f.StatusClass != 0 {
		ts = append(ts, smallTerm('c', f.StatusClass))
	}
	if f.Verdict != nil {
		ts = append(ts, smallTerm('v', int(*f.Verdict)))
	}
	return ts
}

// bloomHashes bits are set for each term, among ten a term: one block in a
// hundred is read in vain.
const bloomHashes = 7

// bloomStart returns the hash of the first bit of a term and the way to the
// next. The seed differs from block to block: otherwise a key that is unlucky
// would be so in all blocks that have the same terms.
func bloomStart(t term, seed int64) (h, step uint32) {
	x := (uint64(t) ^ uint64(seed)*0x9e3779b97f4a7c15) * 0xd6e8feb86659fd93
	x ^= x >> 32
	return uint32(x), uint32(x>>32) | 1
}

// appendBloom appends a Bloom filter of the terms.
func appendBloom(b []byte, terms []term, seed int64) []byte {
	at := len(b)
	b = append(b, make([]byte, (10*len(terms)+63)/64*8)...)
	bloom := b[at:]
	bits := uint64(8 * len(bloom))
	for _, t := range terms {
		h, step := bloomStart(t, seed)
		for range bloomHashes {
			bit := uint64(h) * bits >> 32
			bloom[bit/8] |= 1 << (bit % 8)
			h += step
		}
	}
	return b
}

// mayHave reports whether all terms may be in the Bloom filter. One without a
// bit is damaged, and may have everything.
func mayHave(bloom []byte, terms []term, seed int64) bool {
	bits := uint64(8 * len(bloom))
	if bits == 0 {
		return true
	}
	for _, t := range terms {
		h, step := bloomStart(t, seed)
		for range bloomHashes {
			bit := uint64(h) * bits >> 32
			if bloom[bit/8]&(1<<(bit%8)) == 0 {
				return false
			}
			h += step
		}
	}
	return true
}

// A termSet collects the distinct terms of a block. It is used again and again.
type termSet struct {
	list     []term
	table    []int32 // open addressing: index in list, and 1; 0 is free
	statuses [1000]bool
	verdicts [256]bool
}

func (s *termSet) reset(records int) {
	size := 64
	for size < 6*records { // five terms a record at most
		size *= 2
	}
	if cap(s.table) < size {
		s.table = make([]int32, size)
	}
	s.table, s.list = s.table[:size], s.list[:0]
	clear(s.table)
	clear(s.statuses[:])
	clear(s.verdicts[:])
}

// addRecord adds the terms of a record and returns the index of its key in the
// list, or -1 if it has none.
func (s *termSet) addRecord(rec binrec.Record) (key int) {
	key = -1
	if id := rec.KeyID(); len(id) > 0 {
		key = s.add(keyTerm(id))
	}
	if m := rec.Method(); len(m) > 0 {
		s.add(methodTerm(m))
	}
	if status := rec.Status(); status != 0 && !s.statuses[status] {
		s.statuses[status] = true
		s.add(smallTerm('s', status))
		s.add(smallTerm('c', status/100))
	}
	if v := rec.Verdict(); !s.verdicts[v] {
		s.verdicts[v] = true
		s.add(smallTerm('v', int(v)))
	}
	return key
}

// add adds a term, if it is not there yet, and returns its index in the list.
func (s *termSet) add(t term) int {
	mask := term(len(s.table) - 1)
	for at := t & mask; ; at = (at + 1) & mask {
		i := s.table[at]
		if i == 0 {
			s.list = append(s.list, t)
			s.table[at] = int32(len(s.list))
			return len(s.list) - 1
		}
		if s.list[i-1] == t {
			return int(i) - 1
		}
	}
}
