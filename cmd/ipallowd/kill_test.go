package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// killRounds is how often the program is killed: IPALLOW_KILL_ROUNDS, or 4.
func killRounds(t *testing.T) int {
	text := os.Getenv("IPALLOW_KILL_ROUNDS")
	if text == "" {
		return 4
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, "IPALLOW_KILL_ROUNDS")
	return n
}

// settled is how long before the kill a request must have been answered for
// its record to be promised: a record that nobody waits for is in memory for
// usagelog.Options.Linger, 10 ms, and then on its way to the write-ahead file.
// The rest is for a busy machine.
const settled = 2 * time.Second

// A witness remembers what the program acknowledged.
type witness struct {
	mu       sync.Mutex
	keys     []createdKey
	lists    map[string]string    // key ID -> the entry acknowledged last
	sent     map[string]string    // key ID -> the entry sent last
	revoked  map[string]bool      // acknowledged
	revoking map[string]bool      // sent
	answered map[string]time.Time // request ID -> when
}

// change makes keys, changes lists and revokes, until the program is gone.
func (w *witness) change(p *process, worker int) {
	for i := 0; ; i++ {
		k := createdKey{}
		first := fmt.Sprintf("10.%d.%d.0/24", worker, i%256)
		status, err := p.api("POST", "/keys", map[string]any{
			"name": fmt.Sprintf("worker %d key %d", worker, i), "scopes": []string{"read"}, "allowlist": []entry{{first, "first"}},
		}, &k)
		if err != nil {
			return
		}
		if status != http.StatusCreated {
			p.t.Errorf("create: status %d", status)
			return
		}
		w.mu.Lock()
		w.keys = append(w.keys, k)
		w.lists[k.ID], w.sent[k.ID] = first, first
		w.mu.Unlock()
		for j := range 3 {
			next := fmt.Sprintf("10.%d.%d.%d/32", worker, i%256, j)
			w.mu.Lock()
			w.sent[k.ID] = next
			w.mu.Unlock()
			status, err := p.api("PUT", "/keys/"+k.ID+"/allowlist", map[string]any{"entries": []entry{{next, "next"}}, "confirm_lockout": true}, nil)
			if err != nil {
				return
			}
			if status != http.StatusOK {
				p.t.Errorf("allowlist: status %d", status)
				return
			}
			w.mu.Lock()
			w.lists[k.ID] = next
			w.mu.Unlock()
		}
		if i%4 == 3 {
			w.mu.Lock()
			w.revoking[k.ID] = true
			w.mu.Unlock()
			if _, err := p.api("DELETE", "/keys/"+k.ID, nil, nil); err != nil {
				return
			}
			w.mu.Lock()
			w.revoked[k.ID] = true
			w.mu.Unlock()
		}
	}
}

// request calls the gateway until the program is gone. No key may be served:
// every one has a list in which this machine is not.
func (w *witness) request(p *process) {
	for {
		w.mu.Lock()
		var k createdKey
		if len(w.keys) > 0 {
			k = w.keys[rand.IntN(len(w.keys))]
		}
		w.mu.Unlock()
		status, id, err := p.ping(k.Secret)
		if err != nil {
			return
		}
		if status != 401 && status != 403 {
			p.t.Errorf("a restricted key was answered with %d", status)
			return
		}
		if status == 401 {
			continue // of many without a valid key not each has a record
		}
		w.mu.Lock()
		w.answered[id] = time.Now()
		w.mu.Unlock()
	}
}

// After a kill -9 under load, every acknowledged key, list, revocation and log
// record is there, none of the records twice, and no restricted key was open
// for one request.
func TestKill(t *testing.T) {
	data := t.TempDir()
	w := &witness{
		lists: map[string]string{}, sent: map[string]string{}, revoked: map[string]bool{},
		revoking: map[string]bool{}, answered: map[string]time.Time{},
	}
	rounds := killRounds(t)
	for round := range rounds {
		p := start(t, data)
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() { w.change(p, 2*round%200+i) })
			wg.Go(func() { w.request(p) })
		}
		time.Sleep(settled + time.Duration(rand.IntN(700))*time.Millisecond)
		killed := time.Now()
		p.kill()
		wg.Wait()

		p = start(t, data)
		w.check(p, killed)
		require.False(t, t.Failed())
		p.kill()
	}
	t.Logf("%d rounds: %d keys, %d requests", rounds, len(w.keys), len(w.answered))
	require.NotEmpty(t, w.keys)
	require.Greater(t, len(w.answered), 10*rounds)
}

func (w *witness) check(p *process, killed time.Time) {
	for _, k := range w.keys {
		var got struct {
			Revoked *time.Time `json:"revoked_at"`
		}
		status, err := p.api("GET", "/keys/"+k.ID, nil, &got)
		require.NoError(p.t, err)
		require.Equal(p.t, 200, status, "an acknowledged key is lost")
		if w.revoked[k.ID] {
			require.NotNil(p.t, got.Revoked, "an acknowledged revocation is lost")
		} else if got.Revoked != nil {
			require.True(p.t, w.revoking[k.ID], "nobody revoked the key")
		}
		var list struct {
			Entries []entry `json:"entries"`
		}
		_, err = p.api("GET", "/keys/"+k.ID+"/allowlist", nil, &list)
		require.NoError(p.t, err)
		require.Len(p.t, list.Entries, 1)
		require.Contains(p.t, []string{w.lists[k.ID], w.sent[k.ID]}, list.Entries[0].Entry, "an acknowledged list is lost")
		w.lists[k.ID], w.sent[k.ID] = list.Entries[0].Entry, list.Entries[0].Entry
		if got.Revoked != nil {
			w.revoked[k.ID] = true
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		ids := p.requestIDs()
		missing := 0
		for id, at := range w.answered {
			require.LessOrEqual(p.t, ids[id], 1, "a record is there twice")
			if at.Before(killed.Add(-settled)) && ids[id] == 0 {
				missing++
			}
		}
		if missing == 0 {
			// What was on its way when this kill came is not asked for again.
			maps.DeleteFunc(w.answered, func(id string, _ time.Time) bool { return ids[id] == 0 })
			return
		}
		// What was in the write-ahead file is being stored.
		require.True(p.t, time.Now().Before(deadline), "%d records are lost: %d of %d are there, %s", missing, len(ids), len(w.answered), p.stderr)
		time.Sleep(50 * time.Millisecond)
	}
}
