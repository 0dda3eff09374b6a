package gateway

import (
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/ipallow/ipallow/usagelog"
)

// Requests without a valid key cost whoever sends them nothing, and a record each
// would fill a disk at 7 MB a second. So of one second floodRecords are recorded
// one by one, and then those of one kind, which is a status, a method and a client
// network, as one record: the first of them, with their number in More. Where their
// paths differ it has what these begin with. Of more than floodKinds kinds the
// record has no method and no address.
const (
	floodRecords = 250
	floodKinds   = 64
	floodSecond  = time.Second
)

// A flood sums up requests without a valid key.
type flood struct {
	write func(usagelog.Record)

	mu      sync.Mutex
	begun   time.Time // of the second that is counted; zero: there is none
	seconds int       // that have ended
	single  int       // records of this second that were written one by one
	kinds   map[floodKind]*usagelog.Record
	timer   *time.Timer // ends the second, where something is summed up
}

type floodKind struct {
	status  int
	method  string
	network netip.Prefix
}

func newFlood(write func(usagelog.Record)) *flood {
	return &flood{write: write, kinds: make(map[floodKind]*usagelog.Record)}
}

// kindOf returns the kind of a request. An IPv6 client commands a whole /64.
func kindOf(r *usagelog.Record) floodKind {
	bits := 32
	if r.ClientAddr.Is6() {
		bits = 64
	}
	network, _ := r.ClientAddr.Prefix(bits) // the zero Prefix for the zero Addr
	return floodKind{r.Status, r.Method, network}
}

// add records a request, or counts it among others of its kind.
func (f *flood) add(r *usagelog.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// The clock may be set back: that ends the second too.
	if age := r.Time.Sub(f.begun); age >= floodSecond || age < -floodSecond {
		f.end()
		f.begun = r.Time
	}
	if f.single < floodRecords {
		f.single++
		f.write(*r)
		return
	}
	kind := kindOf(r)
	sum := f.kinds[kind]
	if sum == nil && len(f.kinds) >= floodKinds {
		kind = floodKind{status: r.Status}
		sum = f.kinds[kind]
	}
	if sum == nil {
		sum = new(usagelog.Record)
		*sum = *r
		if kind.method == "" {
			sum.Method, sum.ClientAddr = "", netip.Addr{}
		}
		f.kinds[kind] = sum
		if f.timer == nil {
			second := f.seconds
			f.timer = time.AfterFunc(floodSecond, func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				if f.seconds == second { // otherwise a request was first
					f.end()
				}
			})
		}
		return
	}
	if sum.More == math.MaxUint32 {
		f.write(*r)
		return
	}
	sum.More++
	sum.Path = commonPath(sum.Path, r.Path)
}

// flush writes what is summed up.
func (f *flood) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end()
}

// end ends the second. f.mu is held.
func (f *flood) end() {
	for _, sum := range f.kinds {
		f.write(*sum)
	}
	clear(f.kinds)
	f.single, f.begun = 0, time.Time{}
	f.seconds++
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
}

// commonPath returns what both paths begin with.
func commonPath(a, b string) string {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[:n]
}
