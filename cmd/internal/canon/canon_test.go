package canon_test

import (
	"net/netip"
	"testing"

	"github.com/ipallow/ipallow"
	"github.com/ipallow/ipallow/cmd/internal/canon"
	"github.com/stretchr/testify/require"
)

// The engine says in which form it matched an address: this one.
func TestAddrIsTheEngines(t *testing.T) {
	t.Parallel()
	engine := ipallow.New(nil)
	for _, text := range []string{"203.0.113.5", "::ffff:203.0.113.5", "::ffff:203.0.113.5%eth0", "2001:db8::1", "fe80::1%eth0", "::", "::203.0.113.5"} {
		a := netip.MustParseAddr(text)
		require.Equal(t, engine.Explain("key", a).Addr, canon.Addr(a), text)
	}
	require.Equal(t, netip.Addr{}, canon.Addr(netip.Addr{}))
}
