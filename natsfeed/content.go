package natsfeed

import (
	"hash/maphash"
	"time"
)

// The kinds of names. They are written to checkpoint files.
type kind uint8

const (
	kindNone    kind = iota // never heard of
	kindLive                // the bucket's last value
	kindDeleted             // the bucket has a deletion marker
	kindFaulty              // the bucket's last value cannot be used
	kindMissing             // not in the bucket; kept
	kindForeign             // no key's name
	kinds
)

// A record is what is known of one name of the bucket.
type record struct {
	data  string // the last value that could be read; "" if there is none
	rev   uint64 // of the last message
	kind  kind
	local bool // data was made from the engine's list, Meta is unknown
}

// known reports whether the record tells the value that the key has.
func (r *record) known() bool {
	return r.kind != kindDeleted && r.kind != kindForeign && r.data != "" && !r.local
}

// content is the whole bucket, while it is being loaded.
type content struct {
	place
	recs   map[string]record // by name
	faults map[string]Fault  // by name

	// refused is the Meta of the names whose value has a list that the engine's
	// policy refuses.
	refused map[string][]byte

	keep bool // names that are not here keep what they have
}

func newContent() *content {
	return &content{recs: make(map[string]record), faults: make(map[string]Fault), refused: make(map[string][]byte)}
}

// A place is how far a bucket has been followed, with what proves later that
// it is still the same bucket with the same history.
type place struct {
	created   time.Time // when the stream was created; zero: nothing was loaded
	rev       uint64    // all messages up to this one are accounted for
	last      uint64    // the last message that was seen,
	lastTime  time.Time // when the server stored it,
	lastName  string    // and under which name
	confirmed confirm   // the last Confirm that was obeyed
}

// A confirm is a message of Confirm.
type confirm struct {
	seq  uint64
	time time.Time
}

// isNewer reports whether c, in the bucket of p, is one that has not been
// obeyed. A bucket that was rolled back, or made anew from a backup, has older
// ones.
func (c confirm) isNewer(p place, created time.Time) bool {
	return c.seq > 0 && (c.time.After(p.confirmed.time) || created.Equal(p.created) && c.seq > p.confirmed.seq)
}

// A tracker counts the names of a bucket by kind. It keeps a hash for each,
// with a seed of its own: two names with one hash would only cost unnecessary
// loads.
type tracker struct {
	seed  maphash.Seed
	kinds map[uint64]kind
	n     [kinds]int
}

func newTracker(seed maphash.Seed, size int) *tracker {
	return &tracker{seed: seed, kinds: make(map[uint64]kind, size)}
}

func (t *tracker) hash(name string) uint64 { return maphash.String(t.seed, name) }

// set gives the name a kind.
func (t *tracker) set(name string, k kind) { t.setHash(t.hash(name), k) }

func (t *tracker) setHash(h uint64, k kind) {
	t.n[t.kinds[h]]--
	t.n[k]++
	t.kinds[h] = k
}

// stored is the number of names that the bucket has a value for.
func (t *tracker) stored() int { return t.n[kindLive] + t.n[kindFaulty] + t.n[kindForeign] }

// markers is the number of names with a deletion marker, those included that
// were purged since.
func (t *tracker) markers() int { return t.n[kindDeleted] }

// missing is the number of names that are not in the bucket and kept.
func (t *tracker) missing() int { return t.n[kindMissing] }

// keepMissing gives t the names of old that t does not have, as missing.
func (t *tracker) keepMissing(old *tracker) {
	confirm := old.hash(reservedConfirm)
	for h, k := range old.kinds {
		switch k {
		case kindLive, kindFaulty, kindMissing:
			if t.kinds[h] == kindNone && h != confirm {
				t.setHash(h, kindMissing)
			}
		}
	}
}
