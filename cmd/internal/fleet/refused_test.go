package fleet

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/natsfeed"
)

// A node takes every list that a management may accept, whatever its flags.
func TestNodePolicy(t *testing.T) {
	p := NodePolicy()
	widest := ipallow.Policy{MaxEntries: natsfeed.MaxEntries, MaxLabel: 1000, AllowNonPublic: true}
	var texts []string
	for i := range 5000 {
		texts = append(texts, fmt.Sprintf("10.1.%d.%d", i>>8, i&255))
	}
	for _, list := range [][]string{{"0.0.0.0/0"}, {"::/0"}, {"10.0.0.0/8", "127.0.0.1", "fe80::/10", "::1"}, texts} {
		entries, err := widest.ParseList(list)
		require.NoError(t, err)
		require.NoError(t, p.Validate(entries))
		engine := ipallow.New(&ipallow.Options{Policy: &p})
		require.NoError(t, engine.Set("k", entries))
	}
	require.NoError(t, p.Validate([]ipallow.Entry{natsfeed.Nobody}))
}

// What a node cannot use keeps the list that is in force. Where there is none, the
// key is known, so that a request with it is refused as its own and not as one
// without a key. A secret that was changed with the list is another one at once.
func TestListThatANodeRefuses(t *testing.T) {
	t.Parallel()
	n := fleettest.Start(t)
	h := openHome(t, link(t, n))
	kept, opened := h.create("203.0.113.0/24"), h.create()
	h.settle()
	h.pub.Close()                // or it would put things right
	g := openGate(t, link(t, n)) // with the default policy, in the place of what no node can enforce
	kv := keysOf(t, n.JetStream())
	wide := NodePolicy()
	list, err := wide.ParseList([]string{"10.0.0.0/8"})
	require.NoError(t, err)
	secret, hash := keyring.NewSecret()
	var rev uint64
	id := keyring.NewID()
	for _, key := range []string{kept.Key.ID, opened.Key.ID, id} {
		meta := EncodeMeta(&keyring.Key{ID: key, Hash: hash, Scopes: keyring.Read})
		rev, err = natsfeed.Publish(within(t), kv, key, list, &natsfeed.PublishOptions{Meta: meta, Policy: &wide})
		require.NoError(t, err)
	}
	fleettest.Eventually(t, func() bool { return g.Status().Revision >= rev }, func() string { return "it does not follow" })
	for key, want := range map[string]ipallow.Verdict{kept.Key.ID: ipallow.Allowed, opened.Key.ID: ipallow.Denied, id: ipallow.Denied} {
		require.NotNil(t, g.ring.Authenticate(keyring.Token(key, secret)), "the key is known")
		require.Equal(t, want, g.engine.Check(key, netip.MustParseAddr("203.0.113.7")))
		require.Equal(t, ipallow.Denied, g.engine.Check(key, stranger))
	}
	require.Nil(t, g.ring.Authenticate(kept.Token), "its secret was changed")
	now, _, named := g.Faults()
	require.Equal(t, 3, now)
	closed := map[string]bool{}
	for _, f := range named {
		closed[f.Key] = f.Closed
		require.Contains(t, f.Reason, "refuses the list")
		require.NotContains(t, f.Reason, "natsfeed")
	}
	require.Equal(t, map[string]bool{kept.Key.ID: false, opened.Key.ID: true, id: true}, closed)
	require.NoError(t, g.Ready(0), "one list must not take every node down")

	var r Report
	r.NameFaults(now, named)
	require.Equal(t, named, r.Faulty)
}

// A report names as many faults as fit, and no more of their texts.
func TestReportNamesFaults(t *testing.T) {
	var faults []Fault
	for i := range 50 {
		faults = append(faults, Fault{Key: fmt.Sprintf("%0200d", i), Reason: string(make([]byte, 5000))})
	}
	r := Report{Name: "a", Role: Gateway}
	r.NameFaults(500, faults)
	require.Equal(t, 500, r.Faults)
	require.Len(t, r.Faulty, maxFaulty)
	require.Len(t, r.Faulty[0].Key, 64)
	require.Len(t, r.Faulty[0].Reason, reasonBytes)
}
