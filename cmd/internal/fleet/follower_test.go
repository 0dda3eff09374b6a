package fleet

import (
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/clientip"
	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/cmd/internal/gateway"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/natsfeed"
)

var stranger = netip.MustParseAddr("192.0.2.99")

// flips is how often a test changes a key back and forth at most; it stops
// after flipTime, on a machine that is busy.
const (
	flips    = 600
	flipTime = 2 * time.Second
)

// A header is that of a request with a key.
type header struct{ token string }

func (h header) Values(name string) []string {
	if name == "X-Api-Key" {
		return []string{h.token}
	}
	return nil
}
func (header) Any(func(string) bool) bool { return false }

// asker asks a gateway's Admit.
func asker(t *testing.T, g *gate) func(token, method string, client netip.Addr) gateway.Decision {
	gw, err := gateway.New(gateway.Options{Ring: g.ring, Engine: g.engine, Loaded: g.Loaded, Logger: quiet})
	require.NoError(t, err)
	return func(token, method string, client netip.Addr) gateway.Decision {
		return gw.Admit(gateway.Call{Header: header{token}, Method: method, Client: clientip.Result{Addr: client}})
	}
}

func entries(texts ...string) []ipallow.Entry {
	list, err := ipallow.DefaultPolicy().ParseList(texts)
	if err != nil {
		panic(err)
	}
	return list
}

// A state is a key as a bucket has it.
type state struct {
	secret string
	scopes keyring.Scopes
	report bool
	list   []string
}

// serves reports whether the state lets a request in.
func (s *state) serves(secret, method string, client netip.Addr) bool {
	if secret != s.secret || !s.scopes.Permits(method) {
		return false
	}
	return s.report || len(s.list) == 0 || ipallow.Compile(entries(s.list...)).Contains(client)
}

// TestTogether changes secret, scopes, mode and list of a key in one step, back
// and forth, while requests come. Nobody is served that is not by the one state
// or the other.
func TestTogether(t *testing.T) {
	const here, there = "203.0.113.1", "203.0.113.2"
	one, _ := keyring.NewSecret()
	two, _ := keyring.NewSecret()
	clients := []netip.Addr{netip.MustParseAddr(here), netip.MustParseAddr(there), stranger}
	for name, pair := range map[string][2]state{
		"another secret and another list": {{one, keyring.Read, false, []string{here}}, {two, keyring.Read, false, []string{there}}},
		"another scope and another list":  {{one, keyring.Read, false, []string{here}}, {one, keyring.Write, false, []string{there}}},
		"fewer scopes and a longer list":  {{one, keyring.Read | keyring.Write, false, []string{here}}, {one, keyring.Read, false, []string{here, there}}},
		"enforced, and open":              {{one, keyring.Read, true, []string{here}}, {two, keyring.Read, false, nil}},
		"restricted, and gone":            {{one, keyring.Read, false, []string{here}}, {}},
	} {
		t.Run(name, func(t *testing.T) {
			n := fleettest.Start(t)
			js := n.JetStream()
			l := link(t, n)
			kv, _, err := l.openKeys(within(t), "test")
			require.NoError(t, err)
			put := func(s *state) uint64 {
				if s.secret == "" {
					rev, err := natsfeed.Unpublish(within(t), kv, testID, nil)
					require.NoError(t, err)
					return rev
				}
				meta := EncodeMeta(&keyring.Key{Hash: keyring.HashSecret(s.secret), Scopes: s.scopes, ReportOnly: s.report})
				rev, err := natsfeed.Publish(within(t), kv, testID, entries(s.list...), &natsfeed.PublishOptions{Meta: meta})
				require.NoError(t, err)
				return rev
			}
			put(&pair[0])
			_, err = natsfeed.Confirm(within(t), keysOf(t, js))
			require.NoError(t, err)
			g := openGate(t, link(t, n))
			ask := asker(t, g)

			// What neither state serves, and the two that one of them serves.
			var wrong []func() bool
			var seen [2]atomic.Int64
			var right []func()
			for _, secret := range []string{one, two} {
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					for _, client := range clients {
						token := keyring.Token(testID, secret)
						a, b := pair[0].serves(secret, method, client), pair[1].serves(secret, method, client)
						switch {
						case !a && !b:
							wrong = append(wrong, func() bool { return ask(token, method, client).Refusal == nil })
						case a != b:
							right = append(right, func() {
								if ask(token, method, client).Refusal == nil {
									i := 0
									if b {
										i = 1
									}
									seen[i].Add(1)
								}
							})
						}
					}
				}
			}
			quit := make(chan struct{})
			var served, asked atomic.Int64
			var probers sync.WaitGroup
			for range 2 {
				probers.Go(func() {
					for ; ; time.Sleep(20 * time.Microsecond) { // two cores, and others want them
						select {
						case <-quit:
							return
						default:
						}
						for range 10 {
							for _, ask := range wrong {
								if ask() {
									served.Add(1)
								}
							}
							for _, ask := range right {
								ask()
							}
						}
						asked.Add(10 * int64(len(wrong)))
					}
				})
			}
			var last uint64
			began := time.Now()
			for i := range flips {
				if time.Since(began) > flipTime {
					break
				}
				last = put(&pair[(i+1)%2])
				if i%10 == 0 { // or most of them would be one step
					fleettest.Eventually(t, func() bool { return g.Status().Revision >= last }, func() string { return "it does not follow" })
				}
			}
			fleettest.Eventually(t, func() bool { return g.Status().Revision >= last }, func() string { return "it does not follow" })
			close(quit)
			probers.Wait()
			t.Logf("%d requests that neither state serves, %d served", asked.Load(), served.Load())
			require.Zero(t, served.Load())
			require.Positive(t, asked.Load())
			require.Positive(t, seen[0].Load()+seen[1].Load(), "nobody was served: the test shows nothing")
		})
	}
}

