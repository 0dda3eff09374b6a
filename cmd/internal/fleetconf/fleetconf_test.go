package fleetconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/ipallow/ipallow/cmd/internal/fleet"
	"github.com/ipallow/ipallow/cmd/internal/fleet/fleettest"
)

// checked has nats-server look at each configuration, as nats-server -t does.
func checked(t *testing.T, f *Fleet) {
	t.Helper()
	for i := range f.Servers {
		out, err := exec.Command(fleettest.Program(t), "-t", "-c", f.ServerConfig(i+1)).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	}))
	return all
}

func TestInit(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "fleet")
	f, err := Init(dir, Settings{}, []string{"gate-1", "gate_2"})
	require.NoError(t, err)
	checked(t, f)
	require.Equal(t, "nats://127.0.0.1:4222", f.URLs())
	first := files(t, dir)
	require.Len(t, first, 6)

	// Again, it changes nothing.
	_, err = Init(dir, Settings{}, []string{"gate-1"})
	require.NoError(t, err)
	require.Equal(t, first, files(t, dir))

	// A key that was brought to its gateway is not made anew, and one that is
	// there is not overwritten.
	require.NoError(t, os.Remove(f.GatewayKey("gate-1")))
	f, err = Init(dir, Settings{Servers: []string{"10.20.0.5", "nats.example.com:5222", "[2001:db8::7]:4222"}}, []string{"gate-1", "gate-3"})
	require.NoError(t, err)
	checked(t, f)
	second := files(t, dir)
	require.NotContains(t, second, f.GatewayKey("gate-1"))
	require.Equal(t, first[f.GatewayKey("gate_2")], second[f.GatewayKey("gate_2")])
	require.Equal(t, first[f.ManagementKey()], second[f.ManagementKey()])
	require.Contains(t, second[f.ServerConfig(2)], `listen: "0.0.0.0:5222"`)
	require.Contains(t, second[f.ServerConfig(3)], `listen: "[2001:db8::7]:4222"`)
	name, err := fleet.KeyFileGateway(f.GatewayKey("gate-3"))
	require.NoError(t, err)
	require.Equal(t, "gate-3", name)

	require.NoError(t, f.Remove("gate-3", "gate-1"))
	checked(t, f)
	f, err = Open(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"gate_2"}, f.Names())
	require.NoFileExists(t, f.GatewayKey("gate-3"))

	for want, try := range map[string]func() error{
		"--servers: 2":        func() error { _, err := Init(dir, Settings{Servers: []string{"a", "b"}}, nil); return err },
		"--servers: \"a b":    func() error { _, err := Init(dir, Settings{Servers: []string{"a b"}}, nil); return err },
		"is named twice":      func() error { _, err := Init(dir, Settings{Servers: []string{"a", "a", "b"}}, nil); return err },
		"64000":               func() error { _, err := Init(dir, Settings{Servers: []string{"a:64000"}}, nil); return err },
		"--nats-prefix":       func() error { _, err := Init(dir, Settings{Prefix: "other"}, nil); return err },
		"--tls-cert and":      func() error { _, err := Init(dir, Settings{TLSCert: "c"}, nil); return err },
		"has no gateway":      func() error { return f.Remove("gate-9") },
		"ipallowd fleet init": func() error { _, err := Open(t.TempDir()); return err },
		"\"a.b\"":             func() error { _, err := Init(dir, Settings{}, []string{"a.b"}); return err },
		"\"a\\\" }\"":         func() error { _, err := Init(dir, Settings{}, []string{"a\" }"}); return err },
		"\"*\"":               func() error { _, err := Init(dir, Settings{}, []string{"*"}); return err },
		"is not the key": func() error {
			text, err := os.ReadFile(f.GatewayKey("gate_2"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(f.ManagementKey(), text, 0o600))
			_, err = Init(dir, Settings{}, nil)
			return err
		},
	} {
		require.ErrorContains(t, try(), want)
	}
}

// Gateways are added to and removed from servers that run, and the others notice
// nothing. A removed one is let in no more.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, "old")
	old := w.gateway("old")
	lost := make(chan error, 10)
	w.conn("old", nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { lost <- err }))
	reload := func() {
		t.Helper()
		for range 2 { // the imports of a new account work from the second reload on
			w.nats[0].Reload()
			time.Sleep(300 * time.Millisecond) // it says nothing
		}
	}
	require.NoError(t, w.fleet.Add("new"))
	reload()
	added := w.gateway("new")
	key := added.create()
	old.knows(key.Key.ID, true)
	added.send(records(1, 0, 3, "/new"))
	w.has("/new", 3)
	require.Empty(t, lost, "a connection ended")

	closed := make(chan error, 10)
	w.conn("new", nats.NoReconnect(), nats.ClosedHandler(func(nc *nats.Conn) { closed <- nc.LastError() }))
	seed, err := nats.NkeyOptionFromSeed(w.key("new"))
	require.NoError(t, err)
	require.NoError(t, os.Rename(w.key("new"), w.key("new")+".kept"))
	require.NoError(t, w.fleet.Remove("new"))
	require.NoError(t, os.Rename(w.key("new")+".kept", w.key("new")))
	reload()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		require.Fail(t, "the removed gateway is still connected")
	}
	_, err = nats.Connect(w.fleet.URLs(), seed)
	require.ErrorIs(t, err, nats.ErrAuthorization)
	old.revoke(key.Key.ID)
	require.Empty(t, lost, "a connection ended")
}

