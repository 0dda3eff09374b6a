package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// backup copies the stream of keys while the server is stopped, and returns a function that
// puts the copy back: the server has lost what came since, as by a power cut.
func (n natsProcess) backup(t *testing.T) (restore func()) {
	stream := filepath.Join(n.dir, "jetstream", "$G", "streams", "KV_ipallow_keys")
	copied := filepath.Join(t.TempDir(), "keys")
	n.Kill()
	require.NoError(t, os.CopyFS(copied, os.DirFS(stream)))
	n.Start()
	return func() {
		n.Kill()
		require.NoError(t, os.RemoveAll(stream))
		require.NoError(t, os.CopyFS(stream, os.DirFS(copied)))
		n.Start()
	}
}

func (n natsProcess) jetStream(t *testing.T) jetstream.JetStream {
	nc, err := nats.Connect(n.URL())
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return js
}

// NATS loses its last changes, that of the owner among them, while a gateway is cut off. The
// management goes on; what it revokes then is said to be in force where it is, although the
// gateway has had a higher revision, and reaches the gateway when that comes back, although
// the numbers have gone on and the key that it saw last was written again.
func TestRolledBackBucket(t *testing.T) {
	t.Parallel()
	nats := runNATS(t)
	line := fleettest.StartLine(t, nats.addr)
	data := t.TempDir()
	m := startManagement(t, nats, data)
	near := startGateway(t, nats, t.TempDir(), "near")
	far := launch(t, "gateway", "--nats", line.URL(), "--data", t.TempDir(), "--name", "far", "--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0")
	gone, wide := m.create("gone"), m.create("wide", entry{"127.0.0.1", ""})
	pads := []createdKey{m.create("pad"), m.create("pad"), m.create("pad"), m.create("pad"), m.create("pad")}
	in := func(k createdKey) (p propagation) {
		status, err := m.api("GET", "/keys/"+k.ID+"/propagation", nil, &p)
		require.NoError(t, err)
		require.Equal(t, 200, status)
		return p
	}
	everywhere := func(k createdKey) {
		t.Helper()
		fleettest.Eventually(t, func() bool { p := in(k); return p.InForce && len(p.Nodes) == 2 }, m.said)
	}
	pad := func(to string) {
		for _, k := range pads {
			status, err := m.api("PUT", "/keys/"+k.ID+"/allowlist?wait=0s", map[string]any{"entries": []entry{{to, ""}}, "confirm_lockout": true}, nil)
			require.NoError(t, err)
			require.Contains(t, []int{200, 202}, status)
		}
	}
	everywhere(pads[4])
	restore := nats.backup(t)
	m.kill()
	m = startManagement(t, nats, data)
	m.owns()
	pad("203.0.113.7")
	everywhere(pads[4])
	seen := in(pads[4]).Revision

	line.Cut()
	restore()
	var k struct{ Propagation propagation }
	status, err := m.api("DELETE", "/keys/"+gone.ID+"?wait=10s", nil, &k)
	require.NoError(t, err)
	require.Equal(t, 202, status, "%+v", k)
	require.Contains(t, k.Propagation.Waiting, "far")
	m.owns()
	m.narrow(wide, "203.0.113.7")
	near.answers(gone.Secret, 401)
	near.answers(wide.Secret, 403)
	waits := func() {
		t.Helper()
		for _, key := range []createdKey{gone, wide} {
			require.Contains(t, in(key).Waiting, "far")
		}
	}
	waits()
	require.Less(t, in(gone).Revision, seen, "the test shows nothing")
	for _, to := range []string{"203.0.113.8", "203.0.113.9", "203.0.113.8"} {
		pad(to)
		fleettest.Eventually(t, func() bool { return in(pads[4]).Published }, m.said)
	}
	require.Greater(t, in(pads[4]).Revision, seen)
	waits()
	code, _, err := far.ping(gone.Secret)
	require.NoError(t, err)
	require.Equal(t, 200, code, "it is not in force there")

	line.Heal()
	everywhere(gone)
	everywhere(wide)
	code, _, err = far.ping(gone.Secret)
	require.NoError(t, err)
	require.Equal(t, 401, code, "what is said to be in force is")
	code, _, err = far.ping(wide.Secret)
	require.NoError(t, err)
	require.Equal(t, 403, code, "what is said to be in force is")
}

// The owner's message is deleted from the bucket while no management runs. The messages that it
// wrote still tell of it: an old copy does not take its place.
func TestDeletedOwner(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(*testing.T, jetstream.JetStream) error{
		"deleted": func(t *testing.T, js jetstream.JetStream) error {
			_, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: "$KV.ipallow_keys.=owner", Header: nats.Header{"KV-Operation": {"DEL"}}})
			return err
		},
		"purged": func(t *testing.T, js jetstream.JetStream) error {
			stream, err := js.Stream(t.Context(), "KV_ipallow_keys")
			require.NoError(t, err)
			return stream.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.ipallow_keys.=owner"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nats := runNATS(t)
			data := t.TempDir()
			m := startManagement(t, nats, data)
			gate := startGateway(t, nats, t.TempDir(), "gate-1")
			gone, kept := m.create("gone"), m.create("kept")
			gate.answers(gone.Secret, 200)
			m.owns()
			m.kill()
			yesterday := copyData(t, data)
			m = startManagement(t, nats, data)
			m.revoke(gone)
			gate.answers(gone.Secret, 401)
			m.owns()
			js := nats.jetStream(t)
			require.NoError(t, remove(t, js))
			m.owns() // the owner stays it
			m.create("more")
			m.kill()
			require.NoError(t, remove(t, js))
			revoked := never(t, gone.Secret, gate)
			old := startManagement(t, nats, yesterday)
			revoked.also(old)
			old.fenced("older than what the fleet has")
			revoked.end()
			old.kill()
			m = startManagement(t, nats, data)
			m.owns()
			gate.answers(kept.Secret, 200)
		})
	}
}
