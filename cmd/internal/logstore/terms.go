package logstore

import (
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/ipallow/ipallow/usagelog"
)

// A term is the hash of something a filter can ask for by its exact value. The
// hash is part of the file's format.
type term uint64

func keyTerm(id []byte) term { return term(xxhash.Sum64(id)) }

func methodTerm(method []byte) term { return term(xxhash.Sum64(method))*0x9e3779b97f4a7c15 + 1 }

// smallTerm is for numbers; kinds are 's' status, 'c' its class, 'v' verdict.
func smallTerm(kind byte, n int) term {
	var b [16]byte
	return term(xxhash.Sum64(strconv.AppendInt(append(b[:0], 0xff, kind), int64(n), 10)))
}

// filterTerms returns the terms of which a block that has a record for f has
// every one.
func filterTerms(f *usagelog.Filter) []term {
	var ts []term
	if f.KeyID != "" {
		ts = append(ts, keyTerm([]byte(f.KeyID)))
	}
	if f.Method != "" {
		ts = append(ts, methodTerm([]byte(f.Method)))
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

// appendBloom appends a Bloom filter of the terms.
func appendBloom(b []byte, terms []term) []byte {
	at := len(b)
	n := (10*len(terms) + 63) / 64 * 8
	b = append(b, make([]byte, n)...)
	bloom := b[at:]
	bits := uint32(8 * len(bloom))
	for _, t := range terms {
		h, step := uint32(t), uint32(t>>32)|1
		for range bloomHashes {
			bit := uint32(uint64(h) * uint64(bits) >> 32)
			bloom[bit/8] |= 1 << (bit % 8)
			h += step
		}
	}
	return b
}

// mayHave reports whether all terms may be in the Bloom filter. A filter of no
// bits is damaged and may have everything.
func mayHave(bloom []byte, terms []term) bool {
	bits := uint32(8 * len(bloom))
	if bits == 0 {
		return true
	}
	for _, t := range terms {
		h, step := uint32(t), uint32(t>>32)|1
		for range bloomHashes {
			bit := uint32(uint64(h) * uint64(bits) >> 32)
			if bloom[bit/8]&(1<<(bit%8)) == 0 {
				return false
			}
			h += step
		}
	}
	return true
}

// A termSet collects distinct terms. It is used again and again.
type termSet struct {
	table []term // open addressing; 0 is free
	list  []term
	small [1024 + 256]bool // statuses and verdicts seen
}

func (s *termSet) reset(records int) {
	size := 64
	for size < 6*records { // five terms a record at most
		size *= 2
	}
	if cap(s.table) < size {
		s.table = make([]term, size)
	}
	s.table = s.table[:size]
	clear(s.table)
	s.list = s.list[:0]
	clear(s.small[:])
}

func (s *termSet) add(t term) {
	mask := term(len(s.table) - 1)
	for i := t & mask; ; i = (i + 1) & mask {
		switch s.table[i] {
		case t:
			return
		case 0:
			s.table[i] = t
			s.list = append(s.list, t)
			return
		}
	}
}

// addRecord adds the terms of rec.
func (s *termSet) addRecord(rec usagelog.Binary) {
	if key := rec.KeyID(); len(key) > 0 {
		s.add(keyTerm(key))
	}
	if m := rec.Method(); len(m) > 0 {
		s.add(methodTerm(m))
	}
	status, verdict := rec.Status(), int(rec.Verdict())
	if seen := &s.small[status&1023]; !*seen && status != 0 {
		*seen = true
		s.add(smallTerm('s', status))
		s.add(smallTerm('c', status/100))
	}
	if seen := &s.small[1024+verdict]; !*seen {
		*seen = true
		s.add(smallTerm('v', verdict))
	}
}
