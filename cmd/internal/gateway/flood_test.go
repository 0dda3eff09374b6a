package gateway

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/usagelog"
)

// A kept is what a flood wrote.
type kept struct {
	mu   sync.Mutex
	recs []usagelog.Record
}

func (k *kept) write(r usagelog.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.recs = append(k.recs, r)
}

func (k *kept) all() []usagelog.Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.recs)
}

func (k *kept) requests(match func(*usagelog.Record) bool) (n int64) {
	for _, r := range k.all() {
		if match(&r) {
			n += r.Requests()
		}
	}
	return n
}

func anything(*usagelog.Record) bool { return true }

// Of a flood no request is missing and few records come: floodRecords a second, one
// for each kind, and one where there are too many kinds.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k kept
		f := newFlood(k.write)
		rnd := rand.New(rand.NewPCG(1, 2))
		const requests, seconds = 100_000, 5
		byStatus := map[int]int64{}
		for i := range requests {
			r := usagelog.Record{
				Time: time.Now(), Status: []int{401, 401, 401, 404}[rnd.IntN(4)], Method: []string{"GET", "POST", fmt.Sprint("M", rnd.IntN(1000))}[rnd.IntN(3)],
				Path: fmt.Sprintf("/v1/%c/x", 'a'+rune(rnd.IntN(3))), RequestID: fmt.Sprint(i),
				ClientAddr: netip.AddrFrom4([4]byte{203, 0, 113, byte(rnd.IntN(256))}),
			}
			byStatus[r.Status]++
			f.add(&r)
			if i%(requests/seconds/100) == 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		f.flush()
		for status, n := range byStatus {
			require.Equal(t, n, k.requests(func(r *usagelog.Record) bool { return r.Status == status }), "status %d", status)
		}
		require.LessOrEqual(t, len(k.all()), (seconds+1)*(floodRecords+floodKinds+2))
		for _, r := range k.all() {
			if r.More > 0 {
				require.Contains(t, []string{"/v1/", "/v1/a/x", "/v1/b/x", "/v1/c/x"}, r.Path)
			}
		}
	})
}

// What is summed up is written a second later, also when no other request comes,
// and few requests are recorded one by one.
func TestFloodEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k kept
		f := newFlood(k.write)
		one := func() {
			f.add(&usagelog.Record{Time: time.Now(), Status: 401, Method: "GET", Path: "/v1/a", RequestID: "r", ClientAddr: netip.MustParseAddr("2001:db8::1")})
		}
		for range floodRecords {
			one()
		}
		require.Len(t, k.all(), floodRecords)
		for range 50 {
			one()
		}
		require.Len(t, k.all(), floodRecords)
		time.Sleep(floodSecond)
		synctest.Wait()
		require.Len(t, k.all(), floodRecords+1)
		last := k.all()[floodRecords]
		require.EqualValues(t, 50, last.Requests())
		require.Equal(t, "r", last.RequestID, "of the first")
		require.Equal(t, "/v1/a", last.Path)
		require.Equal(t, netip.MustParseAddr("2001:db8::1"), last.ClientAddr)
		for range 300 {
			time.Sleep(floodSecond)
			one()
		}
		require.Len(t, k.all(), floodRecords+1+300)
		require.EqualValues(t, floodRecords+50+300, k.requests(anything))
	})
}

// A clock that is set back does not stop the records.
func TestFloodClock(t *testing.T) {
	var k kept
	f := newFlood(k.write)
	now := time.Now()
	for i := range 1000 {
		f.add(&usagelog.Record{Time: now.Add(-time.Duration(i) * time.Minute), Status: 401})
	}
	require.Len(t, k.all(), 1000)
}
