package api

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestManyEditors add an entry each to the same list, all at once: read, add,
// save with If-Match, and again after a 412. None may get lost.
func TestManyEditors(t *testing.T) {
	w := newWorld(t)
	id := w.create("a", "203.0.113.0/24").ID
	const editors = 12
	var refused atomic.Int64
	var all sync.WaitGroup
	for i := range editors {
		all.Go(func() {
			for !t.Failed() {
				list, tag := w.allowlist(id)
				next := append(list.Entries, entries(fmt.Sprintf("198.51.100.%d editor-%d", i, i))...)
				a := w.put(id, object{"entries": next}, tag)
				if a.StatusCode == 200 {
					return
				}
				a.fails(412, "PRECONDITION_FAILED")
				refused.Add(1)
			}
		})
	}
	all.Wait()
	list, _ := w.allowlist(id)
	require.Len(t, list.Entries, editors+1)
	require.Len(t, w.audit("?limit=500").Records, editors+1)
	require.Positive(t, refused.Load(), "nobody got in anybody's way, so that nothing was tried")
}

// TestManyClients use all of the API at once.
func TestManyClients(t *testing.T) {
	w := newWorld(t)
	w.fillLog()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := 0; n < 4 && !t.Failed(); n++ {
				made := w.create(fmt.Sprintf("client %d", i), "203.0.113.0/24")
				path := "/api/v1/keys/" + made.ID
				w.do(call{method: "PATCH", path: path, body: object{"name": "renamed"}}).ok(200, nil)
				w.put(made.ID, object{"entries": entries("198.51.100.7")}).ok(200, nil)
				w.post(path+"/allowlist/check", object{"address": "198.51.100.7"}).ok(200, nil)
				w.post(path+"/rotate", nil).ok(200, nil)
				w.get("/api/v1/keys?limit=3").ok(200, nil)
				w.get("/api/v1/logs?limit=50").ok(200, nil)
				w.get("/api/v1/logs/summary?from=2026-11-20&to=2026-11-21").ok(200, nil)
				w.get("/api/v1/logs.csv?status=403").ok(200, nil)
				w.get("/api/v1/audit?key="+made.ID).ok(200, nil)
				w.do(call{method: "DELETE", path: path}).ok(200, nil)
				w.get("/api/v1/keys/"+made.ID).ok(200, nil)
				c := wrongToken(w.from(fmt.Sprintf("127.0.1.%d", i+1)))
				w.do(c).fails(401, "UNAUTHENTICATED")
			}
		})
	}
	all.Wait()
	require.Empty(t, w.list("").Keys)
	require.Len(t, w.list("?revoked=true&limit=500").Keys, 32)
	require.Len(t, w.audit("?limit=500").Records, 32*5)
	require.Zero(t, w.ring.Len())
}
