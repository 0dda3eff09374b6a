package fleetconf

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/logstore"
	"github.com/ipallow/ipallow/usagelog"
)

// TestInventedRecords: a gateway invents many times the records that the log holds,
// of any time and with any IDs, and all that another one recorded stays.
func TestInventedRecords(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, 1, logstore.MinMaxBytes, "victim", "hostile")
	victim, hostile := w.gateway("victim"), w.gateway("hostile")
	const genuine = 2000
	victim.send(records(1, 0, genuine, "/true"))
	w.has("/true", genuine)
	const batch, batches = 4096, 24
	for i := range batches {
		list := make([]usagelog.Record, batch)
		for j := range list {
			r := records(2, i*batch+j, 1, fmt.Sprintf("/invented/%x%x%x%x", rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64()))[0]
			switch i % 3 { // as they come, IDs at random, and of times to come
			case 1:
				binary.BigEndian.PutUint64(r.ID[:8], rand.Uint64())
				binary.BigEndian.PutUint64(r.ID[8:], rand.Uint64())
			case 2:
				r.Time = r.Time.Add(time.Duration(rand.IntN(1000)) * time.Hour)
			}
			list[j] = r
		}
		hostile.send(list)
	}
	for began := time.Now(); w.drain.Status().Records < genuine+batch*batches; time.Sleep(10 * time.Millisecond) {
		require.Less(t, time.Since(began), 3*time.Minute, "not all is stored: %+v", w.drain.Status())
	}
	require.Less(t, w.store.Stats().Records, int64(batch*batches*3/4), "the log was not full: the test shows nothing")
	w.has("/true", genuine)
	victim.send(records(1, 0, genuine, "/true")) // and is recognised
	victim.send(records(1, genuine, 10, "/last"))
	w.has("/last", 10)
	w.has("/true", genuine)
	for r, err := range w.store.Stream(t.Context(), usagelog.Filter{From: time.Now().Add(15 * time.Minute)}) {
		require.NoError(t, err)
		require.Fail(t, "a record is of a time to come", "%v", r.Time)
	}
}
