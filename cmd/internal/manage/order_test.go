package manage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/cmd/internal/manage"
	"github.com/ipallow/ipallow/cmd/internal/manage/managetest"
)

// A prober asks for every key that the ring knows, as fast as it can, whether
// an address that no list has would be served.
type prober struct {
	stop   chan struct{}
	done   sync.WaitGroup
	probes atomic.Int64
	open   atomic.Pointer[string] // the first key that was open for a moment
}

func probe(ring *keyring.Ring, engine *ipallow.Engine) *prober {
	p := &prober{stop: make(chan struct{})}
	p.done.Go(func() {
		for {
			for k := range ring.All {
				if engine.Check(k.ID, outside).OK() {
					p.open.CompareAndSwap(nil, &k.ID)
				}
				p.probes.Add(1)
			}
			select {
			case <-p.stop:
				return
			default:
			}
		}
	})
	return p
}

// end stops the prober and fails the test if a key was open.
func (p *prober) end(t *testing.T) {
	t.Helper()
	close(p.stop)
	p.done.Wait()
	if id := p.open.Load(); id != nil {
		t.Errorf("key %s was open for a moment", *id)
	}
	require.Positive(t, p.probes.Load(), "nothing was probed: the test shows nothing")
}

// TestNoOpenMoment makes every kind of change, from several goroutines, and
// starts again on the same ring and engine, while a prober looks for a
// restricted key that is served from elsewhere.
func TestNoOpenMoment(t *testing.T) {
	st := newStore(t)
	s := st.open()
	for i := range 20 {
		create(t, s, fmt.Sprint(i), office...)
	}
	p := probe(st.Ring, st.Engine)
	ctx := t.Context()
	for range 3 {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				check := func(err error) {
					if err != nil {
						t.Error(err)
					}
				}
				for range 4 {
					c, err := s.Create(ctx, by, manage.NewKey{Name: "a", Scopes: []string{"read"}, Allowlist: office})
					check(err)
					id := c.Key.ID
					if st.Ring.Authenticate(c.Token) == nil || st.Engine.Check(id, inside) != ipallow.Allowed {
						t.Error("a key that was created is not in force")
					}
					_, err = s.SetAllowlist(ctx, by, id, manage.ListEdit{Entries: list("192.0.2.1")})
					check(err)
					if st.Engine.Check(id, inside) != ipallow.Denied {
						t.Error("a list that was saved is not in force")
					}
					_, err = s.Edit(ctx, by, id, manage.KeyEdit{ReportOnly: ptr(true)})
					check(err)
					r, err := s.Rotate(ctx, by, id)
					check(err)
					if st.Ring.Authenticate(c.Token) != nil || !st.Ring.Authenticate(r.Token).ReportOnly {
						t.Error("a rotation or an edit is not in force")
					}
					check(s.Revoke(ctx, by, id))
					if st.Ring.Authenticate(r.Token) != nil {
						t.Error("a key that was revoked is known")
					}
				}
			})
		}
		_, err := s.Import(ctx, by, manyKeys(100))
		require.NoError(t, err)
		wg.Wait()
		require.NoError(t, s.Close())
		s, err = manage.Open(ctx, st.Options) // the same ring and engine
		require.NoError(t, err)
	}
	p.end(t)
	require.NoError(t, s.Close())

	// And once more from nothing, as a new process starts, but with an engine
	// that would serve everything until it is loaded.
	for range 3 {
		st.fresh()
		st.Engine = ipallow.New(nil)
		p = probe(st.Ring, st.Engine)
		s, err := manage.Open(ctx, st.Options)
		require.NoError(t, err)
		for p.probes.Load() < 1000 {
			time.Sleep(time.Millisecond)
		}
		p.end(t)
		require.NoError(t, s.Close())
	}
}

// TestRevokedListLingers has a request that was authenticated just before its
// key was revoked.
func TestRevokedListLingers(t *testing.T) {
	clock := &clock{start}
	s, engine, ring := managetest.Open(t, func(o *manage.Options) { o.Now = clock.Now })
	a, b := create(t, s, "a", office...), create(t, s, "b", office...)
	k := ring.Authenticate(a.Token)
	require.NoError(t, s.Revoke(t.Context(), by, a.Key.ID))
	require.Equal(t, ipallow.Denied, engine.Check(k.ID, outside))
	manage.Sweep(s, start)
	require.Equal(t, ipallow.Denied, engine.Check(k.ID, outside))

	clock.now = start.Add(time.Second)
	require.NoError(t, s.Revoke(t.Context(), by, b.Key.ID))
	manage.Sweep(s, clock.now)
	require.Equal(t, ipallow.Unrestricted, engine.Check(a.Key.ID, outside), "later it is gone")
	require.Equal(t, ipallow.Denied, engine.Check(b.Key.ID, outside))
	manage.Sweep(s, clock.now.Add(1))
	require.Zero(t, engine.Snapshot().Len())
}

