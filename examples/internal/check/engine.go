// Package check tests the example servers: over real sockets, from client
// addresses that are bound on loopback.
package check

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow"
)

// The client addresses of the tests. All of 127.0.0.0/8 is loopback on Linux.
const (
	Inside  = "127.0.0.2" // on the list of key_1
	Outside = "127.0.0.3" // on no list
)

// DeniedBody is what a request from a foreign address is answered with.
const DeniedBody = `{"error":{"code":"IP_NOT_ALLOWED","message":"Request IP address is not in the API key's allowlist"}}`

// Engine returns an engine in which key_1 has a list with Inside on it and key_2
// has none.
func Engine(t testing.TB) *ipallow.Engine {
	policy := ipallow.DefaultPolicy()
	policy.AllowNonPublic = true // the clients are on loopback
	engine := ipallow.New(&ipallow.Options{Policy: &policy})
	entries, err := policy.ParseList([]string{Inside, "203.0.113.0/24"})
	require.NoError(t, err)
	require.NoError(t, engine.Set("key_1", entries))
	return engine
}
