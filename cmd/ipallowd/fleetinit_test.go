package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// call runs the program inside the test.
func call(t *testing.T, args ...string) (status int, out, errOut string) {
	t.Helper()
	o, e := new(output), new(output)
	status = run(t.Context(), args, o, e)
	return status, o.String(), e.String()
}

// What "ipallowd fleet init" says to do next is done here, as it is said: the
// commands are those that it prints.
func TestFleetInit(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "fleet")
	server := fmt.Sprintf("127.0.0.1:%d", fleettest.FreePorts(t, 1, 2000)[0])
	status, out, said := call(t, "fleet", "init", dir, "--gateways", "gate-1,gate-2", "--servers", server)
	require.Zero(t, status, said)
	commands := func(text, of string) (list [][]string) {
		for _, m := range regexp.MustCompile(`(?m)^     `+of+` (.+)$`).FindAllStringSubmatch(text, -1) {
			list = append(list, strings.Fields(m[1]))
		}
		return list
	}
	nats := commands(out, "nats-server")
	require.Len(t, nats, 1)
	require.Equal(t, "-c", nats[0][0])
	fleettest.Run(t, nats[0][1], server)
	all := commands(out, "ipallowd")
	require.Len(t, all, 3)
	here := []string{"--listen", "127.0.0.1:0", "--allow-non-public", "--data"}
	m := launch(t, append(append(all[0], here...), t.TempDir(), "--admin-listen", "127.0.0.1:0")...)
	var gates []*process
	for _, args := range all[1:] {
		gates = append(gates, launch(t, append(append(args, here...), t.TempDir(), "--status-listen", "127.0.0.1:0")...))
	}
	here1 := m.create("here", entry{"127.0.0.1", "this machine"})
	elsewhere := m.create("elsewhere", entry{"203.0.113.0/24", "office"})
	for _, gate := range gates {
		gate.answers(elsewhere.Secret, 403)
		gate.answers(here1.Secret, 200)
		_, id, err := gate.ping(here1.Secret)
		require.NoError(t, err)
		fleettest.Eventually(t, func() bool { return m.requestIDs()[id] == 1 }, func() string { return "the record of a request" })
		fleettest.Eventually(t, gate.ready, gate.said)
	}
	code, err := m.api("DELETE", "/keys/"+here1.ID, nil, nil)
	require.NoError(t, err)
	require.Less(t, code, 300)
	for _, gate := range gates {
		gate.answers(here1.Secret, 401)
	}

	status, out, said = call(t, "fleet", "add-gateway", dir, "gate-3")
	require.Zero(t, status, said)
	require.Len(t, commands(out, "ipallowd"), 1)
	status, out, said = call(t, "fleet", "remove-gateway", dir, "gate-3")
	require.Zero(t, status, said)
	require.Contains(t, out, "reload")

	// A key is that of one node.
	gateKey := filepath.Join(dir, "gateways", "gate-1.nk")
	for want, args := range map[string][]string{
		`is that of the gateway "gate-1"`:  {"gateway", "--nats", "nats://" + server, "--nats-nkey", gateKey, "--name", "gate-2"},
		`is the key of the gateway`:        {"serve", "--nats", "nats://" + server, "--nats-nkey", gateKey},
		"does not say which gateway's key": {"gateway", "--nats", "nats://" + server, "--nats-nkey", filepath.Join(dir, "management.nk")},
		`has no gateway "gate-9"`:          {"fleet", "remove-gateway", dir, "gate-9"},
		"want ipallowd fleet init DIR":     {"fleet", "init"},
		"ipallowd fleet init\"":            {"fleet", "add-gateway", t.TempDir(), "a"},
	} {
		status, _, said := call(t, args...)
		require.Equal(t, exitUsage, status, said)
		require.Contains(t, said, want)
	}
	status, out, _ = call(t, "fleet", "init", filepath.Join(t.TempDir(), "f"), "--gateways", "a", "--servers", "10.20.0.5,10.20.0.6,10.20.0.7", "--nats-prefix", "live")
	require.Zero(t, status)
	for _, want := range []string{"nats-3.conf", "--nats-replicas 3", "--nats-prefix live", "/etc/ipallow/a.nk", "Without TLS"} {
		require.Contains(t, out, want)
	}
}

// Each flag of the connection to NATS is checked before anything starts, and the
// message names it.
func TestNATSFlags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	password, empty := file("password", "secret\n"), file("empty", "")
	for want, flags := range map[string][]string{
		"--nats-ca: " + empty:              {"--nats-ca", empty},
		"--nats-cert and --nats-key":       {"--nats-cert", empty},
		"--nats-cert, --nats-key":          {"--nats-cert", empty, "--nats-key", empty},
		"--nats-nkey: " + empty:            {"--nats-nkey", empty, "--name", "x"},
		"--nats-password-file: " + empty:   {"--nats-user", "u", "--nats-password-file", empty},
		"--nats-user: give the password":   {"--nats-user", "u"},
		"--nats-user: a password":          {"--nats-password-file", password},
		"--nats-creds, --nats-nkey and":    {"--nats-creds", empty, "--nats-user", "u", "--nats-password-file", password},
		"has a user, and so has":           {"--nats", "nats://u:p@127.0.0.1:1", "--nats-user", "u", "--nats-password-file", password},
		"on the command line, where every": {"--nats", "nats://u:geheim@127.0.0.1:1", "--nats-ca", empty},
		"--name: \"a b\"":                  {"--nats-nkey", file("plain.nk", "SUAA3RJLANUE5WM24KT4UATBNAE4EPZKGTA4KLQF6G7OXJCVOSNIM4YLWI\n"), "--name", "a b"},
	} {
		args := append([]string{"gateway", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0", "--nats", "nats://127.0.0.1:1"}, flags...)
		if flags[0] == "--nats" {
			args = append(args[:len(args)-len(flags)-2], flags...)
		}
		status, _, said := call(t, args...)
		require.NotZero(t, status, want)
		require.Contains(t, said, want)
		require.NotContains(t, said, "geheim")
	}
}