// TestConcurrentEditors lets editors that saw the same list save at once:
// exactly one of them wins, time and again.
func TestConcurrentEditors(t *testing.T) {
	s, engine, _ := managetest.Open(t)
	c := create(t, s, "a", office...)
	id, tag := c.Key.ID, c.List.Tag
	for round := range 10 {
		var wg sync.WaitGroup
		var won, conflicts atomic.Int32
		var winner atomic.Pointer[manage.Created]
		for e := range 6 {
			wg.Go(func() {
				set, err := s.SetAllowlist(t.Context(), by, id, manage.ListEdit{
					IfMatch: tag, Entries: list(fmt.Sprintf("20.0.%d.%d", round, e))})
				switch {
				case err == nil:
					won.Add(1)
					winner.Store(&set)
				case errors.Is(err, manage.ErrConflict):
					conflicts.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, int32(1), won.Load())
		require.Equal(t, int32(5), conflicts.Load())
		l, err := s.Allowlist(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, winner.Load().List, l)
		inForce, _ := engine.Snapshot().Entries(id)
		require.Equal(t, l.Entries, inForce)
		tag = l.Tag
	}
	trail, err := s.Audit(t.Context(), manage.AuditQuery{})
	require.NoError(t, err)
	require.Len(t, trail.Records, 11)
}

// TestCancellation cancels changes at random moments. Whatever becomes of
// them, what is stored is what is in force.
func TestCancellation(t *testing.T) {
	s, engine, ring := managetest.Open(t)
	id := create(t, s, "a", office...).Key.ID
	var made, cancelled int
	for i := 0; made < 20 || cancelled < 20; i++ {
		require.Less(t, i, 10_000, "%d made, %d cancelled", made, cancelled)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(rand.IntN(1500))*time.Microsecond, cancel)
		entries := list(fmt.Sprintf("20.0.%d.%d", i>>8, i&0xff))
		if i%5 == 0 {
			entries = nil
		}
		set, err := s.SetAllowlist(ctx, by, id, manage.ListEdit{Entries: entries})
		if err == nil {
			made++
		} else {
			require.ErrorIs(t, err, context.Canceled)
			cancelled++
		}
		l, lerr := s.Allowlist(t.Context(), id)
		require.NoError(t, lerr)
		inForce, _ := engine.Snapshot().Entries(id)
		require.Equal(t, len(l.Entries), len(inForce))
		if len(inForce) > 0 {
			require.Equal(t, l.Entries, inForce)
		}
		if err == nil {
			require.Equal(t, set.List, l)
		}
		n := ring.Len()
		if c, err := s.Create(ctx, by, manage.NewKey{Name: "b", Scopes: []string{"read"}}); err == nil {
			require.NotNil(t, ring.Authenticate(c.Token))
			n++
		}
		require.Equal(t, n, ring.Len())
		cancel()
	}
	// The right to write is not lost with those who waited for it.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		_, err := s.Rotate(ctx, by, id)
		require.ErrorIs(t, err, context.Canceled)
	}
	create(t, s, "c")
}

// TestReadersAndWriters is for the race detector: everything at once.
func TestReadersAndWriters(t *testing.T) {
	s, engine, ring := managetest.Open(t)
	var ids [4]string
	for i := range ids {
		ids[i] = create(t, s, fmt.Sprint(i), office...).Key.ID
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 15 {
				id := ids[(g+i)%len(ids)]
				_, err := s.SetAllowlist(t.Context(), by, id, manage.ListEdit{Entries: list(fmt.Sprintf("20.0.%d.%d", g, i))})
				if err == nil {
					_, err = s.Edit(t.Context(), by, id, manage.KeyEdit{Name: ptr(fmt.Sprint(g, i))})
				}
				if err == nil {
					_, err = s.Rotate(t.Context(), by, id)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for i := range 40 {
				id := ids[(g+i)%len(ids)]
				ring.Get(id).Used(time.Now())
				engine.Check(id, inside)
				_, err1 := s.Keys(t.Context(), manage.KeyQuery{Search: "1"})
				_, err2 := s.Key(t.Context(), id)
				_, err3 := s.Try(t.Context(), by, id, nil, nil)
				_, err4 := s.Audit(t.Context(), manage.AuditQuery{KeyID: id})
				if err := errors.Join(err1, err2, err3, err4); err != nil {
					t.Error(err)
				}
				if i%10 == 0 {
					if err := manage.Flush(s); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		l, err := s.Allowlist(t.Context(), id)
		require.NoError(t, err)
		inForce, _ := engine.Snapshot().Entries(id)
		require.Equal(t, l.Entries, inForce)
	}
}