// On a cluster it is the same, and goes on when one server is killed.
func TestCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, "a", "b")
	checked(t, w.fleet)
	a, b := w.gateway("a"), w.gateway("b")
	key := a.create()
	b.knows(key.Key.ID, true)
	a.send(records(1, 0, 3, "/a"))
	w.has("/a", 3)
	stream, err := w.js.Stream(within(t), keysStream)
	require.NoError(t, err)
	require.Equal(t, 3, stream.CachedInfo().Config.Replicas)
	leader := stream.CachedInfo().Cluster.Leader
	for i, p := range w.nats {
		if leader == fmt.Sprintf("ipallow-nats-%d", i+1) {
			p.Kill()
		}
	}
	next := a.create()
	b.knows(next.Key.ID, true)
	b.revoke(key.Key.ID)
	a.knows(key.Key.ID, false)
	b.send(records(2, 0, 3, "/b"))
	w.has("/b", 3)
}

// A stranger among the servers of a cluster would have every right.
func TestClusterPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, "a")
	host, port := split(w.fleet.Servers[0])
	conn, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port+routePorts)))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = conn.Write([]byte("CONNECT {\"name\":\"x\",\"user\":\"route\",\"pass\":\"wrong\"}\r\nPING\r\n"))
	require.NoError(t, err)
	said := make([]byte, 1<<16)
	var all []byte
	for {
		n, err := conn.Read(said)
		all = append(all, said[:n]...)
		if err != nil {
			require.False(t, os.IsTimeout(err), "the connection of a stranger stays: %s", all)
			break
		}
	}
	require.Contains(t, string(all), "Authorization Violation")
}

// certificates writes an authority, and a certificate of it for a server and a
// client.
func certificates(t *testing.T, dir string) (ca, cert, key string) {
	t.Helper()
	sign := func(template, parent *x509.Certificate, pub *ecdsa.PrivateKey, by *ecdsa.PrivateKey, name string) string {
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &pub.PublicKey, by)
		require.NoError(t, err)
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
		return path
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca = sign(root, root, caKey, caKey, "ca.pem")
	cert = sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "nats"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, root, own, caKey, "cert.pem")
	der, err := x509.MarshalECPrivateKey(own)
	require.NoError(t, err)
	key = filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600))
	return ca, cert, key
}

// With TLS, servers and clients know each other by certificates; three servers do
// among themselves.
func TestTLS(t *testing.T) {
	t.Parallel()
	ca, cert, key := certificates(t, t.TempDir())
	otherCA, otherCert, otherKey := certificates(t, t.TempDir())
	s := Settings{TLSCert: cert, TLSKey: key, TLSCA: ca}
	for _, port := range fleettest.FreePorts(t, 3, routePorts) {
		s.Servers = append(s.Servers, fmt.Sprintf("127.0.0.1:%d", port))
	}
	f, err := Init(t.TempDir(), s, []string{"gate"})
	require.NoError(t, err)
	checked(t, f)
	for i, server := range f.Servers {
		fleettest.Run(t, f.ServerConfig(i+1), server)
	}
	link := func(id fleet.Identity) *fleet.Link {
		t.Helper()
		id.NKey = f.ManagementKey()
		cfg := fleet.Config{URLs: []string{f.URLs()}, Prefix: f.Prefix, Replicas: 3, Identity: id}
		l, err := fleet.Connect(cfg, "test", quiet)
		require.NoError(t, err)
		t.Cleanup(l.Close)
		return l
	}
	good := link(fleet.Identity{CA: ca, Cert: cert, Key: key})
	bad := map[string]*fleet.Link{
		"no certificate":            link(fleet.Identity{CA: ca}),
		"another's certificate":     link(fleet.Identity{CA: ca, Cert: otherCert, Key: otherKey}),
		"servers of another":        link(fleet.Identity{CA: otherCA, Cert: cert, Key: key}),
		"servers that nobody signs": link(fleet.Identity{Cert: cert, Key: key}),
	}
	fleettest.Eventually(t, good.Connected, func() string { return "no connection with the right certificates" })
	// By now each of the others has tried.
	reporter := fleet.NewReporter(good, func() fleet.Report { return fleet.Report{Name: "home", Role: fleet.Management} })
	defer reporter.Close()
	registry := fleet.NewRegistry(good)
	defer registry.Close()
	fleettest.Eventually(t, func() bool { return len(registry.Nodes()) == 1 }, func() string { return "the cluster does not work" })
	for name, l := range bad {
		require.False(t, l.Connected(), name)
	}
}
