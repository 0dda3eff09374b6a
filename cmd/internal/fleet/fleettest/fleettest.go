// Package fleettest runs NATS servers for tests, in the test's own process.
package fleettest

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/natsfeed"
)

// A NATS is a server with JetStream that keeps its port and its directory over
// restarts.
type NATS struct {
	t    testing.TB
	opts server.Options
	srv  *server.Server
}

// Start starts a server on loopback. The end of the test stops it. Where users
// are named, nobody else is let in.
func Start(t testing.TB, users ...*server.User) *NATS {
	t.Helper()
	n := &NATS{t: t, opts: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: t.TempDir(), SyncInterval: time.Hour, Users: users,
	}}
	n.Start()
	t.Cleanup(n.Stop)
	return n
}

// Start starts the server again where it was.
func (n *NATS) Start() {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		opts := n.opts
		srv, err := server.NewServer(&opts)
		require.NoError(n.t, err)
		srv.Start()
		if !srv.ReadyForConnections(10 * time.Second) {
			srv.Shutdown() // somebody else has the port just now
			return false
		}
		n.srv = srv
		return true
	}, 30*time.Second, 50*time.Millisecond)
	n.opts.Port = n.srv.Addr().(*net.TCPAddr).Port
}

// Stop stops the server; what it has stored stays.
func (n *NATS) Stop() {
	if n.srv != nil {
		n.srv.Shutdown()
		n.srv.WaitForShutdown()
		n.srv = nil
	}
}

// Without starts the server again without JetStream.
func (n *NATS) Without() {
	n.Stop()
	n.opts.JetStream = false
	n.Start()
}

// Users changes who is let in, from the next start on.
func (n *NATS) Users(users ...*server.User) { n.opts.Users = users }

// URL is where the server is.
func (n *NATS) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", n.opts.Port) }

// Addr is its address.
func (n *NATS) Addr() string { return fmt.Sprintf("127.0.0.1:%d", n.opts.Port) }

// As is where the server is, with a user's name and password.
func (n *NATS) As(user, password string) string {
	return fmt.Sprintf("nats://%s:%s@127.0.0.1:%d", user, password, n.opts.Port)
}

// JetStream returns a connection of its own.
func (n *NATS) JetStream() jetstream.JetStream {
	n.t.Helper()
	nc, err := nats.Connect(n.URL(), append(natsfeed.ConnOptions(), nats.ReconnectWait(20*time.Millisecond))...)
	require.NoError(n.t, err)
	n.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(n.t, err)
	return js
}

// Eventually waits for what takes no time unless it never comes.
func Eventually(t testing.TB, ok func() bool, what func() string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			require.FailNow(t, "it never came", what())
		}
	}
}