// A key is known when its list is in force, and unknown before it goes.
func TestListBeforeKey(t *testing.T) {
	n := fleettest.Start(t)
	l := link(t, n)
	kv, _, err := l.openKeys(within(t), "test")
	require.NoError(t, err)
	_, err = natsfeed.Confirm(within(t), kv)
	require.NoError(t, err)
	g := openGate(t, link(t, n))
	ask := asker(t, g)
	var current atomic.Pointer[string]
	quit := make(chan struct{})
	var served, known atomic.Int64
	var probers sync.WaitGroup
	for range 2 {
		probers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-quit:
					return
				default:
				}
				if i%200 == 0 {
					time.Sleep(20 * time.Microsecond) // two cores, and others want them
				}
				if token := current.Load(); token != nil {
					d := ask(*token, http.MethodGet, stranger)
					if d.Refusal == nil {
						served.Add(1)
					} else if d.Key != nil {
						known.Add(1)
					}
				}
			}
		})
	}
	began := time.Now()
	for range flips {
		if time.Since(began) > flipTime {
			break
		}
		id := keyring.NewID()
		secret, hash := keyring.NewSecret()
		token := keyring.Token(id, secret)
		current.Store(&token)
		meta := EncodeMeta(&keyring.Key{Hash: hash, Scopes: keyring.Read})
		rev, err := natsfeed.Publish(within(t), kv, id, entries("203.0.113.1"), &natsfeed.PublishOptions{Meta: meta})
		require.NoError(t, err)
		fleettest.Eventually(t, func() bool { return g.Status().Revision >= rev }, func() string { return "it does not follow" })
		rev, err = natsfeed.Unpublish(within(t), kv, id, nil)
		require.NoError(t, err)
		fleettest.Eventually(t, func() bool { return g.Status().Revision >= rev }, func() string { return "it does not follow" })
	}
	close(quit)
	probers.Wait()
	require.Zero(t, served.Load(), "a restricted key was open")
	require.Positive(t, known.Load(), "no key was ever known: the test shows nothing")
	require.Zero(t, g.ring.Len())
}

// A Meta that cannot be read leaves the key as it was, and is named.
func TestFaultyMeta(t *testing.T) {
	n := fleettest.Start(t)
	h := openHome(t, link(t, n))
	a := h.create("203.0.113.1")
	h.settle()
	h.pub.Close() // or it would put things right
	g := openGate(t, link(t, n))
	kv := keysOf(t, n.JetStream())
	id := keyring.NewID()
	var rev uint64
	for _, key := range []string{a.Key.ID, id, "no-identifier"} {
		var err error
		rev, err = natsfeed.Publish(within(t), kv, key, entries("203.0.113.2"), &natsfeed.PublishOptions{Meta: []byte{9}})
		require.NoError(t, err)
	}
	fleettest.Eventually(t, func() bool { return g.Status().Revision >= rev }, func() string { return "it does not follow" })
	require.NotNil(t, g.ring.Authenticate(a.Token))
	require.Nil(t, g.ring.Get(id))
	require.Nil(t, g.ring.Get("no-identifier"))
	now, total, named := g.Faults()
	require.Equal(t, 3, now)
	require.EqualValues(t, 3, total)
	require.Len(t, named, 3)

	_, err := natsfeed.Unpublish(within(t), kv, id, nil)
	require.NoError(t, err)
	rev, err = natsfeed.Unpublish(within(t), kv, "no-identifier", nil)
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return g.Status().Revision >= rev }, func() string { return "it does not follow" })
	now, total, _ = g.Faults()
	require.Equal(t, 1, now)
	require.EqualValues(t, 3, total)

	// A list that ends opens no key of which nobody knows the rest.
	rev, err = natsfeed.Publish(within(t), kv, a.Key.ID, nil, &natsfeed.PublishOptions{Meta: []byte{9}})
	require.NoError(t, err)
	fleettest.Eventually(t, func() bool { return g.Status().Revision >= rev }, func() string { return "it does not follow" })
	require.Nil(t, g.ring.Authenticate(a.Token))

	h.publish(link(t, n))
	g.same(h)
	require.NotNil(t, g.ring.Authenticate(a.Token))
	now, _, _ = g.Faults()
	require.Zero(t, now)
}
