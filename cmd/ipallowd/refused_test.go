package main

import (
	"encoding/json"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
	"github.com/ipallow/ipallow/cmd/internal/keyring"
	"github.com/ipallow/ipallow/natsfeed"
)

// Management alone validates lists: a gateway enforces what it accepted. A list that
// no node can enforce, since another program wrote it, closes its key, whose requests are refused
// and recorded as its own, and the gateway names it.
func TestListsAreValidatedOnce(t *testing.T) {
	t.Parallel()
	nats0 := fleettest.Start(t)
	m := startManagement(t, nats0, t.TempDir()) // with --allow-non-public
	gate := startGateway(t, nats0, t.TempDir(), "gate")
	k := m.create("private", entry{"127.0.0.0/16", "this machine"})
	gate.answers(k.Secret, 200)
	fleettest.Eventually(t, gate.ready, gate.said)
	var ready struct {
		Status string
		Faults int
		Faulty []fleet.Fault
	}
	require.Equal(t, 200, gate.readyz(&ready))
	require.Equal(t, "ready", ready.Status)
	require.Zero(t, ready.Faults)
	m.kill() // or it would put things right

	// An entry twice: what Publish refuses and a hostile or broken writer does not.
	wide := fleet.NodePolicy()
	list, err := wide.ParseList([]string{"127.0.0.1"})
	require.NoError(t, err)
	secret, hash := keyring.NewSecret()
	id := keyring.NewID()
	data, err := natsfeed.AppendValue(nil, natsfeed.Value{Entries: append(list, list...),
		Meta: fleet.EncodeMeta(&keyring.Key{ID: id, Hash: hash, Scopes: keyring.Read})})
	require.NoError(t, err)
	nc := nats0.JetStream().Conn()
	require.NoError(t, nc.PublishMsg(&nats.Msg{Subject: "$KV.ipallow_keys." + id, Data: data}))
	gate.answers(keyring.Token(id, secret), 403)
	gate.answers(k.Secret, 200)
	require.Equal(t, 200, gate.readyz(&ready), "one list must not take every node down")
	require.Equal(t, 1, ready.Faults)
	require.Equal(t, id, ready.Faulty[0].Key)
	require.True(t, ready.Faulty[0].Closed)
	require.Contains(t, ready.Faulty[0].Reason, "same network as")
}

// readyz decodes what /readyz says.
func (p *process) readyz(into any) int {
	p.t.Helper()
	resp, err := p.client.Get(p.management + "/readyz")
	require.NoError(p.t, err)
	defer resp.Body.Close()
	require.NoError(p.t, json.NewDecoder(resp.Body).Decode(into))
	return resp.StatusCode
}
