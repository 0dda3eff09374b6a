package server

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// All that the listeners may open at once fits into the limit, and something is left
// for the rest.
func TestBudget(t *testing.T) {
	for _, limit := range []uint64{64, 256, 1024, 4096, 65536, 1 << 20, 1 << 62} {
		for _, upstream := range []string{"", "http://127.0.0.1:3000"} {
			for _, authz := range []string{"", "127.0.0.1:0"} {
				for _, most := range []int{0, 10, 1 << 30} {
					c := Config{Upstream: upstream, AuthzListen: authz, MaxConnections: most}
					b := c.budget(limit)
					used := uint64(b.gateway + b.upstream + b.management)
					if authz != "" {
						used += uint64(b.management)
					}
					require.LessOrEqual(t, used+spareDescriptors, limit, "%+v", b)
					require.Positive(t, b.gateway)
					require.GreaterOrEqual(t, b.management, 8)
					require.Equal(t, upstream != "", b.upstream > 0)
					if most == 10 {
						require.LessOrEqual(t, b.gateway, 10)
					}
				}
			}
		}
	}
}
